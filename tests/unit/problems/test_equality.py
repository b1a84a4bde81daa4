"""Each kind of fault that graders of mathematics are known for, both ways: what is equal is, and
what is near it is not.
"""

import json
import time
from pathlib import Path

import pytest

from rewardscope.problems import answers
from rewardscope.problems.answers import Attempt, Grader
from rewardscope.problems.equality import judge
from rewardscope.problems.extraction import extract
from rewardscope.problems.grader_worker import grade
from rewardscope.problems.judgement import GRADINGS, Judgement, quick_judgement

CASES = Path(__file__).parents[3] / "../shared/data/grading_cases.jsonl"


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        # upright e and i
        (r"\mathrm{e}^{3}", "e^3"),
        (r"\frac{1}{\text{e}}", "1/e"),
        (r"2-5\mathrm{i}", "2-5i"),
        (r"(1+i)^2", "2i"),
        # groups of three digits, however they are parted
        ("12345678", "12 345 678"),
        ("12345678", r"12\,345\,678"),
        # times of day, ratios
        ("7:30", "7{:}30"),
        ("15:30", r"3:30 \text{ p.m.}"),
        (r"9:05\text{ a.m.}", "9:05 AM"),
        ("4:6", "2:3"),
        ("3:4", r"\frac{3}{4}"),
        # units, also those that differ by a factor
        ("5 \\text{ km}", "5000 \\text{ m}"),
        ("12\\ \\mathrm{m/s}", "12 \\frac{\\text{m}}{\\text{s}}"),
        ("90\\ \\text{km/h}", "25\\ \\text{m/s}"),
        ("3 \\text{ hours}", "180 \\text{ minutes}"),
        ("5", "5 \\text{ dollars}"),
        ("20\\% \\text{ decrease}", "20\\%"),
        # percent
        (r"12\frac{1}{2}\%", r"12.5\%"),
        (r"\frac{1}{8}", r"12\frac{1}{2}\%"),
        ("0.5", r"50\%"),
        ("50", "50 percent"),
        # inequalities and sets
        ("2<x<5", r"x>2 \text{ and } x<5"),
        ("2<x<5", "5>x>2"),
        (r"x\le -1 \text{ or } x\ge 4", r"(-\infty,-1]\cup[4,\infty)"),
        (r"[0,\infty)", r"\{x \in \mathbb{R} \mid x \geq 0\}"),
        (r"(-\infty,\infty)", r"\text{all real numbers}"),
        (r"\mathbb{R}\setminus\{3\}", r"x \neq 3"),
        (r"\emptyset", r"\text{no solution}"),
        ("(-1,3]", "]-1,3]"),
        ("(-1,1)", "|x|<1"),
        ("x<3", "2x<6"),
        (r"x \le -2 \text{ or } x \ge 2", r"x^2 \ge 4"),
        # decorations
        ("17", "=17"),
        ("17", r"\approx 17"),
        ("17", r"{\bf 17}"),
        ("17", r"\large 17"),
        ("61", "**61**"),
        ("61", "Answer: 61"),
        ("17", r"\text{The answer is } 17"),
        ("17", r"\begin{aligned} x &= 20-3 \\ &= 17 \end{aligned}"),
        ("12", r"\textbf{(C)}\ 12"),
        ("C", r"\textbf{(C)}\ 12"),
        (r"\textbf{(C)}\ 12", "12"),
        ("2n", r"2n \text{ where } n \ge 1"),
        (r"\pi n", r"\pi n, n \in \mathbb{Z}"),
        ("90", "90°"),
        (r"\sqrt{3}", "√3"),
        (r"\frac{1}{2}", "½"),
        ("x^{12}", "x¹²"),
        (r"\infty", "∞"),
        ("x \\le 3", "x ≤ 3"),
        ("20", "€20"),
        # plus and minus
        (r"\pm 3", "3, -3"),
        (r"x=\pm 3", r"x = 3 \text{ or } x = -3"),
    ],
)
def test_the_same_answer_written_otherwise_is_right(gold, answer):
    assert judge(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        # exact numbers, however near
        (r"\frac{1}{52!}", r"\frac{1}{51!}"),
        (r"\frac{1}{52!}", r"-\frac{1}{52!}"),
        (r"\frac{1}{2^{80}}", "0"),
        (r"\sqrt{2}+\frac{1}{10^{40}}", r"\sqrt{2}"),
        (r"1-\frac{1}{3^{60}}", "1"),
        (r"(0,\frac{1}{10^{20}})", r"(0,\frac{3}{10^{20}})"),
        (r"\{\frac{1}{10^{20}},1\}", r"\{\frac{2}{10^{20}},1\}"),
        # upright letters are no units
        (r"2\mathrm{i}", "2"),
        (r"5\mathrm{e}", "5"),
        # numbers side by side
        ("5", "2 3"),
        ("5", r"2\ 3"),
        ("6", r"2\;3"),
        ("357", "12 345"),
        # what has no value is not equal to anything else that has none
        (r"\frac{1}{0}", r"\frac{2}{0}"),
        ("11:00", "1:00"),
        ("3:15", r"3\frac{1}{4}"),
        (r"10:00 \text{ a.m.}", r"10:00 \text{ p.m.}"),
        # words
        (r"20\% \text{ decrease}", r"20\% \text{ increase}"),
        (r"3\text{ meters north}", r"3\text{ meters south}"),
        (r"5 \text{ left}", r"5 \text{ right}"),
        (r"4 \text{ more}", r"4 \text{ fewer}"),
        (r"5 \text{ km}", r"5 \text{ m}"),
        (r"5 \text{ cm}^2", r"5 \text{ cm}^3"),
        (r"5 \text{ hours}", r"5 \text{ miles}"),
        # percent: the side with the sign matters
        (r"50\%", r"0.5\%"),
        ("0.0005", r"5\%"),
        (r"5\%", "0.0005"),
        (r"5\%", "500"),
        # sets, intervals, pairs
        ("[0,1]", r"\{0,1\}"),
        ("(1,2)", r"\{1,2\}"),
        ("(5,3)", "(7,2)"),
        ("2<x<5", r"2<x\le 5"),
        ("2<x<5", "2<y<5"),
        (r"x<2 \text{ or } x>5", r"x>2 \text{ and } x<5"),
        (r"\mathbb{R}", r"\emptyset"),
        (r"x \ne 2", r"x \ne 3"),
        ("2x<6", "2x<7"),
        ("x^2<4", "x<2"),
        # a choice with its value
        (r"\textbf{(C)}\ 12", r"\textbf{(D)}\ 12"),
        (r"\textbf{(C)}\ 12", "13"),
        (r"\pm 3", "3"),
    ],
)
def test_an_answer_that_only_looks_alike_is_wrong(gold, answer):
    assert not judge(gold, answer)
    assert grade(gold, answer, None)[0] is not True


@pytest.mark.parametrize(
    ("gold", "answer", "nearly_right"),
    [
        ("10000", "9999", False),
        ("100000", "99999", False),
        (r"\frac{20000}{2}", "9999", False),
        ("10000.0", "9999.5", True),
        ("3.14159", "3.1416", True),
    ],
)
def test_a_whole_number_is_never_nearly_right(gold, answer, nearly_right):
    judgement = quick_judgement(gold, answer, None) or Judgement(*grade(gold, answer, None))
    assert judgement.verdict("rel1e-4") is nearly_right
    assert judgement.verdict("strict") is False


@pytest.mark.parametrize(
    ("gold", "answer"),
    [(r"\frac{4}{9}", r"\frac{4}{0}"), (r"\frac{1}{0}", r"\frac{2}{0}"), (r"3\text{ m}", "3 s")],
)
def test_what_differs_in_kind_is_wrong_in_every_grading_and_not_unread(gold, answer):
    judgement = Judgement(*grade(gold, answer, None))
    assert judgement.gold_read
    assert [judgement.verdict(grading) for grading in GRADINGS] == [False] * 3


@pytest.mark.parametrize("gold", ["x =", r"\frac{1}{", "t(0,4]"])
def test_a_gold_answer_that_cannot_be_read_is_said_to_be(gold):
    assert grade(gold, "5", None)[3] is False


@pytest.mark.parametrize("gold", ["5", r"\text{even}", "blue", "x+1"])
def test_a_number_a_formula_and_words_are_read(gold):
    assert grade(gold, "7", None)[3] is True


def test_unread_gold_answers_are_warned_of(capsys):
    with Grader() as grader:
        grader.grade([Attempt(r"\frac{1}{", "5"), Attempt(r"\frac{1}{", "6"), Attempt("5", "6")])
    assert "1 gold answers cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "answer",
    [
        "9" * 10_000,
        "0." + "3" * 10_000,
        "(" * 3_000 + "1" + ")" * 3_000,
        r"\frac{1}{" * 1_000 + "2" + "}" * 1_000,
        "10^{10^{10^{10}}}",
        "2^{99999999999}",
        "100000000!",
        "x" * 4_000,
        "1 " * 2_000,
        "5" + "x" * 60 + "!",
        r"\text{ or }" * 400,
        "1,\\ " * 1_000,
    ],
    ids=lambda answer: answer[:12],
)
def test_a_huge_answer_neither_hangs_nor_raises(answer, impatient):
    started = time.monotonic()
    (judgement,) = impatient.grade([Attempt("5", answer)])
    assert judgement.correct is not True
    assert time.monotonic() - started < 60


@pytest.fixture(scope="module")
def grader():
    with Grader() as grader:
        yield grader


@pytest.fixture(scope="module")
def impatient():
    """Return a grader that gives up after 1 CPU second instead of 5, to save the tests' time."""
    with pytest.MonkeyPatch.context() as patch, Grader() as grader:
        patch.setattr(answers, "ITEM_SECONDS", 1.0)
        yield grader


def test_whole_numbers_of_ten_thousand_digits_are_compared(grader):
    long = "7" * 10_000
    found = grader.grade([Attempt(long, long), Attempt(long, long[:-1] + "8")])
    assert [judgement.correct for judgement in found] == [True, False]


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not part of the project")
def test_the_cases_collected_from_reports_of_other_graders_agree(grader):
    rows = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    attempts = [
        Attempt(
            row["gold"],
            extract(row["answer"], "boxed").answer if "box" in row["answer"] else row["answer"],
        )
        for row in rows
    ]
    found = [judgement.correct is True for judgement in grader.grade(attempts)]
    assert [
        (row["gold"], row["answer"])
        for row, right in zip(rows, found, strict=True)
        if right != row["right"]
    ] == []
