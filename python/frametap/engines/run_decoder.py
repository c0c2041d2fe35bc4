"""One demuxer and one decoder, and how a run of packets becomes its wanted pictures."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import av
import av.error
import numpy as np
from av.video.frame import VideoFrame

from frametap._core import RESET, START, PacketParser
from frametap.container import Container, VideoPacket, orientation_of, picture_format
from frametap.engines.base import Report, Slots
from frametap.engines.damage import Damage
from frametap.engines.packet_reader import PacketReader
from frametap.errors import DecodeError, UnsupportedError
from frametap.geometry import PictureFormat
from frametap.index import MAX_REORDER, FrameIndex
from frametap.info import Orientation, chroma_location_name
from frametap.plan import Plan, Run
from frametap.source import Source

# Among so many packets are the 16 pictures that H.264 can refer to at most, and those between them that nothing refers to.
_REFERENCE_PACKETS = 32
# How much further to read when a wanted picture does not come out where only decoding could index a stream: in odd ones it
# comes only after packets that follow it. Twice as far each time.
_FURTHER_PACKETS = 32


class RunDecoder(PacketReader):
    """Decodes runs of one source, one after another, reusing its demuxer and decoder. Not thread-safe.

    Args:
        source: the video.
        threads: threads of the decoder (frame threading), and of converting a large picture.
        container: an opened one to take over, its decoder unused.
    """

    def __init__(self, source: Source, threads: int, container: Container | None = None) -> None:
        super().__init__(source, container)
        self.threads = threads
        self.decoded = 0
        self.bytes_read = 0
        self.failure: DecodeError | None = None
        self._orientation: Orientation | None = None
        self._used = False
        self._rescues = True
        self._alone: RunDecoder | None = None  # who decodes the rest of the run at hand
        self._parser = _parser_of(self._container)
        signalled = self._parser.chroma_sample_loc_type if self._parser else -1
        self._chroma_location = chroma_location_name(signalled, self._container.codec)

    def _reopen(self) -> None:
        super()._reopen()
        if self._used:
            self._start_decoder()
            self._container.reset()

    def decode(self, run: Run, index: FrameIndex) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (frame number, picture) for the run's wanted frames: in presentation order, but for what it takes a retry to get.

        Where the stream is damaged it goes on at the next keyframe; `left` tells what did not come, `error_of` why.
        """
        yield from self._try(run, index)
        further, end = _FURTHER_PACKETS, len(index.packet_flags)
        while self._is_silent() and run.start < index.decoded_packets and run.stop < end:
            stop = min(run.stop + further, end)
            run = Run.of(index, run.start, stop, np.array(self.left))
            yield from self._try(run, index)
            further *= 2

    def _try(self, run: Run, index: FrameIndex) -> Iterator[tuple[int, VideoFrame]]:
        """Decode a run; and again, in the way that suits the reason, what did not come out of it."""
        self._begin(run, index)
        jumps = self._jumps_into_references(run)
        self._doubts = self.threads > 1 or jumps
        yield from self._decode(run)
        if self.threads > 1 and (self._doubted or self._is_silent()):
            yield from self._decode_alone(run)
        elif self._doubted or (jumps and self._is_silent()):
            yield from self._decode_from_before(run)
        if self._refused and self._rescues:
            order = index.decode_order
            yield from self.decode_again([f for f in self.left if order[f] < self._refused[-1]])

    def _is_silent(self) -> bool:
        """Whether pictures are missing, and nothing says why."""
        return bool(self._left) and self.failure is None

    def _decode(self, run: Run) -> Iterator[tuple[int, VideoFrame]]:
        """Yield what comes out, up to the first damage where that is doubted."""
        self._prepare()
        self._seen: Counter[int] = Counter()
        self._inside: set[int] = set()  # packets whose pictures have not come out
        self._suspects: dict[int, str] = {}  # those of them that may be damaged, and why
        self._held: list[tuple[int, VideoFrame]] = []
        for number, packet in self._read(run):
            packet.pts, packet.dts = number, None
            yield from self._pictures(number, packet)
            if not self._left or self._doubted:
                return
        yield from self._pictures(run.stop, None)
        self._inside.clear()
        self._condemn(run.stop)
        yield from self._release()

    def packets(self, run: Run, index: FrameIndex) -> Iterator[tuple[int, VideoPacket]]:
        """Yield (number, packet) for the packets that the run feeds, for a decoder other than FFmpeg's.

        Where the file ends or is damaged they end early.
        """
        self._begin(run, index)
        return self._read(run)

    def _begin(self, run: Run, index: FrameIndex) -> None:
        self.index, self._run = index, run
        self.failure = None
        self._left = set(run.frames.tolist())
        self._damage = Damage(index)
        self._refused: list[int] = []  # packets that the decoder raised an error for
        self._judged_from = run.start
        # After a jump the pictures that are shown before its keyframe lack what they refer to.
        jumps = self._jumps_into_references(run)
        self._shown_from = int(index.frame_of_packet[run.start]) if jumps else -1
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
        self._container.configure(
            threads=self.threads, strict_output=self.index.strict_output, conceal=False
        )
        if self.index.prime_decoders:
            self._show_first_packet()

    def _show_first_packet(self) -> None:
        beginning = Container(self.source)
        try:
            with contextlib.suppress(av.error.FFmpegError, DecodeError):
                self._container.decode(next(beginning.packets()))
        finally:
            beginning.close()

    def _jumps_into_references(self, run: Run) -> bool:
        """Whether the pictures after a run's keyframe may name some from before it, if only to have them forgotten."""
        closed = self.index.packet_flags[run.start] & RESET
        return self.index.codec == "h264" and run.start > 0 and not closed

    def _decode_from_before(self, run: Run) -> Iterator[tuple[int, VideoFrame]]:
        """Decode what is left of a run from a keyframe before its own, so that pictures which it names are there."""
        needed = self._start_of_rest(run)
        starts = np.append(0, np.flatnonzero(self.index.packet_flags[: needed + 1] & START))
        before = starts[starts <= max(0, needed - _REFERENCE_PACKETS)]
        again = Run.of(self.index, int(before[-1]), run.stop, np.array(self.left))
        self._begin(again, self.index)
        self._judged_from = needed  # what is missing before it says nothing about the rest
        yield from self._decode(again)

    def _start_of_rest(self, run: Run) -> int:
        """Return the packet of the run from which what is left of it can be decoded."""
        return max(run.start, Plan.of(self.index, self.left).runs[0].start)

    def _decode_alone(self, run: Run) -> Iterator[tuple[int, VideoFrame]]:
        """Decode what is left of a run with one thread: frame threads tell of damage some packets later, or not at all."""
        self._alone = alone = RunDecoder(self.source, 1)
        try:
            for frame, picture in alone.decode(self._rest_of(run), self.index):
                self.failure = alone.failure
                yield frame, picture
        finally:
            self._left, self.failure, self._refused = set(alone.left), alone.failure, []
            self._alone = None
            self.decoded += alone.decoded
            self.bytes_read += alone.bytes_read
            alone.close()

    def _rest_of(self, run: Run) -> Run:
        """Return a run for what is left, which feeds what the run does: what FFmpeg notices depends on what went before."""
        start = self._start_of_rest(run)
        return Run(start, run.stop, np.array(self.left), run.feed[start - run.start :])

    def decode_again(self, frames: list[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Yield frames of the run at hand that nothing is known against, with a decoder of their own; the run can go on then.

        With the error that it raises for a packet FFmpeg lets go of the picture that was due then, which is another's.
        """
        if self._alone is not None:
            yield from self._alone.decode_again(frames)
            return
        order, feed, first = self.index.decode_order, self._run.feed, self._run.start
        frames = [f for f in frames if f in self._left and not self._damage.spoils(f)]
        runs: list[Run] = []
        for number in self._refused:
            if due := [f for f in frames if order[f] < number]:
                runs.append(Run(first, number, np.array(due), feed[: number - first]))
                frames = [f for f in frames if order[f] > number]
        if frames:
            runs += Plan.of(self.index, frames).runs
        if runs:
            yield from self._decode_apart(runs)

    def _decode_apart(self, runs: Iterable[Run]) -> Iterator[tuple[int, VideoFrame]]:
        alone = RunDecoder(self.source, 1)
        alone._rescues = False
        try:
            for run in runs:
                for frame, picture in alone.decode(run, self.index):
                    self._left.discard(frame)
                    yield frame, picture
        finally:
            self.decoded += alone.decoded
            self.bytes_read += alone.bytes_read
            alone.close()

    def _pictures(
        self, number: int, packet: VideoPacket | None
    ) -> Iterator[tuple[int, VideoFrame]]:
        """Feed one packet, or drain, and yield the wanted pictures that come out."""
        try:
            pictures = self._decode_packet(packet)
        except av.error.FFmpegError as error:
            # A packet that yielded nothing when the index was made by decoding is damage already accounted for.
            if (
                packet is None
                or number >= self.index.decoded_packets
                or self.index.frame_of_packet[number] >= 0
            ):
                self._suspect(number, f"damaged packet: {error.strerror}")
                yield from self._release()
            return
        self.decoded += len(pictures)
        if packet is not None and self.index.frame_of_packet[number] >= 0:
            self._inside.add(number)
        for picture in pictures:
            frame = self._frame_of(picture)
            origin = -1 if picture.pts is None else picture.pts
            self._inside.discard(origin)
            reason = self._suspects.pop(origin, "FFmpeg flags the picture as corrupt")
            if picture.is_corrupt and frame >= 0:
                self._break(int(self.index.decode_order[frame]), reason)
            if frame in self._left:
                self._held.append((frame, picture))
            del picture
            yield from self._release()

    def _decode_packet(self, packet: VideoPacket | None) -> list[VideoFrame]:
        """Hand a packet to the decoder; once more, if it refuses it, without what is broken beside its pictures.

        With frame threads an error is that of a packet before, which is not to be passed over: who decodes alone tries again.
        """
        try:
            return self._container.decode(packet)
        except av.error.FFmpegError:
            if packet is None or self.threads > 1 or self._parser is None:
                raise
            sound = self._parser.without_broken_units(packet)
            if not sound:
                raise
            rest: Any = av.Packet(sound)
            rest.pts = packet.pts
            return self._container.decode(rest)

    def _suspect(self, number: int, reason: str) -> None:
        """Note that the decoder raised an error for a packet.

        Soon after a jump it also does for pictures of H.264 that name others from before, if only to have them forgotten. Those
        come out all the same and are not flagged; a damaged one is, or does not come out.
        """
        self._refused.append(number)
        frame = int(self.index.frame_of_packet[min(number, len(self.index.frame_of_packet) - 1)])
        if frame >= 0 and self._shown_from >= 0 and number < self._run.start + _REFERENCE_PACKETS:
            self._inside.add(number)
            self._suspects[number] = reason
        else:
            self._break(number, reason)

    def _release(self) -> Iterator[tuple[int, VideoFrame]]:
        """Yield the pictures that came out, but for those of which it is not certain that they are good.

        FFmpeg flags damage of H.264 in a picture when that comes out, which may be after what refers to it. So a picture waits
        for those decoded before it, as long as they may be on their way.
        """
        waits = self.index.codec == "h264"
        while self._held and not self._doubted:
            frame, picture = self._held[0]
            number = int(self.index.decode_order[frame])
            sure = min(self._inside, default=number) >= number
            if waits and not sure and len(self._held) <= MAX_REORDER:
                return
            del self._held[0]
            if not sure:  # those before it do not come any more
                self._inside = {n for n in self._inside if n > number}
                self._condemn(number)
            if not self._damage.spoils(frame) and not self._doubted:
                self._left.discard(frame)
                yield frame, picture
            del picture

    def _condemn(self, before: int) -> None:
        """Take packets before a number for damaged that are suspected to be, and whose pictures should have come out by now."""
        for number in sorted(n for n in self._suspects if n < before):
            self._break(number, self._suspects.pop(number))

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
        frame = int(self.index.frame_of_packet[min(number, len(self.index.frame_of_packet) - 1)])
        unwanted = frame not in self._left and 0 <= frame < self._shown_from
        if number < self._judged_from or unwanted:
            return
        self._damage.add(number)
        self._doubted = self._doubts
        position = int(self.index.packet_position[min(number, len(self.index.packet_position) - 1)])
        at = f" at byte {position}" if position >= 0 else ""
        frame_name = f"frame {frame}" if frame >= 0 else f"packet {number}"
        self.failure = self.failure or DecodeError(
            f"{self.source.name}: {frame_name}{at} cannot be decoded: {reason}; "
            f'on_error="skip", "repeat" or "black" delivers the frames that can'
        )

    def error_of(self, frame: int, run: Run) -> DecodeError:
        """Return why a wanted frame did not come out of the last `decode`."""
        return self.failure or DecodeError(
            f"{self.source.name}: frame {frame} did not come out of the decoder (packets {run.start} to "
            f'{run.stop - 1}); the stream is damaged there; on_error="skip" goes on without it'
        )

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


def _parser_of(container: Container) -> PacketParser | None:
    try:
        return PacketParser(container.codec, container.extradata)
    except ValueError:
        return None
