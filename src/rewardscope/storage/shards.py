"""Activation shards: npz files of at most 1,024 rows with one member per layer, and `rows.jsonl` in the same order.

bfloat16 has no numpy type and float16 can overflow, so bfloat16 is stored as its bits (uint16). Nothing is compressed:
compression of hidden states saves 8 % of the space for a third of the time.
"""

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rewardscope.errors import BadRecord, MissingInput, UnknownName
from rewardscope.records import ActRow
from rewardscope.storage.files import replacing, sha256
from rewardscope.storage.jsonl import read_rows, write_rows
from rewardscope.storage.tables import read_json

# Shape legend: N rows, D width.
SHARD_ROWS = 1024
HIDDENS = "hiddens"


def _member(layer: int) -> str:
    return f"layer_{layer:02d}"


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
        with np.load(path, allow_pickle=False) as shard:
            array = shard[_member(layer)]
    except FileNotFoundError:
        raise MissingInput(f"{path} is not there; re-run invoke save-acts") from None
    except KeyError:
        raise BadRecord(f"{path} has no layer {layer}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
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
        self.config: dict = self.manifest["config"]
        self.layers: tuple[int, ...] = tuple(self.manifest["extra"]["layers"])
        self.width: int = self.manifest["extra"]["width"]
        self.n_rows: int = self.manifest["rows"]
        self.shards = [folder / name for name in self.manifest["outputs"] if name.startswith(f"{HIDDENS}/")]

    def rows(self) -> list[ActRow]:
        """Read where each row comes from, in shard order."""
        rows = [ActRow(**row) for row in read_rows(self.folder / "rows.jsonl")]
        if len(rows) != self.n_rows:
            raise BadRecord(f"{self.folder}/rows.jsonl has {len(rows)} rows, its manifest says {self.n_rows}; re-run invoke save-acts")
        return rows

    def sequences(self) -> list[dict]:
        """Read the PRM inputs: problem, trace, tokens (the text of each token) and step_ends."""
        return list(read_rows(self.folder / "sequences.jsonl"))

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
        """Compare every shard with its checksum. Raises: BadRecord that names the shard."""
        for shard in self.shards:
            if sha256(shard) != self.manifest["outputs"][str(shard.relative_to(self.folder))]:
                raise BadRecord(f"{shard} was altered after it was written; delete it and re-run invoke save-acts")


def write_act_rows(folder: Path, rows: Sequence[ActRow], sequences: Sequence[dict]) -> None:
    """Write `rows.jsonl` and `sequences.jsonl`."""
    write_rows(folder / "rows.jsonl", (asdict(row) for row in rows))
    write_rows(folder / "sequences.jsonl", sequences)
