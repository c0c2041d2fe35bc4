"""Videos behind URLs: the same frames, for the bytes of the plan, over a server that counts them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import frametap as ft
from clips import ClipLibrary
from http_server import serve

pytest.importorskip("aiohttp", reason="the extra `remote` is not installed")

SMALL = ft.Transform(size=(48, 64))
# What opening may cost besides the packets of the runs: headers, probing, one block past each run.
OVERHEAD = 1 << 20


@pytest.mark.parametrize("name", ["h264_faststart", "h264_mkv", "h264_ts", "vp9", "hevc_open_gop"])
def test_same_frames_as_the_file(clips: ClipLibrary, name: str) -> None:
    path = Path(clips[name])
    expected = ft.sample(path, ft.Uniform(6), SMALL)
    with serve(path.parent) as server:
        batch = ft.sample(server.url(path.name), ft.Uniform(6), SMALL)
        assert_array_equal(batch.numpy(), expected.numpy())
        assert_array_equal(batch.pts_seconds, expected.pts_seconds)


def test_moves_the_runs_and_little_else(corpus: Path) -> None:
    path = corpus / "bench" / "b50.mp4"
    sampler = ft.Uniform(16)
    with ft.open(path, transform=SMALL) as video:
        plan = video.plan(sampler)
        expected = video.sample(sampler)
    runs = sum(int(plan.index.packet_size[run.start : run.stop].sum()) for run in plan.runs)
    with serve(path.parent) as server:
        batch = ft.sample(server.url(path.name), sampler, SMALL)
        assert_array_equal(batch.numpy(), expected.numpy())
        assert server.sent <= runs + OVERHEAD, f"{server.sent - runs:,} bytes besides the runs"
        assert server.sent < path.stat().st_size


def test_a_saved_index_serves_a_url(clips: ClipLibrary, tmp_path: Path) -> None:
    path = Path(clips["h264_faststart"])
    ft.FrameIndex.build(path).save(tmp_path / "a.ftidx")
    with serve(path.parent) as server:
        batch = ft.sample(server.url(path.name), ft.Uniform(3), SMALL, index=tmp_path / "a.ftidx")
    assert len(batch) == 3


@pytest.mark.parametrize("threads", [1, 3])
def test_streams_the_whole_video_without_fetching_twice(clips: ClipLibrary, threads: int) -> None:
    path = Path(clips["h264_faststart"])
    with (
        serve(path.parent) as server,
        ft.open(server.url(path.name), transform=SMALL, threads=threads) as video,
    ):
        frames = np.concatenate([batch.numpy() for batch in video.batches(7)])
        assert len(frames) == len(video)
        assert server.sent <= path.stat().st_size + 1


def test_any_file_system_of_fsspec(clips: ClipLibrary) -> None:
    """Object stores are reached the same way: by a protocol that fsspec knows, here its own in memory."""
    import fsspec

    path = Path(clips["h264_faststart"])
    with fsspec.open("memory://bucket/clip.mp4", "wb") as file:
        file.write(path.read_bytes())
    with ft.open("memory://bucket/clip.mp4", transform=SMALL, threads=2) as video:
        batch = video.sample(ft.Uniform(6))
        assert sum(len(part) for part in video.batches(7)) == 48
    assert_array_equal(batch.numpy(), ft.sample(path, ft.Uniform(6), SMALL).numpy())
    with pytest.raises(ft.SourceError, match=r"memory://bucket/none\.mp4"):
        ft.probe("memory://bucket/none.mp4")


def test_server_without_ranges_is_refused(clips: ClipLibrary) -> None:
    path = Path(clips["h264_faststart"])
    with (
        serve(path.parent, ranges=False) as server,
        pytest.raises(ft.SourceError, match="byte ranges"),
    ):
        ft.sample(server.url(path.name), ft.Uniform(3), SMALL)


@pytest.mark.parametrize(
    ("url", "says"),
    [("http://127.0.0.1:9/a.mp4", "cannot be read"), ("nonsense://a.mp4", "cannot be read")],
)
def test_unreachable(url: str, says: str) -> None:
    with pytest.raises(ft.SourceError, match=says):
        ft.probe(url)


def test_missing_file(tmp_path: Path) -> None:
    with serve(tmp_path) as server, pytest.raises(ft.SourceError, match=r"nothing\.mp4"):
        ft.probe(server.url("nothing.mp4"))
