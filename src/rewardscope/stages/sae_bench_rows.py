"""The rows that `sae-bench` measures on: step ends of folders of save-acts, with the concepts that
they are told apart by.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.paths import slug
from rewardscope.probes.shared_problems import same_problems
from rewardscope.probes.table import number_traces
from rewardscope.sae.measure.bench_rows import BenchRows, Bools
from rewardscope.splits import deal_folds, is_test
from rewardscope.stages.labelled_solutions import step_labels
from rewardscope.statistics.draws import draw
from rewardscope.storage.acts import ActStore
from rewardscope.storage.jsonl import read_solved

# Shape legend: N rows (step ends) of all folders, D width, P problems.
CORRECT, LATE = "correct", "late step"
_LEAST = 2  # problems with rows of each class, on both sides, for a concept


class Split(NamedTuple):
    """How problems are parted."""

    share: float
    seed: int
    folds: int


class BenchData(NamedTuple):
    """The step ends of all folders, one folder after the other.

    step_labels: how many of the N rows have a label of their own step; the others have the verdict
    on their trace. left_out: rows by reason.
    """

    stores: list[ActStore]
    taken: list[NDArray[np.int64]]
    ids: list[dict[str, str]]
    """Of each folder the id that stands for each problem."""
    problem_ids: list[str]
    problem_N: NDArray[np.int64]
    fold_N: NDArray[np.int8]
    concepts: dict[str, Bools]
    step_labels: int
    left_out: dict[str, int]

    @property
    def test_problems(self) -> list[str]:
        return [self.problem_ids[code] for code in np.unique(self.problem_N[self.fold_N < 0])]

    def layer(self, layer: int, *, seed: int) -> BenchRows:
        """Return the rows of a layer with their states."""
        parts = []
        for store, taken in zip(self.stores, self.taken, strict=True):
            start = 0
            for acts_ND in store.stream_layer(layer):
                inside = taken[(taken >= start) & (taken < start + len(acts_ND))] - start
                parts.append(acts_ND[inside].numpy())
                start += len(acts_ND)
        draws = draw(self.problem_N[self.fold_N < 0], seed=seed)
        return BenchRows(np.concatenate(parts), self.fold_N, self.concepts, draws)


class _Folder(NamedTuple):
    problems: list[str]
    taken: NDArray[np.int64]
    correct_N: Bools
    late_N: Bools
    step_labels: int
    left_out: dict[str, int]


def read_bench(folders: Sequence[Path], split: Split, *, most: int) -> BenchData:
    """Read what is known of the step ends of folders, at most `most` of each.

    Raises: ConfigError where correctness cannot be learnt or judged on them.
    """
    stores = [ActStore(folder) for folder in folders]
    ids = [
        dict(same) or {problem: problem for problem in store.problems}
        for store, same in zip(stores, same_problems(stores), strict=True)
    ]
    read = [_folder(store, same, most) for store, same in zip(stores, ids, strict=True)]
    problem_ids = list(dict.fromkeys(problem for each in read for problem in each.problems))
    code = {problem: number for number, problem in enumerate(problem_ids)}
    problem_N = np.array([code[problem] for each in read for problem in each.problems])
    held_out = [is_test(each, share=split.share, seed=split.seed) for each in problem_ids]
    training = [each for each, out in zip(problem_ids, held_out, strict=True) if not out]
    dealt = deal_folds(training, folds=split.folds, seed=split.seed)
    fold_N = np.array([dealt.get(each, -1) for each in problem_ids], dtype=np.int8)[problem_N]
    concepts = {CORRECT: np.concatenate([each.correct_N for each in read])}
    folder_N = np.repeat(np.arange(len(read)), [len(each.taken) for each in read])
    # of two data sets one says all
    for number in range(1 if len(read) == 2 else 0, len(read) if len(read) > 1 else 0):
        concepts[f"data set {slug(folders[number]).removeprefix('math-rm-')}"] = folder_N == number
    concepts[LATE] = np.concatenate([each.late_N for each in read])
    left_out: dict[str, int] = {}
    for each in read:
        for reason, count in each.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + count
    known = {
        name: holds_N for name, holds_N in concepts.items() if _varies(holds_N, fold_N, problem_N)
    }
    if CORRECT not in known:
        raise ConfigError(
            f"--ds-name {','.join(map(str, folders))}: right and wrong steps of at least"
            f" {_LEAST} problems are needed on both sides of the split; save acts of more problems"
        )
    for name in concepts.keys() - known.keys():
        left_out[f"concept {name}, too few problems"] = 1
    return BenchData(
        stores,
        [each.taken for each in read],
        ids,
        problem_ids,
        problem_N,
        fold_N,
        known,
        sum(each.step_labels for each in read),
        left_out,
    )


def _varies(holds_N: Bools, fold_N: NDArray, problem_N: NDArray) -> bool:
    """Say whether each class has rows of some problems on both sides."""
    return all(
        len(np.unique(problem_N[side & wanted])) >= _LEAST
        for side in (fold_N >= 0, fold_N < 0)
        for wanted in (holds_N, ~holds_N)
    )


def _folder(store: ActStore, same: dict[str, str], most: int) -> _Folder:
    """Read one folder: its step ends of known correctness, evenly spaced where there are more than
    `most`.
    """
    rows = store.rows
    ends = np.flatnonzero(rows.step_end_N)
    if not len(ends):
        raise MissingInput(f"{store.folder} has no step ends; re-run invoke save-acts")
    labels = _step_labels(store)
    trace_N, n_traces = number_traces(rows)
    last = np.zeros(n_traces, dtype=np.int64)
    np.maximum.at(last, trace_N[ends], rows.step_N[ends])
    own = [
        labels.get((rows.problems[int(problem)], int(trace)), {}).get(int(step))
        for problem, trace, step in zip(
            rows.problem_N[ends], rows.trace_N[ends], rows.step_N[ends], strict=True
        )
    ]
    has_own = np.array([label is not None for label in own], dtype=np.bool_)
    correct = np.where(has_own, np.array(own) == 1, rows.correct_N[ends])
    known = np.flatnonzero(correct >= 0)
    if not len(known):
        raise MissingInput(
            f"{store.folder}: neither steps nor traces have a verdict, so no correctness can be"
            " probed"
        )
    n = min(most, len(known))
    chosen = known[np.arange(n) * len(known) // n]
    taken = ends[chosen]
    left_out = {
        "step ends without a verdict": len(ends) - len(known),
        "step ends beyond --rows": len(known) - n,
    }
    return _Folder(
        [
            same.get(name, name)
            for name in (rows.problems[int(code)] for code in rows.problem_N[taken])
        ],
        taken,
        correct[chosen] == 1,
        2 * rows.step_N[taken] + 1 > last[trace_N[taken]] + 1,
        int(has_own[chosen].sum()),
        {reason: count for reason, count in left_out.items() if count},
    )


def _step_labels(store: ActStore) -> dict[tuple[str, int], dict[int, int]]:
    """Return what is known of single steps by problem and trace, where the generations file is
    there.
    """
    path = Path(store.info.generations or "")
    if not path.is_file():
        return {}
    return {
        (solved.problem.id, trace.index): {
            step: int(label) for step, label in enumerate(labels) if label is not None
        }
        for solved in read_solved(path)
        for trace in solved.traces
        if (labels := step_labels(solved.problem, trace))
    }
