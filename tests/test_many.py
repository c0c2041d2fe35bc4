"""`sample_many`: order, isolation of errors, how far ahead it works, and that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import frametap as ft
from clips import Clip, ClipLibrary, encode
from frametap import doctor
from frametap.engines.cpu import CpuEngine

SAMPLER = ft.Uniform(3)
SMALL = ft.Transform(size=(24, 32))
NAMES = ["h264", "hevc", "vp9", "mpeg4", "vfr", "rotate90"]


@pytest.fixture
def paths(clips: ClipLibrary) -> list[Path]:
    return [clips[name] for name in NAMES]


def our_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("frametap")]


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 5
    while our_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert our_threads() == []


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("prefetch", [0, 3])
def test_one_result_per_source_in_order(paths: list[Path], workers: int, prefetch: int) -> None:
    expected = [ft.sample(path, SAMPLER, SMALL).numpy() for path in paths]
    stream = ft.sample_many(paths, SAMPLER, SMALL, workers=workers, prefetch=prefetch)
    for position, batch in enumerate(stream):
        assert stream.position == position
        assert_array_equal(batch.numpy(), expected[position])
    assert position == len(paths) - 1


@pytest.mark.parametrize("threads", [None, 1])
def test_idle_workers_help_with_the_last_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int | None
) -> None:
    """Runs of one video are decoded side by side once there are more workers than videos, and only by default."""
    path = tmp_path / "runs.mp4"
    encode(path, Clip("libx264", encoded=60, options={"g": "10", "bf": "2"}))
    expected = ft.sample(path, ft.Uniform(6), SMALL).numpy()
    at_once, most, decode_run = set[int](), 0, CpuEngine._decode_run
    together = threading.Barrier(3)

    def decode(*args: Any) -> None:
        nonlocal most
        at_once.add(threading.get_ident())
        most = max(most, len(at_once))
        if threads is None:
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait(timeout=20)
        decode_run(*args)
        at_once.discard(threading.get_ident())

    monkeypatch.setattr(CpuEngine, "_decode_run", decode)
    (batch,) = ft.sample_many([path], ft.Uniform(6), SMALL, workers=3, threads=threads)
    assert_array_equal(batch.numpy(), expected)
    assert most == (3 if threads is None else 1)


def test_unordered_yields_each_once(paths: list[Path]) -> None:
    expected = [ft.sample(path, SAMPLER, SMALL).numpy() for path in paths]
    stream = ft.sample_many(paths, SAMPLER, SMALL, workers=3, ordered=False)
    seen = []
    for batch in stream:
        seen.append(stream.position)
        assert_array_equal(batch.numpy(), expected[stream.position])
    assert sorted(seen) == list(range(len(paths)))


class SlowFile(io.BytesIO):
    """A file that is not read before it is let go."""

    name = "slow"

    def __init__(self, data: bytes, gate: threading.Event) -> None:
        super().__init__(data)
        self.gate = gate

    def read(self, size: int | None = -1) -> bytes:
        assert self.gate.wait(20)
        return super().read(size)


def test_unordered_does_not_wait_for_a_slow_source(paths: list[Path]) -> None:
    gate = threading.Event()
    slow = SlowFile(paths[0].read_bytes(), gate)
    stream = ft.sample_many([slow, *paths], SAMPLER, SMALL, workers=2, ordered=False)
    positions = []
    for _ in stream:
        positions.append(stream.position)
        if len(positions) == len(paths):
            gate.set()
    assert positions[-1] == 0
    assert sorted(positions) == list(range(len(paths) + 1))


def test_ordered_waits(paths: list[Path]) -> None:
    gate = threading.Event()
    slow = SlowFile(paths[0].read_bytes(), gate)
    threading.Timer(0.2, gate.set).start()
    stream = ft.sample_many([slow, paths[1]], SAMPLER, SMALL, workers=2)
    assert [stream.position for _ in stream] == [0, 1]


class TestErrors:
    def test_raise_at_their_turn_and_go_on(self, paths: list[Path]) -> None:
        stream = ft.sample_many([paths[0], "missing.mp4", b"junk", paths[1]], SAMPLER, SMALL)
        assert len(next(stream)) == 3
        with pytest.raises(ft.SourceError, match=r"missing\.mp4"):
            next(stream)
        assert stream.position == 1
        with pytest.raises(ft.SourceError, match="<4 bytes>"):
            next(stream)
        assert len(next(stream)) == 3
        assert stream.position == 3
        with pytest.raises(StopIteration):
            next(stream)

    @pytest.mark.parametrize("on_error", ["skip", "repeat", "black"])
    @pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
    def test_empty_batch_with_the_error(
        self, paths: list[Path], on_error: Any, layout: Any
    ) -> None:
        transform = ft.Transform(size=(24, 32), layout=layout, dtype="float32")
        stream = ft.sample_many(["missing.mp4", paths[0]], SAMPLER, transform, on_error=on_error)
        failed, good = stream
        assert isinstance(failed.error, ft.SourceError)
        assert (len(failed), failed.dtype, len(failed.shape)) == (0, "float32", 4)
        assert failed.numpy().dtype == np.float32
        assert len(failed.indices) == len(failed.pts_seconds) == len(failed.ok) == 0
        assert (len(good), good.error) == (3, None)

    def test_of_the_sampler_is_of_its_source_alone(self, clips: ClipLibrary) -> None:
        """The window lies within one of the clips only."""
        late, early = clips["late_start"], clips["h264"]
        sampler = ft.Uniform(2, start_seconds=5.5)
        with ft.sample_many([early, late, early], sampler, SMALL) as stream:
            with pytest.raises(ValueError, match="seconds"):
                next(stream)
            assert len(next(stream)) == 2
            with pytest.raises(ValueError, match="seconds"):
                next(stream)

    @pytest.mark.parametrize("on_error", ["skip", "repeat", "black"])
    @pytest.mark.parametrize("error", [ValueError, IndexError, OSError, MemoryError])
    def test_of_any_kind_do_not_end_the_loop(
        self, clips: ClipLibrary, on_error: Any, error: type[Exception]
    ) -> None:
        """A sampler may not fit one of the videos, or a frame of it not into memory."""
        long, short = clips["long"], clips["h264"]

        def late(index: ft.FrameIndex) -> np.ndarray:
            if len(index) < 1000:
                raise error("too short")
            return ft.Uniform(2)(index)

        batches = list(ft.sample_many([long, short, long], late, SMALL, on_error=on_error))
        assert [len(batch) for batch in batches] == [2, 0, 2]
        assert type(batches[1].error) is error
        assert "too short" in str(batches[1].error)

    @pytest.mark.parametrize("sampler", [ft.At([10.0]), ft.Uniform(2, start_seconds=10)])
    def test_of_a_sampler_that_does_not_fit(self, clips: ClipLibrary, sampler: Any) -> None:
        batches = list(
            ft.sample_many([clips["h264"], clips["long"]], sampler, SMALL, on_error="skip")
        )
        assert [len(batch) > 0 for batch in batches] == [False, True]
        assert isinstance(batches[0].error, (IndexError, ValueError))
        assert clips["h264"].name in str(batches[0].error)

    def test_of_a_sampler_that_is_wrong_comes_through(self, paths: list[Path]) -> None:
        with (
            ft.sample_many(paths, lambda index: index.no_such_thing, SMALL, on_error="skip") as it,
            pytest.raises(AttributeError),
        ):
            next(it)

    def test_of_the_generator_comes_through(self, paths: list[Path]) -> None:
        def broken() -> Iterator[Path]:
            yield paths[0]
            raise RuntimeError("the list of videos broke")

        with ft.sample_many(broken(), SAMPLER, SMALL, workers=1, prefetch=0) as stream:
            assert len(next(stream)) == 3
            with pytest.raises(RuntimeError, match="the list of videos broke"):
                next(stream)


class TestBounds:
    @pytest.mark.parametrize("ordered", [True, False])
    @pytest.mark.parametrize(("workers", "prefetch"), [(1, 0), (2, 1), (1, 4)])
    def test_never_further_ahead(
        self, paths: list[Path], workers: int, prefetch: int, ordered: bool
    ) -> None:
        taken = 0

        def endless() -> Iterator[Path]:
            nonlocal taken
            while True:
                taken += 1
                yield paths[taken % 2]

        delivered = 0
        with ft.sample_many(
            endless(), SAMPLER, SMALL, workers=workers, prefetch=prefetch, ordered=ordered
        ) as stream:
            assert taken == 0, "nothing is read before it is asked for"
            for _ in range(8):
                next(stream)
                delivered += 1
                assert taken - delivered <= workers + prefetch
        assert taken - delivered <= workers + prefetch

    def test_never_more_at_once_than_workers(self, paths: list[Path]) -> None:
        lock, at_work, most = threading.Lock(), 0, 0

        def watched(index: ft.FrameIndex) -> np.ndarray:
            nonlocal at_work, most
            with lock:
                at_work += 1
                most = max(most, at_work)
            time.sleep(0.02)
            with lock:
                at_work -= 1
            return np.array([0, len(index) // 2])

        batches = list(ft.sample_many(paths, watched, SMALL, workers=2, prefetch=4))
        assert len(batches) == len(paths)
        assert most == 2

    def test_close_leaves_the_rest(self, paths: list[Path]) -> None:
        sources = iter(paths * 10)
        stream = ft.sample_many(sources, SAMPLER, SMALL, workers=2, prefetch=1)
        next(stream)
        stream.close()
        assert our_threads() == []
        assert len(list(sources)) >= 10 * len(paths) - 4
        assert list(stream) == []
        stream.close()

    def test_dropped_without_close(self, paths: list[Path]) -> None:
        stream = ft.sample_many(paths, SAMPLER, SMALL, workers=2)
        next(stream)
        del stream  # the fixture sees to it that no thread stays

    def test_end_leaves_no_threads(self, paths: list[Path]) -> None:
        assert len(list(ft.sample_many(paths, SAMPLER, SMALL, workers=3))) == len(paths)
        assert our_threads() == []

    def test_no_sources(self) -> None:
        assert list(ft.sample_many([])) == []


class TestArguments:
    @pytest.mark.parametrize(
        "sources",
        [
            "talk.mp4",
            Path("talk.mp4"),
            b"x",
            bytearray(b"x"),
            memoryview(b"x"),
            io.BytesIO(b"x\nx"),
        ],
        ids=lambda sources: type(sources).__name__,
    )
    def test_one_video_is_no_list(self, sources: Any) -> None:
        with pytest.raises(
            TypeError, match=r"sources must be a list of videos.*use sample\(\) for one"
        ):
            ft.sample_many(sources)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"workers": 0}, "at least 1, got 0"),
            ({"prefetch": -1}, "prefetch must be 0 or more, got -1"),
            ({"threads": 0}, "threads must be at least 1, got 0"),
            ({"on_error": "ignore"}, "on_error must be one of raise, skip, repeat, black"),
            ({"snap_seconds": -1.0}, "snap_seconds must be 0 or more"),
            ({"device": "gpu"}, 'device must be "auto", "cpu"'),
            ({"engine": "magic"}, "engine must be"),
        ],
        ids=str,
    )
    def test_nonsense_is_refused_at_once(
        self, paths: list[Path], options: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(ValueError, match=words):
            ft.sample_many(paths, **options)

    def test_transform_is_one(self, paths: list[Path]) -> None:
        with pytest.raises(TypeError, match=r"transform must be a frametap\.Transform, got dict"):
            ft.sample_many(paths, SAMPLER, {"size": 24})  # type: ignore[arg-type]

    def test_cuda(self, paths: list[Path]) -> None:
        if doctor.cuda_state().usable:
            pytest.skip("this machine has a GPU")
        with pytest.raises(ft.DeviceError, match='device="cuda": libcuda'):
            ft.sample_many(paths, device="cuda")

    def test_options_reach_every_source(self, paths: list[Path]) -> None:
        for batch in ft.sample_many(paths[:2], ft.Indices([1, 13]), SMALL, snap_seconds=0.1):
            assert_array_equal(batch.indices, [0, 12])
