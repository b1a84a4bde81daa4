r"""Take the final answer out of a solution, and grade it.

`Grader` decides plain numbers and equal strings here and sends the rest to processes of
`grader_worker.py`. Whatever takes too long there is ended, the process replaced. It is safe beside
torch and outside the main thread: no fork, no signal handler here.
"""

import os
import queue
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Literal, NamedTuple, TypeVar, get_args

from rewardscope.log import get_logger
from rewardscope.problems.grader_pool import Worker, borrow, give_back

ITEM_SECONDS = 5.0  # CPU time for one comparison; real golds take about 0.01
# for one comparison that waits instead of working; a busy machine must not turn answers into
# unparsed ones
WALL_SECONDS = 60.0
MAX_WORKERS = 8
# a worker starts in seconds, so a few comparisons are not worth a second one
PAIRS_PER_WORKER = 200

_TOKEN = re.compile(r"\\+(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_AFTER_HEADING = re.compile(r"(?:####|^[ \t]*#[ \t]*Answer[ \t]*\n)\s*([^\n]+?)\s*\Z", re.MULTILINE)
_DISPLAY = re.compile(r"\\[\[(]\s*(.*?)\s*\\[\])]")
_BETWEEN_BOXES = re.compile(r"[\s$]*(?:,|;|and|or|,\s*and|,\s*or)[\s$]*")
_INTEGER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3}){1,6}|\d{1,300})")
_DECIMAL = re.compile(r"[+-]?\d*\.\d+")
_DECIMAL_LENGTH = 18  # rounding a longer one needs more than Decimal's 28 digits
_SIX_PLACES = Decimal("1e-6")
_RELATIVE_TOLERANCE = Decimal("1e-5")  # as in grader_worker

T = TypeVar("T")
R = TypeVar("R")

Grading = Literal["strict", "rel1e-4", "rel1e-2"]
GRADINGS: tuple[Grading, ...] = get_args(Grading)
_ALLOWED_GAP: dict[Grading, float] = {"rel1e-4": 1e-4, "rel1e-2": 1e-2}


class Item(NamedTuple):
    """What is graded."""

    gold: str
    """Empty where it is unknown."""
    answer: str | None
    tolerance: float | None = None
    """The absolute error that the data set allows."""


class Judgement(NamedTuple):
    """What the grader found."""

    correct: bool | None
    """The strict verdict; None: unparsed, so that nothing is known."""
    gap: float | None = None
    """The largest relative difference of the numbers that correspond, None where anything else
    differs.
    """

    def verdict(self, grading: Grading) -> bool | None:
        """Return the verdict in one mode: right where strictly right, or where all numbers are as
        near as the mode allows.
        """
        near = grading != "strict" and self.gap is not None and self.gap <= _ALLOWED_GAP[grading]
        return True if near else self.correct


UNPARSED = Judgement(None)


class _Question(NamedTuple):
    kind: Literal["grade", "same"]
    gold: str
    answer: str
    tolerance: float | None = None


def extract_answer(text: str) -> str | None:
    r"""Return the content of the last complete, non-empty `\boxed{...}`, or None.

    Boxes that only a comma, "and" or "or" parts are one answer, joined by a comma: `\boxed{1} and
    \boxed{3}` is `1, 3`. A box within thinking counts only where none follows it; a box cut off by
    the token limit does not count. Without a box the text may end as GSM8K's do, `#### 18`, or
    PRM800K's, `# Answer` and a line.
    """
    parts: list[str] = []
    following = None
    for begin, start, end in reversed(_boxes(text)):
        content = text[start:end].strip()
        if not content:
            continue
        if following is not None and not _BETWEEN_BOXES.fullmatch(text, end + 1, following):
            break
        parts.insert(0, content)
        following = begin
    if not parts and (heading := _AFTER_HEADING.search(text)):
        displayed = _DISPLAY.fullmatch(heading[1])
        return displayed[1] if displayed else heading[1]
    return ", ".join(parts) or None


def _boxes(text: str) -> list[tuple[int, int, int]]:
    """Return all complete boxes that lie in no other, in order: where the command begins, where its
    content starts and ends.
    """
    opened: list[re.Match[str] | None] = []  # the open braces: a box, or None for any other brace
    found: list[tuple[int, int, int]] = []
    for token in _TOKEN.finditer(text):
        if token[0] == "}" and opened:
            box = opened.pop()
            if box is not None:
                while found and found[-1][0] > box.start():
                    found.pop()
                found.append((box.start(), box.end(), token.start()))
        elif token[0] == "{" or "box" in token[0]:
            opened.append(None if token[0] == "{" else token)
    return found


def quick_judgement(gold: str, answer: str, tolerance: float | None) -> Judgement | None:
    """Compare two answers where no algebra is needed: equal strings and plain numbers; None where
    it is.

    Whole numbers compare exactly. Beside a decimal, both rounded to 6 places and a relative 1e-5
    must agree.
    """
    a, b = _tidy(gold), _tidy(answer)
    if a == b:
        return Judgement(True, 0.0) if a else UNPARSED
    numbers = [_INTEGER.fullmatch(text) or _DECIMAL.fullmatch(text) for text in (a, b)]
    if None in numbers:
        return None
    x, y = (Decimal(text.replace(",", "")) for text in (a, b))
    off, larger = abs(x - y), max(abs(x), abs(y))
    if "." not in a + b:
        right = x == y
    elif max(len(a), len(b)) > _DECIMAL_LENGTH:
        return None
    else:
        right = (
            x.quantize(_SIX_PLACES) == y.quantize(_SIX_PLACES)
            and off <= larger * _RELATIVE_TOLERANCE
        )
    if tolerance is not None:
        right = right or off <= Decimal(str(tolerance))
    return Judgement(right, 0.0 if right else float(off / larger))


def _tidy(text: str) -> str:
    text = " ".join(text.split())
    if len(text) > 1 and text[0] == text[-1] == "$":
        text = text[1:-1].strip()
    return text.removesuffix(".").strip()


class Grader:
    """Grade answers and group equal ones. Use it as a context manager; leaving it frees its
    processes for the next one.

    A verdict is right (True), wrong (False) or unparsed (None): an answer that cannot be read as an
    expression, or not within `ITEM_SECONDS` of CPU time, or that no gold answer is known for.
    Without an answer nothing is right, so False.
    """

    def __init__(self) -> None:
        self._workers: list[Worker] = []
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._found: dict[_Question, Judgement] = {}

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            give_back(worker)
        self._workers, self._idle = [], queue.SimpleQueue()

    def grade(self, items: Sequence[Item]) -> list[Judgement]:
        """Return the judgement on each item, in order."""
        questions = [
            _Question("grade", gold, answer, tolerance) if gold and answer else None
            for gold, answer, tolerance in items
        ]
        hard = [
            q
            for q in dict.fromkeys(questions)
            if q and q not in self._found and self._quick(q) is None
        ]
        self._map(self._judge, hard, workers=self._n_workers(len(hard)))
        judgements = [
            self._judge(question) if question else Judgement(False) if item.gold else UNPARSED
            for item, question in zip(items, questions, strict=True)
        ]
        if lost := sum(
            item.gold != "" and judgement.correct is None
            for item, judgement in zip(items, judgements, strict=True)
        ):
            get_logger().warning(
                f"grading: {lost} of {len(items)} answers could not be read, or not within"
                f" {ITEM_SECONDS:g} s each"
            )
        return judgements

    def group(self, answers_per_problem: Sequence[Sequence[str | None]]) -> list[list[int | None]]:
        """Return for each answer of each problem the position of the first equal one among them,
        None for no answer.

        An answer joins the first group whose first member it equals, whichever of the two is taken
        for the gold one. One that cannot be compared stays alone: each such failure takes an answer
        out, so there are at most as many as answers.
        """
        given = [
            answer
            for answers in answers_per_problem
            for answer in set(answers)
            if answer is not None
        ]
        hard = sum(quick_judgement("0", answer, None) is None for answer in given)
        return self._map(self._group_one, answers_per_problem, workers=self._n_workers(hard))

    def _group_one(self, answers: Sequence[str | None]) -> list[int | None]:
        first_of: dict[str, int] = {}
        # first members, and whether one has come through a comparison yet
        leaders: dict[int, bool] = {}
        for position, answer in enumerate(answers):
            if answer is None or answer in first_of:
                continue
            first_of[answer] = position
            for leader in list(leaders):
                verdict = self._judge(_Question("same", answers[leader] or "", answer)).correct
                if verdict is None and not leaders[leader]:
                    del leaders[leader]
                    continue
                if verdict is None:
                    break
                leaders[leader] = True
                if verdict:
                    first_of[answer] = leader
                    break
            else:
                leaders[position] = False
        return [None if answer is None else first_of[answer] for answer in answers]

    def _judge(self, question: _Question) -> Judgement:
        quick = self._quick(question)
        if quick is not None:
            return quick
        if question not in self._found:
            worker = self._idle.get()
            try:
                reply = worker.ask(question, wall_seconds=WALL_SECONDS)
                self._found[question] = UNPARSED if reply is None else Judgement(*reply)
            finally:
                self._idle.put(worker)
        return self._found[question]

    def _quick(self, question: _Question) -> Judgement | None:
        return quick_judgement(question.gold, question.answer, question.tolerance)

    def _n_workers(self, hard: int) -> int:
        return min(os.cpu_count() or 1, MAX_WORKERS, 1 + hard // PAIRS_PER_WORKER)

    def _map(self, function: Callable[[T], R], items: Sequence[T], *, workers: int) -> list[R]:
        while len(self._workers) < workers:
            self._workers.append(borrow(ITEM_SECONDS))
            self._idle.put(self._workers[-1])
        with ThreadPoolExecutor(max_workers=workers) as pool:
            return list(pool.map(function, items))
