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
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from logging import ERROR

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous
from torch.multiprocessing import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]

from rewardscope.errors import ConfigError, PipelineError, ReportedByAnotherProcess
from rewardscope.log import get_logger
from rewardscope.models.device import pick_device
from rewardscope.sae.train.ending import Ending
from rewardscope.sae.train.processes import Lost, Processes, answered
from rewardscope.sae.train.ranks import Mode
from rewardscope.settings import Launch, launched

_TIMEOUT = timedelta(minutes=30)  # how long a process waits for the others


@contextmanager
def joined(mode: Mode, *, device: str) -> Iterator[Processes]:
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
    ending = Ending(launch, another)
    try:
        own = _own_device(device, launch)
        backend = "gloo" if own.type == "cpu" else "cpu:gloo,cuda:nccl"
        answered(
            dist.init_process_group,
            backend,
            store=store,
            rank=launch.rank,
            world_size=launch.size,
            timeout=_TIMEOUT,
        )
        yield Processes(mode, launch, str(own), ending)
    except Lost as error:
        raise (
            PipelineError(ending.who_is_lost()) if ending.claim() else ReportedByAnotherProcess()
        ) from error
    except BaseException:
        if ending.claim():
            raise
        raise ReportedByAnotherProcess from None
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
