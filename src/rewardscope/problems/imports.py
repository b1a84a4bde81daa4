"""Read generations that others made into our rows: Qwen's evaluation format, PRMBench,
ProcessBench, and plain rows.

Solutions of one question become traces of one problem, so that votes, splits and intervals know
that they belong together.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.problems.datasets import ANSWER_FIELDS, QUESTION_FIELDS, gold_of, gold_text
from rewardscope.problems.steps import DELIMITER, first_wrong_labels, split_steps, with_plain_breaks
from rewardscope.records import Finish, Problem, SolvedProblem, Trace
from rewardscope.storage.jsonl import numbered_rows

Kind = Literal["qwen-eval", "prmbench", "processbench", "plain"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Side = Literal["modified", "original"]

GOLD_FIELDS = (*ANSWER_FIELDS, "gt", "ground_truth")
SOLUTION_FIELDS = (
    "solution",
    "solutions",
    "response",
    "responses",
    "completion",
    "completions",
    "code",
)


class Sample(NamedTuple):
    """One solution."""

    question: str
    gold: str
    """Empty where it is unknown."""
    steps: tuple[str, ...]
    reward: float | None = None
    published: bool | None = None
    """Whether the final answer is right, as the file says."""
    finish: Finish = "eos"
    labels: tuple[bool | None, ...] | None = None
    """Of each step, as the file says: right, wrong or (None) unknown."""
    delimiter: str = DELIMITER


def read_traces(
    path: Path, kind: Kind, *, dataset: str, side: Side, delimiter: str
) -> list[SolvedProblem]:
    """Read a jsonl file into problems in the order of their first solution, with ids
    `<dataset>/<index>`.

    `side` is the process taken from PRMBench; `delimiter` is the text between the steps of a
    solution that comes in one piece; other line ends, and blanks in an empty line, do not count.
    Raises: MissingInput where there is no row; BadRecord with the line's number.
    """
    reader = _readers(side, delimiter)[kind]
    problems: dict[str, list[Sample]] = {}
    for number, row in numbered_rows(path):
        try:
            samples = list(reader(row))
        except BadRecord as error:
            raise BadRecord(f"{path} line {number}: not a row of kind {kind}: {error}") from None
        for sample in samples:
            known = problems.setdefault(sample.question, [])
            if known and known[0].gold != sample.gold:
                raise BadRecord(
                    f"{path} line {number}: gold {sample.gold!r} and {known[0].gold!r} for one"
                    " question"
                )
            known.append(sample)
    if not problems:
        raise MissingInput(f"{path} has no rows")
    return [
        _solved(samples, f"{dataset}/{index}", dataset)
        for index, samples in enumerate(problems.values())
    ]


def _solved(samples: Sequence[Sample], problem_id: str, dataset: str) -> SolvedProblem:
    traces = tuple(
        Trace(
            problem_id=problem_id,
            index=index,
            steps=sample.steps,
            scores=None,
            finish=sample.finish,
            n_tokens=None,
            reward=sample.reward,
            published=sample.published,
            delimiter=sample.delimiter,
            labels=sample.labels,
        )
        for index, sample in enumerate(samples)
    )
    problem = Problem(
        id=problem_id, dataset=dataset, question=samples[0].question, answer=samples[0].gold
    )
    return SolvedProblem(problem=problem, traces=traces, chosen=0)


def _readers(
    side: Side, delimiter: str
) -> Mapping[Kind, Callable[[Mapping[str, Any]], Iterable[Sample]]]:
    return {
        "qwen-eval": lambda row: _qwen_eval(row, delimiter),
        "prmbench": lambda row: _prmbench(row, side),
        "processbench": _processbench,
        "plain": lambda row: _plain(row, delimiter),
    }


def _qwen_eval(row: Mapping[str, Any], delimiter: str) -> Iterable[Sample]:
    """Samples lie under `code`, their verdicts under `score`, the scores of a reward model under
    `pred_score` (each in a list).
    """
    question, gold = text_of(row, QUESTION_FIELDS), gold_text(text_of(row, GOLD_FIELDS))
    codes = _list_of(row, "code", str)
    verdicts: list[Any] = _parallel(row, "score", len(codes))
    rewards = _parallel(row, "pred_score", len(codes))
    for code, verdict, reward in zip(codes, verdicts, rewards, strict=True):
        if isinstance(reward, list):
            if len(reward) != 1:
                raise BadRecord(
                    f"{len(reward)} numbers in an entry of pred_score; one for a whole solution is"
                    " expected"
                )
            reward = reward[0]
        yield Sample(
            question,
            gold,
            _steps(code, delimiter),
            _number(reward),
            _verdict(verdict),
            delimiter=delimiter,
        )


def _prmbench(row: Mapping[str, Any], side: Side) -> Iterable[Sample]:
    """A process without wrong steps has a right answer; after wrong steps nothing is known of
    it. `error_steps` count from 1.
    """
    wrong = () if side == "original" else _list_of(row, "error_steps", int)
    gold = gold_text(gold_of(row["ground_truth"])) if row.get("ground_truth") else ""
    steps = tuple(step.strip() for step in _list_of(row, f"{side}_process", str))
    yield Sample(
        text_of(row, (f"{side}_question",)),
        gold,
        steps,
        published=None if wrong else True,
        labels=tuple(number not in wrong for number in range(1, len(steps) + 1)),
    )


def _processbench(row: Mapping[str, Any]) -> Iterable[Sample]:
    """`label` is the position of the first wrong step, -1 without one; later steps are unknown."""
    verdict = _verdict(row.get("final_answer_correct"))
    question, first_wrong = text_of(row, ("problem",)), row.get("label")
    steps = tuple(_list_of(row, "steps", str))
    if first_wrong is not None and (type(first_wrong) is not int or first_wrong < -1):
        raise BadRecord(f"the label {first_wrong!r} is no position of a step")
    labels = None if first_wrong is None else first_wrong_labels(len(steps), first_wrong)
    yield Sample(question, "", steps, published=verdict, labels=labels)


def _plain(row: Mapping[str, Any], delimiter: str) -> Iterable[Sample]:
    """One solution or a list of them, or `steps` of one; beside it `reward`, `correct` and
    `finish`, each one value or a list.
    """
    question = text_of(row, QUESTION_FIELDS)
    gold = next(
        (
            gold_text(gold_of(row[field]))
            for field in GOLD_FIELDS
            if row.get(field) not in (None, "")
        ),
        "",
    )
    if "steps" in row:
        pieces = [tuple(_list_of(row, "steps", str))]
    else:
        given = next((row[field] for field in SOLUTION_FIELDS if field in row), None)
        texts = [given] if isinstance(given, str) else given
        if (
            not isinstance(texts, list)
            or not texts
            or not all(isinstance(text, str) for text in texts)
        ):
            raise BadRecord(
                f"no solution (a text or texts under {', '.join(SOLUTION_FIELDS)}, or steps)"
            )
        pieces = [_steps(text, delimiter) for text in texts]
    beside = [_parallel(row, field, len(pieces)) for field in ("reward", "correct", "finish")]
    for steps, reward, correct, finish in zip(pieces, *beside, strict=True):
        yield Sample(
            question,
            gold,
            steps,
            _number(reward),
            _verdict(correct),
            "length" if finish == "length" else "eos",
            delimiter=DELIMITER if "steps" in row else delimiter,
        )


def _steps(text: str, delimiter: str) -> tuple[str, ...]:
    return tuple(split_steps(with_plain_breaks(text, delimiter), delimiter))


def text_of(row: Mapping[str, Any], fields: Sequence[str]) -> str:
    """Return the first text that is there, stripped. Raises: BadRecord where there is none."""
    text = next(
        (
            gold_of(row[field]).strip()
            for field in fields
            if isinstance(row.get(field), str | int | float)
        ),
        "",
    )
    if not text:
        raise BadRecord(f"no text under {' or '.join(fields)}")
    return text


def _list_of(row: Mapping[str, Any], field: str, kind: type) -> list[Any]:
    values = row.get(field)
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        raise BadRecord(f"no list of {kind.__name__} under {field}")
    return values


def _parallel(row: Mapping[str, Any], field: str, n: int) -> list[Any]:
    """Return one value for each of n solutions: of a list, the value alone for one solution, or
    None where the field is missing.
    """
    value = row.get(field)
    values = value if isinstance(value, list) else [value] * n if value is None or n == 1 else []
    if len(values) != n:
        raise BadRecord(f"{len(values)} values under {field} for {n} solutions")
    return values


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRecord(f"the reward {value!r} is no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadRecord("the reward is NaN, infinite or too large for a number")
    return number


def _verdict(value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise BadRecord(f"the verdict {value!r} is neither true nor false")
    return value
