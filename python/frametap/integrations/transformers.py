"""transformers: frametap as a backend of `load_video` and of the video processors, with timestamps that are true."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import video_processing_utils, video_utils

from frametap.index import FrameIndex
from frametap.reader import VideoReader
from frametap.sampler import Indices
from frametap.source import BEST_STREAM, SourceLike
from frametap.transform import Transform

NAME = "frametap"


class VideoMetadata(video_utils.VideoMetadata):
    """What transformers keeps of a decoded video, plus when each frame is on screen.

    transformers takes a frame's time to be ``frames_indices[i] / fps``, which is right at a constant rate only. Where the rate
    varies, `frames_indices` therefore holds positions on a clock of `fps` ticks per second (floats) instead of frame
    numbers, so that every model that divides them by `fps` gets the true time; `frame_numbers` are the numbers.

    A processor that samples a video which is decoded already sets `frames_indices` to the numbers of the frames it takes;
    the other attributes follow.

    Attributes:
        frame_numbers: int64[n], which frames of the video these are.
        pts_seconds: float64[n], when each comes on screen, container time.
        timestamps: seconds since the first frame of the video, one per frame.
        height, width: of these frames as they are, so after a transform.
    """

    frame_numbers: NDArray[np.int64] | None

    def __init__(self, index: FrameIndex, frames: NDArray[np.int64], **known: Any) -> None:
        self._pts = index.pts_seconds
        clock = (self._pts - self._pts[0]) * index.average_fps
        off = abs(clock - np.arange(len(index)))
        steady = (
            off.max() <= 1.001 * float(index.time_base) * index.average_fps
        )  # by no more than timestamps are rounded
        self._clock = None if steady else clock
        super().__init__(**{**known, "frames_indices": frames})

    @property
    def frames_indices(self) -> list[int] | list[float] | None:
        """Positions of these frames on a clock of `fps` ticks per second: at a constant rate, their numbers."""
        if self.frame_numbers is None:
            return None
        positions = self.frame_numbers if self._clock is None else self._clock[self.frame_numbers]
        return list(positions.tolist())

    @frames_indices.setter
    def frames_indices(self, numbers: Any) -> None:
        self.frame_numbers = None if numbers is None else np.asarray(numbers)
        self.pts_seconds = None if numbers is None else self._pts[self.frame_numbers]

    @property
    def timestamps(self) -> list[float]:
        """Seconds from the first frame of the video to each of these."""
        if self.pts_seconds is None:
            return list(super().timestamps)  # says what is missing
        return [float(pts - self._pts[0]) for pts in self.pts_seconds]


def register(
    *,
    processors: bool = False,
    transform: Transform | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Add the backend "frametap" to `transformers.video_utils.load_video`.

    Args:
        processors: also have all video processors decode with it. They name torchcodec and take no backend, so this
            replaces the one method in which they do, `fetch_videos` of their base class.
        transform: what to make of the pictures while decoding, e.g. a smaller size; None leaves them as they are.
            The dtype has to be uint8 and the layout NCHW for processors.
        device: where frames are decoded, as in `frametap.open`.
        threads: cores to use, as in `frametap.open`.

    Example:
        >>> from frametap.integrations import transformers
        >>> from transformers.video_utils import load_video
        >>> transformers.register()
        >>> video, metadata = load_video("talk.mp4", num_frames=4, backend="frametap")
        >>> video.shape, metadata.frames_indices
        (torch.Size([4, 3, 240, 320]), [0, 24, 48, 72])
    """
    video_utils.VIDEO_DECODERS[NAME] = partial(
        read_video, transform=transform, device=device, threads=threads
    )
    if processors:
        video_processing_utils.VideoProcessorMixin.fetch_videos = fetch_videos


def read_video(
    video_path: SourceLike,
    sample_indices_fn: Callable[..., Any],
    *,
    transform: Transform | None = None,
    device: str = "auto",
    threads: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, VideoMetadata]:
    """Decode what a sampling function of transformers asks for, as the functions in `VIDEO_DECODERS` do.

    Args:
        video_path: path, URL, bytes or seekable binary file object.
        sample_indices_fn: called with ``metadata`` (and ``kwargs``), returns frame numbers.
        transform: what to make of the pictures.
        device: where frames are decoded, as in `frametap.open`.
        threads: cores to use, as in `frametap.open`.
        kwargs: passed on to `sample_indices_fn`.

    Returns:
        tensor (T, 3, H, W), uint8 unless the transform says otherwise, and its metadata.

    Raises:
        SourceError: the video cannot be opened.
        DecodeError: a wanted frame is damaged.
        IndexError: a number is outside the video.
    """
    with VideoReader(
        video_path,
        transform=transform,
        device=str(device),
        threads=threads,
        stream_index=BEST_STREAM,
    ) as reader:
        index = reader.index
        known = {
            "total_num_frames": len(index),
            "fps": index.average_fps,
            "duration": index.end_seconds - float(index.pts_seconds[0]),
            "video_backend": NAME,
        }
        numbers = sample_indices_fn(metadata=video_utils.VideoMetadata(**known), **kwargs)
        batch = reader.sample(Indices([int(number) for number in numbers]))
    channels_last = reader.transform.layout == "NHWC"
    height, width = batch.shape[1:3] if channels_last else batch.shape[2:]
    return batch.torch(), VideoMetadata(index, batch.indices, height=height, width=width, **known)


def fetch_videos(self: Any, video_url_or_urls: Any, sample_indices_fn: Any = None) -> Any:
    """Do what `VideoProcessorMixin.fetch_videos` does, with the backend "frametap"; see `register`."""
    if isinstance(video_url_or_urls, list):
        read = [self.fetch_videos(video, sample_indices_fn) for video in video_url_or_urls]
        return list(zip(*read, strict=True))
    return video_utils.load_video(
        video_url_or_urls, backend=NAME, sample_indices_fn=sample_indices_fn
    )
