"""Samplers: every formula by example, and what must hold on any video."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from frametap.sampler import (
    At,
    Clips,
    ConstantRate,
    Every,
    HuggingFace,
    Indices,
    Keyframes,
    QwenVL,
    Rate,
    Uniform,
    WindowedSampler,
)

VIDEO = ConstantRate(num_frames=100, average_fps=25)  # 4 s
TICKS = 90_000  # pts of the made-up videos count in the time base of MPEG


@dataclass(frozen=True)
class Listed:
    """A timeline with a variable frame rate: pts in 1/90000 s."""

    pts: tuple[int, ...]
    end: int
    keys: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def pts_seconds(self) -> NDArray[np.float64]:
        return np.array(self.pts) / TICKS

    @property
    def end_seconds(self) -> float:
        return self.end / TICKS

    @property
    def keyframes(self) -> NDArray[np.bool_]:
        return np.array(self.keys)

    @property
    def average_fps(self) -> float:
        return len(self.pts) / max(self.end_seconds - self.pts[0] / TICKS, 1e-3)


def listed(*seconds: float, end: float) -> Listed:
    pts = tuple(round(t * TICKS) for t in seconds)
    return Listed(pts, round(end * TICKS), tuple(i % 3 == 0 for i in range(len(pts))))


@st.composite
def timelines(draw: st.DrawFn) -> Listed:
    """Variable frame rate, any start (negative too), gaps, frames of equal pts, short last frame."""
    start = draw(st.integers(-2 * TICKS, 5 * TICKS))
    durations = draw(st.lists(st.integers(0, TICKS), min_size=1, max_size=60))
    pts = np.cumsum([start, *durations]).tolist()
    keys = (True, *draw(st.lists(st.booleans(), min_size=len(pts) - 2, max_size=len(pts) - 2)))
    return Listed(tuple(pts[:-1]), pts[-1], keys)


@st.composite
def windows(draw: st.DrawFn, video: Listed) -> dict[str, float]:
    """Bounds that hold at least one frame, one of them or both perhaps absent."""
    at = draw(st.integers(0, len(video) - 1))
    inside = video.pts[at]
    low = inside - draw(st.integers(0, 3 * TICKS))
    high = inside + draw(st.integers(1, 3 * TICKS))
    bounds = {"start_seconds": low / TICKS, "end_seconds": high / TICKS}
    return {name: bounds[name] for name in bounds if draw(st.booleans())}


# --- by example ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (Uniform(1), [0]),
        (Uniform(2), [0, 99]),
        (Uniform(5), [0, 25, 50, 74, 99]),  # 24.75, 49.5 (to even), 74.25
        (Uniform(3, start_seconds=1, end_seconds=2), [25, 37, 49]),
        (Rate(1), [0, 25, 50, 75]),
        (Rate(2), [0, 12, 25, 37, 50, 62, 75, 87]),
        (Rate(0.1), [0]),
        (Rate(1, min_frames=5), [0, 20, 40, 60, 80]),
        (Rate(2, max_frames=3), [0, 33, 66]),
        (Rate(2, min_frames=3, multiple_of=4, max_frames=7), [0, 25, 50, 75]),
        (Rate(2, multiple_of=3), [0, 16, 33, 50, 66, 83]),  # 8 floored to 6
        (Rate(1, multiple_of=6), [0, 16, 33, 50, 66, 83]),  # 4 raised to 6
        (Rate(2, start_seconds=1, end_seconds=2), [25, 37]),
        (Rate(2, start_seconds=1.01, end_seconds=2.1), [26, 37, 50]),  # t0 = 1.01 s: first frame 26
        (Rate(2, start_seconds=-9, end_seconds=1), [0, 12]),
        (Rate(2, start_seconds=3.5, end_seconds=99), [88]),  # 87.5: frame 87 starts before
        (Every(40), [0, 40, 80]),
        (Every(1, start_seconds=3.9), [98, 99]),
        (Every(1000), [0]),
        (Clips(2, 3, 4), [0, 4, 8, 91, 95, 99]),
        (Clips(1, 3), [0, 1, 2]),
        (Clips(8, 39), [s + k for s in (0, 8, 17, 26, 34, 43, 52, 61) for k in range(39)]),
        (Clips(2, 2, 2, start_seconds=1, end_seconds=2), [25, 27, 47, 49]),
        (At([3.99, 0, 0.04, 0.0399]), [99, 0, 1, 0]),
        (At(1.0), [25]),
        (At([]), []),
        (Indices([5, -1, 5, 0]), [5, 99, 5, 0]),
        (Indices([-100, 99]), [0, 99]),
        (Indices([0, -1], start_seconds=1, end_seconds=2), [25, 49]),
        (Indices([]), []),
    ],
    ids=repr,
)
def test_examples_at_constant_rate(sampler: WindowedSampler, expected: list[int]) -> None:
    numbers = sampler(VIDEO)
    assert numbers.dtype == np.int64
    assert numbers.ndim == 1
    assert numbers.tolist() == expected


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (Rate(2), [0, 0, 1, 3, 3, 3]),  # t = 10, 10.5, 11, 11.5, 12, 12.5
        (Rate(1, min_frames=4), [0, 0, 3, 3]),  # t = 10, 10.75, 11.5, 12.25
        (At([10, 10.9, 11, 11.05, 11.1, 11.4, 12.9]), [0, 0, 1, 1, 2, 2, 3]),
        (Uniform(3), [0, 2, 3]),
        (Every(2, start_seconds=11), [1, 3]),
        (Keyframes(), [0, 3]),
        (Keyframes(end_seconds=11.45), [0]),
        (Keyframes(max_frames=1), [0]),
    ],
    ids=repr,
)
def test_examples_at_variable_rate(sampler: WindowedSampler, expected: list[int]) -> None:
    video = listed(10, 11, 11.1, 11.45, end=13)
    assert sampler(video).tolist() == expected


def test_keyframes_are_thinned_evenly() -> None:
    video = ConstantRate(100, 25, keyframe_interval=10)
    assert Keyframes()(video).tolist() == list(range(0, 100, 10))
    assert Keyframes(max_frames=4)(video).tolist() == [0, 30, 60, 90]
    assert Keyframes(max_frames=10)(video).tolist() == list(range(0, 100, 10))
    assert Keyframes(start_seconds=1, end_seconds=2)(video).tolist() == [30, 40]


@pytest.mark.parametrize("fps", [24000 / 1001, 25, 30000 / 1001, 50, 60000 / 1001, 30, 24, 12.5])
@pytest.mark.parametrize("start", [0.0, 1.4, -0.021333, 95443.7])
def test_the_videos_own_rate_takes_every_frame_once(fps: float, start: float) -> None:
    """Ticks and pts of one instant differ in their last bits; that must not shift a frame."""
    video = ConstantRate(1000, fps, start_seconds=start)
    assert_array_equal(Rate(fps)(video), np.arange(1000))
    assert_array_equal(Rate(fps / 4)(video), np.arange(0, 1000, 4))
    assert_array_equal(Rate(fps * 2)(video), np.repeat(np.arange(1000), 2))


@pytest.mark.parametrize(
    ("policy", "expected"), [("repeat_last", [0, 2, 4, 4, 4]), ("wrap", [0, 2, 4, 0, 2])]
)
def test_clips_longer_than_the_video(policy: Any, expected: list[int]) -> None:
    short = ConstantRate(num_frames=5, average_fps=25)
    assert Clips(2, 5, 2, policy=policy)(short).tolist() == expected * 2
    assert Clips(1, 5, 2, random=True, policy=policy)(short).tolist() == expected


def test_random_clips_are_seeded() -> None:
    clips = Clips(8, 4, 3, random=True, seed=1)
    assert_array_equal(clips(VIDEO), clips(VIDEO))
    assert len({Clips(8, 4, 3, random=True)(VIDEO).tobytes() for _ in range(5)}) > 1
    starts = Clips(2000, 4, 3, random=True, seed=2)(VIDEO).reshape(2000, 4)[:, 0]
    assert set(starts.tolist()) == set(range(91))  # both ends are drawn


# --- what must hold on any video --------------------------------------------------------------------

MONOTONE: list[Callable[..., WindowedSampler]] = [
    lambda **w: Uniform(7, **w),
    lambda **w: Uniform(200, **w),
    lambda **w: Rate(3, **w),
    lambda **w: Rate(0.7, min_frames=2, max_frames=9, **w),
    lambda **w: Rate(100, multiple_of=8, max_frames=64, **w),
    lambda **w: Every(3, **w),
    lambda **w: HuggingFace(fps=2, rule="qwen3_vl", **w),
    lambda **w: HuggingFace(**w),
    lambda **w: Clips(1, 4, 2, **w),
]


@given(st.data(), timelines(), st.sampled_from(MONOTONE))
def test_numbers_are_sorted_and_inside_the_window(
    data: st.DataObject, video: Listed, make: Callable[..., WindowedSampler]
) -> None:
    bounds = data.draw(windows(video))
    numbers = make(**bounds)(video)
    assert numbers.dtype == np.int64
    assert len(numbers) >= 1
    assert np.all(np.diff(numbers) >= 0)
    assert numbers[0] >= 0
    assert numbers[-1] < len(video)
    pts = video.pts_seconds[numbers]
    assert np.all(pts >= bounds.get("start_seconds", -np.inf))
    assert np.all(pts < bounds.get("end_seconds", np.inf))


@given(st.data(), timelines(), st.integers(1, 300))
def test_uniform_is_linspace_over_the_window(data: st.DataObject, video: Listed, n: int) -> None:
    bounds = data.draw(windows(video))
    inside = Every(1, **bounds)(video)
    expected = inside[np.linspace(0, len(inside) - 1, n).round().astype(int)]
    assert_array_equal(Uniform(n, **bounds)(video), expected)


@given(timelines(), st.sampled_from([1, 2, 3, 5, 7, 10, 25, 30, 60]))
def test_rate_shows_what_a_player_shows(video: Listed, fps: int) -> None:
    """Against exact fractions; no tick of these comes within a microsecond of a pts without meeting it."""
    start, end = Fraction(video.pts[0], TICKS), Fraction(video.end, TICKS)
    ticks = max(1, math.ceil((end - start) * fps))
    shown = [
        max(i for i, p in enumerate(video.pts) if Fraction(p, TICKS) <= start + Fraction(k, fps))
        for k in range(ticks)
    ]
    assert Rate(fps)(video).tolist() == shown
    assert At((video.pts[0] / TICKS,))(video).tolist() == shown[:1]


@given(
    timelines(),
    st.floats(0.01, 60),
    st.integers(1, 50),
    st.integers(0, 50),
    st.integers(1, 8),
)
def test_rate_keeps_its_bounds(
    video: Listed, fps: float, low: int, more: int, multiple: int
) -> None:
    high = (low + more + multiple - 1) // multiple * multiple
    numbers = Rate(fps, min_frames=low, max_frames=high, multiple_of=multiple)(video)
    assert low <= len(numbers) <= high
    assert len(numbers) % multiple == 0
    free = len(Rate(fps)(video))
    if low <= free <= high and free >= multiple:
        assert len(numbers) in (free // multiple * multiple, -(-low // multiple) * multiple)


@given(st.data(), timelines())
def test_at_finds_the_last_frame_that_began(data: st.DataObject, video: Listed) -> None:
    ticks = data.draw(st.lists(st.integers(video.pts[0], max(video.pts[-1], video.end - 1))))
    expected = [max(i for i, p in enumerate(video.pts) if p <= t) for t in ticks]
    assert At([t / TICKS for t in ticks])(video).tolist() == expected


@given(timelines(), st.integers(1, 70))
def test_keyframes_are_keyframes(video: Listed, most: int) -> None:
    chosen = Keyframes(max_frames=most)(video)
    assert video.keyframes[chosen].all()
    assert len(chosen) == min(most, int(video.keyframes.sum()))
    assert np.all(np.diff(chosen) > 0)


@given(
    timelines(), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.booleans(),
    st.sampled_from(["repeat_last", "wrap"]),
)  # fmt: skip
def test_clips_stay_inside_and_keep_their_step(
    video: Listed, clips: int, frames: int, step: int, random: bool, policy: Any
) -> None:
    numbers = Clips(clips, frames, step, random=random, policy=policy)(video)
    table = numbers.reshape(clips, frames)
    assert table.min() >= 0
    assert table.max() < len(video)
    if (frames - 1) * step < len(video):
        assert np.all(np.diff(table, axis=1) == step)
    if not random:
        assert np.all(np.diff(table[:, 0]) >= 0)


def test_a_last_frame_without_duration_is_on_screen_at_its_pts() -> None:
    video = listed(0, 1, end=1)
    assert At([1.0])(video).tolist() == [1]
    with pytest.raises(IndexError, match="on screen"):
        At([1.0001])(video)


# --- values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "text"),
    [
        (Uniform(32), "Uniform(n=32)"),
        (Rate(2, max_frames=64, end_seconds=9.5), "Rate(fps=2, max_frames=64, end_seconds=9.5)"),
        (At([1, 2.5]), "At(seconds=(1.0, 2.5))"),
        (Indices(np.array([1, -2])), "Indices(numbers=(1, -2))"),
        (Keyframes(), "Keyframes()"),
        (QwenVL(nframes=8), "QwenVL(nframes=8)"),
    ],
)
def test_samplers_are_values(sampler: WindowedSampler, text: str) -> None:
    assert repr(sampler) == text
    assert eval(text) == sampler
    assert pickle.loads(pickle.dumps(sampler)) == sampler
    assert hash(pickle.loads(pickle.dumps(sampler))) == hash(sampler)
    with pytest.raises(FrozenInstanceError):
        sampler.start_seconds = 1.0
