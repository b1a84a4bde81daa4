"""What a terminal is given."""

import io

import pytest

from rewardscope.log import get_logger, printable, show
from rewardscope.storage.tables import show_table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("a\rb\x08\x7f\x9b31m", r"a\rb\x08\x7f\x9b31m"),
        ("gold \u202e5\u2066", r"gold \u202e5\u2066"),
        ("half \ud800", r"half \ud800"),
        ("é – 数学 \u00a0x\n\tend", "é – 数学 \u00a0x\n\tend"),
    ],
)
def test_what_is_no_text_is_written_as_its_number(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_cell_is_one_line_whatever_a_model_wrote() -> None:
    table = show_table(("answer", "n"), [("5\n\x1b[31m6", 1), ("7", 2)])
    assert len(table.splitlines()) == 4 and r"5\n\x1b[31m6" in table


def test_log_and_results_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    get_logger().warning("infer: \x1b[2J")
    show("\x1b[2J")
    out, err = capsys.readouterr()
    assert (out, err) == ("\\x1b[2J\n", "infer: \\x1b[2J\n")


def test_a_terminal_that_knows_ascii_only_is_given_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", ascii_only)
    show("√2 \ud800")
    ascii_only.flush()
    assert ascii_only.buffer.getvalue() == b"\\u221a2 \\ud800\n"
