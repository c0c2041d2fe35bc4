"""The sample tables of an MP4 or QuickTime file as FFmpeg's demuxer delivers them, at the cost of reading `moov`.

Nothing is decoded and no byte of `mdat` is read. Files whose tables do not say exactly which packets FFmpeg delivers
(fragments, damage, several sample descriptions ...) are refused, and the packet scan takes over.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from frametap.mp4_boxes import NotRepresentableError, number, read_moov
from frametap.mp4_entries import check_keyframes, sample_entry
from frametap.mp4_tracks import (
    Movie,
    Numbers,
    Samples,
    check_data_references,
    dependencies,
    display_matrix,
    find_video_track,
    media_header,
    read_samples,
)
from frametap.source import Source

# Editors write a few dozen edits; each is a pass over the samples.
_MAX_EDITS = 256
_MAX_EDITED_SAMPLES = 1 << 25
_MAX_EDIT_TIME = 1 << 52


@dataclass(frozen=True, slots=True, eq=False)
class SampleTables:
    """The packets of the video stream in decode order, as FFmpeg's demuxer would deliver them.

    Attributes:
        stream_index: which stream of FFmpeg's container: tracks count in file order.
        codec_tag: sample entry type, "avc1" for instance.
        time_base: seconds per unit of pts and duration.
        average_fps: samples over their durations, before edits; 0.0 if unknown.
        stream_duration: of the stream in time_base units, after edits.
        width: luma samples, as the sample entry says.
        height: luma samples, as the sample entry says.
        display_matrix: int32[9] as in tkhd, rows of (16.16, 16.16, 2.30).
        num_samples: samples in the tables; edits can hide, leave out or repeat some.
        pts: int64[M], presentation timestamps after edits.
        duration: int32[M], never 0.
        position: int64[M], byte offset in the file.
        size: int32[M], bytes.
        keyframe: bool[M], the sync samples listed. For H.264, VP8, VP9 and AV1 FFmpeg looks into the packets instead,
            and finds more of them where a muxer did not list all.
        discarded: bool[M], decoded but not shown: an edit list hides them.
        is_depended_on: uint8[M] of sdtp (0 unknown, 1 others depend on it, 2 disposable), None without.
    """

    stream_index: int
    codec_tag: str
    time_base: Fraction
    average_fps: float
    stream_duration: int
    width: int
    height: int
    display_matrix: NDArray[np.int32]
    num_samples: int
    pts: Numbers
    duration: NDArray[np.int32]
    position: Numbers
    size: NDArray[np.int32]
    keyframe: NDArray[np.bool_]
    discarded: NDArray[np.bool_]
    is_depended_on: NDArray[np.uint8] | None

    def __len__(self) -> int:
        """Return the number of packets."""
        return len(self.pts)


def read_tables(source: Source) -> SampleTables | None:
    """Read the sample tables of the first video track, or the track that `source.stream_index` says.

    Returns:
        The packets FFmpeg would deliver, or None where the tables cannot tell them exactly or it is no MP4 or MOV file.

    Raises:
        SourceError: the source cannot be read.
    """
    try:
        return parse_tables(source)
    except NotRepresentableError:
        return None


def parse_tables(source: Source) -> SampleTables:
    """Read the sample tables as `read_tables` does, or say why that is not possible.

    Raises:
        NotRepresentableError: the tables cannot tell exactly what FFmpeg would deliver; the message is the reason.
        SourceError: the source cannot be read.
    """
    movie = find_video_track(read_moov(source), source.stream_index)
    track = movie.track
    codec_tag, width, height = sample_entry(track)
    check_data_references(track)
    timescale, media_duration = media_header(track)
    samples = read_samples(track, source.size)
    edits = _edit_list(movie, timescale, len(samples.size))
    played = _apply_edits(samples, edits) if edits else _unedited(samples)
    total = int(samples.duration.sum())
    stream_duration = min(media_duration, total or media_duration)
    if edits:
        stream_duration = min(stream_duration, sum(edit.duration for edit in edits))
    # FFmpeg drops empty samples: they hold nothing to decode, but they do take time.
    packets = samples.size[played.sample] > 0
    kept = played.sample[packets]
    if not len(kept):
        raise NotRepresentableError("no samples")
    check_keyframes(codec_tag, samples.keyframe[kept])
    # FFmpeg guesses a duration for these, from the codec's headers among others.
    if not samples.duration[kept].all():
        raise NotRepresentableError("samples without duration")
    return SampleTables(
        stream_index=movie.stream_index,
        codec_tag=codec_tag,
        time_base=Fraction(1, timescale),
        average_fps=len(samples.size) * timescale / total if total else 0.0,
        stream_duration=stream_duration,
        width=width,
        height=height,
        display_matrix=display_matrix(track),
        num_samples=len(samples.size),
        pts=played.pts[packets],
        duration=samples.duration[kept].astype(np.int32),
        position=samples.position[kept],
        size=samples.size[kept].astype(np.int32),
        keyframe=samples.keyframe[kept],
        discarded=played.discarded[packets],
        is_depended_on=dependencies(track, len(samples.size), kept),
    )


# -- edits ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Edit:
    """A part of the media to play, in the track's time base; a `time` of -1 is a pause."""

    time: int
    duration: int


@dataclass(frozen=True, slots=True)
class _Played:
    """The packets after edits: which sample each is, when it is shown, and whether it is only decoded."""

    sample: Numbers
    pts: Numbers
    discarded: NDArray[np.bool_]


def _edit_list(movie: Movie, timescale: int, num_samples: int) -> list[_Edit]:
    payload = movie.track.optional(b"elst")
    if payload is None:
        return []
    version = number(payload, 0, 1)
    bytes_ = 8 if version == 1 else 4
    # As FFmpeg: the size of the box decides, not the count.
    count = (len(payload) - 8) // (2 * bytes_ + 4)
    if count > _MAX_EDITS:
        raise NotRepresentableError("too many edits")
    edits = []
    for i in range(count):
        start = 8 + i * (2 * bytes_ + 4)
        duration = int.from_bytes(payload[start : start + bytes_], "big", signed=version == 1)
        time = int.from_bytes(payload[start + bytes_ : start + 2 * bytes_], "big", signed=True)
        duration = (duration * timescale + movie.timescale // 2) // movie.timescale
        if not (0 <= duration <= _MAX_EDIT_TIME and -1 <= time <= _MAX_EDIT_TIME):
            raise NotRepresentableError("absurd edit list")
        edits.append(_Edit(time, duration))
    if len(edits) * num_samples > _MAX_EDITED_SAMPLES:
        raise NotRepresentableError("too many edits")
    if edits and not movie.edits_apply:
        raise NotRepresentableError("an empty track turns edit lists off")
    return edits


def _unedited(samples: Samples) -> _Played:
    count = len(samples.size)
    return _Played(np.arange(count), samples.pts(), np.zeros(count, dtype=np.bool_))


def _apply_edits(samples: Samples, edits: list[_Edit]) -> _Played:
    """Play the edits one after another, as mov_fix_index() of libavformat does.

    Raises:
        NotRepresentableError: only pauses, or edits of samples that FFmpeg gets wrong.
    """
    dts, pts = samples.dts(), samples.pts()
    if (np.diff(dts) <= 0).any():
        raise NotRepresentableError("edit list over samples without duration")
    parts: list[tuple[Numbers, Numbers, NDArray[np.bool_]]] = []
    end = pause = 0
    for edit in edits:
        begin, end = end, end + edit.duration
        if not parts and edit.time == -1:
            pause += edit.duration
            continue
        first, last, inside = _samples_of_edit(samples, dts, pts, edit)
        # The first frame shown is decoded when the edit begins, what precedes it for its sake is decoded before that.
        shown = np.flatnonzero(inside)
        origin = dts[first + shown[0]] if len(shown) else dts[first:last]
        parts.append((np.arange(first, last), begin + pts[first:last] - origin, ~inside))
    if not parts:
        raise NotRepresentableError("nothing but empty edits")
    if samples.offset is None:
        _check_durations(samples.duration, [part[0] for part in parts])
    sample, played, discarded = (np.concatenate(column) for column in zip(*parts, strict=True))
    # FFmpeg lets the first frame start at 0, or after the pause, however the edit cuts.
    late = _minimum_as_ffmpeg(played[~discarded]) - pause
    return _Played(sample, played - max(0, late), discarded)


def _check_durations(duration: Numbers, played: list[Numbers]) -> None:
    """Refuse edits of a track without ctts whose packets get other samples' durations from FFmpeg.

    It numbers durations by packet there, not by sample, so that they must all be equal or no sample be left out.
    """
    count = sum(map(len, played))
    constant = (duration == duration[0]).all()
    if count > len(duration) or not (constant or (played[0][0] == 0 and len(played) == 1)):
        raise NotRepresentableError("edit list over samples of varying duration without ctts")


def _samples_of_edit(
    samples: Samples, dts: Numbers, pts: Numbers, edit: _Edit
) -> tuple[int, int, NDArray[np.bool_]]:
    """Return (first, last + 1, bool array): the samples to decode for an edit, and which of them it shows."""
    before = int(np.searchsorted(dts, edit.time, side="right"))
    starts = np.flatnonzero(samples.keyframe[:before])
    if samples.offset is not None:
        starts = starts[pts[starts] <= edit.time]
    otherwise = 0 if samples.offset is not None else max(0, before - 1)
    first = int(starts[-1]) if len(starts) else otherwise
    pts = pts[first:]
    duration = np.diff(dts[first:], append=dts[-1] + edit.duration)
    stop = edit.time + edit.duration
    beyond = np.flatnonzero((pts + duration >= stop) & samples.keyframe[first:])
    # With reordering, pictures shown before the keyframe that ends the edit come after it: FFmpeg goes on to the next.
    reordered = int(samples.offset is not None)
    last = first + int(beyond[reordered]) + 1 if len(beyond) > reordered else len(dts)
    inside = ((pts >= edit.time) & (pts < stop))[: last - first]
    return first, last, inside


def _minimum_as_ffmpeg(pts: Numbers) -> int:
    """Return the minimum as a loop finds it that takes a negative minimum for none yet."""
    negative = np.flatnonzero(pts < 0)
    rest = pts[negative[-1] + 1 :] if len(negative) else pts
    return int(rest.min()) if len(rest) else -1


__all__ = ["NotRepresentableError", "SampleTables", "parse_tables", "read_tables"]
