"""Activation shards: npz files of at most 1,024 rows with one member per layer, and `rows.jsonl` in the same order.

bfloat16 has no numpy type and float16 can overflow, so bfloat16 is stored as its bits (uint16). Nothing is compressed:
compression of hidden states saves 8 % of the space for a third of the time.
"""

import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rewardscope.errors import BadRecord, MissingInput, UnknownName
from rewardscope.records import ActRow
from rewardscope.storage.files import replacing, sha256, write_text
from rewardscope.storage.jsonl import read_rows, write_rows
from rewardscope.storage.tables import read_json

# Shape legend: N rows, D width.
SHARD_ROWS = 1024
HIDDENS, ROWS, SEQUENCES = "hiddens", "rows.jsonl", "sequences.jsonl"


def _member(layer: int) -> str:
    return f"layer_{layer:02d}"


def shard_file(folder: Path, index: int) -> Path:
    """Return the path of a shard of a `save-acts` folder."""
    return folder / HIDDENS / f"{index:05d}.npz"


def write_shard(path: Path, acts: dict[int, Tensor]) -> None:
    """Write one shard: for each layer a tensor [N, D] in float32 or bfloat16."""
    arrays = {}
    for layer, acts_ND in sorted(acts.items()):
        assert len(acts_ND) <= SHARD_ROWS and acts_ND.dtype in (torch.float32, torch.bfloat16), (acts_ND.shape, acts_ND.dtype)
        bits = acts_ND.view(torch.uint16) if acts_ND.dtype == torch.bfloat16 else acts_ND
        arrays[_member(layer)] = bits.contiguous().cpu().numpy()
    with replacing(path) as temporary, temporary.open("wb") as out:
        np.savez(out, **arrays)


def read_layer(path: Path, layer: int) -> Tensor:
    """Read one layer of one shard as float32 [N, D]; the other layers are not touched."""
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as shard:
            array = shard[_member(layer)]
    except FileNotFoundError:
        raise MissingInput(f"{path} is not there; re-run invoke save-acts") from None
    except KeyError:
        raise BadRecord(f"{path} has no layer {layer}") from None
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise BadRecord(f"{path} is damaged ({error}); delete it and re-run invoke save-acts") from None
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16).float() if tensor.dtype == torch.uint16 else tensor


class ActStore:
    """A finished `save-acts` folder, read layer by layer. Counts come from its manifest, never from a listing."""

    def __init__(self, folder: Path) -> None:
        manifest_path = folder / "manifest.json"
        if not manifest_path.is_file():
            raise MissingInput(f"{folder} has no manifest, so it is not a finished save-acts folder; run invoke save-acts")
        self.folder = folder
        self.manifest = read_json(manifest_path)
        if not {"layers", "width"} <= self.manifest["extra"].keys():
            raise MissingInput(f"{folder} was made by {self.manifest['stage']}; name a save-acts folder")
        self.settings: dict = self.manifest["settings"]
        self.layers: tuple[int, ...] = tuple(self.manifest["extra"]["layers"])
        self.width: int = self.manifest["extra"]["width"]
        self.n_rows: int = self.manifest["rows"]
        self.shards = [folder / name for name in self.manifest["outputs"] if name.startswith(f"{HIDDENS}/")]

    def iter_rows(self) -> Iterator[ActRow]:
        """Yield where each row comes from, in shard order. Raises: BadRecord where their number is not the manifest's."""
        path, count = self.folder / ROWS, 0
        for row in read_rows(path):
            count += 1
            yield ActRow(**row)
        if count != self.n_rows:
            raise BadRecord(f"{path} has {count} rows, its manifest says {self.n_rows}; delete it and re-run invoke save-acts")

    def rows(self) -> list[ActRow]:
        """Read where each row comes from, in shard order."""
        return list(self.iter_rows())

    def sequences(self) -> list[dict]:
        """Read the PRM inputs: problem, trace, tokens (the text of each token), step_ends, scores and correct."""
        return list(read_rows(self.folder / SEQUENCES))

    def check_layers(self, layers: Sequence[int]) -> None:
        """Raises: UnknownName for a layer that was not captured."""
        for layer in layers:
            if layer not in self.layers:
                raise UnknownName(f"layer of {self.folder}", str(layer), [str(known) for known in self.layers])

    def stream_layer(self, layer: int) -> Iterator[Tensor]:
        """Yield float32 [N, D] of one layer, shard by shard."""
        self.check_layers([layer])
        for shard in self.shards:
            yield read_layer(shard, layer)

    def layer(self, layer: int) -> Tensor:
        """Read all rows of one layer, float32 [N, D]."""
        return torch.cat(list(self.stream_layer(layer)))

    def verify(self) -> None:
        """Compare every shard with its checksum. Raises: MissingInput, BadRecord that names the shard."""
        for shard in self.shards:
            if not shard.is_file():
                raise MissingInput(f"{shard} is not there; re-run invoke save-acts")
            if sha256(shard) != self.manifest["outputs"][str(shard.relative_to(self.folder))]:
                raise BadRecord(f"{shard} was altered after it was written; delete it and re-run invoke save-acts")


def write_act_rows(folder: Path, rows: Iterable[ActRow], sequences: Iterable[dict]) -> tuple[Path, Path]:
    """Write `rows.jsonl` and `sequences.jsonl`; return their paths."""
    write_rows(folder / ROWS, (asdict(row) for row in rows))
    write_rows(folder / SEQUENCES, sequences)
    return folder / ROWS, folder / SEQUENCES


class PartialActs:
    """The journal of an unfinished `save-acts` folder, so that a killed run goes on where it was.

    A group is some traces whose shards are whole on disk; its line holds their shards and scores and is written after them.
    The first line is the key of the run: other shards in the folder are removed, never mixed in.
    """

    def __init__(self, folder: Path, key: str, *, resume: bool) -> None:
        self.folder, self.path = folder, folder / ".partial.jsonl"
        lines = self.path.read_text(encoding="utf-8").split("\n")[:-1] if self.path.is_file() else []  # a torn last line is dropped
        groups = [json.loads(line) for line in lines[1:]]
        same = resume and lines[:1] == [key]
        kept = [group for group in groups if same and all((folder / name).is_file() for name in group["shards"])]
        self.done: dict[int, list[tuple[float, ...]]] = {group["group"]: [tuple(scores) for scores in group["scores"]] for group in kept}
        whole = {name for group in kept for name in group["shards"]}
        hiddens = folder / HIDDENS
        for path in (*hiddens.glob("*.npz"), *hiddens.glob(".*.tmp")):  # of another key, or of a group that was not whole
            if str(path.relative_to(folder)) not in whole:
                path.unlink()
        write_text(self.path, "\n".join([key, *(json.dumps(group) for group in kept)]) + "\n")

    def add(self, group: int, *, shards: Sequence[Path], scores: Sequence[tuple[float, ...]]) -> None:
        """Record that the shards of a group are on disk, with the scores of each of its traces."""
        self.done[group] = list(scores)
        line = {"group": group, "shards": [str(path.relative_to(self.folder)) for path in shards], "scores": scores}
        with self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line, allow_nan=False) + "\n")

    def finish(self) -> None:
        """Remove the journal; the manifest takes its place."""
        self.path.unlink()
