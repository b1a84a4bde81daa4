"""Many changes of one input at once, against whole passes with the same edits."""

from collections.abc import Callable

import pytest
import torch

from rewardscope.interventions import edits, moves
from rewardscope.interventions.moves import Move, Mover
from rewardscope.interventions.run import Intervention, Variant, scores_under
from rewardscope.models.sites import Site
from rewardscope.prms.scorer import HfScorer
from rewardscope.records import Encoded
from tests.unit.prms.tiny_prm import make_prm

LAYERS = 3


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> HfScorer:
    return HfScorer(str(make_prm(tmp_path_factory.mktemp("prm"))), device="cpu")


@pytest.fixture(scope="module")
def encoded(scorer: HfScorer) -> Encoded:
    return scorer.encode("How many? " + "Tom has 12. " * 4, ["Tom has 3.", "So 7.", "It is 5."])


def move(*positions: int, size: float = 0.5) -> Move:
    return Move(positions, lambda: torch.full((len(positions), 32), size))


def by_whole_pass(scorer: HfScorer, encoded: Encoded, layer: int, one: Move) -> tuple[float, ...]:
    change = edits.add(one.added()[0])
    done = Intervention(Site(layer), one.positions, change)
    return scores_under(scorer, [Variant(encoded, [done])])[0]


@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize("way", ["resumed", "whole passes"])
def test_scores_are_those_of_whole_passes_with_the_same_edit(
    scorer: HfScorer, encoded: Encoded, layer: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "whole passes":
        monkeypatch.setattr(moves, "resumes", lambda _: False)
    first, second, last = encoded.step_ends
    several = [move(first), move(first + 1, second), move(last), move(5, second, last, size=-2.0)]
    plain, found = Mover(scorer, layer).scores(encoded, several)
    assert plain == pytest.approx(scorer.score([encoded])[0], abs=1e-6)
    for one, scores in zip(several, found, strict=True):
        assert scores == pytest.approx(by_whole_pass(scorer, encoded, layer, one), abs=1e-5)
    # what stands before the first change is the same to the last bit
    assert found[1][0] == plain[0] and found[2][:2] == plain[:2] and found[2][2] != plain[2]


@pytest.mark.parametrize("layer", range(LAYERS))
def test_what_changes_nothing_leaves_the_very_same_scores(
    scorer: HfScorer, encoded: Encoded, layer: int
) -> None:
    idle = [Move((), lambda: torch.zeros(0, 32)), move(3, 9, size=0.0)]
    plain, found = Mover(scorer, layer).scores(encoded, idle)
    assert found == [plain, plain]


def test_after_the_last_block_only_step_ends_matter(scorer: HfScorer, encoded: Encoded) -> None:
    first, _, last = encoded.step_ends
    plain, found = Mover(scorer, LAYERS - 1).scores(
        encoded, [move(first - 1, first + 1), move(first, first + 1)]
    )
    assert found[0] == plain
    assert found[1][0] != plain[0] and found[1][1:] == plain[1:] and last > first


def no_such_thing(*_: object, **__: object) -> torch.Tensor:
    raise TypeError("unexpected keyword")


def other_states(*_: object, **__: object) -> torch.Tensor:
    return torch.zeros(2, 2, 32)


@pytest.mark.parametrize("broken", [no_such_thing, other_states])
def test_a_model_that_cannot_go_on_is_run_as_a_whole(
    scorer: HfScorer,
    encoded: Encoded,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    broken: Callable[..., torch.Tensor],
) -> None:
    monkeypatch.setattr(moves, "go_on", broken)
    end = encoded.step_ends[1]
    _, found = Mover(scorer, 1).scores(encoded, [move(end)])
    assert found[0] == pytest.approx(by_whole_pass(scorer, encoded, 1, move(end)), abs=1e-5)
    assert "cannot go on from the states after block 1" in capsys.readouterr().err


def test_many_changes_cost_few_tokens(scorer: HfScorer, encoded: Encoded) -> None:
    before = scorer.tokens_encoded
    last = encoded.step_ends[-1]
    mover = Mover(scorer, 0)
    mover.scores(encoded, [move(last - 2, size=n / 10) for n in range(1, 30)])
    proof = 2 * (last + 1 - last // 2)
    assert scorer.tokens_encoded - before == last + 1 + proof + 29 * 3
