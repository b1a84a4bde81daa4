r"""Take the final answer out of a solution, and grade it.

`Grader` decides plain numbers and equal strings here and sends the rest to processes of `grader_worker.py`, where the kernel
ends whatever takes too long. It is safe beside torch and outside the main thread: no fork, no signal handler in this process.
"""

import json
import os
import queue
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Literal, TypeVar

from rewardscope.errors import PipelineError
from rewardscope.log import get_logger

ITEM_SECONDS = 5.0  # CPU time for one comparison; real golds take about 0.01
MAX_WORKERS = 8
PAIRS_PER_WORKER = 200  # a worker starts in seconds, so a few comparisons are not worth a second one

_TOKEN = re.compile(r"\\+(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_BETWEEN_BOXES = re.compile(r"[\s$]*(?:,|;|and|or|,\s*and|,\s*or)[\s$]*")
_INTEGER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3}){1,6}|\d{1,300})")
_DECIMAL = re.compile(r"[+-]?\d*\.\d+")
_DECIMAL_LENGTH = 18  # rounding a longer one needs more than Decimal's 28 digits
_SIX_PLACES = Decimal("1e-6")
_RELATIVE_TOLERANCE = Decimal("1e-5")  # as in grader_worker

T = TypeVar("T")
R = TypeVar("R")
Question = tuple[Literal["judge", "same"], str, str]


def extract_answer(text: str) -> str | None:
    r"""Return the content of the last complete, non-empty `\boxed{...}`, or None.

    Boxes that only a comma, "and" or "or" parts are one answer, joined by a comma: `\boxed{1} and \boxed{3}` is `1, 3`.
    A box within thinking counts only where none follows it; a box cut off by the token limit does not count.
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
    return ", ".join(parts) or None


def _boxes(text: str) -> list[tuple[int, int, int]]:
    """Return all complete boxes that lie in no other, in order: where the command begins, where its content starts and ends."""
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


def quick_verdict(gold: str, answer: str) -> bool | None:
    """Compare two answers where no algebra is needed: equal strings and plain numbers; None where it is.

    Whole numbers compare exactly. Beside a decimal, both rounded to 6 places and a relative 1e-5 must agree.
    """
    a, b = _tidy(gold), _tidy(answer)
    if a == b:
        return a != ""
    numbers = [_INTEGER.fullmatch(text) or _DECIMAL.fullmatch(text) for text in (a, b)]
    if None in numbers:
        return None
    x, y = (Decimal(text.replace(",", "")) for text in (a, b))
    if "." not in a + b:
        return x == y
    if max(len(a), len(b)) > _DECIMAL_LENGTH:
        return None
    rounds_alike = x.quantize(_SIX_PLACES) == y.quantize(_SIX_PLACES)
    return rounds_alike and abs(x - y) <= max(abs(x), abs(y)) * _RELATIVE_TOLERANCE


def _tidy(text: str) -> str:
    text = " ".join(text.split())
    if len(text) > 1 and text[0] == text[-1] == "$":
        text = text[1:-1].strip()
    return text.removesuffix(".").strip()


class _Worker:
    """One grading process, started by the first question and again after one that it did not survive."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, question: Question) -> bool | None:
        """Return the verdict, or None where the process ended on the question."""
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            reply = process.stdout.readline()
        except BrokenPipeError:
            reply = ""
        if not reply.endswith("\n"):
            self.stop()
            return None
        return json.loads(reply)

    def _start(self) -> subprocess.Popen[str]:
        script = Path(__file__).with_name("grader_worker.py")
        # -P: the folder of the script holds a `datasets.py`, which must not be found as the library. A fixed hash seed keeps
        # sympy's order of symbols, and so a verdict, the same in every run.
        command = ["env", "PYTHONHASHSEED=0", sys.executable, "-P", str(script), str(ITEM_SECONDS)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            self.stop()
            raise PipelineError(f"the grading process did not start; {sys.executable} {script} {ITEM_SECONDS} shows why")
        return self._process

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            with self._process:  # closes the pipes and waits
                self._process = None


class Grader:
    """Grade answers and group equal ones. Use it as a context manager; leaving it ends its processes.

    A verdict is True, False, or None where it could not be found within `ITEM_SECONDS` of CPU time. No answer is False.
    """

    def __init__(self) -> None:
        self._workers: list[_Worker] = []
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._verdicts: dict[Question, bool | None] = {}

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()

    def grade(self, pairs: Sequence[tuple[str, str | None]]) -> list[bool | None]:
        """Return the verdict on each pair of a gold and a given answer, in order."""
        questions: list[Question | None] = [None if answer is None else ("judge", gold, answer) for gold, answer in pairs]
        self._settle({question for question in questions if question})
        verdicts = [False if question is None else self._verdict(question) for question in questions]
        if unjudged := verdicts.count(None):
            get_logger().warning(f"grading: {unjudged} of {len(pairs)} answers could not be judged within {ITEM_SECONDS:g} s each")
        return verdicts

    def group(self, answers_per_problem: Sequence[Sequence[str | None]]) -> list[list[int | None]]:
        """Return for each answer of each problem the position of the first equal one among them, None for no answer.

        An answer joins the first group whose first member it equals, whichever of the two is taken for the gold one.
        One that cannot be compared stays alone: each such failure takes an answer out, so there are at most as many as answers.
        """
        hard = sum(quick_verdict("0", answer) is None for answers in answers_per_problem for answer in set(answers) if answer is not None)
        return self._map(self._group_one, answers_per_problem, workers=self._n_workers(hard))

    def _group_one(self, answers: Sequence[str | None]) -> list[int | None]:
        first_of: dict[str, int] = {}
        leaders: dict[int, bool] = {}  # first members, and whether one has come through a comparison yet
        for position, answer in enumerate(answers):
            if answer is None or answer in first_of:
                continue
            first_of[answer] = position
            for leader in list(leaders):
                verdict = self._verdict(("same", answers[leader] or "", answer))
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

    def _settle(self, questions: set[Question]) -> None:
        """Find the verdicts that need a process, in parallel."""
        hard = sorted(q for q in questions if q not in self._verdicts and quick_verdict(q[1], q[2]) is None)
        self._map(self._verdict, hard, workers=self._n_workers(len(hard)))

    def _verdict(self, question: Question) -> bool | None:
        quick = quick_verdict(question[1], question[2])
        if quick is not None:
            return quick
        if question not in self._verdicts:
            worker = self._idle.get()
            try:
                self._verdicts[question] = worker.ask(question)
            finally:
                self._idle.put(worker)
        return self._verdicts[question]

    def _n_workers(self, hard: int) -> int:
        return min(os.cpu_count() or 1, MAX_WORKERS, 1 + hard // PAIRS_PER_WORKER)

    def _map(self, function: Callable[[T], R], items: Sequence[T], *, workers: int) -> list[R]:
        while len(self._workers) < workers:
            self._workers.append(_Worker())
            self._idle.put(self._workers[-1])
        with ThreadPoolExecutor(max_workers=workers) as pool:
            return list(pool.map(function, items))
