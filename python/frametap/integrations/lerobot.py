"""LeRobot: `decode_video_frames` with its signature, errors and tolerance rule, for one camera or a whole episode's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from frametap import FrametapError, Transform, UnsupportedError
from frametap.engines.select import default_threads
from frametap.integrations._reader_cache import ReaderCache
from frametap.source import BEST_STREAM

__all__ = [
    "FrameTimestampError",
    "ReaderCache",
    "decode_episode_frames",
    "decode_video_frames",
    "register",
]

# LeRobot's names; all mean frametap here.
_BACKENDS = (None, "frametap", "torchcodec", "pyav", "video_reader")
_DEFAULT_CACHE_SIZE = 100


class FrameTimestampError(FrametapError, ValueError):
    """A requested time is too far from every frame of the video; like LeRobot's class of this name a ValueError."""


def _cache_size() -> int | None:
    """Return LeRobot's LEROBOT_VIDEO_DECODER_CACHE_SIZE: a number of videos, or None for "none" and "-1"."""
    told = (
        os.environ.get("LEROBOT_VIDEO_DECODER_CACHE_SIZE", str(_DEFAULT_CACHE_SIZE)).strip().lower()
    )
    if told in ("", "none", "unbounded", "-1"):
        return None
    try:
        return int(told)
    except ValueError:
        raise ValueError(
            f"LEROBOT_VIDEO_DECODER_CACHE_SIZE must be a number or 'none', got {told!r}"
        ) from None


_cache: ReaderCache | None = None


def _default_cache() -> ReaderCache:
    global _cache
    if _cache is None:
        _cache = ReaderCache(_cache_size())
    return _cache


def decode_video_frames(
    video_path: Path | str,
    timestamps: Sequence[float],
    tolerance_s: float,
    backend: str | None = None,
    return_uint8: bool = False,
    is_depth: bool = False,
    *,
    device: str = "cpu",
    transform: Transform | None = None,
    threads: int | None = None,
    cache: ReaderCache | None = None,
) -> torch.Tensor:
    """Return for each timestamp the frame nearest to it, which must be less than `tolerance_s` away, if only in float32.

    Frames are found by their own times, so a varying rate or a late start does no harm. Videos stay open between calls, as many
    as the variable LEROBOT_VIDEO_DECODER_CACHE_SIZE says (100), and forked workers open their own.

    Args:
        video_path: path or URL.
        timestamps: seconds; order and duplicates are kept.
        tolerance_s: seconds.
        backend: any of LeRobot's names; frametap decodes.
        return_uint8: give uint8, 0..255, instead of float32, 0..1.
        is_depth: not supported.
        device: "cpu" or a CUDA device.
        transform: size, crop and normalisation done while decoding; its dtype then counts, instead of `return_uint8`.
        threads: cores to decode with; default: all this process may use, one in a DataLoader worker.
        cache: where the video stays open; default: one for the process.

    Returns:
        Tensor of shape (N, C, H, W).

    Raises:
        FrameTimestampError: a timestamp is too far from every frame.
        SourceError: the video cannot be opened.
        DecodeError: a frame is damaged.
        UnsupportedError: `is_depth`.
        ValueError: no such backend.

    Example:
        >>> from frametap.integrations.lerobot import decode_video_frames
        >>> frames = decode_video_frames("talk.mp4", [0.5, 0.54, 1.0], tolerance_s=0.01)
        >>> frames.shape, frames.dtype
        (torch.Size([3, 3, 240, 320]), torch.float32)
    """
    if backend not in _BACKENDS:
        raise ValueError(f"Unsupported video backend: {backend}")
    if is_depth:
        raise UnsupportedError(
            "depth maps are raw 12-bit values, not pictures to convert: read them with LeRobot's own function"
        )
    if transform is None:
        transform = Transform(dtype="uint8" if return_uint8 else "float32")
    arguments = {
        "device": device,
        "transform": transform,
        "threads": threads,
        "stream_index": BEST_STREAM,
    }
    kept = _default_cache() if cache is None else cache  # an empty cache is falsy
    with kept.reader(os.fspath(video_path), **arguments) as video:
        frames = _nearest(video.index.pts_seconds, timestamps, tolerance_s, video_path)
        return video.frames_at(frames).torch()


def decode_episode_frames(
    videos: Mapping[str, Path | str],
    timestamps: Sequence[float],
    tolerance_s: float,
    *,
    from_timestamps: Mapping[str, float] | None = None,
    **arguments: Any,
) -> dict[str, torch.Tensor]:
    """Return the frames of several cameras at the same timestamps, decoded side by side.

    Args:
        videos: path by camera.
        timestamps: seconds since the start of the episode.
        tolerance_s: seconds.
        from_timestamps: where the episode begins in each camera's file, as LeRobot's datasets tell it in
            "videos/<camera>/from_timestamp"; default: 0.
        arguments: as in `decode_video_frames`; one transform for all cameras.

    Returns:
        Tensor (N, C, H, W) by camera.

    Raises:
        What `decode_video_frames` raises, for the first camera that failed.

    Example:
        >>> from frametap.integrations.lerobot import decode_episode_frames
        >>> cameras = {"top": "clips/a.mp4", "wrist": "clips/b.mp4"}
        >>> frames = decode_episode_frames(cameras, [0.0, 0.5], 0.01, return_uint8=True)
        >>> {camera: tuple(x.shape) for camera, x in frames.items()}
        {'top': (2, 3, 240, 320), 'wrist': (2, 3, 240, 320)}
    """
    start = from_timestamps or {}
    cores = default_threads()
    if arguments.get("threads") is None:
        arguments["threads"] = max(1, cores // max(1, len(videos)))

    def decode(camera: str) -> torch.Tensor:
        shifted = [start.get(camera, 0.0) + time for time in timestamps]
        return decode_video_frames(videos[camera], shifted, tolerance_s, **arguments)

    with ThreadPoolExecutor(max(1, min(cores, len(videos)))) as pool:
        return dict(zip(videos, pool.map(decode, videos), strict=True))


def register() -> list[str]:
    """Put `decode_video_frames` in the place of LeRobot's, in all of its modules imported so far.

    LeRobot has no registry of backends. Call it after `import lerobot...`, and again in spawned workers (`worker_init_fn`).

    Returns:
        The modules changed.

    Raises:
        ImportError: LeRobot's video functions have not been imported.
    """
    home = sys.modules.get("lerobot.datasets.video_utils")
    if home is None:
        raise ImportError(
            "import lerobot's datasets before register(): there is nothing to replace yet"
        )
    original = home.decode_video_frames
    changed = []
    for name, module in list(sys.modules.items()):
        if name.startswith("lerobot") and getattr(module, "decode_video_frames", None) is original:
            module.decode_video_frames = decode_video_frames  # type: ignore[attr-defined]
            changed.append(name)
    return changed


def _nearest(
    pts: NDArray[np.float64], timestamps: Iterable[float], tolerance_s: float, video: Path | str
) -> NDArray[np.int64]:
    """Return the numbers of the frames nearest to the timestamps, the earlier one of two equally near.

    A distance is within the tolerance if it is so in float64, or in float32: LeRobot's datasets store float32, which after
    2048 s rounds a time by more than the usual tolerance, and LeRobot rounds the frame's time likewise.
    """
    wanted = np.asarray(list(timestamps), np.float64)
    after = np.clip(np.searchsorted(pts, wanted), 1, max(1, len(pts) - 1))
    before = after - 1
    after = np.minimum(after, len(pts) - 1)
    nearest = np.where(np.abs(pts[after] - wanted) < np.abs(pts[before] - wanted), after, before)
    rounded = np.abs(pts[nearest].astype(np.float32) - wanted.astype(np.float32))
    near = (np.abs(pts[nearest] - wanted) < tolerance_s) | (rounded < tolerance_s)
    if not near.all():
        bad = int(np.argmin(near))
        raise FrameTimestampError(
            f"{video}: no frame is within tolerance_s={tolerance_s} of {wanted[bad]} s, the nearest is at {pts[nearest[bad]]} s "
            f"(of {len(pts)} frames from {pts[0]} to {pts[-1]} s); {int((~near).sum())} of {len(wanted)} "
            f"timestamps are too far: check the recording's timestamps, or leave this item out"
        )
    return nearest
