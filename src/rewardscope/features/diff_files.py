"""Tables of `feature-diff` as Parquet, a row group for each layer and pair of data sets."""

import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from rewardscope.features.categories import CATEGORIES
from rewardscope.features.contrast import Found
from rewardscope.features.controls import NONE
from rewardscope.features.diff import Comparison, formatting_share, top_category
from rewardscope.features.diff_table import CONTROLS, FeatureDiff
from rewardscope.features.scaling import Scaling
from rewardscope.features.stability import Twins
from rewardscope.storage.files import replacing
from rewardscope.storage.manifests import check_file
from rewardscope.storage.parquet import open_parquet, read_group, writer

# Shape legend: F features.
_REMEDY = "re-run invoke feature-diff"
_TEXT = pa.dictionary(pa.int32(), pa.string())
_KINDS = {int: pa.int32(), float: pa.float32(), str: _TEXT, bool: pa.bool_()}
Columns = Mapping[str, Any]


def _kind(name: str, hint: Any) -> pa.DataType:
    if name.endswith(("p_value", "q_value", "_q")):
        return pa.float64()  # a p value may be below what float32 can hold
    (kind,) = [k for k in (typing.get_args(hint) or (hint,)) if k is not NoneType]
    return pa.int64() if name.startswith("n_rows") else _KINDS[kind]


SCHEMA = pa.schema(
    [pa.field(name, _kind(name, hint)) for name, hint in typing.get_type_hints(FeatureDiff).items()]
)


def diff_columns(
    compared: Mapping[str, Comparison],
    found: Found,
    verdicts: Mapping[str, np.ndarray],
    *,
    layer: int,
    names: tuple[str, str],
    n_rows: tuple[int, int],
    n_problems: tuple[int, int],
    twins: Twins | None = None,
    scaling: Scaling | None = None,
) -> dict[str, Any]:
    """Return the columns of a row for every feature that fires on either side; the first side is
    the reasoning one.
    """
    own, used = compared[NONE], compared[NONE].fires_F.nonzero()[0]
    rates_2F = own.rates_2F[:, used]
    arcs_2F = 2 * np.arcsin(np.sqrt(np.clip(rates_2F, 0, 1)))
    counts_2F = rates_2F * np.array(n_rows)[:, None]
    odds_2F = np.log((counts_2F + 0.5) / (np.array(n_rows)[:, None] - counts_2F + 0.5))
    mass_FC = found.mass_share_FC[used]
    sides = np.array(["neither", "reasoning", "instruct"])
    columns: dict[str, Any] = {
        "layer": np.full(len(used), layer),
        "reasoning": [names[0]] * len(used),
        "instruct": [names[1]] * len(used),
        "feature": used,
        "rate_reasoning": rates_2F[0],
        "rate_instruct": rates_2F[1],
        "mean_reasoning": found.means_2F[0, used],
        "mean_instruct": found.means_2F[1, used],
        "difference": own.difference_F[used],
        "low": own.low_F[used],
        "high": own.high_F[used],
        "log2_ratio": own.log2_ratio_F[used],
        "effect_h": arcs_2F[0] - arcs_2F[1],
        "p_value": own.p_F[used],
        "q_value": own.q_F[used],
        "favours": sides[verdicts[NONE][used]].tolist(),
        "n_rows_reasoning": np.full(len(used), n_rows[0]),
        "n_rows_instruct": np.full(len(used), n_rows[1]),
        "n_problems_reasoning": np.full(len(used), n_problems[0]),
        "n_problems_instruct": np.full(len(used), n_problems[1]),
        "top_category": top_category(mass_FC),
        "share_formatting": formatting_share(mass_FC),
        "log_odds": odds_2F[0] - odds_2F[1],
        "auroc": found.auroc.value_F[used],
        "auroc_low": found.auroc.low_F[used],
        "auroc_high": found.auroc.high_F[used],
        "reason_score": found.reason_F[used],
        "survives": _survivors(verdicts, used),
    }
    columns |= {f"share_{name}": mass_FC[:, code] for code, name in enumerate(CATEGORIES)}
    for name in CONTROLS:
        one, q_F = compared[name], compared[name].q_F
        for end, values_F in (("difference", one.difference_F), ("low", one.low_F)):
            columns[f"{name}_{end}"] = values_F[used]
        columns[f"{name}_high"], columns[f"{name}_q"] = one.high_F[used], q_F[used]
    if twins is not None:
        columns |= {
            "twin_cosine": twins.cosine_F[used],
            "twin_correlation": twins.correlation_F[used],
            "stable": twins.stable_F[used],
        }
    if scaling is not None:
        named = zip(Scaling._fields, scaling, strict=True)
        columns |= {field.removesuffix("_F"): values_F[used] for field, values_F in named}
    return columns


def _survivors(verdicts: Mapping[str, np.ndarray], used: np.ndarray) -> list[str | None]:
    """Return the names of the controls that each feature survives; None where it favours none."""
    survives = {name: verdicts[name][used] != 0 for name in CONTROLS}
    return [
        ",".join(name for name, survives_F in survives.items() if survives_F[at])
        if favours
        else None
        for at, favours in enumerate(verdicts[NONE][used].tolist())
    ]


def write_diff(path: Path, groups: Iterable[Columns]) -> int:
    """Write a table, a row group for each of the groups of columns; return the number of rows."""
    count = 0
    with replacing(path) as temporary, writer(temporary, SCHEMA) as out:
        for columns in groups:
            n_rows = len(columns["feature"])
            table = pa.table([_array(columns, field, n_rows) for field in SCHEMA], schema=SCHEMA)
            out.write_table(table, row_group_size=max(1, n_rows))
            count += n_rows
    return count


def _array(columns: Columns, field: pa.Field, n_rows: int) -> pa.Array:
    if field.name not in columns:
        return pa.nulls(n_rows, field.type)
    values = columns[field.name]
    if field.type == _TEXT:
        return pa.array(values, pa.string()).dictionary_encode().cast(field.type)
    numbers = np.asarray(values)
    # what is not a number is not known; `from_pandas` would do the same, and import pandas
    unknown = np.isnan(numbers) if numbers.dtype.kind == "f" else None
    return pa.array(numbers, mask=unknown).cast(field.type, safe=False)


def read_diff(path: Path) -> list[FeatureDiff]:
    """Read the rows of a table. Raises: MissingInput, BadRecord that names the file."""
    check_file(path)
    file = open_parquet(path, SCHEMA, remedy=_REMEDY)
    return [
        row
        for group in range(file.num_row_groups)
        for row in msgspec.convert(
            read_group(file, path, group, SCHEMA.names).to_pylist(), list[FeatureDiff]
        )
    ]


def read_columns(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """Read some columns of a table; an unknown number is NaN. Raises: as `read_diff`."""
    check_file(path)
    file = open_parquet(path, SCHEMA, remedy=_REMEDY)
    tables = [read_group(file, path, group, names) for group in range(file.num_row_groups)]
    table = pa.concat_tables(tables) if tables else SCHEMA.empty_table().select(names)
    return {name: table[name].to_numpy() for name in names}
