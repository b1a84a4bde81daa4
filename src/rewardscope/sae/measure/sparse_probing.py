"""k-sparse probing: what a probe on k features alone knows of a concept.

Sources: Gurnee et al. 2023, arXiv 2305.01610 (features by the difference of class means); Karvonen
et al. 2025, arXiv 2503.09532 (for SAEs).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from rewardscope.sae.measure.bench_rows import BenchRows, Fit, Found, mean_difference, strongest
from rewardscope.sae.model.sparse_codes import Csr
from rewardscope.statistics.draws import Array
from rewardscope.statistics.measures import Measured, auroc_measure

# Shape legend: N rows, F features.
SPARSE_PROBE, BELOW_STATES = "sparse probe", "sparse probe less probe of states"


def sparse_probes(
    codes_NF: Csr,
    random_NF: Csr,
    rows: BenchRows,
    *,
    concept: str,
    states: Measured,
    ks: Sequence[int],
    fit: Fit,
) -> Iterator[Found]:
    """Yield the AUROC on held-out problems of the probe on the k features, chosen on training
    problems, whose mean activation differs most between the classes.

    The control has the same choice among as many random directions. `states` is the AUROC of the
    probe on the raw states.
    """
    for k in ks:
        own, random = (
            k_sparse_auroc(each_NF, rows, concept=concept, k=k, fit=fit)
            for each_NF in (codes_NF, random_NF)
        )
        yield Found(SPARSE_PROBE, f"{concept}, k {k}", own, random)
        yield Found(BELOW_STATES, f"{concept}, k {k}", own - states, random - states)


def k_sparse_auroc(codes_NF: Csr, rows: BenchRows, *, concept: str, k: int, fit: Fit) -> Measured:
    """Return the AUROC of the probe on the k best features; 0.5 where none tells the classes
    apart.
    """
    train_N, positive_N = rows.train_N, rows.concepts[concept]
    chosen = strongest(mean_difference(codes_NF[train_N], positive_N[train_N]), k)
    if not len(chosen):
        score_T: Array = np.zeros(int((~train_N).sum()))
    else:
        few_NK = codes_NF[:, chosen].toarray()
        probe = fit(few_NK[train_N], positive_N[train_N], rows.fold_N[train_N])
        score_T = probe.score(few_NK[~train_N])
    return auroc_measure(positive_N[~train_N], score_T, rows.draws)
