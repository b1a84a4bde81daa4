"""What a generations file holds: problems, and the traces that solve them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from rewardscope.errors import BadRecord

Finish = Literal["stop", "eos", "length"]
FINISHES: tuple[Finish, ...] = ("stop", "eos", "length")


class Problem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question with its gold answer; `id` is `<dataset slug>/<index>`, the same in every run.

    An empty `answer` is an unknown one. `tolerance` is the absolute error that the data set allows
    an answer, if it says so; `subset` the part of the data set, empty where there are none.
    """

    id: str
    dataset: str
    question: str
    answer: str
    tolerance: float | None = None
    subset: str = ""

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise BadRecord(f"problem {self.id}: the question is empty")
        if self.tolerance is not None and not math.isfinite(self.tolerance):
            raise BadRecord(f"problem {self.id}: the tolerance is not finite: {self.tolerance}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What an engine generated for one prompt: `text` is the decoding of all of `token_ids`,
    special tokens left out.

    `finish` is `eos` (the model ended), `stop` (a stop string is in the text) or `length`
    (`max_tokens` reached). Where the ids are not known there are none, and `counted` may say how
    many tokens there were.
    """

    text: str
    token_ids: tuple[int, ...]
    finish: Finish
    ids_are_known: bool = True
    counted: int | None = None

    @property
    def n_tokens(self) -> int | None:
        """How many tokens were generated, where that is known."""
        return len(self.token_ids) if self.ids_are_known else self.counted


class Trace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One solution of one problem. `delimiter.join(steps)` gives its text back.

    `scores` holds one PRM score a step, or is None; `finish` is `eos` only where the policy ended
    by itself. `answer` is the extracted final answer, `correct` the grader's strict verdict; both
    None while unknown. `n_tokens` is None where the trace came from elsewhere; with such a trace
    may come a `reward` of the whole solution, in any range, a `published` verdict, `labels`:
    whether each step is right, None where that is unknown, `scores_by`: the step scores of PRMs by
    name, and its `item` (an id), `generator` and `style`, empty where they are unknown.

    The first `n_thinking` steps are a thinking model's thoughts; thoughts that were kept from the
    PRM are no steps and stand in `thinking`. `in_window` says whether the PRM's input fitted the
    positions that it was trained on; None without scores. `token_ids` are what the policy
    generated, without the token that ended it; None where the trace came from elsewhere.
    """

    problem_id: str
    index: int
    steps: tuple[str, ...]
    scores: tuple[float, ...] | None
    finish: Finish
    n_tokens: int | None
    answer: str | None = None
    correct: bool | None = None
    reward: float | None = None
    published: bool | None = None
    thinking: str = ""
    n_thinking: int = 0
    in_window: bool | None = None
    delimiter: str = "\n\n"
    labels: tuple[bool | None, ...] | None = None
    scores_by: dict[str, tuple[float, ...]] = {}
    item: str = ""
    generator: str = ""
    style: str = ""
    token_ids: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem is not None:
            raise BadRecord(f"trace {self.index} of {self.problem_id}: {problem}")

    def _problem(self) -> str | None:
        """Say what is wrong with the trace, if anything is."""
        n_steps = len(self.steps)
        if not 0 <= self.n_thinking <= n_steps:
            return f"{self.n_thinking} thinking steps of {n_steps}"
        if self.finish not in FINISHES:
            return f"finish {self.finish!r} is none of {', '.join(FINISHES)}"
        if self.reward is not None and not math.isfinite(self.reward):
            return f"the reward is not finite: {self.reward}"
        if not self.delimiter:
            return "the delimiter is empty"
        if self.labels is not None and len(self.labels) != n_steps:
            return f"{len(self.labels)} labels for {n_steps} steps"
        if self.token_ids is not None and len(self.token_ids) != self.n_tokens:
            return f"{len(self.token_ids)} token ids, n_tokens is {self.n_tokens}"
        if self.scores is not None and (wrong := score_problem(self.scores, n_steps)):
            return wrong
        for name, scores in self.scores_by.items():
            if wrong := score_problem(scores, n_steps):
                return f"of {name}: {wrong}"
        return None


def score_problem(scores: Sequence[float], n_steps: int) -> str | None:
    """Say what is wrong with step scores, if anything is."""
    if len(scores) != n_steps:
        return f"{len(scores)} scores for {n_steps} steps"
    place = next((i for i, score in enumerate(scores) if not math.isfinite(score)), None)
    return None if place is None else f"a score is not finite: {scores[place]} of step {place + 1}"


class Cost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a problem took: tokens that the policy generated, tokens that the PRM encoded, and wall
    seconds of its batch share.

    `forwards` count the forward passes that had to follow one another: the tokens of the longest
    sample of each round, and the PRM's calls. `flops` are estimates from the shape of the models
    (see models/flops.py). Of a search: `tree_tokens` are the distinct tokens that the PRM was
    shown, `merged` counts samples equal to another one.
    """

    policy_tokens: int = 0
    prm_tokens: int = 0
    tree_tokens: int = 0
    merged: int = 0
    policy_forwards: int = 0
    prm_forwards: int = 0
    policy_flops: int = 0
    prm_flops: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.seconds):
            raise BadRecord(f"the seconds of a cost are not finite: {self.seconds}")

    def __add__(self, other: "Cost") -> "Cost":
        names = self.__struct_fields__
        return Cost(**{name: getattr(self, name) + getattr(other, name) for name in names})


class SolvedProblem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of a generations file.

    `chosen` is the position of the trace that the method answers with.
    """

    problem: Problem
    traces: tuple[Trace, ...]
    chosen: int
    cost: Cost = Cost()

    def __post_init__(self) -> None:
        where = f"problem {self.problem.id}"
        if not 0 <= self.chosen < len(self.traces):
            raise BadRecord(f"{where}: chosen {self.chosen} of {len(self.traces)} traces")
        indices = set()
        for trace in self.traces:
            if trace.problem_id != self.problem.id:
                raise BadRecord(f"{where}: a trace is of problem {trace.problem_id}")
            if trace.index in indices:
                raise BadRecord(f"{where}: two traces have index {trace.index}")
            indices.add(trace.index)

    def to_dict(self) -> dict[str, Any]:
        return msgspec.to_builtins(self)
