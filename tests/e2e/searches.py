"""What tests of infer-with-prm share: a small search, and the stage run on it."""

from pathlib import Path
from typing import Any

from rewardscope.records import SolvedProblem
from rewardscope.settings import Settings
from rewardscope.stages.infer_with_prm import Config, run
from rewardscope.storage.jsonl import read_solved

SMALL: dict[str, Any] = {
    "limit": 3,
    "n": 4,
    "width": 2,
    "max_steps": 3,
    "max_step_tokens": 12,
    "max_tokens": 12,
    "temperature": 1.5,
    "engine": "hf",
}


def small_config(policy: Path, prm: str) -> dict[str, Any]:
    """Return the flags of a search of a few short steps."""
    return {"model_name": str(policy), "prm": prm, "datasets": ("tinymath",), **SMALL}


def search(data_dir: Path, config: dict[str, Any], **changes: Any) -> list[SolvedProblem]:
    """Search with some flags changed; return what was written."""
    (out,) = run(Config(**{**config, **changes}), Settings(data_dir=data_dir))
    return read_solved(out)
