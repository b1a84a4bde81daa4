"""Verdicts a second against plain math-verify on the same pairs, in one process and one thread.

Pairs are a file's gold answers with the answers given to them. Each side reads every text anew:
what either keeps from one text to the next is emptied before each round.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from math_verify import parse, verify
from math_verify import parser as math_verify_parser

from benchmarks.measure import best_cpu_seconds, keep_row
from rewardscope.problems.expressions import parsed
from rewardscope.problems.extraction import extract
from rewardscope.problems.grader_worker import grade
from rewardscope.problems.judgement import quick_judgement

DATA = Path(__file__).parents[1] / "../shared/data"
ROUNDS = 2
Pair = tuple[str, str]


def main() -> None:
    """Time both on written cases and on real solutions; one row each."""
    logging.disable(logging.CRITICAL)
    cases = [(row["gold"], row["answer"], row["right"]) for row in _rows("grading_cases")]
    solutions = [
        (row["gt"], code, bool(score))
        for row in _rows("qwen_math_cot_50x8")
        for code, score in zip(row["code"], row["score"], strict=True)
    ]
    golds = [(row["answer"], row["answer"] + "+1", False) for row in _rows("math500")[:200]]
    for name, triples in {
        "240 cases from reports of faults": cases,
        "400 real solutions, 50 problems": solutions,
        "200 golds of MATH-500 and their successors": golds,
    }.items():
        pairs = [(gold, _taken_out(text)) for gold, text, _ in triples]
        right = [each for *_, each in triples]
        _keep(name, pairs, right)


def _rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").open(encoding="utf-8")]


def _taken_out(text: str) -> str:
    return (extract(text, "boxed").answer or "") if "box" in text else text


def _keep(name: str, pairs: Sequence[Pair], right: Sequence[bool]) -> None:
    alternatives = {"ours": lambda: _ours(pairs), "math-verify": lambda: _plain(pairs)}
    found = {which: run() for which, run in alternatives.items()}
    seconds = best_cpu_seconds(alternatives, rounds=ROUNDS)
    keep_row(
        "grading",
        {
            "what": name,
            "pairs": len(pairs),
            "verdicts_a_second": {
                which: round(len(pairs) / took, 1) for which, took in seconds.items()
            },
            "ratio": round(seconds["math-verify"] / seconds["ours"], 2),
            "agree": {
                which: sum(a == b for a, b in zip(each, right, strict=True))
                for which, each in found.items()
            },
        },
    )


def _ours(pairs: Sequence[Pair]) -> list[bool]:
    parsed.cache_clear()
    _forget()
    return [
        (quick.correct if (quick := quick_judgement(*pair, None)) else grade(*pair, None)[0])
        is True
        for pair in pairs
    ]


def _plain(pairs: Sequence[Pair]) -> list[bool]:
    _forget()
    return [
        verify(
            *(parse(f"\\boxed{{{text}}}", parsing_timeout=None) for text in pair),  # type: ignore[arg-type]
            timeout_seconds=None,
        )
        for pair in pairs
    ]


def _forget() -> None:
    math_verify_parser.parse_latex_cached.cache_clear()
    math_verify_parser.extract_latex.cache_clear()
