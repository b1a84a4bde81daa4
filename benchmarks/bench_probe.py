"""The probe of a layer against scikit-learn from the same shards: CPU seconds of one thread, peak
memory, and memory by rows.

Each measurement is a fork of this process, which has imported everything: its memory is what the
work itself takes. `ours` adds up the sums, chooses among all penalties over five folds of problems,
reads the test rows and scores them; `ours with controls` fits five shuffled targets and the random
projection as well. scikit-learn is given the layer's rows joined in float64; `grid` chooses among
the same penalties over the same folds, the other two take what they have: one penalty, and none.
`floor` reads the rows and forms one product of them, no more.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.measure import keep_row
from rewardscope.probes.fit import fit_layer, fit_probe, predict_chosen
from rewardscope.probes.penalties import parse_penalties
from rewardscope.probes.scores import r2
from rewardscope.storage.shards import SHARD_ROWS, read_layer, shard_file, write_shard

WIDTH, FOLDS, ROWS_A_PROBLEM = 256, 5, 40
PENALTIES = parse_penalties("1e-3..1e4")
SIZES = {50_000: 8, 200_000: 2, 800_000: 1}  # rows, and the layers written of them
# a virtual machine may have to find memory in the first, which for Ridge at 200,000 rows took
# longer than the work itself
ROUNDS = 3
# rows beyond which the slow ones are left out
UP_TO = {"sklearn grid": 50_000, "sklearn LinearRegression": 200_000}
Fitted = tuple[float, float]
"""r2 on the test rows, and the penalty."""


def write_rows(folder: Path, rows: int, layers: int) -> None:
    """Write shards of states with a decaying spectrum, and a target that a direction of them
    explains in part.
    """
    rng = torch.Generator().manual_seed(0)
    mix = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=rng))[0] * torch.logspace(
        0, -2, WIDTH
    )
    direction, targets = torch.randn(WIDTH, generator=rng), []
    for index, start in enumerate(range(0, rows, SHARD_ROWS)):
        n = min(SHARD_ROWS, rows - start)
        acts = {layer: torch.randn(n, WIDTH, generator=rng) @ mix for layer in range(layers)}
        targets.append(acts[0] @ direction + 0.5 * torch.randn(n, generator=rng))
        write_shard(
            shard_file(folder, index), {layer: [acts_ND] for layer, acts_ND in acts.items()}
        )
    np.save(folder / "target.npy", torch.cat(targets).double().numpy())


class Rows:
    """The first layer of a folder as the measured code is given it: targets, folds of problems (-1
    is the test side), shards.
    """

    def __init__(self, folder: Path) -> None:
        self.value = np.load(folder / "target.npy")
        problem = np.arange(len(self.value)) // ROWS_A_PROBLEM
        side = np.random.default_rng(0).permutation(problem[-1] + 1) % (FOLDS + 1) - 1
        self.fold = side[problem].astype(np.int8)
        self.test = self.fold < 0
        self.shards = sorted((folder / "hiddens").glob("*.npz"))

    def blocks(self) -> Iterator[np.ndarray]:
        return (read_layer(shard, 0).numpy() for shard in self.shards)


def ours(rows: Rows) -> Fitted:
    probe = fit_probe(
        rows.blocks, rows.value, rows.fold, folds=FOLDS, penalties=PENALTIES, classes=False
    )
    return (
        r2(rows.value[rows.test], predict_chosen(rows.blocks, [probe], rows.test)[:, 0]),
        probe.ridge,
    )


def ours_with_controls(rows: Rows) -> Fitted:
    shuffled = np.stack(
        [np.random.default_rng(seed).permutation(rows.value) for seed in range(5)], axis=1
    )
    how = {"folds": FOLDS, "penalties": PENALTIES, "classes": False, "seed": 0}
    probes = fit_layer(rows.blocks, rows.value, shuffled, rows.fold, **how)
    predicted = predict_chosen(rows.blocks, list(probes.values()), rows.test)
    return next(r2(rows.value[rows.test], column) for column in predicted.T), probes["states"].ridge


def floor(rows: Rows) -> None:
    """Read the rows and multiply the training side by itself, without shift, target or fold: what
    no normal equations do without.
    """
    product_DD, start = np.zeros((WIDTH, WIDTH)), 0
    for acts_ND in rows.blocks():
        train_ND = acts_ND[~rows.test[start : start + len(acts_ND)]].astype(np.float64)
        product_DD += train_ND.T @ train_ND
        start += len(acts_ND)


def with_sklearn(make: Callable[[Rows], object]) -> Callable[[Rows], Fitted]:
    def run(rows: Rows) -> Fitted:
        model, acts = make(rows), np.concatenate(list(rows.blocks())).astype(np.float64)
        model.fit(acts[~rows.test], rows.value[~rows.test])  # type: ignore[attr-defined]
        best = getattr(model, "best_params_", {"ridge__alpha": 1.0})["ridge__alpha"]
        return r2(rows.value[rows.test], model.predict(acts[rows.test])), best  # type: ignore[attr-defined]

    return run


def _ridge(_rows: Rows) -> object:
    return make_pipeline(StandardScaler(copy=False), Ridge(alpha=1.0, solver="cholesky"))


def _grid(rows: Rows) -> object:
    folds = PredefinedSplit(rows.fold[~rows.test])
    return GridSearchCV(
        _ridge(rows), {"ridge__alpha": PENALTIES}, scoring="neg_mean_squared_error", cv=folds
    )


def _least_squares(_rows: Rows) -> object:
    return LinearRegression()


WAYS: dict[str, Callable[[Rows], Fitted | None]] = {
    "ours": ours,
    "ours with controls": ours_with_controls,
    "floor": floor,
    "sklearn Ridge, one penalty": with_sklearn(_ridge),
    "sklearn LinearRegression": with_sklearn(_least_squares),
    "sklearn grid": with_sklearn(_grid),
}


def measure(way: str, folder: Path) -> dict[str, float]:
    """Run in this process, which should be one of its own, with one thread; return the least
    seconds and the highest peak.
    """
    rows, run = Rows(folder), WAYS[way]
    before, seconds, found = _memory_mb("VmRSS"), [], None
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    with threadpool_limits(1):
        for _ in range(ROUNDS if way != "sklearn grid" else 1):
            started = time.process_time()
            found = run(rows)
            seconds.append(round(time.process_time() - started, 3))
    result = {
        "cpu_s": min(seconds),
        "first_cpu_s": seconds[0],
        "peak_mb": round(_memory_mb("VmHWM") - before),
    }
    return {**result, "r2": round(found[0], 9), "penalty": found[1]} if found else result


def _memory_mb(what: str) -> float:
    """Return the memory (VmRSS) or its peak (VmHWM) of this process; Linux alone tells."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[what].split()[0]) / 1024


def main() -> None:
    torch.set_num_threads(1)
    for rows, layers in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            write_rows(Path(folder), rows, layers)
            found: dict[str, dict[str, float]] = {}
            for way in WAYS:
                if rows <= UP_TO.get(way, rows):
                    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as alone:
                        found[way] = alone.submit(measure, way, Path(folder)).result()
                    print(rows, way, found[way], flush=True)
            keep_row("probe", _row(rows, layers, found))


def _row(rows: int, layers: int, found: dict[str, dict[str, float]]) -> dict[str, object]:
    mine, others = found["ours"], [way for way in found if way.startswith("sklearn")]
    return {
        "what": (
            f"probe of one layer, width {WIDTH}, {len(PENALTIES)} penalties, {FOLDS} folds, float32"
            " shards, one thread"
        ),
        "rows": rows,
        "layers": layers,
        "rounds": ROUNDS,
        **found,
        "times_faster": {way: round(found[way]["cpu_s"] / mine["cpu_s"], 2) for way in others},
        "floor_times_faster": {
            way: round(found[way]["cpu_s"] / found["floor"]["cpu_s"], 2) for way in others
        },
        "share_of_peak": {way: round(mine["peak_mb"] / found[way]["peak_mb"], 3) for way in others},
    }


if __name__ == "__main__":
    main()
