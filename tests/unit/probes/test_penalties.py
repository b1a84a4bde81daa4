"""Lists of penalties as text."""

import pytest

from rewardscope.errors import ConfigError
from rewardscope.probes.penalties import parse_penalties


@pytest.mark.parametrize(
    ("text", "penalties"),
    [
        ("1", (1.0,)),
        ("0", (0.0,)),
        ("10, 0.1,1e3", (0.1, 10.0, 1000.0)),
        ("1,1.0", (1.0,)),
        ("0.1..10", (0.1, 0.316227766017, 1, 3.16227766017, 10)),
    ],
)
def test_numbers_lists_and_ranges_are_read(text: str, penalties: tuple[float, ...]) -> None:
    assert parse_penalties(text) == pytest.approx(penalties, rel=1e-11)


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "nan", "inf", "1,", "1..", "10..1", "0..1", "1e-3..inf"]
)
def test_anything_else_is_refused_by_the_name_of_the_flag(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--ridge"):
        parse_penalties(text)
