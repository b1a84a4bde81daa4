"""The loss of one batch and its gradients by what was decoded, for `layer.py`: blocks of rows.

Entries of nested prefixes (Matryoshka) and of dead features (AuxK) are rows of further blocks below
the batch's own, so that one decoder pass and one pass for each gradient serve them all.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rewardscope.sae.train.sparse import Entries, stable_order, starts_of

# Shape legend: N rows, D width, F features, M stored entries, B blocks of N rows, P prefixes.
# AuxK looks at every second row: the same gradient in the mean, for half of what costs as much as
# all the rest
AUX_STRIDE = 2


class Report(NamedTuple):
    """What one batch gave: the loss, the fraction of variance unexplained, active features a row,
    and AuxK's part (0: none).
    """

    loss: Tensor
    fvu: Tensor
    l0: Tensor
    aux: Tensor


def stack_blocks(
    found: Sequence[Entries], n: int, prefixes: tuple[int, ...]
) -> tuple[Entries, Tensor]:
    """Return all entries in blocks of n rows, and the row of the batch [M] of each.

    The blocks are the entries of each prefix that the one before lacks, then those of dead
    features.
    """
    main, *others = found
    rows_M, main = _by_prefix(main, n, prefixes) if len(prefixes) > 1 else (main.rows_M, main)
    if not others:
        return main, rows_M
    (aux,) = others
    starts_R = torch.cat([main.starts_N, aux.starts_N[1:] + main.starts_N[-1]])
    values_M, features_M = (
        torch.cat([main.values_M, aux.values_M]),
        torch.cat([main.features_M, aux.features_M]),
    )
    blocks = Entries(
        values_M, features_M, torch.cat([main.rows_M, aux.rows_M + n * len(prefixes)]), starts_R
    )
    return blocks, torch.cat([rows_M, aux.rows_M])


def _by_prefix(main: Entries, n: int, prefixes: tuple[int, ...]) -> tuple[Tensor, Entries]:
    ends = torch.tensor(prefixes[:-1], dtype=torch.int32, device=main.features_M.device)
    block_M = torch.bucketize(main.features_M, ends, right=True, out_int32=True)
    order_M = stable_order(block_M, len(prefixes))
    values_M, features_M, rows_M, block_M = (
        column.index_select(0, order_M) for column in (*main[:3], block_M)
    )
    in_block_M = rows_M + block_M * n
    return rows_M, Entries(
        values_M, features_M, in_block_M, starts_of(in_block_M, n * len(prefixes))
    )


def errors_in_place(parts_BND: Tensor, centred_ND: Tensor, n_prefixes: int) -> Tensor:
    """Turn decoded blocks into errors (last, with AuxK: what it leaves of the error of its rows).

    Returns: for the sums over ranks, the squares of each prefix, of AuxK's block and of the error
    there, the sum of the rows [D] and their squares.
    """
    for prefix in range(1, n_prefixes):
        parts_BND[prefix] += parts_BND[prefix - 1]
    parts_BND[:n_prefixes] -= centred_ND
    squares = [torch.dot(part.flatten(), part.flatten()) for part in parts_BND[:n_prefixes]]
    if len(parts_BND) > n_prefixes:
        aux_ND, error_ND = parts_BND[n_prefixes], parts_BND[n_prefixes - 1]
        aux_ND[::AUX_STRIDE] += error_ND[::AUX_STRIDE]  # its other rows are empty
        squares += [aux_ND.square().sum(), error_ND[::AUX_STRIDE].square().sum()]
    return torch.cat(
        [
            torch.stack(squares),
            centred_ND.sum(dim=0),
            torch.dot(centred_ND.flatten(), centred_ND.flatten())[None],
        ]
    )


def losses(total: Tensor, n_prefixes: int, width: int, alpha: float) -> tuple[Report, Tensor]:
    """Return the losses and, for each block, what its errors are multiplied by to be gradients."""
    n_active, n = total[-2:].unbind()
    n_squares = len(total) - width - 3
    square_P, sum_D, square = (
        total[:n_prefixes],
        total[n_squares : n_squares + width],
        total[n_squares + width],
    )
    variance = square - sum_D.square().sum() / n
    fvu_P, aux, scale_B = (
        square_P / variance,
        total.new_zeros(()),
        (2 / variance).expand(n_prefixes),
    )
    if n_squares > n_prefixes:
        left, error = total[n_prefixes:n_squares]
        aux, scale_B = left / error, torch.cat([scale_B, (2 * alpha / error)[None]])
    l0 = n_active / n
    return Report(fvu_P.sum() + alpha * aux, fvu_P[-1], l0, aux), scale_B


def gradients_of_errors_in_place(errors_BND: Tensor, scale_B: Tensor, n_prefixes: int) -> None:
    """Turn errors into the gradient by each block's decoded part, which every longer prefix
    contains.
    """
    for part_ND, scale in zip(errors_BND, scale_B, strict=True):
        part_ND *= scale
    for prefix in reversed(range(n_prefixes - 1)):
        errors_BND[prefix] += errors_BND[prefix + 1]
