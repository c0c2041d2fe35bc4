"""Which frames a video has, when each is shown, and which packets it takes to get at it: `FrameIndex`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frametap import index_file
from frametap._core import REFERENCE, REFS_KNOWN, RESET, START
from frametap.errors import SourceError
from frametap.source import Source, SourceLike

# The most pictures that a decoder of any codec holds back to bring them into order: MaxDpbFrames of H.264 (A.3.1), 16 in
# HEVC too (A.4.2).
MAX_REORDER = 16


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """Every frame of a video in presentation order, and every packet in decode order. Immutable, picklable, exact.

    Frame `i` is the i-th frame a player shows, just as decoding the whole file with FFmpeg yields them; frames that an
    edit list hides do not count. `FrameIndex.build` reads the sample tables of an MP4 or MOV, else the headers of all packets; a
    stream whose headers cannot tell (missing timestamps, damage) is decoded once, one that begins between keyframes, or has
    fields in packets of their own, up to the second keyframe. `method` and `decoded_packets` say which.

    Attributes:
        codec: FFmpeg codec name.
        extradata: the stream's codec configuration (avcC, hvcC, parameter sets ...).
        time_base: seconds per pts unit.
        stream_index: which stream of the container.
        width: luma samples of a picture as decoded, by the headers; a stream may change its size on the way.
        height: likewise.
        average_fps: frames per second: the rate the container announces where the timestamps keep to it within one tick,
            otherwise frames over the time they are on screen.
        method: what the frame numbers rest on: "tables" (of an MP4 or MOV), "headers" (of all packets) or "decode".
        decoded_packets: how many packets, from the first on, were decoded to find their frames: with "decode" all, with
            "headers" those before the second keyframe of a stream that begins between keyframes, else none.
        strict_output: H.264 whose reorder depth FFmpeg guesses too low (see `Container`).
        fresh_decoders: parameter sets change on the way, so a decoder that has seen later packets cannot go back.
        prime_decoders: a decoder must see the first packet before any other part decodes as in one go (old x264 streams).
        source_size: bytes of the source it was made of.
        source_hash: hash of the first bytes of that source.
        packet_pts: int64[M], pts of each packet in time_base units; missing ones are filled in for packets that yield frames.
        packet_duration: int32[M], time_base units, 0 when the container does not say.
        packet_position: int64[M], byte offset in the source, -1 when the container does not say.
        packet_size: int32[M], bytes.
        packet_flags: uint8[M], PARSED | START | RESET | REFERENCE | SHOWN | REFS_KNOWN as `frametap._core` defines them.
        ref_counts: uint8[M], how many packets each packet with REFS_KNOWN needs to be decoded.
        refs: int32[ref_counts.sum()], how many packets back those lie, packet after packet.
        decode_order: int32[N], for each frame the number of the packet (in decode order) that it comes from.

    Example:
        >>> import frametap as ft
        >>> index = ft.FrameIndex.build("talk.mp4")
        >>> len(index) == len(index.pts_seconds)
        True
    """

    codec: str
    extradata: bytes
    time_base: Fraction
    stream_index: int
    width: int
    height: int
    average_fps: float
    method: str
    decoded_packets: int
    strict_output: bool
    fresh_decoders: bool
    prime_decoders: bool
    source_size: int
    source_hash: str
    packet_pts: NDArray[np.int64]
    packet_duration: NDArray[np.int32]
    packet_position: NDArray[np.int64]
    packet_size: NDArray[np.int32]
    packet_flags: NDArray[np.uint8]
    ref_counts: NDArray[np.uint8]
    refs: NDArray[np.int32]
    decode_order: NDArray[np.int32]

    def __post_init__(self) -> None:
        """Freeze the arrays: an index is shared between threads."""
        for name in index_file.ARRAYS:
            getattr(self, name).flags.writeable = False

    def __reduce__(self) -> tuple[type[FrameIndex], tuple[Any, ...]]:
        """Pickle the fields alone: what is derived from them is made again when needed."""
        return FrameIndex, tuple(getattr(self, f.name) for f in fields(self))

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.decode_order)

    def __repr__(self) -> str:
        """Return a one-line summary."""
        seconds = self.end_seconds - float(self.pts_seconds.min()) if len(self) else 0.0
        return (
            f"FrameIndex({len(self)} frames, {seconds:.2f} s, {int(self.keyframes.sum())} keyframes, {self.codec}, "
            f"from {self.method})"
        )

    @staticmethod
    def build(
        source: SourceLike, *, tables: bool = True, stream_index: int | None = None
    ) -> FrameIndex:
        """Index a video by its sample tables, its packet headers, or by decoding it once, whichever is the first to be exact.

        Args:
            source: path, bytes, or seekable binary file object.
            tables: False scans the packets even where sample tables would do.
            stream_index: which stream, as in `VideoReader`; the index remembers it.

        Raises:
            SourceError: no video in it, or no such video stream.
            DecodeError: nothing of it can be decoded.
        """
        from frametap.index_build import build_index

        index, container = build_index(Source.of(source, stream_index), tables=tables)
        container.close()
        return index

    @cached_property
    def pts(self) -> NDArray[np.int64]:
        """int64[N]: presentation timestamps in `time_base` units."""
        return self.packet_pts[self.decode_order]

    @cached_property
    def duration(self) -> NDArray[np.int64]:
        """int64[N]: how long each frame is on screen, in `time_base` units.

        Where the container does not say it is the time until the next frame.
        """
        duration = self.packet_duration[self.decode_order].astype(np.int64)
        gaps = np.diff(self.pts)
        typical = int(np.median(gaps[gaps > 0])) if (gaps > 0).any() else self._nominal_duration
        until_next = np.append(np.where(gaps > 0, gaps, typical), typical)
        return np.where(duration > 0, duration, until_next)

    @property
    def _nominal_duration(self) -> int:
        return max(1, round(1 / ((self.average_fps or 25.0) * self.time_base)))

    @cached_property
    def pts_seconds(self) -> NDArray[np.float64]:
        """float64[N]: `pts * time_base`."""
        return self._seconds(self.pts)

    @cached_property
    def duration_seconds(self) -> NDArray[np.float64]:
        """float64[N]: `duration * time_base`."""
        return self._seconds(self.duration)

    def _seconds(self, ticks: NDArray[np.int64]) -> NDArray[np.float64]:
        # One multiplication in integers and one division: the float nearest to the true value, as float(Fraction) gives.
        return ticks * self.time_base.numerator / self.time_base.denominator

    @property
    def end_seconds(self) -> float:
        """When the frame with the greatest timestamp leaves the screen."""
        if len(self) == 0:
            return 0.0
        last = len(self) - 1 - int(self.pts[::-1].argmax())
        return float(self.pts_seconds[last] + self.duration_seconds[last])

    @cached_property
    def keyframes(self) -> NDArray[np.bool_]:
        """bool[N]: frames with which decoding can start."""
        starts: NDArray[np.bool_] = (self.packet_flags[self.decode_order] & START) != 0
        return starts

    @property
    def position(self) -> NDArray[np.int64]:
        """int64[N]: byte offset of each frame's packet, -1 where unknown."""
        return self.packet_position[self.decode_order]

    @property
    def size(self) -> NDArray[np.int32]:
        """int32[N]: bytes of each frame's packet."""
        return self.packet_size[self.decode_order]

    def byte_ranges(self, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return where in the source packets [start, stop) of each span lie, [begin, end) each, where that is known."""
        ranges: list[tuple[int, int]] = []
        for start, stop in spans:
            begin, size = self.packet_position[start:stop], self.packet_size[start:stop]
            known = begin >= 0
            ranges += zip(begin[known].tolist(), (begin + size)[known].tolist(), strict=True)
        return ranges

    def played_at(self, seconds: Any) -> NDArray[np.int64]:
        """Return the numbers of the frames on screen at the given times: the last frame with pts <= t.

        Args:
            seconds: one time or a sequence of them, in container seconds.

        Raises:
            IndexError: a time before the first frame, or at or after the end.
        """
        times = np.atleast_1d(np.asarray(seconds, dtype=np.float64))
        # Times come in as decimal seconds: half a nanosecond of slack lets 0.1 find the frame whose pts is 0.1.
        first, end = float(self._search_times[0]), self.end_seconds
        bad = times[~((times >= first - 5e-10) & (times < end))]
        if bad.size:
            raise IndexError(
                f"no frame is on screen at {bad[0]:g} s: the video is on screen from {first:g} to {end:g} s"
            )
        return (
            (np.searchsorted(self._search_times, times + 5e-10, side="right") - 1)
            .clip(0)
            .astype(np.int64)
        )

    @cached_property
    def _search_times(self) -> NDArray[np.float64]:
        # Some broken files show frames with falling timestamps; a player shows the later one from then on.
        return np.maximum.accumulate(self.pts_seconds)

    @cached_property
    def frame_of_packet(self) -> NDArray[np.int32]:
        """int32[M]: the (first) frame that each packet yields, -1 for packets that yield none."""
        frames = np.full(len(self.packet_pts), -1, dtype=np.int32)
        frames[self.decode_order[::-1]] = np.arange(len(self) - 1, -1, -1, dtype=np.int32)
        return frames

    @cached_property
    def has_leading_pictures(self) -> bool:
        """Whether some keyframe is followed, in decode order, by pictures that are shown before it (open GOP)."""
        packets = np.flatnonzero(self.frame_of_packet >= 0)
        frames = self.frame_of_packet[packets]
        first_later = np.minimum.accumulate(frames[::-1])[::-1]
        return bool(((first_later < frames) & ((self.packet_flags[packets] & START) != 0)).any())

    @cached_property
    def ref_offsets(self) -> NDArray[np.int64]:
        """int64[M + 1]: where the entries of each packet begin in `refs`."""
        return np.append(0, np.cumsum(self.ref_counts, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes of memory its arrays take."""
        return sum(getattr(self, name).nbytes for name in index_file.ARRAYS)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to one file (see `frametap.index_file` for the format).

        Raises:
            SourceError: the file cannot be written.
        """
        index_file.write(Path(path), self)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> FrameIndex:
        """Read an index that `save` wrote.

        Raises:
            SourceError: no such file, not an index, damaged, or written by a newer frametap.
        """
        return FrameIndex(**index_file.read(Path(path)))

    def check(self, source: Source) -> None:
        """Refuse a source that is not the one this index was made of.

        Raises:
            SourceError: its size or its first bytes differ.
        """
        size, digest = source.fingerprint()
        if size != self.source_size:
            what = f"it has {size} bytes, the indexed file had {self.source_size}"
        elif digest != self.source_hash:
            what = "it has the same size but other contents"
        else:
            return
        raise SourceError(
            f"{source.name}: is not the file this index was made of: {what}; build the index again"
        )


__all__ = ["REFERENCE", "REFS_KNOWN", "RESET", "START", "FrameIndex"]
