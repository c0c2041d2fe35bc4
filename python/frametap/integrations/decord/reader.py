"""`VideoReader` with decord's signature and methods, on frametap's index and engines."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray as NumpyArray

import frametap as ft
from frametap.integrations.decord.bridge import bridge_out
from frametap.integrations.decord.ndarray import Context, NDArray, cpu
from frametap.source import BEST_STREAM, Source


class DECORDError(ft.FrametapError, RuntimeError):
    """A video that cannot be opened or decoded; `__cause__` is frametap's own error."""


class DECORDLimitReachedError(ft.FrametapError):
    """More frames were damaged than `fault_tol` lets pass."""


@contextmanager
def decord_errors() -> Iterator[None]:
    """Raise frametap's errors as decord's."""
    try:
        yield
    except (DECORDError, DECORDLimitReachedError):
        raise
    except ft.FrametapError as error:
        raise DECORDError(str(error)) from error


def _refuse(message: str) -> NoReturn:
    raise AssertionError(message)  # what decord raises for a position outside


def _as_number(position: Any) -> int:
    """Return a plain int: arithmetic on a tensor or an array would change the caller's in place."""
    if isinstance(position, (float, np.floating)):
        raise DECORDError(f"frame numbers are integers, got {position!r}")
    return operator.index(position)


def rescaled(header: ft.VideoInfo, height: int, width: int) -> ft.Transform:
    """Return the transform to pictures of a size, of which what is not above 0 is the video's own."""
    size = (height if height > 0 else header.height, width if width > 0 else header.width)
    return ft.Transform(size=size, layout="NHWC")


class VideoReader:
    """A video as decord presents it: frames in RGB, (H, W, 3) uint8, by number, in batches, or one after the other.

    `len()` is exact, and frames are those that decoding the whole file gives. Of several video streams it is the one that FFmpeg
    finds best. Works in forked and spawned workers; pickled or copied it is opened again from its path or bytes, and
    goes on from the same frame.

    Args:
        uri: path, URL (with the extra `remote`), or object with `read`; one that can seek is read as needed.
        ctx: `cpu()` or `gpu(n)`.
        width, height: of the output; -1 keeps the video's own.
        num_threads: cores to decode with; 0 or less: all this process may use.
        fault_tol: how many damaged frames may be filled in from a neighbour: below 1 a share of the video's frames, from 1
            on a number. Negative: none, the first raises.

    Raises:
        DECORDError: it cannot be opened.
        AssertionError: ctx is no context.

    Example:
        >>> from frametap.integrations.decord import VideoReader
        >>> reader = VideoReader("talk.mp4")
        >>> reader[10].shape, reader[::24].shape
        ((240, 320, 3), (4, 240, 320, 3))
        >>> reader.get_key_indices()
        [0, 12, 24, 36, 48, 60, 72, 84]
    """

    def __init__(
        self,
        uri: Any,
        ctx: Context = cpu(0),  # noqa: B008 - a frozen value
        width: int = -1,
        height: int = -1,
        num_threads: int = 0,
        fault_tol: float = -1,
    ) -> None:
        if not isinstance(ctx, Context):
            _refuse(f"ctx must be cpu() or gpu(), got {ctx!r}")
        source = uri.read() if hasattr(uri, "read") and not hasattr(uri, "seek") else uri
        self._again = partial(type(self), source, ctx, width, height, num_threads, fault_tol)
        self._ctx, self._fault_tol = ctx, float(fault_tol)
        with decord_errors():
            source = Source.of(source, BEST_STREAM)
            header = ft.probe(source)
            self._video = ft.open(
                source,
                device=ctx.frametap_device,
                transform=rescaled(header, height, width),
                threads=num_threads if num_threads > 0 else None,
            )
        self._index = self._video.index
        self._keys = np.flatnonzero(self._index.keyframes)
        self._average_fps = header.average_fps or self._index.average_fps
        self._position = 0
        self._ahead: Iterator[ft.FrameBatch] | None = None  # frames from _next_ahead on
        self._next_ahead = 0
        self._damaged: set[int] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy what it takes to open the source again, and where it was."""
        return self._again, (), {"_position": self._position, "_damaged": set(self._damaged)}

    def __len__(self) -> int:
        """Return the exact number of frames."""
        return len(self._index)

    def __getitem__(self, idx: int | slice) -> Any:
        """Return a frame (H, W, 3) by number, negative from the end, or the frames of a slice (N, H, W, 3).

        Raises:
            IndexError: there is no such frame.
            DECORDError: it is damaged.
        """
        if isinstance(idx, slice):
            return self.get_batch(range(*idx.indices(len(self))))
        idx = _as_number(idx)
        place = idx + len(self) if idx < 0 else idx
        if not 0 <= place < len(self):
            raise IndexError(f"frame {idx} does not exist: there are {len(self)}")
        self.seek_accurate(place)
        return self.next()

    def next(self) -> Any:
        """Return the next frame, (H, W, 3).

        Raises:
            StopIteration: there is none left.
        """
        if self._position >= len(self):
            raise StopIteration
        try:
            with decord_errors():
                batch = next(self._frames_from(self._position))
                self._check(batch)
        except ft.FrametapError:
            self._ahead = None
            raise
        self._position += 1
        self._next_ahead = self._position
        return bridge_out(NDArray(batch[0], self._ctx))

    def _frames_from(self, place: int) -> Iterator[ft.FrameBatch]:
        """Return the frames from a place on: those that are being decoded where it is near, else it starts there."""
        between = np.searchsorted(self._keys, [self._next_ahead, place], side="right")
        if self._ahead is not None and place >= self._next_ahead and np.diff(between) <= 1:
            with suppress(ft.FrametapError):  # damage in what nobody asked for: start there
                for _ in range(place - self._next_ahead):
                    next(self._ahead)
                return self._ahead
        rest = ft.Indices(range(place, len(self)))
        self._ahead = self._video.batches(1, rest, on_error=self._on_error)
        return self._ahead

    def get_batch(self, indices: Any) -> Any:
        """Return frames by number, (N, H, W, 3); order and duplicates are kept, negative numbers count from the end.

        Raises:
            IndexError: a number outside the video.
            DECORDError: a frame is damaged.
        """
        frames = self._validated(indices).reshape(-1)
        self._ahead = None
        with decord_errors():
            batch = self._video.sample(ft.Indices(frames.tolist()), on_error=self._on_error)
            self._check(batch)
        if len(frames):
            self._position = int(frames[-1]) + 1
        return bridge_out(NDArray(batch, self._ctx))

    def get_avg_fps(self) -> float:
        """Return the frame rate that the file announces."""
        return self._average_fps

    def get_key_indices(self) -> list[int]:
        """Return the numbers of the keyframes."""
        return self._keys.tolist()

    def get_frame_timestamp(self, idx: Any) -> NumpyArray[np.float32]:
        """Return when frames come on screen and leave it, in seconds after the first frame comes.

        Args:
            idx: frame numbers, a slice, or one number.

        Returns:
            float32 of shape (N, 2), or (2,) for one number.
        """
        frames = range(*idx.indices(len(self))) if isinstance(idx, slice) else idx
        start = self._index.pts_seconds - self._index.pts_seconds[0]
        times = np.stack([start, start + self._index.duration_seconds], axis=-1)
        return times.astype(np.float32)[self._validated(frames)]

    def seek(self, pos: int) -> None:
        """Go to the keyframe at or before a frame."""
        before = int(np.searchsorted(self._keys, self._checked(pos), side="right")) - 1
        self._position = int(self._keys[max(0, before)])

    def seek_accurate(self, pos: int) -> None:
        """Go to a frame."""
        self._position = self._checked(pos)

    def skip_frames(self, num: int = 1) -> None:
        """Pass over frames."""
        num = _as_number(num)
        if num < 1:
            _refuse(f"num must be at least 1, got {num}")
        self._position = min(self._position + num, len(self))

    @property
    def _on_error(self) -> Any:
        return "raise" if self._fault_tol < 0 else "repeat"

    def _check(self, batch: ft.FrameBatch) -> None:
        """Count what was filled in, and raise when there is too much of it."""
        self._damaged.update(batch.indices[~batch.ok].tolist())
        allowed = self._fault_tol * (len(self) if self._fault_tol < 1 else 1)
        if self._damaged and len(self._damaged) > allowed:
            raise DECORDLimitReachedError(
                f"{self._video.source.name}: {len(self._damaged)} frames are damaged, which fault_tol={self._fault_tol} does "
                f"not let pass; the first error was: {batch.error}"
            )

    def _checked(self, pos: int) -> int:
        pos = _as_number(pos)
        if not 0 <= pos < len(self):
            _refuse(f"position {pos} is outside the video of {len(self)} frames")
        return pos

    def _validated(self, indices: Any) -> NumpyArray[np.int64]:
        frames = np.array(indices, dtype=np.int64)
        placed = np.where(frames < 0, frames + len(self), frames)
        outside = frames[(placed < 0) | (placed >= len(self))]
        if outside.size:
            raise IndexError(f"frames {outside.tolist()} do not exist: there are {len(self)}")
        return placed
