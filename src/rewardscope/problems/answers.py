"""Grade answers against gold ones, and group equal ones.

`Grader` decides plain numbers and equal texts here and sends the rest to processes of
`grader_worker.py`. Whatever takes too long there is ended, the process replaced.
"""

import os
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, TypeVar

from rewardscope.log import get_logger
from rewardscope.problems.grader_pool import Worker, borrow, give_back
from rewardscope.problems.judgement import UNPARSED, Judgement, quick_judgement

ITEM_SECONDS = 5.0  # CPU time for one comparison; real golds take about 0.01
# for one comparison that waits instead of working; a busy machine must not turn answers into
# unparsed ones
WALL_SECONDS = 60.0
MAX_WORKERS = 8
# a worker starts in seconds, so a few comparisons are not worth a second one
PAIRS_PER_WORKER = 200
MAX_LENGTH = 5_000  # characters; algebra on more than that ends nowhere

T = TypeVar("T")
R = TypeVar("R")


class Attempt(NamedTuple):
    """An answer beside the gold one that it is graded against."""

    gold: str
    """Empty where it is unknown."""
    answer: str | None
    tolerance: float | None = None
    """The absolute error that the data set allows."""


class _Question(NamedTuple):
    kind: Literal["grade", "same"]
    gold: str
    answer: str
    tolerance: float | None = None


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

    def grade(self, attempts: Sequence[Attempt]) -> list[Judgement]:
        """Return the judgement on each attempt, in order.

        Warns of answers, and of gold answers, that could not be read.
        """
        questions = [
            _Question("grade", gold, answer, tolerance) if gold and answer else None
            for gold, answer, tolerance in attempts
        ]
        hard = [
            question
            for question in dict.fromkeys(questions)
            if question and question not in self._found and self._quick(question) is None
        ]
        self._map(self._judge, hard, workers=self._n_workers(len(hard)))
        judgements = [
            self._judge(question) if question else Judgement(False) if attempt.gold else UNPARSED
            for attempt, question in zip(attempts, questions, strict=True)
        ]
        _warn_of_unread(attempts, judgements)
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
        if max(len(question.gold), len(question.answer)) > MAX_LENGTH:
            return quick_judgement(*question[1:]) or UNPARSED
        return quick_judgement(question.gold, question.answer, question.tolerance)

    def _n_workers(self, hard: int) -> int:
        return min(os.cpu_count() or 1, MAX_WORKERS, 1 + hard // PAIRS_PER_WORKER)

    def _map(self, function: Callable[[T], R], items: Sequence[T], *, workers: int) -> list[R]:
        while len(self._workers) < workers:
            self._workers.append(borrow(ITEM_SECONDS))
            self._idle.put(self._workers[-1])
        with ThreadPoolExecutor(max_workers=workers) as pool:
            return list(pool.map(function, items))


def _warn_of_unread(attempts: Sequence[Attempt], judgements: Sequence[Judgement]) -> None:
    judged = list(zip(attempts, judgements, strict=True))
    unread_golds = {attempt.gold: None for attempt, found in judged if not found.gold_read}
    if unread_golds:
        get_logger().warning(
            f"grading: {len(unread_golds)} gold answers cannot be read as an expression, so that"
            f" only the same text is right: {', '.join(map(repr, list(unread_golds)[:3]))}"
        )
    if lost := sum(attempt.gold != "" and found.correct is None for attempt, found in judged):
        get_logger().warning(
            f"grading: {lost} of {len(attempts)} answers could not be read, or not within"
            f" {ITEM_SECONDS:g} s each"
        )
