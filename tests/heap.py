"""What a process holds of its heap, to the byte."""

from __future__ import annotations

import ctypes


class HeapInfo(ctypes.Structure):
    """What glibc's mallinfo2 returns."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def live_bytes() -> int:
    """Return what malloc has handed out and not got back; objects of up to 512 bytes Python keeps elsewhere."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = HeapInfo
    heap = mallinfo2()
    return int(heap.uordblks + heap.hblkhd)
