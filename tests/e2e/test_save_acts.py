"""save-acts with a small random PRM, through the real code, against plain transformers."""

import re
from pathlib import Path
from typing import Literal

import pytest
import torch
from transformers import AutoTokenizer, Qwen2Model

from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig
from rewardscope.stages.save_acts import Config, run
from rewardscope.storage.acts import ActStore
from rewardscope.storage.files import manifest_of
from rewardscope.storage.jsonl import read_solved, write_rows
from tests.act_files import read_act_rows
from tests.e2e.acts_runs import (
    LAYERS,
    POSITIONS,
    SMALL_SHARD,
    prompt_of,
    save,
    shrink,
    solutions_of,
    write_generations,
)
from tests.unit.prms.tiny_prm import make_prm


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_prm(tmp_path_factory.mktemp("prm"), layers=LAYERS))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)


@pytest.mark.parametrize("positions", ["step-ends", "all-tokens", "last", "sample"])
def test_states_are_those_of_plain_transformers_at_the_rows_tokens(
    tmp_path: Path,
    prm: str,
    small_shards: None,
    positions: Literal["step-ends", "all-tokens", "last", "sample"],
) -> None:
    path = write_generations(tmp_path / "toy.jsonl")
    store = save(path, prm, positions=positions, sample=5)
    tokenizer, model = (
        AutoTokenizer.from_pretrained(prm),
        Qwen2Model.from_pretrained(prm, dtype=torch.float32).eval(),
    )
    acts, rows, seen = (
        {layer: store.layer(layer) for layer in range(LAYERS)},
        read_act_rows(store),
        0,
    )
    assert (
        max(len(chunk) for chunk in store.stream_layer(0)) <= SMALL_SHARD and len(store.shards) > 1
    )
    for question, one in solutions_of(path):
        ids = tokenizer(
            prompt_of(question, one.steps), add_special_tokens=False, return_tensors="pt"
        )["input_ids"]
        with torch.no_grad():
            hidden = model(input_ids=ids, output_hidden_states=True).hidden_states
        mine = [
            number
            for number, row in enumerate(rows)
            if (row.problem, row.trace) == (one.problem_id, one.index)
        ]
        at = [rows[number].token for number in mine]
        assert [rows[number].token_id for number in mine] == ids[0, at].tolist()
        for layer in range(LAYERS - 1):
            torch.testing.assert_close(
                acts[layer][mine], hidden[layer + 1][0, at], rtol=1e-5, atol=1e-5
            )
        # plain transformers shows the last layer after the final norm, the project before it
        with torch.no_grad():
            torch.testing.assert_close(
                model.norm(acts[LAYERS - 1][mine]), hidden[LAYERS][0, at], rtol=1e-5, atol=1e-5
            )
        expected = {"step-ends": len(one.steps), "last": 1, "sample": 5}
        assert len(mine) == expected.get(positions, len(mine)) > 0
        seen += len(mine)
    assert seen == store.n_rows == len(rows)


def test_rewards_are_the_scores_of_the_generations_file(tmp_path: Path, prm: str) -> None:
    path = write_generations(tmp_path / "toy.jsonl", prm=prm)
    store = save(path, prm)
    expected = {(one.problem_id, one.index): one for _, one in solutions_of(path)}
    assert store.n_rows == sum(len(one.steps) for one in expected.values())
    for row in read_act_rows(store):
        one = expected[row.problem, row.trace]
        assert one.scores is not None and row.is_step_end and row.dataset == "toy" and row.in_window
        assert row.reward == pytest.approx(one.scores[row.step], abs=1e-5)
        assert row.correct is one.correct
    for sequence in store.sequences:
        assert sequence.scores == pytest.approx(
            expected[sequence.problem, sequence.trace].scores, abs=1e-5
        )


def test_all_tokens_are_the_solution_up_to_the_last_step_end_and_nothing_of_the_prompt(
    tmp_path: Path, prm: str
) -> None:
    path = write_generations(
        tmp_path / "toy.jsonl", extra=[["\n  begins blank", "a π, a 数 and an 🍎 \r\n"]]
    )
    store = save(path, prm, positions="all-tokens")
    sequences = {(sequence.problem, sequence.trace): sequence for sequence in store.sequences}
    rows = read_act_rows(store)
    for question, one in solutions_of(path):
        sequence = sequences[one.problem_id, one.index]
        assert "".join(sequence.tokens) == prompt_of(question, one.steps)
        mine = [row for row in rows if (row.problem, row.trace) == (one.problem_id, one.index)]
        solution = "".join(f"{step}<extra_0>" for step in one.steps)
        assert "".join(sequence.tokens[row.token] for row in mine).lstrip("\n") == solution.lstrip(
            "\n"
        )
        text = prompt_of(question, one.steps)
        assert all(text[row.text_start :].startswith(sequence.tokens[row.token]) for row in mine)
        assert [row.token for row in mine if row.is_step_end] == list(sequence.step_ends)
        assert [row.step for row in mine if row.is_step_end] == list(range(len(one.steps)))
        assert all((row.reward is None) != row.is_step_end for row in mine)
        by_step = [
            "".join(sequence.tokens[row.token] for row in mine if row.step == step)
            for step in range(len(one.steps))
        ]
        assert by_step[1:] == [f"{step}<extra_0>" for step in one.steps[1:]]


def test_step_ends_among_all_tokens_are_the_rows_of_step_ends(tmp_path: Path, prm: str) -> None:
    ends = save(write_generations(tmp_path / "a" / "toy.jsonl"), prm)
    tokens = save(write_generations(tmp_path / "b" / "toy.jsonl"), prm, positions="all-tokens")
    chosen = [index for index, row in enumerate(read_act_rows(tokens)) if row.is_step_end]
    assert [(row.problem, row.trace, row.step, row.token) for row in read_act_rows(ends)] == [
        (row.problem, row.trace, row.step, row.token)
        for row in read_act_rows(tokens)
        if row.is_step_end
    ]
    torch.testing.assert_close(tokens.layer(1)[chosen], ends.layer(1), rtol=1e-4, atol=1e-4)


def test_traces_that_cannot_be_scored_are_counted_by_reason_and_named_once(
    tmp_path: Path, prm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = [[], ["fine", "  "], ["holds <extra_0> itself"], ["3 + 4 = 7 " * POSITIONS]]
    store = save(write_generations(tmp_path / "toy.jsonl", extra=extra), prm)
    assert store.manifest.skipped == {"without steps": 1, "not encodable": 2, "too long": 1}
    assert store.info.traces == 24 and not {(row.trace) for row in read_act_rows(store)} - {0, 1}
    lines = [
        line
        for line in capsys.readouterr().err.splitlines()
        if "skipped" in line and "of 28 traces" in line
    ]
    assert len(lines) == 3
    assert any(
        "skipped 2 of 28 traces, not encodable; the first is trace 3 of toy/0" in line
        for line in lines
    )


def test_a_trace_longer_than_a_shard_fills_several(
    tmp_path: Path, prm: str, small_shards: None
) -> None:
    path = write_generations(tmp_path / "toy.jsonl", n=2, extra=[["3 + 4 = 7 " * 20]])
    store = save(path, prm, positions="all-tokens")
    store.verify()
    sizes = [len(chunk) for chunk in store.stream_layer(0)]
    assert sum(sizes) == store.n_rows and SMALL_SHARD in sizes and max(sizes) == SMALL_SHARD


def test_layers_dtype_and_the_manifest_say_what_was_kept(tmp_path: Path, prm: str) -> None:
    path = write_generations(tmp_path / "toy.jsonl", n=3)
    exact = save(path, prm)
    half = ActStore(
        run(
            Config(
                ds_name="toy",
                base_path=path.parent,
                prm=prm,
                device="cpu",
                layers="0,2",
                dtype="bfloat16",
                force=True,
            ),
            Settings(),
        )
    )
    assert half.layers == (0, 2) and half.width == 32
    assert {
        key: getattr(half.info, key)
        for key in ("prm", "positions", "dtype", "generations", "problems")
    } == {
        "prm": prm,
        "positions": "step-ends",
        "dtype": "bfloat16",
        "generations": str(path),
        "problems": 3,
    }
    assert exact.info.dtype == "float32" and exact.layers == (0, 1, 2)
    again = save(write_generations(tmp_path / "b" / "toy.jsonl", n=3), prm)
    assert torch.equal(half.layer(2), again.layer(2).bfloat16().float())


def test_the_limit_counts_traces_and_the_splits_share_no_problem(tmp_path: Path, prm: str) -> None:
    path = write_generations(tmp_path / "toy.jsonl", n=20)
    seen = {}
    for split in ("train", "test", "full"):
        seen[split] = {
            row.problem for row in read_act_rows(save(path, prm, ds_split=split, force=True))
        }
    assert seen["train"] and seen["test"] and not seen["train"] & seen["test"]
    assert seen["train"] | seen["test"] == seen["full"] == {f"toy/{number}" for number in range(20)}
    limited = save(path, prm, limit=5, force=True)
    assert {(row.problem, row.trace) for row in read_act_rows(limited)} == {
        ("toy/0", 0),
        ("toy/0", 1),
        ("toy/1", 0),
        ("toy/1", 1),
        ("toy/2", 0),
    }


def test_a_smaller_batch_gives_the_same_states(tmp_path: Path, prm: str) -> None:
    wide = save(write_generations(tmp_path / "a" / "toy.jsonl"), prm)
    narrow = save(write_generations(tmp_path / "b" / "toy.jsonl"), prm, batch_tokens=1)
    torch.testing.assert_close(wide.layer(2), narrow.layer(2), rtol=1e-4, atol=1e-4)


def test_scores_that_this_prm_gave_are_not_computed_again(tmp_path: Path, prm: str) -> None:
    path = write_generations(tmp_path / "toy.jsonl", prm=prm)
    scores = {(one.problem_id, one.index): one.scores for _, one in solutions_of(path)}
    shifted = [solved.to_dict() for solved in read_solved(path)]
    for solved in shifted:
        for one in solved["traces"]:
            # so that it shows where a reward is from
            one["scores"] = [score / 2 for score in one["scores"]]
    write_rows(path, shifted)

    def rewards(layers: str) -> list[tuple[float, float]]:
        rows = read_act_rows(save(path, prm, layers=layers, force=True))
        return [(row.reward, (scores[row.problem, row.trace] or ())[row.step]) for row in rows]

    # nothing says whose scores the file has
    assert all(reward == pytest.approx(score, abs=1e-5) for reward, score in rewards("0"))
    stage = Stage("infer-with-prm", StageConfig(), inputs={"prm": prm}, out=path)
    with stage:
        stage.work.write_bytes(path.read_bytes())
        stage.finish([stage.work], rows=1)
    assert all(reward == score / 2 for reward, score in rewards("0"))
    assert all(reward == score / 2 for reward, score in rewards("all"))
    path.write_text(path.read_text().replace("How", "Who") + "\n")
    manifest_of(path).unlink()  # edited since, and adopted
    assert all(reward == pytest.approx(score, abs=1e-5) for reward, score in rewards("0"))


def test_traces_beyond_the_window_are_counted_or_marked(tmp_path: Path, prm: str) -> None:
    path = write_generations(tmp_path / "toy.jsonl")
    lengths = [len(sequence.tokens) for sequence in save(path, prm).sequences]
    window = sorted(lengths)[len(lengths) // 2]
    n_longer = sum(length > window for length in lengths)
    dropped = save(path, prm, prm_window=window, positions="all-tokens", force=True)
    assert dropped.manifest.skipped == {"too long": n_longer} and all(
        row.in_window for row in read_act_rows(dropped)
    )
    marked = save(
        path, prm, prm_window=window, beyond_window="score", positions="all-tokens", force=True
    )
    assert marked.manifest.skipped == {} and marked.info.traces == len(lengths)
    assert [row.in_window for row in read_act_rows(marked)] == [
        row.token < window for row in read_act_rows(marked)
    ]
    assert not all(row.in_window for row in read_act_rows(marked))


@pytest.mark.parametrize("positions", ["step-ends", "all-tokens", "last", "sample"])
def test_the_disk_need_that_is_said_is_what_is_written(
    tmp_path: Path,
    prm: str,
    capsys: pytest.CaptureFixture[str],
    positions: Literal["step-ends", "all-tokens", "last", "sample"],
) -> None:
    store = save(
        write_generations(tmp_path / "toy.jsonl", n=60), prm, positions=positions, sample=7
    )
    said = re.search(r"(\d+) rows to capture need ([\d.]+) MB of disk", capsys.readouterr().err)
    written = sum((store.folder / name).stat().st_size for name in store.manifest.outputs) / 1e6
    assert said and int(said[1]) == store.n_rows
    assert written <= float(said[2]) + 0.05 and float(said[2]) - 0.05 <= 1.3 * written
