"""The CPU engine: FFmpeg decodes (through PyAV), our kernels convert, straight from the decoder's planes."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from av.video.frame import VideoFrame

from frametap.container import Container
from frametap.engines.base import Destination, HostTarget, Report, Slots, Target
from frametap.engines.run_decoder import RunDecoder
from frametap.errors import DecodeError
from frametap.index import FrameIndex
from frametap.plan import Plan, Run
from frametap.source import Source

# Frame threads have to be filled and drained; a shorter run is decoded faster without.
_MIN_PACKETS_FOR_FRAME_THREADS = 8


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
        self.target: Target = HostTarget()
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
        return self._new_decoder(threads, spare)

    def _new_decoder(self, threads: int, container: Container | None) -> RunDecoder:
        return RunDecoder(self.source, threads, container)

    def _give_back(self, decoder: RunDecoder) -> None:
        with self._lock:
            self._idle.setdefault(decoder.threads, []).append(decoder)

    def run(self, plan: Plan, destination: Destination, report: Report) -> None:
        """Decode the runs in parallel, longest first; few runs share the cores by frame threading."""
        runs = deque(sorted(plan.runs, key=len, reverse=True))
        if not runs:
            return
        workers = self._workers(len(runs))
        per_decoder = self._threads_per_decoder(workers, runs[0])
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

    def _workers(self, runs: int) -> int:
        return min(self.threads, runs)

    def _threads_per_decoder(self, workers: int, longest: Run) -> int:
        return (
            max(1, self.threads // workers) if len(longest) >= _MIN_PACKETS_FOR_FRAME_THREADS else 1
        )

    def _work(
        self,
        index: FrameIndex,
        runs: deque[Run],
        threads: int,
        destination: Destination,
        report: Report,
    ) -> None:
        """Take runs until none is left."""
        decoder = self._borrow(threads)
        try:
            while True:
                try:
                    run = runs.popleft()
                except IndexError:
                    break
                self._decode_run(decoder, run, index, destination, report)
        except BaseException:
            decoder.close()
            raise
        self._give_back(decoder)

    def _decode_run(
        self,
        decoder: RunDecoder,
        run: Run,
        index: FrameIndex,
        slots: Slots,
        report: Report,
    ) -> None:
        self._fill(decoder, decoder.decode(run, index), slots, report)
        left, failure = decoder.missing(run)
        if left:
            slots.fail(left, failure)

    @staticmethod
    def _fill(
        decoder: RunDecoder,
        pictures: Iterator[tuple[int, VideoFrame | DecodeError]],
        destination: Slots,
        report: Report,
    ) -> None:
        """Convert pictures into their slots, and add what it took to the report."""
        decode_seconds = convert_seconds = 0.0
        mapped, decoded, bytes_read = 0, decoder.decoded, decoder.bytes_read
        clock = time.perf_counter
        mark = clock()
        for frame, picture in pictures:
            now = clock()
            decode_seconds += now - mark
            if isinstance(picture, DecodeError):
                destination.fail([frame], picture)
            else:
                decoder.convert(frame, picture, destination)
                mapped += 1
            del picture  # its memory is the decoder's next picture
            mark = clock()
            convert_seconds += mark - now
        decode_seconds += clock() - mark
        decoder.settle(report)
        with destination.lock:
            report.add(
                decoded=decoder.decoded - decoded,
                mapped=mapped,
                bytes_read=decoder.bytes_read - bytes_read,
                decode=decode_seconds * 1e3,
                convert=convert_seconds * 1e3,
            )

    def stream(
        self, plan: Plan, batches: Iterable[tuple[Destination, Report]]
    ) -> Iterator[tuple[Destination, Report]]:
        """Fill one destination after another with the plan's ascending frames; see `Engine.stream`.

        One decoder with frame threads reads the runs in order; nothing is held but what it holds and the batch at hand.
        """
        decoder = self._borrow(self.threads)
        try:
            pictures = self._in_order(plan, decoder)
            for destination, report in batches:
                wanted = islice(pictures, len(destination.frames))
                self._fill(decoder, wanted, destination, report)
                yield destination, report
        except BaseException:
            decoder.close()
            raise
        self._give_back(decoder)

    @staticmethod
    def _in_order(
        plan: Plan, decoder: RunDecoder
    ) -> Iterator[tuple[int, VideoFrame | DecodeError]]:
        """Yield every wanted frame of a plan with its picture, or with the error that took its place."""
        for run in plan.runs:
            expected = deque(run.frames.tolist())
            for frame, picture in decoder.decode(run, plan.index):
                if not expected or frame < expected[0]:
                    continue  # a damaged stream may bring a picture after its turn
                while expected[0] != frame:
                    yield expected.popleft(), decoder.missing(run)[1]
                yield expected.popleft(), picture
                del picture
            for frame in expected:
                yield frame, decoder.missing(run)[1]
