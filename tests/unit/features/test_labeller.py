"""Labels in words: who knows the rule scores high, who guesses is at chance."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from rewardscope.features.labeller import Context, Contexts, FreeText, describe, score
from rewardscope.features.labeller_contexts import read_contexts
from rewardscope.sae.model.inference import Sae
from tests.unit.features.firings import CPU, data_set

WORD = " wait"


def made(*, n: int = 24, seed: int = 0) -> Contexts:
    """Return contexts of a feature that fires on one word."""
    rng = np.random.default_rng(seed)

    def context(fires: bool) -> Context:
        tokens = [f" w{rng.integers(1000)}" for _ in range(9)]
        if fires:
            tokens[4] = WORD
        return Context(tuple(tokens), tuple(3.0 * (text == WORD) for text in tokens))

    return Contexts([context(True) for _ in range(n)], [context(False) for _ in range(n)])


def items(prompt: str) -> list[str]:
    return re.findall(r"^\d+\. (.*)$", prompt, flags=re.MULTILINE)


def right(prompt: str) -> str:
    """Answer as one who knows the rule."""
    if "between << and >>" in prompt:
        assert all(f"<<{WORD}>>" in line for line in items(prompt))
        return "Thinking ...\nthe word wait"
    has = [WORD in line for line in items(prompt)]
    if "does not belong" in prompt:
        return f"[{has.index(False) + 1}]"
    assert "the word wait" in prompt
    return str([place for place, one in enumerate(has, start=1) if one])


def test_who_knows_the_rule_scores_high() -> None:
    contexts = made()
    label = describe(contexts, right)
    assert label == "the word wait"
    found = score(3, 7, label, contexts, right, seed=0)
    assert (found.detection, found.intruder, found.unread) == (1.0, 1.0, 0)
    assert (found.detection_n, found.intruder_n) == (32, 16)
    assert found.detection_low is not None and found.detection_low > 0.85


def test_who_guesses_is_at_chance() -> None:
    rng = np.random.default_rng(0)

    def guess(prompt: str) -> str:
        n = len(items(prompt))
        if "does not belong" in prompt:
            return f"[{rng.integers(1, 6)}]"
        return str([place for place in range(1, n + 1) if rng.random() < 0.5])

    found = [score(0, f, "noise", made(seed=f), guess, seed=0) for f in range(30)]
    assert np.mean([row.detection for row in found]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([row.intruder for row in found]) == pytest.approx(0.2, abs=0.05)


def test_no_question_shows_a_context_that_the_label_was_made_from() -> None:
    contexts, shown, asked = made(), [], []

    def note(prompt: str) -> str:
        into = shown if "between << and >>" in prompt else asked
        into.extend(line.replace("<<", "").replace(">>", "") for line in items(prompt))
        return "[]"

    score(0, 0, describe(contexts, note), contexts, note, seed=0)
    assert len(shown) == 8 and asked and not set(shown) & set(asked)


def test_what_cannot_be_read_counts_as_wrong_and_few_contexts_give_no_score() -> None:
    found = score(0, 0, "x", made(), lambda _: "I do not know", seed=0)
    assert (found.detection, found.intruder, found.unread) == (0.0, 0.0, 20)
    none = score(0, 0, "x", made(n=3), right, seed=0)
    assert (none.detection, none.intruder, none.detection_n) == (None, None, 0)
    assert isinstance(none, FreeText)


def test_contexts_fire_where_the_feature_does_and_the_silent_ones_nowhere(
    tmp_path: Path, sae: Sae
) -> None:
    data = [data_set(tmp_path / name, seed=seed) for seed, name in enumerate(("a", "b"))]
    found = read_contexts(sae, [2, 5], data, tmp_path, device=CPU, seed=0)
    for feature, contexts in zip((2, 5), found, strict=True):
        assert contexts.fires
        peaks = [max(one.values) for one in contexts.fires]
        assert peaks == sorted(peaks, reverse=True) and peaks[-1] > 0
        top = max(
            float(
                (
                    sae.encode(d.store.layer(0)).values_NK
                    * (sae.encode(d.store.layer(0)).indices_NK == feature)
                ).max()
            )
            for d in data
        )
        assert peaks[0] == pytest.approx(top)
        assert all(max(one.values) == 0 for one in contexts.silent)
        assert all(len(one.tokens) == len(one.values) for one in contexts.fires)
    assert torch.is_tensor(sae.b_enc_F)
