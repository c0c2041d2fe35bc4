"""Run the CUDA kernels' twin with all it reads and writes between unreadable pages, at their end and at their start.

Run by test_cuda_twin.py in a process of its own, because an access out of bounds ends it.
"""

from __future__ import annotations

import faulthandler
import mmap

import numpy as np
from numpy.typing import NDArray

from cuda_twin import run_twin
from guarded_planes import guarded
from native import make_planes, run
from reference import simple
from test_cuda_twin import SURFACES, UPLOADS


def main() -> None:
    """Every format, sizes and crops either side of a load's width, up, down and unscaled."""
    faulthandler.enable()
    kept: list[mmap.mmap] = []

    def place(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        room = np.zeros(
            -(-data.size // 16) * 16, np.uint8
        )  # what the host side asks for starts and ends at 16 bytes
        room[: data.size] = data
        store, copy = guarded(room, at_end=True)
        kept.append(store)
        return copy[: data.size]

    for pixel_format in SURFACES + UPLOADS:
        for width, height, size, crop in (
            (1, 1, (3, 2), (0, 0, 1, 1)),
            (32, 9, (32, 9), (0, 0, 32, 9)),
            (65, 6, (20, 4), (17, 1, 47, 5)),
            (31, 3, (64, 7), (0, 0, 31, 3)),
        ):
            job = simple(pixel_format, width, height, size, filter="bicubic", crop=crop)
            planes = make_planes(pixel_format, width, height, "random", pitch_extra=0)
            expected = run(planes, job)
            for at_end in (True, False):
                print(pixel_format, width, height, size, "end" if at_end else "start", flush=True)
                copies = [guarded(plane, at_end) for plane in planes]
                assert (run_twin([copy for _, copy in copies], job, place) == expected).all()
                kept.clear()
    print("everything within bounds")


if __name__ == "__main__":
    main()
