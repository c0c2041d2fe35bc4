"""Ray Data: videos as a streaming dataset, and sampling in actors, with failures as a column."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pyarrow.fs
import ray
import ray.data
from ray.data.block import BlockAccessor
from ray.data.datasource import FileBasedDatasource

from frametap.batch import FrameBatch
from frametap.engines.base import OnError
from frametap.engines.select import check_threads
from frametap.errors import SOURCE_ERRORS, UnsupportedError
from frametap.integrations._cells import (
    check_request,
    error_text,
    host_array,
    no_frames,
    source_of,
)
from frametap.many import sample_many
from frametap.reader import VideoReader, check_transform
from frametap.sampler import Sampler, Uniform
from frametap.transform import Transform

Errors = Literal["column", "raise"]
# All but the datasource and **read_args, which goes to it, and which ours has no use for.
_READ_OPTIONS = [*inspect.signature(ray.data.read_datasource).parameters][1:-1]
# So often a video is read before an error of those that Ray retries becomes a row; Ray waits 2 to 4 s at most in between.
_TRIES = 3
# In rows="frames": so many frames are decoded and handed to Ray at a time.
_FRAMES_PER_BLOCK = 32


@dataclass(frozen=True)
class _Request:
    """What is done to every video, checked once on the driver."""

    sampler: Sampler
    transform: Transform
    device: str
    threads: int
    on_error: OnError
    errors: Errors

    def __post_init__(self) -> None:
        check_request(self.sampler, self.device, self.threads, self.on_error)
        if self.errors not in ("column", "raise"):
            raise ValueError(f'errors must be "column" or "raise", got {self.errors!r}')
        if self.transform.dtype == "bfloat16":
            raise UnsupportedError(
                'rows hold numpy arrays, and numpy has no bfloat16: use dtype="float16"'
            )

    def columns(self, batch: FrameBatch) -> dict[str, Any]:
        """Return the columns of a video."""
        return {"frames": host_array(batch), **self.columns_about(batch)}

    def columns_about(self, batch: FrameBatch) -> dict[str, Any]:
        """Return the columns of a video without its frames."""
        return {
            "frame_index": batch.indices,
            "pts_seconds": batch.pts_seconds,
            "ok": batch.ok,
            "error": error_text(batch.error),
        }

    def failed(self, error: BaseException) -> dict[str, Any]:
        """Return the columns of a video that failed as a whole, or raise what it failed with."""
        if self.errors == "raise":
            raise error
        nothing = np.zeros(0)
        return {
            "frames": no_frames(self.transform),
            "frame_index": nothing.astype(np.int64),
            "pts_seconds": nothing,
            "ok": nothing.astype(bool),
            "error": error_text(error),
        }


class VideoDatasource(FileBasedDatasource):
    """The datasource behind `read_videos`, for those who pass it to `ray.data.read_datasource` themselves."""

    def __init__(self, paths: str | list[str], request: _Request, rows: str, **files: Any) -> None:
        super().__init__(paths, **files)
        self._request, self._rows = request, rows
        self._failures: Counter[str] = Counter()

    def _open_input_source(self, filesystem: Any, path: str, **_: Any) -> Any:  # noqa: ARG002
        # Not opened here, where a failure would end the dataset instead of becoming a row.
        return nullcontext(filesystem)

    def _read_stream(self, filesystem: Any, path: str) -> Iterator[Any]:
        read = self._read_frames if self._rows == "frames" else self._read_video
        return (BlockAccessor.batch_to_block(columns) for columns in read(filesystem, path))

    def _read_video(self, filesystem: Any, path: str) -> Iterator[dict[str, Any]]:
        request = self._request
        try:
            with self._open(filesystem, path) as video:
                row = request.columns(video.sample(request.sampler, on_error=request.on_error))
        except SOURCE_ERRORS as error:
            row = self._failed(path, error)
        yield {"path": [path], **{name: _one(value) for name, value in row.items()}}

    def _read_frames(self, filesystem: Any, path: str) -> Iterator[dict[str, Any]]:
        request, left_out = self._request, None
        try:
            with self._open(filesystem, path) as video:
                for batch in video.batches(
                    _FRAMES_PER_BLOCK, request.sampler, on_error=request.on_error
                ):
                    ok, why = batch.ok, error_text(batch.error)
                    if request.on_error == "skip":
                        ok, left_out = ok[ok], left_out or batch.error
                    yield {
                        "path": [path] * len(batch),
                        "frame": host_array(batch),
                        "frame_index": batch.indices,
                        "pts_seconds": batch.pts_seconds,
                        "ok": ok,
                        "error": ["" if good else why for good in ok],
                    }
        except SOURCE_ERRORS as error:
            yield self._no_frame(path, self._failed(path, error)["error"])
        if left_out is not None:
            yield self._no_frame(path, error_text(left_out))

    def _failed(self, path: str, error: Exception) -> dict[str, Any]:
        """Return the columns of a video that failed, or raise what it failed with: what may pass, for Ray to read it again."""
        text = error_text(error)
        if any(_matches(known, text) for known in self._data_context.retried_io_errors):
            self._failures[path] += 1
            if self._failures[path] < _TRIES:
                raise error
        return self._request.failed(error)

    def _no_frame(self, path: str, why: str) -> dict[str, Any]:
        """Return the row of a video that failed or lost frames, which holds no picture."""
        nothing = no_frames(self._request.transform)
        return {
            "path": [path],
            "frame": _one(nothing.reshape(nothing.shape[1:])),
            "frame_index": [-1],
            "pts_seconds": [np.nan],
            "ok": [False],
            "error": [why],
        }

    def _open(self, filesystem: Any, path: str) -> VideoReader:
        request = self._request
        inner = filesystem.unwrap() if hasattr(filesystem, "unwrap") else filesystem
        local = isinstance(inner, pyarrow.fs.LocalFileSystem)
        source: Any = path
        if not local:
            file = filesystem.open_input_file(path)
            # pyarrow's files have no name, for which errors look.
            source = SimpleNamespace(name=path, read=file.read, seek=file.seek, tell=file.tell)
        return VideoReader(
            source,
            device=request.device,
            transform=request.transform,
            threads=request.threads,
        )


def _matches(known: str, text: str) -> bool:
    """Return whether an error is one of those that Ray retries, which it tells by a part of their text or a pattern."""
    with suppress(re.error):
        return known in text or re.search(known, text) is not None
    return False


def _one(value: Any) -> Any:
    """Return a column of one row."""
    return value[None] if isinstance(value, np.ndarray) else [value]


def read_videos(
    paths: str | list[str],
    sampler: Sampler = Uniform(32),  # noqa: B008 - samplers are frozen values
    transform: Transform | None = None,
    *,
    rows: Literal["videos", "frames"] = "videos",
    device: str = "cpu",
    threads: int = 1,
    on_error: OnError = "raise",
    errors: Errors = "column",
    filesystem: Any = None,
    partition_filter: Any = None,
    ignore_missing_paths: bool = False,
    shuffle: Any = None,
    file_extensions: Sequence[str] | None = None,
    **read_options: Any,
) -> ray.data.Dataset:
    """Read videos into a dataset, only the wanted frames decoded, one video at a time per task.

    Args:
        paths: files or folders, local or of any file system that Ray reads. Files that are not local are read by byte range.
        sampler: which frames.
        transform: what to make of them.
        rows: "videos": a row per video with columns `path`, `frames` (N, C, H, W), `frame_index`, `pts_seconds` and `ok` (N),
            `error`. "frames": a row per frame with `path`, `frame` (C, H, W), `frame_index`, `pts_seconds`, `ok`, `error`;
            memory then does not grow with the length of a video.
        device: where frames are decoded; with "cuda" also set `num_gpus`. Rows are in host memory.
        threads: cores per task; set `num_cpus` to the same.
        on_error: what to do about frames that cannot be decoded, as in `frametap.sample`; "raise" fails their video. With
            rows="frames", `ok` is False and `error` says why in the rows of "repeat" and "black"; after "skip" one row more
            says that frames are missing, without a picture and with frame_index -1.
        errors: "column": a video that fails is a row without frames whose `error` says why (with rows="frames", a row with
            frame_index -1 and `ok` False after the blocks of 32 frames that were whole); otherwise `error` is "". "raise":
            the dataset fails.
        filesystem: a pyarrow file system, as in Ray's own readers.
        partition_filter: as in Ray's own readers.
        ignore_missing_paths: as in Ray's own readers.
        shuffle: "files" or a `FileShuffleConfig`, as in Ray's own readers.
        file_extensions: read only files with these.
        read_options: what `ray.data.read_datasource` takes: `num_cpus`, `num_gpus`, `concurrency`, `override_num_blocks`, ...

    Returns:
        A `ray.data.Dataset`, not yet executed.

    Raises:
        TypeError: a keyword that neither this function nor `read_datasource` knows.
        ValueError: an argument makes no sense.
        DeviceError: (when executed) a worker does not have the device, whatever `errors` says.

    Example:
        >>> import frametap as ft
        >>> from frametap.integrations.ray import read_videos
        >>> dataset = read_videos("clips", ft.Uniform(4), ft.Transform(size=(64, 64)))
        >>> [row["frames"].shape for row in dataset.take_all()]
        [(4, 3, 64, 64), (4, 3, 64, 64)]
    """
    if rows not in ("videos", "frames"):
        raise ValueError(f'rows must be "videos" or "frames", got {rows!r}')
    unknown = [name for name in read_options if name not in _READ_OPTIONS]
    if unknown:
        known = [*inspect.signature(read_videos).parameters][:-1]
        raise TypeError(
            f"read_videos() has no {', '.join(map(repr, unknown))}; it takes {', '.join(known)}, and of "
            f"ray.data.read_datasource {', '.join(_READ_OPTIONS)}"
        )
    request = _Request(sampler, check_transform(transform), device, threads, on_error, errors)
    source = VideoDatasource(
        paths,
        request,
        rows,
        filesystem=filesystem,
        partition_filter=partition_filter,
        ignore_missing_paths=ignore_missing_paths,
        shuffle=shuffle,
        file_extensions=file_extensions,
    )
    return ray.data.read_datasource(source, **read_options)


class VideoSampler:
    """Sample videos in `map_batches` actors: a column of videos in, frames, times and errors out.

    Each actor is one process with its own decoders, kept between batches: on a GPU one pool of NVDEC sessions. Give actors a
    fraction of a GPU to have several share it.

    Args:
        sampler: which frames.
        transform: what to make of them.
        column: the column that holds the videos: paths, URLs, bytes, or {"path", "bytes"} as in Hugging Face datasets. Kept,
            unless it holds bytes.
        device: "auto" is "cuda" in an actor that was given a GPU, else "cpu".
        workers: videos worked on at once; default: the cores the actor was given, two on a GPU.
        prefetch: finished videos that may wait.
        on_error: what to do about frames that cannot be decoded, as in `frametap.sample`; "raise" fails their video.
        errors: "column" or "raise", as in `read_videos`; a `DeviceError` is always raised.
        consume: called with each `FrameBatch` where it is, on the GPU for instance; returns the columns to keep in place of
            `frames`.
        consume_columns: the names of those columns. A video that failed has None in them, also where a batch holds no other.

    Example:
        >>> import frametap as ft
        >>> import ray
        >>> from frametap.integrations.ray import VideoSampler
        >>> videos = ray.data.from_items([{"path": "talk.mp4"}, {"path": "missing.mp4"}])
        >>> sampled = videos.map_batches(
        ...     VideoSampler,
        ...     fn_constructor_kwargs={"sampler": ft.Uniform(4), "transform": ft.Transform(size=(64, 64))},
        ...     batch_size=2,
        ...     compute=ray.data.ActorPoolStrategy(size=1),
        ... )
        >>> [(row["frames"].shape, row["error"][:11]) for row in sampled.take_all()]
        [((4, 3, 64, 64), ''), ((0, 3, 0, 0), 'SourceError')]
    """

    def __init__(
        self,
        sampler: Sampler = Uniform(32),  # noqa: B008 - samplers are frozen values
        transform: Transform | None = None,
        *,
        column: str = "path",
        device: str = "auto",
        workers: int | None = None,
        prefetch: int = 1,
        on_error: OnError = "raise",
        errors: Errors = "column",
        consume: Callable[[FrameBatch], dict[str, Any]] | None = None,
        consume_columns: Sequence[str] = (),
    ) -> None:
        if bool(consume_columns) != (consume is not None):
            raise ValueError(
                "consume needs consume_columns, and the other way round: the names of the columns that consume returns, "
                f"which videos that failed have too; got consume={consume!r}, consume_columns={consume_columns!r}"
            )
        if device == "auto":
            device = "cuda" if ray.get_gpu_ids() else "cpu"
        request = _Request(sampler, check_transform(transform), device, 1, on_error, errors)
        self._request, self._column = request, column
        self._consume, self._consume_columns = consume, list(consume_columns)
        self._workers = _workers(device) if workers is None else check_threads(workers)
        self._prefetch = prefetch

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch with the columns of its frames."""
        if self._column not in batch:
            raise ValueError(
                f"no column {self._column!r} among {', '.join(map(repr, batch))}: set column="
            )
        cells = batch[self._column]
        rows = list(self._rows([source_of(cell) for cell in cells]))
        kept = dict(batch)
        if any(isinstance(source_of(cell), (bytes, bytearray, memoryview)) for cell in cells):
            del kept[self._column]
        names = rows[0] if rows else ()
        return {**kept, **{name: [row[name] for row in rows] for name in names}}

    def _rows(self, sources: list[Any]) -> Iterator[dict[str, Any]]:
        request = self._request
        with sample_many(
            sources,
            request.sampler,
            request.transform,
            device=request.device,
            workers=self._workers,
            prefetch=self._prefetch,
            on_error=request.on_error,
        ) as batches:
            for _ in sources:
                try:
                    batch = next(batches)
                    if batch.error is not None and not len(batch.ok):
                        raise batch.error  # failed as a whole, whatever on_error says of frames
                except SOURCE_ERRORS as error:
                    row = request.failed(error)
                    if self._consume is not None:
                        del row["frames"]
                    yield {**dict.fromkeys(self._consume_columns), **row}
                else:
                    yield request.columns(batch) if self._consume is None else self._consumed(batch)

    def _consumed(self, batch: FrameBatch) -> dict[str, Any]:
        assert self._consume is not None
        columns = self._consume(batch)
        if set(columns) != set(self._consume_columns):
            raise ValueError(
                f"consume returned the columns {sorted(columns)}, consume_columns says {sorted(self._consume_columns)}"
            )
        return {**self._request.columns_about(batch), **columns}


def _workers(device: str) -> int:
    """Return how many videos an actor works on at once: its cores, or two on a GPU, so that one decodes while one is opened."""
    given = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
    return max(1 if device == "cpu" else 2, int(given))
