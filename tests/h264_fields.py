"""H.264 of field pictures, which no encoder of FFmpeg's writes: each frame is a pair of fields, coded one after the other.

Macroblocks are I_PCM, samples as they are, or skipped: what a stream looks like is known without a decoder. Clauses are
those of ITU-T H.264 (V14).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]  # Y, U, V of 4:2:0
_NON_IDR, _IDR, _SPS, _PPS = 1, 5, 7, 8  # nal_unit_type
_P, _B, _I = 5, 6, 7  # slice_type, said of all slices of a picture
_I_PCM = {_I: 25, _P: 5 + 25, _B: 23 + 25}  # mb_type
_FRAME_NUM_BITS, _POC_BITS = 4, 8


class _Bits:
    """The raw byte sequence payload of one NAL unit."""

    def __init__(self) -> None:
        self._bits = ""

    def u(self, bits: int, value: int) -> None:
        self._bits += f"{value:0{bits}b}"

    def ue(self, *values: int) -> None:
        """Exp-Golomb (9.1)."""
        for value in values:
            code = f"{value + 1:b}"
            self._bits += "0" * (len(code) - 1) + code

    def aligned(self, data: bytes) -> None:
        """Bytes, after as many zero bits as it takes to align them."""
        self._bits += "0" * (-len(self._bits) % 8) + "".join(f"{byte:08b}" for byte in data)

    def nal(self, ref_idc: int, unit_type: int) -> bytes:
        """The NAL unit after a start code: trailing bits (7.3.2.11), emulation prevention (7.4.1)."""
        bits = self._bits + "1"
        bits += "0" * (-len(bits) % 8)
        out, zeros = bytearray([ref_idc << 5 | unit_type]), 0
        for byte in int(bits, 2).to_bytes(len(bits) // 8, "big"):
            if zeros == 2 and byte <= 3:
                out.append(3)
                zeros = 0
            out.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return b"\0\0\0\1" + bytes(out)


def parameter_sets(width: int, height: int) -> bytes:
    """SPS (7.3.2.1.1) and PPS (7.3.2.2) of field pictures, Main profile; sizes are multiples of 16 and 32."""
    sps = _Bits()
    sps.u(24, 77 << 16 | 30)  # profile_idc, no constraint flags, level_idc
    sps.ue(0, _FRAME_NUM_BITS - 4, 0, _POC_BITS - 4, 2)  # ..., max_num_ref_frames
    sps.u(1, 0)  # gaps_in_frame_num_value_allowed_flag
    sps.ue(width // 16 - 1, height // 32 - 1)
    sps.u(
        4, 0b0010
    )  # frame_mbs_only, mb_adaptive_frame_field, direct_8x8_inference, frame_cropping
    sps.u(1, 1)  # vui_parameters_present_flag
    sps.u(9, 0b000000001)  # of the VUI (E.1.1) nothing but bitstream_restriction_flag
    sps.u(1, 1)  # motion_vectors_over_pic_boundaries_flag
    sps.ue(0, 0, 10, 10, 1, 2)  # ..., max_num_reorder_frames, max_dec_frame_buffering
    pps = _Bits()
    pps.ue(0, 0)
    pps.u(2, 0)  # CAVLC
    pps.ue(0, 0, 0)  # no slice groups, one reference in each list
    pps.u(3, 0)  # no weighted prediction
    pps.ue(0, 0, 0)
    pps.u(3, 0b100)  # deblocking_filter_control_present_flag
    return sps.nal(3, _SPS) + pps.nal(3, _PPS)


@dataclass(frozen=True)
class _Field:
    """What the header of a field's only slice says."""

    slice_type: int
    frame_num: int
    bottom: bool
    poc: int
    idr: int | None = None  # idr_pic_id of an IDR picture

    def nal(self, planes: Planes, coded: set[int]) -> bytes:
        """The slice whose macroblocks are I_PCM where `coded` names them, else skipped (7.3.3, 7.3.4)."""
        bits, reference = _Bits(), self.slice_type != _B
        bits.ue(0, self.slice_type, 0)
        bits.u(_FRAME_NUM_BITS, self.frame_num % (1 << _FRAME_NUM_BITS))
        bits.u(2, 0b10 | self.bottom)  # field_pic_flag, bottom_field_flag
        if self.idr is not None:
            bits.ue(self.idr)
        bits.u(_POC_BITS, self.poc)
        if self.slice_type == _B:
            bits.u(4, 0b1000)  # spatial direct prediction, lists of references as they are
        elif self.slice_type == _P:
            bits.u(2, 0)
        if reference:
            bits.u(1 if self.idr is None else 2, 0)  # sliding window
        bits.ue(0, 1)  # slice_qp_delta, disable_deblocking_filter_idc
        skipped = 0
        for number, block in enumerate(_macroblocks(planes)):
            if number in coded:
                if self.slice_type != _I:
                    bits.ue(skipped)
                bits.ue(_I_PCM[self.slice_type])
                bits.aligned(block)
                skipped = 0
            else:
                skipped += 1
        if skipped:
            bits.ue(skipped)
        return bits.nal(int(reference), _NON_IDR if self.idr is None else _IDR)


def _macroblocks(planes: Planes) -> Iterator[bytes]:
    """The samples of each macroblock, in the order of I_PCM: 16x16 of Y, 8x8 of U and V."""
    height, width = planes[0].shape
    for y in range(0, height, 16):
        for x in range(0, width, 16):
            cut = [planes[0][y : y + 16, x : x + 16]]
            cut += [p[y // 2 : y // 2 + 8, x // 2 : x // 2 + 8] for p in planes[1:]]
            yield b"".join(c.tobytes() for c in cut)


def field_pairs(pictures: Sequence[Planes], gop: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Code pictures as field pairs, in decode order: the number of each, its first and its second field.

    A keyframe interval is I P B P B ... as decoded. P pictures code two macroblocks of each field anew and copy the others from
    the reference before; B pictures, which nothing refers to, code all. Parameter sets come before each keyframe.
    """
    height, width = pictures[0][0].shape
    blocks = (width // 16) * (height // 32)
    for start in range(0, len(pictures), gop):
        references = 0
        for number, kind in _decode_order(min(gop, len(pictures) - start)):
            changed = {number % blocks, (3 * number + 1) % blocks}
            fields = [parameter_sets(width, height) if kind == _I else b"", b""]
            for bottom in (False, True):
                y, u, v = (plane[bottom::2] for plane in pictures[start + number])
                idr = start // gop % 2 if kind == _I and not bottom else None
                head = _Field(kind, references, bottom, 2 * number + bottom, idr)
                fields[bottom] += head.nal((y, u, v), changed if kind == _P else set(range(blocks)))
            yield start + number, fields[0], fields[1]
            references += kind != _B


def _decode_order(pictures: int) -> Iterator[tuple[int, int]]:
    """Number and slice type: I0 P2 B1 P4 B3 ..., and a P at the end of an even number of pictures."""
    yield 0, _I
    for number in range(2, pictures, 2):
        yield number, _P
        yield number - 1, _B
    if pictures % 2 == 0:
        yield pictures - 1, _P


def write_fields(
    path: Path, frames: Iterable[av.VideoFrame], keyframe_interval: int, *, apart: bool
) -> None:
    """Write 4:2:0 pictures as field pairs, 25 a second: both fields in a packet, or `apart`, each in one of its own."""
    raw = path.with_name(f"raw_{path.name}.h264")
    pairs = list(field_pairs([_planes_of(frame) for frame in frames], keyframe_interval))
    raw.write_bytes(b"".join(first + second for _, first, second in pairs))
    with av.open(str(raw)) as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for place, (number, first, second) in enumerate(pairs):
            for half, data in enumerate([first, second] if apart else [first + second]):
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, Fraction(1, 50)
                packet.pts, packet.dts = 2 * number + half + 4, 2 * place + half
                packet.is_keyframe = number % keyframe_interval == 0 and half == 0
                output.mux(packet)
    raw.unlink()


def _planes_of(frame: av.VideoFrame) -> Planes:
    y, u, v = (np.frombuffer(p, np.uint8).reshape(p.height, -1)[:, : p.width] for p in frame.planes)
    return y, u, v
