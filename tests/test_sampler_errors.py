"""Samplers refuse nonsense when made, and what a video cannot give when called, and say what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from frametap.sampler import (
    At,
    Clips,
    ConstantRate,
    Every,
    HuggingFace,
    Indices,
    Keyframes,
    Policy,
    QwenVL,
    Rate,
    Uniform,
    WindowedSampler,
)

VIDEO = ConstantRate(num_frames=100, average_fps=25)  # 4 s


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(0), r"n must be an integer >= 1, got 0"),
        (lambda: Uniform(2.0), r"n must be an integer"),
        (lambda: Uniform(True), r"n must be an integer"),
        (lambda: Rate(0), r"fps must be above 0"),
        (lambda: Rate(float("nan")), r"fps must be a finite number"),
        (lambda: Rate("2"), r"fps must be a finite number"),
        (lambda: Rate(2, min_frames=5, max_frames=4), r"no multiple of 1 lies between"),
        (lambda: Rate(2, max_frames=3, multiple_of=4), r"raise max_frames"),
        (lambda: Every(0), r"k must be"),
        (lambda: Clips(0, 1, 1), r"num_clips must be"),
        (lambda: Clips(1, 1, 0), r"step must be"),
        (lambda: Clips(1, 1, 1, policy="loop"), r"policy must be one of 'repeat_last', 'wrap', 'error'"),
        (lambda: Clips(1, 1, 1, seed=3), r"pass random=True"),
        (lambda: At([0.0, float("inf")]), r"every time in seconds must be a finite number"),
        (lambda: At("soon"), r"every time in seconds"),
        (lambda: Indices([1.5]), r"for times use At"),
        (lambda: Indices(3), r"for one frame use \[3\]"),
        (lambda: Keyframes(max_frames=0), r"max_frames must be"),
        (lambda: Uniform(2, start_seconds=5, end_seconds=5), r"end_seconds \(5\) must be after"),
        (lambda: Uniform(2, start_seconds=float("nan")), r"start_seconds must be a finite"),
        (lambda: Uniform(2, start_seconds=10**400), r"start_seconds must be a finite number"),
        (lambda: At(10**400), r"every time in seconds must be a finite number"),
        (lambda: Rate(10**400), r"fps must be a finite number"),
        (lambda: ConstantRate(-1, 25), r"num_frames must be"),
        (lambda: ConstantRate(10, 0), r"average_fps must be above 0"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_when_made(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "sampler",
    [Uniform(2, start_seconds=4), Rate(2, end_seconds=0), At([1], start_seconds=3.97), Every(1, start_seconds=9)],
    ids=repr,
)  # fmt: skip
def test_an_empty_window_names_itself_and_the_video(sampler: WindowedSampler) -> None:
    with pytest.raises(
        ValueError, match=r"in the window \[.*\) seconds: the video is on screen from 0 to 4 s"
    ):
        sampler(VIDEO)


@pytest.mark.parametrize("sampler", [Uniform(2), Rate(2), QwenVL(), HuggingFace()], ids=repr)
def test_a_video_without_frames_is_refused(sampler: WindowedSampler) -> None:
    with pytest.raises(ValueError, match="no frames"):
        sampler(ConstantRate(0, 25))


@pytest.mark.parametrize("seconds", [-0.001, 4.0, 4.1, 1e9])
def test_times_off_screen_are_index_errors(seconds: float) -> None:
    with pytest.raises(
        IndexError, match=r"no frame is on screen at .* play from 0 s to just before 4 s"
    ):
        At([1.0, seconds])(VIDEO)


@pytest.mark.parametrize("seconds", [0.99, 2.0])
def test_at_respects_the_window(seconds: float) -> None:
    assert At([1.0, 1.99], start_seconds=1, end_seconds=2)(VIDEO).tolist() == [25, 49]
    with pytest.raises(IndexError, match="from 1 s to just before 2 s"):
        At([seconds], start_seconds=1, end_seconds=2)(VIDEO)


@pytest.mark.parametrize("number", [100, -101])
def test_frame_numbers_out_of_range_are_index_errors(number: int) -> None:
    with pytest.raises(IndexError, match=f"frame {number} does not exist: there are 100 frames"):
        Indices([0, number])(VIDEO)


def test_unknown_or_absent_keyframes_are_refused() -> None:
    with pytest.raises(ValueError, match="does not know its keyframes; use a FrameIndex"):
        Keyframes()(VIDEO)
    with pytest.raises(ValueError, match="no keyframe among frames 1 to 9"):
        Keyframes(start_seconds=0.04, end_seconds=0.4)(ConstantRate(100, 25, keyframe_interval=50))


def test_a_clip_that_does_not_fit_is_refused_on_request() -> None:
    with pytest.raises(ValueError, match=r"spans 9 frames, but there are only 5; use policy="):
        Clips(1, 5, 2, policy="error")(ConstantRate(5, 25))
    assert Clips(1, 3, 2, policy="error")(ConstantRate(5, 25)).tolist() == [0, 2, 4]


@pytest.mark.parametrize(
    "sampler",
    [
        Rate(1e308),
        Rate(1e300, multiple_of=3),
        Rate(2, min_frames=10**15),
        Uniform(2**70),
        Uniform(10**400),
        Clips(2**70, 2),
        Clips(2, 2**70, 3),
        HuggingFace(num_frames=2**60, rule="qwen3_vl"),
    ],
    ids=repr,
)
def test_more_frames_than_there_can_be_are_refused(sampler: WindowedSampler) -> None:
    with pytest.raises(ValueError, match=r"frames are more than any memory holds; ask for fewer"):
        sampler(VIDEO)


def test_rates_without_an_end_are_bounded_as_others() -> None:
    assert Rate(1e308, max_frames=4)(VIDEO).tolist() == [0, 25, 50, 75]
    for rule in ("qwen2_vl", "qwen3_vl"):
        assert len(HuggingFace(fps=1e308, rule=rule)(VIDEO)) == 100
    assert len(QwenVL(fps=1e308)(VIDEO)) == 100
    for rule in ("default", "internvl"):
        with pytest.raises(ValueError, match="all of the 100 frames there are"):
            HuggingFace(fps=1e308, rule=rule)(VIDEO)


@pytest.mark.parametrize("step", [100, 10**18, 2**70])
@pytest.mark.parametrize("policy", ["repeat_last", "wrap"])
def test_steps_longer_than_the_video_stay_at_the_first_frame(step: int, policy: Policy) -> None:
    assert Clips(2, 3, step, policy=policy)(VIDEO).tolist() == [0] * 6
    assert Every(step)(VIDEO).tolist() == [0]


@pytest.mark.parametrize(
    "make",
    [
        lambda number: Clips(number(4), number(16), number(20)),
        lambda number: Clips(number(4), number(2), number(200), policy="error"),
        lambda number: Rate(number(2), min_frames=number(4), multiple_of=number(3)),
        lambda number: Rate(50, max_frames=number(200), multiple_of=number(150)),
        lambda number: Uniform(number(200)),
        lambda number: Every(number(200)),
        lambda number: Keyframes(max_frames=number(2)),
        lambda number: QwenVL(nframes=number(8)),
        lambda number: QwenVL(fps=number(100), min_frames=number(4), max_frames=number(7)),
        lambda number: HuggingFace(num_frames=number(100)),
        lambda number: HuggingFace(fps=number(200), rule="qwen2_vl", max_frames=number(9)),
    ],
)
@pytest.mark.parametrize("number", [np.uint8, np.uint32, np.int64])
def test_numbers_of_numpy_count_as_those_of_python(
    make: Callable[[Any], WindowedSampler], number: Any
) -> None:
    video = ConstantRate(num_frames=300, average_fps=25, keyframe_interval=12)
    assert make(number)(video).tolist() == make(int)(video).tolist()
