"""The rules of equality, in this process; `test_answers.py` tests the processes around them."""

import pytest

from rewardscope.problems.equality import judge, same
from rewardscope.problems.grader_worker import grade
from rewardscope.problems.judgement import quick_judgement


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        # what math-verify misreads by itself
        ("4.5e33", r"4.5 \times 10^{33}"),
        ("4.5e33", "4.5 × 10^33"),
        ("1e-5", "0.00001"),
        ("6.02e23", "602000000000000000000000"),
        ("np.arcsin(10/13)", r"\arcsin(10/13)"),
        ("-1./3", r"-\frac{1}{3}"),
        ("12", "12."),
        (r"0.1\overline{6}", r"\frac{1}{6}"),
        ("3.5", "3 1/2"),
        ("3", r"\text{3 apples}"),
        ("10000", r"10\,000"),
        (r"\frac{dM}{dt}=kM", "kM"),
        ("E_{1},E_{2}", "E_1, E_2"),
        (r"\frac{1}{3} E_{1}+\frac{2}{3} E_{2}", r"\frac{E_1+2E_2}{3}"),
        (r"\lambda_{\text {red}} / \sqrt{2}", r"\frac{\lambda_{\text{red}}}{\sqrt{2}}"),
        (r"M_{\odot}^2", r"M_\odot^2"),
        ("10, 100", "100,10"),
        (r"(2,\infty)", "x>2"),
        ("$5$", "5"),
        # what it reads well must stay so
        ("x>2", r"(2,\infty)"),
        (r"\frac{1}{2}", "0.5"),
        ("1/3", "0.333333"),
        ("(x+1)^2", "x^2+2x+1"),
        ("x=5", "5"),
        ("5", "x=5"),
        (r"\text{Evelyn}", "Evelyn"),
        ("C", r"\text{(C)}"),
        (r"90^\circ", "90"),
        (r"5\mathrm{~m} / \mathrm{s}^{2}", "5"),
        (r"50\%", "0.5"),
        ("1,234", "1234"),
        (r"10,\!000", "10000"),
        (r"\pm 2", "2,-2"),
        (r"\{1,2\}", "2,1"),
        ("(1,2)", "1,2"),
        ("11_2", "11"),
        (r"12\pi", "12 pi"),
        (
            r"\begin{pmatrix} 1/7\\2\end{pmatrix}",
            r"\begin{pmatrix} \frac{1}{7} \\[8pt] 2\end{pmatrix}",
        ),
        # units, scales, percentages
        ("166", "166 cm^2"),
        (r"\frac{600}{7}", r"\frac{600}{7} km/h"),
        ("18", "18 dollars"),
        ("90, 45", "90 cm, 45 cm"),
        ("5", "5 m/s^2"),
        ("18000000", "18 million"),
        ("2500", r"2.5 \text{ thousand}"),
        ("4.2", r"4.2\%"),
        ("0.042", r"4.2\%"),
        (r"\begin{pmatrix} 1\\2\end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}"),
        (r"\frac{dx}{dt}=kx-a", r"\frac{dx}{dt}-kx+a=0"),
    ],
)
def test_two_ways_to_write_an_answer_are_equal(gold, answer):
    assert judge(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        # math-verify by itself says equal
        (r"6.7 \times 10^{-27}", r"6.8 \times 10^{-27}"),
        ("1e-9", "2e-9"),
        ("0.0000001", "0.0000002"),
        ("(1,2)", "2,1"),
        ("11_2", "11_3"),
        (r"\frac{1}{3} E_{1}+\frac{2}{3} E_{2}", r"\frac{1}{3} E_{1}+\frac{2}{3} E_{3}"),
        (r"\frac{dx}{dt}=kx-a", r"-\frac{dx}{dt}=kx-a"),
        # a letter that no unit is, a scale that is no unit
        ("5", "5x"),
        ("3", "3 sin x"),
        ("18", "18 million"),
        ("18", r"\text{18 million}"),
        ("x", "x y"),
        ("4.2", r"4.3\%"),
        ("4.2", r"0.042\%"),
        # and what is plainly different
        ("1/3", "0.333"),
        ("1.6", "1.61"),
        (r"3 \times 10^{8}", "300000001"),
        ("(1,2)", "(2,1)"),
        ("[1,2]", "(1,2)"),
        ("y=5", "x=5"),
        (r"\text{even}", "odd"),
        ("2,3", "2,4"),
        ("x^2", "x^3"),
        (r"\frac{\pi}{2}", "90"),
        ("5", ""),
        ("", "5"),
        ("1+2i", "1-2i"),
    ],
)
def test_different_answers_are_not_equal(gold, answer):
    assert not judge(gold, answer)


def test_same_needs_equality_whichever_is_the_gold_one():
    # the right side of an equation is taken for its value
    assert judge("1", "2x+z=1") and not judge("2x+z=1", "1")
    assert not same("1", "2x+z=1")
    assert same("x+1", "1+x")


@pytest.mark.parametrize("gold", ["7", "0.5", "123.456", "0.000123", "1,234"])
@pytest.mark.parametrize(
    "answer",
    [
        "7",
        "7.0",
        "0.50",
        "0.5000004",
        "0.500001",
        "123.4560001",
        "0.0001230004",
        "0.000123000001",
        "1234",
        "1234.00",
    ],
)
def test_quick_verdicts_agree_with_math_verify(gold, answer):
    quick = quick_judgement(gold, answer, None)
    assert quick is not None and quick.correct is judge(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        # no expression
        ("5", r"\frac{1}{", None),
        ("5", "x =", None),
        ("5", "?", None),
        ("x+1", "x + )", None),
        # read as words
        ("5", r"\text{even}", False),
        ("5", "I do not know", False),
        (r"\text{odd}", r"\text{even}", False),
        # where the gold one is no expression either, texts are compared
        ("5", "6", False),
        ("x =", "x +", False),
    ],
)
def test_an_answer_that_is_no_expression_is_unparsed_and_not_wrong(gold, answer, verdict):
    assert grade(gold, answer, None)[0] is verdict


@pytest.mark.parametrize(
    ("gold", "answer", "gap"),
    [
        ("100", "99", 0.01),
        (r"\frac{1}{3}", "0.3", 0.1),
        ("1, 2", "2.5, 1", 0.2),
        ("2, 1", "1, 2.5", 0.2),
        ("[1,2]", "[1,4]", 0.5),
        ("(1,2,4)", "(1,2,5)", 0.2),
        ("x=5", "4", 0.2),
        ("5", "-5", 2.0),
        ("[1,2]", "(1,4]", None),
        ("1,2", "1,2,3", None),
        ("x+1", "x+2", None),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\4\end{pmatrix}", 0.5),
        ("y=5", "x=4", None),
    ],
)
def test_the_gap_is_the_largest_relative_difference_of_corresponding_numbers(gold, answer, gap):
    assert grade(gold, answer, None)[:2] == (False, None if gap is None else pytest.approx(gap))
