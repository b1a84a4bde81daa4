"""Read generations that others made into our rows: Qwen's evaluation format, PRMBench,
ProcessBench, and plain rows.

Solutions of one question become traces of one problem, so that votes, splits and intervals know
that they belong together.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.problems.datasets import ANSWER_FIELDS, QUESTION_FIELDS, gold_of, gold_text
from rewardscope.problems.import_fields import (
    GENERATOR_FIELDS,
    ITEM_FIELDS,
    STYLE_FIELDS,
    SUBSET_FIELDS,
    list_of,
    parallel,
    reward_of,
    step_labels,
    step_scores,
    text_of,
    text_or_nothing,
    verdict_of,
)
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
    scores: Mapping[str, tuple[float, ...]] = {}
    """Of each step, by the name of the PRM."""
    item: str = ""
    generator: str = ""
    style: str = ""
    subset: str = ""


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
            samples = _with_beside(row, list(reader(row)), kind)
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
            scores=_only(sample.scores),
            finish=sample.finish,
            n_tokens=None,
            reward=sample.reward,
            published=sample.published,
            delimiter=sample.delimiter,
            labels=sample.labels,
            scores_by=dict(sample.scores),
            item=sample.item,
            generator=sample.generator,
            style=sample.style,
        )
        for index, sample in enumerate(samples)
    )
    first = samples[0]
    problem = Problem(
        id=problem_id,
        dataset=dataset,
        question=first.question,
        answer=first.gold,
        subset=first.subset,
    )
    return SolvedProblem(problem=problem, traces=traces, chosen=0)


def _only(scores: Mapping[str, tuple[float, ...]]) -> tuple[float, ...] | None:
    """Return the scores of the only PRM, which need no name; None where there are several."""
    return next(iter(scores.values())) if len(scores) == 1 else None


def _with_beside(row: Mapping[str, Any], samples: Sequence[Sample], kind: Kind) -> list[Sample]:
    """Add what a row says beside its solutions: who wrote them, and step scores and labels."""
    about = {
        "item": text_or_nothing(row, ITEM_FIELDS),
        "generator": text_or_nothing(row, GENERATOR_FIELDS),
        "style": text_or_nothing(row, STYLE_FIELDS),
        "subset": text_or_nothing(row, SUBSET_FIELDS),
    }
    if kind == "processbench":  # gsm8k-17
        about["subset"] = about["subset"] or about["item"].rpartition("-")[0]
    if kind == "qwen-eval":  # its scores are verdicts
        return [sample._replace(**about) for sample in samples]
    lengths = [len(sample.steps) for sample in samples]
    beside = zip(samples, step_scores(row, lengths), step_labels(row, lengths), strict=True)
    return [
        sample._replace(
            **about, scores=scores, labels=labels if sample.labels is None else sample.labels
        )
        for sample, scores, labels in beside
    ]


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
    codes = list_of(row, "code", str)
    verdicts: list[Any] = parallel(row, "score", len(codes))
    rewards = parallel(row, "pred_score", len(codes))
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
            reward_of(reward),
            verdict_of(verdict),
            delimiter=delimiter,
        )


def _prmbench(row: Mapping[str, Any], side: Side) -> Iterable[Sample]:
    """A process without wrong steps has a right answer; after wrong steps nothing is known of
    it. `error_steps` count from 1.
    """
    wrong = () if side == "original" else list_of(row, "error_steps", int)
    gold = gold_text(gold_of(row["ground_truth"])) if row.get("ground_truth") else ""
    steps = tuple(step.strip() for step in list_of(row, f"{side}_process", str))
    yield Sample(
        text_of(row, (f"{side}_question",)),
        gold,
        steps,
        published=None if wrong else True,
        labels=tuple(number not in wrong for number in range(1, len(steps) + 1)),
    )


def _processbench(row: Mapping[str, Any]) -> Iterable[Sample]:
    """`label` is the position of the first wrong step, -1 without one; later steps are unknown."""
    verdict = verdict_of(row.get("final_answer_correct"))
    question, first_wrong = text_of(row, ("problem",)), row.get("label")
    steps = tuple(list_of(row, "steps", str))
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
        pieces = [tuple(list_of(row, "steps", str))]
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
    beside = [parallel(row, field, len(pieces)) for field in ("reward", "correct", "finish")]
    for steps, reward, correct, finish in zip(pieces, *beside, strict=True):
        yield Sample(
            question,
            gold,
            steps,
            reward_of(reward),
            verdict_of(correct),
            "length" if finish == "length" else "eos",
            delimiter=DELIMITER if "steps" in row else delimiter,
        )


def _steps(text: str, delimiter: str) -> tuple[str, ...]:
    return tuple(split_steps(with_plain_breaks(text, delimiter), delimiter))
