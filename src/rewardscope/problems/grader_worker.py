"""A grading process: one JSON request a line, one reply; the rules are in `equality.py`.

Run by `grader_pool.py`, never imported by it, so that sympy stays out of the main process. The
kernel ends this process when one request takes too much CPU time or memory; the caller sees the
pipe close.
"""

import contextlib
import json
import logging
import os
import resource
import signal
import sys

from rewardscope.problems.equality import judge, read, same
from rewardscope.problems.numbers import FLOAT_NOISE

MEMORY_BYTES = 4 << 30


def grade(
    gold: str, answer: str, tolerance: float | None
) -> tuple[bool | None, float | None, bool, bool]:
    """Return the fields of a `Judgement`: the verdict, the gap, whether the numbers that differ are
    whole, and whether the gold answer could be read.

    The verdict is None where the answer cannot be read as an expression and the gold one can. The
    gap is the largest relative difference of the numbers that correspond in two answers of one
    shape, and None where anything else differs. `tolerance` is an absolute difference that is right
    as well.
    """
    if judge(gold, answer):
        return True, 0.0, False, True
    found = read(gold, answer)
    if not found.answer_read:
        return (None if found.gold_read else False), None, False, found.gold_read
    if found.gaps is None:
        return False, None, False, found.gold_read
    (off, _), (gap, whole) = found.gaps
    near = tolerance is not None and off <= tolerance * (1 + FLOAT_NOISE)
    return near, gap, whole, found.gold_read


def main() -> None:
    """Answer requests `[kind, a, b, tolerance]` with the fields of a judgement until the input
    ends.

    The argument is the limit in CPU seconds.
    """
    seconds = float(sys.argv[1])
    logging.disable(logging.CRITICAL)
    sys.set_int_max_str_digits(0)  # the limits below hold for long numbers as well
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not pass for a reply
    with contextlib.suppress(ValueError, OSError):  # not every system lets a process lower it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # CPU time, not wall time: a busy machine must not turn right answers into unjudged ones. The
    # default action ends the process, also inside C code that no Python handler could interrupt.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    replies.write("ready\n")
    for line in sys.stdin:
        kind, a, b, tolerance = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            reply = grade(a, b, tolerance) if kind == "grade" else (same(a, b), None)
        except Exception:  # whatever sympy does not survive is an answer that cannot be read
            reply = (None, None)
        signal.setitimer(signal.ITIMER_PROF, 0)
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()
