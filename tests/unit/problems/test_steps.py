"""Steps in texts of any line ends."""

import json
from pathlib import Path

import pytest

from rewardscope.problems.imports import read_traces
from rewardscope.problems.steps import delimiter_in, split_steps
from rewardscope.problems.thinking import StepFormat
from rewardscope.records import Completion

BREAKS = ["\n\n", "\r\n\r\n", "\n \n", "\n\t \n", "\r\n \r\n", "\r\r", "\n\u00a0\n", " \n\n"]


@pytest.mark.parametrize("between", BREAKS)
def test_an_empty_line_of_any_form_parts_the_steps_of_a_text_from_elsewhere(
    between: str, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.jsonl"
    row = {"problem": "Q?", "solution": between.join(["One", "Two", "Three"])}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    [solved] = read_traces(path, "plain", dataset="d", side="modified", delimiter="\n\n")
    steps = [step.rstrip() for step in solved.traces[0].steps]
    assert steps == ["One", "Two", "Three"]


def test_a_delimiter_that_means_its_line_ends_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "theirs.jsonl"
    row = {"problem": "Q?", "solution": "One\r\n \r\nTwo\r\rThree"}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    [solved] = read_traces(path, "plain", dataset="d", side="modified", delimiter="\r\r")
    assert solved.traces[0].steps == ("One\r\n \r\nTwo", "Three")


@pytest.mark.parametrize("between", [form for form in BREAKS if form not in ("\r\r",)])
def test_the_text_of_a_policy_is_cut_at_its_own_empty_lines_and_stays_as_it_is(
    between: str,
) -> None:
    text = between.join(["One", "Two", "Three"])
    completion = Completion(text=text, token_ids=(1, 2), finish="eos")
    trace = StepFormat().trace("d/0", 0, completion)
    assert len(trace.steps) == 3 and trace.delimiter.join(trace.steps) == text


def test_a_text_with_an_empty_line_has_the_delimiter_that_was_asked_for() -> None:
    assert delimiter_in("a\n\nb\n \nc") == "\n\n"
    assert delimiter_in("a\n \nb", "\n") == "\n"
    assert split_steps("a\n\nb\n \nc") == ["a", "b\n \nc"]
