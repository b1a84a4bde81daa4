"""Scores under edits, against closed forms and against the model's own scores."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from rewardscope.errors import ConfigError
from rewardscope.interventions import edits
from rewardscope.interventions.run import (
    Intervention,
    Variant,
    controls,
    edits_of,
    full_patch,
    scores_under,
)
from rewardscope.models.sites import EMBED, Edit, Site
from rewardscope.prms.scorer import HfScorer
from rewardscope.records import Encoded
from tests.contract.tiny_prms import make_prm as make_family
from tests.unit.prms.tiny_prm import make_prm, random_solutions

LAST = 2


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> HfScorer:
    return HfScorer(str(make_prm(tmp_path_factory.mktemp("prm"))), device="cpu")


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> HfScorer:
    """Return an outcome model: a head of one output, its score a logit."""
    folder: Path = make_family("outcome", tmp_path_factory.mktemp("linear"))
    return HfScorer(str(folder), device="cpu")


@pytest.fixture(scope="module")
def inputs(scorer: HfScorer) -> list[Encoded]:
    return [scorer.encode(question, steps) for question, steps in random_solutions(8, seed=4)]


def everywhere(encoded: Encoded, site: Site, change: edits.StateChange) -> Variant:
    return Variant(encoded, [Intervention(site, range(len(encoded.input_ids)), change)])


@pytest.mark.parametrize(
    "site", [EMBED, Site(1), Site(0, "attn"), Site(2, "mlp"), Site(1, "head", 0)], ids=str
)
def test_hooks_that_change_nothing_change_no_bit_of_any_score(
    scorer: HfScorer, inputs: list[Encoded], site: Site
) -> None:
    variants = [everywhere(encoded, site, edits.nothing()) for encoded in inputs]
    assert scores_under(scorer, variants) == scores_under(scorer, [Variant(e) for e in inputs])
    found = controls(scorer, everywhere(inputs[0], site, edits.zero()), seed=0)
    assert found.unchanged == found.plain != found.random


@pytest.mark.parametrize("layer", range(LAST + 1))
def test_a_full_patch_gives_the_score_of_its_source(scorer: HfScorer, layer: int) -> None:
    one, other = (scorer.encode("How many?", [f"Tom has {n}.", "So 7."]) for n in (3, 4))
    assert one.input_ids != other.input_ids and len(one.input_ids) == len(other.input_ids)
    assert scorer.score([one]) != scorer.score([other])
    patched = full_patch(scorer, one, other, layer)
    assert scores_under(scorer, [patched]) == scorer.score([one])
    with pytest.raises(ConfigError, match="inputs of one length"):
        full_patch(scorer, scorer.encode("How many?", ["7"]), other, layer)


@torch.no_grad()
def test_adding_along_the_reward_direction_moves_the_logit_by_the_computed_amount(
    linear: HfScorer,
) -> None:
    encoded = linear.encode("How many?", ["Tom has 3.", "So 7."])
    reward_D = linear.adapter.direction(linear.model)
    assert reward_D is not None
    end = encoded.step_ends[-1]
    x_D = linear.forward([encoded], watch=[Site(LAST)]).states[Site(LAST)][0, end].double()
    orthogonal_D = torch.randn(len(x_D), generator=torch.Generator().manual_seed(0)).double()
    plain = linear.score([encoded])[0][-1]
    eps = linear.model.config.rms_norm_eps

    def score(direction_D: Tensor) -> float:
        change = Intervention(Site(LAST), [end], edits.add(direction_D, scale=0.5))
        return scores_under(linear, [Variant(encoded, [change])])[0][-1]

    def logit(state_D: Tensor) -> float:
        rms = (state_D.square().mean() + eps).sqrt()
        return float(state_D @ reward_D.double() / rms)

    moved = logit(x_D + 0.5 * reward_D.double()) - logit(x_D)
    assert score(reward_D) - plain == pytest.approx(moved, abs=1e-5) and abs(moved) > 1e-3
    # what is orthogonal to the direction, and does not change the size of the state, moves nothing
    basis = torch.linalg.qr(torch.stack([reward_D.double(), x_D], dim=1)).Q
    orthogonal_D -= basis @ (basis.T @ orthogonal_D)
    small_D = 1e-3 * orthogonal_D / orthogonal_D.norm()
    assert score(small_D) == pytest.approx(plain, abs=1e-6)


def test_several_edits_of_one_pass_are_the_same_one_after_another(
    scorer: HfScorer, inputs: list[Encoded]
) -> None:
    encoded, site = inputs[0], Site(1)
    positions = range(2, len(encoded.input_ids))
    shift = torch.linspace(-1, 1, scorer.width)

    def both(x_ND: Tensor) -> Tensor:
        return 2 * x_ND + shift

    several = [
        Intervention(site, positions, lambda x_ND: 2 * x_ND),
        Intervention(site, positions, edits.add(shift)),
    ]
    one = [Intervention(site, positions, both)]
    together, single = scores_under(scorer, [Variant(encoded, several), Variant(encoded, one)])
    assert together == pytest.approx(single, abs=1e-6)
    swapped = scores_under(scorer, [Variant(encoded, several[::-1])])[0]
    assert swapped != pytest.approx(single, abs=1e-6)
    # edits of two layers: the later one meets what the earlier one made
    deep = Intervention(Site(2), positions, edits.zero())
    assert scores_under(scorer, [Variant(encoded, [*one, deep])]) == scores_under(
        scorer, [Variant(encoded, [deep])]
    )


def test_edited_rows_do_not_reach_other_rows(scorer: HfScorer, inputs: list[Encoded]) -> None:
    variants = [
        everywhere(encoded, Site(0), edits.zero()) if row % 2 else Variant(encoded)
        for row, encoded in enumerate(inputs)
    ]
    found = scores_under(scorer, variants)
    plain = scores_under(scorer, [Variant(encoded) for encoded in inputs])
    for row, (scores, expected) in enumerate(zip(found, plain, strict=True)):
        assert (scores != expected) if row % 2 else (scores == expected)


def test_variants_on_a_shared_beginning_have_the_scores_of_whole_inputs(scorer: HfScorer) -> None:
    long = scorer.encode("How many? " + "Tom has 12 apples. " * 8, ["Tom has 3.", "So 7.", "5"])
    positions = range(long.step_ends[0], len(long.input_ids))
    variants = [
        Variant(long, [Intervention(Site(layer, part), positions, edits.zero())])
        for layer in range(LAST + 1)
        for part in ("resid", "attn", "mlp")
    ]
    before = scorer.tokens_encoded
    whole = scores_under(scorer, variants)
    cost = scorer.tokens_encoded - before
    shared = scores_under(scorer, variants, share=True)
    for one, other in zip(whole, shared, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert scorer.tokens_encoded - before - cost < cost / 2
    made = edits_of(variants[:2])
    with pytest.raises(ConfigError, match=r"within the first .* tokens, which all rows share"):
        scorer.forward([long, long], edits=made, shared=long.step_ends[0] + 1)


def test_gradients_of_a_score_at_any_site_are_those_of_finite_differences(scorer: HfScorer) -> None:
    encoded = scorer.encode("How many?", ["Tom has 3.", "So 7."])
    sites = [EMBED, Site(0, "attn"), Site(1, "mlp"), Site(1, "head", 0), Site(1)]
    passed = scorer.forward([encoded], watch=sites, grad=True)
    found = torch.autograd.grad(passed.scores[0][-1], [passed.states[site] for site in sites])
    at = encoded.step_ends[-1] - 1
    mask_BT = torch.zeros(1, len(encoded.input_ids), dtype=torch.bool)
    mask_BT[0, at] = True
    for site, slope_BTD in zip(sites, found, strict=True):
        direction_D = slope_BTD[0, at] / slope_BTD[0, at].norm()
        ends = [
            scorer.forward([encoded], edits=[Edit(site, mask_BT, edits.add(direction_D, scale=s))])
            for s in (0.01, -0.01)
        ]
        slope = float(ends[0].scores[0][-1] - ends[1].scores[0][-1]) / 0.02
        assert slope == pytest.approx(float(slope_BTD[0, at].norm()), rel=0.05, abs=1e-4)
