"""The CPU engine: FFmpeg decodes (through PyAV), our kernels convert, straight from the decoder's planes."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import av.error
import numpy as np
from av.video.frame import VideoFrame

from frametap._core import PARSED, RESET, START, PacketParser
from frametap.container import Container, VideoPacket, is_full_range, orientation_of
from frametap.engines.base import Destination, Report
from frametap.errors import DecodeError, SourceError, UnsupportedError
from frametap.geometry import PictureFormat
from frametap.index import FrameIndex
from frametap.info import Orientation, chroma_location_name, matrix_name
from frametap.plan import Plan, Run
from frametap.source import Source

# More packets than any video has.
_END = 1 << 62
# Reading on is cheaper than seeking when the next run begins this many packets further on.
_READ_ON_PACKETS = 32
# After a seek the demuxer may hand out a few packets from before the keyframe; more means that it landed elsewhere.
_SYNC_PACKETS = 256
# How much further to read when a wanted picture does not come out of a stream that only decoding could index.
_FURTHER_PACKETS = 32
# Frame threads have to be filled and drained; a shorter run is decoded faster without.
_MIN_PACKETS_FOR_FRAME_THREADS = 8


Picture = TypeVar("Picture")


class RunDecoder:
    """Decodes runs of one source, one after another, reusing its demuxer and decoder. Not thread-safe.

    Args:
        source: the video.
        threads: threads of the decoder (frame threading).
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
        self.index = index
        self.failure = None
        self._left = set(run.frames.tolist())
        part: Run | None = run
        while part is not None:
            yield from self._decode_part(part)
            part = self._after_damage(part)
        if self._left and self.failure is None and index.method == "decode":
            yield from self._decode_further(run)

    def _decode_part(self, run: Run) -> Iterator[tuple[int, VideoFrame]]:
        """Decode until the run ends, or breaks at damage."""
        self._prepare()
        self._seen: Counter[int] = Counter()
        self._broken = run.stop
        for number, packet in self._read(run):
            packet.pts, packet.dts = number, None
            yield from self._pictures(number, packet)
            if not self._left:
                return
            if self._broken <= number:
                break
        yield from self._pictures(run.stop, None)

    def _after_damage(self, run: Run) -> Run | None:
        """Return what is left of a broken run from the next keyframe on; None when nothing is, or it did not break."""
        index = self.index
        later = index.packet_flags[self._broken + 1 : run.stop] & (START | PARSED)
        for start in (self._broken + 1 + np.flatnonzero(later == (START | PARSED))).tolist():
            frames = np.array([f for f in sorted(self._left) if index.decode_order[f] >= start], dtype=np.int64)
            # Pictures shown before an open keyframe refer to pictures before it, which are lost.
            if not index.packet_flags[start] & RESET:
                frames = frames[frames >= index.frame_of_packet[start]]
            if len(frames):
                return Run(start, run.stop, frames, run.feed[start - run.start :])
        return None

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

    def _decode_further(self, run: Run) -> Iterator[tuple[int, VideoFrame]]:
        """Decode a run again with more packets: in odd streams a picture comes out only after packets that follow it."""
        stop = min(run.stop + _FURTHER_PACKETS, len(self.index.packet_size))
        if stop > run.stop:
            yield from self.decode(Run.of(self.index, run.start, stop, np.array(sorted(self._left))), self.index)

    def _pictures(self, number: int, packet: VideoPacket | None) -> Iterator[tuple[int, VideoFrame]]:
        """Feed one packet, or drain, and yield the wanted pictures that come out."""
        try:
            pictures = self._container.decode(packet)
        except av.error.FFmpegError as error:
            # A packet that yielded nothing when the index was made by decoding is damage already accounted for.
            if packet is None or self.index.method != "decode" or self.index.frame_of_packet[number] >= 0:
                self._break(number, f"damaged packet: {error.strerror}")
            return
        self.decoded += len(pictures)
        for picture in pictures:
            frame = self._frame_of(picture)
            if frame in self._left and self.index.decode_order[frame] < self._broken:
                if picture.is_corrupt:
                    self._break(int(self.index.decode_order[frame]), "FFmpeg flags the picture as corrupt")
                    continue
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
        same = first >= 0 and frame < len(self.index) and int(self.index.decode_order[frame]) == picture.pts
        return frame if same else -1

    def _break(self, number: int, reason: str) -> None:
        if number < self._broken:
            self._broken = number
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
        left = sorted(self._left)
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
        if self._next >= len(self.index.packet_size) or packet.size != self.index.packet_size[self._next]:
            raise SourceError(f"{self.source.name}: packet {self._next} is not the one indexed; build the index again")
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
        try:
            self._container.seek(int(self.index.packet_pts[start]))
            self._packets = self._container.packets()
            for _ in range(_SYNC_PACKETS):
                packet = next(self._packets, None)
                if packet is None:
                    break
                number = self._number_of(packet)
                if number is not None and number <= start:
                    self._next = number + 1
                    return packet
                if number is not None:
                    break
        except (av.error.FFmpegError, DecodeError, OSError, ValueError):
            pass
        self._reopen()
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

    def format_of(self, picture: VideoFrame) -> PictureFormat:
        """Describe a decoded picture for the converter.

        Raises:
            UnsupportedError: a colour matrix that has no place in the conversion.
        """
        if self._orientation is None:
            self._orientation = orientation_of(picture)
        turn = self._orientation
        return PictureFormat(
            pixel_format=picture.format.name,
            width=picture.width,
            height=picture.height,
            matrix=matrix_name(int(picture.colorspace)),
            full_range=is_full_range(picture),
            chroma_location=self._chroma_location,
            transpose=turn.transpose,
            flip_x=turn.flip_x,
            flip_y=turn.flip_y,
        )

    def _signalled_chroma_location(self) -> str:
        try:
            signalled = PacketParser(self._container.codec, self._container.extradata).chroma_sample_loc_type
        except ValueError:
            signalled = -1
        return chroma_location_name(signalled, self._container.codec)

    def convert(self, frame: int, picture: VideoFrame, destination: Destination) -> None:
        """Convert a picture into its slot, reading the decoder's planes where they are."""
        try:
            converter = destination.converter(self.format_of(picture))
        except UnsupportedError as error:
            raise UnsupportedError(f"{self.source.name}: frame {frame}: {error}") from error
        planes = [(plane.buffer_ptr, plane.line_size) for plane in picture.planes]
        converter.convert(planes, destination.address(frame))
        destination.done(frame)


class CpuEngine:
    """Decodes runs on CPU threads, one demuxer and decoder per thread, kept for the next plan.

    Args:
        source: the video.
        threads: how many cores to use.
        why: for the report.
        container: an opened one to take over, its decoder unused.
    """

    name = "cpu"

    def __init__(
        self, source: Source, threads: int, why: str, container: Container | None = None
    ) -> None:
        self.source, self.threads, self.why = source, threads, why
        self._spare = container
        self._idle: dict[int, list[RunDecoder]] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def close(self) -> None:
        """Free every demuxer and decoder."""
        with self._lock:
            for decoders in self._idle.values():
                for decoder in decoders:
                    decoder.close()
            self._idle.clear()
            if self._spare is not None:
                self._spare.close()
                self._spare = None

    def _borrow(self, threads: int) -> RunDecoder:
        with self._lock:
            if self._pid != os.getpid():
                # A forked child shares the parent's file positions: leave its decoders alone and open our own.
                self._idle, self._spare, self._pid = {}, None, os.getpid()
            idle = self._idle.setdefault(threads, [])
            if idle:
                return idle.pop()
            spare, self._spare = self._spare, None
        return RunDecoder(self.source, threads, spare)

    def _give_back(self, decoder: RunDecoder) -> None:
        with self._lock:
            self._idle.setdefault(decoder.threads, []).append(decoder)

    def run(self, plan: Plan, destination: Destination, report: Report) -> None:
        """Decode the runs in parallel, longest first; few runs share the cores by frame threading."""
        runs = deque(sorted(plan.runs, key=len, reverse=True))
        workers = min(self.threads, len(runs))
        if workers == 0:
            return
        per_decoder = max(1, self.threads // workers) if len(runs[0]) >= _MIN_PACKETS_FOR_FRAME_THREADS else 1
        if workers == 1:
            self._work(plan.index, runs, per_decoder, destination, report)
            return
        errors: list[BaseException] = []

        def work() -> None:
            try:
                self._work(plan.index, runs, per_decoder, destination, report)
            except BaseException as error:
                runs.clear()
                errors.append(error)

        threads = [threading.Thread(target=work, name=f"frametap-{i}") for i in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _work(self, index: FrameIndex, runs: deque[Run], threads: int, destination: Destination, report: Report) -> None:
        """Take runs until none is left."""
        decoder = self._borrow(threads)
        try:
            while True:
                try:
                    run = runs.popleft()
                except IndexError:
                    break
                for frame, picture in self._account(decoder, decoder.decode(run, index), destination, report):
                    decoder.convert(frame, picture, destination)
                left, failure = decoder.missing(run)
                if left:
                    destination.fail(left, failure)
        except BaseException:
            decoder.close()
            raise
        self._give_back(decoder)

    def _account(
        self, decoder: RunDecoder, pictures: Iterator[tuple[int, Picture]], destination: Destination, report: Report
    ) -> Iterator[tuple[int, Picture]]:
        """Pass pictures on, and add what they took to the report at the end."""
        decode_seconds = convert_seconds = 0.0
        mapped, decoded, bytes_read = 0, decoder.decoded, decoder.bytes_read
        clock = time.perf_counter
        mark = clock()
        for item in pictures:
            now = clock()
            decode_seconds += now - mark
            yield item
            mark = clock()
            convert_seconds += mark - now
            mapped += 1
        decode_seconds += clock() - mark
        with destination.lock:
            report.add(
                decoded=decoder.decoded - decoded,
                mapped=mapped,
                bytes_read=decoder.bytes_read - bytes_read,
                decode=decode_seconds * 1e3,
                convert=convert_seconds * 1e3,
            )

    def stream(self, plan: Plan, batches: Iterable[tuple[Destination, Report]]) -> Iterator[tuple[Destination, Report]]:
        """Fill one destination after another with the plan's ascending frames; see `Engine.stream`.

        One decoder with frame threads reads the runs in order; nothing is held but what it holds and the batch at hand.
        """
        decoder = self._borrow(self.threads)
        try:
            pictures = self._in_order(plan, decoder)
            for destination, report in batches:
                wanted = islice(pictures, len(destination.frames))
                for frame, picture in self._account(decoder, wanted, destination, report):
                    if isinstance(picture, DecodeError):
                        destination.fail([frame], picture)
                    else:
                        decoder.convert(frame, picture, destination)
                yield destination, report
        except BaseException:
            decoder.close()
            raise
        self._give_back(decoder)

    @staticmethod
    def _in_order(plan: Plan, decoder: RunDecoder) -> Iterator[tuple[int, VideoFrame | DecodeError]]:
        """Yield every wanted frame of a plan with its picture, or with the error that took its place."""
        for run in plan.runs:
            expected = deque(run.frames.tolist())
            for frame, picture in decoder.decode(run, plan.index):
                while expected[0] != frame:
                    yield expected.popleft(), decoder.missing(run)[1]
                yield expected.popleft(), picture
            for frame in expected:
                yield frame, decoder.missing(run)[1]
