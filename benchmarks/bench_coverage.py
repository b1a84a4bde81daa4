"""How often each kind of interval holds the truth, at few and at many problems.

    python -m benchmarks coverage

Of 1,500 simulations a method that is right at 0.95 shows 0.94 to 0.96, 19 times of 20.
"""

import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from benchmarks.measure import keep_row
from benchmarks.populations import KINDS, Kind
from rewardscope.features.contrast_sums import unmatched
from rewardscope.features.diff import rate_intervals
from rewardscope.records import Estimate

SIZES, SIMULATIONS, SEED = (10, 18, 30, 60, 200), 1500, 20261125
_DRAW_SEEDS = 8  # resamples are kept for a seed, so that few of them cost less
_FEATURES = 50  # of a simulated pair of data sets
Ends = tuple[float | None, float | None]


def main() -> None:
    table = []
    for kind in KINDS:
        table.append(_measure(kind.name, kind.truth, _of_kind(kind)))
    for active in (1.0, 0.3):
        name = f"difference of firing rates, fires in {active:.0%} of problems"
        table.append(_measure(name, _FeatureRates.difference(active), _FeatureRates(active)))
    print("\n".join(_markdown(table)))


def _of_kind(kind: Kind) -> Callable[[np.random.Generator, int], Iterator[Ends]]:
    def simulate(rng: np.random.Generator, n: int) -> Iterator[Ends]:
        for number in range(SIMULATIONS):
            found: Estimate = kind.estimate(rng, n, number % _DRAW_SEEDS)
            yield found.low, found.high

    return simulate


class _FeatureRates:
    """Two data sets with the same problems: a feature that fires in some of them fires less on the
    second side.
    """

    _shape, _scale, _less = 1.2, 8.0, 0.5

    def __init__(self, active: float) -> None:
        self._active = active

    @classmethod
    def difference(cls, active: float) -> float:
        return active * cls._shape / (cls._shape + cls._scale) * (1 - cls._less)

    def __call__(self, rng: np.random.Generator, n: int) -> Iterator[Ends]:
        for number in range(SIMULATIONS // _FEATURES):
            rows_2P = 20 + rng.poisson(30, size=(2, n))
            fires_PF = rng.random((n, _FEATURES)) < self._active
            chance_PF = fires_PF * rng.beta(self._shape, self._scale, size=(n, _FEATURES))
            count_2PF = [
                rng.binomial(rows_P[:, None], factor * chance_PF)
                for rows_P, factor in zip(rows_2P, (1, self._less), strict=True)
            ]
            sums = unmatched(rows_2P, np.stack(count_2PF))
            ends_2F = rate_intervals(*sums, n_resamples=1000, seed=number)
            for low, high in zip(*ends_2F, strict=True):
                yield (None, None) if np.isnan(low) else (float(low), float(high))


def _measure(
    name: str, truth: float, simulate: Callable[[np.random.Generator, int], Iterator[Ends]]
) -> dict[str, object]:
    began = time.process_time()
    coverage: dict[str, float | None] = {}
    no_interval, below, above, width = ({} for _ in range(4))
    for n in SIZES:
        rng = np.random.default_rng([SEED, zlib.crc32(name.encode()), n])
        ends = list(simulate(rng, n))
        shown = [(low, high) for low, high in ends if low is not None and high is not None]
        no_interval[str(n)] = round(1 - len(shown) / len(ends), 3)
        coverage[str(n)] = _share([low <= truth <= high for low, high in shown])
        below[str(n)] = _share([truth < low for low, _ in shown])
        above[str(n)] = _share([truth > high for _, high in shown])
        width[str(n)] = (
            round(float(np.mean([high - low for low, high in shown])), 4) if shown else None
        )
    row: dict[str, object] = {
        "what": "coverage of 95 % intervals by number of problems",
        "kind": name,
        "truth": round(truth, 4),
        "coverage": coverage,
        "no_interval": no_interval,
        "truth_below": below,
        "truth_above": above,
        "mean_width": width,
        "simulations": SIMULATIONS,
        "seed": SEED,
        "cpu_s": round(time.process_time() - began, 2),
    }
    keep_row("coverage", row)
    return row


def _share(said: Sequence[bool]) -> float | None:
    return round(sum(said) / len(said), 3) if said else None


def _markdown(table: Sequence[dict]) -> Iterator[str]:
    yield f"| interval | {' | '.join(str(n) for n in SIZES)} |"
    yield f"|---{'|---' * len(SIZES)}|"
    for row in table:
        cells = []
        for n in SIZES:
            found, missing = row["coverage"][str(n)], row["no_interval"][str(n)]
            cell = "-" if found is None else f"{found:.3f}"
            cells.append(cell if missing in (0, 1) else f"{cell} (- in {missing:.0%})")
        yield f"| {row['kind']} | {' | '.join(cells)} |"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
