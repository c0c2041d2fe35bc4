"""`sample_many`: the same sampling over many videos, all cores busy, bounded memory, errors kept apart."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from frametap.batch import FrameBatch
from frametap.engines.base import OnError, Report, check_on_error
from frametap.engines.select import check_device, check_threads, default_threads
from frametap.errors import SOURCE_ERRORS
from frametap.output import STORAGE
from frametap.reader import VideoReader, check_transform
from frametap.sampler import Sampler, Uniform
from frametap.source import SourceLike
from frametap.transform import Transform

_ONE_VIDEO = (str, bytes, bytearray, memoryview, os.PathLike)


class _Cores:
    """Tells which of the workers' cores are idle for good: no video is left for them, so they may help with the last ones."""

    def __init__(self, workers: int) -> None:
        self.idle = threading.Semaphore(0)
        self._workers, self._videos, self._all_known = workers, 0, False
        self._lock = threading.Lock()

    def add_video(self) -> None:
        with self._lock:
            self._videos += 1

    def no_more_videos(self) -> None:
        with self._lock:
            if not self._all_known and self._videos < self._workers:
                self.idle.release(self._workers - self._videos)
            self._all_known = True

    def finish_video(self) -> None:
        with self._lock:
            self._videos -= 1
            if self._all_known and self._videos < self._workers:
                self.idle.release()


class BatchStream(Iterator[FrameBatch]):
    """One `FrameBatch` per source, made ahead by worker threads; what `sample_many` returns.

    A source that fails raises its error from `next()` when its turn comes, and iteration can go on with the next source;
    with an `on_error` other than "raise" its turn yields a batch of no frames with the error in `batch.error`.
    Use it in a `with` block, or call `close()`, to stop early without waiting for the sources not begun.
    """

    def __init__(
        self,
        sources: Iterable[SourceLike],
        workers: int,
        prefetch: int,
        ordered: bool,
        reader: dict[str, Any],
        request: dict[str, Any],
    ) -> None:
        self._sources = enumerate(sources)
        self._ordered, self._reader, self._request = ordered, reader, request
        self._ahead = workers + prefetch
        self._cores = _Cores(workers)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="frametap")
        self._pending: deque[tuple[int, Future[FrameBatch]]] = deque()
        self.position = -1

    def __iter__(self) -> BatchStream:
        return self

    def __enter__(self) -> BatchStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop: sources not begun are dropped, those at work are waited for."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()
        self._sources = iter(())  # type: ignore[assignment]

    def __next__(self) -> FrameBatch:
        """Return the next batch; `position` then is the number of its source.

        Raises:
            FrametapError, ValueError, IndexError, OSError, MemoryError: this source failed, or the sampler does not fit it; the
                next call goes on with the next one. A `DeviceError` is raised whatever `on_error` says.
        """
        self._submit()
        if not self._pending:
            self.close()
            raise StopIteration
        self.position, future = self._pending.popleft() if self._ordered else self._first_done()
        try:
            return future.result()
        except SOURCE_ERRORS as error:
            if self._request["on_error"] == "raise":
                raise
            return failed_batch(self._reader["transform"], error)

    def _submit(self) -> None:
        while len(self._pending) < self._ahead:
            item = next(self._sources, None)
            if item is None:
                self._cores.no_more_videos()
                return
            number, source = item
            self._cores.add_video()
            self._pending.append((number, self._pool.submit(self._sample, source)))

    def _sample(self, source: SourceLike) -> FrameBatch:
        threads = self._reader["threads"]
        try:
            with VideoReader(source, **{**self._reader, "threads": threads or 1}) as video:
                if threads is None:
                    video.share_cores(self._cores.idle)
                return video.sample(**self._request)
        finally:
            self._cores.finish_video()

    def _first_done(self) -> tuple[int, Future[FrameBatch]]:
        wait([future for _, future in self._pending], return_when=FIRST_COMPLETED)
        done = next(item for item in self._pending if item[1].done())
        self._pending.remove(done)
        return done


def failed_batch(transform: Transform, error: Exception | None = None) -> FrameBatch:
    """Return the batch of no frames that stands for a source which failed."""
    nothing = np.zeros(0)
    channels = 1 if transform.color == "gray" else 3
    shape = (0, channels, 0, 0) if transform.layout == "NCHW" else (0, 0, 0, channels)
    return FrameBatch(
        np.zeros(shape, STORAGE[transform.dtype]),
        transform.dtype,
        np.zeros(0, np.int64),
        nothing,
        nothing,
        np.zeros(0, bool),
        Report("none", "the source failed"),
        error,
    )


def sample_many(
    sources: Iterable[SourceLike],
    sampler: Sampler = Uniform(32),  # noqa: B008 - samplers are frozen values
    transform: Transform | None = None,
    *,
    device: str = "auto",
    workers: int | None = None,
    prefetch: int = 2,
    ordered: bool = True,
    on_error: OnError = "raise",
    snap_seconds: float = 0.0,
    threads: int | None = None,
    engine: str | None = None,
    stream_index: int | None = None,
) -> BatchStream:
    """Sample many videos with several workers, a few results ahead of the consumer.

    Memory stays at `workers + prefetch` batches, however many sources there are; `sources` may be a generator and is
    read only as far ahead.

    Args:
        sources: paths, bytes or binary file objects.
        sampler: which frames of each.
        transform: what to make of them.
        device: as in `sample`.
        workers: videos worked on at once; default: the cores this process may use.
        prefetch: finished batches that may wait for the consumer.
        ordered: yield in the order of `sources`; False yields whichever is done first (`position` tells which).
        on_error: as in `sample`; a source that fails as a whole raises at its turn with "raise", and otherwise yields a
            batch of no frames with `batch.error` set.
        snap_seconds: as in `sample`.
        threads: cores per video. By default one, which is best while there are more videos than workers; workers that find
            no more videos then help with those that others are at.
        engine: force an engine by name.
        stream_index: which stream of each, as in `sample`.

    Returns:
        An iterator with one `FrameBatch` per source.

    Raises:
        ValueError: an argument makes no sense. Errors of sources are raised by `next()` at their turn.

    Example:
        >>> import frametap as ft
        >>> videos = ["talk.mp4", "missing.mp4"]
        >>> [len(batch) for batch in ft.sample_many(videos, ft.Uniform(4), on_error="skip")]
        [4, 0]
    """
    check_device(device, engine)
    if prefetch < 0:
        raise ValueError(f"prefetch must be 0 or more, got {prefetch}")
    if not snap_seconds >= 0:
        raise ValueError(f"snap_seconds must be 0 or more, got {snap_seconds}")
    check_on_error(on_error)
    if isinstance(sources, _ONE_VIDEO) or hasattr(sources, "read"):
        raise TypeError(
            f"sources must be a list of videos, got one {type(sources).__name__}; use sample() for one"
        )
    reader = {
        "transform": check_transform(transform),
        "device": device,
        "threads": None if threads is None else check_threads(threads),
        "engine": engine,
        "stream_index": stream_index,
    }
    request = {"sampler": sampler, "on_error": on_error, "snap_seconds": snap_seconds}
    count = default_threads() if workers is None else check_threads(workers)
    return BatchStream(sources, count, prefetch, ordered, reader, request)
