"""Samplers that give the very same frame numbers as the preprocessing a model was trained with.

The formulas are those of qwen-vl-utils 0.0.14 and transformers 5.24.0, with torch's float32
arithmetic redone in numpy, because a number that falls between two frames is decided by its last
bit. torch itself is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from frametap.timeline import (
    MOST_FRAMES,
    FrameNumbers,
    Timeline,
    Window,
    WindowedSampler,
    check_count,
    check_positive,
    spread,
)

_QWEN_FPS = 2.0
_QWEN_MIN_FRAMES = 4
_QWEN_MAX_FRAMES = 768
_QWEN_FRAME_FACTOR = 2  # the model merges pairs of frames, so their number is even

# How many values torch.arange makes at a time on x86-64 (two registers of eight float32); the
# remainder it makes one by one.
_ARANGE_BLOCK = 16
_ARANGE_REGISTER = 8

Rule = Literal["default", "qwen2_vl", "qwen3_vl", "internvl"]
_RULES = ("default", "qwen2_vl", "qwen3_vl", "internvl")


@dataclass(frozen=True, slots=True, repr=False)
class QwenVL(WindowedSampler):
    """Take the frames that ``qwen_vl_utils.fetch_video`` takes (Qwen2-VL, Qwen2.5-VL, Qwen3-VL).

    The arguments are the keys of its video message; ``start_seconds`` and ``end_seconds`` are its
    ``video_start`` and ``video_end``. With N frames at ``average_fps`` f:

    - first = ceil(video_start * f), last = min(floor(video_end * f), N - 1), **last included**;
      both bounds clamped to the duration N / f. This is qwen's own window: it counts by frame
      number and average rate, not by timestamps, and from the first frame, not from the container's
      zero. Elsewhere in frametap a window is ``start <= pts < end``.
    - n = (frames in there) / f * fps, raised to ``min_frames`` (rounded up to even), lowered to
      ``max_frames`` (rounded down to even), lowered to the frames there are, floored to even; or
      ``nframes`` rounded to even.
    - ``torch.linspace(first, last, n).round()`` in float32. torch's result depends on whether the
      processor has fused multiply-add; this is the one for processors that have it (x86-64 with
      AVX2, Arm).

    Args:
        fps: frames per second; 2.0 when neither ``fps`` nor ``nframes`` is given.
        nframes: number of frames, instead of ``fps``.
        min_frames: lower bound with ``fps``; default 4. Ignored with ``nframes``, as qwen does.
        max_frames: upper bound with ``fps``; default the smaller of 768 and the number of frames.
            Ignored likewise.
        frame_factor: "even" above is a multiple of this: how many frames the model merges.

    Raises:
        ValueError: (when called) fewer than ``frame_factor`` frames, or more than there are, or an empty window:
        as qwen does.

    Example:
        >>> from frametap.sampler import ConstantRate, QwenVL
        >>> video = ConstantRate(num_frames=100, average_fps=25)
        >>> QwenVL(fps=2)(video).tolist()
        [0, 14, 28, 42, 57, 71, 85, 99]
        >>> QwenVL(nframes=4, start_seconds=1, end_seconds=2)(video).tolist()
        [25, 33, 42, 50]
    """

    fps: float | None = None
    nframes: int | None = None
    min_frames: int | None = None
    max_frames: int | None = None
    frame_factor: int = _QWEN_FRAME_FACTOR

    def _check(self) -> None:
        check_count("frame_factor", self.frame_factor)
        if self.nframes is not None:
            if self.fps is not None:
                raise ValueError("fps and nframes exclude each other; pass only one")
            check_count("nframes", self.nframes, minimum=min(2, self.frame_factor))
        if self.fps is not None:
            check_positive("fps", self.fps)
        if self.min_frames is not None:
            check_count("min_frames", self.min_frames, minimum=0)
        if self.max_frames is not None:
            check_count("max_frames", self.max_frames)

    def window(self, timeline: Timeline) -> Window:
        """Return the frames of qwen's own window (`calculate_video_frame_range`)."""
        whole = Window.of(timeline, None, None)
        if self.start_seconds is None and self.end_seconds is None:
            return whole
        total, fps = len(timeline), timeline.average_fps
        duration = total / fps
        first, last = 0, total - 1
        if self.start_seconds is not None:
            first = math.ceil(max(0.0, min(self.start_seconds, duration)) * fps)
        if self.end_seconds is not None:
            last = min(math.floor(max(0.0, min(self.end_seconds, duration)) * fps), last)
        if first >= last:
            raise ValueError(
                f"the window from {self.start_seconds} to {self.end_seconds} s, counted from the "
                f"first frame, holds fewer than two frames of a video of {duration:.6g} s "
                f"({total} frames at {fps:.6g} fps); widen it"
            )
        return replace(whole, first=first, stop=last + 1)

    def pick(self, window: Window) -> FrameNumbers:
        """Return a multiple of `frame_factor` offsets, non-decreasing."""
        count = self._count(len(window), window.timeline.average_fps)
        # Which of two frames a half goes to depends on the frame number, so round that.
        numbers = _linspace_float32(window.first, window.stop - 1, count).round()
        return numbers.astype(np.int64) - window.first

    def _count(self, total: int, video_fps: float) -> int:
        """Return the number of frames to take of ``total`` (`smart_nframes`)."""
        factor = self.frame_factor
        if self.nframes is not None:
            count = _multiple(round, self.nframes, factor)
        else:
            least = _QWEN_MIN_FRAMES if self.min_frames is None else self.min_frames
            low = _multiple(math.ceil, least, factor)
            high = _multiple(math.floor, self.max_frames or min(_QWEN_MAX_FRAMES, total), factor)
            wanted = total / video_fps * (self.fps or _QWEN_FPS)
            count = _multiple(math.floor, min(min(max(wanted, low), high), total), factor)
        if not factor <= count <= total:
            raise ValueError(
                f"qwen takes between {factor} and all of the {total} frames there are, "
                f"but {self!r} asks for {count}; change it, or take Uniform or Rate, which "
                f"repeat frames"
            )
        return count


@dataclass(frozen=True, slots=True, repr=False)
class HuggingFace(WindowedSampler):
    """Take the frames that transformers takes, in ``load_video`` or in a video processor.

    With N frames (those of the window, if there is one) at ``average_fps`` f, ``rule`` says whose
    formula it is:

    - "default": ``default_sample_indices_fn``, used by ``load_video`` and most processors. ``k * N
      // n`` for k < n, where n is ``num_frames`` or ``max(1, int(N / f * fps))``; all frames when
      neither is given. n > N raises ValueError.
    - "qwen3_vl": ``np.linspace(0, N - 1, n)`` rounded; n is ``num_frames`` or ``int(N / f * fps)``
      (fps 2 when not given) raised to ``min_frames`` (4), lowered to ``max_frames`` (768) and N.
    - "qwen2_vl" (also Qwen2.5-VL): ``torch.arange(0, N, N / n).int()``; n is ``num_frames`` rounded
      to even, or ``N / f * fps`` within ``min_frames`` (4) and ``max_frames`` (768), floored to
      even. For some N and n, torch.arange adds N itself, which no decoder has; it is left out.
    - "internvl": ``torch.arange(N / n / 2, N, N / n).int()``, the middles of n parts; n is
      ``num_frames`` or ``int(N / f * fps)``. n > N raises ValueError.

    Args:
        num_frames: number of frames; not together with ``fps``.
        fps: frames per second; not together with ``num_frames``.
        rule: whose formula.
        min_frames: lower bound with ``fps`` in the two qwen rules.
        max_frames: upper bound with ``fps`` in the two qwen rules.

    Example:
        >>> from frametap.sampler import ConstantRate, HuggingFace
        >>> video = ConstantRate(num_frames=100, average_fps=25)
        >>> HuggingFace(num_frames=8)(video).tolist()
        [0, 12, 25, 37, 50, 62, 75, 87]
        >>> HuggingFace(fps=2, rule="qwen3_vl")(video).tolist()
        [0, 14, 28, 42, 57, 71, 85, 99]
    """

    num_frames: int | None = None
    fps: float | None = None
    rule: Rule = "default"
    min_frames: int | None = None
    max_frames: int | None = None

    def _check(self) -> None:
        if self.rule not in _RULES:
            raise ValueError(
                f"rule must be one of {', '.join(map(repr, _RULES))}, got {self.rule!r}"
            )
        if self.num_frames is not None and self.fps is not None:
            raise ValueError("num_frames and fps exclude each other; pass only one")
        if self.num_frames is None and self.fps is None and self.rule in ("qwen2_vl", "internvl"):
            raise ValueError(f"rule={self.rule!r} needs num_frames or fps")
        if self.fps is not None:
            check_positive("fps", self.fps)
        for name in ("num_frames", "min_frames", "max_frames"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        bounded = self.min_frames is not None or self.max_frames is not None
        if bounded and (self.num_frames is not None or self.rule not in ("qwen2_vl", "qwen3_vl")):
            raise ValueError(
                "min_frames and max_frames only bound fps, and only under "
                'rule="qwen2_vl" and rule="qwen3_vl"; drop them'
            )

    def pick(self, window: Window) -> FrameNumbers:
        """Return offsets, non-decreasing."""
        total = len(window)
        count = self._count(total, total / window.timeline.average_fps)
        if self.rule == "qwen3_vl":
            return spread(count, total)
        if not 1 <= count <= total:
            raise ValueError(
                f"transformers takes between 1 and all of the {total} frames there are, but "
                f"{self!r} asks for {count}; change it, or take Uniform or Rate, which "
                f"repeat frames"
            )
        if self.rule == "default":
            return np.arange(count, dtype=np.int64) * total // count
        gap = total / count
        start = gap / 2 if self.rule == "internvl" else 0.0
        return _arange_float32(start, gap, count).astype(np.int64)

    def _count(self, total: int, seconds: float) -> int:
        """Return how many frames the rule takes of ``total`` that last ``seconds``, unchecked."""
        if self.rule in ("qwen2_vl", "qwen3_vl"):
            return self._count_qwen(total, seconds)
        if self.num_frames is not None:
            return self.num_frames
        if self.fps is None:
            return total
        return max(1 if self.rule == "default" else 0, _whole(seconds * self.fps))

    def _count_qwen(self, total: int, seconds: float) -> int:
        low, high = self.min_frames or _QWEN_MIN_FRAMES, self.max_frames or _QWEN_MAX_FRAMES
        if self.rule == "qwen3_vl":
            if self.num_frames is not None:
                return self.num_frames
            return min(max(_whole(seconds * (self.fps or _QWEN_FPS)), low), high, total)
        if self.num_frames is not None:
            return _multiple(round, self.num_frames)
        high = _multiple(math.floor, min(high, total))
        wanted = min(max(seconds * (self.fps or _QWEN_FPS), low), high, total)
        return _multiple(math.floor, wanted)


def _whole(count: float) -> int:
    """Return a count without its fraction; infinity, which a rate may ask for, is more frames than there can be."""
    return int(min(count, MOST_FRAMES))


def _multiple(
    rounding: Callable[[float], int], value: float, factor: int = _QWEN_FRAME_FACTOR
) -> int:
    """Return a multiple of the frame factor near ``value``: `ceil_by_factor` and its likes."""
    return rounding(value / factor) * factor


def _linspace_float32(start: int, stop: int, count: int) -> NDArray[np.float32]:
    """Return torch.linspace(start, stop, count) as a processor with FMA makes it.

    torch counts from the nearer end, and multiplies and adds in one rounding. Here the product of a
    float32 and a frame number is exact in double, and so is the sum for any video of fewer than
    2**24 frames; the one rounding is the last.
    """
    if count == 1:
        return np.array([start], np.float32)
    k = np.arange(count, dtype=np.float64)
    gap = np.float64((np.float32(stop) - np.float32(start)) / np.float32(count - 1))
    values = np.where(k < count // 2, start + gap * k, stop - gap * (count - 1 - k))
    return values.astype(np.float32)


def _arange_float32(start: float, gap: float, count: int) -> NDArray[np.float32]:
    """Return torch.arange(start, ..., gap) as it is on x86-64: float32[count].

    Whole blocks are made a register at a time, from the register's first value rounded to float32;
    the rest from ``start``.
    """
    k = np.arange(count)
    single = start + gap * k
    lane = k % _ARANGE_REGISTER
    block = (start + gap * (k - lane)).astype(np.float32).astype(np.float64) + gap * lane
    in_block = k < count // _ARANGE_BLOCK * _ARANGE_BLOCK
    return np.where(in_block, block, single).astype(np.float32)
