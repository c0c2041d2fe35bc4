"""decode_video_frames beside LeRobot's own function, and what it does better: varying rates, late starts, several cameras."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import frametap as ft
from clips import ClipLibrary
from integrations.real import real

torch = real("torch")

from frametap.integrations import lerobot as ours  # noqa: E402
from frametap.integrations._reader_cache import ReaderCache  # noqa: E402

EXACT = "h264_444"  # chroma is not interpolated, so that pixels can be compared with ==


@pytest.fixture
def theirs() -> Any:
    return real("lerobot.datasets.video_utils")


@pytest.fixture(autouse=True)
def fresh_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "_cache", None)


def test_same_frames_as_lerobot(theirs: Any, clips: ClipLibrary) -> None:
    draw = random.Random(1)
    for name in (EXACT, "h264", "av1", "hevc"):
        path = clips[name]
        for _ in range(5):
            times = [
                draw.randrange(48) / 24 + draw.uniform(-0.004, 0.004)
                for _ in range(draw.choice([1, 2, 6]))
            ]
            times = [min(max(0.0, time), 1.96) for time in times]
            expected = theirs.decode_video_frames(path, times, 0.01, backend="torchcodec")
            frames = ours.decode_video_frames(path, times, 0.01)
            assert frames.shape == expected.shape
            assert frames.dtype == expected.dtype == torch.float32
            difference = (frames - expected).abs()
            assert difference.max() < 1e-6 if name == EXACT else difference.mean() < 3 / 255


def test_the_stream_that_lerobot_reads(theirs: Any, clips: ClipLibrary) -> None:
    path = clips["best_track_last"]
    expected = theirs.decode_video_frames(path, [0.5, 1.0], 0.01, backend="torchcodec")
    frames = ours.decode_video_frames(path, [0.5, 1.0], 0.01)
    assert frames.shape == expected.shape
    assert (frames - expected).abs().mean() < 3 / 255


@pytest.mark.parametrize("tolerance", [0.001, 0.01, 0.02, 1 / 48, 0.1])
def test_same_tolerance_rule(tolerance: float, theirs: Any, clips: ClipLibrary) -> None:
    """LeRobot computes in float32, so that distances within 1e-6 of the tolerance are left out."""
    draw = random.Random(tolerance)
    outcomes = set()
    for _ in range(40):
        time = draw.uniform(0, 47 / 24)
        nearest = abs(time * 24 - round(time * 24)) / 24
        if abs(nearest - tolerance) < 1e-6:
            continue
        results = []
        for module in (theirs, ours):
            try:
                module.decode_video_frames(clips["h264"], [0.5, time], tolerance)
                results.append("frame")
            except ValueError as error:
                results.append(type(error).__name__)
        assert results[0] == results[1], time
        outcomes.add(results[0])
    assert outcomes <= {"frame", "FrameTimestampError"}


def test_errors(clips: ClipLibrary) -> None:
    for times in ([5.0], [-1.0], [0.5, 0.52]):
        with pytest.raises(ours.FrameTimestampError, match="tolerance_s") as caught:
            ours.decode_video_frames(clips["h264"], times, 0.01)
        assert isinstance(caught.value, ft.FrametapError)
    with pytest.raises(ValueError, match="Unsupported video backend"):
        ours.decode_video_frames(clips["h264"], [0.0], 0.01, backend="opencv")
    with pytest.raises(ft.UnsupportedError, match="depth"):
        ours.decode_video_frames(clips["h264"], [0.0], 0.01, is_depth=True)
    with pytest.raises(ft.SourceError):
        ours.decode_video_frames("absent.mp4", [0.0], 0.01)


def test_dtypes_backends_and_transforms(clips: ClipLibrary) -> None:
    floats = ours.decode_video_frames(clips["h264"], [0.25, 0.0, 0.25], 0.01)
    for backend in ("torchcodec", "pyav", "video_reader", "frametap"):
        levels = ours.decode_video_frames(
            clips["h264"], [0.25, 0.0, 0.25], 0.01, backend, return_uint8=True
        )
        assert levels.dtype == torch.uint8
        assert torch.allclose(levels.float() / 255, floats, atol=1e-6)
    small = ours.decode_video_frames(
        clips["h264"], [0.0], 0.01, transform=ft.Transform(size=(30, 40), dtype="float16")
    )
    assert small.shape == (1, 3, 30, 40)
    assert small.dtype == torch.float16


def test_times_count_not_rates(clips: ClipLibrary) -> None:
    """Where round(time * average_fps) misses: every frame of varying rates and late starts is found by its own time."""
    for name in ("vfr", "vfr_mkv", "late_start", "ntsc", "edit_list", "one_frame"):
        index = ft.FrameIndex.build(clips[name])
        everything = ft.sample(clips[name], ft.Every(1)).numpy()
        times = index.pts_seconds + 0.0004
        frames = ours.decode_video_frames(clips[name], times.tolist(), 0.001, return_uint8=True)
        np.testing.assert_array_equal(frames.numpy(), everything)


def test_nearest_frame_and_ties(clips: ClipLibrary) -> None:
    index = ft.FrameIndex.build(clips["vfr"])
    pts = index.pts_seconds
    draw = np.random.default_rng(0)
    times = np.concatenate(
        [draw.uniform(pts[0] - 1, pts[-1] + 1, 200), pts, (pts[1:] + pts[:-1]) / 2]
    )
    found = ours._nearest(pts, times, 10, "a.mp4")
    expected = np.abs(pts[None, :] - times[:, None]).argmin(axis=1)
    np.testing.assert_array_equal(np.abs(pts[found] - times), np.abs(pts[expected] - times))
    np.testing.assert_array_equal(ours._nearest(np.zeros(1), [0.1], 1, "a.mp4"), [0])


def test_float32_timestamps_of_long_recordings() -> None:
    """LeRobot stores and compares them so: after 2048 s float32 is 0.12 ms off, and its default tolerance is 0.1 ms."""
    index = np.arange(2600 * 30, 2600 * 30 + 40)
    pts = index / 30
    stored = torch.tensor(pts, dtype=torch.float32).tolist()
    assert max(abs(pts - stored)) > 1e-4
    np.testing.assert_array_equal(ours._nearest(pts, stored, 1e-4, "a.mp4"), index - index[0])
    with pytest.raises(ours.FrameTimestampError):
        ours._nearest(pts, (pts + 1e-3).tolist(), 1e-4, "a.mp4")


# --- several cameras --------------------------------------------------------------------------------------------------


def test_cameras_of_an_episode(clips: ClipLibrary) -> None:
    videos = {"top": clips["h264"], "wrist": clips["hevc"], "side": str(clips["late_start_mp4"])}
    start = {"top": 0.5, "side": 5.0}
    times = [0.0, 0.25, 0.5]
    frames = ours.decode_episode_frames(
        videos, times, 0.01, from_timestamps=start, return_uint8=True
    )
    assert list(frames) == list(videos)
    for camera, path in videos.items():
        shifted = [start.get(camera, 0.0) + time for time in times]
        assert torch.equal(
            frames[camera], ours.decode_video_frames(path, shifted, 0.01, return_uint8=True)
        )
    with pytest.raises(ours.FrameTimestampError, match="late_start"):
        ours.decode_episode_frames(videos, times, 0.01)
    assert ours.decode_episode_frames({}, times, 0.01) == {}


# --- cache ------------------------------------------------------------------------------------------------------------


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the videos that readers are opened for."""
    paths: list[str] = []
    original = ft.VideoReader.__init__

    def recording(self: Any, source: Any, **arguments: Any) -> None:
        paths.append(Path(source).stem)
        original(self, source, **arguments)

    monkeypatch.setattr(ft.VideoReader, "__init__", recording)
    return paths


def test_videos_stay_open(clips: ClipLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEROBOT_VIDEO_DECODER_CACHE_SIZE", "2")
    paths = opened(monkeypatch)
    for name in ("h264", "hevc", "h264", "hevc", "vfr", "h264"):
        ours.decode_video_frames(clips[name], [0.0], 0.01)
    assert paths == ["h264", "hevc", "vfr", "h264"], "the longest unused is closed first"
    ours.decode_video_frames(clips["h264"], [0.0], 0.01, return_uint8=True)
    assert paths[-2:] == ["h264", "h264"], "another transform is another reader"
    assert len(ours._default_cache()) == 2
    ours._default_cache().clear()
    assert len(ours._default_cache()) == 0


@pytest.mark.parametrize(("told", "size"), [("5", 5), ("none", None), ("-1", None), ("", None)])
def test_cache_size_from_the_environment(
    told: str, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEROBOT_VIDEO_DECODER_CACHE_SIZE", told)
    assert ours._cache_size() == size


@pytest.mark.parametrize("told", ["many", "0", "-3"])
def test_wrong_cache_sizes(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEROBOT_VIDEO_DECODER_CACHE_SIZE", told)
    with pytest.raises(ValueError, match=r"CACHE_SIZE|max_size"):
        ours._default_cache()


def test_cache_is_shared_by_threads(clips: ClipLibrary) -> None:
    cache = ReaderCache(3)
    expected = {
        name: ours.decode_video_frames(clips[name], [0.5], 0.01, return_uint8=True)
        for name in ("h264", "hevc")
    }
    failures: list[str] = []

    def work() -> None:
        for _ in range(20):
            for name, frame in expected.items():
                got = ours.decode_video_frames(
                    clips[name], [0.5], 0.01, return_uint8=True, cache=cache, threads=1
                )
                if not torch.equal(got, frame):
                    failures.append(name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(cache) == 2


def test_a_reader_that_failed_is_not_kept(clips: ClipLibrary) -> None:
    cache = ReaderCache(3)
    ours.decode_video_frames(clips["h264"], [0.0], 0.01, cache=cache)
    assert len(cache) == 1
    with pytest.raises(ours.FrameTimestampError):
        ours.decode_video_frames(clips["h264"], [9.0], 0.01, cache=cache)
    assert len(cache) == 0


def test_a_forked_child_opens_its_own(clips: ClipLibrary) -> None:
    def frame() -> Any:
        return ours.decode_video_frames(
            clips["h264"], [0.5], 0.01, return_uint8=True, threads=1
        ).numpy()

    expected = frame()
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a child that hangs must not take the suite with it
        try:
            # Compared by numpy: torch's own threads do not survive a fork.
            os._exit(0 if np.array_equal(frame(), expected) else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_register_replaces_lerobots_function(
    theirs: Any, clips: ClipLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        theirs, "decode_video_frames", theirs.decode_video_frames
    )  # put back afterwards
    assert "lerobot.datasets.video_utils" in ours.register()
    assert theirs.decode_video_frames is ours.decode_video_frames
    assert theirs.decode_video_frames(clips["h264"], [0.0], 0.01).shape == (1, 3, 120, 160)
