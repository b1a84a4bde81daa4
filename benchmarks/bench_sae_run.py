"""`train-sae` as a user runs it against its bare steps: the share of the CPU time that is training.

The run reads shards, shuffles, logs every 50 steps, has its state ready to save and measures its SAEs on held-out problems, all
at its defaults; the bare steps take as many batches of the same rows from memory. Process CPU seconds with one thread, rounds
alternate.
"""

import dataclasses
import shutil
import tempfile
from pathlib import Path

import torch

from benchmarks.measure import best_cpu_seconds, keep_row
from rewardscope.records import ActRow
from rewardscope.sae.train import Trainer
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig
from rewardscope.stages import train_sae
from rewardscope.storage.shards import SHARD_ROWS, ActStore, shard_file, write_shard, write_traces

WIDTH, FEATURES, K, BATCH, LAYERS, ROWS, PROBLEMS = 256, 4096, 32, 4096, 2, 65_536, 64
EPOCHS, ROUNDS = 10, 2


def write_store(folder: Path) -> None:
    """Write a finished save-acts folder: states of rank 64 with noise."""
    rng = torch.Generator().manual_seed(0)
    mix = torch.randn(64, WIDTH, generator=rng) / 8
    stage, files, traces = Stage("save-acts", StageConfig(), inputs={"generations": "synthetic"}, out=folder), [], []
    for index, start in enumerate(range(0, ROWS, SHARD_ROWS)):
        acts = {layer: torch.randn(SHARD_ROWS, 64, generator=rng) @ mix for layer in range(LAYERS)}
        path = shard_file(folder, index)
        write_shard(path, {layer: [acts_ND + 0.3 * torch.randn(acts_ND.shape, generator=rng)] for layer, acts_ND in acts.items()})
        files.append(path)
        problem = f"synthetic/{start * PROBLEMS // ROWS}"
        rows = [
            ActRow(
                problem=problem, trace=index, step=0, token=token, token_id=5, is_step_end=token == SHARD_ROWS - 1,
                reward=0.5 if token == SHARD_ROWS - 1 else None, correct=True,
            )
            for token in range(SHARD_ROWS)
        ]  # fmt: skip
        last = SHARD_ROWS - 1
        sequence = {"problem": problem, "trace": index, "tokens": ["a"] * SHARD_ROWS, "step_ends": [last], "scores": [0.5], "correct": True}
        traces.append((rows, sequence))
    with stage:
        files += write_traces(folder, traces)
        stage.finish(files, rows=ROWS, extra={"layers": list(range(LAYERS)), "width": WIDTH})


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(data_dir=Path(home), sae_checkpoint_dir=Path(home) / "checkpoints")
        write_store(Path(home) / "acts")
        store = ActStore(Path(home) / "acts")
        config = train_sae.Config(ds_names=("acts",), n_features=str(FEATURES), k=str(K), batch=BATCH, epochs=EPOCHS, force=True)
        held_in = ROWS - round(config.holdout * PROBLEMS) * ROWS // PROBLEMS  # so both take as many steps
        n_steps = -(-EPOCHS * held_in // BATCH)
        rows = {layer: store.layer(layer)[:held_in] for layer in range(LAYERS)}
        n_features, k = dict.fromkeys(rows, FEATURES), dict.fromkeys(rows, K)

        def as_run() -> None:
            shutil.rmtree(settings.sae_checkpoint_dir, ignore_errors=True)
            train_sae.run(config, settings)

        def bare() -> None:
            options = train_sae.train_options(config, n_features, k, n_rows=n_steps * BATCH, n_steps=n_steps)
            trainer = Trainer({layer: acts_ND[:8192] for layer, acts_ND in rows.items()}, dataclasses.replace(options))
            for step in range(n_steps):
                start = step * BATCH % (held_in - BATCH)
                trainer.step({layer: acts_ND[start : start + BATCH] for layer, acts_ND in rows.items()})

        seconds = best_cpu_seconds({"bare": bare, "as run": as_run}, rounds=ROUNDS)
    keep_row(
        "sae",
        {
            "what": "train-sae with shards, log, state and quality against its bare steps", "width": WIDTH, "features": FEATURES, "k": K,
            "batch": BATCH, "layers": LAYERS, "steps": n_steps, "rounds": ROUNDS, "share_that_is_training": round(
                seconds["bare"] / seconds["as run"], 3
            ), "cpu_s": {name: round(value, 2) for name, value in seconds.items()},
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
