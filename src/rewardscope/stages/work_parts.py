"""Parts of one stage for a job array: each part has a file of its own, and the last one done joins
them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from rewardscope.errors import ConfigError
from rewardscope.log import get_logger
from rewardscope.stage import Stage
from rewardscope.storage.files import manifest_of
from rewardscope.storage.jsonl import read_rows, write_rows
from rewardscope.storage.tables import read_json

T = TypeVar("T")


def check_part(part: int, total: int) -> None:
    """Raises: ConfigError where `part`, counted from 1, is none of `total`."""
    if not 1 <= part <= total:
        raise ConfigError(
            f"--part {part} --total {total}: the part must be between 1 and the total"
        )


def deal(items: Sequence[T], *, part: int, total: int) -> list[T]:
    """Return the items of a part (from 1): runs of neighbours, sizes within one of each other."""
    return list(items[(part - 1) * len(items) // total : part * len(items) // total])


def part_file(out: Path, part: int, total: int) -> Path:
    """Return where a part of `out` is written; a single part is `out` itself."""
    return (
        out if total == 1 else out.with_name(f"{out.stem}.part-{part:02}-of-{total:02}{out.suffix}")
    )


def join_parts(whole: Stage, *, total: int) -> None:
    """Write the file of all parts where each is there; it is that of one run, but for times."""
    if total == 1:
        return
    parts = [part_file(whole.out, part, total) for part in range(1, total + 1)]
    manifests = [read_json(manifest_of(part)) for part in parts if manifest_of(part).is_file()]
    there = [manifest for manifest in manifests if manifest["key"] == whole.key]
    if len(there) < total:
        get_logger().info(f"{whole.name}: {len(there)} of {total} parts of {whole.out} are there")
        return
    if whole.is_done():
        return
    with whole:
        rows = write_rows(whole.out, (row for part in parts for row in read_rows(part)))
        skipped = {
            reason: sum(m["skipped"].get(reason, 0) for m in there)
            for m in there
            for reason in m["skipped"]
        }
        whole.finish(
            [whole.out], rows=rows, skipped=skipped, extra={**there[0]["extra"], "parts": total}
        )
