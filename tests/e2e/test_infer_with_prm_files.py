"""What infer-with-prm writes, goes on with, skips and refuses."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rewardscope import engines
from rewardscope.errors import ConfigError, MissingInput, UnknownName
from rewardscope.records import Problem, SolvedProblem
from rewardscope.search import guided
from rewardscope.search.methods import METHODS
from rewardscope.settings import Settings
from rewardscope.stages.infer_with_prm import Config, run
from rewardscope.storage.files import manifest_of
from rewardscope.storage.jsonl import read_solved
from tests.e2e.searches import search, small_config
from tests.unit.prms.tiny_prm import make_prm
from tests.unit.search.fakes import GREEDY_STEPS


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_prm(tmp_path_factory.mktemp("prm")))


@pytest.fixture
def config(tiny_random_policy: Path, prm: str) -> dict[str, Any]:
    return small_config(tiny_random_policy, prm)


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
        search(tmp_path / "killed", config)
    solved = search(tmp_path / "killed", config)
    assert asked == [3, 1]
    monkeypatch.setattr(guided, "guided_search", real)
    whole = search(tmp_path / "whole", config)
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
    search(tmp_path, config, limit=1)
    search(tmp_path, config, limit=1, search=method)
    assert {path.name for path in tmp_path.glob("*.jsonl")} == {
        f"tiny-random_tinymath{end}.jsonl" for end in (suffix, "_beam_search_prm")
    }


def test_parts_join_to_the_file_of_one_run(tmp_path: Path, config: dict[str, Any]) -> None:
    whole = search(tmp_path / "whole", config)
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
    assert [row.problem.id for row in search(tmp_path, config, datasets=(str(data),))] == ["set/0"]
    (out,) = tmp_path.glob("*_beam_search_prm.jsonl")
    assert json.loads(manifest_of(out).read_text())["skipped"] == {
        "problem whose prompt fills the policy's positions": 1
    }


def test_a_finished_search_is_skipped_without_torch(tmp_path: Path, config: dict[str, Any]) -> None:
    search(tmp_path, config, limit=1)
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
    search(tmp_path, config, limit=1)
    other = str(make_prm(tmp_path / "other-prm", seed=1))
    with pytest.raises(ConfigError, match=r"made with other settings.*--force"):
        search(tmp_path, config, limit=1, prm=other)
    assert len(search(tmp_path, config, limit=1, prm=other, force=True)) == 1


def test_other_settings_for_the_same_file_need_force(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    search(tmp_path, config, limit=1)
    with pytest.raises(ConfigError, match=r"made with other settings \(seed 0 -> 1\).*--force"):
        search(tmp_path, config, limit=1, seed=1)
    assert len(search(tmp_path, config, limit=1, seed=1, force=True)) == 1


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
        search(tmp_path, config, **change)
