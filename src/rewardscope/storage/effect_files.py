"""A table of effects as csv, and beside it in Parquet the value of each problem.

pandas.read_parquet("effects.parquet")[["effect", "problem", "value"]]   # effect: row from 0
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from rewardscope.errors import BadRecord
from rewardscope.records import Estimate
from rewardscope.statistics.effects import Effect, Place
from rewardscope.storage.files import replacing
from rewardscope.storage.tables import columns_of, read_csv_as, write_csv


class EffectRow(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the table."""

    method: str
    component: str
    site: str
    position: str
    value: float
    low: float | None
    high: float | None
    n: int
    seed: int


def values_file(table: Path) -> Path:
    """Return where the values by problem of a table lie."""
    return table.with_suffix(".parquet")


def write_effects(table: Path, effects: Sequence[Effect]) -> list[Path]:
    """Write the table (`.csv`) and the values beside it; return both files.

    Raises: BadRecord for a problem id that no file can hold.
    """
    import numpy as np
    import pyarrow as pa

    from rewardscope.storage.parquet import text_codes, writer

    rows = [
        EffectRow(
            method=effect.method,
            component=effect.place.component,
            site=effect.place.site,
            position=effect.place.position,
            value=effect.estimate.value,
            low=effect.estimate.low,
            high=effect.estimate.high,
            n=effect.estimate.n,
            seed=effect.seed,
        )
        for effect in effects
    ]
    problems = list(dict.fromkeys(name for effect in effects for name in effect.values))
    codes = {name: code for code, name in enumerate(problems)}
    code_N = np.array([codes[name] for effect in effects for name in effect.values], dtype=np.int32)
    effect_N = np.repeat(np.arange(len(effects)), [len(effect.values) for effect in effects])
    value_N = np.array([value for effect in effects for value in effect.values.values()])
    schema = _schema()
    columns = [
        pa.array(effect_N.astype(np.int32)),
        text_codes(code_N, problems),
        pa.array(value_N.astype(np.float64)),
    ]
    values = values_file(table)
    with replacing(values) as temporary, writer(temporary, schema) as out:
        out.write_table(pa.table(columns, schema=schema))
    write_csv(table, rows, fields=columns_of(EffectRow))
    return [table, values]


def read_effects(table: Path) -> list[Effect]:
    """Read a table with its values.

    Raises: MissingInput; BadRecord that names the file, also where the two do not belong together.
    """
    from rewardscope.storage.parquet import open_parquet, reading

    rows, path = read_csv_as(table, EffectRow), values_file(table)
    remedy = "make the table anew"
    file = open_parquet(path, _schema(), remedy=remedy)
    with reading(path, remedy=remedy):
        columns = file.read(columns=["effect", "problem", "value"]).to_pydict()
    values: list[dict[str, float]] = [{} for _ in rows]
    for effect, problem, value in zip(*columns.values(), strict=True):
        if not 0 <= effect < len(rows):
            raise BadRecord(f"{path} has values of effect {effect}, but {table} has {len(rows)}")
        values[effect][problem] = value
    for number, (row, mine) in enumerate(zip(rows, values, strict=True)):
        if len(mine) != row.n:
            raise BadRecord(
                f"{path} has {len(mine)} problems of effect {number}, but {table} says {row.n};"
                f" {remedy}"
            )
    return [
        Effect(
            method=row.method,
            place=Place(row.component, row.site, row.position),
            estimate=Estimate(value=row.value, low=row.low, high=row.high, n=row.n),
            seed=row.seed,
            values=mine,
        )
        for row, mine in zip(rows, values, strict=True)
    ]


def _schema():
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("effect", pa.int32(), nullable=False),
            pa.field("problem", pa.dictionary(pa.int32(), pa.string()), nullable=False),
            pa.field("value", pa.float64(), nullable=False),
        ]
    )
