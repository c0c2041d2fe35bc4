"""Minimal MP4 files, box by box, for what no muxer writes: every table of a track is given as plain numbers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain

HANDLERS = {"vide": b"vmhd", "soun": b"smhd", "text": b"nmhd"}


def box(kind: str, *parts: bytes) -> bytes:
    """Return a box with a 32-bit size."""
    payload = b"".join(parts)
    return struct.pack(">I4s", len(payload) + 8, kind.encode("latin-1")) + payload


def full_box(kind: str, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    """Return a box with version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def u32(*values: int) -> bytes:
    """Return numbers as 32-bit big endian, negative ones in two's complement."""
    return struct.pack(f">{len(values)}I", *(value & 0xFFFFFFFF for value in values))


def u64(*values: int) -> bytes:
    """Return numbers as 64-bit big endian, negative ones in two's complement."""
    return struct.pack(f">{len(values)}Q", *(value & 0xFFFFFFFFFFFFFFFF for value in values))


def table(kind: str, rows: Sequence[Sequence[int]], version: int = 0) -> bytes:
    """Return a full box with a count and rows of 32-bit numbers."""
    return full_box(kind, u32(len(rows), *chain.from_iterable(rows)), version=version)


@dataclass
class Track:
    """The tables of one track, as they are written; None leaves a box out.

    `sizes` are bytes per sample, `chunks` samples per chunk (all in one without), `edits` (duration in movie
    units, media time), `extra` boxes at the end of stbl.
    """

    sizes: Sequence[int]
    stts: Sequence[tuple[int, int]]
    ctts: Sequence[tuple[int, int]] | None = None
    stss: Sequence[int] | None = None
    chunks: Sequence[int] | None = None
    edits: Sequence[tuple[int, int]] | None = None
    timescale: int = 600
    handler: str = "vide"
    entry: str = "cvid"
    track_id: int = 1
    wide: bool = False  # co64, and version 1 of every box that has one
    compact_bits: int = 0  # stz2
    constant_size: bool = False
    dref_flags: int = 1
    extra: Sequence[bytes] = field(default_factory=tuple)


def movie(
    *tracks: Track,
    timescale: int = 1000,
    mdat: str = "plain",
    fast_start: bool = False,
    **boxes: bytes,
) -> bytes:
    """Return a whole file: ftyp, mdat with every track's samples one after another, moov.

    Args:
        tracks: in file order.
        timescale: of the movie.
        mdat: "plain", "large" (64-bit size) or "to_end" (size 0, implies fast_start).
        fast_start: moov before mdat.
        boxes: `head` before everything else of moov, `tail` at the end of the file.
    """
    start = box("ftyp", b"isom", u32(512), b"isommp41")
    data = b"".join(bytes([i % 251 + 1]) * size for t in tracks for i, size in enumerate(t.sizes))
    header = {"plain": u32(len(data) + 8) + b"mdat", "to_end": u32(0) + b"mdat"}.get(
        mdat, u32(1) + b"mdat" + u64(len(data) + 16)
    )
    fast_start = fast_start or mdat == "to_end"
    length = len(_moov(tracks, timescale, 0, boxes.get("head", b""))) if fast_start else 0
    moov = _moov(tracks, timescale, len(start) + len(header) + length, boxes.get("head", b""))
    body = moov + header + data if fast_start else header + data + moov
    return start + body + boxes.get("tail", b"")


def _moov(tracks: Sequence[Track], timescale: int, position: int, head: bytes) -> bytes:
    parts = [head, full_box("mvhd", u32(0, 0, timescale, 0), bytes(80))]
    for track in tracks:
        parts.append(_trak(track, position))
        position += sum(track.sizes)
    return box("moov", *parts)


def _trak(track: Track, position: int) -> bytes:
    wide = int(track.wide)
    times = u64 if wide else u32
    matrix = u32(1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    size = u32(64 << 16, 48 << 16)
    tkhd = [times(0, 0), u32(track.track_id, 0), times(0), bytes(16), matrix, size]
    media = sum(count * delta for count, delta in track.stts)
    mdhd = [times(0, 0), u32(track.timescale), times(media), bytes(4)]
    edts = b""
    if track.edits is not None:
        edits = [times(duration, time) + u32(1 << 16) for duration, time in track.edits]
        edts = box("edts", full_box("elst", u32(len(edits)), *edits, version=wide))
    dref = full_box("dref", u32(1), full_box("url ", flags=track.dref_flags))
    return box(
        "trak",
        full_box("tkhd", *tkhd, version=wide, flags=7),
        edts,
        box(
            "mdia",
            full_box("mdhd", *mdhd, version=wide),
            full_box("hdlr", bytes(4), track.handler.encode(), bytes(13)),
            box(
                "minf",
                full_box(HANDLERS[track.handler].decode(), bytes(8)),
                box("dinf", dref),
                _stbl(track, position),
            ),
        ),
    )


def _stbl(track: Track, position: int) -> bytes:
    entry = box(track.entry, bytes(6), b"\0\1", bytes(16), b"\0\x40\0\x30", bytes(50))
    chunks = list(track.chunks) if track.chunks is not None else [len(track.sizes)]
    bytes_before = list(accumulate(track.sizes, initial=position))
    offsets = [bytes_before[first] for first in list(accumulate(chunks, initial=0))[:-1]]
    parts = [full_box("stsd", u32(1), entry), table("stts", track.stts)]
    if track.ctts is not None:
        parts.append(table("ctts", track.ctts, version=int(track.wide)))
    if track.stss is not None:
        parts.append(table("stss", [(number,) for number in track.stss]))
    parts.append(table("stsc", [(i + 1, count, 1) for i, count in enumerate(chunks)]))
    parts.append(_sizes(track))
    if track.wide:
        parts.append(full_box("co64", u32(len(offsets)), u64(*offsets)))
    else:
        parts.append(full_box("stco", u32(len(offsets)), u32(*offsets)))
    return box("stbl", *parts, *track.extra)


def _sizes(track: Track) -> bytes:
    count = u32(len(track.sizes))
    if track.constant_size:
        return full_box("stsz", u32(track.sizes[0]), count)
    if not track.compact_bits:
        return full_box("stsz", u32(0), count, u32(*track.sizes))
    if track.compact_bits == 4:
        padded = [*track.sizes, 0][: (len(track.sizes) + 1) // 2 * 2]
        packed = bytes(a << 4 | b for a, b in zip(padded[::2], padded[1::2], strict=True))
    else:
        packed = b"".join(size.to_bytes(track.compact_bits // 8, "big") for size in track.sizes)
    return full_box("stz2", u32(track.compact_bits), count, packed)
