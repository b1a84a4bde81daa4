"""What the processes of a training run ask of one another, and the answers where there is only
one.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from rewardscope.errors import ConfigError, ReportedByAnotherProcess
from rewardscope.settings import Launch

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
Mode = Literal["rows", "layers"]


def mode_of(
    distributed: Literal["none"] | Mode, processes: int, launch: Launch | None
) -> Literal["none"] | Mode:
    """Return how the processes share the work: by rows where only their number is given.

    Raises: ConfigError.
    """
    if launch is None:
        return "rows" if distributed == "none" and processes > 1 else distributed
    if processes > 1:
        wrong = (
            f"--processes {processes} in a run that torchrun started with {launch.size}; leave"
            " --processes out"
        )
    elif distributed == "none" and launch.size > 1:
        wrong = f"torchrun started {launch.size} processes; add --distributed rows or layers"
    else:
        return distributed
    raise ReportedByAnotherProcess if launch.rank else ConfigError(wrong)


class Ranks(Protocol):
    """The processes that share a batch by rows."""

    def sum_(self, tensor: "Tensor") -> "Tensor":
        """Add up a tensor over the processes, in place, and return it."""
        ...

    def minimum_(self, tensor: "Tensor") -> "Tensor":
        """Take the smallest over the processes, in place, and return it."""
        ...

    def copy_first_(self, tensor: "Tensor") -> "Tensor":
        """Replace a tensor by that of the first process, in place, and return it."""
        ...

    def gather(self, values_M: "Tensor") -> "tuple[Tensor, int]":
        """Return the values of all processes, one process after the other, and where those of this
        one begin.
        """
        ...


class OneProcess:
    """No other process has rows of the batch."""

    def sum_(self, tensor: "Tensor") -> "Tensor":
        return tensor

    def minimum_(self, tensor: "Tensor") -> "Tensor":
        return tensor

    def copy_first_(self, tensor: "Tensor") -> "Tensor":
        return tensor

    def gather(self, values_M: "Tensor") -> "tuple[Tensor, int]":
        return values_M, 0


class Team(Protocol):
    """The processes of a run.

    The first one speaks to the user, decides, and writes what belongs to all of them.
    """

    size: int
    is_first: bool
    ranks: Ranks
    least_batch: int
    """Rows that a batch must have for every process to get some."""

    def own_layers(self, layers: tuple[int, ...]) -> tuple[int, ...]:
        """Return the layers that this process trains.

        Raises: ConfigError where there are none for it.
        """
        ...

    def own_rows(self, batch: "Mapping[int, Tensor]") -> "Mapping[int, Tensor]":
        """Return this process's rows of a batch."""
        ...

    def writes(self, layers: Iterable[int]) -> tuple[int, ...]:
        """Return those of the layers that this process trains which it also measures and writes."""
        ...

    def decide(self, question: Callable[[], T]) -> T:
        """Return the first process's answer. Raises: PipelineError in all of them where it does."""
        ...

    def collect(self, part: T) -> list[T]:
        """Return what the processes know about the layers that they write, in the first one; others
        get nothing, and may go on.
        """
        ...


class Alone:
    """A run of one process."""

    size, is_first, least_batch = 1, True, 1

    def __init__(self) -> None:
        self.ranks: Ranks = OneProcess()

    def own_layers(self, layers: tuple[int, ...]) -> tuple[int, ...]:
        return layers

    def own_rows(self, batch: "Mapping[int, Tensor]") -> "Mapping[int, Tensor]":
        return batch

    def writes(self, layers: Iterable[int]) -> tuple[int, ...]:
        return tuple(layers)

    def decide(self, question: Callable[[], T]) -> T:
        return question()

    def collect(self, part: T) -> list[T]:
        return [part]
