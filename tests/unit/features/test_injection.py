"""Token injection on a model whose features are known: one reads a token, one its context."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rewardscope.features.injection import (
    Injected,
    Outcome,
    ReasoningPeaks,
    Text,
    draw_gaps,
    judge,
    put_in,
    reasoning_peaks,
    verdict_of,
    windows,
)
from rewardscope.features.injection_forward import measure
from rewardscope.features.injection_table import STRATEGIES
from rewardscope.features.injection_units import find_units, read_fired
from rewardscope.records import Estimate
from tests.unit.features.planted_model import (
    CONTEXT,
    CONTEXT_FEATURE,
    TOKEN,
    TOKEN_FEATURE,
    captured,
    marked_model,
    planted_sae,
    texts_of,
)

CPU = torch.device("cpu")


def inject(folder: Path, *, seed: int, n: int = 24) -> list[Outcome]:
    """Run the whole method on planted texts of both kinds, on the first two features."""
    model, sae, features = marked_model(), planted_sae(), [TOKEN_FEATURE, CONTEXT_FEATURE]
    data = captured(folder, model, texts_of(reasoning=True, n=n, seed=seed))
    fired = read_fired(data, sae, features, device=CPU)
    units = find_units(fired, min_count=5, seed=seed)
    plain = texts_of(reasoning=False, n=n, seed=seed)
    found = measure(
        model,
        sae,
        plain,
        features,
        units,
        size=20,
        seed=seed,
        dtype=torch.float32,
        batch_tokens=2000,
    )
    peaks = reasoning_peaks(fired, size=20)
    return [judge(peaks, found, place, seed=0) for place in range(len(features))]


@pytest.mark.parametrize("seed", range(3))
def test_a_token_feature_and_a_context_feature_are_told_apart(tmp_path: Path, seed: int) -> None:
    token, context = inject(tmp_path / "acts", seed=seed)
    assert (token.verdict, context.verdict) == ("token-driven", "context-dependent")
    assert token.best is not None and context.best is not None
    assert token.best.value == pytest.approx(1.0, abs=0.01)  # nothing but the token matters to it
    assert context.best.value == pytest.approx(0.0, abs=0.01)
    assert token.reasoning == pytest.approx(4.0) and token.plain == 0
    # random tokens of the same frequency give nothing
    for outcome in (token, context):
        assert all(abs(share.value) < 0.01 for share in outcome.controls.values())


def test_the_tokens_of_a_feature_are_found_and_controls_hold_none_of_them(tmp_path: Path) -> None:
    data = captured(tmp_path / "acts", marked_model(), texts_of(reasoning=True, n=30, seed=0))
    fired = read_fired(data, planted_sae(), [TOKEN_FEATURE, CONTEXT_FEATURE], device=CPU)
    token, context = find_units(fired, min_count=5, seed=0)
    assert token["token"].units == ((TOKEN,),)
    assert context["token"].units == ((CONTEXT,),)
    assert all(unit[-1] == TOKEN for unit in token["bigram"].units)
    counts = np.bincount(fired.id_N)
    for unit, controls in zip(token["token"].units, token["token"].controls, strict=True):
        assert unit not in controls
        nearest = sorted(abs(np.log(counts[4:]) - np.log(counts[TOKEN])))[: len(controls)]
        assert len(controls) <= 32 and nearest[0] < 1
    for found in token.values():
        assert all(TOKEN not in unit for controls in found.controls for unit in controls)
    scarce = find_units(fired, min_count=10**6, seed=0)
    assert scarce == [{}, {}]


def test_variants_in_a_batch_with_a_shared_beginning_give_what_each_gives_alone(
    tmp_path: Path,
) -> None:
    model, sae, features = marked_model(), planted_sae(), [TOKEN_FEATURE, CONTEXT_FEATURE]
    made = texts_of(reasoning=True, n=20, seed=1)
    fired = read_fired(captured(tmp_path / "acts", model, made), sae, features, device=CPU)
    units = find_units(fired, min_count=3, seed=0)
    long = [
        text._replace(ids=(*[9] * 60, *text.ids), start=62, stop=text.stop + 60)
        for text in made[:4]
    ]
    how = {"size": 20, "seed": 0, "dtype": torch.float32}
    together = measure(model, sae, long, features, units, batch_tokens=10**4, **how)
    alone = measure(model, sae, long, features, units, batch_tokens=1, **how)
    for one, other in zip(together[1:], alone[1:], strict=True):
        assert np.allclose(one, other, atol=1e-5, equal_nan=True)


def test_every_window_gets_one_unit_and_nothing_else_changes() -> None:
    text = Text("p", (1, 2, *range(10, 35), 3), 2, 27)
    window_L = windows(25, 10)
    assert np.bincount(window_L).tolist() == [13, 12]
    assert windows(3, 10).tolist() == [0, 0, 0]
    for seed in range(20):
        gaps = draw_gaps(window_L, np.random.default_rng(seed))
        assert [window_L[gap] for gap in gaps] == [0, 1]
        found = put_in(text, window_L, gaps, [(90, 91), (92,)])
        assert [token for token in found.ids if token < 90] == list(text.ids)
        solution = found.ids[2 : 2 + len(found.window_L)]
        assert len(solution) == 28 and found.ids[-1] == 3
        where = [int(found.window_L[solution.index(unit)]) for unit in (90, 91, 92)]
        assert where == [0, 0, 1]
        assert (np.diff(found.window_L) >= 0).all()


def test_shares_are_those_of_sums_by_hand() -> None:
    rng = np.random.default_rng(0)
    problems = [f"p/{i}" for i in range(20)]
    sums, counts = rng.uniform(4, 8, (20, 1)), np.full((20, 1), 2)
    shape = (len(STRATEGIES), 20, 1)
    injected, control = np.full(shape, np.nan), np.full(shape, np.nan)
    injected[0], control[0] = rng.uniform(4, 5, (2, 20, 1))
    plain, n_windows = rng.uniform(0, 1, (20, 1)), np.full(20, 3)
    peaks = ReasoningPeaks(problems, sums, counts)
    found = judge(peaks, Injected(problems, n_windows, plain, injected, control), 0, seed=0)
    level = sums.sum() / 40 - plain.sum() / 60
    assert found.shares["token"].value == pytest.approx((injected[0] - plain).sum() / 60 / level)
    assert found.nets["token"].value == pytest.approx((injected[0] - control[0]).sum() / 60 / level)
    assert list(found.nets) == ["token"] and found.strategy == "token"
    assert found.best is not None and found.best.low is not None


def test_random_tokens_that_do_the_same_leave_nothing_to_a_features_tokens() -> None:
    rng = np.random.default_rng(0)
    problems = [f"p/{i}" for i in range(40)]
    shape = (len(STRATEGIES), 40, 1)
    both = rng.uniform(3, 5, shape)
    peaks = ReasoningPeaks(problems, rng.uniform(3, 5, (40, 1)), np.ones((40, 1)))
    plain = np.zeros((40, 1))
    injected = both + rng.normal(0, 0.05, shape)
    found = judge(peaks, Injected(problems, np.ones(40), plain, injected, both), 0, seed=0)
    assert all(share.value > 0.9 for share in found.shares.values())
    assert found.verdict == "context-dependent"


def test_the_best_of_several_strategies_is_corrected_for_the_choice() -> None:
    """Of four strategies that bring nothing back the best looks as if it did; its low end holds."""
    problems, above = [f"p/{i}" for i in range(25)], 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        shape = (len(STRATEGIES), 25, 1)
        peaks = ReasoningPeaks(problems, rng.uniform(3, 5, (25, 1)), np.ones((25, 1)))
        injected, control = rng.normal(1, 1, (2, *shape))
        found = judge(
            peaks, Injected(problems, np.ones(25), np.ones((25, 1)), injected, control), 0, seed=0
        )
        assert found.best is not None and found.best.low is not None
        above += found.best.low > 0
    assert above / 100 <= 0.06


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.5, 1.1, "token-driven"),
        (0.2, 0.9, "partly"),
        (-0.1, 0.19, "context-dependent"),
        (0.1, 0.4, "undecided"),
        (None, None, "undecided"),
    ],
)
def test_the_interval_decides(low: float | None, high: float | None, verdict: str) -> None:
    value = 0.0 if low is None or high is None else (low + high) / 2
    assert verdict_of(Estimate(value=value, low=low, high=high, n=20)) == verdict


def test_a_feature_no_stronger_on_reasoning_is_undecided() -> None:
    problems, shape = [f"p/{i}" for i in range(20)], (len(STRATEGIES), 20, 1)
    rng = np.random.default_rng(0)
    plain, injected, control = rng.uniform(4, 5, (20, 1)), *rng.uniform(4, 5, (2, *shape))
    peaks = ReasoningPeaks(problems, rng.uniform(1, 2, (20, 1)), np.ones((20, 1)))
    found = judge(peaks, Injected(problems, np.ones(20), plain, injected, control), 0, seed=0)
    assert (found.verdict, found.reason) == (
        "undecided",
        "it is not stronger on the reasoning text",
    )
    never = ReasoningPeaks(problems, np.zeros((20, 1)), np.zeros((20, 1)))
    found = judge(never, Injected(problems, np.ones(20), plain, injected, control), 0, seed=0)
    assert found.reason == "it does not fire on the reasoning text"
