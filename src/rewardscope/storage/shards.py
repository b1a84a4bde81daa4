"""Activation shards: npz files of at most 1,024 rows with one member per layer.

bfloat16 has no numpy type and float16 can overflow, so bfloat16 is stored as its bits (uint16).
Nothing is compressed: compression of hidden states saves 8 % of the space for a third of the time.
"""

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.storage.files import replacing
from rewardscope.storage.journal import HIDDENS, ShardMark

# Shape legend: N rows, D width.
SHARD_ROWS = 1024


def _member(layer: int) -> str:
    return f"layer_{layer:02d}"


def shard_file(folder: Path, index: int) -> Path:
    """Return the path of a shard of a `save-acts` folder."""
    return folder / HIDDENS / f"{index:05d}.npz"


def write_shard(path: Path, acts: Mapping[int, Sequence[Tensor]]) -> ShardMark:
    """Write one shard of a folder: for each layer its rows, in tensors [N, D] in float32 or
    bfloat16. Return what was written.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        out = _HashedFile(file)
        with zipfile.ZipFile(out, "w") as archive:
            for layer, pieces in sorted(acts.items()):
                with archive.open(f"{_member(layer)}.npy", "w") as member:
                    _write_array(member, pieces)
    state = path.stat()
    return ShardMark(
        name=f"{path.parent.name}/{path.name}",
        bytes=state.st_size,
        mtime_ns=state.st_mtime_ns,
        sha256=out.hash.hexdigest(),
        members=_hash_members(archive),
    )


class _HashedFile:
    """A file that is written from its beginning to its end, with the hash of what was meant to be
    in it: it is not read again.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.hash = file, hashlib.sha256()

    def write(self, data: bytes | memoryview) -> int:
        self.hash.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _write_array(out: IO[bytes], pieces: Sequence[Tensor]) -> None:
    """Write the npy form of the rows of all pieces, one after the other."""
    first, n_rows = pieces[0], sum(map(len, pieces))
    assert n_rows <= SHARD_ROWS and first.dtype in (torch.float32, torch.bfloat16), (
        n_rows,
        first.dtype,
    )
    descr = "<u2" if first.dtype == torch.bfloat16 else "<f4"
    np.lib.format.write_array_header_1_0(
        out, {"descr": descr, "fortran_order": False, "shape": (n_rows, first.shape[1])}
    )
    for piece_ND in pieces:
        assert piece_ND.dtype == first.dtype and piece_ND.shape[1] == first.shape[1], (
            piece_ND.dtype,
            piece_ND.shape,
        )
        bits = piece_ND.view(torch.uint16) if piece_ND.dtype == torch.bfloat16 else piece_ND
        out.write(bits.contiguous().cpu().numpy().data)


def _members(file: BinaryIO) -> str:
    """Return the hash of the members of a shard, which are listed at the end of the file."""
    with zipfile.ZipFile(file) as archive:
        return _hash_members(archive)


def _hash_members(archive: zipfile.ZipFile) -> str:
    """Return a hash of the members' names, sizes and checksums."""
    listed = [f"{info.filename} {info.file_size} {info.CRC:08x}" for info in archive.infolist()]
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()[:16]


def check_shard(path: Path, *, n_bytes: int, members: str) -> None:
    """Compare size and members of a shard with what was written, without reading the states.

    What changes the states alone is found when they are read: each member has a checksum.
    Raises: MissingInput, BadRecord that names the shard.
    """
    if not path.is_file():
        raise MissingInput(f"{path} is not there; re-run invoke save-acts")
    size = path.stat().st_size
    if size != n_bytes:
        raise BadRecord(
            f"{path} is damaged ({size} bytes, {n_bytes} were written); re-run invoke save-acts"
        )
    try:
        with path.open("rb") as file:
            same = _members(file) == members
    except (OSError, ValueError, zipfile.BadZipFile):
        same = False
    if not same:
        raise BadRecord(
            f"{path} is damaged (its members are not those that were written); delete it and"
            " re-run invoke save-acts"
        )


def read_layer(path: Path, layer: int) -> Tensor:
    """Read one layer of one shard as float32 [N, D]; the other layers are not touched."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as shard:
            info = shard.getinfo(f"{_member(layer)}.npy")
            array = (
                _read_stored(file, info)
                if info.compress_type == zipfile.ZIP_STORED
                else np.lib.format.read_array(shard.open(info))
            )
    except FileNotFoundError:
        raise MissingInput(f"{path} is not there; re-run invoke save-acts") from None
    except KeyError:
        raise BadRecord(f"{path} has no layer {layer}") from None
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise BadRecord(
            f"{path} is damaged ({error}); delete it and re-run invoke save-acts"
        ) from None
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16).float() if tensor.dtype == torch.uint16 else tensor


def _read_stored(file: BinaryIO, info: zipfile.ZipInfo) -> NDArray:
    """Read a member that is not compressed from the file itself, in one piece: through zipfile,
    numpy reads and copies many.
    """
    file.seek(info.header_offset + 26)
    name, extra = file.read(2), file.read(2)  # how long the two are that stand before the data
    file.seek(int.from_bytes(name, "little") + int.from_bytes(extra, "little"), os.SEEK_CUR)
    data = np.fromfile(file, dtype=np.uint8, count=min(info.file_size, info.compress_size))
    if len(data) != info.file_size or zlib.crc32(data.data) != info.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for {info.filename!r}")
    header = io.BytesIO(data[:1024].tobytes())  # numpy writes 128 bytes
    np.lib.format.read_magic(header)
    shape, by_column, dtype = np.lib.format.read_array_header_1_0(header)
    return data[header.tell() :].view(dtype).reshape(shape, order="F" if by_column else "C")
