"""Convert pictures whose planes touch an unreadable page, at their end and then at their start.

Run by test_kernels_exact.py in a process of its own, because a read out of bounds ends it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap

import numpy as np

from native import make_planes, run
from reference import Plane, simple
from test_kernels import PIXEL_FORMATS

PROT_NONE = 0
_libc = ctypes.CDLL(None, use_errno=True)


def guarded(plane: Plane, at_end: bool) -> tuple[mmap.mmap, Plane]:
    """A copy of `plane`, rows packed, that starts or ends right beside an unreadable page."""
    page = mmap.PAGESIZE
    room = -(-plane.nbytes // page) * page
    store = mmap.mmap(-1, room + 2 * page)
    memory = np.frombuffer(store, np.uint8)
    base = memory.ctypes.data
    for address in (base, base + page + room):
        if _libc.mprotect(ctypes.c_void_p(address), page, PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = page + (room - plane.nbytes if at_end else 0)
    copy = memory[start : start + plane.nbytes].view(plane.dtype).reshape(plane.shape)
    copy[:] = plane
    return store, copy


def main() -> None:
    """Every pixel format, sizes either side of a vector's width, up, down and unscaled."""
    faulthandler.enable()
    for pixel_format in PIXEL_FORMATS:
        for width, height, size in (
            (1, 1, (3, 2)),
            (35, 9, (35, 9)),
            (65, 6, (20, 4)),
            (31, 3, (64, 7)),
        ):
            job = simple(pixel_format, width, height, size, filter="bicubic")
            planes = make_planes(pixel_format, width, height, "random", pitch_extra=0)
            expected = run(planes, job)
            for at_end in (True, False):
                print(pixel_format, width, height, size, "end" if at_end else "start", flush=True)
                kept = [guarded(plane, at_end) for plane in planes]
                assert (run([copy for _, copy in kept], job) == expected).all()
    print("all planes read within bounds")


if __name__ == "__main__":
    main()
