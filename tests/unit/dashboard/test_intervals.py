from pathlib import Path

import numpy as np

from rewardscope.dashboard.intervals import Peaks, collect
from rewardscope.features.contexts import of_shown
from rewardscope.features.firing import encode_store
from rewardscope.sae.model.checkpoint import Sae
from tests.unit.features.firings import CPU, EVERY, data_set, dense


def contexts(sae: Sae, folder: Path, *, seed: int):
    data = data_set(folder, n=40)
    table = dense(sae, data)
    peaks = Peaks(table.max(axis=0), n=4, n_chance=5, seed=seed)
    for piece in encode_store(sae, data.store, device=CPU):
        peaks.add(piece.rows, of_shown(piece, EVERY))
    return data, table, collect([data], [peaks], n=4, n_chance=5, before=2, after=2)


def test_contexts_lie_in_their_third_of_the_activations_one_a_trace(
    sae: Sae, tmp_path: Path
) -> None:
    data, table, found = contexts(sae, tmp_path / "a", seed=0)
    rows = data.store.rows
    value = {
        (s, t): table[row]
        for row, (s, t) in enumerate(
            zip(rows.sequence_N.tolist(), rows.token_N.tolist(), strict=True)
        )
    }
    for feature in EVERY.tolist():
        most = table[:, feature].max()
        for low, high, kind in ((0, 1, found.low), (1, 2, found.middle)):
            share = 3 * table[:, feature] / most
            inside = (table[:, feature] > 0) & (share >= low) & (share < high)
            traces = len(set(rows.sequence_N[inside].tolist()))
            assert len(kind[feature]) == min(5, traces)
            assert len({example.sequence for example in kind[feature]}) == len(kind[feature])
            for example in kind[feature]:
                activation = value[example.sequence, example.position][feature]
                assert low - 1e-5 <= 3 * activation / most <= high + 1e-5 and activation > 0
        strongest = sorted(table[:, feature])[-1]
        top = found.top[feature][0]
        assert np.isclose(value[top.sequence, top.position][feature], strongest)


def test_chance_contexts_depend_on_the_seed_alone(sae: Sae, tmp_path: Path) -> None:
    first, same, other = (
        contexts(sae, tmp_path / name, seed=seed)[2].low
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == same != other
