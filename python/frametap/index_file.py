"""The file format of a saved index (suffix `.ftidx`), little-endian throughout.

    8 bytes   magic "FRAMETAP"
    4 bytes   uint32 format version, now 1
    4 bytes   uint32 length of the header
    ...       header: JSON object with codec, time_base [num, den], stream_index, average_fps, method, strict_output, fresh_decoders, prime_decoders,
              source_size, source_hash, packets (M), frames (N)
    ...       the arrays of `ARRAYS` in that order: M or N values each, packed
    16 bytes  BLAKE2b digest of everything before it

29 bytes per frame where every packet is one frame. A reader refuses other versions, so fields may only change with it.
"""

from __future__ import annotations

import hashlib
import json
import struct
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frametap.errors import SourceError

if TYPE_CHECKING:
    from frametap.index import FrameIndex

_MAGIC = b"FRAMETAP"
_VERSION = 1
_DIGEST_BYTES = 16
_FIELDS = ("codec", "stream_index", "average_fps", "method", "strict_output", "fresh_decoders", "prime_decoders", "source_size", "source_hash")
# Array name -> (element type, which count it has).
ARRAYS = {
    "packet_pts": ("<i8", "packets"),
    "packet_duration": ("<i4", "packets"),
    "packet_position": ("<i8", "packets"),
    "packet_size": ("<i4", "packets"),
    "packet_flags": ("<u1", "packets"),
    "decode_order": ("<i4", "frames"),
}


def write(path: Path, index: FrameIndex) -> None:
    """Write `index` to `path`, through a temporary file so that a reader never sees half of it."""
    header: dict[str, Any] = {name: getattr(index, name) for name in _FIELDS}
    header["time_base"] = [index.time_base.numerator, index.time_base.denominator]
    header["packets"], header["frames"] = len(index.packet_pts), len(index.decode_order)
    text = json.dumps(header).encode()
    parts = [_MAGIC, struct.pack("<II", _VERSION, len(text)), text]
    parts += [getattr(index, name).astype(kind).tobytes() for name, (kind, _) in ARRAYS.items()]
    body = b"".join(parts)
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_bytes(body + hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SourceError(f"{path}: the index cannot be written: {error.strerror}") from error


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
        raise SourceError(f"{path}: index format {version} is not the {_VERSION} this frametap reads; build it again")
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() != digest:
        raise SourceError(f"{path}: the index is damaged (its checksum does not match); build it again")
    header = json.loads(body[16 : 16 + length])
    fields: dict[str, Any] = {name: header[name] for name in _FIELDS}
    fields["time_base"] = Fraction(*header["time_base"])
    offset = 16 + length
    for name, (kind, count) in ARRAYS.items():
        fields[name] = np.frombuffer(body, dtype=kind, count=header[count], offset=offset).copy()
        offset += fields[name].nbytes
    return fields
