"""tinymath: the arithmetic is right, the splits are disjoint, the checker accepts the truth and
nothing else.
"""

import ast
import random
import re

import pytest

from rewardscope.errors import UnknownName
from rewardscope.problems.tinymath import (
    LEVELS,
    MAX_VALUE,
    load_tinymath,
    make_problem,
    make_problems,
)
from rewardscope.problems.tinymath_instruct import instruct_steps, judge_steps
from rewardscope.problems.tinymath_reasoner import near_miss, reasoner_text


def _evaluate(expression: str) -> float:
    """Compute `a sign b` by Python's own parser."""
    return eval(compile(ast.parse(expression, mode="eval"), "equation", "eval"))


def test_every_equation_holds_and_chains_to_the_answer() -> None:
    for problem in make_problems(300, split="train", seed=3):
        value = problem.start
        for operation in problem.operations:
            for equation in operation.equations:
                assert (
                    _evaluate(f"{equation.left} {equation.sign} {equation.right}")
                    == equation.result
                )
            assert operation.equations[-1].left == value
            value = operation.equations[-1].result
            assert 1 < value <= MAX_VALUE
        assert problem.answer == value


def test_the_story_names_every_number_that_the_solution_needs() -> None:
    words = {"doubles": "2", "triples": "3", "quadruples": "4"}
    for problem in make_problems(100, split="train", seed=4):
        told = set(re.findall(r"\d+", problem.question)) | {
            number for word, number in words.items() if word in problem.question
        }
        given = {str(operation.equations[0].right) for operation in problem.operations} | {
            str(problem.start)
        }
        assert given <= told


def test_train_and_test_share_no_problem() -> None:
    train = {problem.signature for problem in make_problems(3000, split="train", seed=0)}
    test = {problem.signature for problem in make_problems(500, split="test", seed=0)}
    assert not train & test


def test_problems_are_unique_and_levels_take_turns() -> None:
    problems = make_problems(200, split="test", seed=0)
    assert len({problem.signature for problem in problems}) == 200
    assert [len(problem.operations) for problem in problems[:5]] == list(LEVELS.values())


def test_the_data_set_is_the_same_in_every_run() -> None:
    assert load_tinymath(20) == load_tinymath(40)[:20]


def test_the_checker_accepts_every_true_solution() -> None:
    rng = random.Random(0)
    for problem in make_problems(200, split="train", seed=1):
        steps = instruct_steps(problem, rng)
        assert judge_steps(problem, steps) == [True] * len(steps)


def test_the_checker_rejects_a_wrong_result_and_all_that_follows() -> None:
    rng = random.Random(0)
    for problem in make_problems(200, split="train", seed=2):
        steps = instruct_steps(problem, rng)
        at = rng.randrange(1, len(steps) - 1)
        head, _, result = steps[at].rpartition("= ")
        steps[at] = f"{head}= {near_miss(rng, int(result.rstrip('.')))}."
        assert judge_steps(problem, steps) == [True] * at + [False] * (len(steps) - at)


def test_the_checker_rejects_a_skipped_step_and_a_missing_box() -> None:
    problem = make_problem(random.Random(5), level=4)
    steps = instruct_steps(problem, random.Random(0))
    assert judge_steps(problem, steps[:1] + steps[2:])[1] is False
    assert judge_steps(problem, [*steps[:-1], f"The answer is {problem.answer}."])[-1] is False


def test_reasoner_solutions_end_with_the_boxed_answer_after_thinking() -> None:
    rng = random.Random(0)
    for problem in make_problems(100, split="train", seed=6):
        thinking, _, rest = reasoner_text(problem, rng).partition("</think>")
        assert thinking.startswith("<think>")
        assert rest == f"\n\nThe answer is \\boxed{{{problem.answer}}}."


def test_a_near_miss_is_never_the_value() -> None:
    rng = random.Random(0)
    assert all(near_miss(rng, value) not in (value, 0) for value in range(2, 500))


def test_an_unknown_level_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="tinymath level '9'"):
        make_problem(random.Random(0), level=9)
