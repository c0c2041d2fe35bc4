"""When the frames of a video are on screen, and the part of it that a sampler looks at.

Samplers need no file and no decoder: they read a `Timeline` (`FrameIndex` is one) and depend on
numpy alone.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from frametap.geometry import is_number

FrameNumbers = NDArray[np.int64]

# More than any index numbers. Counts up to there are exact as floats.
MOST_FRAMES = 2**31


class Timeline(Protocol):
    """Times and keyframes of N frames in presentation order; all a sampler ever asks for.

    Times are seconds from the container (``pts * time_base``), so the first one may be non-zero or
    negative.
    """

    def __len__(self) -> int:
        """Return N, the number of frames a player shows."""
        ...

    @property
    def pts_seconds(self) -> NDArray[np.float64]:
        """float64[N]: when each frame comes on screen; falls only in broken files, see `Window`."""
        ...

    @property
    def end_seconds(self) -> float:
        """When the frame with the greatest pts leaves the screen: its pts plus its duration."""
        ...

    @property
    def keyframes(self) -> NDArray[np.bool_]:
        """bool[N]: frames where decoding can start."""
        ...

    @property
    def average_fps(self) -> float:
        """Frames per second over the whole video."""
        ...


@dataclass(frozen=True, slots=True)
class ConstantRate:
    """Evenly spaced frames: to try samplers out, or for a file known by its header only.

    Args:
        num_frames: number of frames.
        average_fps: frames per second.
        start_seconds: when the first frame comes on screen.
        keyframe_interval: every so many frames is a keyframe; None when that is not known.

    Example:
        >>> from frametap.timeline import ConstantRate
        >>> video = ConstantRate(num_frames=100, average_fps=25)
        >>> len(video), video.end_seconds
        (100, 4.0)
        >>> video.pts_seconds[:3].tolist()
        [0.0, 0.04, 0.08]
    """

    num_frames: int
    average_fps: float
    start_seconds: float = 0.0
    keyframe_interval: int | None = None

    def __post_init__(self) -> None:
        """Refuse numbers no video has."""
        check_count("num_frames", self.num_frames, minimum=0)
        check_positive("average_fps", self.average_fps)
        check_seconds("start_seconds", self.start_seconds)
        if self.keyframe_interval is not None:
            check_count("keyframe_interval", self.keyframe_interval)

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.num_frames

    @property
    def pts_seconds(self) -> NDArray[np.float64]:
        """float64[num_frames]: ``start_seconds + i / average_fps``."""
        return self.start_seconds + np.arange(self.num_frames) / self.average_fps

    @property
    def end_seconds(self) -> float:
        """``start_seconds + num_frames / average_fps``."""
        return self.start_seconds + self.num_frames / self.average_fps

    @property
    def keyframes(self) -> NDArray[np.bool_]:
        """bool[num_frames]; ValueError when ``keyframe_interval`` is None."""
        if self.keyframe_interval is None:
            raise ValueError(
                "this timeline does not know its keyframes; use a FrameIndex, which does"
            )
        return np.equal(np.arange(self.num_frames) % self.keyframe_interval, 0)


@dataclass(frozen=True, slots=True)
class Window:
    """The frames ``first <= i < stop`` of a timeline, never empty: the whole video to a sampler.

    ``start_seconds`` and ``end_seconds`` are the asked-for ones, clamped to the time the video is
    on screen. Where timestamps fall, as in files that were joined byte by byte, the frames after the
    fall count as shown when those before it have all come on screen.
    """

    timeline: Timeline
    first: int
    stop: int
    start_seconds: float
    end_seconds: float

    @classmethod
    def of(
        cls, timeline: Timeline, start_seconds: float | None, end_seconds: float | None
    ) -> Window:
        """Find the frames with ``start_seconds <= pts < end_seconds``; None means no bound.

        Raises:
            ValueError: no frame starts in there.
        """
        if len(timeline) == 0:
            raise ValueError("the video has no frames, so there is nothing to sample")
        pts = np.maximum.accumulate(timeline.pts_seconds)
        first = 0 if start_seconds is None else int(np.searchsorted(pts, float(start_seconds)))
        stop = len(pts) if end_seconds is None else int(np.searchsorted(pts, float(end_seconds)))
        begin, end = float(pts[0]), float(timeline.end_seconds)
        if first >= stop:
            raise ValueError(
                f"no frame starts in the window [{_bound(start_seconds)}, {_bound(end_seconds)}) "
                f"seconds: the video is on screen from {begin:.6g} to {end:.6g} s; widen the "
                f"window (times are the container's, and the first frame need not be at 0)"
            )
        return cls(
            timeline=timeline,
            first=first,
            stop=stop,
            start_seconds=begin if start_seconds is None else max(begin, start_seconds),
            end_seconds=end if end_seconds is None else min(end, end_seconds),
        )

    def __len__(self) -> int:
        """Return the number of frames in the window."""
        return self.stop - self.first

    @property
    def pts_seconds(self) -> NDArray[np.float64]:
        """float64[len]: when each frame of the window comes on screen."""
        times: NDArray[np.float64] = np.maximum.accumulate(self.timeline.pts_seconds)
        return times[self.first : self.stop]

    @property
    def keyframes(self) -> NDArray[np.bool_]:
        """bool[len]: frames of the window where decoding can start."""
        return self.timeline.keyframes[self.first : self.stop]

    def played_at(self, seconds: NDArray[np.float64]) -> FrameNumbers:
        """Return per time the offset of the last frame with ``pts <= t``; 0 if there is none."""
        after = np.searchsorted(self.pts_seconds, seconds, side="right")
        return np.maximum(after - 1, 0).astype(np.int64)


class Sampler(Protocol):
    """Anything that, called with a timeline, returns int64[n] frame numbers; a lambda will do."""

    def __call__(self, timeline: Timeline, /) -> FrameNumbers:
        """Return the wanted frame numbers, 1-D, in output order; duplicates are allowed."""
        ...


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class WindowedSampler:
    """Base of the samplers: restricts them to a window of time, which then is the whole video.

    Args:
        start_seconds: take only frames with ``pts >= start_seconds``.
        end_seconds: take only frames with ``pts < end_seconds``.

    Both are container seconds like ``pts_seconds``: in a file whose first frame is at 1.4 s,
    ``start_seconds=2`` is 0.6 s into the picture. A window without frames raises ValueError when
    the sampler is called.
    """

    start_seconds: float | None = None
    end_seconds: float | None = None

    def __post_init__(self) -> None:
        """Check the window, then the sampler's own arguments; numpy's numbers, of which small ones overflow, become Python's."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.generic):
                object.__setattr__(self, field.name, value.item())
        for name in ("start_seconds", "end_seconds"):
            if getattr(self, name) is not None:
                check_seconds(name, getattr(self, name))
        if (
            self.start_seconds is not None
            and self.end_seconds is not None
            and self.end_seconds <= self.start_seconds
        ):
            raise ValueError(
                f"end_seconds ({self.end_seconds}) must be after start_seconds "
                f"({self.start_seconds}): the window is start <= pts < end"
            )
        self._check()

    def __call__(self, timeline: Timeline, /) -> FrameNumbers:
        """Return int64[n] frame numbers of the timeline, in output order."""
        window = self.window(timeline)
        return self.pick(window) + np.int64(window.first)

    def __repr__(self) -> str:
        """Show positional arguments first and leave defaults out, as one would write the call."""
        own = [f for f in fields(self) if not f.kw_only] + [f for f in fields(self) if f.kw_only]
        shown = [f for f in own if f.default is MISSING or getattr(self, f.name) != f.default]
        arguments = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in shown)
        return f"{type(self).__name__}({arguments})"

    def window(self, timeline: Timeline) -> Window:
        """Return the frames to choose from; ValueError when there are none."""
        return Window.of(timeline, self.start_seconds, self.end_seconds)

    def pick(self, window: Window) -> FrameNumbers:
        """Return the wanted frames as offsets into the window, ``0 <= offset < len(window)``."""
        raise NotImplementedError

    def _check(self) -> None:
        """Validate the sampler's own arguments; subclasses that have some override this."""


def check_count(name: str, value: object, *, minimum: int = 1) -> None:
    """Raise ValueError unless ``value`` is an integer, numpy's or Python's, >= ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}, got {value!r}")


def check_positive(name: str, value: object) -> None:
    """Raise ValueError unless ``value`` is a finite number above zero."""
    check_seconds(name, value)
    if not float(value) > 0:  # type: ignore[arg-type]
        raise ValueError(f"{name} must be above 0, got {value!r}")


def check_seconds(name: str, value: object) -> None:
    """Raise ValueError unless ``value`` is a finite real number."""
    if not is_number(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")


def check_frames(count: int) -> None:
    """Raise ValueError where a sampler asks for more frames than there can be in a batch."""
    if count >= MOST_FRAMES:
        raise ValueError(f"{count} frames are more than any memory holds; ask for fewer")


def spread(count: int, length: int) -> FrameNumbers:
    """Return ``np.linspace(0, length - 1, count)`` rounded, halves to even: int64[count]."""
    check_frames(count)
    return np.linspace(0, length - 1, count).round().astype(np.int64)


def _bound(seconds: float | None) -> str:
    return "none" if seconds is None else f"{seconds:.6g}"
