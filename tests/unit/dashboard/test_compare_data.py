import pytest

from rewardscope.dashboard.compare_data import Side, apart, compared, find_sides
from rewardscope.dashboard.trace_data import Scores, Shown, Viewed


def trace(source: int, *, correct: bool | None = None, scores: list[Scores] | None = None) -> Shown:
    return Shown(source=source, index=0, scores=scores or [], steps=["a", "b"], correct=correct)


def test_two_prms_are_apart_by_the_mean_distance_of_their_scores() -> None:
    scores = [
        Scores(source=0, values=[0.5, 0.75]),
        Scores(source=1, values=[0.25, 0.75]),
        Scores(source=1, values=[1.0, 0.0], name="other"),
    ]
    problem = Viewed(id="p", traces=[trace(0, scores=scores), trace(0, scores=scores[:1])])
    sides = find_sides([problem])
    assert sides == [Side(0, ""), Side(1, ""), Side(1, "other")]
    found = {(one.first, one.second): one for one in apart(problem, sides)}
    assert found[0, 1].value == pytest.approx((0.25 + 0) / 2)
    assert found[0, 2].value == pytest.approx((0.5 + 0.75) / 2)
    assert found[1, 2].value == pytest.approx((0.75 + 0.75) / 2)
    assert {one.n for one in found.values()} == {2} and found[0, 1].same_traces


def test_two_policies_are_apart_by_their_right_traces() -> None:
    traces = [trace(0, correct=True), trace(0, correct=False), trace(1, correct=True), trace(1)]
    (found,) = apart(Viewed(id="p", traces=traces), [Side(0, ""), Side(1, "")])
    assert (found.value, found.n, found.same_traces) == (0.5, 3, False)


def test_one_side_is_nothing_to_compare_and_what_is_not_graded_is_left_out() -> None:
    alone = Viewed(id="p", traces=[trace(0, correct=True)])
    assert compared([alone]) == {"sides": [], "apart": []}
    unknown = Viewed(id="q", traces=[trace(0, correct=True), trace(1)])
    assert compared([unknown])["apart"] == [[]]
