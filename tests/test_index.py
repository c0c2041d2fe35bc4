"""`FrameIndex`: what it knows, that it cannot be changed, and how it is saved, checked and refused."""

from __future__ import annotations

import io
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import frametap as ft
import plain
from clips import Clip, ClipLibrary, encode

# float64[N], bool[N], int[N] ...: everything an index says per frame.
PER_FRAME = [
    "pts",
    "duration",
    "pts_seconds",
    "duration_seconds",
    "keyframes",
    "position",
    "size",
    "decode_order",
]
QUICK = settings(max_examples=40, deadline=None, derandomize=True)


@pytest.fixture
def index(clips: ClipLibrary) -> ft.FrameIndex:
    return ft.FrameIndex.build(clips["h264"])


def assert_same_index(a: ft.FrameIndex, b: ft.FrameIndex) -> None:
    assert len(a) == len(b)
    assert (a.codec, a.time_base, a.method, a.average_fps) == (
        b.codec,
        b.time_base,
        b.method,
        b.average_fps,
    )
    for name in PER_FRAME:
        assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_says_what_the_clip_is(index: ft.FrameIndex) -> None:
    assert (len(index), index.codec) == (48, "h264")
    assert index.method in ("tables", "headers")
    assert isinstance(index.time_base, Fraction)
    assert index.average_fps == 24
    assert index.end_seconds == pytest.approx(2)
    assert_array_equal(np.flatnonzero(index.keyframes), [0, 12, 24, 36])
    assert sorted(index.decode_order) == list(range(48))
    assert "48 frames" in repr(index)
    assert "h264" in repr(index)


@pytest.mark.parametrize(
    "name", ["h264", "vfr", "late_start", "edit_list", "mpeg2", "vp9", "h264_raw"]
)
def test_arrays(clips: ClipLibrary, name: str) -> None:
    index = ft.FrameIndex.build(clips[name])
    for what in PER_FRAME:
        assert len(getattr(index, what)) == len(index), what
    assert (index.size > 0).all()
    assert_array_equal(
        index.pts_seconds, [float(pts * index.time_base) for pts in index.pts.tolist()]
    )


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("talk", Fraction(24)),
        ("ntsc", Fraction(30_000, 1001)),
        ("h264_mkv", Fraction(24)),  # timestamps in milliseconds, so no two frames are 1/24 s apart
        ("h264_ts", Fraction(24)),
        ("edit_list", Fraction(24)),
        ("vfr", 48 * 24 / Fraction(9 * 14 + 5)),  # durations 1, 3, 2, 1, 7, ... in 1/24 s
        ("vfr_mkv", 48_000 / Fraction(5166)),  # the header says 24; on screen for 5166 ms
    ],
)
def test_average_fps_is_exact(clips: ClipLibrary, name: str, rate: Fraction) -> None:
    """Model samplers floor a product with it: with 24.000000000000004 they take 6 frames of 4 s at 2 fps, not 8."""
    assert ft.FrameIndex.build(clips[name]).average_fps == float(rate)


@pytest.mark.parametrize(
    ("encoder", "suffix", "pix_fmt"),
    [("png", ".mov", "rgb24"), ("jpegls", ".avi", "rgb24"), ("magicyuv", ".avi", "yuv420p"), ("r210", ".mov", "gbrp10le"),
     ("v408", ".mov", "yuva444p"), ("utvideo", ".avi", "yuv420p"), ("huffyuv", ".avi", "yuv422p")],
)  # fmt: skip
def test_intra_codecs_decode_one_picture_for_one(
    tmp_path: Path, encoder: str, suffix: str, pix_fmt: str
) -> None:
    path = tmp_path / f"intra{suffix}"
    encode(path, Clip(encoder, suffix, pix_fmt=pix_fmt, encoded=8))
    with ft.open(path, threads=1) as video:
        assert len(video) == 8
        assert video.index.keyframes.all()
        assert_array_equal(video.frames_at([6]).numpy()[0], video[:].numpy()[6])
        assert video.frames_at([6]).report.decoded == 1


def test_positions_are_where_the_packets_lie(clips: ClipLibrary) -> None:
    index, data = ft.FrameIndex.build(clips["h264"]), Path(clips["h264"]).read_bytes()
    for position, size in zip(index.position.tolist(), index.size.tolist(), strict=True):
        length = int.from_bytes(
            data[position : position + 4]
        )  # the first NAL unit, in length-prefixed form
        assert 0 < length + 4 <= size


def test_cannot_be_changed(index: ft.FrameIndex) -> None:
    with pytest.raises(AttributeError):
        index.codec = "hevc"  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        index.packet_pts[0] = 1


def test_takes_at_most_32_bytes_a_frame(clips: ClipLibrary, tmp_path: Path) -> None:
    index = ft.FrameIndex.build(clips["long"])
    index.save(tmp_path / "long.ftidx")
    assert (tmp_path / "long.ftidx").stat().st_size <= 32 * len(index)


class TestPlayedAt:
    @pytest.fixture(scope="class", params=["vfr", "late_start_ts", "ntsc", "edit_list"])
    @classmethod
    def index(cls, request: pytest.FixtureRequest, clips: ClipLibrary) -> ft.FrameIndex:
        return ft.FrameIndex.build(clips[request.param])

    def test_boundaries(self, index: ft.FrameIndex) -> None:
        starts = index.pts_seconds
        assert_array_equal(index.played_at(starts), np.arange(len(index)))
        assert_array_equal(index.played_at(starts[1:] - 1e-6), np.arange(len(index) - 1))
        assert_array_equal(index.played_at(index.end_seconds - 1e-6), [len(index) - 1])

    @QUICK
    @given(part=st.floats(0, 1, exclude_max=True))
    def test_last_frame_that_has_begun(self, index: ft.FrameIndex, part: float) -> None:
        starts = index.pts_seconds
        seconds = starts[0] + part * (index.end_seconds - starts[0]) * (1 - 1e-6)
        (frame,) = index.played_at([seconds])
        begun = [i for i, start in enumerate(starts) if start <= seconds + 1e-9]
        assert frame == begun[-1]

    def test_outside(self, index: ft.FrameIndex) -> None:
        first, end = index.pts_seconds[0], index.end_seconds
        for seconds in (first - 1e-3, end, end + 5, float("nan"), float("inf"), float("-inf")):
            with pytest.raises(IndexError, match="on screen"):
                index.played_at([first, seconds])

    def test_the_message_says_from_when_to_when(self, clips: ClipLibrary) -> None:
        index = ft.FrameIndex.build(clips["late_start"])
        with pytest.raises(IndexError, match=r"at 4 s: .* from 5 to 6\.999 s"):
            index.played_at(4)

    def test_none(self, index: ft.FrameIndex) -> None:
        assert index.played_at([]).shape == (0,)


def test_times_of_variable_rate_are_those_of_the_file(clips: ClipLibrary) -> None:
    times = [picture.seconds for picture in plain.decode(clips["vfr"]).pictures]
    gaps = np.diff(ft.FrameIndex.build(clips["vfr"]).pts_seconds)
    assert_array_equal(gaps, np.diff(times))
    assert len(np.unique(np.round(gaps * 24))) == 4


class TestSaved:
    def test_round_trip(self, index: ft.FrameIndex, tmp_path: Path, clips: ClipLibrary) -> None:
        path = tmp_path / "talk.ftidx"
        index.save(path)
        loaded = ft.FrameIndex.load(str(path))
        assert_same_index(index, loaded)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["talk.ftidx"], (
            "a scratch file is left"
        )
        with (
            ft.open(clips["h264"], index=loaded) as video,
            ft.open(clips["h264"], index=path) as other,
        ):
            assert_array_equal(video[7].numpy(), other[7].numpy())
            assert str(video.plan(ft.Uniform(5))) == str(other.plan(ft.Uniform(5)))

    @pytest.mark.parametrize(
        "name", ["hevc_open_gop", "vp9", "vfr_mkv", "packed_b", "truncated", "h264_raw"]
    )
    def test_serves_like_a_fresh_one(self, clips: ClipLibrary, tmp_path: Path, name: str) -> None:
        ft.FrameIndex.build(clips[name]).save(tmp_path / "saved")
        sampler, transform = ft.Uniform(7), ft.Transform(size=32)
        fresh = ft.sample(clips[name], sampler, transform)
        saved = ft.sample(clips[name], sampler, transform, index=tmp_path / "saved")
        assert_array_equal(fresh.numpy(), saved.numpy())
        assert_array_equal(fresh.pts_seconds, saved.pts_seconds)

    def test_pickle(self, index: ft.FrameIndex, clips: ClipLibrary) -> None:
        assert index.played_at(0.5) == 12
        loaded = pickle.loads(pickle.dumps(index))
        assert_same_index(index, loaded)
        with pytest.raises(ValueError, match="read-only"):
            loaded.packet_pts[0] = 1
        assert len(ft.sample(clips["h264"], ft.Uniform(3), index=loaded)) == 3

    def test_pickle_carries_no_more_for_having_been_used(self, clips: ClipLibrary) -> None:
        index = ft.FrameIndex.build(clips["long"])
        unused = len(pickle.dumps(index))
        index.played_at(1.0)
        ft.Plan.of(index, [700])
        assert len(pickle.dumps(index)) == unused

    def test_of_one_source_serves_a_copy(self, index: ft.FrameIndex, clips: ClipLibrary) -> None:
        data = Path(clips["h264"]).read_bytes()
        assert len(ft.sample(data, ft.Uniform(3), index=index)) == 3
        assert len(ft.sample(io.BytesIO(data), ft.Uniform(3), index=index)) == 3


class TestRefused:
    @pytest.fixture
    def saved(self, index: ft.FrameIndex, tmp_path: Path) -> Path:
        index.save(tmp_path / "saved.ftidx")
        return tmp_path / "saved.ftidx"

    def test_of_another_file(self, saved: Path, clips: ClipLibrary) -> None:
        with pytest.raises(
            ft.SourceError, match=r"not the file this index was made of.*build the index again"
        ):
            ft.open(clips["hevc"], index=saved)

    def test_of_a_file_changed_in_place(
        self, saved: Path, clips: ClipLibrary, tmp_path: Path
    ) -> None:
        changed = tmp_path / "changed.mp4"
        shutil.copy(clips["h264"], changed)
        data = bytearray(changed.read_bytes())
        data[100] ^= 0xFF
        changed.write_bytes(data)
        with pytest.raises(ft.SourceError, match="same size but other contents"):
            ft.open(changed, index=saved)

    @pytest.mark.parametrize("at", [3, 13, 20, 200, -200, -1])
    def test_damaged(self, saved: Path, at: int) -> None:
        data = bytearray(saved.read_bytes())
        data[at] ^= 0x55
        saved.write_bytes(data)
        with pytest.raises(ft.SourceError, match=r"saved\.ftidx: .*(damaged|not a frametap index)"):
            ft.FrameIndex.load(saved)

    @pytest.mark.parametrize("keep", [0, 5, 20, 300])
    def test_cut_off(self, saved: Path, keep: int) -> None:
        saved.write_bytes(saved.read_bytes()[:keep])
        with pytest.raises(ft.SourceError, match=r"damaged|not a frametap index"):
            ft.FrameIndex.load(saved)

    def test_newer_version(self, saved: Path) -> None:
        data = bytearray(saved.read_bytes())
        data[8:12] = (99).to_bytes(4, "little")
        saved.write_bytes(data)
        with pytest.raises(ft.SourceError, match=r"99.*build it again"):
            ft.FrameIndex.load(saved)

    def test_no_index_at_all(self, clips: ClipLibrary, tmp_path: Path) -> None:
        with pytest.raises(ft.SourceError, match="not a frametap index"):
            ft.FrameIndex.load(clips["h264"])
        with pytest.raises(ft.SourceError, match=r"nothing\.ftidx: the index cannot be read"):
            ft.open(clips["h264"], index=tmp_path / "nothing.ftidx")

    def test_nowhere_to_save(self, index: ft.FrameIndex, tmp_path: Path) -> None:
        with pytest.raises(ft.SourceError, match="cannot be written"):
            index.save(tmp_path / "no" / "such" / "folder.ftidx")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["", ".", "file/x.ftidx", "x" * 300])
    def test_no_place_for_a_file(
        self, index: ft.FrameIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("file").write_text("no folder")
        with pytest.raises(ft.SourceError, match="the index cannot be written"):
            index.save(name)
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_a_long_name_is_a_name(self, index: ft.FrameIndex, tmp_path: Path) -> None:
        index.save(tmp_path / ("x" * 255))
        assert len(ft.FrameIndex.load(tmp_path / ("x" * 255))) == len(index)

    def test_many_may_write_the_same_file(self, index: ft.FrameIndex, tmp_path: Path) -> None:
        path = tmp_path / "saved.ftidx"
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: index.save(path), range(200)))
        assert [path.name for path in tmp_path.iterdir()] == ["saved.ftidx"]
        assert len(ft.FrameIndex.load(path)) == len(index)
