"""`batches()` with several workers: the same frames as with one, a bounded way ahead of the consumer, and a clean end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.packet import Packet
from numpy.testing import assert_array_equal

import frametap as ft
from clips import CLIPS, Clip, ClipLibrary, encode
from frametap.engines import cpu
from frametap.engines.base import Destination
from frametap.engines.run_decoder import RunDecoder
from restamp import gap_from, restamp

SMALL = ft.Transform(size=(24, 32))


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("frametap-")]


@pytest.mark.parametrize("size", [1, 5, 64])
@pytest.mark.parametrize("step", [1, 3, 40])
@pytest.mark.parametrize(
    "name", ["h264", "hevc", "hevc_open_gop", "mpeg2", "vp9", "av1", "mjpeg", "vfr_mkv", "long"]
)
def test_as_with_one_thread(clips: ClipLibrary, name: str, step: int, size: int) -> None:
    sampler = ft.Every(step)
    with ft.open(clips[name], transform=SMALL, threads=1) as one:
        expected = one.sample(sampler)
        plan = one.plan(sampler)
    with ft.open(clips[name], transform=SMALL, threads=3) as video:
        batches = list(video.batches(size, sampler))
    assert_array_equal(np.concatenate([batch.indices for batch in batches]), expected.indices)
    assert_array_equal(np.concatenate([batch.numpy() for batch in batches]), expected.numpy())
    reports = [batch.report for batch in batches]
    assert sum(report.bytes_read for report in reports) == plan.bytes
    assert sum(report.mapped for report in reports) == len(plan.frames)
    assert len(plan.frames) <= sum(report.decoded for report in reports) <= plan.packets
    assert not workers()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_run_that_is_shown_after_later_ones(
    clips: ClipLibrary, tmp_path: Path, size: int, threads: int
) -> None:
    """Files that were joined, the second stamped before the first had ended: what is shown last comes from the middle."""
    ends: list[int] = []

    def join(number: int, packet: Packet) -> None:
        if number < 24:
            ends[:] = [packet.dts or 0]
        else:
            packet.pts = packet.dts = ends[0] + number - 23

    path = restamp(clips["h264"], tmp_path / "joined.mp4", join)
    with ft.open(path, transform=SMALL, threads=threads) as video:
        assert 12 <= video.index.decode_order[-1] < 24
        expected = video.sample(ft.Every(1))
        batches = list(video.batches(size))
    assert_array_equal(np.concatenate([batch.indices for batch in batches]), expected.indices)
    assert_array_equal(np.concatenate([batch.numpy() for batch in batches]), expected.numpy())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("first", [14, 15, 16, 17])
@pytest.mark.parametrize("name", ["h264", "h264_open_gop", "h264_one_gop"])
def test_stamps_that_contradict_the_order_of_the_pictures(
    clips: ClipLibrary, tmp_path: Path, name: str, first: int, threads: int
) -> None:
    """A gap amid reordered packets: the decoder puts pictures out in another order than that of the timestamps."""
    path = restamp(clips[name], tmp_path / "gap.mp4", gap_from(first))
    with ft.open(path, transform=SMALL, threads=threads) as video:
        expected = video.sample(ft.Every(1))
        batches = list(video.batches(7))
    assert len(expected) == 48
    assert_array_equal(np.concatenate([batch.numpy() for batch in batches]), expected.numpy())


def test_runs_are_decoded_at_the_same_time(
    clips: ClipLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs meet at a barrier, which one decoder reading them in order could never pass."""
    barrier = threading.Barrier(2, timeout=20)
    decode = RunDecoder.decode

    def meeting(self: RunDecoder, run: Any, index: Any) -> Iterator[Any]:
        if run.start in (0, 12):
            barrier.wait()
        return decode(self, run, index)

    monkeypatch.setattr(RunDecoder, "decode", meeting)
    with ft.open(clips["h264"], transform=SMALL, threads=2) as video:
        assert sum(len(batch) for batch in video.batches(8)) == 48


def test_bounded_ahead(clips: ClipLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    """The consumer holds the first batch; workers stop a run each and a batch later, and go on when it asks for more."""
    done: list[int] = []
    note = Destination.done

    def noting(self: Destination, frame: int) -> None:
        done.append(frame)
        note(self, frame)

    monkeypatch.setattr(Destination, "done", noting)
    with ft.open(clips["long"], transform=SMALL, threads=2) as video:
        batches = video.batches(10)
        next(batches)
        before = -1
        while len(done) != before:
            before = len(done)
            time.sleep(0.3)
        assert 10 < max(done) < 10 + 2 * 50 + 10
        next(batches)
        batches.close()  # type: ignore[attr-defined]
        assert max(done) < 20 + 2 * 50 + 10
        assert not workers()
        assert len(video.sample(ft.Uniform(4))) == 4


def test_long_runs_of_large_frames_are_not_kept(
    clips: ClipLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "_MAX_BYTES_AHEAD", 12 * 3 * 24 * 32 - 1)
    with ft.open(clips["h264"], transform=SMALL, threads=2) as video:
        batches = video.batches(4)
        next(batches)
        assert not workers()
        monkeypatch.setattr(cpu, "_MAX_BYTES_AHEAD", 12 * 3 * 24 * 32)
        batches = video.batches(4)
        next(batches)
        assert workers()
        batches.close()  # type: ignore[attr-defined]


def test_an_error_comes_after_the_batches_before_it(
    clips: ClipLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = RunDecoder.decode

    def failing(self: RunDecoder, run: Any, index: Any) -> Iterator[Any]:
        if run.start == 24:
            raise ft.SourceError("gone")
        return decode(self, run, index)

    monkeypatch.setattr(RunDecoder, "decode", failing)
    with ft.open(clips["h264"], transform=SMALL, threads=2) as video:
        batches = video.batches(8)
        assert [next(batches).indices[0] for _ in range(3)] == [0, 8, 16]
        with pytest.raises(ft.SourceError, match="gone"):
            next(batches)
    assert not workers()


UNFINISHED = """
import sys
import frametap as ft
video = ft.open(sys.argv[1], transform=ft.Transform(size=(24, 32)), threads=2)
batches = video.batches(4)
print(len(next(batches)))
"""


IN_A_THREAD = """
import sys, threading
import frametap as ft

def read():
    threading.main_thread().join()
    with ft.open(sys.argv[1], transform=ft.Transform(size=(24, 32)), threads=2) as video:
        print(sum(len(batch) for batch in video.batches(4)))

threading.Thread(target=read).start()
"""


@pytest.mark.parametrize(
    ("script", "says"), [(UNFINISHED, "4\n"), (IN_A_THREAD, "1500\n")], ids=["unfinished", "thread"]
)
def test_the_interpreter_ends(clips: ClipLibrary, script: str, says: str) -> None:
    """An unfinished iterator does not keep it; a thread that goes on reading after the main thread's end does."""
    for _ in range(4):
        command = [sys.executable, "-c", script, str(clips["long"])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, says, "")


LOGGED = """
import sys
import av.logging
import frametap as ft

av.logging.set_level(av.logging.PANIC)
for _ in range(40):
    with ft.open(sys.argv[1], transform=ft.Transform(size=(24, 32)), threads=2, device="cpu") as video:
        try:
            next(video.batches(4))
        except ft.DecodeError:
            pass
"""


def test_closing_early_with_logging_on(tmp_path: Path) -> None:
    """PyAV frees decoders with the GIL held, for which their threads wait when they have something to log."""
    path = tmp_path / "damaged.mp4"
    encode(path, replace(CLIPS["h264"], size=(640, 480), encoded=24))
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.size > 200 and packet.pos and not packet.is_keyframe:
                middle = packet.pos + packet.size // 2
                data[middle : middle + 40] = b"\x55" * 40
    path.write_bytes(data)
    command = [sys.executable, "-c", LOGGED, str(path)]
    subprocess.run(command, check=True, timeout=60)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_cannot_go_on_with_it(clips: ClipLibrary) -> None:
    with ft.open(clips["long"], transform=SMALL, threads=2) as video:
        batches = video.batches(4)
        next(batches)
        child = os.fork()
        if child == 0:
            try:
                next(batches)
            except ft.SourceError as error:
                os._exit(0 if "forked" in str(error) else 2)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert sum(len(batch) for batch in batches) == 1496


def test_frames_of_a_small_clip_on_disk_and_in_memory(clips: ClipLibrary) -> None:
    """Workers share a source, whatever it is."""
    path = Path(clips["h264"])
    with path.open("rb") as file:
        for source in (path.read_bytes(), file):
            with ft.open(source, transform=SMALL, threads=3) as video:
                got = np.concatenate([batch.numpy() for batch in video.batches(7)])
                assert_array_equal(got, video[:].numpy())


@pytest.mark.parametrize("decoded_packets", [0, 1])
def test_no_frame_threads_where_only_decoding_tells_the_frames(
    clips: ClipLibrary, decoded_packets: int
) -> None:
    """Of H.264 with a field per packet, FFmpeg's frame threads flag whole pictures as corrupt."""
    index = ft.FrameIndex.build(clips["h264_one_gop"], tables=False)
    index = replace(index, decoded_packets=decoded_packets)
    with ft.open(clips["h264_one_gop"], transform=SMALL, threads=3, index=index) as video:
        sampled = video.sample(ft.Every(2)).numpy()
        streamed = np.concatenate([batch.numpy() for batch in video.batches(7, ft.Every(2))])
        assert isinstance(video._engine, cpu.CpuEngine)
        assert {decoder.threads for decoder in video._engine._idle} == {1 if decoded_packets else 3}
    assert_array_equal(sampled, streamed)


@pytest.mark.parametrize(("name", "threads"), [("h264", 3), ("mpeg4", 1), ("vp8", 1)])
def test_no_frame_threads_where_they_race(clips: ClipLibrary, name: str, threads: int) -> None:
    with ft.open(clips[name], transform=SMALL, threads=3) as video:
        assert sum(len(batch) for batch in video.batches(7)) == 48
        assert isinstance(video._engine, cpu.CpuEngine)
        assert {decoder.threads for decoder in video._engine._idle} == {threads}


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4"])
def test_intervals_are_sought_not_read_up_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """MPEG-TS is sought by dts: at the pts of a keyframe whose pictures are reordered, FFmpeg is behind it."""
    path = tmp_path / f"clip{suffix}"
    options = {"x264-params": "keyint=20:min-keyint=20:scenecut=0:bframes=3:b-adapt=0"}
    encode(path, Clip("libx264", suffix, encoded=300, options=options))
    opened: list[RunDecoder] = []
    reopen = RunDecoder._reopen
    monkeypatch.setattr(RunDecoder, "_reopen", lambda self: (opened.append(self), reopen(self)))
    wanted = [281, 41, 203, 102]
    with ft.open(path, transform=SMALL, threads=1, device="cpu") as video:
        expected = video.sample(ft.Every(1)).numpy()
        opened.clear()
        for number in wanted:
            assert_array_equal(video[number].numpy(), expected[number])
    assert not opened
