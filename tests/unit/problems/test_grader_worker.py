"""The rules of equality, in this process; `test_answers.py` tests the processes around them."""

import json
import re
from pathlib import Path

import pytest

from rewardscope.problems.answers import Grader, extract_answer, quick_verdict
from rewardscope.problems.datasets import load_problems
from rewardscope.problems.grader_worker import judge, parsed, same

DATA = Path(__file__).parents[3] / "../shared/data"
SETS = {"math500": 500, "minervamath": 272, "olympiadbench": 675, "gsm8k_test_300": 300}


def golds(name: str) -> list[str]:
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"{path.name} is not here: it is published data, not part of the project")
    return [problem.answer for problem in load_problems(str(path))]


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        # what math-verify misreads by itself
        ("4.5e33", r"4.5 \times 10^{33}"), ("4.5e33", "4.5 × 10^33"), ("1e-5", "0.00001"), ("6.02e23", "602000000000000000000000"),
        ("np.arcsin(10/13)", r"\arcsin(10/13)"), ("-1./3", r"-\frac{1}{3}"), ("12", "12."), (r"0.1\overline{6}", r"\frac{1}{6}"),
        ("3.5", "3 1/2"), ("3", r"\text{3 apples}"), ("10000", r"10\,000"), (r"\frac{dM}{dt}=kM", "kM"),
        ("E_{1},E_{2}", "E_1, E_2"), (r"\frac{1}{3} E_{1}+\frac{2}{3} E_{2}", r"\frac{E_1+2E_2}{3}"),
        (r"\lambda_{\text {red}} / \sqrt{2}", r"\frac{\lambda_{\text{red}}}{\sqrt{2}}"), (r"M_{\odot}^2", r"M_\odot^2"),
        ("10, 100", "100,10"), (r"(2,\infty)", "x>2"), ("$5$", "5"),
        # what it reads well must stay so
        ("x>2", r"(2,\infty)"), (r"\frac{1}{2}", "0.5"), ("1/3", "0.333333"), ("(x+1)^2", "x^2+2x+1"), ("x=5", "5"), ("5", "x=5"),
        (r"\text{Evelyn}", "Evelyn"), ("C", r"\text{(C)}"), (r"90^\circ", "90"), (r"5\mathrm{~m} / \mathrm{s}^{2}", "5"), (r"50\%", "0.5"),
        ("1,234", "1234"), (r"10,\!000", "10000"), (r"\pm 2", "2,-2"), (r"\{1,2\}", "2,1"), ("(1,2)", "1,2"), ("11_2", "11"),
        (r"\begin{pmatrix} 1\\2\end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}"), (r"\frac{dx}{dt}=kx-a", r"\frac{dx}{dt}-kx+a=0"),
    ],
)  # fmt: skip
def test_two_ways_to_write_an_answer_are_equal(gold, answer):
    assert judge(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        # math-verify by itself says equal
        (r"6.7 \times 10^{-27}", r"6.8 \times 10^{-27}"), ("1e-9", "2e-9"), ("0.0000001", "0.0000002"), ("(1,2)", "2,1"), ("11_2", "11_3"),
        (r"\frac{1}{3} E_{1}+\frac{2}{3} E_{2}", r"\frac{1}{3} E_{1}+\frac{2}{3} E_{3}"),
        (r"\frac{dx}{dt}=kx-a", r"-\frac{dx}{dt}=kx-a"),
        # and what is plainly different
        ("1/3", "0.333"), ("1.6", "1.61"), (r"3 \times 10^{8}", "300000001"), ("(1,2)", "(2,1)"), ("[1,2]", "(1,2)"), ("y=5", "x=5"),
        (r"\text{even}", "odd"), ("2,3", "2,4"), ("x^2", "x^3"), (r"\frac{\pi}{2}", "90"), ("5", ""), ("", "5"), ("1+2i", "1-2i"),
    ],
)  # fmt: skip
def test_different_answers_are_not_equal(gold, answer):
    assert not judge(gold, answer)


def test_same_needs_equality_whichever_is_the_gold_one():
    assert judge("1", "2x+z=1") and not judge("2x+z=1", "1")  # the right side of an equation is taken for its value
    assert not same("1", "2x+z=1")
    assert same("x+1", "1+x")


@pytest.mark.parametrize("name", SETS)
def test_every_published_gold_is_right_against_itself(name):
    answers = golds(name)
    assert len(answers) == SETS[name]
    with Grader() as grader:
        assert grader.grade([(gold, extract_answer(rf"The answer is $\boxed{{{gold}}}$.")) for gold in answers]) == [True] * len(answers)
    # Equal strings are decided without math-verify; so ask it too, about what the comparison of strings would hide.
    assert [gold for gold in answers if not judge(gold, gold)] == []


def test_almost_every_published_gold_is_understood_as_an_expression():
    as_text = [gold for name in SETS for gold in golds(name) if isinstance(parsed(gold)[0], str)]
    assert len(as_text) <= 2, as_text  # a sentence, and "t(0,4]"


def test_golds_in_e_notation_take_the_form_that_models_write_and_no_other_exponent():
    found = [gold for gold in golds("minervamath") if re.fullmatch(r"[\d.]+e-?\d+", gold)]
    assert len(found) == 58
    for gold in found:
        mantissa, exponent = gold.split("e")
        assert judge(gold, rf"{mantissa} \times 10^{{{exponent}}}"), gold
        assert not judge(gold, rf"{mantissa} \times 10^{{{int(exponent) + 1}}}"), gold
        assert not judge(gold, rf"{mantissa} \times 10^{{{int(exponent) - 1}}}"), gold


@pytest.mark.parametrize("name", SETS)
def test_numbers_with_another_sign_or_last_digit_are_wrong(name):
    numbers = [
        gold for gold in golds(name) if re.fullmatch(r"-?\d+(\.\d+)?|-?\\frac\{\d+\}\{\d+\}", gold) and float(re.sub(r"\D", "", gold))
    ]
    assert len(numbers) > 0.4 * SETS[name]
    for gold in numbers:
        position = max(i for i, character in enumerate(gold) if character.isdigit())
        for wrong in (
            gold[1:] if gold[0] == "-" else f"-{gold}",
            f"{gold[:position]}{(int(gold[position]) + 1) % 10 or 1}{gold[position + 1 :]}",
        ):
            quick = quick_verdict(gold, wrong)
            assert not (judge(gold, wrong) if quick is None else quick), (gold, wrong)


@pytest.mark.parametrize("gold", ["7", "0.5", "123.456", "0.000123", "1,234"])
@pytest.mark.parametrize(
    "answer", ["7", "7.0", "0.50", "0.5000004", "0.500001", "123.4560001", "0.0001230004", "0.000123000001", "1234", "1234.00"]
)
def test_quick_verdicts_agree_with_math_verify(gold, answer):
    assert quick_verdict(gold, answer) is judge(gold, answer)


def test_verdicts_on_real_solutions_agree_with_those_published_with_them():
    path = DATA / "qwen_math_cot_50x8.jsonl"
    if not path.exists():
        pytest.skip(f"{path.name} is not here: it is published data, not part of the project")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with Grader() as grader:
        verdicts = grader.grade([(row["gt"], extract_answer(code)) for row in rows for code in row["code"]])
    assert len(verdicts) == 400
    assert verdicts == [score for row in rows for score in row["score"]]
