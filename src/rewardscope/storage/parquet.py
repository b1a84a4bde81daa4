"""Parquet files as the project writes and reads them: zstd, checksums of pages, texts as codes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rewardscope.errors import BadRecord, MissingInput

_REMEDY = "re-run invoke save-acts"


def writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a file for writing."""
    return pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)


def open_parquet(path: Path, schema: pa.Schema, *, remedy: str = _REMEDY) -> pq.ParquetFile:
    """Open a file that holds the columns of `schema`; nothing but its footer is read. `remedy` ends
    every error.

    Raises: MissingInput, BadRecord that names the file.
    """
    if not path.is_file():
        raise MissingInput(f"{path} is not there; {remedy}")
    with reading(path, remedy=remedy):
        file = pq.ParquetFile(path, page_checksum_verification=True)
        found = file.schema_arrow
    for field in schema:
        place = found.get_field_index(field.name)
        if place < 0:
            raise BadRecord(f"{path} has no column {field.name}; {remedy}")
        if found.field(place).type != field.type:
            raise BadRecord(
                f"{path}: column {field.name} is {found.field(place).type}, not {field.type};"
                f" {remedy}"
            )
    return file


def read_group(file: pq.ParquetFile, path: Path, group: int, columns: Sequence[str]) -> pa.Table:
    """Read some columns of a row group. Raises: BadRecord that names the file."""
    with reading(path):
        table = file.read_row_group(group, columns=list(columns), use_threads=False)
        if len(table) != file.metadata.row_group(group).num_rows:
            raise pa.ArrowException(f"row group {group} gave {len(table)} rows")
    return table


@contextmanager
def reading(path: Path, *, remedy: str = _REMEDY) -> Iterator[None]:
    """Turn what a damaged file raises into one line. Raises: BadRecord."""
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        what = " ".join(str(error).split())
        raise BadRecord(f"{path} is damaged ({what}); delete it and {remedy}") from None


def text_codes(code_N: NDArray[np.integer], texts: Sequence[str]) -> pa.DictionaryArray:
    """Return a column of texts, given as positions in `texts`; those that do not occur are left
    out.

    Raises: BadRecord for a text that is no Unicode (half of a surrogate pair).
    """
    used, new_N = np.unique(code_N, return_inverse=True)
    chosen = [texts[int(code)] for code in used]
    try:
        values = pa.array(chosen, type=pa.string())
    except UnicodeEncodeError:
        bad = next(text for text in chosen if not _is_unicode(text))
        raise BadRecord(
            f"the text {bad!r} holds half of a surrogate pair, which no file can hold; repair the"
            " generations file"
        ) from None
    return pa.DictionaryArray.from_arrays(pa.array(new_N.astype(np.int32)), values)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
