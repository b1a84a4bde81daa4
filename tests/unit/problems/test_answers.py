import signal
from decimal import Decimal

import pytest

from rewardscope.problems import answers
from rewardscope.problems.answers import Attempt, Grader
from rewardscope.problems.judgement import GRADINGS, Judgement, quick_judgement

EVIL = "9^{9^{9^9}}"


def verdicts(grader: Grader, pairs: list[tuple[str, str | None]]) -> list[bool | None]:
    return [
        judgement.correct
        for judgement in grader.grade([Attempt(gold, answer) for gold, answer in pairs])
    ]


def quick_verdict(gold: str, answer: str) -> bool | None:
    judgement = quick_judgement(gold, answer, None)
    return None if judgement is None else judgement.correct


@pytest.fixture
def one_second(monkeypatch):
    """Give up after 1 CPU second instead of 5, to save the tests' time."""
    monkeypatch.setattr(answers, "ITEM_SECONDS", 1.0)


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("18", "18", True),
        ("18", "17", False),
        ("18", "+18", True),
        ("-18", "18", False),
        ("007", "7", True),
        ("1,234", "1234", True),
        ("1,234", "1235", False),
        ("18", "18.0", True),
        ("18", "18.", True),
        ("$18$", "18", True),
        ("0.333333", "0.3333331", True),
        ("0.333", "0.334", False),
        ("1.6", "1.61", False),
        (".5", "0.5", True),
        ("0.0000001", "0.0000002", False),
        ("0", "0.0000000001", False),
        ("9" * 300, "9" * 299 + "8", False),
        (r"\frac{1}{2}", r"\frac{1}{2}", True),
        ("x  + 1", "x + 1", True),
        ("1/2", "0.5", None),
        ("4.5e33", "4.5", None),
        ("1, 2", "12", None),
        ("12,34", "1234", None),
        ("50%", "50", None),
    ],
)
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
        assert (
            verdicts(grader, [("5", "5"), ("5", "6"), ("5", None)] * 1000)
            == [True, False, False] * 1000
        )
        assert grader.group([["5", "5.0", None, "6"], []]) == [[0, 0, None, 3], []]


@pytest.mark.usefixtures("one_second")
def test_an_evil_answer_stalls_nothing_and_the_next_are_still_graded():
    nested = "(" * 20_000 + "1" + ")" * 20_000
    with Grader() as grader:
        given = [r"\frac{10}{2}", EVIL, nested, r"\frac{20}{4}", r"\frac{20}{3}", ""]
        found = verdicts(grader, [("5", answer) for answer in given])
        assert found[1] is None  # unparsed, which is not the same as wrong
        assert found[2] in (None, False)
        assert [found[0], *found[3:]] == [True, True, False, False]
        assert verdicts(grader, [("5", r"\sqrt{25}")]) == [True]


def test_equal_answers_form_groups_whatever_their_writing():
    given = [r"\frac{1}{2}", None, "0.5", "x+1", "1/2", "1+x", "2", "0.5", "(1,2)"]
    with Grader() as grader:
        assert grader.group([given, ["2"]]) == [[0, None, 0, 3, 0, 3, 6, 0, 8], [0]]


@pytest.mark.usefixtures("one_second")
def test_an_answer_that_cannot_be_compared_stays_alone_and_breaks_no_other_group():
    with Grader() as grader:
        groups = grader.group([["5", "x+1", f"{EVIL}+x", "1+x", "5.0", f"{EVIL}+x", "x+2", "2+x"]])
    assert groups == [[0, 1, 2, 1, 0, 2, 6, 6]]


@pytest.mark.usefixtures("one_second")
def test_several_workers_are_each_replaced_and_verdicts_keep_their_order(monkeypatch):
    monkeypatch.setattr(answers, "PAIRS_PER_WORKER", 2)
    monkeypatch.setattr(answers.os, "cpu_count", lambda: 3)
    given = [
        f"{EVIL}+{i}" if i % 4 == 0 else rf"\frac{{{10 * i}}}{{{2 if i % 4 == 1 else 3}}}"
        for i in range(12)
    ]
    with Grader() as grader:
        found = verdicts(grader, [(str(5 * i), answer) for i, answer in enumerate(given)])
        assert len(grader._workers) == 3
    assert found == [{0: None, 1: True}.get(i % 4, False) for i in range(12)]


def test_a_comparison_that_waits_instead_of_working_is_ended_as_well(monkeypatch):
    with Grader() as grader:
        assert verdicts(grader, [("5", r"\frac{10}{2}")]) == [True]
        (worker,) = grader._workers
        process = worker.process
        monkeypatch.setattr(answers, "WALL_SECONDS", 0.2)
        process.send_signal(signal.SIGSTOP)  # takes no CPU time, so the limit on that never comes
        assert verdicts(grader, [("5", r"\frac{20}{4}")]) == [None]
        assert process.poll() is not None
        monkeypatch.setattr(answers, "WALL_SECONDS", 60.0)
        assert verdicts(grader, [("5", r"\sqrt{25}")]) == [True]


@pytest.mark.parametrize(
    ("gold", "answer", "strict", "near", "far"),
    [
        ("5", "5", True, True, True),
        ("3.14159", "3.1416", False, True, True),
        ("3.14159", "3.1417", False, True, True),
        ("3.14", "3.15", False, False, True),
        ("3.14", "3.2", False, False, False),
        ("1000", "1001", False, False, True),
        ("0", "0.00001", False, False, False),
        ("5", "-5", False, False, False),
        ("5", None, False, False, False),
        (r"\frac{1}{3}", "0.33333", False, True, True),
        (r"\frac{1}{3}", "0.333", False, False, True),
        ("1/3", "0.33", False, False, True),
        (r"4.5 \times 10^{33}", r"4.51 \times 10^{33}", False, False, True),
        ("x+1", "x+1.0001", False, False, False),
        ("1, 2", "2, 1.00005", False, True, True),
        ("1, 2", "1.00005", False, False, False),
        ("(1, 2)", "(1, 2.01)", False, False, True),
        ("x=7", "7.0005", False, True, True),
        ("50", r"50.1\%", False, False, True),
        ("5", r"\frac{1}{", None, None, None),
        ("", "5", None, None, None),
    ],
)
def test_the_three_gradings_differ_by_the_gap_they_allow(gold, answer, strict, near, far):
    with Grader() as grader:
        (judgement,) = grader.grade([Attempt(gold, answer)])
    assert [judgement.verdict(grading) for grading in GRADINGS] == [strict, near, far]


def test_the_error_that_the_data_set_allows_is_right_in_every_grading():
    with Grader() as grader:
        found = grader.grade(
            [
                Attempt("4.2", given, 0.1)
                for given in ("4.3", "4.31", r"4.25\%", r"\frac{43}{10}", r"\frac{44}{10}")
            ]
        )
    assert [judgement.correct for judgement in found] == [True, False, True, True, False]
    assert Judgement(True, 0.0).verdict("rel1e-2")
