"""torchcodec's four clip samplers: the same clips for the same arguments, and the same draws for the same torch seed."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import torch

from frametap.integrations.torchcodec.decoders import VideoDecoder
from frametap.integrations.torchcodec.frames import FrameBatch

__all__ = [
    "clips_at_random_indices",
    "clips_at_random_timestamps",
    "clips_at_regular_indices",
    "clips_at_regular_timestamps",
]

Policy = Literal["repeat_last", "wrap", "error"]
_Place = TypeVar("_Place", int, float)


def clips_at_random_indices(
    decoder: VideoDecoder,
    *,
    num_clips: int = 1,
    num_frames_per_clip: int = 1,
    num_indices_between_frames: int = 1,
    sampling_range_start: int = 0,
    sampling_range_end: int | None = None,
    policy: Policy = "repeat_last",
) -> FrameBatch:
    """Return clips that start at frames drawn with torch's generator.

    Args:
        decoder: the video.
        num_clips: number of clips.
        num_frames_per_clip: frames in each.
        num_indices_between_frames: distance between the frames of a clip, in frames.
        sampling_range_start: first frame a clip may start at; negative counts from the end.
        sampling_range_end: a clip starts before this frame; default: where a clip still fits.
        policy: what a clip that runs over the end does: "repeat_last" valid frame, "wrap" to its own first, or "error".

    Returns:
        `FrameBatch` of shape (num_clips, num_frames_per_clip, C, H, W), or C last.

    Raises:
        ValueError: an argument makes no sense for this video, or a clip runs over the end under "error".

    Example:
        >>> from frametap.integrations.torchcodec.decoders import VideoDecoder
        >>> from frametap.integrations.torchcodec.samplers import clips_at_random_indices
        >>> clips_at_random_indices(VideoDecoder("talk.mp4"), num_clips=3, num_frames_per_clip=2).pts_seconds.shape
        torch.Size([3, 2])
    """
    start, end = _index_range(
        decoder,
        num_clips,
        num_frames_per_clip,
        num_indices_between_frames,
        sampling_range_start,
        sampling_range_end,
        policy,
    )
    starts = torch.randint(low=start, high=end, size=(num_clips,)).tolist()
    return _clips_of_indices(
        decoder, starts, num_frames_per_clip, num_indices_between_frames, policy
    )


def clips_at_regular_indices(
    decoder: VideoDecoder,
    *,
    num_clips: int = 1,
    num_frames_per_clip: int = 1,
    num_indices_between_frames: int = 1,
    sampling_range_start: int = 0,
    sampling_range_end: int | None = None,
    policy: Policy = "repeat_last",
) -> FrameBatch:
    """Return clips that start at frames spread evenly over the sampling range; arguments as in `clips_at_random_indices`.

    Example:
        >>> from frametap.integrations.torchcodec.decoders import VideoDecoder
        >>> from frametap.integrations.torchcodec.samplers import clips_at_regular_indices
        >>> clips_at_regular_indices(VideoDecoder("talk.mp4"), num_clips=3).pts_seconds.flatten().tolist()[0]
        0.0
    """
    start, end = _index_range(
        decoder,
        num_clips,
        num_frames_per_clip,
        num_indices_between_frames,
        sampling_range_start,
        sampling_range_end,
        policy,
    )
    starts = torch.linspace(start, end - 1, steps=num_clips, dtype=torch.int).tolist()
    return _clips_of_indices(
        decoder, starts, num_frames_per_clip, num_indices_between_frames, policy
    )


def clips_at_random_timestamps(
    decoder: VideoDecoder,
    *,
    num_clips: int = 1,
    num_frames_per_clip: int = 1,
    seconds_between_frames: float | None = None,
    sampling_range_start: float | None = None,
    sampling_range_end: float | None = None,
    policy: Policy = "repeat_last",
) -> FrameBatch:
    """Return clips that start at times drawn with torch's generator.

    Args:
        decoder: the video.
        num_clips: number of clips.
        num_frames_per_clip: frames in each.
        seconds_between_frames: time between the frames of a clip; default: 1 / average_fps.
        sampling_range_start: earliest time a clip may start; default: the start of the video.
        sampling_range_end: a clip starts before this time; default: where a clip still fits.
        policy: as in `clips_at_random_indices`.

    Returns:
        `FrameBatch` of shape (num_clips, num_frames_per_clip, C, H, W), or C last.

    Raises:
        ValueError: an argument makes no sense for this video, or a clip runs over the end under "error".
    """
    _check_positive("num_clips", num_clips)
    start, end, step = _time_range(
        decoder,
        num_frames_per_clip,
        seconds_between_frames,
        sampling_range_start,
        sampling_range_end,
        policy,
    )
    starts = torch.rand(num_clips, dtype=torch.float64) * (end - start) + start
    return _clips_of_times(decoder, starts, num_frames_per_clip, step, policy)


def clips_at_regular_timestamps(
    decoder: VideoDecoder,
    *,
    seconds_between_clip_starts: float,
    num_frames_per_clip: int = 1,
    seconds_between_frames: float | None = None,
    sampling_range_start: float | None = None,
    sampling_range_end: float | None = None,
    policy: Policy = "repeat_last",
) -> FrameBatch:
    """Return clips that start every `seconds_between_clip_starts`; other arguments as in `clips_at_random_timestamps`.

    Example:
        >>> from frametap.integrations.torchcodec.decoders import VideoDecoder
        >>> from frametap.integrations.torchcodec.samplers import clips_at_regular_timestamps
        >>> clips_at_regular_timestamps(VideoDecoder("talk.mp4"), seconds_between_clip_starts=1).pts_seconds.flatten()
        tensor([0., 1., 2., 3.], dtype=torch.float64)
    """
    _check_positive("seconds_between_clip_starts", seconds_between_clip_starts)
    start, end, step = _time_range(
        decoder,
        num_frames_per_clip,
        seconds_between_frames,
        sampling_range_start,
        sampling_range_end,
        policy,
    )
    starts = torch.arange(start, end, seconds_between_clip_starts, dtype=torch.float64)
    return _clips_of_times(decoder, starts[starts < end], num_frames_per_clip, step, policy)


def _check_positive(name: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{name} must be above 0, got {value}")


def _check_clip(decoder: VideoDecoder, num_frames_per_clip: int, policy: str) -> None:
    if len(decoder) < 1:
        raise ValueError("the video has no frames")
    _check_positive("num_frames_per_clip", num_frames_per_clip)
    if policy not in ("repeat_last", "wrap", "error"):
        raise ValueError(f"policy must be 'repeat_last', 'wrap' or 'error', got {policy!r}")


def _index_range(
    decoder: VideoDecoder,
    clips: int,
    per_clip: int,
    step: int,
    start: int,
    end: int | None,
    policy: str,
) -> tuple[int, int]:
    """Return the frames [start, end) that clips may start at, after checking all arguments."""
    _check_clip(decoder, per_clip, policy)
    _check_positive("num_clips", clips)
    _check_positive("num_indices_between_frames", step)
    frames = len(decoder)
    start = start + frames if start < 0 else start
    fits_until = max(frames - (per_clip - 1) * step, 1)
    asked = fits_until if end is None else end
    end = min(asked + frames if asked < 0 else asked, frames)
    if not start < end:
        raise ValueError(
            f"no frame to start a clip at: sampling_range_start is {start} and sampling_range_end {end}, of {frames} frames"
        )
    return start, end


def _time_range(
    decoder: VideoDecoder,
    per_clip: int,
    step: float | None,
    start: float | None,
    end: float | None,
    policy: str,
) -> tuple[float, float, float]:
    """Return the times [start, end) that clips may start at and the time between frames, after checking all arguments."""
    _check_clip(decoder, per_clip, policy)
    metadata = decoder.metadata
    if metadata.average_fps is None:
        raise ValueError(
            "the video has no frame rate (its frames take no time); use an index-based sampler"
        )
    assert metadata.begin_stream_seconds is not None
    assert metadata.end_stream_seconds is not None
    first, last = metadata.begin_stream_seconds, metadata.end_stream_seconds
    step = 1 / metadata.average_fps if step is None else step
    _check_positive("seconds_between_frames", step)
    start = first if start is None else start
    if not first <= start < last:
        raise ValueError(
            f"sampling_range_start must be at least {first} and below {last}, got {start}"
        )
    end = last - (per_clip - 1) * step if end is None else end
    if not start < end:
        raise ValueError(
            f"sampling_range_start ({start}) must be smaller than sampling_range_end ({end})"
        )
    return start, min(end, last), step


def _fill(places: list[_Place], length: int, policy: str) -> list[_Place]:
    """Make a clip of the places that exist as long as it has to be."""
    missing = length - len(places)
    if not missing:
        return places
    if policy == "error":
        raise ValueError(
            f"a clip runs over the end of the video by {missing} frames and policy is 'error'; leave "
            f"sampling_range_end at its default, or use 'repeat_last' or 'wrap'"
        )
    if policy == "wrap":
        return [places[i % len(places)] for i in range(length)]
    return places + places[-1:] * missing


def _clips_of_indices(
    decoder: VideoDecoder, starts: list[int], per_clip: int, step: int, policy: str
) -> FrameBatch:
    frames: list[int] = []
    for start in starts:
        stop = min(start + (per_clip - 1) * step + 1, len(decoder))
        frames += _fill(list(range(start, stop, step)), per_clip, policy)
    return _as_clips(decoder.get_frames_at(frames), len(starts), per_clip)


def _clips_of_times(
    decoder: VideoDecoder, starts: Any, per_clip: int, step: float, policy: str
) -> FrameBatch:
    end = decoder.metadata.end_stream_seconds
    assert end is not None
    times: list[float] = []
    for start in starts.tolist():
        clip = [start + i * step for i in range(per_clip)]
        times += _fill([time for time in clip if time < end], per_clip, policy)
    return _as_clips(decoder.get_frames_played_at(times), len(starts), per_clip)


def _as_clips(frames: FrameBatch, clips: int, per_clip: int) -> FrameBatch:
    return FrameBatch(
        frames.data.reshape(clips, per_clip, *frames.data.shape[1:]),
        frames.pts_seconds.reshape(clips, per_clip),
        frames.duration_seconds.reshape(clips, per_clip),
    )
