from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from rewardscope.errors import BadRecord
from rewardscope.models.blocks import find_blocks
from rewardscope.prms.scorer import HfScorer
from rewardscope.sae.measure.reward_kept import Solution, measure_reward_kept
from rewardscope.sae.measure.score_change import Comparison, Steps
from rewardscope.sae.model.inference import Sae
from tests.unit.prms.tiny_prm import make_prm, random_solutions

LAYERS, WIDTH, START = 3, 32, 4


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> HfScorer:
    return HfScorer(
        str(make_prm(tmp_path_factory.mktemp("prm") / "tiny", layers=LAYERS)), device="cpu"
    )


@pytest.fixture(scope="module")
def solutions(scorer: HfScorer) -> list[Solution]:
    made = []
    for number, (question, steps) in enumerate(random_solutions(12, seed=3)):
        encoded = scorer.encode(question, steps)
        made.append(
            Solution(
                f"p/{number % 5}",
                encoded,
                START,
                tuple((number + step) % 2 for step in range(len(steps))),
            )
        )
    return made


def identity_sae(layer: int, *, width: int = WIDTH) -> Sae:
    """Keep x as relu(x) - relu(-x), so that nothing is rounded."""
    both = torch.cat([torch.eye(width), -torch.eye(width)])
    return Sae(
        W_enc_DF=both.T.contiguous(),
        b_enc_F=torch.zeros(2 * width),
        W_dec_FD=both,
        b_dec_D=torch.zeros(width),
        threshold_F=torch.zeros(2 * width),
        activation="standard",
        layer=layer,
        info={},
    )


def silent_sae(layer: int, output_D: Tensor) -> Sae:
    sae = identity_sae(layer)
    return Sae(
        W_enc_DF=sae.W_enc_DF,
        b_enc_F=sae.b_enc_F,
        W_dec_FD=sae.W_dec_FD,
        b_dec_D=output_D,
        threshold_F=torch.full((2 * WIDTH,), 1e9),
        activation="batchtopk",
        layer=layer,
        info={},
    )


def test_an_sae_that_rebuilds_the_states_keeps_every_reward(
    scorer: HfScorer, solutions: list[Solution]
) -> None:
    found = measure_reward_kept(
        scorer, {layer: identity_sae(layer) for layer in range(LAYERS)}, solutions, seed=0
    )
    for layer, (quality, reward, *_) in found.items():
        assert reward.layer == quality.layer == layer
        assert (reward.sae.difference.value, reward.sae.agreement.value) == (0.0, 1.0)
        assert reward.sae.spearman.value == pytest.approx(1.0)
        assert reward.sae.auroc_change is not None and reward.sae.auroc_change.value == 0.0
        assert reward.share_of_mean is not None and reward.share_of_zero is not None
        assert reward.share_of_mean.value == reward.share_of_zero.value == 1.0
        assert reward.zero.difference.value > 0 and reward.mean.difference.value > 0
        assert quality.fvu.value == pytest.approx(0.0, abs=1e-12)
        assert quality.n_rows == sum(s.encoded.step_ends[-1] + 1 - START for s in solutions)


def test_an_sae_that_is_always_silent_is_the_ablation_that_it_says(
    scorer: HfScorer, solutions: list[Solution]
) -> None:
    reward = measure_reward_kept(scorer, {1: silent_sae(1, torch.zeros(WIDTH))}, solutions, seed=0)[
        1
    ].reward
    assert reward.sae == reward.zero
    assert reward.share_of_zero is not None and reward.share_of_zero.value == 0.0


class Zeroed(nn.Module):
    """A decoder block whose output is zero from START to the end of the only row."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def __getattr__(self, name: str) -> object:
        return (
            super().__getattr__(name)
            if name in ("block", "_modules")
            else getattr(self.block, name)
        )

    def forward(self, *arguments: object, **named: object) -> Tensor:
        output = self.block(*arguments, **named)
        return torch.cat([output[:, :START], torch.zeros_like(output[:, START:])], dim=1)


@pytest.fixture
def zeroed_block(scorer: HfScorer) -> Iterator[int]:
    blocks = find_blocks(scorer.model).layers
    original = blocks[1]
    blocks[1] = Zeroed(original)
    yield 1
    blocks[1] = original


def test_the_zero_ablation_is_that_of_a_model_with_such_a_block(
    scorer: HfScorer, solutions: list[Solution], zeroed_block: int
) -> None:
    # rows end at the last step end, no padding
    changed = [score for s in solutions for score in scorer.score([s.encoded])[0]]
    find_blocks(scorer.model).layers[zeroed_block] = (
        find_blocks(scorer.model).layers[zeroed_block].block
    )
    clean = [score for s in solutions for score in scorer.score([s.encoded])[0]]
    reward = measure_reward_kept(scorer, {1: identity_sae(1)}, solutions, seed=0)[1].reward
    assert reward.zero.difference.value == pytest.approx(
        np.mean(np.abs(np.subtract(changed, clean))), rel=1e-5
    )
    assert reward.zero.agreement.value == pytest.approx(
        np.mean((np.array(changed) > 0.5) == (np.array(clean) > 0.5))
    )
    assert reward.zero.spearman.value == pytest.approx(
        spearmanr(np.round(clean, 6), np.round(changed, 6)).statistic, abs=5e-3
    )


def test_ablating_the_last_block_gives_every_step_the_score_of_that_state(
    scorer: HfScorer, solutions: list[Solution]
) -> None:
    with torch.no_grad():
        of_zero = scorer.adapter.read_out(scorer.model, torch.zeros(1, WIDTH)).item()
    clean = np.concatenate(scorer.score([s.encoded for s in solutions]))
    reward = measure_reward_kept(scorer, {LAYERS - 1: identity_sae(LAYERS - 1)}, solutions, seed=0)[
        LAYERS - 1
    ].reward
    assert reward.zero.difference.value == pytest.approx(np.abs(clean - of_zero).mean(), rel=1e-5)
    assert reward.zero.spearman.value == reward.mean.spearman.value == 0.0
    right = np.concatenate([s.right for s in solutions])
    assert reward.auroc is not None and reward.auroc.value == pytest.approx(
        roc_auc_score(right, clean)
    )
    assert reward.zero.auroc_change is not None and reward.zero.auroc_change.value == pytest.approx(
        0.5 - reward.auroc.value
    )


def test_an_sae_of_another_width_is_refused_before_the_prm_runs(
    scorer: HfScorer, solutions: list[Solution]
) -> None:
    before = scorer.tokens_encoded
    with pytest.raises(BadRecord, match="has width 16, the activations of the PRM have 32"):
        measure_reward_kept(scorer, {0: identity_sae(0, width=16)}, solutions, seed=0)
    assert scorer.tokens_encoded == before


def test_changes_are_counted_over_steps_and_bounded_over_problems() -> None:
    rng = np.random.default_rng(5)
    score_S, changed_S = rng.integers(0, 6, size=(2, 60)) / 6.0
    steps = Steps(score_S, rng.integers(0, 2, size=60).astype(np.int8), np.arange(60) % 12)
    comparison = Comparison(steps, threshold=0.5, seed=1)
    change = comparison.change(changed_S)
    assert change.difference.value == pytest.approx(np.mean(np.abs(changed_S - score_S)))
    assert change.agreement.value == pytest.approx(np.mean((score_S > 0.5) == (changed_S > 0.5)))
    assert change.spearman.value == pytest.approx(spearmanr(score_S, changed_S).statistic)
    assert change.auroc_change is not None and change.auroc_change.value == pytest.approx(
        roc_auc_score(steps.right_S, changed_S) - roc_auc_score(steps.right_S, score_S)
    )
    for each in (change.difference, change.agreement, change.spearman, change.auroc_change):
        assert each.low is not None and each.high is not None
        assert each.low < each.value < each.high and each.n == 12


def test_two_problems_are_too_few_for_an_interval_of_the_change() -> None:
    steps = Steps(
        np.array([0.1, 0.2, 0.6, 0.9]),
        np.array([0, 1, -1, -1], dtype=np.int8),
        np.array([4, 4, 9, 9]),
    )
    change = Comparison(steps, threshold=0.5, seed=0).change(np.array([0.1, 0.4, 0.4, 0.4]))
    assert (change.difference.value, change.difference.low) == (pytest.approx(0.225), None)
    assert change.auroc_change is not None and change.auroc_change.value == 0.0
