"""What one of the processes of a training run asks of the others, by torch.distributed."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from rewardscope.errors import ConfigError, PipelineError
from rewardscope.sae.train.blocks import AUX_STRIDE
from rewardscope.sae.train.ending import Ending
from rewardscope.sae.train.ranks import Mode, OneProcess, Ranks
from rewardscope.settings import Launch

# Shape legend: M stored entries.
T = TypeVar("T")


class Lost(Exception):
    """Another process did not answer."""


def answered(collective: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Call what needs all processes; gloo and nccl raise all sorts of RuntimeError where one is
    gone or too late.
    """
    try:
        return collective(*arguments, **named)
    except RuntimeError as error:
        raise Lost from error


class Processes:
    """The processes of a run, seen from one of them: a `Team`."""

    def __init__(self, mode: Mode, launch: Launch, device: str, ending: Ending) -> None:
        self.size, self.is_first, self.device = launch.size, launch.rank == 0, device
        self.ranks: Ranks = _SharedRows(launch) if mode == "rows" else OneProcess()
        self.least_batch = AUX_STRIDE * (launch.size - 1) + 1 if mode == "rows" else 1
        self._mode, self._rank, self.ending = mode, launch.rank, ending

    def own_layers(self, layers: tuple[int, ...]) -> tuple[int, ...]:
        if self._mode == "rows":
            return layers
        if self.size > len(layers):
            raise ConfigError(
                f"--distributed layers: {self.size} processes, but {len(layers)} layers; start at"
                " most one a layer"
            )
        return layers[self._rank :: self.size]

    def own_rows(self, batch: Mapping[int, Tensor]) -> Mapping[int, Tensor]:
        if self._mode == "layers":
            return batch
        return {
            layer: x_ND[self._start(len(x_ND), self._rank) : self._start(len(x_ND), self._rank + 1)]
            for layer, x_ND in batch.items()
        }

    def _start(self, n_rows: int, rank: int) -> int:
        """Return where the rows of a process begin: where AuxK, which takes every so many of the
        rows, takes one.
        """
        return min(n_rows, AUX_STRIDE * (rank * -(-n_rows // AUX_STRIDE) // self.size))

    def writes(self, layers: Iterable[int]) -> tuple[int, ...]:
        return tuple(layers) if self._mode == "layers" or self.is_first else ()

    def decide(self, question: Callable[[], T]) -> T:
        said: list[Any] = [None, None]
        if self.is_first:
            try:
                said[0] = question()
            except PipelineError as error:
                self.ending.claim()
                said[1] = error
        answered(dist.broadcast_object_list, said)
        if said[1] is not None:
            raise said[1]
        return said[0]

    def collect(self, part: T) -> list[T]:
        if self._mode == "rows":
            return [part] if self.is_first else []
        parts: list[Any] | None = [None] * self.size if self.is_first else None
        answered(dist.gather_object, part, parts)
        return parts or []


class _SharedRows:
    """`Ranks` whose batches are parts of one: what they add up is exactly the same in all of
    them.
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch

    def sum_(self, tensor: Tensor) -> Tensor:
        answered(dist.all_reduce, tensor)
        return tensor

    def minimum_(self, tensor: Tensor) -> Tensor:
        answered(dist.all_reduce, tensor, dist.ReduceOp.MIN)
        return tensor

    def copy_first_(self, tensor: Tensor) -> Tensor:
        answered(dist.broadcast, tensor, 0)
        return tensor

    def gather(self, values_M: Tensor) -> tuple[Tensor, int]:
        counts = self._all(torch.tensor([len(values_M)], device=values_M.device))
        lengths: list[int] = torch.cat(counts).tolist()
        padded = values_M.new_zeros(max(lengths))
        padded[: len(values_M)] = values_M
        parts = [part[:length] for part, length in zip(self._all(padded), lengths, strict=True)]
        return torch.cat(parts), sum(lengths[: self._launch.rank])

    def _all(self, tensor: Tensor) -> list[Tensor]:
        parts = [torch.empty_like(tensor) for _ in range(self._launch.size)]
        answered(dist.all_gather, parts, tensor)
        return parts
