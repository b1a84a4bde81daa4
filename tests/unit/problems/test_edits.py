"""Edits of solutions against truths that the rules do not use: the chain of a tinymath problem,
NFKC, and the text itself.
"""

import itertools
import random
import re
import unicodedata

import pytest

from rewardscope.errors import UnknownName
from rewardscope.problems.edits import RULES, Edited, Written, rules_named
from rewardscope.problems.tinymath import TinyProblem, make_problems
from rewardscope.problems.tinymath_instruct import instruct_steps, judge_steps

N = 200
PRESERVING = [rule.name for rule in rules_named(["preserving"])]
CHANGING = [rule.name for rule in rules_named(["changing"])]


@pytest.fixture(scope="module")
def solved() -> list[tuple[TinyProblem, Written]]:
    """Return problems, each with a right solution and the question of the next one."""
    rng = random.Random(3)
    problems = make_problems(N + 1, split="test", seed=0)
    return [
        (one, Written(one.question, tuple(instruct_steps(one, rng)), other.question))
        for one, other in itertools.pairwise(problems)
    ]


def said(steps: tuple[str, ...]) -> list[str]:
    """Return all numbers and signs of a text in their plain form."""
    return re.findall(r"\d+|[-+*/=]", unicodedata.normalize("NFKC", " ".join(steps)))


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("name", PRESERVING)
def test_an_edit_that_keeps_a_solution_right_says_what_was_said_at_every_step_end(
    solved: list[tuple[TinyProblem, Written]], name: str, every: bool
) -> None:
    n_applied = 0
    for problem, written in solved:
        edited = RULES[name].apply(written, seed=1, every=every)
        if edited is None:
            continue
        n_applied += 1
        assert edited.question == written.question and edited.steps != written.steps
        for place, end in enumerate(edited.ends):
            if end is not None:
                assert said(edited.steps[: place + 1]) == said(written.steps[: end + 1])
        assert edited.ends[-1] == len(written.steps) - 1
        if len(edited.steps) == len(written.steps):
            plain = [unicodedata.normalize("NFKC", step) for step in edited.steps]
            assert all(judge_steps(problem, plain))
    assert n_applied == N


@pytest.mark.parametrize("name", CHANGING)
def test_an_edit_that_breaks_a_solution_is_found_by_the_chain_of_the_problem(
    solved: list[tuple[TinyProblem, Written]], name: str
) -> None:
    n_applied = 0
    for (problem, written), (other, _) in itertools.pairwise(solved):
        edited = RULES[name].apply(written, seed=1)
        if edited is None:
            continue
        n_applied += 1
        if name == "other-question":
            assert (edited.question, edited.steps) == (other.question, written.steps)
            assert not all(judge_steps(other, list(edited.steps)))
            continue
        verdicts = judge_steps(problem, list(edited.steps))
        # right up to the edit, wrong from there on
        assert verdicts == [place < edited.at for place in range(len(edited.steps))]
    assert n_applied > 0.95 * N


def test_unicode_edits_are_the_source_in_nfkc(solved: list[tuple[TinyProblem, Written]]) -> None:
    texts = [written for _, written in solved]
    texts.append(Written("?", (r"So $\frac{1}{2} = 0.5$, and “x²” costs 3 − 1…",)))
    for name in ("unicode-space", "unicode-digit"):
        for written in texts:
            edited = RULES[name].apply(written, seed=0, every=True)
            assert edited is not None
            assert any(not step.isascii() for step in edited.steps)
            for step, source in zip(edited.steps, written.steps, strict=True):
                assert unicodedata.normalize("NFKC", step) == unicodedata.normalize("NFKC", source)


def test_what_a_rule_makes_depends_on_the_seed_and_the_solution_alone(
    solved: list[tuple[TinyProblem, Written]],
) -> None:
    for rule in RULES.values():
        made = [[rule.apply(w, seed=seed) for _, w in solved[:20]] for seed in (0, 0, 1)]
        assert made[0] == made[1]
        assert rule.name == "other-question" or made[0] != made[2]


def edit(name: str, *steps: str, question: str = "How many?", **flags: bool) -> Edited | None:
    return RULES[name].apply(Written(question, steps), seed=0, **flags)


def steps_of(edited: Edited | None) -> tuple[str, ...]:
    assert edited is not None
    return edited.steps


def test_amounts_of_money_are_no_mathematics() -> None:
    assert edit("latex", "It costs $1.24. Five cost $1.82 in all.") is None
    assert steps_of(edit("latex", "We have $3p + e = 1$.")) == (r"We have \(3p + e = 1\).",)
    assert steps_of(edit("latex", r"So \( \frac{1}{2} \) is left.")) == (
        r"So $\dfrac{1}{2}$ is left.",
    )


def test_a_step_is_cut_at_a_sentence_and_never_within_mathematics() -> None:
    cut = edit("split-step", "There are 3. So we add $x + y$.")
    assert cut == Edited("How many?", ("There are 3.", "So we add $x + y$."), (None, 0), 1)
    assert steps_of(edit("split-step", "It is $x + y = 3$.")) == ("It is", "$x + y = 3$.")
    assert edit("split-step", "$x + y = 3$") is None and edit("split-step", "Seven.") is None


def test_joined_steps_end_where_the_second_one_did() -> None:
    assert edit("merge-steps", "One.", "Two.") == Edited("How many?", ("One. Two.",), (1,), 0)
    assert edit("merge-steps", "One.") is None


def test_the_number_of_a_step_is_not_what_is_changed() -> None:
    (step,) = steps_of(edit("wrong-number", "Step 3. We get 1,240 in all."))
    assert re.fullmatch(r"Step 3\. We get 1,24[1-9] in all\.", step)
    assert edit("wrong-number", "Step 3. We are done.") is None


def test_a_sign_is_changed_only_where_something_else_comes_out() -> None:
    for seed in range(20):
        edited = RULES["wrong-operator"].apply(Written("?", ("So 2 * 2 = 4.",)), seed=seed)
        assert steps_of(edited)[0] in ("So 2 - 2 = 4.", "So 2 / 2 = 4.")
    assert edit("wrong-operator", r"So $6 \times 7 = 42$.") is not None
    assert edit("wrong-operator", "A well-known fact.") is None
    assert edit("wrong-operator", "From 3-5 of them.") is None


def test_a_step_is_dropped_only_where_a_later_one_needs_its_number() -> None:
    steps = ("Let us see.", "3 + 4 = 7.", "7 * 2 = 14.", "Done.")
    dropped = edit("dropped-step", *steps, question="3, 4 and 2?")
    assert dropped == Edited("3, 4 and 2?", ("Let us see.", "7 * 2 = 14.", "Done."), (0, 2, 3), 1)
    assert edit("dropped-step", "Let us see.", "Done.") is None


def test_an_unknown_rule_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="did you mean 'wrong-number'"):
        rules_named(["wrong-numbers"])
    assert {rule.kind for rule in rules_named(["all"])} == {"preserving", "changing"}
