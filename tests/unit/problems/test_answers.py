import time
from decimal import Decimal

import pytest

from rewardscope.problems import answers
from rewardscope.problems.answers import Grader, extract_answer, quick_verdict

EVIL = "9^{9^{9^9}}"


@pytest.fixture
def one_second(monkeypatch):
    """Give up after 1 CPU second instead of 5, to save the tests' time."""
    monkeypatch.setattr(answers, "ITEM_SECONDS", 1.0)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So the answer is $\boxed{42}$.", "42"),
        (r"\boxed{1}. Wait, no: \boxed{2}.", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),  # an escaped brace opens nothing
        (r"\boxed{\boxed{5}}", r"\boxed{5}"),
        (r"\boxed {7}", "7"),
        (r"\fbox{7}", "7"),
        (r"<think>\boxed{3}, hmm</think> It is \boxed{4}.", "4"),
        (r"<think>\boxed{3}, hmm</think> It is 4.", "3"),
        (r"} \boxed{5} {", "5"),
    ],
)
def test_the_answer_is_the_last_complete_box(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize("text", ["", "The answer is 5.", r"\boxed{25", r"\boxed{}", r"\boxed{ }", r"boxed{5}"])
def test_without_a_complete_box_there_is_no_answer(text):
    assert extract_answer(text) is None


@pytest.mark.parametrize("rest", [r"\boxed{25", r"put it in \boxed{}.", r"\boxed{\frac{1}{2}"])
def test_a_box_that_is_cut_off_or_empty_does_not_replace_a_complete_one(rest):
    assert extract_answer(rf"It is \boxed{{7}}. {rest}") == "7"


def test_a_complete_box_counts_also_within_one_that_never_ends():
    assert extract_answer(r"\boxed{ so x is \boxed{5}, and") == "5"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"$\boxed{1}$ and $\boxed{3}$", "1, 3"),
        (r"\boxed{1}, \boxed{2}, and \boxed{3}", "1, 2, 3"),
        (r"\boxed{0}. Then \boxed{1} or \boxed{3}", "1, 3"),
        (r"\boxed{1} and then \boxed{3}", "3"),
    ],
)
def test_boxes_that_only_a_comma_or_a_word_parts_are_one_answer(text, answer):
    assert extract_answer(text) == answer


def test_extraction_is_linear_in_open_and_closed_boxes():
    started = time.process_time()
    assert extract_answer(r"\boxed{" * 30_000) is None
    assert extract_answer(r"\boxed{1} " * 30_000) == "1"
    assert time.process_time() - started < 10  # scanning to the end from every box would take minutes


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("18", "18", True), ("18", "17", False), ("18", "+18", True), ("-18", "18", False), ("007", "7", True),
        ("1,234", "1234", True), ("1,234", "1235", False), ("18", "18.0", True), ("18", "18.", True), ("$18$", "18", True),
        ("0.333333", "0.3333331", True), ("0.333", "0.334", False), ("1.6", "1.61", False), (".5", "0.5", True),
        ("0.0000001", "0.0000002", False), ("0", "0.0000000001", False), ("9" * 300, "9" * 299 + "8", False),
        (r"\frac{1}{2}", r"\frac{1}{2}", True), ("x  + 1", "x + 1", True), ("", "", False),
        ("1/2", "0.5", None), ("4.5e33", "4.5", None), ("1, 2", "12", None), ("12,34", "1234", None), ("50%", "50", None),
    ],
)  # fmt: skip
def test_plain_numbers_and_equal_strings_are_decided_at_once(gold, answer, verdict):
    assert quick_verdict(gold, answer) is verdict


def test_quick_verdicts_on_decimals_follow_the_two_tolerances():
    for gold in ("123.456", "0.000123", "7", "-0.25"):
        for gap in ("1e-9", "4e-7", "1e-5", "1e-3"):
            answer = format(Decimal(gold) + Decimal(gap), "f")
            rounds_alike = round(Decimal(gold), 6) == round(Decimal(answer), 6)
            near = Decimal(gap) / max(abs(Decimal(gold)), abs(Decimal(answer))) <= Decimal("1e-5")
            assert quick_verdict(gold, answer) is (rounds_alike and near), (gold, answer)


def test_plain_answers_start_no_process(monkeypatch):
    def fail(*_arguments, **_options):
        raise AssertionError("a process was started")

    monkeypatch.setattr("subprocess.Popen", fail)
    with Grader() as grader:
        assert grader.grade([("5", "5"), ("5", "6"), ("5", None)] * 1000) == [True, False, False] * 1000
        assert grader.group([["5", "5.0", None, "6"], []]) == [[0, 0, None, 3], []]


@pytest.mark.usefixtures("one_second")
def test_an_evil_answer_stalls_nothing_and_the_next_are_still_graded():
    nested = "(" * 20_000 + "1" + ")" * 20_000
    with Grader() as grader:
        verdicts = grader.grade(
            [("5", r"\frac{10}{2}"), ("5", EVIL), ("5", nested), ("5", r"\frac{20}{4}"), ("5", r"\frac{20}{3}"), ("5", "")]
        )
        assert verdicts[1] is None  # no verdict, which is not the same as wrong
        assert verdicts[2] in (None, False)
        assert [verdicts[0], *verdicts[3:]] == [True, True, False, False]
        assert grader.grade([("5", r"\sqrt{25}")]) == [True]


def test_equal_answers_form_groups_whatever_their_writing():
    given = [r"\frac{1}{2}", None, "0.5", "x+1", "1/2", "1+x", "2", "0.5", "(1,2)"]
    with Grader() as grader:
        assert grader.group([given, ["2"]]) == [[0, None, 0, 3, 0, 3, 6, 0, 8], [0]]


@pytest.mark.usefixtures("one_second")
def test_an_answer_that_cannot_be_compared_stays_alone_and_breaks_no_other_group():
    with Grader() as grader:
        groups = grader.group([["5", "x+1", f"{EVIL}+x", "1+x", "5.0", f"{EVIL}+x", "x+2", "2+x"]])
    assert groups == [[0, 1, 2, 1, 0, 2, 6, 6]]


def test_leaving_the_grader_ends_its_processes():
    with Grader() as grader:
        grader.grade([("5", r"\frac{10}{2}")])
        processes = [worker._process for worker in grader._workers]
        assert [process.poll() for process in processes] == [None]
    assert all(process.poll() is not None for process in processes)
