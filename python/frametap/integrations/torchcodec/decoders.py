"""`VideoDecoder` with torchcodec's signature and methods, on frametap's index and engines."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

import frametap as ft
from frametap.integrations.torchcodec.arguments import (
    DTYPES,
    check_arguments,
    device_name,
    frame_numbers,
    readable,
    times,
)
from frametap.integrations.torchcodec.frames import Frame, FrameBatch
from frametap.integrations.torchcodec.metadata import VideoStreamMetadata, stream_metadata
from frametap.integrations.torchcodec.transforms import as_transform
from frametap.source import BEST_STREAM, Source

__all__ = [
    "CpuFallbackStatus",
    "DecoderError",
    "SimpleVideoDecoder",
    "VideoDecoder",
    "VideoStreamMetadata",
    "set_cuda_backend",
]


class DecoderError(ft.FrametapError, RuntimeError, ValueError):
    """A source that cannot be opened, or damage. `__cause__` is frametap's own error.

    Torchcodec raises a ValueError for a file without video and a RuntimeError for the rest, so this is both.
    """


@contextmanager
def _torchcodec_errors() -> Iterator[None]:
    try:
        yield
    except (ft.SourceError, ft.DecodeError) as error:
        raise DecoderError(str(error)) from error


@contextmanager
def set_cuda_backend(backend: str) -> Iterator[None]:
    """Choose the CUDA backend for decoders made inside: "nvdec", which is what frametap has.

    Raises:
        UnsupportedError: "ffmpeg".
        ValueError: any other name.
    """
    if backend.lower() == "ffmpeg":
        raise ft.UnsupportedError(
            "frametap drives NVDEC itself: there is no backend 'ffmpeg', use 'nvdec'"
        )
    if backend.lower() not in ("nvdec", "beta"):
        raise ValueError(f"the CUDA backend must be 'nvdec', got {backend!r}")
    yield


class CpuFallbackStatus:
    """Whether a decoder that was to use the GPU decodes on the CPU; true if so, and prints why."""

    def __init__(self, device: str) -> None:
        self.status_known = device == "cpu"
        self._device, self._why = device.partition(":")[0].upper(), ""

    def note(self, report: ft.Report) -> None:
        """Learn from what a batch took to make."""
        self.status_known = True
        if self._device != "CPU" and report.engine in ("cpu", "hybrid"):
            self._why = report.why or f"decoded by {report.engine}"

    def __bool__(self) -> bool:
        return bool(self._why)

    def __str__(self) -> str:
        if not self.status_known:
            return f"[{self._device}] Fallback status: Unknown"
        told = f"Falling back due to: {self._why}" if self._why else "No fallback required"
        return f"[{self._device}] Fallback status: {told}"


class VideoDecoder:
    """A video as torchcodec presents it: indexed by frame number or by time, giving torch tensors.

    Frame numbers and times are exact at the cost of reading headers; there is no approximate mode to trade for speed.
    Tensors are contiguous in either dimension order. Works the same in forked and spawned workers; pickled or copied it is
    opened again from its path or bytes.

    Args:
        source: path, URL (with the extra `remote`), bytes, uint8 tensor, or file object with `read` and `seek`.
        stream_index: the number of a video stream; None: the one that FFmpeg finds best.
        dimension_order: "NCHW" or "NHWC".
        num_ffmpeg_threads: cores to decode with; 0 or less: all this process may use.
        device: "cpu" or a CUDA device; default: torch's default device.
        seek_mode: "exact" or "approximate"; both are exact.
        transforms: `Resize`, `CenterCrop`, `RandomCrop`, torchvision's v2 twins included, on CUDA too.
        output_dtype: torch.uint8, torch.float32 (0..1), or "auto": float32 for more than 8 bits, else uint8.
        custom_frame_mappings: checked for its form, then not needed: the index is read from the file.

    Raises:
        DecoderError: the source cannot be opened.
        ValueError, TypeError: an argument makes no sense.

    Example:
        >>> from frametap.integrations.torchcodec.decoders import VideoDecoder
        >>> decoder = VideoDecoder("talk.mp4")
        >>> len(decoder), decoder[0].shape
        (96, torch.Size([3, 240, 320]))
        >>> decoder.get_frames_played_at([0.5, 1.0]).pts_seconds.tolist()
        [0.5, 1.0]
    """

    def __init__(
        self,
        source: Any,
        *,
        stream_index: int | None = None,
        dimension_order: Literal["NCHW", "NHWC"] = "NCHW",
        num_ffmpeg_threads: int = 1,
        device: str | torch.device | None = None,
        seek_mode: Literal["exact", "approximate"] = "exact",
        transforms: Sequence[Any] | None = None,
        output_dtype: torch.dtype | Literal["auto"] = torch.uint8,
        custom_frame_mappings: Any = None,
    ) -> None:
        check_arguments(
            dimension_order, num_ffmpeg_threads, seek_mode, output_dtype, custom_frame_mappings
        )
        device = device_name(device)
        if stream_index is not None and stream_index < 0:
            raise ValueError(f"stream {stream_index} is not a valid stream: count from 0")
        given, source = source, readable(source)
        with _torchcodec_errors():
            source = Source.of(source, BEST_STREAM if stream_index is None else stream_index)
            header = ft.probe(source)
            dtype: Any = DTYPES[output_dtype]
            if dtype == "auto":
                dtype = "float32" if header.bit_depth > 8 else "uint8"
            transform = as_transform(
                transforms, header.height, header.width, dtype=dtype, layout=dimension_order
            )
            self._video = ft.open(
                source,
                device=device,
                transform=transform,
                threads=num_ffmpeg_threads if num_ffmpeg_threads > 0 else None,
            )
        self._index = self._video.index
        self.metadata = stream_metadata(header, self._index)
        self.stream_index = self.metadata.stream_index
        self._cpu_fallback = CpuFallbackStatus(device)
        self._again = partial(
            type(self),
            given,
            stream_index=self.stream_index,
            dimension_order=dimension_order,
            num_ffmpeg_threads=num_ffmpeg_threads,
            device=device,
            transforms=transforms,
            output_dtype=output_dtype,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy what it takes to open the source again."""
        return self._again, ()

    def __len__(self) -> int:
        """Return the exact number of frames."""
        return len(self._index)

    def __getitem__(self, key: int | slice) -> torch.Tensor:
        """Return a frame, or the frames of a slice, as a tensor."""
        if isinstance(key, slice):
            return self.get_frames_at(range(*key.indices(len(self)))).data
        if isinstance(key, numbers.Integral):
            return self.get_frame_at(int(key)).data
        raise TypeError(
            f"Unsupported key type: {type(key).__name__}; index a decoder by an int or a slice"
        )

    @property
    def cpu_fallback(self) -> CpuFallbackStatus:
        """Whether decoding for a CUDA device happens on the CPU, and why; known after the first frames."""
        return self._cpu_fallback

    def get_frame_at(self, index: int) -> Frame:
        """Return the frame with this number; negative counts from the end.

        Raises:
            IndexError: there is none.
            DecoderError: it is damaged.
        """
        frames = self.get_frames_at([index])
        return Frame(
            frames.data[0], frames.pts_seconds[0].item(), frames.duration_seconds[0].item()
        )

    def get_frames_at(self, indices: Any) -> FrameBatch:
        """Return frames by number (tensor or list); order and duplicates are kept.

        Raises:
            IndexError: there is no such frame.
            DecoderError: it is damaged.
        """
        with _torchcodec_errors():
            batch = self._video.frames_at(self._existing(frame_numbers(indices)))
        self._cpu_fallback.note(batch.report)
        return FrameBatch(
            batch.torch(),
            torch.from_numpy(batch.pts_seconds),
            torch.from_numpy(batch.duration_seconds),
        )

    def get_frames_in_range(self, start: int, stop: int, step: int = 1) -> FrameBatch:
        """Return frames start, start + step, ... before stop, which count as in a slice of a list."""
        return self.get_frames_at(range(*slice(start, stop, step).indices(len(self))))

    def get_frame_played_at(self, seconds: float) -> Frame:
        """Return the frame on screen at a time.

        Raises:
            IndexError: the time is before the first frame, or at or after the end.
        """
        if isinstance(seconds, str):
            raise TypeError(f"seconds is a number, got {seconds!r}")
        return self.get_frame_at(int(self._played_at(np.array([float(seconds)]), IndexError)[0]))

    def get_frames_played_at(self, seconds: Any) -> FrameBatch:
        """Return the frames on screen at the given times (tensor or list); order and duplicates are kept.

        Raises:
            DecoderError: a time is before the first frame, or at or after the end.
        """
        return self.get_frames_at(self._played_at(times(seconds).numpy(), DecoderError))

    def get_frames_played_in_range(
        self, start_seconds: float, stop_seconds: float, fps: float | None = None
    ) -> FrameBatch:
        """Return the frames on screen from start to just before stop; with `fps`, resampled to that constant rate.

        Raises:
            ValueError: the range is not inside the video, or turned round.
        """
        begin, end = self._span()
        name = self._video.source.name
        if not start_seconds <= stop_seconds:
            raise ValueError(
                f"{name}: Invalid start seconds: {start_seconds}: it must be less than or equal to stop seconds ({stop_seconds})"
            )
        if not begin <= start_seconds < end:
            raise ValueError(
                f"{name}: Invalid start seconds: {start_seconds}: it {_bounds(begin, end)}"
            )
        if not stop_seconds <= end:
            raise ValueError(
                f"{name}: Invalid stop seconds: {stop_seconds}: it must be less than or equal to {end}"
            )
        if fps is not None:
            return self._resampled(start_seconds, stop_seconds, fps)
        pts = self._index.pts_seconds
        first = int(np.searchsorted(pts, start_seconds, side="right")) - 1
        stop = (
            int(np.searchsorted(pts, stop_seconds, side="left"))
            if stop_seconds > start_seconds
            else first
        )
        return self.get_frames_at(range(first, stop))

    def get_all_frames(self, fps: float | None = None) -> FrameBatch:
        """Return all frames; with `fps`, the whole video resampled to that constant rate."""
        return self.get_frames_played_in_range(*self._span(), fps=fps)

    def _get_key_frame_indices(self) -> torch.Tensor:
        return torch.from_numpy(np.flatnonzero(self._index.keyframes))

    def _existing(self, frames: list[int]) -> list[int]:
        count = len(self)
        for frame in frames:
            if not -count <= frame < count:
                raise IndexError(
                    f"{self._video.source.name}: Invalid frame index={frame} for stream_index={self.stream_index}; "
                    + (
                        f"must be less than {count}"
                        if frame >= 0
                        else f"negative indices must have an absolute value less than the number of frames, {count}, or equal"
                    )
                )
        return frames

    def _resampled(self, start: float, stop: float, fps: float) -> FrameBatch:
        if fps <= 0:
            raise DecoderError(f"fps must be positive, got {fps}")
        count = int((stop - start) * fps + 0.5)  # halves up, as C's round
        times = start + np.arange(count) * (1 / fps)
        # The last tick may lie at the very end when rounding added it: the last frame is on screen then.
        frames = self.get_frames_at(
            np.searchsorted(self._index.pts_seconds, times, side="right") - 1
        )
        return FrameBatch(
            frames.data, torch.from_numpy(times), torch.full((count,), 1 / fps, dtype=torch.float64)
        )

    def _played_at(self, times: NDArray[np.float64], error: type[Exception]) -> NDArray[np.int64]:
        begin, end = self._span()
        outside = times[~((times >= begin) & (times < end))]
        if len(outside):
            raise error(
                f"{self._video.source.name}: Invalid pts in seconds: {outside[0]}: it {_bounds(begin, end)}"
            )
        return np.searchsorted(self._index.pts_seconds, times, side="right") - 1

    def _span(self) -> tuple[float, float]:
        begin, end = self.metadata.begin_stream_seconds, self.metadata.end_stream_seconds
        assert begin is not None
        assert end is not None
        return begin, end


def _bounds(begin: float, end: float) -> str:
    return f"must be greater than or equal to {begin} and must be less than {end}"


SimpleVideoDecoder = VideoDecoder
