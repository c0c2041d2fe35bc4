"""Samplers: which frames of a video the model sees.

A sampler is a frozen value that, called with a `Timeline` (a `FrameIndex` is one), returns int64
frame numbers, 1-D, in output order. Every sampler takes ``start_seconds`` and ``end_seconds`` by
keyword: the frames with ``start <= pts < end`` then are the whole video to it. Times are the
container's, as in ``pts_seconds``; the first frame of a file need not be at 0.

"Rounded" means to nearest, halves to even, as numpy and torch do it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from frametap.sampler_models import HuggingFace, QwenVL
from frametap.timeline import (
    MOST_FRAMES,
    ConstantRate,
    FrameNumbers,
    Sampler,
    Timeline,
    Window,
    WindowedSampler,
    check_count,
    check_frames,
    check_positive,
    check_seconds,
    spread,
)

__all__ = [
    "At",
    "Clips",
    "ConstantRate",
    "Every",
    "HuggingFace",
    "Indices",
    "Keyframes",
    "QwenVL",
    "Rate",
    "Sampler",
    "Timeline",
    "Uniform",
    "WindowedSampler",
]

# A tick k/fps and a pts of the same instant may differ in the last bits of a float64. One
# microsecond is far above that, and below the finest usual time base (1/90000 s).
_TICK_SECONDS = 1e-6

Policy = Literal["repeat_last", "wrap", "error"]
_POLICIES = ("repeat_last", "wrap", "error")


@dataclass(frozen=True, slots=True, repr=False)
class Uniform(WindowedSampler):
    """Take ``n`` frames spread evenly by frame number, the first and the last frame included.

    Frame k is ``np.linspace(0, N - 1, n)[k]`` rounded, N being the number of frames in the window:
    the formula most video model pipelines use, so indices match theirs. ``n = 1`` gives the first
    frame. Always returns n frames: when n > N some are repeated. Spread by time instead with
    ``Rate(fps, min_frames=n, max_frames=n)``.

    Args:
        n: number of frames.

    Example:
        >>> from frametap.sampler import ConstantRate, Uniform
        >>> Uniform(5)(ConstantRate(num_frames=100, average_fps=25)).tolist()
        [0, 25, 50, 74, 99]
        >>> Uniform(4)(ConstantRate(num_frames=2, average_fps=25)).tolist()
        [0, 0, 1, 1]
    """

    n: int

    def _check(self) -> None:
        check_count("n", self.n)

    def pick(self, window: Window) -> FrameNumbers:
        """Return n offsets, non-decreasing."""
        return spread(self.n, len(window))


@dataclass(frozen=True, slots=True, repr=False)
class Rate(WindowedSampler):
    """Take ``fps`` frames per second of video time, also where the frame rate varies.

    Let t0 be the start of the window (the first frame's pts, or ``start_seconds`` if later), T its
    length in seconds up to ``end_seconds`` or the end of the last frame, and ``n = max(1, ceil(T *
    fps))`` the number of ticks in it. Instants less than a microsecond apart count as one, as time
    stamps are not exact. Then n is

    1. floored to a multiple of ``multiple_of``,
    2. raised to ``min_frames`` rounded up to a multiple (at least one multiple),
    3. lowered to ``max_frames`` rounded down to a multiple.

    If that left n alone, tick k is at ``t0 + k / fps``; otherwise the n ticks are re-spread evenly
    over the same time, at ``t0 + k * T / n``. Each tick gives the frame on screen then, the last
    with ``pts <= t``; before the window's first frame, that frame. Nothing caps n at the number of
    frames: a rate above the video's own repeats frames, as a player would show them.

    Args:
        fps: frames per second, > 0.
        min_frames: at least this many.
        max_frames: at most this many.
        multiple_of: the number of frames is a multiple of this (2 for models that merge frame
            pairs).

    Example:
        >>> from frametap.sampler import ConstantRate, Rate
        >>> video = ConstantRate(num_frames=100, average_fps=25)
        >>> Rate(2)(video).tolist()
        [0, 12, 25, 37, 50, 62, 75, 87]
        >>> Rate(2, max_frames=5, multiple_of=2)(video).tolist()
        [0, 25, 50, 75]
        >>> Rate(2, start_seconds=1, end_seconds=2)(video).tolist()
        [25, 37]
    """

    fps: float
    min_frames: int | None = None
    max_frames: int | None = None
    multiple_of: int = 1

    def _check(self) -> None:
        check_positive("fps", self.fps)
        check_count("multiple_of", self.multiple_of)
        for name in ("min_frames", "max_frames"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        low, high = self._bounds()
        if low > high:
            raise ValueError(
                f"no multiple of {self.multiple_of} lies between min_frames={self.min_frames} and "
                f"max_frames={self.max_frames}; lower min_frames or multiple_of, "
                "or raise max_frames"
            )

    def pick(self, window: Window) -> FrameNumbers:
        """Return one offset per tick, non-decreasing."""
        seconds = window.end_seconds - window.start_seconds
        # Twice as many as there can be are too many still once they are floored to a multiple.
        wanted = min((seconds - _TICK_SECONDS) * self.fps, 2 * MOST_FRAMES)
        ticks = max(1, math.ceil(wanted))
        low, high = self._bounds()
        count = int(min(max(ticks // self.multiple_of * self.multiple_of, low), high))
        check_frames(count)
        step = np.arange(count, dtype=np.float64)
        since_start = step / self.fps if count == ticks else step * (seconds / count)
        return window.played_at(window.start_seconds + since_start + _TICK_SECONDS)

    def _bounds(self) -> tuple[float, float]:
        """Return the smallest and largest allowed number of frames, both multiples."""
        low = -(-(self.min_frames or 1) // self.multiple_of) * self.multiple_of
        high = (
            math.inf
            if self.max_frames is None
            else self.max_frames // self.multiple_of * self.multiple_of
        )
        return low, high


@dataclass(frozen=True, slots=True, repr=False)
class Every(WindowedSampler):
    """Take every k-th frame by number, like ``video[::k]``: offsets 0, k, 2k, ... in the window.

    Args:
        k: distance in frames.

    Example:
        >>> from frametap.sampler import ConstantRate, Every
        >>> Every(30)(ConstantRate(num_frames=100, average_fps=25)).tolist()
        [0, 30, 60, 90]
    """

    k: int

    def _check(self) -> None:
        check_count("k", self.k)

    def pick(self, window: Window) -> FrameNumbers:
        """Return ``ceil(len(window) / k)`` offsets, increasing."""
        return np.arange(0, len(window), self.k, dtype=np.int64)


@dataclass(frozen=True, slots=True, repr=False)
class Clips(WindowedSampler):
    """Take clips of ``frames_per_clip`` frames, ``step`` frames apart, as one flat array.

    Clip c is ``numbers[c * frames_per_clip : (c + 1) * frames_per_clip]``: reshape a batch with
    ``x.reshape(num_clips, frames_per_clip, *x.shape[1:])``. A clip spans ``(frames_per_clip - 1) *
    step + 1`` frames and starts where it still fits, so offset s satisfies ``0 <= s <= max(0, N -
    span)`` in a window of N frames. Starts are the same as those of torchcodec's
    ``clips_at_regular_indices``: spread evenly over that range, ends included, fractions dropped.
    ``random=True`` draws them uniformly and independently (with numpy's generator, not torch's).

    Args:
        num_clips: number of clips.
        frames_per_clip: frames in each.
        step: distance between the frames of a clip, in frames.
        random: draw the starts instead of spreading them.
        seed: makes the draw reproducible; without it every call draws anew. Needs ``random=True``.
        policy: what a clip longer than the window does: "repeat_last" repeats its last valid frame,
            "wrap" starts the clip again from its own first frame, "error" raises ValueError.

    Example:
        >>> from frametap.sampler import Clips, ConstantRate
        >>> video = ConstantRate(num_frames=100, average_fps=25)
        >>> Clips(num_clips=3, frames_per_clip=4, step=2)(video).reshape(3, 4).tolist()
        [[0, 2, 4, 6], [46, 48, 50, 52], [93, 95, 97, 99]]
        >>> Clips(1, 5, 2, policy="wrap")(ConstantRate(num_frames=5, average_fps=25)).tolist()
        [0, 2, 4, 0, 2]
    """

    num_clips: int
    frames_per_clip: int
    step: int = 1
    random: bool = False
    seed: int | None = None
    policy: Policy = "repeat_last"

    def _check(self) -> None:
        for name in ("num_clips", "frames_per_clip", "step"):
            check_count(name, getattr(self, name))
        if self.seed is not None:
            check_count("seed", self.seed, minimum=0)
            if not self.random:
                raise ValueError(
                    "seed has no effect on evenly spaced clips; pass random=True or drop the seed"
                )
        if self.policy not in _POLICIES:
            raise ValueError(
                f"policy must be one of {', '.join(map(repr, _POLICIES))}, got {self.policy!r}"
            )

    def pick(self, window: Window) -> FrameNumbers:
        """Return ``num_clips * frames_per_clip`` offsets, clip after clip."""
        check_frames(self.num_clips * self.frames_per_clip)
        span = (self.frames_per_clip - 1) * self.step + 1
        step = min(self.step, len(window))  # a longer one also leads out of it at once
        starts = self._starts(max(0, len(window) - span))
        inside = np.minimum(-((starts - len(window)) // step), self.frames_per_clip)[:, None]
        place = np.arange(self.frames_per_clip)[None, :]
        if self.policy == "error" and span > len(window):
            raise ValueError(
                f"a clip of {self.frames_per_clip} frames, {self.step} apart, spans {span} frames, "
                f'but there are only {len(window)}; use policy="repeat_last" or "wrap", '
                "or a shorter clip"
            )
        place = place % inside if self.policy == "wrap" else np.minimum(place, inside - 1)
        return (starts[:, None] + place * step).reshape(-1)

    def _starts(self, last: int) -> FrameNumbers:
        """Return int64[num_clips] clip starts in ``0 <= start <= last``."""
        if self.random:
            return np.random.default_rng(self.seed).integers(
                0, last, size=self.num_clips, endpoint=True
            )
        if self.num_clips == 1:
            return np.zeros(1, dtype=np.int64)
        # torch.linspace(0, last, num_clips, dtype=torch.int): counts from the nearer end, in
        # double, then truncates.
        k = np.arange(self.num_clips)
        gap = last / (self.num_clips - 1)
        starts = np.where(k < self.num_clips // 2, gap * k, last - gap * (self.num_clips - 1 - k))
        return starts.astype(np.int64)


@dataclass(frozen=True, slots=True, repr=False)
class At(WindowedSampler):
    """Take the frame on screen at each time: the last with ``pts <= t``; order and duplicates stay.

    Args:
        seconds: times in container seconds, one or many.

    Raises:
        IndexError: (when called) a time is before the first frame, or at or after the end, of the
        video or of the window.

    Example:
        >>> from frametap.sampler import At, ConstantRate
        >>> At([2.0, 0.5, 0.51])(ConstantRate(num_frames=100, average_fps=25)).tolist()
        [50, 12, 12]
    """

    seconds: Sequence[float] | float

    def _check(self) -> None:
        given = self.seconds if isinstance(self.seconds, Iterable) else (self.seconds,)
        for t in (times := tuple(given)):
            check_seconds("every time in seconds", t)
        object.__setattr__(self, "seconds", tuple(float(t) for t in times))

    def pick(self, window: Window) -> FrameNumbers:
        """Return one offset per time, in the given order."""
        times = np.asarray(self.seconds, dtype=np.float64)
        pts = window.pts_seconds
        # The last frame is on screen at its own pts even where the container gives it no duration.
        outside = (times < pts[0]) | ((times >= window.end_seconds) & (times > pts[-1]))
        if outside.any():
            raise IndexError(
                f"no frame is on screen at {float(times[outside][0]):.6g} s: the frames to choose "
                f"from play from {pts[0]:.6g} s to just before {window.end_seconds:.6g} s"
            )
        return window.played_at(times)


@dataclass(frozen=True, slots=True, repr=False)
class Indices(WindowedSampler):
    """Take frames by number; order and duplicates are kept, negative numbers count from the end.

    With a window, numbers count inside it: ``Indices([0, -1], start_seconds=10, end_seconds=20)``
    are the first and the last frame of those ten seconds.

    Args:
        numbers: frame numbers.

    Raises:
        IndexError: (when called) a number is outside ``-N <= i < N``.

    Example:
        >>> from frametap.sampler import ConstantRate, Indices
        >>> Indices([3, -1, 3])(ConstantRate(num_frames=100, average_fps=25)).tolist()
        [3, 99, 3]
    """

    numbers: Sequence[int]

    def _check(self) -> None:
        if not isinstance(self.numbers, Iterable):
            raise ValueError(
                f"numbers must be a list of frame numbers, got {self.numbers!r}; "
                f"for one frame use [{self.numbers!r}]"
            )
        for number in (numbers := tuple(self.numbers)):
            if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
                raise ValueError(
                    f"frame numbers must be integers, got {number!r}; for times use At([...])"
                )
        object.__setattr__(self, "numbers", tuple(int(number) for number in numbers))

    def pick(self, window: Window) -> FrameNumbers:
        """Return one offset per number, in the given order."""
        length = len(window)
        for number in self.numbers:
            if not -length <= number < length:
                raise IndexError(
                    f"frame {number} does not exist: there are {length} frames to choose from, "
                    f"so -{length} <= i < {length}"
                )
        chosen = np.asarray(self.numbers, dtype=np.int64)
        return np.where(chosen < 0, chosen + length, chosen)


@dataclass(frozen=True, slots=True, repr=False)
class Keyframes(WindowedSampler):
    """Take the keyframes: the cheapest frames there are, each decodes alone.

    Args:
        max_frames: at most this many; more keyframes are thinned evenly, to numbers
            ``np.linspace(0, K - 1, max_frames)`` rounded of the K there are.

    Raises:
        ValueError: (when called) the window has no keyframe, or the timeline does not know them.

    Example:
        >>> from frametap.sampler import ConstantRate, Keyframes
        >>> Keyframes(max_frames=3)(ConstantRate(100, 25, keyframe_interval=12)).tolist()
        [0, 48, 96]
    """

    max_frames: int | None = None

    def _check(self) -> None:
        if self.max_frames is not None:
            check_count("max_frames", self.max_frames)

    def pick(self, window: Window) -> FrameNumbers:
        """Return the offsets of keyframes, increasing."""
        keys = np.flatnonzero(window.keyframes).astype(np.int64)
        if len(keys) == 0:
            raise ValueError(
                f"there is no keyframe among frames {window.first} to {window.stop - 1} "
                f"({window.start_seconds:.6g} to {window.end_seconds:.6g} s); "
                f"widen the window or use Uniform or Rate"
            )
        if self.max_frames is None or len(keys) <= self.max_frames:
            return keys
        return keys[spread(self.max_frames, len(keys))]
