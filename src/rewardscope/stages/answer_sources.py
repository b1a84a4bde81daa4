"""Where the answers of a generations file come from: a box, a statement, a number, nowhere."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardscope.problems.extraction import DEFAULT_RULE, EXTRACTION_RULES, ExtractionRule, extract
from rewardscope.records import SolvedProblem, Trace
from rewardscope.storage.manifests import read_manifest

SOURCES = (*EXTRACTION_RULES, "file", "nowhere")
MANY = 0.1  # of the traces without an answer; what is measured is then the extraction


def rule_of(source: Path) -> ExtractionRule:
    """Return the rule by which the answers of a generations file were taken out."""
    manifest = read_manifest(source)
    return manifest.settings.get("extract", DEFAULT_RULE) if manifest else DEFAULT_RULE


def answer_of(
    trace: Trace, *, rule: ExtractionRule, anew: bool, keep: bool
) -> tuple[str | None, str]:
    """Return a trace's answer and where it comes from; `file` is an answer that its text does not
    give.

    `anew`: take it out again where the file has one. `keep`: fall back on that of the file.
    """
    found = extract(trace.delimiter.join(trace.steps[trace.n_thinking :]), rule)
    if trace.answer is None or (anew and (found.answer is not None or not keep)):
        return found
    return trace.answer, found.source if found.answer == trace.answer else "file"


def counts(sources: Sequence[str]) -> dict[str, int]:
    """Count the traces by where their answers come from."""
    found = Counter(sources)
    return {name: found[name] for name in SOURCES if found[name]}


def lines(report: Mapping[str, Any]) -> list[str]:
    """Return what the metrics table says of answers and of gold answers that cannot be read."""
    found: Mapping[str, int] = report.get("answers", {})
    total, nowhere = sum(found.values()), found.get("nowhere", 0)
    told = []
    if found:
        told.append("answers taken from: " + ", ".join(f"{name} {n}" for name, n in found.items()))
    if nowhere > MANY * total:
        told.append(
            f"warning: {nowhere} of {total} traces give no answer and count as not right;"
            " --extract last-number takes the last number of such a text"
        )
    if unread := report.get("unread_golds"):
        told.append(
            f"warning: the gold answers of {len(unread)} problems cannot be read as an expression,"
            f" so that only the same text is right: {', '.join(unread[:5])}"
        )
    return told


def unread_golds(solved: Sequence[SolvedProblem], read: Sequence[bool]) -> list[str]:
    """Return the ids of the problems whose gold answers could not be read; one flag a trace."""
    problems = [row.problem.id for row in solved for _ in row.traces]
    return list(dict.fromkeys(each for each, fine in zip(problems, read, strict=True) if not fine))
