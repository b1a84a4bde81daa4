"""infer-with-prm with small random models, through the real code."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from transformers import AutoTokenizer

from rewardscope import engines
from rewardscope.engines.scripted import ScriptedEngine
from rewardscope.errors import ConfigError, MissingInput, UnknownName
from rewardscope.prms import load_scorer
from rewardscope.records import Problem, SolvedProblem
from rewardscope.search import guided
from rewardscope.search.methods import METHODS
from rewardscope.settings import Settings
from rewardscope.stages.infer_with_prm import Config, run
from rewardscope.storage.files import manifest_of
from rewardscope.storage.jsonl import read_solved
from tests.unit.prms.tiny_prm import make_prm
from tests.unit.search.fakes import GREEDY_STEPS

SMALL: dict[str, Any] = {
    "limit": 3,
    "n": 4,
    "width": 2,
    "max_steps": 3,
    "max_step_tokens": 12,
    "max_tokens": 12,
    "temperature": 1.5,
    "engine": "hf",
}


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_prm(tmp_path_factory.mktemp("prm")))


@pytest.fixture
def config(tiny_random_policy: Path, prm: str) -> dict[str, Any]:
    return {"model_name": str(tiny_random_policy), "prm": prm, "datasets": ("tinymath",), **SMALL}


def _search(data_dir: Path, config: dict[str, Any], **changes: Any) -> list[SolvedProblem]:
    (out,) = run(Config(**{**config, **changes}), Settings(data_dir=data_dir))
    return read_solved(out)


def test_scores_that_grew_step_by_step_are_those_of_the_whole_solutions(
    tmp_path: Path, config: dict[str, Any], prm: str
) -> None:
    solved = _search(tmp_path, config)
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
        _search(tmp_path / "together", config),
        _search(tmp_path / "alone", config, pool=1),
    )
    for row, other in zip(together, alone, strict=True):
        assert [(trace.steps, trace.finish) for trace in row.traces] == [
            (trace.steps, trace.finish) for trace in other.traces
        ]


def test_another_seed_gives_other_traces(tmp_path: Path, config: dict[str, Any]) -> None:
    one, two = _search(tmp_path / "one", config), _search(tmp_path / "two", config, seed=1)
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
    one, two = _search(tmp_path / "one", config), _search(tmp_path / "two", config, **change)
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
    (solved,) = _search(tmp_path, config, datasets=(str(data),), n=8, width=2, max_step_tokens=100)
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
    by_line = _search(
        tmp_path / "line", config, limit=1, delimiter=r"\n", max_step_tokens=100, max_steps=9
    )
    by_default = _search(tmp_path / "blank", config, limit=1, max_step_tokens=100)
    assert by_line[0].traces[0].steps == ("one", "two", "\nthree")
    assert by_default[0].traces[0].steps == ("one\ntwo", "three")


def _assert_equal_traces(found: list[SolvedProblem], expected: list[SolvedProblem]) -> None:
    """A batch of another shape changes a score in its last digits, and nothing else."""
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one.traces, other.traces, strict=True):
            assert a.scores == pytest.approx(b.scores, abs=1e-5)
            assert msgspec.structs.replace(a, scores=b.scores) == b


def test_a_killed_run_goes_on_after_the_last_whole_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]
) -> None:
    real, asked = guided.guided_search, []

    def killed_after_two(
        problems: Sequence[Problem], *arguments: Any, **options: Any
    ) -> Iterator[guided.Searched]:
        asked.append(len(problems))
        for count, searched in enumerate(real(problems, *arguments, **options)):
            if count == 2:
                raise KeyboardInterrupt
            yield searched

    monkeypatch.setattr(guided, "guided_search", killed_after_two)
    with pytest.raises(KeyboardInterrupt):
        _search(tmp_path / "killed", config)
    solved = _search(tmp_path / "killed", config)
    assert asked == [3, 1]
    monkeypatch.setattr(guided, "guided_search", real)
    whole = _search(tmp_path / "whole", config)
    _assert_equal_traces(solved, whole)
    (out,) = (tmp_path / "killed").glob("*_beam_search_prm.jsonl")
    assert json.loads(manifest_of(out).read_text())["extra"]["problems_from_an_earlier_run"] == 2


@pytest.mark.parametrize(
    ("method", "suffix"),
    [("dvts", "_dvts_prm"), ("best-of-n", "_best_of_n_prm"), ("greedy-steps", "_greedy_steps_prm")],
)
def test_each_method_has_a_file_of_its_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, Any],
    method: str,
    suffix: str,
) -> None:
    monkeypatch.setitem(METHODS, GREEDY_STEPS.name, GREEDY_STEPS)
    _search(tmp_path, config, limit=1)
    _search(tmp_path, config, limit=1, search=method)
    assert {path.name for path in tmp_path.glob("*.jsonl")} == {
        f"tiny-random_tinymath{end}.jsonl" for end in (suffix, "_beam_search_prm")
    }


def test_parts_join_to_the_file_of_one_run(tmp_path: Path, config: dict[str, Any]) -> None:
    whole = _search(tmp_path / "whole", config)
    for part in (2, 1):
        (out,) = run(Config(**config, part=part, total=2), Settings(data_dir=tmp_path / "parts"))
        assert out.is_file() == (part == 1)  # the last one joins
    joined = read_solved(out)
    said = [
        [(row.problem, [(trace.steps, trace.finish) for trace in row.traces]) for row in rows]
        for rows in (joined, whole)
    ]
    assert said[0] == said[1]
    one, other = (
        json.loads(manifest_of(path).read_text())
        for path in (out, next((tmp_path / "whole").glob("*.jsonl")))
    )
    assert one["key"] == other["key"] and one["rows"] == other["rows"] == 3


def test_a_problem_that_does_not_fit_the_policy_is_left_out_and_counted(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    data = tmp_path / "set.jsonl"
    rows = [
        {"question": "What is 1 + 1?", "answer": "2"},
        {"question": "xyz " * 200, "answer": "1"},
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [row.problem.id for row in _search(tmp_path, config, datasets=(str(data),))] == ["set/0"]
    (out,) = tmp_path.glob("*_beam_search_prm.jsonl")
    assert json.loads(manifest_of(out).read_text())["skipped"] == {
        "problem whose prompt fills the policy's positions": 1
    }


def test_a_finished_search_is_skipped_without_torch(tmp_path: Path, config: dict[str, Any]) -> None:
    _search(tmp_path, config, limit=1)
    code = (
        "import sys; from pathlib import Path; from rewardscope.settings import Settings\nfrom"
        " rewardscope.stages.infer_with_prm import Config,"
        f" run\nrun(Config(**{ ({**config, 'limit': 1})!r}),"
        f" Settings(data_dir=Path({str(tmp_path)!r})))\nassert not {{'torch', 'transformers'}} &"
        " set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "is done (1 rows), skipped" in done.stderr


def test_another_prm_for_the_same_file_needs_force(tmp_path: Path, config: dict[str, Any]) -> None:
    _search(tmp_path, config, limit=1)
    other = str(make_prm(tmp_path / "other-prm", seed=1))
    with pytest.raises(ConfigError, match=r"made with other settings.*--force"):
        _search(tmp_path, config, limit=1, prm=other)
    assert len(_search(tmp_path, config, limit=1, prm=other, force=True)) == 1


def test_other_settings_for_the_same_file_need_force(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    _search(tmp_path, config, limit=1)
    with pytest.raises(ConfigError, match=r"made with other settings \(seed 0 -> 1\).*--force"):
        _search(tmp_path, config, limit=1, seed=1)
    assert len(_search(tmp_path, config, limit=1, seed=1, force=True)) == 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"n": 6, "width": 4},
            ConfigError,
            "--n 6 --width 4: n must be a multiple of width, such as 4",
        ),
        ({"max_steps": 0}, ConfigError, "--max-steps 0: at least 1"),
        ({"part": 3, "total": 2}, ConfigError, "--part 3 --total 2"),
        ({"search": "dts"}, UnknownName, "did you mean 'dvts'"),
        ({"aggregation": "lst"}, UnknownName, "did you mean 'last'"),
        ({"temperature": 0.0}, ConfigError, "--temperature 0.0: it must be above 0"),
        ({"top_p": 1.5}, ConfigError, "--top-p 1.5"),
        ({"delimiter": ""}, ConfigError, "--delimiter"),
        ({"datasets": ()}, ConfigError, "--datasets"),
        ({"datasets": ("a/x.jsonl", "b/x.jsonl")}, ConfigError, "the same short name"),
        ({"datasets": ("tinymaths",)}, UnknownName, "did you mean 'tinymath'"),
        ({"model_name": "./no-such-policy"}, MissingInput, "./no-such-policy"),
        ({"prm": "./no-such-prm"}, MissingInput, "./no-such-prm"),
    ],
)
def test_mistakes_are_told_before_a_model_is_loaded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, Any],
    change: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr(
        engines, "load_engine", lambda *_args, **_options: pytest.fail("a model was loaded")
    )
    with pytest.raises(error, match=message.replace(".", r"\.")):
        _search(tmp_path, config, **change)


def test_what_is_longer_than_the_prms_window_is_left_out_or_scored_and_marked(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    usual = _search(tmp_path / "usual", config)
    assert all(trace.in_window for row in usual for trace in row.traces)
    window = 115  # the shortest of these solutions are within, the longest beyond
    dropped = _search(tmp_path / "dropped", config, prm_window=window)
    marked = _search(tmp_path / "marked", config, prm_window=window, beyond_window="score")
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
    (solved,) = _search(
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
