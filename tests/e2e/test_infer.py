"""infer with a small random policy, through the real code."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewardscope import engines
from rewardscope.engines.hf import HfEngine
from rewardscope.engines.scripted import ScriptedEngine
from rewardscope.errors import ConfigError, MissingInput, UnknownName
from rewardscope.problems.prompts import encode_prompt
from rewardscope.records import Cost, SolvedProblem
from rewardscope.settings import Settings
from rewardscope.stages.infer import Config, problem_seed, run
from rewardscope.storage.files import manifest_of
from rewardscope.storage.jsonl import read_solved
from rewardscope.storage.tables import read_json


@pytest.fixture
def config(tiny_random_policy: Path) -> dict[str, Any]:
    return {
        "model_name": str(tiny_random_policy),
        "datasets": ("tinymath",),
        "limit": 3,
        "n": 2,
        "max_tokens": 12,
        "engine": "hf",
    }


def _infer(data_dir: Path, config: dict[str, Any], **changes: Any) -> list[SolvedProblem]:
    (out,) = run(Config(**{**config, **changes}), Settings(data_dir=data_dir))
    return read_solved(out)


def _write(path: Path, *questions: str) -> str:
    path.write_text(
        "".join(json.dumps({"question": question, "answer": "7"}) + "\n" for question in questions)
    )
    return str(path)


def _without_seconds(solved: list[SolvedProblem]) -> list[SolvedProblem]:
    return [
        msgspec.structs.replace(row, cost=Cost(policy_tokens=row.cost.policy_tokens))
        for row in solved
    ]


def test_there_is_a_row_for_each_problem_with_n_samples_that_are_counted(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    solved = _infer(tmp_path, config)
    assert [row.problem.id for row in solved] == ["tinymath/0", "tinymath/1", "tinymath/2"]
    for row in solved:
        assert [trace.index for trace in row.traces] == [0, 1]
        assert row.chosen == 0 and all(trace.scores is None for trace in row.traces)
        assert row.cost.policy_tokens == sum(trace.n_tokens for trace in row.traces) > 0
        assert row.cost.prm_tokens == 0 and row.cost.seconds > 0
        for trace in row.traces:
            assert trace.finish in ("eos", "length")
            assert trace.finish != "length" or trace.n_tokens == 12


def test_one_sample_is_greedy_unless_a_temperature_is_given(
    tmp_path: Path, config: dict[str, Any], tiny_random_policy: Path
) -> None:
    (row,) = _infer(tmp_path / "greedy", config, n=1, limit=1)
    (warm,) = _infer(tmp_path / "warm", config, n=1, limit=1, temperature=1.0)
    tokenizer, model = (
        AutoTokenizer.from_pretrained(tiny_random_policy),
        AutoModelForCausalLM.from_pretrained(tiny_random_policy),
    )
    ids = tokenizer(
        tokenizer.decode(encode_prompt(tokenizer, row.problem.question)), return_tensors="pt"
    )
    text = tokenizer.decode(
        model.generate(**ids, do_sample=False, max_new_tokens=12)[0, ids["input_ids"].shape[1] :],
        skip_special_tokens=True,
    )
    assert "\n\n".join(row.traces[0].steps) == text.rstrip("\n")
    assert warm.traces[0].steps != row.traces[0].steps
    (manifest,) = (tmp_path / "greedy").glob("*.manifest.json")
    assert read_json(manifest)["extra"] == {"temperature": 0.0, "engine": "hf"}


def test_samples_of_several_differ_from_each_other(tmp_path: Path, config: dict[str, Any]) -> None:
    for row in _infer(tmp_path, config):
        assert row.traces[0].steps != row.traces[1].steps


@pytest.mark.parametrize(
    "change",
    [{"n": 3}, {"temperature": 0.1}, {"top_p": 0.05}, {"max_tokens": 5}, {"seed": 1}, {"limit": 2}],
    ids=lambda c: next(iter(c)),
)
def test_each_option_changes_the_result(
    tmp_path: Path, config: dict[str, Any], change: dict[str, Any]
) -> None:
    one, two = _infer(tmp_path / "one", config), _infer(tmp_path / "two", config, **change)
    assert [row.traces for row in one] != [row.traces for row in two]


def test_the_size_of_a_chunk_does_not_change_the_result(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    together, alone = (
        _infer(tmp_path / "together", config),
        _infer(tmp_path / "alone", config, chunk=1),
    )
    assert _without_seconds(together) == _without_seconds(alone)


def test_a_problem_has_the_same_seed_in_any_set_of_problems_and_another_one_for_another_run() -> (
    None
):
    assert problem_seed(0, "tinymath/1") == problem_seed(0, "tinymath/1")
    assert (
        len(
            {
                problem_seed(seed, problem)
                for seed in (0, 1)
                for problem in ("tinymath/1", "tinymath/11", "MATH-500/1")
            }
        )
        == 6
    )


def test_an_interrupted_run_goes_on_and_gives_the_same_file(
    tmp_path: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, real, calls = _infer(tmp_path / "whole", config, chunk=1), HfEngine.generate, []

    def killed_at_the_third(self: HfEngine, prompts: Any, **options: Any) -> Any:
        calls.append(len(prompts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, prompts, **options)

    monkeypatch.setattr(HfEngine, "generate", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        _infer(tmp_path / "killed", config, chunk=1)
    (partial,) = (tmp_path / "killed").glob(".*.work/.*.partial")
    with partial.open("a", encoding="utf-8") as torn:
        torn.write('{"problem": {"id": "tinymath/2", "data')
    solved = _infer(tmp_path / "killed", config, chunk=1)
    assert len(calls) == 4, "only the problem that was not done is solved"
    assert _without_seconds(solved) == _without_seconds(whole)
    assert sorted(path.suffix for path in (tmp_path / "killed").iterdir()) == [".json", ".jsonl"]


def test_a_finished_run_is_skipped_without_torch(tmp_path: Path, config: dict[str, Any]) -> None:
    _infer(tmp_path, config, limit=1)
    code = (
        "import sys; from pathlib import Path; from rewardscope.settings import Settings\nfrom"
        " rewardscope.stages.infer import Config,"
        f" run\nrun(Config(**{ ({**config, 'limit': 1})!r}),"
        f" Settings(data_dir=Path({str(tmp_path)!r})))\nassert not {{'torch', 'transformers'}} &"
        " set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "is done (1 rows), skipped" in done.stderr


def test_one_engine_serves_all_data_sets_and_none_is_loaded_for_those_that_are_done(
    tmp_path: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, loaded = engines.load_engine, []
    monkeypatch.setattr(
        engines,
        "load_engine",
        lambda *given, **options: loaded.append(given) or real(*given, **options),
    )
    names = ("tinymath", _write(tmp_path / "other.jsonl", "What is 3 + 4?"))
    settings, wanted = Settings(data_dir=tmp_path / "data"), Config(**{**config, "datasets": names})
    outs = run(wanted, settings)
    assert [out.name for out in outs] == ["tiny-random_tinymath.jsonl", "tiny-random_other.jsonl"]
    assert [len(read_solved(out)) for out in outs] == [3, 1]
    assert run(wanted, settings) == outs
    assert len(loaded) == 1
    outs[1].unlink()
    times = outs[0].stat().st_mtime_ns
    run(wanted, settings)
    assert len(loaded) == 2 and outs[0].stat().st_mtime_ns == times and outs[1].is_file()


def test_answers_are_taken_from_the_box_and_graded(
    tmp_path: Path,
    config: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tiny_random_policy: Path,
) -> None:
    said = ["3 + 4 = 7.\n\nSo \\boxed{7}.", "I guess \\boxed{9}", "I do not know.", ""]
    engine = ScriptedEngine(
        AutoTokenizer.from_pretrained(tiny_random_policy),
        lambda _p, _s, sample: said[sample],
        max_positions=256,
    )
    monkeypatch.setattr(engines, "load_engine", lambda *_given, **_options: engine)
    (row,) = _infer(
        tmp_path,
        config,
        datasets=(_write(tmp_path / "one.jsonl", "What is 3 + 4?"),),
        n=4,
        max_tokens=90,
    )
    assert [(trace.steps, trace.answer, trace.correct) for trace in row.traces] == [
        (("3 + 4 = 7.", "So \\boxed{7}."), "7", True),
        (("I guess \\boxed{9}",), "9", False),
        (("I do not know.",), None, False),
        ((), None, False),
    ]
    assert {trace.finish for trace in row.traces} == {"eos"}


def test_a_prompt_that_fills_the_positions_is_left_out_counted_and_said(
    tmp_path: Path, config: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    name = _write(tmp_path / "set.jsonl", "What is 1 + 1?", "xyz " * 200)
    assert [row.problem.id for row in _infer(tmp_path / "data", config, datasets=(name,))] == [
        "set/0"
    ]
    (out,) = (tmp_path / "data").glob("*.jsonl")
    reason = "problem whose prompt fills the policy's positions"
    assert read_json(manifest_of(out))["skipped"] == {reason: 1}
    assert f"left out 1 times: {reason}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"model_name": "./no-such-policy"},
            MissingInput,
            "model folder ./no-such-policy is not there; pass a folder or a hub id",
        ),
        ({"datasets": ("tinymath", "tinymaths")}, UnknownName, "did you mean 'tinymath'"),
        ({"datasets": ("a/x.jsonl", "b/x.jsonl")}, ConfigError, "the same short name"),
        ({"datasets": ()}, ConfigError, "--datasets"),
        ({"n": 0}, ConfigError, "--n 0: at least 1"),
        ({"limit": 0}, ConfigError, "--limit 0: at least 1"),
        ({"max_tokens": 0}, ConfigError, "--max-tokens 0: at least 1"),
        ({"chunk": 0}, ConfigError, "--chunk 0: at least 1"),
        ({"top_p": 0.0}, ConfigError, "--top-p 0.0"),
        ({"temperature": -1.0}, ConfigError, "--temperature -1.0"),
        (
            {"temperature": 0.0},
            ConfigError,
            "--temperature 0 --n 2: greedy samples are all the same",
        ),
    ],
)
def test_mistakes_are_told_in_one_line_before_a_model_is_loaded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, Any],
    change: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr(
        engines, "load_engine", lambda *_given, **_options: pytest.fail("a model was loaded")
    )
    with pytest.raises(error) as told:
        _infer(tmp_path, config, **change)
    assert message in str(told.value) and "\n" not in str(told.value)
    assert not list(tmp_path.glob("*.jsonl"))
