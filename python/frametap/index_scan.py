"""The packets of a stream as container and codec headers describe them, and the frames that those prove."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from frametap._core import (
    IRREGULAR,
    PARSED,
    REFERENCE,
    RESET,
    SECOND_FIELD,
    SHOWN,
    START,
    UNKNOWN_ORDER,
    PacketParser,
)
from frametap.container import Container
from frametap.errors import DecodeError

Numbers: TypeAlias = NDArray[np.int64]
# Stands for a missing timestamp, as AV_NOPTS_VALUE does.
NO_PTS = np.iinfo(np.int64).min
# Codecs whose output order the headers tell (picture order count); elsewhere only timestamps do.
_CODECS_WITH_PICTURE_ORDER = frozenset({"h264", "hevc"})
# Codecs without reordering: pictures are shown in the order they are decoded.
_CODECS_IN_DECODE_ORDER = frozenset({"vp8", "vp9", "av1", "mjpeg", "prores"})
# Codecs whose output order follows from which pictures others refer to.
_CODECS_THAT_DELAY_REFERENCES = frozenset({"mpeg1video", "mpeg2video", "mpeg4"})
# What a parser would say of a packet it cannot read: flags, output order, references.
_UNREAD: tuple[int, int, list[int]] = (0, UNKNOWN_ORDER, [])


@dataclass
class Scan:
    """The packets of a stream in decode order, as the container and the codec headers describe them."""

    pts: list[int] = field(default_factory=list)
    duration: list[int] = field(default_factory=list)
    position: list[int] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    keyframe: list[bool] = field(default_factory=list)
    discarded: list[bool] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    refs: list[list[int]] = field(default_factory=list)
    damaged: bool = False
    fresh_decoders: bool = False
    prime_decoders: bool = False


def scan_packets(container: Container) -> Scan:
    """Read every packet and its headers; a damaged container ends the scan early."""
    scan = Scan()
    colours: set[int] = set()
    try:
        parser = PacketParser(container.codec, container.extradata)
    except ValueError:
        parser = None
    try:
        for packet in container.packets():
            scan.pts.append(NO_PTS if packet.pts is None else packet.pts)
            scan.duration.append(packet.duration or 0)
            scan.position.append(-1 if packet.pos is None else packet.pos)
            scan.size.append(packet.size)
            scan.keyframe.append(packet.is_keyframe)
            scan.discarded.append(packet.is_discard)
            scan.damaged = scan.damaged or packet.is_corrupt
            flags, order, refs = parser.parse(packet) if parser else _UNREAD
            if parser is not None and flags & START:
                colours.add(parser.colour)
            scan.flags.append(flags)
            scan.order.append(order)
            scan.refs.append(refs)
    except DecodeError:
        scan.damaged = True
    if parser is not None:
        # FFmpeg goes on with the colour of an earlier sequence where a later one states none.
        scan.fresh_decoders = parser.parameter_sets_changed or len(colours) > 1
        scan.prime_decoders = parser.needs_first_packet
    return scan


def frames_by_headers(scan: Scan, container: Container) -> Numbers | None:
    """Return the packet number of each frame in presentation order, or None where headers do not prove it."""
    flags = np.array(scan.flags, dtype=np.int64)
    if scan.damaged or not len(flags) or not (flags & PARSED).all():
        return None
    second_field = (flags & SECOND_FIELD) != 0
    paired = second_field | np.append(second_field[1:], False)
    if (flags[~paired] & IRREGULAR).any():
        return None
    shown = np.flatnonzero((flags & SHOWN != 0) & ~second_field)
    if not len(shown):
        return None
    pts = np.array(scan.pts)[shown]
    by_order = _sort_by_picture_order(scan, flags, shown, container.codec)
    if (pts == NO_PTS).any():
        frames = by_order
        if frames is not None and (np.diff(_known(np.array(scan.pts)[frames])) <= 0).any():
            return None
    else:
        frames = shown[np.argsort(pts, kind="stable")]
        if by_order is None and container.codec in _CODECS_THAT_DELAY_REFERENCES:
            by_order = _sort_by_references(flags, shown)
        if len(np.unique(pts)) != len(pts) or (by_order is not None and (frames != by_order).any()):
            return None
    return frames


def _sort_by_picture_order(
    scan: Scan, flags: Numbers, shown: Numbers, codec: str
) -> Numbers | None:
    """Return the shown packets in the output order that the codec's headers define, None where they define none."""
    if codec in _CODECS_IN_DECODE_ORDER:
        return shown
    order = np.array(scan.order, dtype=np.int64)
    if codec not in _CODECS_WITH_PICTURE_ORDER or (order[shown] == UNKNOWN_ORDER).any():
        return None
    sequence = np.cumsum((flags & RESET) != 0)
    return shown[np.lexsort((order[shown], sequence[shown]))]


def _sort_by_references(flags: Numbers, shown: Numbers) -> Numbers:
    """Return the shown packets in the output order of MPEG-1, 2 and 4 (ISO/IEC 13818-2, 6.1.1.11).

    A picture that others refer to is shown when the next such picture has come, the others at once.
    """
    place = 2 * np.arange(len(shown))
    references = np.flatnonzero(flags[shown] & REFERENCE)
    place[references] = np.append(2 * references[1:] - 1, 2 * len(shown))[: len(references)]
    return shown[np.argsort(place)]


def _known(pts: Numbers) -> Numbers:
    known: Numbers = pts[pts != NO_PTS]
    return known
