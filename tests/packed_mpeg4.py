"""MPEG-4 as DivX put it into AVI: a packet holds a P picture and the B picture that is shown before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_VOP, _USER_DATA = b"\0\0\1\xb6", b"\0\0\1\xb2"


def vop_type(packet: bytes) -> str:
    """The vop_coding_type of the first VOP (ISO/IEC 14496-2, 6.2.5)."""
    return "IPBS"[packet[packet.index(_VOP) + 4] >> 6]


def pack_pairs(packets: Sequence[bytes]) -> Iterator[bytes]:
    """Put each B picture into the packet of the reference before it; an N-VOP (not coded) takes its place."""
    stub = _VOP + b"\x50\0\0\0"  # P, time stamps zero, vop_coded 0
    number = 0
    while number < len(packets):
        packet = packets[number]
        if number == 0:  # what makes a decoder expect packed pictures
            at = packet.index(_VOP)
            packet = packet[:at] + _USER_DATA + b"DivX503b1393p" + packet[at:]
        if number + 1 < len(packets) and vop_type(packets[number + 1]) == "B":
            yield packet + packets[number + 1]
            yield stub
            number += 2
        else:
            yield packet
            number += 1
