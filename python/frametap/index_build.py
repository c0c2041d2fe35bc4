"""How an index is made: by packet headers where they prove it right, by decoding once where they cannot."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from typing import Any

import av.error
import numpy as np
from numpy.typing import NDArray

from frametap._core import (
    IRREGULAR,
    PARSED,
    REFERENCE,
    REFS_KNOWN,
    RESET,
    SECOND_FIELD,
    SHOWN,
    START,
)
from frametap.container import Container, VideoPacket
from frametap.errors import DecodeError
from frametap.index import MAX_REORDER, FrameIndex
from frametap.index_scan import NO_PTS, Numbers, Scan, frames_by_headers, scan_packets
from frametap.mp4 import read_tables
from frametap.source import Source

# Inter-coded codecs whose headers we do not read, but whose keyframes are intra pictures without leading pictures.
_CODECS_WITH_SAFE_KEYFRAMES = frozenset(
    {
        "theora",
        "vp6",
        "vp6f",
        "vp6a",
        "flv1",
        "h263",
        "msmpeg4v1",
        "msmpeg4v2",
        "msmpeg4v3",
        "msmpeg4",
        "wmv1",
        "wmv2",
    }
)
# Codecs of which a sample of an MP4 or MOV is one picture, by the rules of their mapping into the container.
_CODECS_WITH_ONE_PICTURE_PER_SAMPLE = frozenset({"h264", "hevc", "av1", "vp9", "mjpeg", "prores"})


def build_index(source: Source, *, tables: bool = True) -> tuple[FrameIndex, Container]:
    """Index a source; the one entry of this module. The container it was read from is handed over, its decoder unused.

    Args:
        source: the video.
        tables: whether the sample tables of an MP4 or MOV may stand in for a scan of its packets.
    """
    container = Container(source)
    try:
        index = _index_by_tables(source, container) if tables else None
        return index or _index_by_scan(source, container), container
    except BaseException:
        container.close()
        raise


def _index_by_scan(source: Source, container: Container) -> FrameIndex:
    scan = scan_packets(container)
    frames = frames_by_headers(scan, container)
    strict = (
        container.codec == "h264"
        and frames is not None
        and _reorder_depth(frames) > container.reorder_depth
    )
    decoded_packets = 0
    if frames is None or strict:
        frames, intra = _frames_by_decoding(source)
        decoded_packets = len(scan.flags)
        # Some containers flag every packet as a keyframe.
        scan.keyframe = (np.array(scan.keyframe, dtype=bool) & intra).tolist()
    else:
        suffice = _headers_suffice(scan, frames)
        frames = frames[~np.array(scan.discarded)[frames]]
        if not suffice:
            frames, decoded_packets = _without_lost(source, scan, frames)
    if not len(frames):
        raise DecodeError(
            f"{source.name}: none of its packets can be decoded; the file is damaged, encrypted or empty"
        )
    return _build(source, container, scan, frames, decoded_packets, strict)


def _headers_suffice(scan: Scan, frames: Numbers) -> bool:
    """Whether every decoder puts out just these frames.

    The stream begins with a keyframe that nothing is shown before, so that every picture can be decoded in full; and no frame
    is in two packets, of which a decoder decides whether they belong together.
    """
    first = next((n for n, flags in enumerate(scan.flags) if flags & SHOWN), 0)
    return bool(scan.flags[0] & START) and first == frames[0] and not _has_lone_fields(scan)


def _has_lone_fields(scan: Scan) -> bool:
    return any(flags & SECOND_FIELD for flags in scan.flags)


def _without_lost(source: Source, scan: Scan, frames: Numbers) -> tuple[Numbers, int]:
    """Leave out what refers to pictures from before the stream begins and does not come out of a decoder.

    Which pictures those are varies with the decoder's rules, so it is decoded to find out: up to the second keyframe, for what
    follows that refers to nothing before the first. Where the decoder makes other frames of these packets than the headers, it
    decides about all.

    Returns:
        the frames, and how many packets do not yield them as their headers say.
    """
    keyframes = np.flatnonzero(np.array(scan.flags) & START)
    end = int(keyframes[1]) if len(keyframes) > 1 else len(scan.flags)
    decoded, _ = _frames_by_decoding(source, end)
    found = (frames >= end) | np.isin(frames, decoded)
    as_announced = np.array_equal(frames[found & (frames < end)], decoded)
    if not as_announced:
        return _frames_by_decoding(source)[0], len(scan.flags)
    return frames[found], len(scan.flags) if _has_lone_fields(scan) else end


def _index_by_tables(source: Source, container: Container) -> FrameIndex | None:
    """Return the index that the sample tables of an MP4 or MOV prove, None where a scan has to look at the packets."""
    if (
        "mov" not in container.format_name
        or container.codec not in _CODECS_WITH_ONE_PICTURE_PER_SAMPLE
    ):
        return None
    tables = read_tables(source)
    same_stream = tables is not None and (
        tables.stream_index,
        tables.time_base,
        tables.num_samples,
    ) == (
        container.stream.index,
        container.time_base,
        container.stream.frames,
    )
    if tables is None or not same_stream:
        return None
    frames = np.argsort(tables.pts, kind="stable")
    if len(np.unique(tables.pts)) != len(frames) or frames[0] != 0 or not tables.keyframe[0]:
        return None
    # Pictures that the bitstream reorders but the tables do not, or further than FFmpeg holds them back, come out of its
    # decoder in another order or not at all.
    depth = _reorder_depth(frames)
    if len(frames) > 1 and (
        depth > container.reorder_depth or (depth == 0 and container.reorder_depth > 0)
    ):
        return None
    frames = frames[~tables.discarded[frames]]
    if not len(frames):
        return None
    flags = np.full(len(tables), SHOWN | REFERENCE, dtype=np.uint8)
    flags[tables.keyframe] |= START
    return _index_of(
        source,
        container,
        "tables",
        frames,
        packet_pts=tables.pts,
        packet_duration=tables.duration,
        packet_position=tables.position,
        packet_size=tables.size,
        packet_flags=flags,
    )


def _reorder_depth(frames: Numbers) -> int:
    """Return how many pictures must be held back to bring these packets into presentation order."""
    rank = np.argsort(
        np.argsort(frames)
    )  # packets are dense up to hidden ones: rank in decode order of each frame
    by_decode = np.empty_like(rank)
    by_decode[rank] = np.arange(len(rank))
    waiting = np.zeros(len(rank), dtype=np.int64)
    for back in range(1, min(len(rank), 2 * MAX_REORDER)):
        waiting[back:] += by_decode[:-back] > by_decode[back:]
    return int(waiting.max(initial=0))


def _frames_by_decoding(
    source: Source, stop: int | None = None
) -> tuple[Numbers, NDArray[np.bool_]]:
    """Decode a source up to a packet, errors and all, and note what comes out.

    Returns:
        the packet number of each frame, and for each packet whether its picture is a keyframe to the decoder.
    """
    container = Container(source)
    frames: list[int] = []
    intra: list[bool] = []

    def note(packet: VideoPacket | None) -> None:
        with contextlib.suppress(av.error.FFmpegError):
            for picture in container.decode(packet):
                if picture.pts is not None:
                    frames.append(picture.pts)
                    intra[picture.pts] = picture.key_frame

    try:
        with contextlib.suppress(DecodeError):
            for number, packet in islice(enumerate(container.packets()), stop):
                intra.append(False)
                packet.pts, packet.dts = number, None
                note(packet)
        note(None)
    finally:
        container.close()
    return np.array(frames, dtype=np.int64), np.array(intra, dtype=bool)


def _build(
    source: Source,
    container: Container,
    scan: Scan,
    frames: Numbers,
    decoded_packets: int,
    strict: bool,
) -> FrameIndex:
    """Make the index of a packet scan."""
    pts = np.array(scan.pts, dtype=np.int64)
    duration = np.array(scan.duration, dtype=np.int64)
    fallback = max(1, round(1 / ((container.average_rate or 25) * container.time_base)))
    _fill_missing_pts(pts, duration, frames, fallback)
    return _index_of(
        source,
        container,
        "headers" if decoded_packets < len(pts) else "decode",
        frames,
        decoded_packets=decoded_packets,
        strict_output=strict,
        fresh_decoders=scan.fresh_decoders,
        prime_decoders=scan.prime_decoders,
        packet_pts=pts,
        packet_duration=duration.clip(0, np.iinfo(np.int32).max).astype(np.int32),
        packet_position=np.array(scan.position, dtype=np.int64),
        packet_size=np.array(scan.size, dtype=np.int32),
        packet_flags=_packet_flags(scan, container.codec),
        ref_counts=np.array([len(refs) for refs in scan.refs], dtype=np.uint8),
        refs=np.array([distance for refs in scan.refs for distance in refs], dtype=np.int32),
    )


def _index_of(
    source: Source, container: Container, method: str, frames: Numbers, **fields: Any
) -> FrameIndex:
    """Put an index together: what was found out about the packets, and what source and container say."""
    size, digest = source.fingerprint()
    packets = len(fields["packet_pts"])
    unknown_refs = {"ref_counts": np.zeros(packets, np.uint8), "refs": np.zeros(0, np.int32)}
    index = FrameIndex(
        codec=container.codec,
        extradata=container.extradata,
        time_base=container.time_base,
        stream_index=container.stream.index,
        width=container.stream.width,
        height=container.stream.height,
        average_fps=float(container.average_rate),
        method=method,
        source_size=size,
        source_hash=digest,
        decode_order=frames.astype(np.int32),
        **{
            "decoded_packets": 0,
            "strict_output": False,
            "fresh_decoders": False,
            "prime_decoders": False,
            **unknown_refs,
            **fields,
        },
    )
    return replace(index, average_fps=float(_average_rate(index, container.average_rate)))


def _average_rate(index: FrameIndex, announced: Fraction) -> Fraction:
    """Return the announced rate where all timestamps keep to it within their rounding, else frames over time on screen.

    Samplers multiply by it and round down, so its last bit counts: 24 frames per second are not 24.000000000000004.
    Where timestamps fall, the time on screen is what the frames' durations add up to.
    """
    pts = index.pts - index.pts[0]
    if announced > 0:
        ticks = 1 / (announced * index.time_base)
        if (abs(pts - np.arange(len(pts)) * float(ticks)) <= 1).all():
            return announced
    falls = (np.diff(pts) < 0).any()
    shown = index.duration.sum() if falls else pts[-1] + index.duration[-1]
    return len(pts) / (index.time_base * int(shown))


def _fill_missing_pts(pts: Numbers, duration: Numbers, frames: Numbers, fallback: int) -> None:
    """Give frames without a timestamp the one that follows from the frame before and its duration."""
    if not (pts[frames] == NO_PTS).any():
        return
    known = np.flatnonzero(pts[frames] != NO_PTS)
    lead = int(known[0]) if len(known) else 0
    step = int(duration[frames[0]]) or fallback
    previous = int(pts[frames[lead]]) - (lead + 1) * step if len(known) else -step
    for packet in frames:
        if pts[packet] == NO_PTS:
            pts[packet] = previous + step
        previous, step = int(pts[packet]), int(duration[packet]) or fallback


def _packet_flags(scan: Scan, codec: str) -> NDArray[np.uint8]:
    """Return the flags to keep of each packet, trusting the container only for codecs known to be safe."""
    flags = np.array(scan.flags, dtype=np.int64)
    keyframe = np.array(scan.keyframe)
    unread = (flags & PARSED) == 0
    flags[unread] = SHOWN | REFERENCE
    if codec in _CODECS_WITH_SAFE_KEYFRAMES:
        flags[unread & keyframe] |= START | RESET
    # With two pictures in a packet, or half of one, the decoder's own history decides what a packet yields.
    if codec == "mpeg4" and (flags & IRREGULAR).any():
        flags &= ~START
    flags[0] |= START | RESET
    return (flags & (PARSED | START | RESET | REFERENCE | SHOWN | REFS_KNOWN)).astype(np.uint8)
