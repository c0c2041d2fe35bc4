"""The file format of a saved index (suffix `.ftidx`), little-endian throughout.

    8 bytes   magic "FRAMETAP"
    4 bytes   uint32 format version, now 2
    4 bytes   uint32 length of the header
    ...       header: JSON object with codec, extradata (hex), time_base [num, den], stream_index, width, height,
              average_fps, method, decoded_packets, strict_output, fresh_decoders, prime_decoders, source_size,
              source_hash, packets (M), frames (N), refs (K)
    ...       zlib stream of the arrays of `ARRAYS` in that order, each as byte planes: the lowest byte of every element,
              then the next ...; packet_pts, packet_position and decode_order as differences to the element before
    16 bytes  BLAKE2b digest of everything before it

2 to 9 bytes per frame on videos of 100 frames and more.

A reader refuses other versions, so fields may only change with the number.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
import zlib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from frametap.errors import SourceError

if TYPE_CHECKING:
    from frametap.index import FrameIndex

_MAGIC = b"FRAMETAP"
_VERSION = 2
_DIGEST_BYTES = 16
_FIELDS = (
    "codec",
    "stream_index",
    "width",
    "height",
    "average_fps",
    "method",
    "decoded_packets",
    "strict_output",
    "fresh_decoders",
    "prime_decoders",
    "source_size",
    "source_hash",
)
# Array name -> (element type, which count it has). Positions and timestamps are stored as differences, which compress well.
ARRAYS = {
    "packet_pts": ("<i8", "packets"),
    "packet_duration": ("<i4", "packets"),
    "packet_position": ("<i8", "packets"),
    "packet_size": ("<i4", "packets"),
    "packet_flags": ("<u1", "packets"),
    "ref_counts": ("<u1", "packets"),
    "refs": ("<i4", "refs"),
    "decode_order": ("<i4", "frames"),
}
_DIFFERENCES = ("packet_pts", "packet_position", "decode_order")


def write(path: Path, index: FrameIndex) -> None:
    """Write `index` to `path`, through a temporary file so that a reader never sees half of it."""
    header: dict[str, Any] = {name: getattr(index, name) for name in _FIELDS}
    header["extradata"] = index.extradata.hex()
    header["time_base"] = [index.time_base.numerator, index.time_base.denominator]
    header.update(
        packets=len(index.packet_pts), frames=len(index.decode_order), refs=len(index.refs)
    )
    text = json.dumps(header).encode()
    columns = b"".join(_pack(name, getattr(index, name)) for name in ARRAYS)
    body = b"".join(
        [_MAGIC, struct.pack("<II", _VERSION, len(text)), text, zlib.compress(columns, 6)]
    )
    # A name of its own: others may be writing the same index.
    temporary = path.parent / f".{uuid4().hex}.part"
    try:
        temporary.write_bytes(body + hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest())
        temporary.replace(path)
    except OSError as error:
        raise SourceError(
            f"{path}: the index cannot be written: {error.strerror}; name a file in a folder that you may write to"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _pack(name: str, values: NDArray[Any]) -> bytes:
    """Return an array's bytes, the first byte of every element first: neighbours are alike, so they compress."""
    if name in _DIFFERENCES:
        values = np.diff(values, prepend=values.dtype.type(0))
    values = values.astype(ARRAYS[name][0])
    return values.view(np.uint8).reshape(-1, values.itemsize).T.tobytes()


def _unpack(name: str, data: bytes, count: int, offset: int) -> NDArray[Any]:
    kind = np.dtype(ARRAYS[name][0])
    raw = np.frombuffer(data, np.uint8, count * kind.itemsize, offset).reshape(kind.itemsize, count)
    values: NDArray[Any] = np.ascontiguousarray(raw.T).view(kind).reshape(count)
    return np.cumsum(values, dtype=kind) if name in _DIFFERENCES else values


def read(path: Path) -> dict[str, Any]:
    """Read the fields of a `FrameIndex` from `path`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: the index cannot be read: {error.strerror}") from error
    if data[:8] != _MAGIC or len(data) < 16 + _DIGEST_BYTES:
        raise SourceError(f"{path}: is not a frametap index; make one with `frametap index`")
    version, length = struct.unpack_from("<II", data, 8)
    if version != _VERSION:
        raise SourceError(
            f"{path}: index format {version} is not the {_VERSION} this frametap reads; build it again"
        )
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() != digest:
        raise SourceError(
            f"{path}: the index is damaged (its checksum does not match); build it again"
        )
    header = json.loads(body[16 : 16 + length])
    fields: dict[str, Any] = {name: header[name] for name in _FIELDS}
    fields["extradata"] = bytes.fromhex(header["extradata"])
    fields["time_base"] = Fraction(*header["time_base"])
    columns, offset = zlib.decompress(body[16 + length :]), 0
    for name, (_, count) in ARRAYS.items():
        fields[name] = _unpack(name, columns, header[count], offset)
        offset += fields[name].nbytes
    return fields
