"""The CPU engine: FFmpeg decodes (through PyAV), our kernels convert, straight from the decoder's planes."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice, takewhile
from typing import TypeVar

import numpy as np
from av.video.frame import VideoFrame

from frametap.container import Container
from frametap.engines.base import Destination, HostTarget, Report, Slots, Target
from frametap.engines.batch_window import BatchWindow, StreamWorker
from frametap.engines.run_decoder import RunDecoder
from frametap.errors import DecodeError
from frametap.index import MAX_REORDER, FrameIndex
from frametap.plan import Plan, Run
from frametap.source import Source

_T = TypeVar("_T")

# Frame threads have to be filled and drained; a shorter run is decoded faster without.
_MIN_PACKETS_FOR_FRAME_THREADS = 8
# With fewer runs than this for each worker, the last ones of a stream would leave workers idle for long.
_MIN_RUNS_PER_WORKER = 2
# Converted frames of a run that may wait for the consumer, per worker: about what the pictures in its decoder take.
_MAX_BYTES_AHEAD = 64 << 20


@dataclass(eq=False)
class _Job:
    """The runs of a plan that nobody has taken yet, and who is at work on the others."""

    index: FrameIndex
    runs: deque[Run]
    threads: int
    destination: Destination
    report: Report
    helpers: list[threading.Thread] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)


class CpuEngine:
    """Decodes runs on CPU threads, one demuxer and decoder per thread, kept for the next plan.

    Args:
        source: the video.
        threads: how many cores to use.
        why: for the report.
        container: an opened one to take over, its decoder unused.

    Attributes:
        idle_cores: more cores, which may be taken while they are free; None for no more than `threads`.
    """

    name = "cpu"

    def __init__(
        self, source: Source, threads: int, why: str, container: Container | None = None
    ) -> None:
        self.source, self.threads, self.why = source, threads, why
        self.target: Target = HostTarget()
        self.idle_cores: threading.Semaphore | None = None
        self._spare = container
        self._idle: list[RunDecoder] = []  # the one used last at the end
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def close(self) -> None:
        """Free every demuxer and decoder."""
        self._forget_the_parent()
        with self._lock:
            for decoder in self._idle:
                decoder.close()
            self._idle.clear()
            if self._spare is not None:
                self._spare.close()
                self._spare = None

    def _forget_the_parent(self) -> None:
        if self._pid != os.getpid():
            # A forked child cannot use its parent's decoders, and a thread that stayed there may hold the lock.
            self._idle, self._spare, self._pid = [], None, os.getpid()
            self._lock = threading.Lock()

    def _borrow(self, threads: int) -> RunDecoder:
        self._forget_the_parent()
        with self._lock:
            for decoder in reversed(self._idle):
                if decoder.threads == threads:
                    self._idle.remove(decoder)
                    return decoder
            spare, self._spare = self._spare, None
        return self._new_decoder(threads, spare)

    def _new_decoder(self, threads: int, container: Container | None) -> RunDecoder:
        return RunDecoder(self.source, threads, container)

    def _give_back(self, decoder: RunDecoder) -> None:
        with self._lock:
            self._idle.append(decoder)
            # Jobs differ in how many threads a decoder is to have; all that are kept have no more together than may work.
            while len(self._idle) > 1 and sum(d.threads for d in self._idle) > self.threads:
                self._idle.pop(0).close()

    def run(self, plan: Plan, destination: Destination, report: Report) -> None:
        """Decode the runs in parallel, longest first; few runs share the cores by frame threading."""
        runs = deque(sorted(plan.runs, key=len, reverse=True))
        if not runs:
            return
        self.source.prefetch(plan.index.byte_ranges((run.start, run.stop) for run in runs))
        workers = self._workers(len(runs))
        per_decoder = (
            self._threads_per_decoder(workers, runs[0]) if _bears_frame_threads(plan) else 1
        )
        job = _Job(plan.index, runs, per_decoder, destination, report)
        for _ in range(workers - 1):
            self._start_helper(job)
        self._work(job)
        for thread in job.helpers:  # which grows while they find idle cores
            thread.join()
        try:
            if job.errors:
                raise job.errors[0]
        finally:
            job.errors.clear()  # what they failed of holds their frames, and so this job

    def _start_helper(self, job: _Job, core: threading.Semaphore | None = None) -> None:
        helper = threading.Thread(target=self._work, args=(job, core), name="frametap-helper")
        helper.start()
        job.helpers.append(helper)

    def _idle_core(self) -> threading.Semaphore | None:
        """Take a core that is free, to be released when it has nothing more to do."""
        cores = self.idle_cores
        return cores if cores is not None and cores.acquire(blocking=False) else None

    def _workers(self, runs: int) -> int:
        return min(self.threads, runs)

    def _threads_per_decoder(self, workers: int, longest: Run) -> int:
        return (
            max(1, self.threads // workers) if len(longest) >= _MIN_PACKETS_FOR_FRAME_THREADS else 1
        )

    def _work(self, job: _Job, core: threading.Semaphore | None = None) -> None:
        """Take runs until none is left, then release the core."""
        try:
            self._decode_runs(job)
        except BaseException as error:
            job.runs.clear()
            job.errors.append(error)
        finally:
            if core is not None:
                core.release()

    def _decode_runs(self, job: _Job) -> None:
        decoder = self._borrow(job.threads)
        try:
            while (run := _take(job.runs)) is not None:
                if job.runs and (core := self._idle_core()) is not None:
                    self._start_helper(job, core)
                self._decode_run(decoder, run, job.index, job.destination, job.report)
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
        if left := decoder.left:
            slots.fail(left, decoder.error_of(left[0], run))

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

        Several workers decode keyframe intervals ahead of the consumer where those are short enough to be kept once they
        are converted. Elsewhere one decoder with frame threads reads the runs in order.
        """
        batches = iter(batches)
        first = next(batches, None)
        if first is None:
            return iter(())
        longest = max(len(run.frames) for run in plan.runs)
        workers = self.threads if len(plan.runs) >= _MIN_RUNS_PER_WORKER * self.threads else 1
        if plan.index.fresh_decoders or longest * first[0].frame_bytes > _MAX_BYTES_AHEAD:
            workers = 1
        batches = chain([first], batches)
        if workers > 1:
            return self._stream_by_runs(plan, batches, workers, workers * longest)
        # Where a sequence leaves unsaid what another stated, a decoder that goes on keeps the old, or takes the new too early.
        return self._stream_in_order(plan if plan.index.fresh_decoders else plan.joined(), batches)

    def _stream_in_order(
        self, plan: Plan, batches: Iterable[tuple[Destination, Report]]
    ) -> Iterator[tuple[Destination, Report]]:
        """Decode one run after another with frame threads; nothing is held but what the decoder holds and the batch at hand."""
        decoder = self._borrow(self.threads if _bears_frame_threads(plan) else 1)
        try:
            pictures = (item for run in plan.runs for item in _in_order(run, plan.index, decoder))
            for destination, report in batches:
                wanted = islice(pictures, len(destination.frames))
                self._fill(decoder, wanted, destination, report)
                yield destination, report
        except BaseException:
            decoder.close()
            raise
        self._give_back(decoder)

    def _stream_by_runs(
        self, plan: Plan, batches: Iterable[tuple[Destination, Report]], workers: int, ahead: int
    ) -> Iterator[tuple[Destination, Report]]:
        """Decode a run per worker, each with one thread: no waiting for references, which frame threads do for each other."""
        window = BatchWindow(batches, ahead)
        positions = np.cumsum([0] + [len(run.frames) for run in plan.runs]).tolist()
        runs = deque(zip(positions[:-1], plan.runs, strict=True))
        work = (window, runs, plan.index)
        threads = [
            StreamWorker(target=self._fill_window, args=work, name=f"frametap-{i}")
            for i in range(workers)
        ]
        try:
            for thread in threads:
                thread.start()
            yield from window.take(positions[-1])
        finally:
            window.stop()
            for thread in threads:
                thread.join()

    def _fill_window(
        self, window: BatchWindow, runs: deque[tuple[int, Run]], index: FrameIndex
    ) -> None:
        """Take runs in order and put their frames into the batches they belong to, until none is left."""
        position = 0
        try:
            decoder = self._borrow(1)
            try:
                while not window.stopped and (taken := _take(runs)) is not None:
                    position, run = taken
                    end = position + len(run.frames)
                    self.source.prefetch(index.byte_ranges([(run.start, run.stop)]))
                    pictures = _in_order(run, index, decoder)
                    while position < end and (batch := window.batch_at(position)) is not None:
                        count = min(end, batch.end) - position
                        wanted = takewhile(lambda _: not window.stopped, islice(pictures, count))
                        self._fill(decoder, wanted, batch.destination, batch.report)
                        window.filled(batch, count)
                        position += count
            except BaseException:
                decoder.close()
                raise
            self._give_back(decoder)
        except BaseException as error:
            window.fail(position, error)


def _bears_frame_threads(plan: Plan) -> bool:
    """Whether frame threads yield what one thread does.

    Of H.264 whose fields come in packets of their own FFmpeg's frame threads flag whole pictures as corrupt; such streams
    are among those whose index rests on decoding, with one thread. Of MPEG-4 they race for what tells damage from an
    encoder that pads its pictures badly, and so find the damage of a picture or do not. Of VP8 they race for the segment map
    that a picture takes over from the one before, and now and then give wrong pixels.
    """
    by_headers = all(run.start >= plan.index.decoded_packets for run in plan.runs)
    return by_headers and plan.index.codec not in ("mpeg4", "vp8")


def _take(items: deque[_T]) -> _T | None:
    """Return the next item, None when another thread has taken the last."""
    try:
        return items.popleft()
    except IndexError:
        return None


def _in_order(
    run: Run, index: FrameIndex, decoder: RunDecoder
) -> Iterator[tuple[int, VideoFrame | DecodeError]]:
    """Yield every wanted frame of a run with its picture, or with the error that took its place.

    Pictures that come before their turn, where timestamps contradict the bitstream's order, wait for it, unless damage says
    why those before them are missing. Before those are given up they are decoded again, where nothing is known against them.
    """
    expected = deque(run.frames.tolist())
    early: dict[int, VideoFrame] = {}
    tried: set[int] = set()
    for frame, picture in decoder.decode(run, index):
        if not expected or frame < expected[0]:
            continue  # a damaged stream may bring a picture after its turn
        early[frame] = picture
        del picture
        if early and expected[0] not in early and (decoder.failure or len(early) > MAX_REORDER):
            first = min(early)
            missing = {f for f in islice(expected, MAX_REORDER) if f < first} - tried
            early.update(decoder.decode_again(sorted(missing)))
            tried |= missing
        while early and (expected[0] in early or decoder.failure or len(early) > MAX_REORDER):
            yield _turn_of(expected.popleft(), early, decoder, run)
    for frame in expected:
        yield _turn_of(frame, early, decoder, run)


def _turn_of(
    frame: int, early: dict[int, VideoFrame], decoder: RunDecoder, run: Run
) -> tuple[int, VideoFrame | DecodeError]:
    return frame, early.pop(frame) if frame in early else decoder.error_of(frame, run)
