"""Step scores that came with imported traces, by the name of the PRM that gave them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from rewardscope.errors import ConfigError, MissingInput, UnknownName
from rewardscope.log import get_logger
from rewardscope.records import SolvedProblem

SCORES_HELP = "name of the PRM whose scores came with imported traces"


def names_of(solved: Iterable[SolvedProblem]) -> list[str]:
    """Return the names of the PRMs whose scores lie beside the traces."""
    return sorted({name for row in solved for trace in row.traces for name in trace.scores_by})


def with_scores_of(
    solved: Sequence[SolvedProblem], name: str | None, *, source: Path, needed: bool
) -> list[SolvedProblem]:
    """Return the rows with the scores of a PRM as theirs; without a name, as they are.

    Without a name, where only scores of several PRMs lie there: an error where scores are `needed`,
    else a warning. Raises: UnknownName, MissingInput, ConfigError.
    """
    if name is None:
        _say_what_is_there(solved, source, needed=needed)
        return list(solved)
    check_scores_name(name, names_of(solved), source)
    return [
        msgspec.structs.replace(
            row,
            traces=tuple(
                msgspec.structs.replace(trace, scores=trace.scores_by.get(name))
                for trace in row.traces
            ),
        )
        for row in solved
    ]


def check_scores_name(name: str, known: Sequence[str], source: Path) -> None:
    """Refuse a name that no trace has scores of. Raises: UnknownName, MissingInput."""
    if not known:
        raise MissingInput(
            f"--scores {name}: {source} has no scores by name; import-traces takes them from a"
            " row's scores"
        )
    if name not in known:
        raise UnknownName("scores", name, known)


def _say_what_is_there(solved: Sequence[SolvedProblem], source: Path, *, needed: bool) -> None:
    names = names_of(solved)
    if len(names) < 2 or any(trace.scores for row in solved for trace in row.traces):
        return
    told = f"{source} has scores of {', '.join(names)}; name one with --scores"
    if needed:
        raise ConfigError(told)
    get_logger().warning(f"{told} to vote by them")
