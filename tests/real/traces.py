"""Traces that others published, of several models on the same problems, cut to what a test runs."""

import json
from pathlib import Path
from typing import Any

TRACES = Path(__file__).parents[2] / "../shared/data/traces"
PREFIX = "gsm8k_"
STYLES = ("reasoning", "instruct")


def prepare(
    folder: Path, *, problems: int, characters: int, models: str = "*", name: str = "gsm8k"
) -> dict[str, list[Path]]:
    """Write the first problems of the models' traces, each cut after whole steps within so many
    characters, as MODEL_name.jsonl; return the files by style. The ends of the cut ones count as
    `length`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Path]] = {style: [] for style in STYLES}
    for source in sorted(TRACES.glob(f"{PREFIX}{models}.jsonl")):
        rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
        out = folder / f"{source.stem.removeprefix(PREFIX)}_{name}.jsonl"
        kept = [_cut(row, characters) for row in rows[:problems]]
        out.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        found[rows[0]["style"]].append(out)
    return found


def _cut(row: dict[str, Any], characters: int) -> dict[str, Any]:
    text = row["solution"]
    if len(text) <= characters:
        return row
    whole = text.rfind("\n\n", 1, characters)
    kept = text[: whole if whole > 0 else characters]
    return row | {"solution": kept, "finish": "length"}
