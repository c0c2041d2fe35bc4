"""The packets of an index, by number."""

from __future__ import annotations

import contextlib

import av.error
import numpy as np

from frametap.container import Container, VideoPacket
from frametap.errors import DecodeError, SourceError
from frametap.index import MAX_REORDER, FrameIndex
from frametap.source import Source

# More packets than any video has.
_END = 1 << 62
# Reading on is cheaper than seeking when the next run begins this many packets further on.
_READ_ON_PACKETS = 32
# After a seek the demuxer may hand out a few packets from before the keyframe; more means that it landed elsewhere.
_SYNC_PACKETS = 256


class PacketReader:
    """Reads packets with one demuxer, which it lets seek where that is sure to land, and opens again elsewhere. Not thread-safe.

    Args:
        source: the video.
        container: an opened one to take over.

    Attributes:
        index: what is known of the packets, from when something is to be read on.
    """

    index: FrameIndex

    def __init__(self, source: Source, container: Container | None = None) -> None:
        self.source = source
        self._container = container or Container(source)
        # A container that was scanned stands at its end: whatever comes next is a seek away.
        self._next = _END if container else 0
        self._packets = self._container.packets()
        # As FFmpeg does in MPEG-TS: the pts of a keyframe leads behind it, where pictures are reordered.
        self._seeks_by_dts = False

    def _reopen(self) -> None:
        self._container.close()
        self._container = Container(self.source)
        self._packets, self._next = self._container.packets(), 0

    def close(self) -> None:
        """Free the demuxer."""
        self._container.close()

    def _next_packet(self) -> VideoPacket | None:
        """Return the next packet after checking that it is the one the index knows; None at the end or at damage."""
        try:
            packet = next(self._packets, None)
        except DecodeError:
            return None
        if packet is None:
            return None
        if (
            self._next >= len(self.index.packet_size)
            or packet.size != self.index.packet_size[self._next]
        ):
            raise SourceError(
                f"{self.source.name}: packet {self._next} is not the one indexed; build the index again"
            )
        self._next += 1
        return packet

    def _move_to(self, start: int) -> VideoPacket | None:
        """Bring the demuxer before packet `start`; a packet read on the way that is already `start` is returned."""
        if not 0 <= start - self._next <= _READ_ON_PACKETS:
            packet = self._seek(start)
            if packet is not None and self._next == start + 1:
                return packet
        if self._next > start:
            self._reopen()
        while self._next < start:
            if self._next_packet() is None:
                break
        return None

    def _seek(self, start: int) -> VideoPacket | None:
        """Let the container seek to packet `start` and find out where it landed; reopen when that is not certain."""
        with contextlib.suppress(av.error.FFmpegError, DecodeError, OSError, ValueError):
            if not self._seeks_by_dts and (packet := self._land(start, start)) is not None:
                return packet
            # A packet's dts is not below the least pts of so many packets before it.
            if (packet := self._land(max(0, start - MAX_REORDER), start)) is not None:
                self._seeks_by_dts = True
                return packet
        self._reopen()
        return None

    def _land(self, first: int, start: int) -> VideoPacket | None:
        """Seek to the least pts of packets `first` to `start`; return a packet from before or at `start`, None if it is later."""
        self._container.seek(int(self.index.packet_pts[first : start + 1].min()))
        self._packets = self._container.packets()
        for _ in range(_SYNC_PACKETS):
            packet = next(self._packets, None)
            if packet is None:
                return None
            number = self._number_of(packet)
            if number is not None:
                self._next = number + 1
                return packet if number <= start else None
        return None

    def _number_of(self, packet: VideoPacket) -> int | None:
        """Return which packet of the index this is, None when it is none or could be several."""
        index = self.index
        same = index.packet_size == packet.size
        if packet.pos is not None:
            same &= index.packet_position == packet.pos
        if packet.pts is not None:
            same &= index.packet_pts == packet.pts
        candidates = np.flatnonzero(same)
        return int(candidates[0]) if len(candidates) == 1 else None
