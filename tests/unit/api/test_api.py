"""What the public names do, against the rooms below and against plain transformers."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

import rewardscope as rs
from rewardscope.api.models import Prm
from rewardscope.errors import BadRecord, ConfigError, UnknownName
from rewardscope.interventions import edits
from rewardscope.models.sites import Site
from rewardscope.paths import TINY
from rewardscope.prms import load_scorer
from rewardscope.records import Problem, SolvedProblem
from rewardscope.splits import SPLIT_SEED, is_test
from rewardscope.storage.jsonl import write_solved

QUESTION = "Ben has 90 marbles. He keeps one of 2 equal parts. How many marbles does Ben have now?"
RIGHT = ["At first there are 90 marbles.", "Each part has 90 / 2 = 45.", r"So \boxed{45}."]
WRONG = ["At first there are 90 marbles.", "Each part has 90 / 2 = 55.", r"So \boxed{55}."]


@pytest.fixture(scope="module")
def prm() -> Prm:
    return rs.load_prm(TINY / "tiny-prm", device="cpu")


@pytest.fixture(scope="module")
def solved() -> list[SolvedProblem]:
    policy = rs.load_policy(TINY / "tiny-instruct", device="cpu")
    found = []
    for number in range(24):
        have = 12 + 2 * number
        question = f"Ben has {have} marbles. He gives 5 to Sara. How many marbles does Ben have?"
        problem = Problem(
            id=f"toy/{number}", dataset="toy", question=question, answer=str(have - 5)
        )
        traces = policy.solve(question, n=2, temperature=0.9, max_tokens=60, seed=number)
        traces = tuple(msgspec.structs.replace(trace, problem_id=problem.id) for trace in traces)
        found.append(SolvedProblem(problem=problem, traces=traces, chosen=0))
    return found


def test_scores_are_those_of_the_scorer_and_fall_where_a_solution_goes_wrong(prm: Prm) -> None:
    scorer = load_scorer(str(TINY / "tiny-prm"), engine="hf", device="cpu")
    expected = scorer.score([scorer.encode(QUESTION, steps) for steps in (RIGHT, WRONG)])
    found = prm.score_all([(QUESTION, RIGHT), (QUESTION, WRONG)])
    np.testing.assert_allclose(np.array(found), np.array(expected), atol=1e-6)
    np.testing.assert_allclose(prm.score(QUESTION, RIGHT), expected[0], atol=1e-6)
    assert found[0][1] > 0.5 > found[1][1]


def test_states_are_the_hidden_states_of_transformers(prm: Prm) -> None:
    encoded = prm.encode(QUESTION, RIGHT)
    model = prm.scorer.model
    ids = torch.tensor([encoded.input_ids])
    hidden = model.base_model(input_ids=ids, output_hidden_states=True).hidden_states
    states = prm.states(QUESTION, RIGHT, layers=[0, 3])
    for layer in (0, 3):
        torch.testing.assert_close(states[layer], hidden[layer + 1][0].float(), atol=1e-5, rtol=0)
    assert len(prm.tokens(QUESTION, RIGHT)) == states[3].shape[0]


def test_an_edited_prm_differs_and_the_other_stays(prm: Prm) -> None:
    before = prm.score(QUESTION, RIGHT)
    same = rs.edited(prm, Site(3), edits.nothing())
    np.testing.assert_array_equal(same.score(QUESTION, RIGHT), before)
    gone = rs.edited(prm, Site(3), edits.zero())
    assert np.abs(gone.score(QUESTION, RIGHT) - before).max() > 0.01
    start = gone.states(QUESTION, RIGHT, layers=[3])[3].abs().sum(dim=1)
    assert (start == 0).any() and (start > 0).any()  # the solution is changed, the prompt is not
    np.testing.assert_array_equal(prm.score(QUESTION, RIGHT), before)
    with pytest.raises(ConfigError, match="where 'here'"):
        rs.edited(prm, Site(3), edits.zero(), where="here")  # type: ignore[arg-type]


def test_edits_at_step_ends_leave_earlier_scores_alone(prm: Prm) -> None:
    last = prm.n_layers - 1
    moved = rs.edited(prm, Site(last), edits.zero(), where="step-ends")
    scores = moved.score(QUESTION, RIGHT)
    assert np.ptp(scores) < 1e-6  # the head reads the same zero everywhere


def test_grade_takes_a_solution_or_an_answer() -> None:
    assert rs.grade(RIGHT[-1], "45") == "right"
    assert rs.grade("45.0", "45") == "right"
    assert rs.grade(WRONG[-1], "45") == "wrong"
    assert rs.grade("2.71", "2.7", tolerance=0.1) == "right"


def test_traces_come_from_our_files_and_from_published_schemas(
    tmp_path: Path, solved: list[SolvedProblem]
) -> None:
    write_solved(tmp_path / "own.jsonl", solved)
    assert rs.read_traces(tmp_path / "own.jsonl") == solved
    row = {"problem": "1 + 1?", "steps": ["It is 2."], "final_answer_correct": True, "label": -1}
    (tmp_path / "bench.jsonl").write_text(msgspec.json.encode(row).decode() + "\n")
    [found] = rs.read_traces(tmp_path / "bench.jsonl", kind="processbench")
    assert found.problem.id == "bench/0" and found.traces[0].published is True


def test_captured_states_are_those_of_each_solution_alone(
    prm: Prm, solved: list[SolvedProblem]
) -> None:
    acts = rs.capture(prm, solved[:3], layers=[2])
    rows = acts.rows
    for number in range(len(rows)):
        row = solved[int(rows.problems[rows.problem_N[number]].split("/")[1])]
        trace = row.traces[rows.trace_N[number]]
        alone = prm.states(row.problem.question, trace.steps, layers=[2])[2]
        torch.testing.assert_close(
            acts.layer(2)[number], alone[rows.token_N[number]], atol=1e-4, rtol=0
        )
    with pytest.raises(UnknownName, match="captured layer '5'"):
        acts.layer(5)


def test_a_trace_that_cannot_be_encoded_is_named(prm: Prm, solved: list[SolvedProblem]) -> None:
    empty = msgspec.structs.replace(solved[0].traces[0], steps=())
    bad = msgspec.structs.replace(solved[0], traces=(empty,))
    with pytest.raises(BadRecord, match="trace 0 of toy/0"):
        rs.capture(prm, [bad], layers=[2])


def test_a_probe_of_the_last_layer_reads_the_reward_and_beats_its_controls(
    prm: Prm, solved: list[SolvedProblem]
) -> None:
    acts = rs.capture(prm, solved, layers=[prm.n_layers - 1])
    fit = rs.fit_probe(acts, layer=prm.n_layers - 1, folds=2, test_share=0.4)
    assert fit.score.value > 0.5 and fit.margin.value > 0
    assert {"shuffled by position", "random projection", "position"} == set(fit.controls)
    assert fit.best_control in fit.controls
    assert fit.n_test == int(sum(len(t.steps) for s in solved for t in s.traces)) - fit.n_train


@pytest.mark.parametrize("side", [True, False], ids=["held out", "to fit"])
def test_a_state_that_is_no_number_is_refused_on_either_side(
    prm: Prm, solved: list[SolvedProblem], side: bool
) -> None:
    acts = rs.capture(prm, solved, layers=[3])
    held_out = [is_test(name, share=0.4, seed=SPLIT_SEED) for name in acts.rows.problems]
    row = next(i for i, code in enumerate(acts.rows.problem_N) if held_out[code] is side)
    acts.states[3][row, 0] = torch.nan
    with pytest.raises(BadRecord, match="NaN or infinite"):
        rs.fit_probe(acts, layer=3, folds=2, test_share=0.4)


def test_a_policy_gives_the_states_of_what_it_wrote(solved: list[SolvedProblem]) -> None:
    policy = rs.load_policy(TINY / "tiny-instruct", device="cpu")
    trace = solved[0].traces[0]
    states = policy.states(solved[0].problem.question, trace, layers=[1])[1]
    acts = rs.capture(policy, solved[:1], layers=[1], positions="all-tokens")
    assert trace.token_ids is not None and len(states) >= len(trace.token_ids)
    first = acts.rows.trace_N == 0
    torch.testing.assert_close(
        acts.layer(1)[first], states[acts.rows.token_N[first]], atol=1e-4, rtol=0
    )
    with pytest.raises(ConfigError, match="greedy samples are all the same"):
        policy.solve("1 + 1?", n=2)


@pytest.mark.parametrize("steps", ["one text", ["a", 3], [["a"]], []])
def test_what_is_no_list_of_texts_is_refused(prm: Prm, steps: object) -> None:
    with pytest.raises(BadRecord):
        prm.score(QUESTION, steps)  # type: ignore[arg-type]


def test_wrong_values_are_one_line(prm: Prm, solved: list[SolvedProblem], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="layers 'all': pass whole numbers"):
        prm.states(QUESTION, RIGHT, layers="all")  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="positions 'ends'"):
        rs.capture(prm, solved[:1], layers=[1], positions="ends")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least one trace"):
        rs.capture(prm, [], layers=[1])
    with pytest.raises(UnknownName, match="part of a site 'mpl'; did you mean 'mlp'"):
        Site(3, "mpl")  # type: ignore[arg-type]
    with pytest.raises(BadRecord, match="not finite"):
        rs.edited(prm, Site(3), lambda x_ND: x_ND * torch.nan).score(QUESTION, RIGHT)
    with pytest.raises(UnknownName, match="kind of traces 'plane'"):
        rs.read_traces(tmp_path, kind="plane")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="folds 1"):
        rs.fit_probe(rs.capture(prm, solved[:2], layers=[1]), layer=1, folds=1)
    with pytest.raises(ConfigError, match="n 0"):
        rs.load_policy(TINY / "tiny-instruct", device="cpu").solve("1 + 1?", n=0)
