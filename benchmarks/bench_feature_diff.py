"""Rows a second of feature-diff's pass over the states (encode, and add up under every control)
against dense numpy on the same rows, and how far their sums differ.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from benchmarks.bench_rows import trace
from benchmarks.measure import keep_row
from rewardscope.features.categories import CATEGORIES
from rewardscope.features.contrast import Sides
from rewardscope.features.contrast_sums import sum_categories, sum_matched, sum_traces
from rewardscope.features.firing import encode_store, open_data_set
from rewardscope.features.firing_buckets import FiringBuckets
from rewardscope.features.row_codes import PairRows
from rewardscope.sae.model.inference import Sae
from rewardscope.stage import Stage, StageConfig
from rewardscope.storage.acts import ActStore, write_traces
from rewardscope.storage.shards import SHARD_ROWS, shard_file, write_shard

# Shape legend: N rows, F features, P problems, S strata.
ROWS, WIDTH, FEATURES, K, ROUNDS = 8_000, 128, 4_096, 32, 2
CPU = torch.device("cpu")


def write_store(folder: Path, *, seed: int) -> ActStore:
    """Write a finished folder of random states."""
    stage = Stage("save-acts", StageConfig(), inputs={"generations": folder.name}, out=folder)
    rng = torch.Generator().manual_seed(seed)
    with stage:
        files = list(write_traces(stage.work, map(trace, range(ROWS // 100))))
        for index, start in enumerate(range(0, ROWS, SHARD_ROWS)):
            acts_ND = torch.randn(min(SHARD_ROWS, ROWS - start), WIDTH, generator=rng)
            write_shard(shard_file(stage.work, index), {0: [acts_ND]})
            files.append(shard_file(stage.work, index))
        stage.finish(files, rows=ROWS, extra={"layers": [0], "width": WIDTH})
    return ActStore(folder)


def make_sae() -> Sae:
    rows_FD = torch.nn.functional.normalize(
        torch.randn(FEATURES, WIDTH, generator=torch.Generator().manual_seed(1)), dim=1
    )
    return Sae(
        W_enc_DF=rows_FD.T.contiguous(),
        b_enc_F=torch.zeros(FEATURES),
        W_dec_FD=rows_FD,
        b_dec_D=torch.zeros(WIDTH),
        k=K,
        layer=0,
        info={},
    )


def sparse_pass(sides: Sides, sae: Sae, folder: Path) -> list[np.ndarray]:
    """Encode both sides and add up; return the weighted sums of each control."""
    with ExitStack() as stack:
        files = [
            stack.enter_context(
                FiringBuckets(
                    folder, encode_store(sae, data.store, device=CPU), n_features=FEATURES
                )
            )
            for data in sides.pair.sides
        ]
        span = {"start": 0, "stop": FEATURES}
        found = sum_matched(sides.pair, files, sides.matchings, sides.side_2P, **span)
        sum_traces(sides.pair, files, **span)
        sum_categories(sides.pair, files, **span)
    return [sums.total_2PF for sums in found]


def dense_pass(sides: Sides, sae: Sae) -> list[np.ndarray]:
    """Do the same with a dense table of codes for each shard, in numpy."""
    pair, n_problems = sides.pair, len(sides.pair.problems)
    W_DF, b_F = sae.W_enc_DF.numpy(), sae.b_enc_F.numpy()
    totals = [np.zeros((2, n_problems, FEATURES)) for _ in sides.matchings]
    pooled = [np.zeros((m.n_strata, FEATURES), dtype=np.float32) for m in sides.matchings]
    by_trace = np.zeros((len(pair.rows_T), FEATURES))
    by_category = np.zeros((len(CATEGORIES), FEATURES))
    for side, data in enumerate(pair.sides):
        reader = pair.reader(side)
        for acts_ND in data.store.stream_layer(0):
            pre_NF = acts_ND.numpy() @ W_DF + b_F
            best_NK = np.argpartition(pre_NF, -K, axis=1)[:, -K:]
            codes_NF = np.zeros_like(pre_NF)
            kept_NK = np.maximum(np.take_along_axis(pre_NF, best_NK, axis=1), 0)
            np.put_along_axis(codes_NF, best_NK, kept_NK, axis=1)
            fires_NF = (codes_NF > 0).astype(np.float32)
            codes = reader.take(len(acts_ND))
            problem_N = pair.problem_T[codes.trace]
            for number, m in enumerate(sides.matchings):
                place_N = m.places(codes)
                weight_N = np.where(place_N >= 0, m.weight_2S[side, place_N], 0)
                _add(totals[number][side], problem_N, fires_NF, weight_N)
                if m.n_strata > 1:
                    inside = place_N >= 0
                    _add(pooled[number], place_N[inside], fires_NF[inside])
            _add(by_trace, codes.trace, codes_NF)
            _add(by_category, codes.category, codes_NF)
    return totals


def _add(
    table: np.ndarray, place_N: np.ndarray, rows_NF: np.ndarray, weight_N: np.ndarray | None = None
) -> None:
    """Add rows to the lines of a table by one matrix product over the lines that occur."""
    used, line_N = np.unique(place_N, return_inverse=True)
    chosen = np.zeros((len(used), len(place_N)), dtype=np.float32)
    chosen[line_N, np.arange(len(place_N))] = 1 if weight_N is None else weight_N
    table[used] += chosen @ rows_NF


def least(run: Callable[[], object]) -> float:
    """Return the least CPU seconds of some rounds."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        run()
        seconds.append(time.process_time() - began)
    return min(seconds)


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        home, sae = Path(name), make_sae()
        data = [
            open_data_set(side, write_store(home / side, seed=seed))
            for seed, side in enumerate(("reasoning", "instruct"))
        ]
        with PairRows(data[0], data[1], words=(), folder=home) as pair:
            sides = Sides(pair, n_words=0)
            ours, theirs = sparse_pass(sides, sae, home), dense_pass(sides, sae)
            apart = max(
                float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-30))
                for a, b in zip(ours, theirs, strict=True)
            )
            sparse_s = least(lambda: sparse_pass(sides, sae, home))
            dense_s = least(lambda: dense_pass(sides, sae))
        row = {
            "what": "feature-diff: encode and add up under every control, against dense numpy",
            "rows": 2 * ROWS,
            "features": FEATURES,
            "k": K,
            "width": WIDTH,
            "controls": len(sides.matchings),
            "strata": sum(m.n_strata for m in sides.matchings),
            "rows_per_cpu_s": round(2 * ROWS / sparse_s),
            "rows_per_cpu_s_dense": round(2 * ROWS / dense_s),
            "times_faster": round(dense_s / sparse_s, 2),
            "largest_relative_difference": apart,
        }
        keep_row("feature_diff", row)


if __name__ == "__main__":
    main()
