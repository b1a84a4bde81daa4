r"""Load problem sets of any published schema: the question under `question` or `problem`, the gold
answer under `answer`, `final_answer` or `gold`, after GSM8K's `####`, or only as the `\boxed` of a
`solution`.
"""

import difflib
import logging
import math
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rewardscope.errors import BadRecord, ConfigError, MissingInput, UnknownName
from rewardscope.paths import hub_name, slug
from rewardscope.problems.extraction import marked_answer
from rewardscope.problems.tinymath import load_tinymath
from rewardscope.records import Problem
from rewardscope.storage.json_rows import parse
from rewardscope.storage.jsonl import read_rows
from rewardscope.storage.text import read_text

DEFAULT_DATASETS = ("math-ai/minervamath", "HuggingFaceH4/MATH-500", "math-ai/olympiadbench")
KNOWN = ("tinymath", *DEFAULT_DATASETS)
QUESTION_FIELDS = ("question", "problem")
ANSWER_FIELDS = ("answer", "final_answer", "gold")
SPLITS = ("test", "validation", "train")  # the first that is there

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(:[\w.-]+)?")


def load_problems(
    name: str, *, limit: int | None = None, hf_token: str | None = None
) -> list[Problem]:
    """Load the first `limit` problems of `tinymath`, a jsonl / json / parquet file, a folder of
    such files, or a hub id.

    A hub id or folder with several configs takes one as `id:config`, a hub id a branch, tag or
    commit as `id@revision`. Its test split is used where there is one.
    Raises: ConfigError on a limit below 1; UnknownName; MissingInput where a file or the hub cannot
    be reached; BadRecord on a row without a question or a gold answer.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit {limit}: at least one problem is needed")
    if name == "tinymath":
        return load_tinymath()[:limit]
    rows = _rows(name, hf_token)
    if not rows:
        raise MissingInput(f"data set {name} has no rows")
    return [_problem(row, index, name) for index, row in enumerate(rows[:limit])]


def _rows(name: str, hf_token: str | None) -> list[Mapping[str, Any]]:
    path = Path(name)
    readers = {".jsonl": read_rows, ".json": _read_json, ".parquet": _read_parquet}
    if path.suffix in readers:
        if not path.is_file():
            raise MissingInput(f"data set {name}: no such file")
        return list(readers[path.suffix](path))
    if path.is_file():
        raise ConfigError(f"data set {name}: the file must end in .jsonl, .json or .parquet")
    if (
        path.is_dir()
        or Path(name.partition(":")[0]).is_dir()
        or _HUB_ID.fullmatch(hub_name(name).id)
    ):
        return _load_with_datasets(name, hf_token)
    raise UnknownName("data set", name, KNOWN)


def _read_json(path: Path) -> Iterable[Mapping[str, Any]]:
    """Read a JSON array of objects; a file that is none is read as one object a line."""
    text = read_text(path).strip()
    try:
        rows = parse(text)
    except BadRecord as error:
        if str(error).startswith("not JSON"):
            return read_rows(path)
        raise BadRecord(f"{path}: {error}") from None
    rows = [rows] if isinstance(rows, dict) else rows
    if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        raise BadRecord(f"{path}: neither an array of objects nor one object a line")
    return rows


def _read_parquet(path: Path) -> Iterable[Mapping[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(path, page_checksum_verification=True).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise BadRecord(f"{path}: not a parquet file, or damaged ({_one_line(error)})") from None


def _load_with_datasets(name: str, hf_token: str | None) -> list[Mapping[str, Any]]:
    import datasets
    from datasets.exceptions import DatasetBuildError

    hub_id, revision = hub_name(name)
    source, _, config = (name, "", "") if Path(name).is_dir() else hub_id.partition(":")
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    for library in ("datasets", "huggingface_hub"):
        # what goes wrong is said below, in one line
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        configs = datasets.get_dataset_config_names(source, revision=revision, token=hf_token)
        if not config and len(configs) > 1 and "default" not in configs:
            raise ConfigError(
                f"data set {name} has several configs; name one, as in {source}:{configs[0]};"
                f" known: {', '.join(configs)}"
            )
        if config and config not in configs:
            raise UnknownName(f"config of data set {source}", config, configs)
        chosen = config or ("default" if "default" in configs else configs[0])
        splits = datasets.load_dataset(source, chosen, revision=revision, token=hf_token)
    except (ConfigError, UnknownName):
        raise
    except Exception as error:  # a dozen unrelated classes: hub, http, file formats, arrow
        reason = _one_line(
            error.__cause__ if isinstance(error, DatasetBuildError) and error.__cause__ else error
        )
        nearest = [
            f"did you mean {known}? "
            for known in difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.8)
        ]
        hint = (
            f"{''.join(nearest)}pass a local jsonl, json or parquet file, or set HF_TOKEN if it is"
            " gated"
        )
        raise MissingInput(f"data set {name} cannot be loaded ({reason}); {hint}") from None
    split = next((split for split in SPLITS if split in splits), next(iter(splits)))
    return [dict(row) for row in splits[split]]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _problem(row: Mapping[str, Any], index: int, name: str) -> Problem:
    where = f"data set {name} line {index + 1}"
    question = next(
        (
            row[field]
            for field in QUESTION_FIELDS
            if isinstance(row.get(field), str) and row[field].strip()
        ),
        None,
    )
    if question is None:
        raise BadRecord(f"{where}: no question (a text under {' or '.join(QUESTION_FIELDS)})")
    try:
        answer = _gold(row)
    except BadRecord as error:
        raise BadRecord(f"{where}: {error}") from None
    if not answer:
        raise BadRecord(
            f"{where}: no gold answer (under {', '.join(ANSWER_FIELDS)}, or as \\boxed in solution)"
        )
    return Problem(
        id=f"{slug(name)}/{index}",
        dataset=slug(name),
        question=question.strip(),
        answer=answer,
        tolerance=_tolerance(row),
    )


def _tolerance(row: Mapping[str, Any]) -> float | None:
    """Return OlympiadBench's absolute `error`; of several (one an answer), the smallest.

    Other texts there mean something else.
    """
    try:
        return min(float(part) for part in str(row.get("error") or "").split(","))
    except ValueError:
        return None


def _gold(row: Mapping[str, Any]) -> str | None:
    for field in ANSWER_FIELDS:
        value = row.get(field)
        parts = value if isinstance(value, list) else [value]
        if all(
            isinstance(part, str | int | float) and not isinstance(part, bool) for part in parts
        ):
            answer = ", ".join(gold_text(gold_of(part)) for part in parts)
            if answer:
                return answer
    solution = row.get("solution")
    boxed = marked_answer(solution) if isinstance(solution, str) else None
    return gold_text(boxed) if boxed else None


def gold_of(value: object) -> str:
    """Return the text of a gold answer. Raises: BadRecord for NaN or infinity, which is none."""
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRecord(f"the gold answer is {value}, which is no number")
    return str(value)


def gold_text(text: str) -> str:
    r"""Return the bare LaTeX of a published gold answer: no `$`, no final point; what follows
    `####`, or is in `\boxed`, if any.

    Formulas that a comma parts stay a list: `$10$,$100$` is `10, 100`, not the number 10,100.
    """
    text = text.rpartition("####")[2]
    text = marked_answer(text) or text
    text = re.sub(r"\$?\s*,\s*\$", ", ", text)
    text = re.sub(r"(?<!\\)\$", "", text)
    return " ".join(text.split()).removesuffix(".")
