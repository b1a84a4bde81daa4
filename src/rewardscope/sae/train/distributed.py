"""One training run on several processes: they share every batch by rows, or each has layers of its
own.

    invoke train-sae --processes 2 --distributed rows --ds-names ...
    torchrun --nnodes 2 --nproc-per-node 8 ... -m -- invoke train-sae --distributed rows --ds-names
    ...

Both start the processes with torch's elastic engine, torchrun on several machines too.
Whatever ends one process ends them all, and one of them says why in one line.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from logging import ERROR
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous
from torch.multiprocessing import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]

from rewardscope.errors import ConfigError, PipelineError, ToldElsewhere
from rewardscope.log import get_logger
from rewardscope.models.device import pick_device
from rewardscope.sae.train.bank import AUX_STRIDE
from rewardscope.sae.train.ranks import Mode, OneProcess, Ranks
from rewardscope.settings import Launch, launched

# Shape legend: M stored entries.
T = TypeVar("T")
_TIMEOUT = timedelta(minutes=30)  # how long a process waits for the others
_GRACE = 3.0  # seconds in which those that are still there say so
GO_ON = "the same command goes on from the state that was saved last"


@contextmanager
def joined(mode: Mode, *, device: str) -> Iterator["Processes"]:
    """Work as one of the processes of a run.

    Raises: ConfigError; PipelineError where another process is lost.
    """
    launch = launched()
    if launch is None:
        raise ConfigError(
            f"--distributed {mode} needs several processes; add --processes 2, or start it with"
            " torchrun"
        )
    if launch.parent is not None:
        _end_with(launch.parent)
    _share_cpu(launch.local_size)
    if launch.rank:
        get_logger().setLevel(ERROR)
    # a store serves one call at a time
    store, another = (next(iter(rendezvous("env://", timeout=_TIMEOUT)))[0] for _ in range(2))
    ending = _Ending(launch, another)
    try:
        own = _own_device(device, launch)
        backend = "gloo" if own.type == "cpu" else "cpu:gloo,cuda:nccl"
        _answered(
            dist.init_process_group,
            backend,
            store=store,
            rank=launch.rank,
            world_size=launch.size,
            timeout=_TIMEOUT,
        )
        yield Processes(mode, launch, str(own), ending)
    except _Lost as error:
        raise (
            PipelineError(ending.who_is_lost()) if ending.claim() else ToldElsewhere()
        ) from error
    except BaseException:
        if ending.claim():
            raise
        raise ToldElsewhere from None
    dist.destroy_process_group()
    ending.close()


def _share_cpu(n: int) -> None:
    """Take one of `n` parts of the CPU, unless OMP_NUM_THREADS, which torchrun sets, says how
    much.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // n))


def _end_with(parent: int) -> None:
    """Have this process killed when the one that started it is gone."""
    _prctl_pr_set_pdeathsig(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _own_device(device: str, launch: Launch) -> torch.device:
    """Return this process's device: the CPU, or a GPU of its own. Raises: ConfigError."""
    wanted = pick_device("auto").type if device == "auto" else device
    if wanted == "cpu":
        return torch.device("cpu")
    if wanted != "cuda":
        raise ConfigError(
            f"--device {device}: every process takes a GPU of its own, so pass cuda, or cpu"
        )
    if launch.local_size > torch.cuda.device_count():
        raise ConfigError(
            f"{launch.local_size} processes, but {torch.cuda.device_count()} GPUs here; start at"
            " most one a GPU, or pass --device cpu"
        )
    own = torch.device("cuda", launch.local_rank)
    torch.cuda.set_device(own)
    return own


class Processes:
    """The processes of a run, seen from one of them: a `Team`."""

    def __init__(self, mode: Mode, launch: Launch, device: str, ending: "_Ending") -> None:
        self.size, self.is_first, self.device = launch.size, launch.rank == 0, device
        self.ranks: Ranks = _SharedRows(launch) if mode == "rows" else OneProcess()
        self.least_batch = AUX_STRIDE * (launch.size - 1) + 1 if mode == "rows" else 1
        self._mode, self._rank, self._ending = mode, launch.rank, ending

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
                self._ending.claim()
                said[1] = error
        _answered(dist.broadcast_object_list, said)
        if said[1] is not None:
            raise said[1]
        return said[0]

    def collect(self, part: T) -> list[T]:
        if self._mode == "rows":
            return [part] if self.is_first else []
        parts: list[Any] | None = [None] * self.size if self.is_first else None
        _answered(dist.gather_object, part, parts)
        return parts or []


class _SharedRows:
    """`Ranks` whose batches are parts of one: what they add up is exactly the same in all of
    them.
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch

    def sum_(self, tensor: Tensor) -> Tensor:
        _answered(dist.all_reduce, tensor)
        return tensor

    def least_(self, tensor: Tensor) -> Tensor:
        _answered(dist.all_reduce, tensor, dist.ReduceOp.MIN)
        return tensor

    def same_(self, tensor: Tensor) -> Tensor:
        _answered(dist.broadcast, tensor, 0)
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
        _answered(dist.all_gather, parts, tensor)
        return parts


class _Lost(Exception):
    """Another process did not answer."""


def _answered(collective: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Call what needs all processes; gloo and nccl raise all sorts of RuntimeError where one is
    gone or too late.
    """
    try:
        return collective(*arguments, **named)
    except RuntimeError as error:
        raise _Lost from error


def is_first_to_tell(store: Store) -> bool:
    """Say whether no other process of the run has told the user how it ends."""
    return store.add("ending/told", 1) == 1


def _leaves(rank: int) -> str:
    return f"ending/{rank} leaves"


class _Ending:
    """How a run ends that goes wrong. Each process that leaves says so, and only the first one to
    say it tells the user.

    The engine sends SIGTERM to those that are left when one has died. A process may then wait in a
    collective, where Python runs no signal handler; the handler's wake-up file still is written, so
    a thread that reads it ends the process.
    """

    def __init__(self, launch: Launch, store: Store) -> None:
        self._launch, self._store = launch, store
        self._lock = threading.RLock()  # the first thread to leave keeps it
        self._claimed: bool | None = None
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._handler = signal.signal(signal.SIGTERM, lambda *_: None)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, daemon=True).start()

    def claim(self) -> bool:
        """Say that this process leaves; return whether it is the one that tells the user."""
        self._lock.acquire()
        if self._claimed is None:
            try:
                self._store.set(_leaves(self._launch.rank), "")
                self._claimed = is_first_to_tell(self._store)
            except RuntimeError:  # the engine itself is gone
                self._claimed = True
        return self._claimed

    def who_is_lost(self) -> str:
        """Wait a moment for the other processes that are there to leave, and name those that do
        not.
        """
        until, everybody = time.monotonic() + _GRACE, range(self._launch.size)
        silent = list(everybody)
        while silent and time.monotonic() < until:
            silent = [rank for rank in silent if not self._has_left(rank)]
            time.sleep(0.02)
        if not silent:
            return f"the {self._launch.size} processes were stopped; {GO_ON}"
        named = (
            f"process{'es' * (len(silent) > 1)} {', '.join(map(str, silent))} of"
            f" {self._launch.size} (the first is 0)"
        )
        return (
            f"{named} died or stopped answering (killed, or out of memory?), so all were ended;"
            f" {GO_ON}"
        )

    def _has_left(self, rank: int) -> bool:
        try:
            return self._store.check([_leaves(rank)])
        except RuntimeError:
            return True

    def _watch(self) -> None:
        while signals := os.read(self._read, 1):
            if signals[0] == signal.SIGTERM:
                if self.claim():
                    get_logger().error(f"train-sae: {self.who_is_lost()}")
                os._exit(1)

    def close(self) -> None:
        """Leave signals as they were."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, self._handler)
        os.close(self._write)
