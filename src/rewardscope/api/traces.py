"""Solutions from files, and verdicts on answers."""

from pathlib import Path
from typing import Literal

from rewardscope.errors import UnknownName
from rewardscope.paths import slug
from rewardscope.problems import imports
from rewardscope.problems.answers import Attempt, Grader
from rewardscope.problems.extraction import extract
from rewardscope.problems.steps import DELIMITER
from rewardscope.records import SolvedProblem
from rewardscope.storage.jsonl import read_solved

Verdict = Literal["right", "wrong", "unparsed"]


def read_traces(
    path: str | Path,
    *,
    kind: Literal["generations"] | imports.Kind = "generations",
    side: imports.Side = "modified",
    delimiter: str = DELIMITER,
) -> list[SolvedProblem]:
    """Read the solutions of a generations file, or of a file of one of the published schemas.

    `side` is the process taken from PRMBench; `delimiter` parts the steps of a solution that comes
    in one piece. Problems of a foreign file get ids `<file>/<index>`.
    Raises: UnknownName for another kind; MissingInput; BadRecord with the line's number.
    """
    if kind == "generations":
        return read_solved(Path(path))
    if kind not in imports.KINDS:
        raise UnknownName("kind of traces", kind, ("generations", *imports.KINDS))
    return imports.read_traces(Path(path), kind, dataset=slug(path), side=side, delimiter=delimiter)


def grade(text: str, gold: str, *, tolerance: float | None = None) -> Verdict:
    """Grade a whole solution, or an answer alone, against the gold answer.

    The answer of a solution is what it boxes or states; a text that does neither is taken for the
    answer itself. `tolerance` is an absolute error that is allowed.
    """
    answer = extract(text).answer or text
    with Grader() as grader:
        [judgement] = grader.grade([Attempt(gold, answer, tolerance)])
    if judgement.correct is None:
        return "unparsed"
    return "right" if judgement.correct else "wrong"
