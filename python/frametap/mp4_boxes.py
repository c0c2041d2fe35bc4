"""The boxes of an MP4 or QuickTime file: finding `moov` with few reads, and taking it apart. No sample is touched."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import DTypeLike, NDArray

from frametap.source import Source

# Boxes that say so have 8 more, a 64-bit size. They are read on demand, so that a header never costs a byte of a sample.
_HEADER_BYTES = 8
# Boxes of this size or less are read together with the header of the next one: fewer round trips to a remote file.
_SMALL_BOX_BYTES = 4096
# 5 million samples; more than any recording has, and still harmless to hold in memory.
_MAX_MOOV_BYTES = 256 << 20
# Real files have a few hundred boxes, a handful of them at the top; damage can make a megabyte look like 100,000.
_MAX_BOXES = 20_000
_MAX_TOP_LEVEL_BOXES = 2_000
_MAX_DEPTH = 12
# Only these start a file that FFmpeg reads as MP4 or QuickTime without further thought.
_FIRST_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid"})
# Still pictures and their sequences: FFmpeg makes streams of their items.
_PICTURE_BRANDS = frozenset(
    {b"avif", b"avis", b"heic", b"heix", b"hevc", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"}
)
# What FFmpeg's demuxer descends into, whatever holds it. It looks up the other boxes by name alone, wherever they are.
_CONTAINERS = frozenset(
    {
        b"mdia",
        b"minf",
        b"stbl",
        b"dinf",
        b"edts",
        b"tref",
        b"udta",
        b"mvex",
        b"wave",
        b"sinf",
        b"schi",
        b"tapt",
    }
)
# Holds text of many makes, not always boxes.
_FREE_FORM = frozenset({b"udta", b"wave"})


class NotRepresentableError(Exception):
    """The sample tables are absent, damaged, or do not say exactly what FFmpeg delivers; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box in memory: its type and what follows its header."""

    type: bytes
    payload: memoryview


@dataclass(slots=True)
class Leaves:
    """The boxes below one box, by type, wherever they are, in file order; and how many boxes there are."""

    by_type: dict[bytes, list[memoryview]] = field(default_factory=dict)
    count: int = 0

    def all(self, box_type: bytes) -> list[memoryview]:
        """Return the payloads of all boxes of a type."""
        return self.by_type.get(box_type, [])

    def optional(self, box_type: bytes) -> memoryview | None:
        """Return the payload of the only box of a type, None without one.

        Raises:
            NotRepresentableError: several; which of them FFmpeg keeps depends on the type.
        """
        payloads = self.all(box_type)
        if len(payloads) > 1:
            raise NotRepresentableError(f"several {box_type.decode('latin-1')} boxes")
        return payloads[0] if payloads else None

    def one(self, box_type: bytes) -> memoryview:
        """Return the payload of the only box of a type.

        Raises:
            NotRepresentableError: none, or several.
        """
        payload = self.optional(box_type)
        if payload is None:
            raise NotRepresentableError(f"no {box_type.decode('latin-1')} box")
        return payload


def read_moov(source: Source) -> memoryview:
    """Return the payload of `moov`, reading nothing else but box headers and boxes of a few bytes, never `mdat`.

    Every top-level box is visited, because fragments may follow `moov`.

    Raises:
        NotRepresentableError: no MP4 or QuickTime file, or one whose samples `moov` does not list (all).
        SourceError: the source cannot be read.
    """
    end = source.size
    position, moov, ahead = 0, None, b""
    for _ in range(_MAX_TOP_LEVEL_BOXES):
        if position + _HEADER_BYTES > end:
            break
        header = ahead or source.read_at(position, _HEADER_BYTES)
        box_type, header_bytes, size = _read_header(source, position, header, end)
        if not size:
            break
        _check_top_level(box_type, first=position == 0)
        ahead = b""
        wanted = box_type == b"moov" and moov is None
        if wanted and (position + size > end or size > _MAX_MOOV_BYTES):
            raise NotRepresentableError("moov is cut off or absurdly large")
        if wanted or (size <= _SMALL_BOX_BYTES and box_type != b"mdat" and position + size <= end):
            body, ahead = _read_body(source, position + header_bytes, size - header_bytes)
            if wanted:
                moov = body
            elif box_type == b"ftyp":
                _check_brands(bytes(body))
        position += size
    else:
        raise NotRepresentableError("too many boxes")
    if moov is None:
        raise NotRepresentableError("no moov box")
    return moov


def _read_header(source: Source, position: int, header: bytes, end: int) -> tuple[bytes, int, int]:
    """Return (type, header bytes, size with header) of a top-level box; size 0 where FFmpeg would stop reading."""
    if len(header) < _HEADER_BYTES:
        return b"", 0, 0
    size, box_type = struct.unpack(">I4s", header)
    if size == 1:
        size = int.from_bytes(source.read_at(position + _HEADER_BYTES, 8), "big")
        return box_type, 16, size if size >= 16 else 0
    if size == 0:
        return box_type, 8, end - position
    return box_type, 8, size if size >= 8 else 0


def _read_body(source: Source, position: int, size: int) -> tuple[memoryview, bytes]:
    """Return a box's payload, and the header of the box after it."""
    data = source.read_at(position, size + _HEADER_BYTES)
    if len(data) < size:
        raise NotRepresentableError("the file is shorter than it says")
    return memoryview(data)[:size], data[size:]


def _check_top_level(box_type: bytes, *, first: bool) -> None:
    if first and box_type not in _FIRST_BOXES:
        raise NotRepresentableError("not an MP4 or QuickTime file")
    if box_type in (b"moof", b"sidx"):
        raise NotRepresentableError("fragments (moof)")
    if box_type == b"meta":
        raise NotRepresentableError("picture items (meta)")
    if box_type in (b"hoov", b"trak"):
        raise NotRepresentableError("odd top-level box")


def _check_brands(payload: bytes) -> None:
    brands = {payload[i : i + 4] for i in range(0, len(payload) - 3, 4) if i != 4}
    if brands & _PICTURE_BRANDS:
        raise NotRepresentableError("picture items (brand)")


def children(payload: memoryview, *, strict: bool = True) -> Iterator[Box]:
    """Yield the boxes that a container box holds.

    Args:
        payload: what follows the container's header.
        strict: raise where a size does not fit; otherwise stop there.

    Raises:
        NotRepresentableError: a box is larger than what holds it.
    """
    position = 0
    while position + 8 <= len(payload):
        size, box_type = struct.unpack_from(">I4s", payload, position)
        header = 8
        if size == 1 and position + 16 <= len(payload):
            (size,) = struct.unpack_from(">Q", payload, position + 8)
            header = 16
        elif size == 0:
            # "To the end of the file" makes no sense inside; QuickTime ends user data with a size of zero.
            if strict and any(payload[position:]):
                raise NotRepresentableError("damaged box sizes")
            return
        if size < header or position + size > len(payload):
            if strict:
                raise NotRepresentableError("damaged box sizes")
            return
        yield Box(box_type, payload[position + header : position + size])
        position += size


def flatten(payload: memoryview, count: int = 0) -> Leaves:
    """Collect the boxes below a box by type, descending where FFmpeg does.

    Args:
        payload: what follows its header.
        count: boxes seen elsewhere in the file, counted on in `Leaves.count`.

    Raises:
        NotRepresentableError: sizes that do not fit, or more boxes than any real file has.
    """
    leaves = Leaves(count=count)
    _flatten_into(leaves, payload, True, 0)
    return leaves


def _flatten_into(leaves: Leaves, payload: memoryview, strict: bool, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise NotRepresentableError("boxes nested too deeply")
    for box in children(payload, strict=strict):
        leaves.count += 1
        if leaves.count > _MAX_BOXES:
            raise NotRepresentableError("too many boxes")
        leaves.by_type.setdefault(box.type, []).append(box.payload)
        if box.type in _CONTAINERS:
            _flatten_into(leaves, box.payload, strict and box.type not in _FREE_FORM, depth + 1)


def number(payload: memoryview, offset: int, bytes_: int = 4) -> int:
    """Return the big-endian unsigned number at an offset.

    Raises:
        NotRepresentableError: the box ends before it.
    """
    data = payload[offset : offset + bytes_]
    if len(data) < bytes_:
        raise NotRepresentableError("a box is too short")
    return int.from_bytes(data, "big")


def version(payload: memoryview) -> int:
    """Return the version of a full box."""
    return number(payload, 0, 1)


def rows(payload: memoryview, offset: int, dtype: DTypeLike, columns: int) -> NDArray[np.int64]:
    """Return int64[N, columns]: the table that a count of 4 bytes at `offset` introduces.

    Args:
        payload: a full box after its header, version and flags included.
        offset: where the count is.
        dtype: big-endian integer type of every column.
        columns: values per row.

    Raises:
        NotRepresentableError: the box does not hold that many rows.
    """
    count = number(payload, offset)
    kind = np.dtype(dtype)
    if count * columns * kind.itemsize > len(payload) - offset - 4:
        raise NotRepresentableError("a table is larger than its box")
    values = np.frombuffer(payload, dtype=kind, count=count * columns, offset=offset + 4)
    return values.reshape(count, columns).astype(np.int64)
