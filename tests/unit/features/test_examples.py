from pathlib import Path

import numpy as np
import pytest

from rewardscope.features.contexts import ShownFirings, of_shown
from rewardscope.features.examples import Histograms, TextMass, add_steps, step_counts, top_texts
from rewardscope.features.firing import RowTexts, encode_store
from rewardscope.sae.model.checkpoint import Sae
from tests.unit.features.firings import CPU, EVERY, data_set, dense


def test_texts_are_ranked_by_their_share_of_the_activation(sae: Sae, tmp_path: Path) -> None:
    data = data_set(tmp_path / "a")
    table, sequences = dense(sae, data), list(data.store.sequences)
    shares: dict[str, float] = {}
    rows = data.store.rows
    for row, (sequence, token) in enumerate(zip(rows.sequence_N, rows.token_N, strict=True)):
        text = sequences[sequence].tokens[token]
        shares[text] = shares.get(text, 0.0) + table[row, 1] / table[:, 1].sum()
    expected = sorted(
        (entry for entry in shares.items() if entry[1] > 0), key=lambda entry: -entry[1]
    )[:3]
    mass, reader = TextMass(), RowTexts(data)
    for piece in encode_store(sae, data.store, device=CPU):
        mass.add(of_shown(piece, EVERY), reader.read(piece.rows)[0])
    found = top_texts(1, [mass], [reader.texts], total=float(table[:, 1].sum()), n=3)
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [share for _, share in found] == pytest.approx(
        [share for _, share in expected], rel=1e-4
    )


def test_histogram_and_step_counts() -> None:
    values = np.random.default_rng(0).random(500).astype(np.float32) ** 3
    place = np.arange(500) % 2
    histograms = Histograms(np.array([values[place == one].max() for one in (0, 1)]))
    for half in np.array_split(np.arange(500), 2):
        histograms.add(ShownFirings(place[half], half, values[half]))
    for one in (0, 1):
        mine = values[place == one]
        expected = np.histogram(mine, bins=24, range=(0.0, float(mine.max())))[0]
        assert histograms.count_TH[one].tolist() == expected.tolist()
    step_N = np.array([-1, 0, 0, 3, 15, 99])
    assert step_counts(step_N).tolist() == [2, 0, 0, 1, *[0] * 11, 2]
    counts = np.zeros((1, 16), dtype=np.int64)
    add_steps(counts, ShownFirings(np.zeros(6, dtype=np.int64), np.arange(6), np.ones(6)), step_N)
    assert counts[0].tolist() == [2, 0, 0, 1, *[0] * 11, 2]
