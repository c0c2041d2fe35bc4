"""`VideoReader`, and the one-call functions `open`, `sample` and `probe`."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from frametap.batch import Frame, FrameBatch
from frametap.container import Container, video_info
from frametap.engines.base import Destination, Engine, OnError, Report, check_on_error
from frametap.engines.select import check_device, check_threads, create_engine
from frametap.errors import DeviceError, SourceError
from frametap.geometry import PictureFormat
from frametap.index import FrameIndex
from frametap.index_build import build_index
from frametap.info import VideoInfo
from frametap.plan import Plan
from frametap.planner import plan_frames
from frametap.sampler import Sampler, Uniform
from frametap.source import Source, SourceLike, naming
from frametap.transform import Transform


class VideoReader:
    """One opened video: index it like a list of frames, sample it, or stream it in batches.

    Frame numbers count the frames a player shows, in presentation order; `len(video)` is exact. Times are the container's.
    Decoders are kept between calls. Use it from one thread at a time; it survives a fork (the child opens its own files).

    Args:
        source: path, URL (with the extra `remote`), bytes, or seekable binary file object (which must stay open).
        device: "cpu", "cuda", "cuda:1", or "auto": the first GPU where CUDA works, else the CPU.
        transform: what to make of the pictures.
        index: a `FrameIndex` of this very source, or the path of a saved one; built on first use when None.
        threads: cores to use; default: all this process may use, one inside a DataLoader worker.
        engine: force an engine by name: "cpu", "nvdec" or "hybrid" (decode on the CPU, convert on the GPU).
        stream: the CUDA stream in whose order batches are complete: a handle, or a stream object of torch, cupy or
            cuda.core. Default: the legacy default stream.
        stream_index: the number of a video stream in the container; None: the one the index is of, else the first that is
            no cover picture; -1: the one that FFmpeg finds best, as its tools do.

    Raises:
        SourceError: it cannot be opened, has no such video stream, or the index is of another file or stream.
        DeviceError: the device cannot be used.

    Example:
        >>> import frametap as ft
        >>> with ft.open("talk.mp4", transform=ft.Transform(size=224)) as video:
        ...     last = video[-1]
        ...     clip = video[0:20:5]
        >>> clip.indices.tolist()
        [0, 5, 10, 15]
    """

    def __init__(
        self,
        source: SourceLike,
        *,
        device: str = "auto",
        transform: Transform | None = None,
        index: FrameIndex | str | os.PathLike[str] | None = None,
        threads: int | None = None,
        engine: str | None = None,
        stream: Any = None,
        stream_index: int | None = None,
    ) -> None:
        chosen = check_device(device, engine)
        if stream is not None and chosen == "cpu":
            raise ValueError(
                "stream is for CUDA devices; a batch on the CPU is complete when sample returns"
            )
        self.source = Source.of(source, stream_index)
        self.transform = check_transform(transform)
        if threads is not None:
            check_threads(threads)
        started = time.perf_counter()
        container = None
        if index is None:
            self.index, container = build_index(self.source)
        else:
            self.index = index if isinstance(index, FrameIndex) else FrameIndex.load(index)
            self.index.check(self.source)
            self.source.choose_stream(self.index.stream_index)
        self._index_milliseconds = (time.perf_counter() - started) * 1e3
        self._engine: Engine | None = create_engine(
            self.source, device, engine, threads, container, stream
        )
        self._info: VideoInfo | None = None

    def share_cores(self, idle: threading.Semaphore) -> None:
        """Let decoding take further cores while `idle` has any; they are released when nothing is left for them to do."""
        self._open_engine().idle_cores = idle

    def __enter__(self) -> VideoReader:
        """Return itself; the end of the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the reader."""
        self.close()

    def close(self) -> None:
        """Free decoders and files; reading afterwards is a SourceError."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def __repr__(self) -> str:
        return f"VideoReader({self.source.name!r}, {len(self.index)} frames)"

    @property
    def info(self) -> VideoInfo:
        """What headers and the first picture say, with the exact number of frames."""
        if self._info is None:
            self._info = replace(probe(self.source), num_frames=len(self.index))
        return self._info

    def __len__(self) -> int:
        """Return the exact number of frames."""
        return len(self.index)

    @overload
    def __getitem__(self, key: int) -> Frame: ...
    @overload
    def __getitem__(self, key: slice) -> FrameBatch: ...
    def __getitem__(self, key: int | slice) -> Frame | FrameBatch:
        """Return one frame by number (negative: from the end), or a batch for a slice.

        Raises:
            IndexError: there is no such frame.
            DecodeError: it is damaged.
        """
        if isinstance(key, slice):
            return self.frames_at(range(*key.indices(len(self))))
        return self.frames_at([_as_index(key)])[0]

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame in presentation order, holding one at a time."""
        return (frame for batch in self.batches(1) for frame in batch)

    def frames_at(self, frames: Sequence[int] | NDArray[np.integer[Any]] | range) -> FrameBatch:
        """Return frames by number: order and duplicates are kept, negative numbers count from the end.

        Raises:
            IndexError: a number outside the video.
            DecodeError: a frame is damaged.
        """
        return self._fetch(self._plan([_as_index(frame) for frame in frames]))

    def frames_played_at(
        self, seconds: Sequence[float] | NDArray[np.floating[Any]] | float
    ) -> FrameBatch:
        """Return the frames on screen at the given container times: for each the last frame with pts <= t.

        Raises:
            IndexError: a time before the first frame, or at or after the end.
            DecodeError: a frame is damaged.
        """
        return self._fetch(self._plan(self._choose(lambda index: index.played_at(seconds))))

    def plan(self, sampler: Sampler, *, snap_seconds: float = 0.0) -> Plan:
        """Return what `sample(sampler)` would decode, without decoding; print it."""
        return self._plan(self._choose(sampler), snap_seconds)

    def sample(
        self,
        sampler: Sampler,
        *,
        out: Any = None,
        on_error: OnError = "raise",
        snap_seconds: float = 0.0,
    ) -> FrameBatch:
        """Return the frames a sampler chooses, as one batch.

        Args:
            sampler: e.g. `Uniform(32)`.
            out: a tensor of exactly the batch's shape and dtype to write into; DLPack, or on CUDA the CUDA array interface.
            on_error: what to do about frames that cannot be decoded: "raise", "skip" them, "repeat" the last good one,
                or put "black" in their place; `batch.ok` tells which.
            snap_seconds: let each frame move this far to one that is cheaper to decode; `report.moved_seconds` tells how far.

        Raises:
            DecodeError: a frame is damaged and `on_error` is "raise", or nothing in the video can be decoded.
            ValueError: the sampler's window is empty, or `out` does not fit.
        """
        frames = self._choose(sampler)
        plan = self._plan(frames, snap_seconds)
        batch = self._fetch(plan, out=out, on_error=on_error)
        if snap_seconds:
            times = self.index.pts_seconds
            moved = times[plan.frames] - times[frames]
            batch.report.moved_seconds = moved[batch.ok] if on_error == "skip" else moved
        return batch

    def batches(
        self, size: int, sampler: Sampler | None = None, *, on_error: OnError = "raise"
    ) -> Iterator[FrameBatch]:
        """Yield all frames, or those a sampler chooses, in batches of `size`; the last may be shorter.

        Memory does not grow with the length of the video: one batch, what decoders need, and with several threads the
        frames of a keyframe interval per thread that wait for their turn (64 MiB each at most).
        """
        if size < 1:
            raise ValueError(f"a batch holds at least one frame, got size={size}")
        check_on_error(on_error)
        self._open_engine()
        frames = np.arange(len(self)) if sampler is None else self._choose(sampler)
        if (np.diff(frames) > 0).all() and (plan := self._plan(frames)).in_order:
            return self._stream(plan, size, on_error)
        parts = (frames[i : i + size] for i in range(0, len(frames), size))
        return (self._fetch(self._plan(part), on_error=on_error) for part in parts)

    def _choose(self, sampler: Callable[[FrameIndex], NDArray[np.int64]]) -> NDArray[np.int64]:
        with naming(self.source):
            return sampler(self.index)

    def _plan(self, frames: Any, snap_seconds: float = 0.0) -> Plan:
        with naming(self.source):
            plan = plan_frames(self.index, self.source, frames, snap_seconds)
        self.index = plan.index
        return plan

    def _stream(self, plan: Plan, size: int, on_error: OnError) -> Iterator[FrameBatch]:
        engine = self._open_engine()
        batches = (
            (self._destination(plan.frames[i : i + size]), Report(engine.name, engine.why))
            for i in range(0, len(plan.frames), size)
        )
        started, previous = time.perf_counter(), None
        with naming(self.source, (DeviceError,)):
            for destination, report in engine.stream(plan, batches):
                report.milliseconds["total"] = (time.perf_counter() - started) * 1e3
                batch = self._batch(destination, report, on_error, previous)
                if on_error == "repeat" and batch.ok.any():
                    # A copy: the consumer may write to the batch.
                    previous = destination.data[np.flatnonzero(batch.ok)[-1:]][0]
                yield batch
                del batch
                self._open_engine()  # the reader may have been closed meanwhile
                started = time.perf_counter()

    def _fetch(self, plan: Plan, *, out: Any = None, on_error: OnError = "raise") -> FrameBatch:
        engine = self._open_engine()
        check_on_error(on_error)
        report = Report(engine.name, engine.why, skipped=len(plan.index.packet_pts) - plan.packets)
        report.milliseconds["index"] = self._index_milliseconds
        started = time.perf_counter()
        with naming(self.source, (DeviceError,)):
            destination = self._destination(plan.frames, out)
            if len(plan.frames) == 0:
                destination.converter(self._nominal_format())
            engine.run(plan, destination, report)
            report.milliseconds["total"] = (time.perf_counter() - started) * 1e3
            return self._batch(destination, report, on_error)

    def _destination(self, frames: NDArray[np.int64], out: Any = None) -> Destination:
        size = (self.index.width, self.index.height)
        return Destination(frames, size, self.transform, self._open_engine().target, out)

    def _batch(
        self, destination: Destination, report: Report, on_error: OnError, previous: Any = None
    ) -> FrameBatch:
        if destination.data is None and on_error != "raise":
            destination.converter(self._nominal_format())  # no frame of it could be decoded
        ok = destination.finish(on_error, previous)
        data, frames = destination.data, destination.frames
        assert data is not None
        if on_error == "skip" and not ok.all():
            data, frames = data[ok], frames[ok]
        return FrameBatch(
            data,
            self.transform.dtype,
            frames,
            self.index.pts_seconds[frames],
            self.index.duration_seconds[frames],
            ok,
            report,
            destination.failure,
        )

    def _nominal_format(self) -> PictureFormat:
        info = self.info
        turned = info.rotation in (90, 270)
        width, height = (info.height, info.width) if turned else (info.width, info.height)
        return PictureFormat("gray", width, height, "unspecified", True, transpose=turned)

    def _open_engine(self) -> Engine:
        if self._engine is None:
            raise SourceError(f"{self.source.name}: the reader is closed; open the video again")
        return self._engine


def _as_index(frame: Any) -> int:
    try:
        return int(frame.__index__())
    except AttributeError:
        raise TypeError(
            f"frame numbers are integers, got {frame!r}; for times use frames_played_at"
        ) from None


def check_transform(transform: Transform | None) -> Transform:
    """Return the transform to use, the default for None, or refuse what is none with a TypeError."""
    if transform is None:
        return Transform()
    if not isinstance(transform, Transform):
        raise TypeError(f"transform must be a frametap.Transform, got {type(transform).__name__}")
    return transform


def open(  # noqa: A001 - the name users expect, as in PyAV and gzip
    source: SourceLike,
    *,
    device: str = "auto",
    transform: Transform | None = None,
    index: FrameIndex | str | os.PathLike[str] | None = None,
    threads: int | None = None,
    engine: str | None = None,
    stream: Any = None,
    stream_index: int | None = None,
) -> VideoReader:
    """Open a video for reading; see `VideoReader` for arguments, errors and an example."""
    return VideoReader(
        source,
        device=device,
        transform=transform,
        index=index,
        threads=threads,
        engine=engine,
        stream=stream,
        stream_index=stream_index,
    )


def probe(source: SourceLike, *, stream_index: int | None = None) -> VideoInfo:
    """Return what a video's headers and its first picture say, without scanning the file.

    Args:
        source: path, URL (with the extra `remote`), bytes, or seekable binary file object.
        stream_index: which stream, as in `VideoReader`.

    Raises:
        SourceError: not a video, or no such video stream.
        DecodeError: no picture of it can be decoded.

    Example:
        >>> import frametap as ft
        >>> info = ft.probe("talk.mp4")
        >>> info.width, info.height, info.codec
        (320, 240, 'h264')
    """
    container = Container(Source.of(source, stream_index))
    try:
        return video_info(container, container.first_picture())
    finally:
        container.close()


def sample(
    source: SourceLike,
    sampler: Sampler = Uniform(32),  # noqa: B008 - samplers are frozen values
    transform: Transform | None = None,
    *,
    device: str = "auto",
    stream: Any = None,
    out: Any = None,
    threads: int | None = None,
    engine: str | None = None,
    on_error: OnError = "raise",
    snap_seconds: float = 0.0,
    index: FrameIndex | str | os.PathLike[str] | None = None,
    stream_index: int | None = None,
) -> FrameBatch:
    """Sample one video: open it, decode what the sampler wants, convert, close.

    Args:
        source: path, URL (with the extra `remote`), bytes, or seekable binary file object.
        sampler: which frames.
        transform: what to make of them.
        device: "cpu", "cuda", "cuda:1", or "auto": the first GPU where CUDA works, else the CPU.
        stream: the CUDA stream in whose order the batch is complete, see `VideoReader`; only with a CUDA device.
        out: a tensor of exactly the batch's shape and dtype to write into.
        threads: cores to use; default: all this process may use.
        engine: force an engine by name.
        on_error: "raise", "skip", "repeat" or "black", per frame that cannot be decoded; see `FrameBatch.ok`.
        snap_seconds: let each frame move this far to one that is cheaper to decode; 0 is exact.
        index: a `FrameIndex` of this source, or the path of a saved one.
        stream_index: which stream of the container; by default the first video stream, see `VideoReader`.

    Returns:
        `FrameBatch` of shape (N, C, H, W) or (N, H, W, C).

    Raises:
        SourceError: it cannot be opened as a video.
        DecodeError: a wanted frame is damaged.
        UnsupportedError: a pixel format or colour matrix without a conversion.
        DeviceError: the device cannot be used.

    Example:
        >>> import frametap as ft
        >>> batch = ft.sample("talk.mp4", ft.Rate(2, max_frames=64), ft.Transform(size=(336, 336)))
        >>> batch.shape[1:]
        (3, 336, 336)
    """
    check_on_error(on_error)
    with VideoReader(
        source,
        device=device,
        transform=transform,
        index=index,
        threads=threads,
        engine=engine,
        stream=stream,
        stream_index=stream_index,
    ) as video:
        return video.sample(sampler, out=out, on_error=on_error, snap_seconds=snap_seconds)
