"""Packet headers of an index made from sample tables: read when a plan first needs them, from the packets of its runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from frametap._core import (
    IRREGULAR,
    PARSED,
    REFERENCE,
    REFS_KNOWN,
    RESET,
    SHOWN,
    START,
    PacketParser,
)
from frametap.index import FrameIndex
from frametap.source import Source

_KEPT = PARSED | START | RESET | REFERENCE | SHOWN | REFS_KNOWN


class HeadersDisagreeError(Exception):
    """The packets are not the pictures that the sample tables promise."""


def unread_spans(index: FrameIndex, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return those ranges of packets whose headers have not been read yet, and the very first packet.

    It says each time what the stream states at first, whether or not this is the first part to be read.
    """
    if index.method != "tables":
        return []
    read = (index.packet_flags & PARSED) != 0
    unread = [(start, stop) for start, stop in spans if not read[start:stop].all()]
    if unread and unread[0][0] != 0:
        unread.insert(0, (0, 1))
    return unread


def read_headers(index: FrameIndex, source: Source, spans: Iterable[tuple[int, int]]) -> FrameIndex:
    """Return an index that knows what the headers of packets [start, stop) of each span say.

    Spans ascend. Each begins where decoding is to begin, so that a parser that starts there knows
    what a decoder would know.

    Raises:
        HeadersDisagreeError: a packet holds no picture or several, or hides the one the tables show.
        SourceError: the source cannot be read.
    """
    flags, counts = index.packet_flags.copy(), index.ref_counts.copy()
    refs: list[NDArray[np.int32]] = []
    fresh, prime = index.fresh_decoders, index.prime_decoders
    colours: set[int] = set()
    taken = 0
    spans = list(spans)
    source.prefetch(index.byte_ranges(spans))
    for start, stop in spans:
        parser = PacketParser(index.codec, index.extradata)
        refs.append(index.refs[index.ref_offsets[taken] : index.ref_offsets[start]])
        found = _read_span(
            index, source, parser, start, flags[start:stop], counts[start:stop], colours
        )
        refs.append(found)
        taken = stop
        fresh = fresh or parser.parameter_sets_changed or len(colours) > 1
        prime = prime or (start == 0 and parser.needs_first_packet)
    refs.append(index.refs[index.ref_offsets[taken] :])
    return replace(
        index,
        packet_flags=flags,
        ref_counts=counts,
        refs=np.concatenate(refs),
        fresh_decoders=fresh,
        prime_decoders=prime,
    )


def _read_span(
    index: FrameIndex,
    source: Source,
    parser: PacketParser,
    start: int,
    flags: NDArray[np.uint8],
    counts: NDArray[np.uint8],
    colours: set[int],
) -> NDArray[np.int32]:
    """Parse the packets from `start` on, write their flags and counts and what colours they state, return their references."""
    refs: list[int] = []
    for at in range(len(flags)):
        position, size = index.packet_position[start + at], index.packet_size[start + at]
        found, _, distances = parser.parse(source.read_at(int(position), int(size)))
        if found & START:
            colours.add(parser.colour)
        if found & IRREGULAR or (found & PARSED and not found & SHOWN):
            raise HeadersDisagreeError(f"packet {start + at}")
        # What cannot be parsed is damaged; the decoder will say so where it matters.
        flags[at] = found & _KEPT if found & PARSED else flags[at] | PARSED
        counts[at] = len(distances)
        refs += distances
    return np.array(refs, dtype=np.int32)
