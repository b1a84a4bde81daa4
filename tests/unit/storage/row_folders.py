"""Rows and save-acts folders as the tests of their files make them."""

import json
from pathlib import Path
from typing import Any

from rewardscope.storage.acts import ActStore
from tests.act_files import ActRow


def row(problem: str = "p/0", **fields: Any) -> ActRow:
    place = {"trace": 3, "step": 1, "token": 7, "token_id": 12, "text_start": 40}
    known = {"is_step_end": True, "reward": 0.1, "correct": None}
    return ActRow(problem=problem, **{**place, **known, **fields})


def write_old(folder: Path, rows: list[ActRow], sequences: list[dict]) -> Path:
    """Write the files of older versions: a JSON object a line."""
    folder.mkdir()
    for name, lines in (
        ("rows.jsonl", [one._asdict() for one in rows]),
        ("sequences.jsonl", sequences),
    ):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def write_manifest(folder: Path, n_rows: int, **extra: Any) -> ActStore:
    manifest = {
        "stage": "save-acts",
        "settings": {},
        "outputs": {},
        "rows": n_rows,
        "extra": {"layers": [0], "width": 1, **extra},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return ActStore(folder)
