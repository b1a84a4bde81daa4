"""`train-sae` as a user runs it against its bare steps: the share of the CPU time that is training.

The run reads shards, shuffles, logs every 50 steps, has its state ready to save and measures its
SAEs on held-out problems, all at its defaults; the bare steps take as many batches of the same rows
from memory, one after each step of the run. CPU seconds with one thread.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.measure import keep_row
from rewardscope.sae.train.trainer import LayerBatch, StepReport, Trainer, TrainOptions
from rewardscope.settings import Settings
from rewardscope.splits import hold_out
from rewardscope.stage import Stage, StageConfig
from rewardscope.stages import train_sae
from rewardscope.storage.acts import ActStore, write_traces
from rewardscope.storage.rows import RIGHT, make_rows
from rewardscope.storage.sequences import ActSequence
from rewardscope.storage.shards import SHARD_ROWS, shard_file, write_shard

WIDTH, FEATURES, K, BATCH, LAYERS, ROWS, PROBLEMS = 256, 4096, 32, 4096, 2, 65_536, 64
EPOCHS, ROUNDS = 10, 2
STEP = Trainer.step
T = TypeVar("T")


def write_store(folder: Path) -> None:
    """Write a finished save-acts folder: states of rank 64 with noise."""
    rng = torch.Generator().manual_seed(0)
    mix = torch.randn(64, WIDTH, generator=rng) / 8
    stage, files, traces = (
        Stage("save-acts", StageConfig(), inputs={"generations": "synthetic"}, out=folder),
        [],
        [],
    )
    for index, start in enumerate(range(0, ROWS, SHARD_ROWS)):
        acts = {layer: torch.randn(SHARD_ROWS, 64, generator=rng) @ mix for layer in range(LAYERS)}
        path = shard_file(stage.work, index)
        write_shard(
            path,
            {
                layer: [acts_ND + 0.3 * torch.randn(acts_ND.shape, generator=rng)]
                for layer, acts_ND in acts.items()
            },
        )
        files.append(path)
        problem = f"synthetic/{start * PROBLEMS // ROWS}"
        token_N, last = np.arange(SHARD_ROWS), SHARD_ROWS - 1
        columns = {
            **dict.fromkeys(("problem", "dataset", "step", "text_start"), np.zeros(SHARD_ROWS)),
            "trace": np.full(SHARD_ROWS, index),
            "token": token_N,
            "token_id": np.full(SHARD_ROWS, 5),
            "is_step_end": token_N == last,
            "reward": 0.5 * (token_N == last),
            "has_reward": token_N == last,
            "correct": np.full(SHARD_ROWS, RIGHT),
            "in_window": np.ones(SHARD_ROWS),
            "sequence": np.full(SHARD_ROWS, index),
        }
        rows = make_rows(columns, problems=(problem,), datasets=("synthetic",))
        sequence = ActSequence(
            problem=problem,
            trace=index,
            tokens=("a",) * SHARD_ROWS,
            step_ends=(last,),
            scores=(0.5,),
            correct=True,
        )
        traces.append((rows, sequence))
    with stage:
        files += write_traces(stage.work, traces)
        stage.finish(files, rows=ROWS, extra={"layers": list(range(LAYERS)), "width": WIDTH})


class Beside:
    """The bare trainer: it takes a step after each one of the run, on rows from memory, so that
    both see the machine alike.
    """

    def __init__(self, options: TrainOptions, rows: dict[int, torch.Tensor]) -> None:
        self.rows, self.seconds = rows, 0.0
        self.trainer = self.timed(
            lambda: Trainer({layer: acts_ND[:8192] for layer, acts_ND in rows.items()}, options)
        )

    def timed(self, work: Callable[[], T]) -> T:
        """Add up CPU seconds of this thread alone: what the run reads ahead meanwhile is the
        run's.
        """
        started = time.thread_time()
        result = work()
        self.seconds += time.thread_time() - started
        return result

    def step(self) -> None:
        n_rows = len(next(iter(self.rows.values())))
        start = self.trainer.n_done * BATCH % (n_rows - BATCH)
        batch = {layer: acts_ND[start : start + BATCH] for layer, acts_ND in self.rows.items()}
        self.timed(lambda: STEP(self.trainer, batch))


def main() -> None:
    torch.set_num_threads(1)
    found = []
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(data_dir=Path(home), sae_checkpoint_dir=Path(home) / "checkpoints")
        write_store(Path(home) / "acts")
        store = ActStore(Path(home) / "acts")
        config = train_sae.Config(
            ds_names=("acts",),
            n_features=str(FEATURES),
            k=str(K),
            batch=BATCH,
            epochs=EPOCHS,
            force=True,
        )
        names = [f"synthetic/{problem}" for problem in range(PROBLEMS)]
        held_out = hold_out(names, share=config.holdout, seed=config.split_seed)
        held_in = ROWS - len(held_out) * ROWS // PROBLEMS
        n_steps = -(-EPOCHS * held_in // BATCH)
        rows = {layer: store.layer(layer)[:held_in] for layer in range(LAYERS)}
        n_features, k = dict.fromkeys(rows, FEATURES), dict.fromkeys(rows, K)
        for _ in range(ROUNDS):
            beside = Beside(
                train_sae.train_options(
                    config, n_features, k, n_rows=n_steps * BATCH, n_steps=n_steps
                ),
                rows,
            )

            def both(
                trainer: Trainer, batch: LayerBatch, beside: Beside = beside
            ) -> dict[int, StepReport]:
                reports = STEP(trainer, batch)
                beside.step()
                return reports

            before, started = beside.seconds, time.process_time()
            with patch.object(Trainer, "step", both):
                train_sae.run(config, settings)
            assert beside.trainer.n_done == n_steps, (beside.trainer.n_done, n_steps)
            found.append(
                (beside.seconds, time.process_time() - started - (beside.seconds - before))
            )
    shares = sorted(bare / run for bare, run in found)
    keep_row(
        "sae",
        {
            "what": "train-sae with shards, log, state and quality against its bare steps",
            "width": WIDTH,
            "features": FEATURES,
            "k": K,
            "batch": BATCH,
            "layers": LAYERS,
            "steps": n_steps,
            "rounds": ROUNDS,
            "share_that_is_training": round(median(shares), 3),
            "low": round(shares[0], 3),
            "high": round(shares[-1], 3),
            "cpu_s": [{"bare": round(bare, 2), "as run": round(run, 2)} for bare, run in found],
        },
    )


if __name__ == "__main__":
    main()
