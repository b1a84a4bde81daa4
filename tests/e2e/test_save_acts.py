"""save-acts with a small random PRM, through the real code, against plain transformers."""

import json
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
import torch
from transformers import AutoTokenizer, Qwen2Model

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.prms import load_scorer
from rewardscope.records import Problem, SolvedProblem, Trace
from rewardscope.settings import Settings
from rewardscope.stages.save_acts import Config, run
from rewardscope.storage import shards
from rewardscope.storage.jsonl import read_solved, write_rows
from rewardscope.storage.shards import ActStore, PartialActs
from tests.unit.prms.tiny_prm import make_prm, random_solutions

LAYERS, POSITIONS = 3, 512
SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."
SMALL_SHARD = 16


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_prm(tmp_path_factory.mktemp("prm"), layers=LAYERS))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_ROWS", SMALL_SHARD)


def trace(problem: str, index: int, steps: list[str], scores: tuple[float, ...] | None = None) -> Trace:
    return Trace(
        problem_id=problem,
        index=index,
        steps=tuple(steps),
        scores=scores,
        finish="eos",
        n_tokens=9,
        answer="4",
        correct=[True, False, None][index % 3],
    )


def write_generations(path: Path, *, n: int = 12, prm: str | None = None, extra: list[list[str]] | None = None) -> Path:
    """Write `n` problems of two traces, scored by `prm` where one is given; `extra` are further traces of the first problem."""
    scorer = load_scorer(prm, engine="hf", device="cpu") if prm else None
    rows = []
    for number, (question, steps) in enumerate(random_solutions(n, seed=1)):
        problem = Problem(id=f"toy/{number}", dataset="toy", question=question, answer="4")
        solutions = [steps, steps[::-1], *(extra or [] if number == 0 else [])]
        scores = scorer.score([scorer.encode(question, solution) for solution in solutions]) if scorer else [None] * len(solutions)
        traces = tuple(trace(problem.id, index, solution, scores[index]) for index, solution in enumerate(solutions))
        rows.append(SolvedProblem(problem=problem, traces=traces, chosen=0).to_dict())
    write_rows(path, rows)
    return path


def save(path: Path, prm: str, **flags: object) -> ActStore:
    return ActStore(run(Config(ds_name=str(path), prm=prm, device="cpu", **flags), Settings(data_dir=path.parent)))


def solutions_of(path: Path) -> Iterator[tuple[str, Trace]]:
    for solved in read_solved(path):
        for one in solved.traces:
            yield solved.problem.question, one


def prompt_of(question: str, steps: tuple[str, ...]) -> str:
    turns = (("system", SYSTEM), ("user", question), ("assistant", "".join(f"{step}<extra_0>" for step in steps)))
    return "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)


@pytest.mark.parametrize("positions", ["step-ends", "all-tokens"])
def test_states_are_those_of_plain_transformers_at_the_rows_tokens(
    tmp_path: Path, prm: str, small_shards: None, positions: Literal["step-ends", "all-tokens"]
) -> None:
    path = write_generations(tmp_path / "toy.jsonl")
    store = save(path, prm, positions=positions)
    tokenizer, model = AutoTokenizer.from_pretrained(prm), Qwen2Model.from_pretrained(prm, dtype=torch.float32).eval()
    acts, rows, start = {layer: store.layer(layer) for layer in range(LAYERS)}, store.rows(), 0
    assert max(len(chunk) for chunk in store.stream_layer(0)) <= SMALL_SHARD and len(store.shards) > 2
    for question, one in solutions_of(path):
        ids = tokenizer(prompt_of(question, one.steps), add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            hidden = model(input_ids=ids, output_hidden_states=True).hidden_states
        mine = [row for row in rows if (row.problem, row.trace) == (one.problem_id, one.index)]
        at, end = [row.token for row in mine], start + len(mine)
        assert [row.token_id for row in mine] == ids[0, at].tolist()
        for layer in range(LAYERS - 1):
            torch.testing.assert_close(acts[layer][start:end], hidden[layer + 1][0, at], rtol=1e-4, atol=1e-4)
        with torch.no_grad():  # plain transformers shows the last layer after the final norm, the project before it
            torch.testing.assert_close(model.norm(acts[LAYERS - 1][start:end]), hidden[LAYERS][0, at], rtol=1e-4, atol=1e-4)
        start = end
    assert start == store.n_rows == len(rows)


def test_rewards_are_the_scores_of_the_generations_file(tmp_path: Path, prm: str) -> None:
    path = write_generations(tmp_path / "toy.jsonl", prm=prm)
    store = save(path, prm)
    expected = {(one.problem_id, one.index): one for _, one in solutions_of(path)}
    assert store.n_rows == sum(len(one.steps) for one in expected.values())
    for row in store.iter_rows():
        one = expected[row.problem, row.trace]
        assert one.scores is not None and row.is_step_end
        assert row.reward == pytest.approx(one.scores[row.step], abs=1e-5)
        assert row.correct is one.correct
    for sequence in store.sequences():
        assert sequence["scores"] == pytest.approx(expected[sequence["problem"], sequence["trace"]].scores, abs=1e-5)


def test_all_tokens_are_the_solution_up_to_the_last_step_end_and_nothing_of_the_prompt(tmp_path: Path, prm: str) -> None:
    path = write_generations(tmp_path / "toy.jsonl", extra=[["\n  begins blank", "a π, a 数 and an 🍎 \r\n"]])
    store = save(path, prm, positions="all-tokens")
    sequences = {(sequence["problem"], sequence["trace"]): sequence for sequence in store.sequences()}
    rows = store.rows()
    for question, one in solutions_of(path):
        sequence = sequences[one.problem_id, one.index]
        assert "".join(sequence["tokens"]) == prompt_of(question, one.steps)
        mine = [row for row in rows if (row.problem, row.trace) == (one.problem_id, one.index)]
        solution = "".join(f"{step}<extra_0>" for step in one.steps)
        assert "".join(sequence["tokens"][row.token] for row in mine).lstrip("\n") == solution.lstrip("\n")
        assert [row.token for row in mine if row.is_step_end] == sequence["step_ends"]
        assert [row.step for row in mine if row.is_step_end] == list(range(len(one.steps)))
        assert all((row.reward is None) != row.is_step_end for row in mine)
        by_step = ["".join(sequence["tokens"][row.token] for row in mine if row.step == step) for step in range(len(one.steps))]
        assert by_step[1:] == [f"{step}<extra_0>" for step in one.steps[1:]]


def test_step_ends_among_all_tokens_are_the_rows_of_step_ends(tmp_path: Path, prm: str) -> None:
    ends = save(write_generations(tmp_path / "a" / "toy.jsonl"), prm)
    tokens = save(write_generations(tmp_path / "b" / "toy.jsonl"), prm, positions="all-tokens")
    chosen = [index for index, row in enumerate(tokens.iter_rows()) if row.is_step_end]
    assert [(row.problem, row.trace, row.step, row.token) for row in ends.iter_rows()] == [
        (row.problem, row.trace, row.step, row.token) for row in tokens.iter_rows() if row.is_step_end
    ]
    torch.testing.assert_close(tokens.layer(1)[chosen], ends.layer(1), rtol=1e-4, atol=1e-4)


def test_traces_that_cannot_be_scored_are_counted_by_reason_and_named_once(
    tmp_path: Path, prm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = [[], ["fine", "  "], ["holds <extra_0> itself"], ["3 + 4 = 7 " * POSITIONS]]
    store = save(write_generations(tmp_path / "toy.jsonl", extra=extra), prm)
    assert store.manifest["skipped"] == {"without steps": 1, "not encodable": 2, "too long": 1}
    assert store.manifest["extra"]["traces"] == 24 and not {(row.trace) for row in store.iter_rows()} - {0, 1}
    lines = [line for line in capsys.readouterr().err.splitlines() if "skipped" in line and "of 28 traces" in line]
    assert len(lines) == 3
    assert any("skipped 2 of 28 traces, not encodable; the first is trace 3 of toy/0" in line for line in lines)


def stop_after(monkeypatch: pytest.MonkeyPatch, groups: int) -> None:
    """Kill the run as it has written `groups` groups."""
    add: Callable[..., None] = PartialActs.add

    def limited(self: PartialActs, group: int, **kept: object) -> None:
        if len(self.done) == groups:
            raise KeyboardInterrupt
        add(self, group, **kept)

    monkeypatch.setattr(PartialActs, "add", limited)


@pytest.mark.parametrize("positions", ["step-ends", "all-tokens"])
def test_a_killed_run_goes_on_and_gives_the_very_same_bytes(
    tmp_path: Path, prm: str, small_shards: None, monkeypatch: pytest.MonkeyPatch, positions: Literal["step-ends", "all-tokens"]
) -> None:
    whole = save(write_generations(tmp_path / "whole" / "toy.jsonl"), prm, positions=positions)
    path = write_generations(tmp_path / "killed" / "toy.jsonl")
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            save(path, prm, positions=positions)
    out = tmp_path / "killed" / "math-rm-toy"
    assert not (out / "manifest.json").exists()
    first = out / "hiddens" / "00000.npz"
    written = first.stat().st_mtime_ns
    again = save(path, prm, positions=positions)
    assert first.stat().st_mtime_ns == written  # it was not computed a second time
    assert [shard.name for shard in again.shards] == [shard.name for shard in whole.shards]
    assert again.manifest["outputs"] == whole.manifest["outputs"]  # sha256 of every shard, of rows and of sequences
    assert not (out / ".partial.jsonl").exists()


def test_nothing_of_a_killed_run_is_reused_under_other_settings(
    tmp_path: Path, prm: str, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_generations(tmp_path / "toy.jsonl")
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            save(path, prm, positions="all-tokens")
    assert (tmp_path / "math-rm-toy" / "hiddens" / "00001.npz").is_file()
    store = save(path, prm, layers="1", limit=2)
    assert [file.name for file in (store.folder / "hiddens").iterdir()] == ["00000.npz"]
    assert store.layers == (1,) and {row.problem for row in store.iter_rows()} == {"toy/0"}


def test_a_trace_longer_than_a_shard_fills_several(tmp_path: Path, prm: str, small_shards: None) -> None:
    path = write_generations(tmp_path / "toy.jsonl", n=2, extra=[["3 + 4 = 7 " * 20]])
    store = save(path, prm, positions="all-tokens")
    store.verify()
    sizes = [len(chunk) for chunk in store.stream_layer(0)]
    assert sum(sizes) == store.n_rows and SMALL_SHARD in sizes and max(sizes) == SMALL_SHARD


def test_layers_dtype_and_the_manifest_say_what_was_kept(tmp_path: Path, prm: str) -> None:
    path = write_generations(tmp_path / "toy.jsonl", n=3)
    exact = save(path, prm)
    half = ActStore(
        run(Config(ds_name="toy", base_path=path.parent, prm=prm, device="cpu", layers="0,2", dtype="bfloat16", force=True), Settings())
    )
    assert half.layers == (0, 2) and half.width == 32
    assert {key: half.manifest["extra"][key] for key in ("prm", "positions", "dtype", "generations", "problems")} == {
        "prm": prm, "positions": "step-ends", "dtype": "bfloat16", "generations": str(path), "problems": 3,
    }  # fmt: skip
    assert exact.manifest["extra"]["dtype"] == "float32" and exact.layers == (0, 1, 2)
    again = save(write_generations(tmp_path / "b" / "toy.jsonl", n=3), prm)
    assert torch.equal(half.layer(2), again.layer(2).bfloat16().float())


def test_the_limit_counts_traces_and_the_splits_share_no_problem(tmp_path: Path, prm: str) -> None:
    path = write_generations(tmp_path / "toy.jsonl", n=20)
    seen = {}
    for split in ("train", "test", "full"):
        seen[split] = {row.problem for row in save(path, prm, ds_split=split, force=True).iter_rows()}
    assert seen["train"] and seen["test"] and not seen["train"] & seen["test"]
    assert seen["train"] | seen["test"] == seen["full"] == {f"toy/{number}" for number in range(20)}
    limited = save(path, prm, limit=5, force=True)
    assert list(dict.fromkeys((row.problem, row.trace) for row in limited.iter_rows())) == [
        ("toy/0", 0), ("toy/0", 1), ("toy/1", 0), ("toy/1", 1), ("toy/2", 0),
    ]  # fmt: skip


def test_a_smaller_batch_gives_the_same_states(tmp_path: Path, prm: str) -> None:
    wide = save(write_generations(tmp_path / "a" / "toy.jsonl"), prm)
    narrow = save(write_generations(tmp_path / "b" / "toy.jsonl"), prm, batch_tokens=1)
    torch.testing.assert_close(wide.layer(2), narrow.layer(2), rtol=1e-4, atol=1e-4)


def test_the_disk_need_is_said_and_refused_before_the_weights_are_read(
    tmp_path: Path, prm: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_generations(tmp_path / "toy.jsonl")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    monkeypatch.setattr("rewardscope.prms.scorer.HfScorer.__init__", None)  # to load the PRM would fail
    with pytest.raises(ConfigError, match=r"math-rm-toy needs 0\.\d MB and 0\.0 MB are free; make room, or pass fewer --layers"):
        save(path, prm)
    assert "rows to capture need" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"ds_name": "absent"}, r"absent is not there; make it with invoke infer"),
        ({"layers": "0-27"}, r"--layers 0-27: layer 27 is out of range; the model has layers 0-2"),
        ({"prm": "no/where/prm"}, r"no/where/prm"),
        ({"ds_name": "."}, r"is a folder; name a generations file"),
    ],
)
def test_what_cannot_work_ends_in_one_line_before_the_weights_are_read(
    tmp_path: Path, prm: str, monkeypatch: pytest.MonkeyPatch, flags: dict, message: str
) -> None:
    write_generations(tmp_path / "toy.jsonl", n=2)
    monkeypatch.setattr("rewardscope.prms.scorer.HfScorer.__init__", None)
    with pytest.raises((ConfigError, MissingInput), match=message) as caught:
        run(Config(**{"ds_name": "toy", "prm": prm, "device": "cpu"} | flags), Settings(data_dir=tmp_path))
    assert "\n" not in str(caught.value)


def test_a_file_whose_traces_are_all_skipped_says_so(tmp_path: Path, prm: str) -> None:
    problem = Problem(id="toy/0", dataset="toy", question="How many?", answer="4")
    solved = SolvedProblem(problem=problem, traces=(trace("toy/0", 0, []),), chosen=0)
    write_rows(tmp_path / "toy.jsonl", [solved.to_dict()])
    with pytest.raises(MissingInput, match=r"none of the 1 traces \(1 without steps\)"):
        save(tmp_path / "toy.jsonl", prm)


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"layers": "a"}, {"batch_tokens": 0}, {"batch_tokens": 20_000}])
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=r"^--"):
        Config(ds_name="x", **wrong)


def test_a_second_run_skips_without_torch(tmp_path: Path, prm: str) -> None:
    path = write_generations(tmp_path / "toy.jsonl", n=2)
    store = save(path, prm)
    made = json.loads((store.folder / "manifest.json").read_text())["created"]
    code = f"""
import sys
from pathlib import Path
from rewardscope.settings import Settings
from rewardscope.stages.save_acts import Config, run
run(Config(ds_name={str(path)!r}, prm={prm!r}, device="cpu"), Settings(data_dir=Path({str(tmp_path)!r})))
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert json.loads((store.folder / "manifest.json").read_text())["created"] == made
