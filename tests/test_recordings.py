"""Recordings that begin between keyframes, or whose timestamps are wrong: which pictures exist, and in what order."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest
from numpy.testing import assert_array_equal

import frametap as ft
import plain
from clips import ClipLibrary
from frametap.container import Container
from frametap.index_build import _frames_by_decoding
from frametap.source import Source
from test_frames_contract import GRAY, assert_same_luma

KEYFRAME_INTERVAL = 12  # of every clip below


def cut(clip: Path, path: Path, begin: int) -> Path:
    """Write the packets of a clip from number `begin` on."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        out = target.add_stream_from_template(stream)
        for number, packet in enumerate(p for p in source.demux(stream) if p.size):
            if number >= begin:
                packet.stream = out
                target.mux(packet)
    return path


@pytest.mark.parametrize("begin", [1, 5, 12, 13, 30])
@pytest.mark.parametrize(
    ("name", "suffix"),
    [("h264_ts", ".ts"), ("h264_open_gop_ts", ".ts"), ("h264_open_gop", ".mkv"), ("hevc_open_gop", ".mkv"),
     ("hevc_layers", ".mkv")],
)  # fmt: skip
def test_only_the_beginning_is_decoded(
    clips: ClipLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, suffix: str, begin: int
) -> None:  # fmt: skip
    path = cut(clips[name], tmp_path / f"cut{suffix}", begin)
    everything, _ = _frames_by_decoding(Source.of(path))
    fed, decode = [], Container.decode

    def count(container: Container, packet: object) -> object:
        fed.append(packet)
        return decode(container, packet)

    monkeypatch.setattr(Container, "decode", count)
    index = ft.FrameIndex.build(path)
    monkeypatch.undo()
    assert_array_equal(index.decode_order, everything)
    assert len(fed) <= 2 * KEYFRAME_INTERVAL + 1
    assert index.decoded_packets == max(0, len(fed) - 1)  # it is drained, too
    some_left = index.decoded_packets < len(index.packet_flags)
    assert index.method == ("headers" if some_left else "decode")


@pytest.mark.parametrize("begin", [5, 12])
@pytest.mark.parametrize("name", ["h264_open_gop_ts", "hevc_open_gop"])
def test_frames_are_those_of_plain_decoding(
    clips: ClipLibrary, tmp_path: Path, name: str, begin: int
) -> None:
    """From the second keyframe on nothing refers to what is missing, so there every decoder has to agree."""
    path = cut(clips[name], tmp_path / "cut.ts", begin)
    by_time = {picture.seconds: picture for picture in plain.decode_now(path).pictures}
    with ft.open(path, transform=GRAY, threads=1) as video:
        late = np.flatnonzero(video.index.decode_order > 2 * KEYFRAME_INTERVAL)
        assert len(late) > 8
        batch = video.frames_at(late[::-1])
    for gray, seconds in zip(batch.numpy(), batch.pts_seconds.tolist(), strict=True):
        assert_same_luma(gray[0], by_time[seconds], name, f"at {seconds} s")


@pytest.mark.parametrize("name", ["mpeg4", "mpeg2"])
def test_timestamps_in_decode_order_say_nothing_of_the_pictures(
    clips: ClipLibrary, tmp_path: Path, name: str
) -> None:
    """Some writers know of no B-pictures: they stamp packets as they come. The decoder knows better."""
    path = tmp_path / "stamped.mkv"
    with av.open(str(clips[name])) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        out = target.add_stream_from_template(stream)
        for number, packet in enumerate(p for p in source.demux(stream) if p.size):
            packet.stream, packet.time_base = out, Fraction(1, 24)
            packet.pts = packet.dts = number
            target.mux(packet)
    expected = plain.decode_now(path)
    with ft.open(path, device="cpu", transform=GRAY) as video:
        assert len(video) == len(expected)
        for frame in (40, 3, 13, 14, 12):
            assert_same_luma(
                video[frame].numpy()[0], expected.pictures[frame], name, f"frame {frame}"
            )


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avi"])
@pytest.mark.parametrize(("exif", "degrees"), [(1, 0), (3, 180), (6, 90), (8, 270)])
def test_pictures_that_carry_exif(tmp_path: Path, suffix: str, exif: int, degrees: int) -> None:
    """Cameras write it, with the orientation in it."""
    still = tmp_path / f"still{'.jpg' if suffix == '.avi' else suffix}"
    tags = PIL.Image.Exif()
    tags[0x0110], tags[0x0112] = "a camera", exif  # Model, Orientation
    PIL.Image.new("RGB", (64, 48), (200, 10, 10)).save(still, exif=tags)
    path = tmp_path / f"clip{suffix}" if suffix == ".avi" else still
    if path != still:
        with av.open(str(still)) as source, av.open(str(path), "w") as target:
            stream = source.streams.video[0]
            out = target.add_stream_from_template(stream)
            for number, packet in enumerate(p for p in source.demux(stream) if p.size):
                packet.stream, packet.time_base = out, Fraction(1, 25)
                packet.pts = packet.dts = number
                target.mux(packet)
    info = ft.probe(path)
    assert info.rotation == degrees
    batch = ft.sample(path, ft.Uniform(1), device="cpu")
    assert batch.shape == ((1, 3, 48, 64) if degrees % 180 == 0 else (1, 3, 64, 48))


def test_timestamps_that_fall(clips: ClipLibrary, tmp_path: Path) -> None:
    """Files joined byte by byte: the second half of a recording, then all of it."""
    half = cut(clips["h264_ts"], tmp_path / "half.ts", 24)
    path = tmp_path / "joined.ts"
    path.write_bytes(half.read_bytes() + clips["h264_ts"].read_bytes())
    with ft.open(path, device="cpu", transform=GRAY) as video:
        index = video.index
        assert len(index) == len(plain.decode_now(path)) == 24 + 48
        assert (np.diff(index.pts_seconds) < 0).any()
        assert index.average_fps == pytest.approx(24, rel=0.02)
        assert index.end_seconds == pytest.approx(index.pts_seconds.max() + 1 / 24)
        assert ft.Uniform(4)(index).tolist() == [0, 24, 47, 71]
        # On screen for two seconds from the 25th frame of the recording on, one of which it shows twice.
        assert ft.Rate(2)(index).tolist() == [0, 12]
        assert video.sample(ft.Every(1)).shape[0] == 72


def test_files_joined_in_the_wrong_order(clips: ClipLibrary, tmp_path: Path) -> None:
    """What is shown last ends before what is shown first begins: no division by the time between."""
    halves = [tmp_path / "first.ts", cut(clips["h264_ts"], tmp_path / "second.ts", 24)]
    with av.open(str(clips["h264_ts"])) as source, av.open(str(halves[0]), "w") as target:
        stream = source.streams.video[0]
        out = target.add_stream_from_template(stream)
        for packet in [p for p in source.demux(stream) if p.size][:24]:
            packet.stream = out
            target.mux(packet)
    path = tmp_path / "joined.ts"
    path.write_bytes(halves[1].read_bytes() + halves[0].read_bytes())
    index = ft.FrameIndex.build(path)
    assert len(index) == len(plain.decode_now(path))
    assert index.average_fps == pytest.approx(24, rel=0.05)
    assert index.end_seconds > index.pts_seconds.max()
    assert "-" not in repr(index).split("(")[1]
