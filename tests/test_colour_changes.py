"""A stream that changes its colour description on the way: each frame has the colours of its own sequence, however it is read."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

import frametap as ft
from clips import Clip, encode
from colours import FRAMES, STATEMENTS, encode_recoloured
from frametap._core import PacketParser

SMALL = ft.Transform(size=(24, 32))
CHANGES = [
    ["bt601", "nothing", "bt709, full range", "nothing"],
    ["nothing", "full range", "nothing", "bt709"],
    ["bt2020, PQ", "range", "bt709"],
]


def in_one_go(path: Path) -> np.ndarray:
    return ft.sample(path, ft.Every(1), SMALL, device="cpu").numpy()


@pytest.mark.parametrize("statements", CHANGES, ids=" | ".join)
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_every_way_of_reading_gives_the_same(
    tmp_path: Path, codec: str, statements: list[str]
) -> None:
    path = tmp_path / f"clip.{codec}"
    encode_recoloured(path, codec, statements)
    expected = in_one_go(path)
    wanted = [len(expected) - 1, FRAMES - 1, FRAMES, 0]
    for threads in (1, 2):
        with ft.open(path, device="cpu", transform=SMALL, threads=threads) as video:
            np.testing.assert_array_equal(video.frames_at(wanted).numpy(), expected[wanted])
            batches = np.concatenate([batch.numpy() for batch in video.batches(5)])
            np.testing.assert_array_equal(batches, expected)


def joined(path: Path, parts: list[Path]) -> None:
    """Write the packets of several files one after another, each at its own time."""
    with av.open(str(path), "w") as output:
        stream, offset = None, 0
        for part in parts:
            with av.open(str(part)) as source:
                (video,) = source.streams.video
                stream = stream or output.add_stream_from_template(video, opaque=True)
                last = offset
                for packet in source.demux(video):
                    if packet.size:
                        packet.stream = stream
                        packet.pts, packet.dts = packet.pts + offset, (packet.dts or 0) + offset
                        last = max(last, packet.pts + packet.duration)
                        output.mux(packet)
                offset = last


@pytest.mark.parametrize(
    ("encoder", "suffix", "options"),
    [
        ("libsvtav1", ".mkv", {"g": "6"}),
        ("libsvtav1", ".mp4", {"g": "6"}),
        ("mpeg2video", ".ts", {"g": "6", "bf": "2"}),
        ("libx264", ".ts", {"x264-params": "keyint=6:bframes=2:sps-id={number}"}),
    ],
)
def test_frames_do_not_depend_on_what_was_read_before(
    tmp_path: Path, encoder: str, suffix: str, options: dict[str, str]
) -> None:
    """A sequence that states nothing, one that states BT.709, and the first again, with no parameter set of one id replaced."""
    parts = []
    for number, color in enumerate([{}, {"colorspace": 1, "color_primaries": 1, "color_trc": 1}]):
        part = tmp_path / f"part{number}{suffix}"
        said = {name: text.format(number=number) for name, text in options.items()}
        encode(part, Clip(encoder, suffix, encoded=FRAMES, options=said, color=color))
        parts.append(part)
    path = tmp_path / f"joined{suffix}"
    joined(path, [*parts, parts[0]])
    with ft.open(path, device="cpu", transform=SMALL, threads=1) as video:
        index = video.index
        assert len(video) == 3 * FRAMES
    alone = []
    for number in range(len(index)):
        with ft.open(path, device="cpu", transform=SMALL, threads=1, index=index) as video:
            alone.append(video[number].numpy())
    order = [FRAMES + 3, 0, FRAMES - 1, FRAMES, 2 * FRAMES - 1, 2 * FRAMES]
    for numbers in (order, order[1:], [0, FRAMES, FRAMES - 1]):
        with ft.open(path, device="cpu", transform=SMALL, threads=1) as video:
            for number in numbers:
                np.testing.assert_array_equal(video[number].numpy(), alone[number])
    with ft.open(path, device="cpu", transform=SMALL, threads=1) as video:
        batches = np.concatenate([batch.numpy() for batch in video.batches(5)])
    np.testing.assert_array_equal(batches, np.stack(alone))


def test_the_colour_of_a_sequence_is_used(tmp_path: Path) -> None:
    """The same pictures encoded alone, each as its sequence states."""
    path = tmp_path / "clip.hevc"
    statements = ["nothing", "bt709", "bt709, full range"]
    encode_recoloured(path, "hevc", statements)
    found = in_one_go(path)
    for number, statement in enumerate(statements):
        alone = tmp_path / "alone.hevc"
        encode_recoloured(alone, "hevc", [statement])
        here = slice(number * FRAMES, (number + 1) * FRAMES)
        np.testing.assert_array_equal(found[here], in_one_go(alone))
    assert not np.array_equal(found[:FRAMES], found[FRAMES : 2 * FRAMES])


def stated(path: Path, codec: str) -> int:
    """Return what the first packet of a file states."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        parser = PacketParser(codec, bytes(stream.codec_context.extradata or b""))
        parser.parse(bytes(next(container.demux(stream))))
        return parser.colour


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_statements_are_told_apart(tmp_path: Path, codec: str) -> None:
    path = tmp_path / f"clip.{codec}"
    seen = {}
    for statement in set(STATEMENTS) - {"range"}:
        encode_recoloured(path, codec, [statement])
        seen[statement] = stated(path, codec)
    assert codec != "h264" or seen["nothing"] == 0  # x265 always states a range
    assert len(set(seen.values())) == len(seen), seen


@pytest.mark.parametrize(
    ("encoder", "codec", "suffix"), [("libvpx-vp9", "vp9", ".webm"), ("libsvtav1", "av1", ".mp4")]
)
def test_statements_of_web_codecs(tmp_path: Path, encoder: str, codec: str, suffix: str) -> None:
    seen = set()
    for color in ({}, {"colorspace": 1, "color_primaries": 1, "color_trc": 1}):
        for color_range in (1, 2):
            path = tmp_path / f"{len(seen)}{suffix}"
            encode(
                path, Clip(encoder, suffix, encoded=2, color={**color, "color_range": color_range})
            )
            seen.add(stated(path, codec))
    assert len(seen) == 4


@pytest.mark.parametrize("pix_fmt", ["gray", "ya8", "gray10le", "gray16le"])
def test_gray_that_states_no_range_is_full(tmp_path: Path, pix_fmt: str) -> None:
    """So FFmpeg takes it, and a lossless copy keeps its black and its white."""
    path = tmp_path / "gray.mkv"
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (16, 1))
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 16, pix_fmt
        frame = av.VideoFrame.from_ndarray(ramp, format="gray")
        output.mux(stream.encode(frame.reformat(format=pix_fmt)))
        output.mux(stream.encode(None))
    with av.open(str(path)) as container:
        expected = next(container.decode(video=0)).to_ndarray(format="rgb24").transpose(2, 0, 1)
    assert (expected.min(), expected.max()) == (0, 255)
    found = ft.sample(path, ft.Uniform(1), device="cpu").numpy()[0]
    assert abs(found.astype(int) - expected).max() <= 1
