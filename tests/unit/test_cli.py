"""Flags that are made of a config."""

from dataclasses import dataclass
from typing import Any

import pytest
from invoke.collection import Collection
from invoke.program import Program

from rewardscope.cli import as_flags, stage_task
from rewardscope.stage import StageConfig, option


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Do nothing."""

    names: tuple[str, ...] = option((), help="names")
    parts: tuple[float, ...] = option((0.5, 1.0), help="parts")
    rows: int | None = option(None, help="rows")
    lr_warm: float = option(0.1, help="rate")
    text: str = option("all", help="text")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"force": True, "rows": 3, "lr_warm": 1 / 3, "parts": (1 / 16, 1.0)},
        {"names": ("one, with a comma", "-x"), "text": "-1 of = 3"},
        {"names": ("a", "b"), "lr_warm": -1e-9},
    ],
)
def test_the_flags_of_a_config_give_the_same_config(values: dict[str, Any]) -> None:
    seen: list[Config] = []
    program = Program(
        namespace=Collection(stage_task("work", Config, lambda config, _: seen.append(config)))
    )
    program.run(["invoke", "work", *as_flags(Config(**values))], exit=False)
    assert seen == [Config(**values)]
