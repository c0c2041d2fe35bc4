"""Videos behind URLs: the same frames, for the bytes of the plan, over a server that counts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import frametap as ft
from clips import ClipLibrary
from frametap import remote
from frametap.remote import RemoteSource
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


class TestCache:
    """With a cache of 1 MiB instead of 128."""

    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(remote, "_CACHE_BYTES", 1 << 20)
        monkeypatch.setattr(remote, "_PORTION", 1 << 18)
        monkeypatch.setattr(remote, "_PIECE", 1 << 16)

    def source(self, name: str, data: bytes) -> RemoteSource:
        import fsspec

        fsspec.filesystem("memory").pipe(f"/{name}", data)
        return RemoteSource(f"memory://{name}")

    def test_a_read_of_more_than_it_holds(self) -> None:
        data = np.random.default_rng(0).bytes(3 << 20)
        source = self.source("a.bin", data)
        assert source.read_at(5, 2 << 20) == data[5 : 5 + (2 << 20)]
        assert source.read_at(0, len(data)) == data

    def test_a_read_whose_first_half_is_the_oldest_block(self) -> None:
        data = np.random.default_rng(0).bytes(3 << 20)
        source = self.source("a.bin", data)
        source.read_at(100, 1000)
        source.read_at(1 << 20, (1 << 20) - 1000)
        assert source.read_at(100, 2000) == data[100:2100]

    @pytest.mark.parametrize("seed", range(20))
    def test_any_reads_give_what_is_there(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        data = rng.bytes(3 << 20)
        source = self.source("a.bin", data)
        for _ in range(40):
            start, size = (
                int(rng.integers(len(data) + 10)),
                int(rng.integers(1 << rng.integers(22))),
            )
            if rng.random() < 0.2:
                starts = rng.integers(len(data), size=rng.integers(5))
                source.prefetch((int(at), int(at) + size) for at in starts)
            assert source.read_at(start, size) == data[start : start + size]
            some = source.read_some(start, size + 1)
            assert some == data[start : start + len(some)]
            assert some or start >= len(data)

    def test_what_is_announced_is_fetched_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also where it is more than the cache holds, and not read from front to back."""
        data = np.random.default_rng(0).bytes(4 << 20)
        source = self.source("a.bin", data)
        most = largest_request(source, monkeypatch)
        starts = np.random.default_rng(1).permutation(np.arange(0, len(data), 100_000)).tolist()
        source.prefetch((start, start + 50_000) for start in starts)
        for start in starts:
            end = min(start + 50_000, len(data))
            for at in range(start, end, 1000):
                assert source.read_at(at, min(1000, end - at)) == data[at : min(at + 1000, end)]
        assert source.fetched == sum(min(50_000, len(data) - start) for start in starts)
        assert most() <= (1 << 18) + (1 << 16), "a portion, and the piece that fills it"

    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("every", [1, 3])
    def test_a_plan_of_more_than_it_holds(
        self, clips: ClipLibrary, monkeypatch: pytest.MonkeyPatch, threads: int, every: int
    ) -> None:
        path = Path(clips["long"])
        monkeypatch.setattr(remote, "_CACHE_BYTES", 128 << 10)
        monkeypatch.setattr(remote, "_PORTION", 32 << 10)
        for name in ("_PIECE", "_LARGEST_READ", "_FIRST_READ"):
            monkeypatch.setattr(remote, name, 4 << 10)
        index = ft.FrameIndex.build(path, tables=False)  # which knows every header
        source = self.source("long.mp4", path.read_bytes())
        most = largest_request(source, monkeypatch)
        with ft.open(source, index=index, transform=SMALL, threads=threads) as video:
            batch = video.sample(ft.Every(every))
        expected = ft.sample(path, ft.Every(every), SMALL)
        assert_array_equal(batch.numpy(), expected.numpy())
        opening = (
            128 << 10
        )  # the fingerprint, the header and what FFmpeg probes, some of it to be read again
        assert source.fetched <= path.stat().st_size + opening
        assert most() <= 64 << 10, "the fingerprint"


def largest_request(source: RemoteSource, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Watch a source, and return how to ask for the most bytes that it has fetched at once."""
    sizes = [0]
    fetch = source._system.cat_ranges

    def cat_ranges(paths: Any, starts: list[int], ends: list[int]) -> Any:
        sizes.append(sum(ends) - sum(starts))
        return fetch(paths, starts, ends)

    monkeypatch.setattr(source._system, "cat_ranges", cat_ranges)
    return lambda: max(sizes)


class TestRefused:
    def test_server_without_ranges(self, clips: ClipLibrary) -> None:
        path = Path(clips["h264_faststart"])
        with (
            serve(path.parent, ranges=False) as server,
            pytest.raises(ft.SourceError, match="byte ranges"),
        ):
            ft.sample(server.url(path.name), ft.Uniform(3), SMALL)

    def test_its_whole_file_is_not_fetched_to_find_out(self, tmp_path: Path) -> None:
        (tmp_path / "large.mp4").write_bytes(bytes(64 << 20))
        with serve(tmp_path, ranges=False) as server:
            with pytest.raises(ft.SourceError, match="byte ranges"):
                ft.open(server.url("large.mp4"))
            assert server.sent < 32 << 20, "more than fits into the buffers of a connection"

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("http://127.0.0.1:9/a.mp4", r"cannot be read: .*Connect call failed"),
            ("http://[::1/a.mp4", "cannot be read: "),
            ("nonsense://a.mp4", "cannot be read: .*nonsense"),
            ("memory://none.mp4", "cannot be read: there is no such file"),
        ],
    )
    def test_unreachable(self, url: str, says: str) -> None:
        with pytest.raises(ft.SourceError, match=says + ".*; check the address, the network"):
            ft.probe(url)

    def test_missing_file(self, tmp_path: Path) -> None:
        with serve(tmp_path) as server, pytest.raises(ft.SourceError) as error:
            ft.probe(server.url("nothing.mp4"))
        assert str(error.value).startswith(
            f"{server.url('nothing.mp4')}: cannot be read: the server answers 404 Not Found; check"
        )

    @pytest.mark.parametrize("late", [False, True])
    @pytest.mark.parametrize(
        ("failure", "says"),
        [(403, "the server answers 403 Forbidden"), (503, "answers 503"), (0, "disconnected")],
    )
    def test_server_that_fails(
        self, clips: ClipLibrary, failure: int, says: str, late: bool
    ) -> None:
        path = Path(clips["h264_faststart"])
        index = ft.FrameIndex.build(path)
        with serve(path.parent) as server:
            source: Any = server.url(path.name)
            if late:
                source = RemoteSource(source)
                source.read_at(0, 100)
            server.failure = failure
            with pytest.raises(ft.SourceError, match=f"cannot be read: .*{says}"):
                ft.open(source, index=index).sample(ft.Uniform(3))
