"""The NVDEC engine: the GPU's decoder, then our kernels straight from its surfaces; pixels never visit host memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from frametap._core import START, NvdecSession, PacketParser, SurfaceFormat
from frametap.container import Container, VideoPacket
from frametap.engines.base import Destination, Report, Slots
from frametap.engines.cuda_target import CudaTarget
from frametap.engines.hybrid import HybridEngine, UploadingDecoder
from frametap.engines.looks import Looks
from frametap.engines.nvdec_caps import DECODABLE, nvdec_caps, refusal
from frametap.engines.run_decoder import RunDecoder
from frametap.engines.window import Window
from frametap.errors import DecodeError, UnsupportedError
from frametap.geometry import PictureFormat
from frametap.index import FrameIndex
from frametap.plan import Plan, Run
from frametap.source import Source

# Packets go to the parser in groups, so that the GIL is given up once for many, and no group is a long wait.
_GROUP_PACKETS = 32
_GROUP_BYTES = 4 << 20
_BEGINNING = "its first packets do not tell their frames"
_DAMAGE = "cuvidGetDecodeStatus reports an error in a picture"
_MAX_REASONS = 3
_AGAIN = ", so its part was decoded on the CPU"
_AND_MORE = "; and other parts"


def _timestamps(index: FrameIndex) -> NDArray[np.int64]:
    """Return int64[M]: for each packet a number that rises in display order, as the parser's timestamps must.

    Packets with a frame are ordered by its number; packets without one, which an edit list hides say, stand where their own pts
    puts them.
    """
    frames = index.frame_of_packet.astype(np.float64)
    hidden = frames < 0
    frames[hidden] = np.searchsorted(index.pts, index.packet_pts[hidden]) - 0.5
    stamps = np.empty(len(frames), dtype=np.int64)
    stamps[np.lexsort((index.packet_pts, frames))] = np.arange(len(frames))
    return stamps


def _with_reason(why: str, reason: str) -> str:
    """Return a report's `why` with the reason of one more run that FFmpeg decodes; of many, the first few."""
    clause = f"; {reason}{_AGAIN}"
    if clause in why or why.endswith(_AND_MORE):
        return why
    return why + (clause if why.count(_AGAIN) < _MAX_REASONS else _AND_MORE)


class NvdecDecoder(UploadingDecoder):
    """Decodes runs with NVDEC; those it cannot, with FFmpeg. Not thread-safe.

    Args:
        source, threads, container, target: as for UploadingDecoder.
    """

    def __init__(
        self, source: Source, threads: int, container: Container | None, target: CudaTarget
    ) -> None:
        super().__init__(source, threads, container, target)
        self.reason = ""  # why NVDEC did not decode the last run, or not all of it
        self.colour = 0  # what the sequence that is being read states of it, see PacketParser
        self._sequence_start = -1  # its first packet
        self._session: NvdecSession | None = None
        self._stamped: FrameIndex | None = None

    def pause(self) -> None:
        """Let others use the engine while the consumer has the floor; it may be the consumer itself who needs it."""
        if self._session is not None:
            self._session.pause()

    def resume(self) -> None:
        """Go on; waits until an engine is free."""
        if self._session is not None:
            self._session.resume()

    def close(self) -> None:
        """Free the session too."""
        super().close()
        self._session = None

    def _read(self, run: Run) -> Iterator[tuple[int, VideoPacket]]:
        try:  # a new one for each run: decoding begins without what other parts of the stream stated
            parser = PacketParser(self.index.codec, self._container.extradata)
        except ValueError:
            parser = None
        for number, packet in super()._read(run):
            starts = bool(self.index.packet_flags[number] & START) or number == run.start
            if parser is not None and (starts or self.index.fresh_decoders):
                parser.parse(packet)
                if starts or parser.colour != self.colour:
                    self.colour, self._sequence_start = parser.colour, number
            yield number, packet

    def convert_run(
        self,
        run: Run,
        index: FrameIndex,
        slots: Slots,
        looks: Looks,
        bit_depth: int,
        report: Report,
    ) -> Iterator[None]:
        """Decode a run and convert its wanted frames into their slots; yields now and then, when some may be done.

        Raises:
            DeviceError: the driver refused something, or the GPU is lost.
        """
        if self._session is None:
            self._session = self._new_session(index, bit_depth)
        session = self._session
        if self._stamped is not index:
            self._stamps, self._stamped = _timestamps(index), index
            self._packet_of = np.argsort(self._stamps)
        self.reason = ""
        started, bytes_read = time.perf_counter(), self.bytes_read
        decoded, mapped = session.decoded, session.mapped
        try:
            for _ in self._feed(session, run, index, slots, looks):
                session.order_after(self._target.stream)  # what is done may be handed on now
                yield
        except (UnsupportedError, DecodeError) as error:
            session.abandon()
            self.reason = str(error)
        except BaseException:
            session.abandon()
            self._session = None
            raise
        if session.damaged:  # whatever is not handed on yet is doubtful
            self.reason = self.reason or _DAMAGE
            self._left = {frame for frame in run.frames.tolist() if slots.is_open(frame)}
        session.order_after(self._target.stream)
        if (
            self._left
        ):  # who writes those slots again comes after what the session may still write there
            session.order_after(self._target.own_stream)
        with slots.lock:
            report.add(
                decoded=session.decoded - decoded,
                mapped=session.mapped - mapped,
                bytes_read=self.bytes_read - bytes_read,
                decode=(time.perf_counter() - started) * 1e3,
            )

    def _new_session(self, index: FrameIndex, bit_depth: int) -> NvdecSession:
        """Make what decodes; a stream of another depth than expected is refused by the session itself."""
        del bit_depth
        return NvdecSession(self._target.cuda, index.codec, self._container.extradata)

    def _feed(
        self, session: NvdecSession, run: Run, index: FrameIndex, slots: Slots, looks: Looks
    ) -> Iterator[None]:
        surface: SurfaceFormat | None = None
        # How the wanted frames look whose packets the parser has, and that have not come out.
        fed: dict[int, PictureFormat] = {}

        def want(frame: int) -> None:
            assert surface is not None
            size, layout = (surface.width, surface.height), surface.pixel_format
            picture = replace(fed[frame], width=size[0], height=size[1], pixel_format=layout)
            converter, address = slots.slot(frame, picture)
            stamp = int(self._stamps[index.decode_order[frame]])
            session.want(stamp, converter, address)
            session.order_before(self._target.own_stream)  # on which the slot was allocated

        def on_format(found: SurfaceFormat) -> None:
            nonlocal surface
            surface = found
            for frame in sorted(fed):
                want(frame)

        def collect() -> None:
            if session.damaged:
                raise DecodeError(_DAMAGE)
            for stamp in session.take_converted():
                frame = int(index.frame_of_packet[self._packet_of[stamp]])
                fed.pop(frame, None)
                self._left.discard(frame)
                slots.done(frame)

        # Pictures that lead an open keyframe lack what they refer to: that is no damage, unless they are wanted.
        session.begin(on_format, judge_all=not index.has_leading_pictures)
        group: list[tuple[VideoPacket, int]] = []
        size = 0
        for number, packet in self.packets(run, index):
            frame = int(index.frame_of_packet[number])
            if frame in self._left:
                fed[frame] = self._look(frame, index, looks)
                if surface is not None:
                    want(frame)
            group.append((packet, int(self._stamps[number])))
            size += packet.size
            if len(group) == _GROUP_PACKETS or size >= _GROUP_BYTES:
                session.feed(group)
                group, size = [], 0
                collect()
                yield
        session.feed(group)
        session.finish()
        collect()

    def _look(self, frame: int, index: FrameIndex, looks: Looks) -> PictureFormat:
        shown = (
            int(index.frame_of_packet[self._sequence_start]) if self._sequence_start >= 0 else -1
        )
        # The start of its sequence tells as much as the frame, and is decoded sooner.
        return looks.of(self.colour, shown if shown >= 0 else frame, index)


class NvdecEngine(HybridEngine):
    """Decodes runs on NVDEC, as many at once as the GPU has engines. What it cannot decode goes the hybrid way.

    Each worker has a demuxer and a session; the decoders are shared by all readers of the process. A run in which NVDEC
    reports damage, or whose wanted pictures do not all come out, is decoded again by FFmpeg, so that damaged files
    give the same frames and errors as on the CPU.

    Args:
        source, threads, why, container: as for CpuEngine; the threads are those of the hybrid way.
        target: the GPU memory to write.
    """

    name = "nvdec"

    def __init__(
        self,
        source: Source,
        threads: int,
        why: str,
        target: CudaTarget,
        container: Container | None = None,
    ) -> None:
        super().__init__(source, threads, why, target, container)
        self._looks = Looks(self._decode_one)
        self._kind = (0, 0)  # chroma as NVDEC counts it, bits
        self._refusal: str | None = None
        self._engines = 1

    def _new_decoder(self, threads: int, container: Container | None) -> RunDecoder:
        return NvdecDecoder(self.source, threads, container, self.target)

    def _uses_nvdec(self, index: FrameIndex, report: Report) -> bool:
        """Whether NVDEC can decode this video; a report says so when it cannot."""
        if self._refusal is None:
            self._refusal = self._examine(index)
        if self._refusal:
            report.engine = "hybrid"
            report.why = f"decoded on the CPU, converted on {self.target.device}: {self._refusal}"
        return not self._refusal

    def _examine(self, index: FrameIndex) -> str:
        """Look at the first picture, and return why NVDEC cannot decode the video; empty when it can."""
        first = self._looks.first(index)
        if first is None:
            return "its first frame cannot be decoded"
        reason = refusal(self.target.cuda, index, first)
        if not reason:
            self._kind = DECODABLE[first.pixel_format]
            caps = nvdec_caps(self.target.cuda, index.codec, *self._kind)
            self._engines = max(1, caps["engines"])
        return reason

    def _decode_one(self, frame: int, index: FrameIndex) -> tuple[int, PictureFormat] | None:
        """Decode one picture with FFmpeg, for what only a decoded picture tells: colour, orientation, chroma location."""
        decoder = self._borrow(1)
        assert isinstance(decoder, NvdecDecoder)
        try:
            for _, picture in decoder.decode(Plan.of(index, [frame]).runs[0], index):
                return decoder.colour, decoder.format_of(picture)
            return None
        finally:
            self._give_back(decoder)

    def _workers(self, runs: int) -> int:
        return super()._workers(runs) if self._refusal else min(self._engines, runs)

    def _idle_core(self) -> threading.Semaphore | None:
        return super()._idle_core() if self._refusal else None

    def run(self, plan: Plan, destination: Destination, report: Report) -> None:
        """Decode the runs in parallel, longest first."""
        self._uses_nvdec(plan.index, report)
        super().run(plan, destination, report)

    def _threads_per_decoder(self, workers: int, longest: Run) -> int:
        return super()._threads_per_decoder(workers, longest) if self._refusal else 1

    def _decode_run(
        self,
        decoder: RunDecoder,
        run: Run,
        index: FrameIndex,
        slots: Slots,
        report: Report,
    ) -> None:
        if self._refusal:
            super()._decode_run(decoder, run, index, slots, report)
            return
        for _ in self._convert_run(decoder, run, index, slots, report):
            pass

    def _convert_run(
        self, decoder: RunDecoder, run: Run, index: FrameIndex, slots: Slots, report: Report
    ) -> Iterator[None]:
        """Convert a run with NVDEC, and what that may not or did not yield with FFmpeg."""
        assert isinstance(decoder, NvdecDecoder)
        left, reason = run.frames.tolist(), _BEGINNING
        if run.start >= index.decoded_packets:
            yield from decoder.convert_run(run, index, slots, self._looks, self._kind[1], report)
            left, reason = decoder.left, decoder.reason
        if not left:
            return
        reason = reason or f"NVDEC did not deliver frame {left[0]}"
        with slots.lock:
            report.why = _with_reason(report.why, reason)
        for again in Plan.of(index, left).runs:
            super()._decode_run(decoder, again, index, slots, report)
            yield

    def stream(
        self, plan: Plan, batches: Iterable[tuple[Destination, Report]]
    ) -> Iterator[tuple[Destination, Report]]:
        """Fill one destination after another with the plan's ascending frames; see `Engine.stream`.

        One session decodes the runs in order. Slots are asked for when their packets are fed, so no more is held than
        the batches of the frames on their way through the decoder.
        """
        if not self._uses_nvdec(plan.index, Report(self.name, self.why)):
            for destination, report in super().stream(plan, batches):
                self._uses_nvdec(plan.index, report)
                yield destination, report
            return
        window = Window(iter(batches))
        decoder = self._borrow(1)
        try:
            assert isinstance(decoder, NvdecDecoder)
            for run in plan.runs:
                for _ in self._convert_run(decoder, run, plan.index, window, window.report):
                    for batch in window.complete():
                        decoder.pause()
                        yield batch
                        decoder.resume()
            yield from window.complete()
        except BaseException:
            decoder.close()
            raise
        self._give_back(decoder)
