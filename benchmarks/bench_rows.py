"""Rows of a save-acts folder as columns against JSON lines, in time and bytes; and the peak memory
of feature-diff and dash over one, four and sixteen times as many rows: of the same traces, which
grow longer, and of as many more traces.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import best_seconds, keep_row
from rewardscope.sae.model.checkpoint import Sae, save_sae
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig
from rewardscope.storage.acts import ActStore, write_traces
from rewardscope.storage.row_files import ROWS, OldRows, ParquetRows
from rewardscope.storage.rows import RowTable, make_rows
from rewardscope.storage.sequences import ActSequence
from rewardscope.storage.shards import SHARD_ROWS, shard_file, write_shard

N_ROWS, TOKENS, PROBLEMS = 300_000, 100, 100
SMALL, TIMES, WIDTH, FEATURES, K = 10_000, (1, 4, 16), 32, 256, 8
COLUMNS = ("problem", "trace", "step", "token", "token_id", "is_step_end", "reward", "has_reward")


def trace(number: int, n_tokens: int = TOKENS) -> tuple[RowTable, ActSequence]:
    """Return the rows and the sequence of one trace; every tenth token ends a step."""
    token_N = np.arange(n_tokens)
    is_end_N = token_N % 10 == 9
    problem, words = f"synthetic/{number % PROBLEMS}", (7 * token_N + number) % 500
    scores = tuple(np.random.default_rng(number).random(n_tokens // 10).tolist())
    columns = {
        **dict.fromkeys(("problem", "dataset"), np.zeros(n_tokens)),
        "trace": np.full(n_tokens, number // PROBLEMS),
        "step": token_N // 10,
        "token": token_N,
        "token_id": words,
        "is_step_end": is_end_N,
        "reward": np.where(is_end_N, np.repeat(scores, 10), 0),
        "has_reward": is_end_N,
        "correct": np.full(n_tokens, number % 2),
        "in_window": np.ones(n_tokens),
        "text_start": 4 * token_N,
        "sequence": np.full(n_tokens, number),
    }
    rows = make_rows(columns, problems=(problem,), datasets=("synthetic",))
    sequence = ActSequence(
        problem=problem,
        trace=number // PROBLEMS,
        tokens=tuple(f" w{word}" for word in words.tolist()),
        step_ends=tuple(np.flatnonzero(is_end_N).tolist()),
        scores=scores,
        correct=number % 2 == 1,
    )
    return rows, sequence


def write_old(rows: RowTable, path: Path) -> None:
    """Write the rows as versions before did: a JSON object a line."""
    names = ("trace", "step", "token", "token_id", "is_step_end", "in_window", "text_start")
    lists = {name: rows.column(name).tolist() for name in names}
    problems = [rows.problems[code] for code in rows.problem_N.tolist()]
    rewards = zip(rows.reward_N.tolist(), rows.has_reward_N.tolist(), strict=True)
    lists |= {"problem": problems, "reward": [value if known else None for value, known in rewards]}
    lists |= {"dataset": ["synthetic"] * len(rows), "correct": (rows.correct_N == 1).tolist()}
    with path.open("w", encoding="utf-8") as out:
        for values in zip(*lists.values(), strict=True):
            out.write(json.dumps(dict(zip(lists, values, strict=True))) + "\n")


def load_objects(path: Path) -> list[dict]:
    """Read JSON lines to one object a row."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def load_columns(path: Path) -> None:
    table = ParquetRows(path).table()
    for name in COLUMNS:
        table.column(name)


def write_store(folder: Path, *, n_traces: int, n_tokens: int) -> ActStore:
    """Write a finished folder of random states."""
    n_rows = n_traces * n_tokens
    stage = Stage("save-acts", StageConfig(), inputs={"generations": folder.name}, out=folder)
    rng = torch.Generator().manual_seed(len(folder.name))
    with stage:
        files = list(write_traces(stage.work, (trace(i, n_tokens) for i in range(n_traces))))
        for index, start in enumerate(range(0, n_rows, SHARD_ROWS)):
            acts_ND = torch.randn(min(SHARD_ROWS, n_rows - start), WIDTH, generator=rng)
            write_shard(shard_file(stage.work, index), {0: [acts_ND]})
            files.append(shard_file(stage.work, index))
        stage.finish(files, rows=n_rows, extra={"layers": [0], "width": WIDTH})
    return ActStore(folder)


def write_sae(folder: Path) -> None:
    rng = torch.Generator().manual_seed(1)
    weights_FD = torch.nn.functional.normalize(torch.randn(FEATURES, WIDTH, generator=rng), dim=1)
    sae = Sae(
        W_enc_DF=weights_FD.T.contiguous(),
        b_enc_F=torch.zeros(FEATURES),
        W_dec_FD=weights_FD,
        b_dec_D=torch.zeros(WIDTH),
        k=K,
        layer=0,
        info={},
    )
    stage = Stage("train-sae", StageConfig(), inputs={}, out=folder)
    with stage:
        save_sae(stage.work / "layer_00", sae)
        files = [path for path in (stage.work / "layer_00").iterdir() if path.is_file()]
        stage.finish(files, rows=0, extra={"layers": [0]})


def peak(task: str, home: Path, kind: str) -> float:
    """Return the peak of a task over its imports, in MB, in a process of its own."""
    code = f"from benchmarks.bench_rows import measure; measure({task!r}, {str(home)!r}, {kind!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])


def peak_kb() -> int:
    """Return the peak of this program; that of getrusage is also the parent's, before exec."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0])


def measure(task: str, home: str, kind: str) -> None:
    """Run a task and print by how much it raised the peak of this process, in MB."""
    torch.set_num_threads(1)
    import rewardscope.dashboard.layer_data
    import rewardscope.stages.feature_diff_units  # noqa: F401
    from rewardscope.stages import dash, feature_diff

    settings = Settings(data_dir=Path(home), sae_checkpoint_dir=Path(home) / "checkpoints")
    sae = str(Path(home) / "checkpoints" / "sae")
    torch.randn(64, 64) @ torch.randn(64, 64)
    before = peak_kb()
    if task == "dash":
        dash.run(dash.Config(ds_names=(f"a-{kind}",), sae=sae, device="cpu", force=True), settings)
    else:
        names = {"reasoning": (f"a-{kind}",), "instruct": (f"b-{kind}",)}
        feature_diff.run(feature_diff.Config(**names, sae=sae, device="cpu", force=True), settings)
    print((peak_kb() - before) / 1024)


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        started = time.perf_counter()
        write_traces(home, map(trace, range(N_ROWS // TOKENS)))
        written = time.perf_counter() - started
        new, old = home / ROWS, home / "rows.jsonl"
        write_old(ParquetRows(new).table(), old)
        seconds = best_seconds(
            {
                "columns": lambda: load_columns(new),
                "old file to columns": lambda: OldRows(old, {}),
                "old file to objects": lambda: load_objects(old),
            },
            rounds=2,
        )
        row = {
            "what": "rows and sequences as columns against JSON lines",
            "rows": N_ROWS,
            "bytes_a_row": round(new.stat().st_size / N_ROWS, 2),
            "bytes_a_row_json": round(old.stat().st_size / N_ROWS, 1),
            "write_s": round(written, 2),
            "load_s": {kind: round(took.wall, 4) for kind, took in seconds.items()},
        }
        write_sae(home / "checkpoints" / "sae")
        for times in TIMES:
            for side in "ab":
                n = SMALL // TOKENS
                write_store(home / f"{side}-long{times}", n_traces=n, n_tokens=TOKENS * times)
                write_store(home / f"{side}-many{times}", n_traces=n * times, n_tokens=TOKENS)
        for task in ("feature-diff", "dash"):
            for kind, what in (("long", "longer traces"), ("many", "more traces")):
                peaks = {t: round(peak(task, home, f"{kind}{t}"), 1) for t in TIMES}
                row[f"peak_mb_{task}, {what}"] = peaks
        keep_row("rows", row | {"rows_of_peaks": [SMALL * times for times in TIMES]})


if __name__ == "__main__":
    main()
