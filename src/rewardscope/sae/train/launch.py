"""Start one training run as several processes of the same command on this machine, on torch's
elastic engine.

The workers say what goes wrong; torch's own report of it is left out. torchrun does the same for
several machines.
"""

import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from torch._C._distributed_c10d import TCPStore
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from rewardscope.errors import PipelineError, ReportedByAnotherProcess
from rewardscope.sae.train.ending import GO_ON, is_first_to_tell
from rewardscope.settings import own_run_id

_HERE = "127.0.0.1"


def run_processes(n: int, task: str, flags: list[str], *, environment: Mapping[str, str]) -> None:
    """Run `rewardscope task flags` in `n` processes and wait for them. They end when this process
    does, however that ends.

    Raises: ReportedByAnotherProcess where one of them failed and said why; PipelineError where none
    could, or on SIGTERM; KeyboardInterrupt.
    """
    # on a free port; the engine shares it
    store = TCPStore(_HERE, 0, is_master=True, wait_for_workers=False, multi_tenant=True)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n,
        max_restarts=0,
        run_id=own_run_id(),
        rdzv_backend="static",
        rdzv_endpoint=f"{_HERE}:{store.port}",
        rdzv_configs={"rank": 0},
        logs_specs=DefaultLogsSpecs(os.devnull),
        signals_to_handle="SIGQUIT",
    )
    try:
        with _quiet_engine(), _added_to_environment(environment), _kills_on_signals():
            elastic_launch(config, sys.executable)("-m", "rewardscope", task, *flags)
    except ChildFailedError as error:
        if is_first_to_tell(store):
            raise PipelineError(_who_failed(n, error.failures)) from None
        raise ReportedByAnotherProcess from None
    except SignalException as stopped:
        if str(stopped) == "SIGINT":
            raise KeyboardInterrupt from None
        raise PipelineError(f"the {n} processes were stopped by {stopped}; {GO_ON}") from None


def _who_failed(n: int, failures: Mapping[int, ProcessFailure]) -> str:
    """Name a process that failed before it could speak; those that the engine ended for that are
    not meant.
    """
    rank, failure = min(
        failures.items(), key=lambda item: (item[1].exitcode == -signal.SIGTERM, item[0])
    )
    code = failure.exitcode
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return f"process {rank} of {n} (the first is 0) {how}, so all were ended; {GO_ON}"


@contextmanager
def _kills_on_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM kill the workers at once, wherever they are, so that only this process
    speaks.
    """

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        raise SignalException(signal.Signals(number).name, signal.SIGKILL)

    numbers = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, stop) for number in numbers} | {
        signal.SIGQUIT: signal.getsignal(signal.SIGQUIT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _added_to_environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _quiet_engine() -> Iterator[None]:
    logger = logging.getLogger("torch.distributed")
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [logging.NullHandler()], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before
