"""Frames decoded on a GPU as a CuPy array, over the same memory: python examples/dlpack_cupy.py VIDEO (needs a GPU)"""

import sys

import cupy

import frametap as ft

stream = cupy.cuda.Stream(non_blocking=True)
with stream:
    batch = ft.sample(
        sys.argv[1], ft.Uniform(8), ft.Transform(size=(112, 112)), device="cuda", stream=stream
    )
    frames = cupy.from_dlpack(batch)
    print(f"{frames.shape} {frames.dtype} on {frames.device}, by {batch.report.engine}")
    print("same memory:", frames.data.ptr == batch.__cuda_array_interface__["data"][0])
    print(f"mean brightness {float(frames.mean()):.1f}")
