"""One demuxer and one decoder, and how a run of packets becomes its wanted pictures."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import av.error
import numpy as np
from av.video.frame import VideoFrame

from frametap._core import RESET, START, PacketParser
from frametap.container import Container, VideoPacket, orientation_of, picture_format
from frametap.engines.base import Report, Slots
from frametap.engines.damage import Damage
from frametap.errors import DecodeError, SourceError, UnsupportedError
from frametap.geometry import PictureFormat
from frametap.index import FrameIndex
from frametap.info import Orientation, chroma_location_name
from frametap.plan import Run
from frametap.source import Source

# More packets than any video has.
_END = 1 << 62
# Reading on is cheaper than seeking when the next run begins this many packets further on.
_READ_ON_PACKETS = 32
# After a seek the demuxer may hand out a few packets from before the keyframe; more means that it landed elsewhere.
_SYNC_PACKETS = 256
# A packet's dts is not below the least pts of so many packets before it: the most that any codec reorders.
_REORDERED_PACKETS = 16
# Among so many packets are the 16 pictures that H.264 can refer to at most, and those between them that nothing refers to.
_REFERENCE_PACKETS = 32
# How much further to read when a wanted picture does not come out of a stream that only decoding could index.
_FURTHER_PACKETS = 32


class RunDecoder:
    """Decodes runs of one source, one after another, reusing its demuxer and decoder. Not thread-safe.

    Args:
        source: the video.
        threads: threads of the decoder (frame threading), and of converting a large picture.
        container: an opened one to take over, its decoder unused.
    """

    def __init__(self, source: Source, threads: int, container: Container | None = None) -> None:
        self.source, self.threads = source, threads
        self.decoded = 0
        self.bytes_read = 0
        self.failure: DecodeError | None = None
        self._orientation: Orientation | None = None
        self._container = container or Container(source)
        # A container that was scanned stands at its end: whatever comes next is a seek away.
        self._next = _END if container else 0
        self._packets = self._container.packets()
        self._used = False
        # As FFmpeg does in MPEG-TS: the pts of a keyframe leads behind it, where pictures are reordered.
        self._seeks_by_dts = False
        self._chroma_location = self._signalled_chroma_location()

    def _reopen(self) -> None:
        self._container.close()
        self._container = Container(self.source)
        self._packets, self._next = self._container.packets(), 0
        if self._used:
            self._start_decoder()
            self._container.reset()

    def close(self) -> None:
        """Free the demuxer and the decoder."""
        self._container.close()

    def decode(self, run: Run, index: FrameIndex) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (frame number, picture) for the run's wanted frames in presentation order.

        Where the stream is damaged it goes on at the next keyframe; `missing` then tells what did not come, and why.
        """
        self._begin(run, index)
        jumps = self._jumps_into_references(run)
        self._doubts = self.threads > 1 or jumps
        yield from self._decode(run)
        silent = bool(self._left) and self.failure is None
        if self.threads > 1 and (self._doubted or silent):
            yield from self._decode_alone(run)
        elif self._doubted or (silent and jumps):
            yield from self._decode_from_before(run)
        if self._left and self.failure is None and run.start < index.decoded_packets:
            yield from self._decode_further(run)

    def _decode(self, run: Run) -> Iterator[tuple[int, VideoFrame]]:
        """Yield what comes out, up to the first damage where that is doubted."""
        self._prepare()
        self._seen: Counter[int] = Counter()
        for number, packet in self._read(run):
            packet.pts, packet.dts = number, None
            yield from self._pictures(number, packet)
            if not self._left or self._doubted:
                return
        yield from self._pictures(run.stop, None)

    def packets(self, run: Run, index: FrameIndex) -> Iterator[tuple[int, VideoPacket]]:
        """Yield (number, packet) for the packets that the run feeds, for a decoder other than FFmpeg's.

        Where the file ends or is damaged they end early.
        """
        self._begin(run, index)
        return self._read(run)

    def _begin(self, run: Run, index: FrameIndex) -> None:
        self.index = index
        self.failure = None
        self._left = set(run.frames.tolist())
        self._damage = Damage(index)
        self._judged_from = run.start
        self._doubts = self._doubted = False

    def _prepare(self) -> None:
        """Bring the decoder into the state that the stream needs at the beginning of a run."""
        if self._used and self.index.fresh_decoders:
            self._reopen()
        elif not self._used:
            self._used = True
            self._start_decoder()
        self._container.reset()

    def _start_decoder(self) -> None:
        if self.index.prime_decoders and self._next != 0:
            self._reopen()
            return
        # After a jump to an open keyframe of H.264, the pictures shown before it are fed, for the order of the others rests
        # on them, but refer to what is not there: that must not count as damage.
        open_h264 = self.index.codec == "h264" and self.index.has_leading_pictures
        self._container.configure(
            threads=self.threads, strict_output=self.index.strict_output, conceal=open_h264
        )
        if self.index.prime_decoders:
            with contextlib.suppress(av.error.FFmpegError):
                self._container.decode(self._next_packet())

    def _jumps_into_references(self, run: Run) -> bool:
        """Whether the pictures after a run's keyframe may name some from before it, if only to have them forgotten."""
        closed = self.index.packet_flags[run.start] & RESET
        return self.index.codec == "h264" and run.start > 0 and not closed

    def _decode_from_before(self, run: Run) -> Iterator[tuple[int, VideoFrame]]:
        """Decode what is left of a run from a keyframe before its own, so that pictures which it names are there."""
        left = np.array(self.left)
        first = int(self.index.decode_order[left].min())
        starts = np.append(0, np.flatnonzero(self.index.packet_flags[: first + 1] & START))
        before = starts[starts <= max(0, starts[-1] - _REFERENCE_PACKETS)]
        again = Run.of(self.index, int(before[-1]), run.stop, left)
        self._begin(again, self.index)
        self._judged_from = int(starts[-1])  # what is missing before it says nothing about the rest
        yield from self._decode(again)

    def _decode_further(self, run: Run) -> Iterator[tuple[int, VideoFrame]]:
        """Decode a run again with more packets: in odd streams a picture comes out only after packets that follow it."""
        stop = min(run.stop + _FURTHER_PACKETS, len(self.index.packet_size))
        if stop > run.stop:
            yield from self.decode(
                Run.of(self.index, run.start, stop, np.array(sorted(self._left))), self.index
            )

    def _decode_alone(self, run: Run) -> Iterator[tuple[int, VideoFrame]]:
        """Decode what is left of a run with one thread: frame threads tell of damage some packets later, or not at all."""
        alone = RunDecoder(self.source, 1)
        try:
            yield from alone.decode(self._rest_of(run), self.index)
        finally:
            self._left, self.failure = set(alone.left), alone.failure
            self.decoded += alone.decoded
            self.bytes_read += alone.bytes_read
            alone.close()

    def _rest_of(self, run: Run) -> Run:
        """Return a run for what is left, which feeds what the run does: what FFmpeg notices depends on what went before."""
        start, left = run.start, np.array(self.left)
        # Without the interval before its keyframe, what leads it would be damage of its own.
        if not self.index.has_leading_pictures:
            first = int(self.index.decode_order[left].min())
            starts = np.flatnonzero(self.index.packet_flags[start : first + 1] & START)
            start += int(starts[-1]) if len(starts) else 0
        return Run(start, run.stop, left, run.feed[start - run.start :])

    def _pictures(
        self, number: int, packet: VideoPacket | None
    ) -> Iterator[tuple[int, VideoFrame]]:
        """Feed one packet, or drain, and yield the wanted pictures that come out."""
        try:
            pictures = self._container.decode(packet)
        except av.error.FFmpegError as error:
            # A packet that yielded nothing when the index was made by decoding is damage already accounted for.
            if (
                packet is None
                or number >= self.index.decoded_packets
                or self.index.frame_of_packet[number] >= 0
            ):
                self._break(number, f"damaged packet: {error.strerror}")
                self._doubted = self._doubts
            return
        self.decoded += len(pictures)
        for picture in pictures:
            frame = self._frame_of(picture)
            if picture.is_corrupt and frame >= 0:
                self._break(
                    int(self.index.decode_order[frame]), "FFmpeg flags the picture as corrupt"
                )
            if frame in self._left and not self._damage.spoils(frame):
                self._left.discard(frame)
                yield frame, picture

    def _frame_of(self, picture: VideoFrame) -> int:
        """Return the frame number of a picture: its pts is the number of the packet it comes from."""
        if picture.pts is None or not 0 <= picture.pts < len(self.index.frame_of_packet):
            return -1
        first = int(self.index.frame_of_packet[picture.pts])
        nth = self._seen[picture.pts]
        self._seen[picture.pts] += 1
        frame = first + nth
        same = (
            first >= 0
            and frame < len(self.index)
            and int(self.index.decode_order[frame]) == picture.pts
        )
        return frame if same else -1

    def _break(self, number: int, reason: str) -> None:
        if number < self._judged_from:
            return
        self._damage.add(number)
        frame = int(self.index.frame_of_packet[min(number, len(self.index.frame_of_packet) - 1)])
        position = int(self.index.packet_position[min(number, len(self.index.packet_position) - 1)])
        at = f" at byte {position}" if position >= 0 else ""
        frame_name = f"frame {frame}" if frame >= 0 else f"packet {number}"
        self.failure = self.failure or DecodeError(
            f"{self.source.name}: {frame_name}{at} cannot be decoded: {reason}; "
            f'on_error="skip", "repeat" or "black" delivers the frames that can'
        )

    def missing(self, run: Run) -> tuple[list[int], DecodeError]:
        """Return the wanted frames that did not come out of the last `decode`, and why."""
        left = self.left
        if self.failure is None and left:
            self.failure = DecodeError(
                f"{self.source.name}: frame {left[0]} did not come out of the decoder (packets {run.start} to "
                f'{run.stop - 1}); the stream is damaged there; on_error="skip" goes on without it'
            )
        return left, self.failure or DecodeError("")

    # -- packets ---------------------------------------------------------------------------------------------------

    def _read(self, run: Run) -> Iterator[tuple[int, VideoPacket]]:
        """Yield (number, packet) for the packets of a run."""
        first = self._move_to(run.start)
        number = run.start
        while number < run.stop:
            packet = first or self._next_packet()
            first = None
            if packet is None:
                self._break(number, "the file ends or is damaged before it")
                return
            if run.feed[number - run.start]:
                self.bytes_read += packet.size
                yield number, packet
            number += 1

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
            if (packet := self._land(max(0, start - _REORDERED_PACKETS), start)) is not None:
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

    # -- pictures --------------------------------------------------------------------------------------------------

    def _signalled_chroma_location(self) -> str:
        try:
            signalled = PacketParser(
                self._container.codec, self._container.extradata
            ).chroma_sample_loc_type
        except ValueError:
            signalled = -1
        return chroma_location_name(signalled, self._container.codec)

    def format_of(self, picture: VideoFrame) -> PictureFormat:
        """Describe a picture for the converter.

        Raises:
            UnsupportedError: its colour has no place in the conversion.
        """
        if self._orientation is None:
            self._orientation = orientation_of(picture)
        return picture_format(picture, self._orientation, self._chroma_location)

    def convert(self, frame: int, picture: VideoFrame, slots: Slots) -> None:
        """Convert a picture into its slot."""
        try:
            converter, address = slots.slot(frame, self.format_of(picture))
        except UnsupportedError as error:
            raise UnsupportedError(f"{self.source.name}: frame {frame}: {error}") from error
        self._write(picture, converter, address)
        slots.done(frame)

    def _write(self, picture: VideoFrame, converter: Any, address: int) -> None:
        """Convert a picture to host memory, reading the decoder's planes where they are."""
        planes = [(plane.buffer_ptr, plane.line_size) for plane in picture.planes]
        converter.convert(planes, address, self.threads)

    @property
    def left(self) -> list[int]:
        """Wanted frames of the run at hand that have not come out, ascending."""
        return sorted(self._left)

    def settle(self, report: Report) -> None:
        """Finish what `convert` left under way; nothing, where it is done when it returns."""
