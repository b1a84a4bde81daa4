"""The records that flow between stages.

Stdlib only, frozen, checked when made; unknown is None, never NaN.
"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from rewardscope.errors import BadRecord

Finish = Literal["stop", "eos", "length"]
FINISHES: tuple[Finish, ...] = ("stop", "eos", "length")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question with its gold answer; `id` is `<dataset slug>/<index>`, the same in every run.

    An empty `answer` is an unknown one. `tolerance` is the absolute error that the data set allows
    an answer, if it says so.
    """

    id: str
    dataset: str
    question: str
    answer: str
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise BadRecord(f"problem {self.id}: the question is empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What an engine generated for one prompt: `text` is the decoding of all of `token_ids`,
    special tokens left out.

    `finish` is `eos` (the model ended), `stop` (a stop string is in the text) or `length`
    (`max_tokens` reached).
    """

    text: str
    token_ids: tuple[int, ...]
    finish: Finish


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One solution of one problem. `"\\n\\n".join(steps)` gives its text back.

    `scores` holds one PRM score a step, or is None; `finish` is `eos` only where the policy ended
    by itself. `answer` is the extracted final answer, `correct` the grader's strict verdict; both
    None while unknown. `n_tokens` is None where the trace came from elsewhere; with such a trace
    may come a `reward` of the whole solution, in any range, and a `published` verdict.

    The first `n_thinking` steps are a thinking model's thoughts; thoughts that were kept from the
    PRM are no steps and stand in `thinking`. `in_window` says whether the PRM's input fitted the
    positions that it was trained on; None without scores.
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

    def __post_init__(self) -> None:
        where = f"trace {self.index} of {self.problem_id}"
        if not 0 <= self.n_thinking <= len(self.steps):
            raise BadRecord(f"{where}: {self.n_thinking} thinking steps of {len(self.steps)}")
        if self.finish not in FINISHES:
            raise BadRecord(f"{where}: finish {self.finish!r} is none of {', '.join(FINISHES)}")
        if self.reward is not None and not math.isfinite(self.reward):
            raise BadRecord(f"{where}: the reward is not finite: {self.reward}")
        if self.scores is None:
            return
        if len(self.scores) != len(self.steps):
            raise BadRecord(f"{where}: {len(self.scores)} scores for {len(self.steps)} steps")
        if not all(math.isfinite(score) for score in self.scores):
            raise BadRecord(f"{where}: a score is not finite: {self.scores}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
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

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(**{name: getattr(self, name) + getattr(other, name) for name in Cost.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvedProblem:
    """One line of a generations file.

    `chosen` is the position of the trace that the method answers with.
    """

    problem: Problem
    traces: tuple[Trace, ...]
    chosen: int
    cost: Cost = field(default_factory=Cost)

    def __post_init__(self) -> None:
        if not 0 <= self.chosen < len(self.traces):
            raise BadRecord(
                f"problem {self.problem.id}: chosen {self.chosen} of {len(self.traces)} traces"
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> "SolvedProblem":
        """Build from a parsed JSON line.

        Raises: BadRecord where a field is missing, unknown or breaks an invariant.
        """
        try:
            problem = Problem(**row["problem"])
            traces = tuple(_trace(trace) for trace in row["traces"])
            return cls(
                problem=problem, traces=traces, chosen=row["chosen"], cost=Cost(**row["cost"])
            )
        except (KeyError, TypeError) as error:
            raise BadRecord(f"not a generations row: {error}") from None


def _trace(row: dict[str, Any]) -> Trace:
    scores = row["scores"]
    return Trace(
        **{**row, "steps": tuple(row["steps"]), "scores": None if scores is None else tuple(scores)}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One PRM input: token ids, and for each step the position whose state scores it.

    Scoring, capture, lens and patching all use this one object.
    """

    input_ids: tuple[int, ...]
    step_ends: tuple[int, ...]

    def __post_init__(self) -> None:
        increasing = all(a < b for a, b in zip(self.step_ends, self.step_ends[1:], strict=False))
        if not self.step_ends or not increasing or self.step_ends[-1] >= len(self.input_ids):
            raise BadRecord(f"step ends {self.step_ends} do not fit {len(self.input_ids)} tokens")


class ActRow(NamedTuple):
    """Where one captured activation comes from: one line of `rows.jsonl`, in the order of the
    shards. A tuple, as there are many.

    `token` is the position in the model's input, `step` the step that the position belongs to (-1
    before the first). `reward` is the PRM's score and is set at step ends only; `correct` is the
    grader's verdict on the whole trace. `dataset` is where the problem is from, "" where that is
    unknown; `in_window` says whether the position is one of those that the model was trained on;
    `text_start` is the offset, in characters, of the token's text in the joined token texts.
    """

    problem: str
    trace: int
    step: int
    token: int
    token_id: int
    is_step_end: bool
    reward: float | None
    correct: bool | None
    dataset: str = ""
    in_window: bool = True
    text_start: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval and the count behind it (problems, unless said otherwise)."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.n}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """One CSV row of `train-linreg`: a probe, or a control that stands beside it on the same rows.

    `probe` is `states`, or the control's name; `layer` is None for a control that reads no states.
    `low` and `high` bound the headline metric: r2 for reward, auroc for correct. `ridge` is the
    penalty that was taken. `mse` of a target of two classes is the Brier score, `majority` the
    accuracy of always saying the commoner class, `ece` the calibration error in 10 bins.

    Of `states` alone: `best_control` is the strongest control, `margin` the headline less that of
    the best control, bounded by `margin_low` and `margin_high`, and `beats_controls` whether
    `margin_low` is above what is worth the name (0.01).
    """

    layer: int | None
    probe: str
    target: str
    ridge: float
    n_train: int
    n_test: int
    n_test_problems: int
    r2: float
    pearson: float
    spearman: float
    mse: float
    auroc: float | None = None
    accuracy: float | None = None
    majority: float | None = None
    ece: float | None = None
    low: float
    high: float
    best_control: str | None = None
    margin: float | None = None
    margin_low: float | None = None
    margin_high: float | None = None
    beats_controls: bool | None = None
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferResult:
    """One CSV row of `probe-transfer`: a probe fitted on the traces of `train`, scored on held-out
    problems of `test`.

    `value` is r2 for reward, auroc for correct. `loss` is what `test`'s own probe has above it on
    the same rows; 0 on the diagonal.
    """

    train: str
    test: str
    layer: int
    target: str
    ridge: float
    n_train: int
    n_test: int
    n_test_problems: int
    value: float
    low: float
    high: float
    pearson: float
    spearman: float
    loss: float
    loss_low: float
    loss_high: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternBin:
    """One CSV row of `reward-patterns`: the mean step score where `by` (position, step length, step
    count) is in a bin.

    `answer` is right, wrong or unknown, `window` says whether the trace fitted the PRM's positions.
    `low` and `high` bound the mean, None where one problem alone is in the bin.
    """

    policy: str
    window: str
    answer: str
    by: str
    start: float
    end: float
    mean: float
    low: float | None
    high: float | None
    n_steps: int
    n_traces: int
    n_problems: int
