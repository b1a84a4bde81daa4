"""One number from the scores of steps."""

import pytest

from rewardscope.errors import UnknownName
from rewardscope.search.aggregate import AGGREGATIONS, Aggregation, aggregate, check_aggregation


@pytest.mark.parametrize(
    ("how", "value"),
    [
        ("last", 0.5),
        ("min", 0.25),
        ("prod", 0.0625),
        ("mean", 0.4166666666666667),
        ("max", 0.5),
        ("last-1", 0.5),
        ("last-2", 0.375),
        ("last-9", 0.4166666666666667),
    ],
)
def test_each_aggregation_is_what_its_name_says(how: Aggregation, value: float) -> None:
    assert aggregate((0.5, 0.25, 0.5), how) == pytest.approx(value, abs=1e-15)


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_one_step_is_its_own_aggregate(how: Aggregation) -> None:
    assert aggregate((0.3,), how) == 0.3


def test_no_score_has_no_aggregate() -> None:
    with pytest.raises(AssertionError, match="no scores"):
        aggregate((), "last")


@pytest.mark.parametrize("how", ["lst", "last-0", "last-", "last-4x", ""])
def test_a_name_that_is_none_is_refused(how: str) -> None:
    with pytest.raises(UnknownName, match="aggregation"):
        check_aggregation(how)
    for known in (*AGGREGATIONS, "last-3"):
        check_aggregation(known)
