"""What a packet brings along for others: parameter sets, matrices and kept references, behind pictures that nobody needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import frametap as ft
from clips import Clip, encode

SMALL = ft.Transform(size=(48, 64))
X264 = "keyint=16:bframes=2:b-adapt=0:b-pyramid=none:scenecut=0:weightp=0:slices=1"
X265 = (
    "keyint=16:bframes=2:b-adapt=0:b-pyramid=0:scenecut=0:open-gop=0:pools=none:frame-threads=1"
    ":log-level=none:info=0"
)


def units(path: Path) -> list[bytes]:
    """The NAL units of a file, or what else lies between its start codes."""
    return [unit for unit in re.split(b"\0*\0\0\1", path.read_bytes()) if unit]


def encoded(path: Path, encoder: str, params: str, frames: int = 64) -> list[bytes]:
    name = {"libx264": "x264-params", "libx265": "x265-params"}[encoder]
    encode(path, Clip(encoder, path.suffix, encoded=frames, options={name: params}))
    return units(path)


def write(path: Path, parts: list[bytes]) -> Path:
    path.write_bytes(b"".join(b"\0\0\0\1" + part for part in parts))
    return path


def h264_type(unit: bytes) -> int:
    return unit[0] & 31


def hevc_type(unit: bytes) -> int:
    return unit[0] >> 1 & 63


def before(
    number: int, chosen: Callable[[bytes], bool], extra: bytes, parts: list[bytes]
) -> Iterator[bytes]:
    """The parts with `extra` before the one of those chosen that has a number."""
    for part in parts:
        if chosen(part):
            number -= 1
            if number == -1:
                yield extra
        yield part


def assert_alone_as_together(path: Path) -> None:
    """Each frame is the same whether it is sampled alone or every packet is decoded."""
    together = ft.sample(path, ft.Every(1), SMALL, device="cpu", threads=1).numpy()
    index = ft.FrameIndex.build(path)
    for number in range(len(index)):
        alone = ft.sample(path, ft.Indices([number]), SMALL, device="cpu", index=index)
        np.testing.assert_array_equal(alone.numpy()[0], together[number], f"frame {number}")


# Encoder, its parameters and what makes another picture parameter set, type of a unit, types of parameter sets, whether a
# unit is a slice of a picture that is no reference.
PARAMETER_SETS: dict[str, tuple[Any, ...]] = {
    ".h264": ("libx264", X264, "chroma-qp-offset=10", h264_type, (7, 8), lambda unit: unit[0] == 1),
    ".hevc": (
        "libx265",
        X265,
        "cbqpoffs=8:crqpoffs=-8",
        hevc_type,
        (32, 33, 34),
        lambda unit: hevc_type(unit) in (0, 8),
    ),
}


@pytest.mark.parametrize("repeated", [True, False], ids=["repeated at keyframes", "sent once"])
@pytest.mark.parametrize("suffix", PARAMETER_SETS)
def test_picture_parameter_set_in_a_picture_that_is_no_reference(
    tmp_path: Path, suffix: str, repeated: bool
) -> None:
    encoder, params, another, type_of, sets, is_no_reference = PARAMETER_SETS[suffix]
    parts = encoded(tmp_path / f"a{suffix}", encoder, params)
    others = encoded(tmp_path / f"b{suffix}", encoder, f"{params}:{another}", 2)
    other = next(unit for unit in others if type_of(unit) == sets[-1])
    assert other not in parts
    if not repeated:
        first = len(sets) + 1
        parts = parts[:first] + [unit for unit in parts[first:] if type_of(unit) not in sets]
    changed = list(before(4, is_no_reference, other, parts))
    assert_alone_as_together(write(tmp_path / f"c{suffix}", changed))


def test_mpeg2_matrices_in_a_picture_that_is_no_reference(tmp_path: Path) -> None:
    """They hold until the next sequence header (H.262 6.3.11), so a keyframe without one is no place to begin."""
    path = tmp_path / "a.m2v"
    options = {"bf": "2", "g": "15", "sc_threshold": "1000000000", "qmin": "4", "qmax": "4"}
    encode(path, Clip("mpeg2video", path.suffix, options=options))
    parts = units(path)
    bits = int("0011" + "01" + f"{60:08b}" * 64 + "00", 2)  # 6.2.3.2: one for inter blocks
    matrices = b"\xb5" + bits.to_bytes(65, "big")
    begun = [n for n, part in enumerate(parts) if part[0] == 0 and part[2] >> 3 & 7 == 3]
    parts.insert(begun[4] + 2, matrices)  # after picture header and picture coding extension
    assert_alone_as_together(write(path, parts))
    sequence_headers = [n for n, part in enumerate(parts) if part[0] == 0xB3]
    kept = parts[: sequence_headers[1]]
    kept += [
        part
        for part in parts[sequence_headers[1] :]
        if part[0] != 0xB3 and (part[0] != 0xB5 or part[1] >> 4 != 1)
    ]
    assert_alone_as_together(write(path, kept))


def keep_without_use(unit: bytes, entry: int) -> bytes:
    """An HEVC slice whose reference picture set (7.3.7) keeps a picture that it used before."""
    bits = "".join(f"{byte:08b}" for byte in unit[2:])
    at = 1  # first_slice_segment_in_pic_flag

    def ue() -> int:
        nonlocal at
        zeros = bits.index("1", at) - at
        at += 2 * zeros + 1
        return int(bits[at - zeros - 1 : at], 2) - 1

    assert ue() == 0  # slice_pic_parameter_set_id
    assert ue() == 1  # slice_type: P
    at += 8  # slice_pic_order_cnt_lsb, as wide as x265 makes it
    assert bits[at] == "0"  # short_term_ref_pic_set_sps_flag
    at += 1
    assert (ue(), ue()) == (2, 0)  # num_negative_pics, num_positive_pics
    for _ in range(entry + 1):
        ue()
        at += 1
    assert bits[at - 1] == "1"  # used_by_curr_pic_s0_flag
    changed = f"{bits[: at - 1]}0{bits[at:]}"
    return unit[:2] + int(changed, 2).to_bytes(len(bits) // 8, "big")


def test_hevc_reference_that_is_only_kept(tmp_path: Path) -> None:
    """FFmpeg decodes no picture of whose reference picture set one is missing, used or not."""
    params = f"{X265}:ref=2".replace("bframes=2", "bframes=0")
    parts = encoded(tmp_path / "a.hevc", "libx265", params)
    slices = [n for n, unit in enumerate(parts) if hevc_type(unit) < 32]
    parts[slices[5]] = keep_without_use(parts[slices[5]], 0)
    parts[slices[6]] = keep_without_use(parts[slices[6]], 1)
    assert_alone_as_together(write(tmp_path / "b.hevc", parts))


BROKEN = {  # file, packets that it goes before, unit
    "message that says it has 200 bytes": (
        ".h264",
        (0, 6, 20, 40),
        bytes([6, 5, 200, 1, 2, 3, 0x80]),
    ),
    "IDR picture that is no reference": (".h264", (0, 16, 32, 48), bytes([5, 0, 1, 2, 3, 0x80])),
    "HEVC message of 200 bytes": (
        ".hevc",
        (0, 6, 20, 40),
        bytes([39 << 1, 1, 5, 200, 1, 2, 3, 0x80]),
    ),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_beside_pictures_does_not_damage_them(
    tmp_path: Path, what: str, threads: int
) -> None:
    """FFmpeg told to be strict refuses the whole packet."""
    suffix, places, unit = BROKEN[what]
    raw = tmp_path / f"clip{suffix}"
    encoded(raw, *{".h264": ("libx264", X264), ".hevc": ("libx265", X265)}[suffix])
    intact = ft.sample(raw, ft.Every(3), SMALL, device="cpu").numpy()
    path = tmp_path / "clip.mp4"
    frame_of_packet = ft.FrameIndex.build(raw).frame_of_packet.tolist()
    with av.open(str(raw)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        out = target.add_stream_from_template(stream)
        packets = (bytes(packet) for packet in source.demux(stream) if packet.size)
        for number, (data, frame) in enumerate(zip(packets, frame_of_packet, strict=True)):
            packet = av.Packet((b"\0\0\0\1" + unit if number in places else b"") + data)
            packet.stream, packet.time_base, packet.is_keyframe = out, Fraction(1, 24), number == 0
            packet.dts, packet.pts, packet.duration = number, frame + 4, 1
            target.mux(packet)
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == len(frame_of_packet)
    broken = ft.sample(path, ft.Every(3), SMALL, device="cpu", threads=threads)
    np.testing.assert_array_equal(broken.numpy(), intact)
