"""Damage inside a stream: which frames it takes along, and that it takes no others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from PIL import Image

import frametap as ft
import plain
from clips import Clip, encode
from frametap import planner
from frametap.container import Container
from frametap.engines.run_decoder import RunDecoder
from frametap.source import Source
from restamp import gap_from, restamp

GRAY = ft.Transform(color="gray")
GOP, FRAMES = 20, 120
Fetch = Callable[[ft.VideoReader, list[int]], Iterable[ft.FrameBatch]]


def x264(path: Path, parameters: str, **changes: Any) -> Path:
    parameters = f"keyint={GOP}:min-keyint={GOP}:scenecut=0:mbtree=0:{parameters}"
    options = {"preset": "veryfast", "x264-params": parameters}
    encode(path, Clip("libx264", path.suffix, encoded=FRAMES, options=options, **changes))
    return path


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return x264(tmp_path_factory.mktemp("closed") / "clip.mp4", "bframes=3:b-adapt=0")


@pytest.fixture(scope="module")
def leading(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each keyframe but the first is followed by pictures that are shown before it."""
    parameters = "bframes=3:b-adapt=0:open-gop=1"
    return x264(tmp_path_factory.mktemp("leading") / "clip.mp4", parameters)


def hurt(path: Path, copy: Path, number: int, index: ft.FrameIndex, *, at: float = 0.5) -> Path:
    """Write a copy with a dozen random bytes inside one packet; `at` 0 makes its length wrong."""
    data, size = bytearray(path.read_bytes()), int(index.packet_size[number])
    begin = int(index.packet_position[number]) + int(at * size)
    if at:
        noise = np.random.default_rng(number).integers(0, 256, 12, dtype=np.uint8).tobytes()
        stop = min(begin + 12, int(index.packet_position[number]) + size)
        data[begin:stop] = noise[: stop - begin]
    else:
        data[begin] = 0xFF
    copy.write_bytes(data)
    return copy


def sampled(video: ft.VideoReader, frames: list[int]) -> Iterable[ft.FrameBatch]:
    return [video.sample(ft.Indices(frames), on_error="black")]


def streamed(video: ft.VideoReader, frames: list[int]) -> Iterable[ft.FrameBatch]:
    return video.batches(8, ft.Indices(frames), on_error="black")


def outcome(
    path: Path, clean: NDArray[Any], frames: list[int], fetch: Fetch, threads: int
) -> tuple[list[int], list[int]]:
    """The frames called good that are not, and those that were refused."""
    with ft.open(path, device="cpu", transform=GRAY, threads=threads) as video:
        batches = list(fetch(video, frames))
    ok = np.concatenate([batch.ok for batch in batches])
    data = np.concatenate([batch.numpy() for batch in batches])
    same = np.array([(data[i] == clean[frame]).all() for i, frame in enumerate(frames)])
    numbers = np.array(frames)
    return numbers[ok & ~same].tolist(), numbers[~ok].tolist()


def all_frames(path: Path) -> NDArray[Any]:
    with ft.open(path, device="cpu", transform=GRAY, threads=1) as video:
        return video[:].numpy()


@pytest.mark.parametrize("fetch", [sampled, streamed])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("clip", ["closed", "leading"])
def test_what_one_damaged_packet_takes_along(
    request: pytest.FixtureRequest, tmp_path: Path, clip: str, fetch: Fetch, threads: int
) -> None:
    """Where FFmpeg says anything of it, all that shows it is refused, nothing decoded before it or after the interval."""
    whole = request.getfixturevalue(clip)
    clean, index = all_frames(whole), ft.FrameIndex.build(whole, tables=False)
    starts = np.flatnonzero(index.packet_flags & ft._core.START)
    told = 0
    for number in range(starts[2] + 1, starts[3] + 4):
        path = hurt(whole, tmp_path / "hurt.mp4", number, index)
        wrong, refused = outcome(path, clean, list(range(FRAMES)), fetch, threads)
        assert not (wrong and refused), number
        assert (index.decode_order[refused] >= number).all(), number
        if (
            clip == "closed"
        ):  # else pictures of the next interval may name the damaged one, if only to have it forgotten
            assert all(f < index.frame_of_packet[starts[starts > number][0]] for f in refused)
        told += bool(refused)
    assert told > GOP / 2


@pytest.mark.parametrize("fetch", [sampled, streamed])
@pytest.mark.parametrize("number", [41, 45, 49, 53])
def test_pictures_that_lead_a_keyframe_need_the_interval_before(
    leading: Path, tmp_path: Path, fetch: Fetch, number: int
) -> None:
    clean, index = all_frames(leading), ft.FrameIndex.build(leading, tables=False)
    keyframe = int(np.flatnonzero(index.packet_flags & ft._core.START)[3])
    shown_first = int(index.frame_of_packet[keyframe])
    leads = [f for f in range(FRAMES) if index.decode_order[f] > keyframe and f < shown_first]
    assert leads
    path = hurt(leading, tmp_path / "hurt.mp4", number, index, at=0)
    for threads in (1, 2):
        wrong, refused = outcome(path, clean, leads, fetch, threads)
        assert not wrong
        assert refused == leads


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_batches_deliver_what_a_sample_does(leading: Path, tmp_path: Path, threads: int) -> None:
    """Where it takes a second look to find pictures, and those after them have long come out."""
    index = ft.FrameIndex.build(leading, tables=False)
    keyframe = int(np.flatnonzero(index.packet_flags & ft._core.START)[2])
    path = restamp(leading, tmp_path / "gap.mp4", gap_from(keyframe + 1))
    frames = [0, *range(keyframe, FRAMES)]
    for fetch in (sampled, streamed):
        assert outcome(path, all_frames(path), frames, fetch, threads) == ([], [])


def test_old_x264_without_a_seekable_container(tmp_path: Path) -> None:
    """FFmpeg decodes streams of old versions of x264 in another way, which it learns from the first packet."""
    path = x264(tmp_path / "old.h264", "bframes=0")
    data = path.read_bytes()
    at = data.index(b"x264 - core ") + len(b"x264 - core ")
    path.write_bytes(data[:at] + b"039" + data[at + 3 :])
    expected = plain.decode_now(path).pictures
    with ft.open(path, device="cpu", transform=GRAY, threads=1) as video:
        assert video.index.prime_decoders
        every = np.concatenate([batch.numpy() for batch in video.batches(16)])
        again = video.frames_at([100, 0, 3]).numpy()
    assert_array_equal(again, every[[100, 0, 3]])
    assert len(every) == len(expected) == FRAMES
    for gray, picture in zip(every[:, 0], expected, strict=True):
        luma = picture.luma.astype(np.int64)
        assert len(np.unique(luma * 256 + gray)) == len(np.unique(luma))


@pytest.mark.parametrize("size", [1, 7, 32])
def test_repeated_frames_do_not_depend_on_the_batch(
    closed: Path, tmp_path: Path, size: int
) -> None:
    path = hurt(closed, tmp_path / "hurt.mp4", 41, ft.FrameIndex.build(closed, tables=False), at=0)
    with ft.open(path, device="cpu", transform=GRAY) as video:
        expected = video.sample(ft.Every(1), on_error="repeat")
        assert 0 < (~expected.ok).sum() < FRAMES
        batches = list(video.batches(size, on_error="repeat"))
    assert_array_equal(np.concatenate([batch.numpy() for batch in batches]), expected.numpy())


def test_moved_frames_that_are_skipped(closed: Path, tmp_path: Path) -> None:
    path = hurt(closed, tmp_path / "hurt.mp4", 41, ft.FrameIndex.build(closed, tables=False), at=0)
    with ft.open(path, device="cpu", transform=GRAY) as video:
        batch = video.sample(ft.Uniform(30), snap_seconds=0.05, on_error="skip")
    assert len(batch.report.moved_seconds) == len(batch) < 30


def test_reading_further_ends(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that never comes out costs a few times the file, not its square."""
    index = ft.FrameIndex.build(closed, tables=False)
    index = replace(index, method="decode", decoded_packets=len(index.packet_flags))
    frame_of = RunDecoder._frame_of
    monkeypatch.setattr(
        RunDecoder, "_frame_of", lambda self, p: n if (n := frame_of(self, p)) != 5 else -1
    )
    with ft.open(closed, device="cpu", transform=GRAY, index=index, threads=1) as video:
        batch = video.sample(ft.Indices([0, 5]), on_error="black")
    assert batch.ok.tolist() == [True, False]
    assert batch.report.decoded < 4 * FRAMES


def test_tables_that_call_many_pictures_keyframes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x264's intra refresh: decoding may begin where the tables say, but not exactly."""
    path = x264(tmp_path / "refresh.mp4", "intra-refresh=1:bframes=0:keyint=6")
    rounds, read = [], planner.read_headers
    monkeypatch.setattr(planner, "read_headers", lambda *a: rounds.append(a) or read(*a))
    with ft.open(path, device="cpu", transform=GRAY) as video:
        plan = video.plan(ft.Indices([FRAMES - 1]))
    assert plan.runs[0].start == 0
    assert 1 < len(rounds) <= 6


def test_idle_decoders_are_few(closed: Path) -> None:
    with ft.open(closed, device="cpu", transform=GRAY, threads=4) as video:
        for runs in (1, 2, 3, 4, 5, 1):
            video.frames_at(list(range(7, 7 + GOP * runs, GOP)))
        assert isinstance(video._engine, ft.engines.cpu.CpuEngine)
        assert sum(decoder.threads for decoder in video._engine._idle) <= 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(
    "child",
    [
        "video[20]; gc.collect()",
        "video.close()",
        "del video; gc.collect()",
        "sys.exit(0)",
        "next(batches)",
    ],
)
def test_a_forked_child_leaves_decoders_to_their_parent(closed: Path, child: str) -> None:
    """Their threads stayed there: whoever frees one in the child would wait for them for ever."""
    code = f"""
import frametap as ft, gc, os, signal, sys
video = ft.open(sys.argv[1], device="cpu", threads=2)
video[20]
other = ft.open(sys.argv[1], device="cpu", threads=2)
batches = other.batches(2, ft.Indices(range(20)))
next(batches)
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    try:
        {child}
    except ft.SourceError:
        pass
    batches = None
    gc.collect()
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert len(next(batches)) == 2
"""
    command = [sys.executable, "-W", "ignore", "-c", code, str(closed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_tiff_with_tags_that_ffmpeg_does_not_know(tmp_path: Path) -> None:
    """As every one that says how many dots an inch has."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.tiff", dpi=(72, 72))
    container = Container(Source.of(tmp_path / "a.tiff"))
    container.configure(conceal=False)
    packets = [*container.packets(), None]
    (picture,) = [picture for packet in packets for picture in container.decode(packet)]
    assert_array_equal(picture.to_ndarray(format="rgb24"), pixels)
    container.close()
    (tmp_path / "cut.tiff").write_bytes((tmp_path / "a.tiff").read_bytes()[:5000])
    with pytest.raises(ft.FrametapError, match=r"cut\.tiff: "):
        ft.sample(tmp_path / "cut.tiff", ft.Uniform(1))
