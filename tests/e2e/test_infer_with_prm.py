"""infer-with-prm with small random models, through the real code."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from rewardscope import engines
from rewardscope.engines.scripted import ScriptedEngine
from rewardscope.prms import load_scorer
from tests.e2e.searches import search, small_config
from tests.unit.prms.tiny_prm import make_prm


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_prm(tmp_path_factory.mktemp("prm")))


@pytest.fixture
def config(tiny_random_policy: Path, prm: str) -> dict[str, Any]:
    return small_config(tiny_random_policy, prm)


def test_scores_that_grew_step_by_step_are_those_of_the_whole_solutions(
    tmp_path: Path, config: dict[str, Any], prm: str
) -> None:
    solved = search(tmp_path, config)
    scorer = load_scorer(prm, engine="hf", device="cpu")
    assert [row.problem.id for row in solved] == ["tinymath/0", "tinymath/1", "tinymath/2"]
    traces = [(row.problem.question, trace) for row in solved for trace in row.traces]
    assert len(traces) > 6 and any(len(trace.steps) > 1 for _, trace in traces)
    whole = scorer.score([scorer.encode(question, trace.steps) for question, trace in traces])
    for (_, trace), scores in zip(traces, whole, strict=True):
        assert trace.scores == pytest.approx(scores, abs=1e-5)
        assert trace.n_tokens is not None and trace.n_tokens <= 3 * 12
    for row in solved:
        assert row.chosen == 0 and [trace.index for trace in row.traces] == list(
            range(len(row.traces))
        )
        assert row.cost.policy_tokens > 0 and row.cost.prm_tokens > 0 and row.cost.seconds > 0


def test_a_problem_has_the_same_traces_alone_and_in_a_pool(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    together, alone = (
        search(tmp_path / "together", config),
        search(tmp_path / "alone", config, pool=1),
    )
    for row, other in zip(together, alone, strict=True):
        assert [(trace.steps, trace.finish) for trace in row.traces] == [
            (trace.steps, trace.finish) for trace in other.traces
        ]


def test_another_seed_gives_other_traces(tmp_path: Path, config: dict[str, Any]) -> None:
    one, two = search(tmp_path / "one", config), search(tmp_path / "two", config, seed=1)
    assert [row.traces for row in one] != [row.traces for row in two]


@pytest.mark.parametrize(
    "change",
    [
        {"max_steps": 1},
        {"max_step_tokens": 5},
        {"n": 2},
        {"temperature": 0.1},
        {"top_p": 0.1},
        {"limit": 1},
    ],
)
def test_each_option_changes_the_result(
    tmp_path: Path, config: dict[str, Any], change: dict[str, Any]
) -> None:
    one, two = search(tmp_path / "one", config), search(tmp_path / "two", config, **change)
    assert [row.traces for row in one] != [row.traces for row in two]


def _scripted(monkeypatch: pytest.MonkeyPatch, policy: Path, said: Sequence[str]) -> None:
    """Let the policy say each of `said` in turn, and go on with it after its first steps."""
    turns: Counter[str] = Counter()

    def script(prompt: str, _seed: int, _sample: int) -> str:
        begun = prompt.rsplit("assistant\n", maxsplit=1)[-1]
        matching = [text for text in said if text.startswith(begun)]
        turns[begun] += 1
        return matching[turns[begun] % len(matching)].removeprefix(begun)

    engine = ScriptedEngine(AutoTokenizer.from_pretrained(policy), script, max_positions=1000)
    monkeypatch.setattr(engines, "load_engine", lambda *_args, **_options: engine)


def test_traces_are_graded_and_the_best_is_chosen(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, Any],
    tiny_random_policy: Path,
) -> None:
    data = tmp_path / "set.jsonl"
    data.write_text(json.dumps({"question": "What is 3 + 4?", "answer": "7"}) + "\n")
    said = [
        "3 + 4 = 7.\n\n\\boxed{7}",
        "3 + 4 = 7.\n\n\\boxed{9}",
        "3 + 4 = 8.\n\n\\boxed{8}",
        "I do not know.",
    ]
    _scripted(monkeypatch, tiny_random_policy, said)
    (solved,) = search(tmp_path, config, datasets=(str(data),), n=8, width=2, max_step_tokens=100)
    found = {
        "\n\n".join(trace.steps): (trace.answer, trace.correct, trace.finish)
        for trace in solved.traces
    }
    truth = {
        said[0]: ("7", True, "eos"),
        said[1]: ("9", False, "eos"),
        said[2]: ("8", False, "eos"),
        said[3]: (None, False, "eos"),
    }
    assert found == truth and len(solved.traces) == 4
    last = [trace.scores[-1] for trace in solved.traces if trace.scores]
    assert last == sorted(last, reverse=True)


def test_the_typed_delimiter_parts_the_steps(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, Any],
    tiny_random_policy: Path,
) -> None:
    _scripted(monkeypatch, tiny_random_policy, ["one\ntwo\n\nthree"])
    by_line = search(
        tmp_path / "line", config, limit=1, delimiter=r"\n", max_step_tokens=100, max_steps=9
    )
    by_default = search(tmp_path / "blank", config, limit=1, max_step_tokens=100)
    assert by_line[0].traces[0].steps == ("one", "two", "\nthree")
    assert by_default[0].traces[0].steps == ("one\ntwo", "three")


def test_what_is_longer_than_the_prms_window_is_left_out_or_scored_and_marked(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    usual = search(tmp_path / "usual", config)
    assert all(trace.in_window for row in usual for trace in row.traces)
    window = 115  # the shortest of these solutions are within, the longest beyond
    dropped = search(tmp_path / "dropped", config, prm_window=window)
    marked = search(tmp_path / "marked", config, prm_window=window, beyond_window="score")
    assert {trace.in_window for row in dropped for trace in row.traces} <= {True, None}
    assert {trace.in_window for row in marked for trace in row.traces} == {True, False}
    assert [[trace.scores for trace in row.traces] for row in marked] == [
        [trace.scores for trace in row.traces] for row in usual
    ]


@pytest.mark.parametrize("shown", ["all", "solution"])
def test_thoughts_are_steps_or_are_kept_apart_but_never_the_answer(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, Any],
    tiny_random_policy: Path,
    shown: str,
) -> None:
    data = tmp_path / "set.jsonl"
    data.write_text(json.dumps({"question": "What is 3 + 4?", "answer": "7"}) + "\n")
    _scripted(
        monkeypatch,
        tiny_random_policy,
        ["<think>so \\boxed{7}?\n\nYes.</think>3 + 4 = 8.\n\n\\boxed{8}", "<think>so \\boxed{7}?"],
    )
    (solved,) = search(
        tmp_path,
        config,
        datasets=(str(data),),
        thinking="think",
        shown=shown,
        max_step_tokens=100,
        max_tokens=100,
    )
    whole, cut = (
        next(t for t in solved.traces if (t.answer is not None) == answered)
        for answered in (True, False)
    )
    thoughts, solution = ("so \\boxed{7}?", "Yes."), ("3 + 4 = 8.", "\\boxed{8}")
    assert (whole.answer, whole.correct, cut.correct) == ("8", False, False)
    if shown == "all":
        assert (whole.steps, whole.n_thinking, whole.thinking, cut.steps) == (
            thoughts + solution,
            2,
            "",
            thoughts[:1],
        )
    else:
        assert (whole.steps, whole.n_thinking, whole.thinking, cut.steps) == (
            solution,
            0,
            "so \\boxed{7}?\n\nYes.",
            (),
        )
    assert all(
        trace.scores is not None and len(trace.scores) == len(trace.steps)
        for trace in solved.traces
    )
