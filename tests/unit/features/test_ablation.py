"""Features taken out of states: against the edits that they stand for, and against a truth that was
planted.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from rewardscope.errors import ConfigError
from rewardscope.features.ablation import Ablation, twins
from rewardscope.features.ablation_plan import Plan
from rewardscope.features.edit_names import FeatureEdit, parse_edit
from rewardscope.features.firing_of_solutions import FiredSolution, fired_solutions
from rewardscope.interventions import edits
from rewardscope.interventions.run import Intervention, Variant, scores_under
from rewardscope.models.sites import Site, StateChange
from tests.unit.features.ablated import IDLE, MOVES, F, Planted, planted

CHOSEN = (MOVES, IDLE, 17)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return planted(tmp_path_factory.mktemp("planted"), seed=0)


@pytest.fixture(scope="module")
def fired(made: Planted) -> list[FiredSolution]:
    return fired_solutions(made.scorer, [made.sae], made.solutions)[0]


def ablation(made: Planted, fired: list[FiredSolution]) -> Ablation:
    return Ablation(made.scorer, made.sae, made.solutions, fired, seed=0)


def under(made: Planted, change: StateChange) -> list[tuple[float, ...]]:
    site = Site(made.sae.layer)
    return scores_under(
        made.scorer,
        [
            Variant(
                s.encoded, [Intervention(site, range(s.start, s.encoded.step_ends[-1] + 1), change)]
            )
            for s in made.solutions
        ],
    )


def dense(made: Planted, x_ND: torch.Tensor) -> torch.Tensor:
    """Return all activations [N, F], by the formula."""
    pre_NF = (x_ND - made.sae.b_dec_D) @ made.sae.W_enc_DF
    return torch.where(pre_NF > 1.0, pre_NF, 0)


def close(one: list[tuple[float, ...]], other: list[tuple[float, ...]]) -> bool:
    return np.allclose(np.concatenate(one), np.concatenate(other), atol=1e-5)


@pytest.mark.parametrize("factor", [0.0, 2.0, -1.0])
def test_scaled_features_are_those_of_the_edit_on_whole_passes(
    made: Planted, fired: list[FiredSolution], factor: float
) -> None:
    chosen = list(CHOSEN)
    edit = FeatureEdit("ablate") if factor == 0 else FeatureEdit("scale", factor)
    plain, found = ablation(made, fired).scores([CHOSEN], edit)
    change = edits.scale_features(
        lambda x_ND: dense(made, x_ND)[:, chosen], made.sae.W_dec_FD[chosen], factor=factor
    )
    assert close(found[CHOSEN], under(made, change)) and not close(found[CHOSEN], plain)


def test_features_set_to_their_mean_keep_where_they_fire(
    made: Planted, fired: list[FiredSolution]
) -> None:
    _, found = ablation(made, fired).scores([(MOVES,)], FeatureEdit("mean"))
    values = np.concatenate([one.value_E[one.of([MOVES])] for one in fired])

    def change(x_ND: torch.Tensor) -> torch.Tensor:
        a_N = dense(made, x_ND)[:, MOVES]
        new_N = torch.where(a_N > 0, torch.tensor(float(values.mean())), 0)
        return x_ND + (new_N - a_N)[:, None] * made.sae.W_dec_FD[MOVES]

    assert close(found[MOVES,], under(made, change))


def test_a_resampled_activation_is_one_of_another_problem(
    made: Planted, fired: list[FiredSolution]
) -> None:
    one = ablation(made, fired)
    _, found = one.scores([(MOVES,), CHOSEN], FeatureEdit("resample"))
    _, again = one.scores([(MOVES,)], FeatureEdit("resample"))
    assert close(found[MOVES,], again[MOVES,])  # whatever else is measured
    activations = one._activations
    for number in range(3):
        others = activations.elsewhere(MOVES, number)
        mine = fired[number].value_E[fired[number].of([MOVES])]
        assert len(mine) and not set(mine.tolist()) & set(others.tolist())
        new = one._change(
            fired[number], fired[number].of([MOVES]), FeatureEdit("resample"), number, number
        )
        assert set(np.round(new + mine, 4)) <= set(np.round(others, 4))


def test_a_factor_of_1_and_features_that_do_not_fire_change_nothing(
    made: Planted, fired: list[FiredSolution]
) -> None:
    plain, found = ablation(made, fired).scores([CHOSEN], FeatureEdit("scale", 1.0))
    assert found[CHOSEN] == plain
    silent = dataclasses.replace(made.sae, threshold_F=torch.full((F,), 1e9))
    none = fired_solutions(made.scorer, [silent], made.solutions)[0]
    one = Ablation(made.scorer, silent, made.solutions, none, seed=0)
    plain, found = one.scores([CHOSEN], FeatureEdit("ablate"))
    assert found[CHOSEN] == plain


def plan(made: Planted, *, edit: str = "ablate", baseline: bool = False) -> Plan:
    saes = [made.sae, dataclasses.replace(made.sae)] if baseline else [made.sae]
    return Plan(
        made.scorer,
        saes,
        made.solutions,
        edit=parse_edit(edit),
        threshold=0.5,
        aggregate=lambda scores: scores[-1],
        seed=0,
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_feature_that_moves_the_score_is_found_and_one_that_does_not_is_within_the_controls(
    tmp_path: Path, seed: int
) -> None:
    one = plan(planted(tmp_path, seed=seed))
    assert one.choose([MOVES, IDLE], singles=2, n_controls=20) == 0
    rows, effects = one.measure()
    by_name = {row.name: row for row in rows if (row.kind, row.measure) == ("feature", "score")}
    moves, idle = by_name[str(MOVES)], by_name[str(IDLE)]
    assert moves.control_low is not None and moves.control_high is not None
    assert idle.control_low is not None and idle.control_high is not None
    # it writes the reward up, so without it the score falls, further than without any control
    assert moves.change < moves.control_low and moves.change < 0
    assert moves.of_many == moves.chance == pytest.approx(1 / 21)
    assert moves.margin_high is not None and moves.margin_high < 0
    assert idle.control_low < idle.change < idle.control_high
    assert idle.of_many is not None and idle.of_many > 0.2
    assert len([e for e in effects if e.place.component == f"feature {MOVES}"]) == 21


def test_no_op_is_0_and_everything_ablated_is_the_error_term_alone(made: Planted) -> None:
    one = plan(made, edit="scale=2", baseline=True)
    one.choose(CHOSEN, singles=1, n_controls=5)
    rows, _ = one.measure()
    checks = {(row.name, row.measure): row.change for row in rows if row.kind == "check"}
    names = list(dict.fromkeys(name for name, _ in checks))
    assert names == ["no-op", "all features ablated", "error term and decoder bias alone"]
    for measure in ("score", "size", "auroc", "false_positive", "false_negative"):
        assert checks["no-op", measure] == 0.0
        assert checks[names[1], measure] == pytest.approx(checks[names[2], measure], abs=1e-6)
    assert checks[names[1], "size"] > 1e-3
    # the twins in the same SAE are the features themselves
    sets = {row.kind: row for row in rows if row.measure == "score"}
    assert sets["baseline"].change == pytest.approx(sets["set"].change)
    assert sets["baseline"].margin == pytest.approx(0.0, abs=1e-7)
    assert sets["set"].n_features == 3 and sets["set"].n_controls == 5


def test_the_twin_of_a_feature_correlates_most_with_it(
    made: Planted, fired: list[FiredSolution]
) -> None:
    shift = torch.randperm(F, generator=torch.Generator().manual_seed(0))
    other = dataclasses.replace(
        made.sae,
        W_enc_DF=made.sae.W_enc_DF[:, shift].contiguous(),
        W_dec_FD=made.sae.W_dec_FD[shift].contiguous(),
    )
    theirs = fired_solutions(made.scorer, [other], made.solutions)[0]
    n_tokens = sum(one.n_tokens for one in fired)
    found = twins(fired, theirs, CHOSEN, n_others=F, n_tokens=n_tokens)
    assert {feature: int(shift[twin]) for feature, twin in found.items()} == dict(
        zip(CHOSEN, CHOSEN, strict=True)
    )


def test_an_unknown_edit_is_one_line() -> None:
    assert parse_edit("scale=0.5") == FeatureEdit("scale", 0.5)
    for text, message in {
        "scale": "scale=FACTOR",
        "scale=x": "'x' is no number",
        "ablate=1": "ablate, mean, resample or scale",
        "zero": "--edit zero",
    }.items():
        with pytest.raises(ConfigError, match=message):
            parse_edit(text)
