"""`VideoReader` as people use it: a list of frames, a file that is closed, threads, forks, and nothing left open."""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.connection
import os
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import frametap as ft
import plain
from clips import ClipLibrary
from frametap import doctor
from frametap.engines.select import default_threads

SMALL = ft.Transform(size=(24, 32))


@pytest.fixture
def video(clips: ClipLibrary) -> Any:
    with ft.open(clips["h264"], transform=SMALL, threads=1) as video:
        yield video


class TestLikeAList:
    def test_length_and_name(self, video: ft.VideoReader) -> None:
        assert len(video) == 48
        assert "h264.mp4" in repr(video)
        assert "48 frames" in repr(video)

    def test_one_frame(self, video: ft.VideoReader) -> None:
        frame = video[10]
        assert isinstance(frame, ft.Frame)
        assert (frame.index, frame.shape, frame.dtype) == (10, (3, 24, 32), "uint8")
        assert frame.pts_seconds == pytest.approx(10 / 24)
        assert frame.duration_seconds == pytest.approx(1 / 24)
        assert_array_equal(video[np.int64(10)].numpy(), frame.numpy())

    def test_from_the_end(self, video: ft.VideoReader) -> None:
        assert (video[-1].index, video[-48].index) == (47, 0)
        assert_array_equal(video[-1].numpy(), video[47].numpy())

    @pytest.mark.parametrize("number", [48, -49, 1000])
    def test_outside(self, video: ft.VideoReader, number: int) -> None:
        with pytest.raises(IndexError, match=r"has 48 frames \(0 to 47\)"):
            video[number]
        with pytest.raises(IndexError):
            video.frames_at([0, number])

    @pytest.mark.parametrize("number", [1.0, "1", None, 0.5], ids=repr)
    def test_what_is_no_number(self, video: ft.VideoReader, number: Any) -> None:
        with pytest.raises(TypeError, match=r"frame numbers are integers.*frames_played_at"):
            video[number]

    def test_slices(self, video: ft.VideoReader) -> None:
        assert_array_equal(video[0:20:5].indices, [0, 5, 10, 15])
        assert_array_equal(video[5:2:-1].indices, [5, 4, 3])
        assert_array_equal(video[46:100].indices, [46, 47])
        assert len(video[10:5]) == 0

    def test_iteration(self, video: ft.VideoReader) -> None:
        frames = list(video)
        assert [frame.index for frame in frames] == list(range(48))
        assert_array_equal([frame.pts_seconds for frame in frames], video.index.pts_seconds)
        for first, second in zip(video, video, strict=True):  # two at once
            assert_array_equal(first.numpy(), second.numpy())

    def test_reversed(self, video: ft.VideoReader) -> None:
        assert [frame.index for frame in reversed(video)] == list(range(47, -1, -1))  # type: ignore[call-overload]

    @pytest.mark.parametrize(
        "kind", [list, tuple, np.array, partial(np.array, dtype=np.uint8), iter], ids=repr
    )
    def test_frames_at_takes_what_holds_integers(
        self, video: ft.VideoReader, kind: Callable[[list[int]], Any]
    ) -> None:
        batch = video.frames_at(kind([3, 1, 3]))
        assert_array_equal(batch.indices, [3, 1, 3])

    @pytest.mark.parametrize("number", [2**63, -(2**70), np.uint64(2**64 - 1)])
    def test_numbers_that_no_index_holds(self, video: ft.VideoReader, number: Any) -> None:
        for use in (lambda: video[number], lambda: video.frames_at([0, number])):
            with pytest.raises(IndexError, match=f"frame {number} is outside the video, which has"):
                use()


class TestPlayedAt:
    @pytest.mark.parametrize("name", ["vfr", "vfr_mkv", "late_start", "edit_list"])
    def test_on_screen(self, clips: ClipLibrary, name: str) -> None:
        pictures = plain.decode(clips[name]).pictures
        starts = [picture.seconds or 0.0 for picture in pictures]
        wanted = [starts[0], starts[5] + 0.01, starts[1], starts[-1], (starts[7] + starts[8]) / 2]
        with ft.open(clips[name], transform=SMALL) as video:
            batch = video.frames_played_at(wanted)
            assert_array_equal(batch.indices, [0, 5, 1, len(starts) - 1, 7])
            assert_array_equal(batch.numpy(), video.frames_at(batch.indices).numpy())
            for outside in (starts[0] - 0.01, video.index.end_seconds):
                with pytest.raises(IndexError, match="on screen"):
                    video.frames_played_at([starts[0], outside])

    def test_one_time(self, video: ft.VideoReader) -> None:
        assert video.frames_played_at(0.5).indices.tolist() == [12]


class TestBatches:
    @pytest.mark.parametrize(("size", "sizes"), [(48, [48]), (20, [20, 20, 8]), (100, [48])])
    def test_sizes(self, video: ft.VideoReader, size: int, sizes: list[int]) -> None:
        assert [len(batch) for batch in video.batches(size)] == sizes

    def test_of_a_sampler(self, video: ft.VideoReader) -> None:
        for sampler in (ft.Every(5), ft.Indices([40, 2, 2, -1, 7]), lambda _: np.array([-1, 3, 4])):
            expected = video.sample(sampler)
            batches = list(video.batches(3, sampler))
            assert_array_equal(np.concatenate([b.indices for b in batches]), expected.indices)
            assert_array_equal(np.concatenate([b.numpy() for b in batches]), expected.numpy())

    def test_left_half_way(self, video: ft.VideoReader) -> None:
        for batch in video.batches(5):
            if batch.indices[0] >= 10:
                break
        assert_array_equal(video[12].numpy(), batch.numpy()[2])

    @pytest.mark.parametrize("size", [0, -3])
    def test_size_is_checked_at_once(self, video: ft.VideoReader, size: int) -> None:
        with pytest.raises(ValueError, match=f"at least one frame, got size={size}"):
            video.batches(size)

    def test_policy_is_checked_at_once(self, video: ft.VideoReader) -> None:
        with pytest.raises(ValueError, match="on_error must be one of"):
            video.batches(2, on_error="ignore")  # type: ignore[arg-type]


class TestClosed:
    def test_every_use_says_so(self, clips: ClipLibrary) -> None:
        with ft.open(clips["h264"]) as video:
            pass
        uses: list[Callable[[], Any]] = [
            lambda: video[0],
            lambda: video[0:0],
            lambda: video.frames_at([1]),
            lambda: video.frames_played_at([0.5]),
            lambda: video.sample(ft.Uniform(2)),
            lambda: video.batches(4),
            lambda: list(video),
        ]
        for use in uses:
            with pytest.raises(
                ft.SourceError, match=r"h264\.mp4: the reader is closed; open the video again"
            ):
                use()

    def test_twice(self, clips: ClipLibrary) -> None:
        video = ft.open(clips["h264"])
        video.close()
        video.close()

    def test_by_an_error_in_the_block(self, clips: ClipLibrary) -> None:
        with pytest.raises(KeyError), ft.open(clips["h264"]) as video:
            raise KeyError
        with pytest.raises(ft.SourceError):
            video[0]

    def test_while_streaming(self, clips: ClipLibrary) -> None:
        video = ft.open(clips["h264"])
        batches = video.batches(5)
        next(batches)
        video.close()
        with pytest.raises(ft.SourceError, match="closed"):
            next(batches)

    def test_index_and_plan_stay(self, clips: ClipLibrary) -> None:
        with ft.open(clips["h264"]) as video:
            pass
        assert len(video) == 48
        assert video.plan(ft.Uniform(2)).packets > 0


class TestArguments:
    def test_device(self, clips: ClipLibrary) -> None:
        reasons = {}
        for device in ("auto", "cpu"):
            batch = ft.sample(clips["h264"], ft.Uniform(2), SMALL, device=device, engine="cpu")
            assert (batch.device, batch.report.engine) == ("cpu", "cpu")
            reasons[device] = batch.report.why
        assert reasons["auto"] != reasons["cpu"]

    @pytest.mark.parametrize("device", ["cuda", "cuda:1"])
    def test_cuda_is_not_there(self, clips: ClipLibrary, device: str) -> None:
        if doctor.cuda_state().usable:
            pytest.skip("this machine has a GPU")
        for use in (ft.open, ft.sample):
            with pytest.raises(ft.DeviceError, match=f'device="{device}".*use device="cpu"'):
                use(clips["h264"], device=device)

    @pytest.mark.parametrize("device", ["gpu", "cpu:0", "", "CUDA", 0, None])
    def test_no_device(self, clips: ClipLibrary, device: Any) -> None:
        with pytest.raises(ValueError, match="device must be"):
            ft.open(clips["h264"], device=device)

    def test_stream_is_for_cuda(self) -> None:
        with pytest.raises(ValueError, match="stream is for CUDA"):
            ft.sample("is not even opened.mp4", device="cpu", stream=1)

    @pytest.mark.parametrize("threads", [0, -1])
    def test_threads(self, threads: int) -> None:
        with pytest.raises(ValueError, match=f"threads must be at least 1, got {threads}"):
            ft.open(b"is not even opened", threads=threads)

    def test_transform_is_one(self, clips: ClipLibrary) -> None:
        with pytest.raises(TypeError, match=r"must be a frametap\.Transform, got tuple"):
            ft.open(clips["h264"], transform=(224, 224))  # type: ignore[arg-type]

    def test_own_sampler(self, clips: ClipLibrary) -> None:
        """A sampler is anything that makes frame numbers of an index."""
        batch = ft.sample(clips["h264"], lambda index: np.array([len(index) - 1, 0]), SMALL)
        assert_array_equal(batch.indices, [47, 0])

    def test_defaults(self, clips: ClipLibrary) -> None:
        batch = ft.sample(clips["h264"])
        assert batch.shape == (32, 3, 120, 160)


def test_info(clips: ClipLibrary) -> None:
    with ft.open(clips["rotate90"]) as video:
        info = video.info
        assert (info.width, info.height, info.rotation, info.num_frames) == (120, 160, 90, 48)
        assert (info.codec, info.pixel_format, info.bit_depth) == ("h264", "yuv420p", 8)
        assert video.info is info
    assert ft.probe(clips["h264_10bit"]).bit_depth == 10
    assert ft.probe(clips["full_range"]).full_range
    assert ft.probe(clips["bt709"]).matrix == "bt709"
    assert ft.probe(clips["late_start"]).start_seconds == 5.0


# ------------------------------------------------------------------------------------------------ threads and processes


def test_threads_with_readers_of_their_own(clips: ClipLibrary) -> None:
    expected = ft.sample(clips["h264"], ft.Every(1), SMALL).numpy()
    start = threading.Barrier(8)

    def read(number: int) -> None:
        rng = np.random.default_rng(number)
        start.wait()
        with ft.open(clips["h264"], transform=SMALL, threads=1 + number % 2) as video:
            for _ in range(5):
                numbers = rng.integers(0, 48, 6)
                assert_array_equal(video.frames_at(numbers).numpy(), expected[numbers])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))


def test_an_index_is_shared_between_threads(clips: ClipLibrary) -> None:
    index = ft.FrameIndex.build(clips["h264"])
    expected = ft.sample(clips["h264"], ft.Uniform(5), SMALL).numpy()
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(ft.sample, clips["h264"], ft.Uniform(5), SMALL, index=index)
            for _ in range(8)
        ]
    for job in jobs:
        assert_array_equal(job.result().numpy(), expected)


def in_fork(work: Callable[[], None]) -> None:
    """Run `work` in a forked child and fail where it fails; a child that hangs is killed."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            work()
        except BaseException:
            os.write(write, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(write)
    context = multiprocessing.connection.wait([read], timeout=20)
    if not context:
        os.kill(child, 9)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode() if context else "the child hangs"
    os.waitpid(child, 0)
    assert not said, said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("name", ["h264", "h264_one_gop", "av1"])
def test_fork(clips: ClipLibrary, name: str, threads: int) -> None:
    """A child uses a reader that its parent opened and has used; so does the parent, meanwhile and afterwards."""
    with ft.open(clips[name], transform=SMALL, threads=threads) as video:
        expected = video[:].numpy()
        stream = video.batches(5)
        first = next(stream)

        def child() -> None:
            assert_array_equal(video[47:0:-3].numpy(), expected[47:0:-3])
            assert_array_equal(video[20].numpy(), expected[20])
            video.close()

        in_fork(child)
        assert_array_equal(video[30].numpy(), expected[30])
        in_fork(child)
        rest = [batch.numpy() for batch in stream]
        assert_array_equal(np.concatenate([first.numpy(), *rest]), expected)


def _threads_here(path: Path, answers: Any) -> None:
    with ft.open(path, transform=SMALL) as video:
        answers.put((default_threads(), len(video.sample(ft.Uniform(3)))))


@pytest.mark.parametrize("daemon", [True, False])
def test_default_threads_in_a_process(clips: ClipLibrary, daemon: bool) -> None:
    """One in a daemonic process, such as the workers of a data loader; otherwise what the process may use."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_threads_here, args=(clips["h264"], answers), daemon=daemon)
    process.start()
    threads, frames = answers.get(timeout=60)
    process.join(60)
    answers.close()
    answers.join_thread()
    assert process.exitcode == 0
    assert frames == 3
    assert threads == (1 if daemon else len(os.sched_getaffinity(0)))


def open_files() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc here")
@pytest.mark.parametrize("threads", [1, 3])
def test_no_file_stays_open(clips: ClipLibrary, threads: int) -> None:
    def cycle() -> None:
        with ft.open(clips["h264"], transform=SMALL, threads=threads) as video:
            video.frames_at([40, 3])
            next(video.batches(3))
        ft.probe(clips["h264"])
        for bad in (b"junk", clips["audio_only"]):
            with pytest.raises(ft.SourceError):
                ft.open(bad)
        with pytest.raises(ft.SourceError):
            ft.open(clips["h264"], index=ft.FrameIndex.build(clips["hevc"]))

    cycle()
    before, threads_before = open_files(), threading.active_count()
    for _ in range(50):
        cycle()
    assert open_files() <= before
    assert threading.active_count() <= threads_before
