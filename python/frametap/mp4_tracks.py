"""One track of an MP4 or QuickTime file: finding FFmpeg's video stream, and unrolling its sample tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from frametap.mp4_boxes import (
    Leaves,
    NotRepresentableError,
    children,
    flatten,
    number,
    rows,
    version,
)
from frametap.mp4_entries import is_never_video

Numbers: TypeAlias = NDArray[np.int64]

# Constant-size samples need no table of their own, so nothing else bounds their number: 9 hours at 30 fps.
_MAX_CONSTANT_SIZE_SAMPLES = 1 << 20
# 38 hours at 60 fps: more is damage, and would cost gigabytes to unroll.
_MAX_SAMPLES = 1 << 23
# FFmpeg refuses larger packets.
_MAX_SAMPLE_BYTES = 0x3FFFFFFF
# FFmpeg takes larger offsets for damage and forgets all of them.
_MAX_COMPOSITION_OFFSET = 1 << 28
# FFmpeg takes larger durations for negative numbers or damage.
_MAX_SAMPLE_DURATION = 1 << 31
_INT32_MAX = 2**31 - 1
# An alias record longer than this can name another file (QuickTime).
_MAX_SELF_REFERENCE_BYTES = 150
# Handlers of tracks that FFmpeg never takes for video.
_NOT_VIDEO_HANDLERS = frozenset({b"soun", b"subp", b"clcp"})


@dataclass(frozen=True, slots=True)
class Movie:
    """What surrounds the tables of the chosen track."""

    timescale: int
    stream_index: int
    track: Leaves
    edits_apply: bool


def find_video_track(moov: memoryview, stream_index: int | None = None) -> Movie:
    """Choose the track that is FFmpeg's first video stream, or the one that is this stream.

    Raises:
        NotRepresentableError: there is none, or what FFmpeg would choose is uncertain.
    """
    timescale, edits_apply, boxes = 0, True, 0
    tracks: list[Leaves] = []
    chosen: int | None = None
    for box in children(moov):
        if box.type in (b"cmov", b"dcom"):
            raise NotRepresentableError("compressed moov")
        if box.type == b"mvhd":
            if timescale or tracks:
                raise NotRepresentableError("misplaced mvhd")
            timescale = number(box.payload, 20 if version(box.payload) == 1 else 12)
        if chosen is None and box.type in (b"udta", b"meta") and b"covr" in bytes(box.payload):
            raise NotRepresentableError("cover pictures before the tracks")
        if box.type != b"trak":
            continue
        track = flatten(box.payload, boxes)
        boxes = track.count
        if chosen is None:
            # One track without samples makes FFmpeg ignore the edit lists of those that follow.
            edits_apply = edits_apply and _has_samples(track)
            if stream_index in (None, len(tracks)) and _is_video(track):
                chosen = len(tracks)
        tracks.append(track)
    if chosen is None:
        raise NotRepresentableError("no video track")
    if not 0 < timescale <= _INT32_MAX:
        raise NotRepresentableError("no movie timescale")
    if _track_id(tracks[chosen]) in _thumbnail_tracks(tracks):
        raise NotRepresentableError("the video track is chapter thumbnails")
    return Movie(timescale, chosen, tracks[chosen], edits_apply)


def _thumbnail_tracks(tracks: list[Leaves]) -> set[int]:
    """Return the ids of the tracks that others refer to for their chapters."""
    references = [payload for track in tracks for payload in track.all(b"chap")]
    return {number(payload, i) for payload in references for i in range(0, len(payload) - 3, 4)}


def _has_samples(track: Leaves) -> bool:
    return any(number(payload, 4) for payload in track.all(b"stts"))


def _is_video(track: Leaves) -> bool:
    """Say whether FFmpeg takes a track for video: by its handler, else by its sample entry."""
    known = _NOT_VIDEO_HANDLERS | {b"vide"}
    handlers = known & {bytes(payload[8:12]) for payload in track.all(b"hdlr")}
    if len(handlers) > 1:
        raise NotRepresentableError("contradictory handlers")
    if handlers:
        return handlers == {b"vide"}
    entries = {box.type for payload in track.all(b"stsd") for box in children(payload[8:])}
    if not all(map(is_never_video, entries)):
        raise NotRepresentableError("a track of unknown kind comes before the video")
    return False


def _track_id(track: Leaves) -> int:
    header = track.one(b"tkhd")
    return number(header, 20 if version(header) == 1 else 12)


def display_matrix(track: Leaves) -> NDArray[np.int32]:
    """Return int32[9], the matrix of tkhd."""
    header = track.one(b"tkhd")
    start = 52 if version(header) == 1 else 40
    if len(header) < start + 36:
        raise NotRepresentableError("a box is too short")
    return np.frombuffer(header, dtype=">i4", count=9, offset=start).astype(np.int32)


def check_data_references(track: Leaves) -> None:
    """Refuse tracks whose samples may be in another file."""
    payload = track.optional(b"dref")
    for reference in children(payload[8:], strict=False) if payload is not None else ():
        in_this_file = number(reference.payload, 3, 1) & 1
        if not in_this_file or len(reference.payload) > _MAX_SELF_REFERENCE_BYTES:
            raise NotRepresentableError("samples in another file")


def media_header(track: Leaves) -> tuple[int, int]:
    """Return (units per second, duration in them)."""
    header = track.one(b"mdhd")
    if version(header) > 1:
        raise NotRepresentableError("unknown mdhd version")
    timescale = number(header, 20 if version(header) else 12)
    duration = number(header, 24, 8) if version(header) else number(header, 16)
    if not 0 < timescale <= _INT32_MAX:
        raise NotRepresentableError("timescale 0")
    return timescale, duration


@dataclass(frozen=True, slots=True)
class Samples:
    """One value per sample in decode order; `offset` is pts minus dts, None without ctts."""

    duration: Numbers
    offset: Numbers | None
    position: Numbers
    size: Numbers
    keyframe: NDArray[np.bool_]

    def dts(self) -> Numbers:
        """Return int64[N], decode times from 0 on.

        FFmpeg moves them down when offsets are negative, so that none is later than its pts; every pts stays the same.
        """
        return np.cumsum(self.duration) - self.duration

    def pts(self) -> Numbers:
        """Return int64[N], presentation times before edits."""
        return self.dts() if self.offset is None else self.dts() + self.offset


def read_samples(track: Leaves, file_size: int) -> Samples:
    """Unroll the sample tables of a track.

    Raises:
        NotRepresentableError: tables that are missing, disagree, or point outside the file.
    """
    size = _sizes(track, file_size)
    count = len(size)
    position = _positions(track, size, file_size)
    if (position + size > file_size).any():
        raise NotRepresentableError("samples beyond the end of the file")
    offset = _composition_offsets(track, count)
    return Samples(_durations(track, count), offset, position, size, _sync_samples(track, count))


def _sizes(track: Leaves, file_size: int) -> Numbers:
    """Return int64[N] bytes of each sample, from stsz or stz2."""
    compact = track.optional(b"stz2")
    if compact is not None and track.optional(b"stsz") is not None:
        raise NotRepresentableError("both stsz and stz2")
    payload = track.one(b"stsz") if compact is None else compact
    constant, count = number(payload, 4), number(payload, 8)
    if not count:
        raise NotRepresentableError("no samples")
    if count > _MAX_SAMPLES:
        raise NotRepresentableError("absurd sizes")
    if compact is None and constant:
        if count * constant > file_size or count > _MAX_CONSTANT_SIZE_SAMPLES:
            raise NotRepresentableError("absurd sizes")
        return np.full(count, constant, dtype=np.int64)
    bits = 32 if compact is None else constant & 0xFF
    if bits == 4:
        if (count + 1) // 2 > len(payload) - 12:
            raise NotRepresentableError("a table is larger than its box")
        pairs = np.frombuffer(payload, dtype=np.uint8, count=(count + 1) // 2, offset=12)
        return np.stack([pairs >> 4, pairs & 15], axis=1).ravel()[:count].astype(np.int64)
    if bits not in (8, 16, 32):
        raise NotRepresentableError("unknown stz2 field size")
    size = rows(payload, 8, f">u{bits // 8}", 1)[:, 0]
    if (size > _MAX_SAMPLE_BYTES).any():
        raise NotRepresentableError("absurd sizes")
    return size


def _positions(track: Leaves, size: Numbers, file_size: int) -> Numbers:
    """Return int64[N] byte offsets: samples follow each other within a chunk."""
    chunk = _chunk_offsets(track, file_size)
    first, per_chunk, description = rows(track.one(b"stsc"), 4, ">u4", 3).T
    ascending = len(first) > 0 and first[0] == 1 and bool((np.diff(first) > 0).all())
    if not ascending or first[-1] > len(chunk) or not per_chunk.all():
        raise NotRepresentableError("inconsistent stsc")
    if (description != 1).any():
        raise NotRepresentableError("several sample descriptions")
    chunks = np.diff(first, append=len(chunk) + 1)
    if int((chunks * per_chunk).sum()) != len(size):
        raise NotRepresentableError("sample counts differ")
    per_chunk = np.repeat(per_chunk, chunks)
    bytes_before = np.cumsum(size) - size
    first_sample = np.cumsum(per_chunk) - per_chunk
    position: Numbers = bytes_before + np.repeat(chunk - bytes_before[first_sample], per_chunk)
    return position


def _chunk_offsets(track: Leaves, file_size: int) -> Numbers:
    small, large = track.optional(b"stco"), track.optional(b"co64")
    if small is not None and large is not None:
        raise NotRepresentableError("both stco and co64")
    chunk = rows(track.one(b"stco"), 4, ">u4", 1) if large is None else rows(large, 4, ">i8", 1)
    if ((chunk < 0) | (chunk > file_size)).any():
        raise NotRepresentableError("samples beyond the end of the file")
    return chunk[:, 0]


def _expand(values: Numbers, counts: Numbers, total: int) -> Numbers:
    """Return each value repeated `count` times, cut at `total`."""
    ends = np.minimum(np.cumsum(counts), total)
    return np.repeat(values, np.diff(ends, prepend=0))


def _durations(track: Leaves, count: int) -> Numbers:
    counts, deltas = rows(track.one(b"stts"), 4, ">u4", 2).T
    if not counts.all() or (deltas >= _MAX_SAMPLE_DURATION).any():
        raise NotRepresentableError("odd stts")
    if int(counts.sum()) != count:
        raise NotRepresentableError("sample counts differ")
    return np.repeat(deltas, counts)


def _composition_offsets(track: Leaves, count: int) -> Numbers | None:
    """Return int64[N], pts minus dts of each sample; FFmpeg reads them as signed in every version of the box."""
    payload = track.optional(b"ctts")
    if payload is None:
        return None
    counts, offsets = rows(payload, 4, ">i4", 2).T
    if not (counts > 0).any():
        return None
    if (np.abs(offsets) > _MAX_COMPOSITION_OFFSET).any():
        raise NotRepresentableError("odd ctts")
    offset = _expand(offsets, counts.clip(0), count)
    return np.append(offset, np.zeros(count - len(offset), dtype=np.int64))


def _sync_samples(track: Leaves, count: int) -> NDArray[np.bool_]:
    """Return bool[N] from stss, stps and the "rap " sample group, as FFmpeg combines them."""
    sync, partial = track.optional(b"stss"), track.optional(b"stps")
    groups = [p for p in track.all(b"sbgp") if bytes(p[4:8]) == b"rap "]
    keyframe = np.full(count, sync is None, dtype=np.bool_)
    lists = [rows(payload, 4, ">u4", 1)[:, 0] for payload in (sync, partial) if payload is not None]
    for listed in lists:
        # FFmpeg walks along the list, and gets no further than an entry that is out of order.
        if len(listed) and (listed[0] == 0 or (np.diff(listed) <= 0).any()):
            raise NotRepresentableError("odd stss")
        keyframe[listed[listed <= count] - 1] = True
    listed_twice = len(set().union(*(x.tolist() for x in lists))) < sum(map(len, lists))
    if listed_twice or len(groups) > 1:
        raise NotRepresentableError("odd stss")
    for payload in groups:
        counts, description = rows(payload, 12 if version(payload) == 1 else 8, ">u4", 2).T
        if not counts.all():
            raise NotRepresentableError("odd sample groups")
        member = _expand(description, counts, count)
        keyframe[: len(member)] |= member > 0
    if not groups and not any(map(len, lists)):
        keyframe[0] = True
    return keyframe


def dependencies(track: Leaves, count: int, kept: Numbers) -> NDArray[np.uint8] | None:
    """Return uint8[len(kept)], sample_is_depended_on of the samples `kept` out of `count`, None without sdtp."""
    payload = track.optional(b"sdtp")
    if payload is None or len(payload) - 4 != count:
        return None
    values = np.frombuffer(payload, dtype=np.uint8, offset=4)
    return ((values[kept] >> 2) & 3).astype(np.uint8)
