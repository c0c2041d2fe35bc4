"""What packet headers say, against encoders that were told to say it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from clips import Clip, encode
from frametap._core import (
    IRREGULAR,
    PARSED,
    REFERENCE,
    REFS_KNOWN,
    RESET,
    SECOND_FIELD,
    SHOWN,
    START,
    PacketParser,
)

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


def unit(header: int, *fields: str) -> bytes:
    """One NAL unit in Annex B of a header and bit strings, ended as 7.3.2.11 wants it."""
    bits = "".join(fields) + "1"
    bits += "0" * (-len(bits) % 8)
    return b"\0\0\1" + bytes([header]) + int(bits, 2).to_bytes(len(bits) // 8, "big")


def ue(value: int) -> str:
    """An Exp-Golomb code (9.1)."""
    code = f"{value + 1:b}"
    return "0" * (len(code) - 1) + code


# Main profile, 4-bit frame_num and picture order count, fields allowed (7.3.2.1.1); then a PPS with nothing in it (7.3.2.2).
SPS = unit(
    0x67,
    f"{77:08b}",
    "0" * 8,
    f"{30:08b}",
    *map(ue, [0, 0, 0, 0, 1]),
    "0",
    ue(7),
    ue(3),
    "00",
    "1",
    "0",
    "0",
)
PPS = unit(0x68, ue(0), ue(0), "00", *map(ue, [0, 0, 0]), "0", "00", *map(ue, [0, 0, 0]), "000")
END_OF_SEQUENCE = b"\0\0\1\x0a"


def picture(
    frame_num: int, field: str = "", *, order: int, reference: bool = True, idr: bool = False
) -> bytes:
    """The head of a slice (7.3.3) that begins a frame, or a field: "top" or "bottom"."""
    header = (0x60 if reference else 0) | (5 if idr else 1)
    structure = {"": "0", "top": "10", "bottom": "11"}[field]
    head = [
        ue(0),
        ue(7),
        ue(0),
        f"{frame_num:04b}",
        structure,
        ue(0) if idr else "",
        f"{order:04b}",
    ]
    return unit(header, *head, "00" if idr else "", "1" * 32)


FIRST = picture(0, "top", order=0, idr=True)


@pytest.mark.parametrize(
    ("packets", "second"),
    [
        ([FIRST, picture(0, "bottom", order=1)], [1]),
        ([FIRST, picture(0, "bottom", order=1), picture(1, "bottom", order=3), picture(1, "top", order=2)], [1, 3]),
        ([FIRST, picture(0, "top", order=2)], []),  # the same parity
        ([FIRST, picture(1, "bottom", order=1)], []),  # another frame
        ([FIRST, picture(0, "bottom", order=1, reference=False)], []),
        ([FIRST, picture(0, order=2)], []),  # a whole frame
        ([FIRST, picture(0, "bottom", order=1), picture(0, "top", order=2)], [1]),  # the frame is complete
        ([FIRST + END_OF_SEQUENCE, picture(0, "bottom", order=1)], []),
        ([FIRST, picture(0, "bottom", order=1) + END_OF_SEQUENCE], [1]),
    ],
)  # fmt: skip
def test_h264_second_fields(packets: list[bytes], second: list[int]) -> None:
    parser = PacketParser("h264", SPS + PPS)
    flags = [parser.parse(packet)[0] for packet in packets]
    assert all(flag & PARSED for flag in flags)
    assert [n for n, flag in enumerate(flags) if flag & SECOND_FIELD] == second


def test_h264_decoding_does_not_begin_at_a_second_field() -> None:
    """Whatever its recovery point (D.2.8) promises; at the first field of a frame it counts."""
    recovery_point = unit(6, f"{6:08b}", f"{1:08b}", ue(0) + "1" + "0" + "00" + "100")
    parser = PacketParser("h264", SPS + PPS)
    packets = [
        FIRST,
        recovery_point + picture(0, "bottom", order=1),
        recovery_point + picture(1, "top", order=2),
        picture(1, "bottom", order=3),
    ]
    starts = [bool(parser.parse(packet)[0] & START) for packet in packets]
    assert starts == [True, False, True, False]


def test_h264_end_of_sequence_matters_to_what_follows() -> None:
    parser = PacketParser("h264", SPS + PPS)
    packets = [
        picture(0, order=0, idr=True) + END_OF_SEQUENCE,
        picture(1, order=2),
        picture(2, order=4),
    ]
    assert [bool(parser.parse(packet)[0] & IRREGULAR) for packet in packets] == [False, True, False]


@pytest.mark.parametrize("before", [b"", b"\0\0\1\xb2Lavc58.1"], ids=["bare", "user data"])
def test_mpeg4_vop_that_is_not_coded(before: bytes) -> None:
    """It yields no frame, whatever stands before it in its packet."""
    flags, *_ = PacketParser("mpeg4", b"").parse(before + b"\0\0\1\xb6\x52\x9f")
    assert flags & IRREGULAR


def test_hevc_reserved_units_are_no_pictures(tmp_path: Path) -> None:
    told = {"x265-params": "bframes=0:log-level=none"}
    extradata, packets = encoded(tmp_path, "libx265", told, frames=2)
    reserved = [bytes([0, 0, 0, 3, kind << 1, 1, 0x80]) for kind in (10, 15, 22, 31)]
    parsers = PacketParser("hevc", extradata), PacketParser("hevc", extradata)
    for packet in packets:
        plain, padded = parsers[0].parse(packet), parsers[1].parse(packet + b"".join(reserved))
        assert plain == padded


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
