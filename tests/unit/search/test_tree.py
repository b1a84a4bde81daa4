"""How beams grow, which live on, and what comes out, without models."""

import random
from dataclasses import replace

import pytest

from rewardscope.problems.thinking import StepFormat
from rewardscope.records import Completion, Cost, Finish
from rewardscope.search.tree import Beam, Tree, beam_seed, ranked
from tests.unit.search.fakes import problem


def _said(text: str, finish: Finish = "stop") -> Completion:
    return Completion(text=text, token_ids=tuple(map(ord, text)), finish=finish)


def _grown(*completions: Completion, room: int = 1000) -> Beam:
    beam = Beam()
    for completion in completions:
        beam = beam.grow(completion, form=StepFormat(), room=room)
    return beam


def _beam(name: str, score: float, finish: Finish = "stop") -> Beam:
    return Beam(
        token_ids=tuple(map(ord, name)), text=name, steps=(name,), scores=(score,), finish=finish
    )


def test_an_open_beam_has_only_whole_steps() -> None:
    beam = _grown(_said("one\n\nTw"))
    assert beam.steps == ("one",) and beam.is_open
    assert _grown(_said("one\n\nTw"), _said("o\n\n")).steps == ("one", "Two")


@pytest.mark.parametrize("finish", ["eos", "length"])
def test_a_closed_beam_has_its_last_step_too(finish: Finish) -> None:
    beam = _grown(_said("one\n\n"), _said("tw", finish))
    assert beam.steps == ("one", "tw") and beam.finish == finish and not beam.is_open


def test_a_blank_piece_is_no_step_and_belongs_to_the_next() -> None:
    assert _grown(_said("one\n\n"), _said("\n\n")).steps == ("one",)
    assert _grown(_said("one\n\n"), _said("\n\n"), _said("two", "eos")).steps == ("one", "\n\ntwo")


def test_a_token_of_three_newlines_straddles_the_delimiter() -> None:
    assert _grown(_said("one\n\n\n")).steps == ("one",)
    assert _grown(_said("one\n\n\n"), _said("two\n\n")).steps == ("one", "\ntwo")


def test_steps_of_a_prefix_are_a_prefix_of_the_steps() -> None:
    rng = random.Random(0)
    for _ in range(300):
        beam, before = Beam(), ()
        for _ in range(6):
            text = "".join(rng.choice("ab \n\n\n") for _ in range(rng.randint(0, 5))) + rng.choice(
                ["\n\n", "\n\n\n", "\n\nb"]
            )
            beam = beam.grow(_said(text), form=StepFormat(), room=1000)
            assert beam.steps[: len(before)] == before
            assert all(step.strip() for step in beam.steps)
            before = beam.steps


def test_a_beam_that_fills_the_positions_is_cut() -> None:
    assert _grown(_said("one\n\n"), room=6).is_open
    assert _grown(_said("one\n\nT"), room=6) == replace(
        _grown(_said("one\n\nT", "length")), finish="length"
    )
    assert _grown(_said("one\n\n", "eos"), room=5).finish == "eos"


def test_candidates_of_equal_tokens_are_one() -> None:
    tree = Tree.start(problem("Q"), (1, 2), roots=1, apart=False, thinks=False)
    samples = [
        [_said("b\n\n"), _said("a\n\n"), _said("b\n\n"), _said("b", "eos"), _said("b", "length")]
    ]
    candidates = tree.expand(samples, form=StepFormat(), max_positions=100)
    assert [(beam.text, beam.finish) for beam in candidates] == [
        ("b\n\n", "stop"),
        ("a\n\n", "stop"),
        ("b", "eos"),
        ("b", "length"),
    ]
    assert tree.cost.policy_tokens == 3 + 3 + 3 + 1 + 1


def test_equal_text_from_other_tokens_is_another_candidate() -> None:
    tree = Tree.start(problem("Q"), (), roots=1, apart=False, thinks=False)
    samples = [
        [
            Completion(text="a\n\n", token_ids=(7, 8), finish="stop"),
            Completion(text="a\n\n", token_ids=(9,), finish="stop"),
        ]
    ]
    assert len(tree.expand(samples, form=StepFormat(), max_positions=100)) == 2


def test_the_best_open_beams_live_on() -> None:
    tree = Tree.start(problem("Q"), (), roots=1, apart=False, thinks=False)
    tree.select([_beam("a", 0.2), _beam("b", 0.9), _beam("c", 0.5)], keep=2, how="last")
    assert [beam.text for beam in tree.frontier] == ["b", "c"] and tree.best_prefix.text == "b"


def test_a_solution_that_ended_holds_its_place_and_a_cut_one_holds_none() -> None:
    tree = Tree.start(problem("Q"), (), roots=1, apart=False, thinks=False)
    tree.select(
        [_beam("a", 0.2), _beam("b", 0.9, "eos"), _beam("c", 0.95, "length"), _beam("d", 0.5)],
        keep=2,
        how="last",
    )
    assert [beam.text for beam in tree.frontier] == ["d"]
    tree.select([_beam("e", 0.8, "eos"), _beam("f", 0.7)], keep=2, how="last")
    assert tree.frontier == []
    assert {beam.text for beam in tree.ended} == {"b", "c", "e"}


def test_a_beam_without_a_step_is_kept_only_where_nothing_better_is() -> None:
    blank = Beam(token_ids=(10, 10), text="\n\n")
    tree = Tree.start(problem("Q"), (), roots=1, apart=False, thinks=False)
    tree.select([blank, _beam("a", 0.0)], keep=1, how="last")
    assert [beam.text for beam in tree.frontier] == ["a"]
    tree.select([blank], keep=1, how="last")
    assert tree.frontier == [blank]


def test_rounding_noise_does_not_reorder_equals() -> None:
    first, second = _beam("a", 0.99999990), _beam("b", 0.99999995)
    assert ranked([first, second], "last") == [first, second]
    assert ranked([first, _beam("c", 1.0), _beam("d", 0.9999)], "last")[-1].text == "d"


def test_traces_that_ended_come_before_cut_ones_each_by_score() -> None:
    tree = Tree(
        problem=problem("Q"),
        prompt=(),
        frontier=[],
        cost=Cost(policy_tokens=9, prm_tokens=4, seconds=1.5),
    )
    tree.ended = [
        _beam("a", 0.2, "eos"),
        _beam("b", 0.9, "length"),
        _beam("c", 0.6, "eos"),
        _beam("d", 0.1, "length"),
    ]
    solved = tree.solved(how="last", each_sample=False, delimiter="\n\n")
    assert [trace.steps for trace in solved.traces] == [("c",), ("a",), ("b",), ("d",)]
    assert [trace.index for trace in solved.traces] == [0, 1, 2, 3] and solved.chosen == 0
    assert [trace.scores for trace in solved.traces] == [(0.6,), (0.2,), (0.9,), (0.1,)]
    assert (solved.cost.policy_tokens, solved.cost.prm_tokens, solved.cost.seconds) == (9, 4, 1.5)


def test_without_any_trace_the_best_prefix_is_cut() -> None:
    tree = Tree.start(problem("Q"), (), roots=1, apart=False, thinks=False)
    tree.select([_beam("a", 0.2), _beam("b", 0.9)], keep=2, how="last")
    tree.select([], keep=2, how="last")
    solved = tree.solved(how="last", each_sample=False, delimiter="\n\n")
    assert [
        (trace.steps, trace.scores, trace.finish, trace.n_tokens) for trace in solved.traces
    ] == [(("b",), (0.9,), "length", 1)]


def test_a_seed_depends_on_each_of_its_parts() -> None:
    seeds = {
        beam_seed(seed, problem_id, beam=beam, depth=depth)
        for seed in (0, 1)
        for problem_id in ("a/1", "a/11")
        for beam in (0, 1, 11)
        for depth in (0, 1, 11)
    }
    assert len(seeds) == 2 * 2 * 3 * 3
    assert all(0 <= seed < 2**31 for seed in seeds)
