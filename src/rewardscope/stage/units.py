"""Parts of one result for a job array: each is a result of its own, and the last one done joins
them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from rewardscope.errors import ConfigError
from rewardscope.log import get_logger
from rewardscope.stage.result import Stage
from rewardscope.storage.locks import ResultLock

T = TypeVar("T")
MOST_PARTS = 10_000


def check_part(part: int, total: int) -> None:
    """Raises: ConfigError where `part`, counted from 1, is none of `total`."""
    if not 1 <= part <= total:
        raise ConfigError(
            f"--part {part} --total {total}: the part must be between 1 and the total"
        )


def deal(items: Sequence[T], *, part: int, total: int) -> list[T]:
    """Return the items of a part (from 1): runs of neighbours, sizes within one of each other."""
    return list(items[(part - 1) * len(items) // total : part * len(items) // total])


class Units:
    """The parts of a result, `--part` of `--total`.

    `whole` is the result of all; `place` gives where a part is written. A single part is the whole.
    """

    def __init__(
        self, whole: Stage, *, part: int, total: int, place: Callable[[int], Path]
    ) -> None:
        self.whole, self.part, self.total = whole, part, total
        self.parts = (
            [whole] if total == 1 else [whole.like(place(number)) for number in range(1, total + 1)]
        )

    @property
    def own(self) -> Stage:
        """The stage of this part."""
        return self.parts[self.part - 1] if self.total > 1 else self.whole

    def is_done(self) -> bool:
        """Say whether the whole is there, or this part of it. Raises: ConfigError, OSError."""
        return self.whole.is_done() or (self.total > 1 and self.own.is_done())

    def are_done(self) -> bool:
        """Say whether every part is finished, with the settings and inputs of the whole."""
        return self._n_done() == self.total

    def _n_done(self) -> int:
        return sum(stage.has_result() for stage in self.parts)

    def join(self, join: Callable[[Stage, list[Path]], None]) -> bool:
        """Let `join` make the whole of the parts where all are finished; say whether it is there.

        Of two runs that end together one joins, and the other finds it done.
        """
        if self.total == 1:
            return True
        if not self.are_done():
            get_logger().info(
                f"{self.whole.name}: {self._n_done()} of {self.total} parts of {self.whole.out} are"
                " there"
            )
            return False
        with ResultLock(self.whole.out.with_name(f"{self.whole.out.name}.join")):
            if not self.whole.is_done():
                with self.whole:
                    join(self.whole, [stage.out for stage in self.parts])
        return True
