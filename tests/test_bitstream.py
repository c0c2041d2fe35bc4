"""What packet headers say, against encoders that were told to say it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from clips import Clip, encode
from frametap._core import PARSED, REFERENCE, REFS_KNOWN, RESET, SHOWN, START, PacketParser

CHROMA = {
    "h264": (
        "libx264",
        {"x264-params": "chromaloc={}:log-level=none"},
        (1, 2, 5),
    ),  # it leaves 0 unsaid
    "hevc": ("libx265", {"x265-params": "chromaloc={}:log-level=none"}, (0, 1, 2, 5)),
}


def encoded(
    folder: Path, encoder: str, options: dict[str, str], frames: int = 12
) -> tuple[bytes, list[bytes]]:
    """Return extradata and packets of a small clip."""
    path = folder / "clip.mp4"
    encode(path, Clip(encoder, encoded=frames, options={"preset": "ultrafast", **options}))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
        return bytes(stream.codec_context.extradata or b""), packets


@pytest.mark.parametrize(
    ("codec", "location"),
    [(c, loc) for c, (_, _, locations) in CHROMA.items() for loc in locations],
)
def test_chroma_location(tmp_path: Path, codec: str, location: int) -> None:
    encoder, options, _ = CHROMA[codec]
    told = {key: value.format(location) for key, value in options.items()}
    extradata, _ = encoded(tmp_path, encoder, told, frames=2)
    assert PacketParser(codec, extradata).chroma_sample_loc_type == location


def test_chroma_location_unsaid(tmp_path: Path) -> None:
    extradata, _ = encoded(tmp_path, "libx264", {}, frames=2)
    assert PacketParser("h264", extradata).chroma_sample_loc_type == -1


def test_hevc_references_of_a_plain_chain(tmp_path: Path) -> None:
    """No B-frames: every picture needs the one before it, and the first needs nothing."""
    params = "bframes=0:ref=1:scenecut=0:log-level=none"
    extradata, packets = encoded(tmp_path, "libx265", {"x265-params": params})
    parser = PacketParser("hevc", extradata)
    parsed = [parser.parse(packet) for packet in packets]
    assert parsed[0][0] & (PARSED | START | RESET | SHOWN) == PARSED | START | RESET | SHOWN
    assert parsed[0][2] == []
    assert all(1 in refs for _, _, refs in parsed[1:])
    assert all(flags & REFS_KNOWN for flags, _, _ in parsed)


def test_h264_b_pictures_are_no_references(tmp_path: Path) -> None:
    params = "bframes=2:b-pyramid=none:b-adapt=0:scenecut=0"
    extradata, packets = encoded(tmp_path, "libx264", {"x264-params": params})
    parser = PacketParser("h264", extradata)
    flags = [parser.parse(packet)[0] for packet in packets]
    # I, then P B B again and again: a third of all pictures are references.
    referred_to = [bool(flag & REFERENCE) for flag in flags[:7]]
    assert referred_to == [True, True, False, False, True, False, False]


@pytest.mark.parametrize(
    "codec", ["h264", "hevc", "vp8", "vp9", "av1", "mpeg2video", "mpeg4", "mjpeg"]
)
def test_noise_is_never_more_than_unparsed_or_harmless(codec: str) -> None:
    rng = np.random.default_rng(7)
    parser = PacketParser(codec, rng.bytes(40))
    for size in [0, 1, 2, 3, 5, 17, 100, 1000] * 20:
        flags, _, refs = parser.parse(rng.bytes(size))
        assert flags < 128
        assert all(distance > 0 for distance in refs)
