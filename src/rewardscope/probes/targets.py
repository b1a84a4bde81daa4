"""What a probe can predict at step ends. A new target is one entry here.

Imports nothing heavy, so that stages can name the targets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from rewardscope.errors import UnknownName

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rewardscope.storage.rows import RowTable

# Shape legend: N rows.


class ProbeTarget(NamedTuple):
    """One target; a probe of two classes is logistic, its headline AUROC instead of R2."""

    name: str
    summary: str
    value: Callable[[RowTable], NDArray[Any]]
    """Of each row [N], whatever where it is not known."""
    known: Callable[[RowTable], NDArray[Any]]
    """Which rows [N] have a value."""
    classes: bool

    @property
    def metric(self) -> str:
        """The headline."""
        return "auroc" if self.classes else "r2"


TARGETS = {
    target.name: target
    for target in (
        ProbeTarget(
            "reward",
            "the PRM's score of the step",
            lambda rows: rows.reward_N,
            lambda rows: rows.has_reward_N,
            classes=False,
        ),
        ProbeTarget(
            "correct",
            "the grade of the whole trace",
            lambda rows: rows.correct_N,
            lambda rows: rows.correct_N >= 0,
            classes=True,
        ),
    )
}


def find_target(name: str) -> ProbeTarget:
    """Return a target. Raises: UnknownName."""
    if name not in TARGETS:
        raise UnknownName("value of --target", name, TARGETS)
    return TARGETS[name]
