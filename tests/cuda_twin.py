"""The CUDA kernels compiled for the CPU (tests/cuda_host), launched with what `_core.CudaTables` says."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frametap import _core
from native import CANARY, MARGIN
from reference import Conversion, Plane

ROOT = Path(__file__).resolve().parents[1]
KERNELS = ("frametap_vertical", "frametap_horizontal")  # in the order of launching

Three = tuple[int, int, int]
Place = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]  # copies bytes to memory that is watched


def build_twin() -> Path:
    """Compile the library, or do nothing when it is newer than its sources; its path."""
    sanitize = "ON" if os.environ.get("FRAMETAP_SANITIZE") else "OFF"
    build = ROOT / "build" / ("cuda_host_sanitized" if sanitize == "ON" else "cuda_host")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    }
    environment.pop("LD_PRELOAD", None)  # of the sanitizers: nothing for a compiler
    for command in (
        [
            *("cmake", "-G", "Ninja", f"-DFRAMETAP_SANITIZE={sanitize}"),
            *("-S", ROOT / "tests" / "cuda_host", "-B", build),
        ],
        ["cmake", "--build", build],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "libframetap_cuda_host.so"


@functools.cache
def twin() -> ctypes.CDLL:
    return ctypes.CDLL(str(build_twin()))


def launch(kernel: str, params: bytes, grid: Three, block: Three) -> None:
    """One kernel over a whole grid, as cuLaunchKernel would."""
    size = ctypes.c_uint32.in_dll(twin(), f"{kernel}_param_bytes").value
    assert len(params) == size, f"{kernel} takes {size} bytes, the host side gives {len(params)}"
    three = ctypes.c_uint32 * 3
    argument = ctypes.create_string_buffer(params, size)
    pointers = (ctypes.c_void_p * 1)(ctypes.addressof(argument))
    twin()[f"{kernel}_on_host"](pointers, three(*grid), three(*block))


def watched(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A 16-byte aligned copy between two margins of canaries."""
    store = np.full(data.size + 2 * MARGIN + 16, CANARY, np.uint8)
    begin = MARGIN + -(store.ctypes.data + MARGIN) % 16
    copy = store[begin : begin + data.size]
    copy[:] = data
    return copy


def check_margins(copy: NDArray[np.uint8]) -> None:
    """Fail when a byte round a watched() copy has changed."""
    store = copy.base
    assert isinstance(store, np.ndarray)
    begin = copy.ctypes.data - store.ctypes.data
    assert (store[:begin] == CANARY).all(), "wrote before a buffer"
    assert (store[begin + copy.size :] == CANARY).all(), "wrote past a buffer"


def run_twin(
    planes: Sequence[Plane], job: Conversion, place: Place = watched
) -> NDArray[np.generic]:
    """What `native.run` does, by the CUDA kernels: same arguments, same result."""
    return run_batch([planes], job, place)[0]


def run_batch(
    pictures: Sequence[Sequence[Plane]], job: Conversion, place: Place = watched
) -> list[NDArray[np.generic]]:
    """The pictures converted by one launch of each kernel.

    `place` decides where tables, scratch and outputs lie; planes are read where they are.
    """
    count = len(pictures)
    tables = _core.CudaTables(**asdict(job))
    word = np.dtype("uint16" if job.dtype == "bfloat16" else job.dtype)
    content = place(np.frombuffer(tables.table_bytes(), np.uint8))
    scratch = place(np.full(tables.scratch_bytes(count), CANARY, np.uint8))
    size = int(np.prod(job.out_shape)) * word.itemsize
    slots = [place(np.full(size, CANARY, np.uint8)) for _ in pictures]
    jobs = [
        ([(plane.ctypes.data, plane.strides[0]) for plane in planes], slot.ctypes.data)
        for planes, slot in zip(pictures, slots, strict=True)
    ]
    params = tables.params(content.ctypes.data, jobs, scratch.ctypes.data)
    launch("frametap_vertical", params, tables.vertical_grid(count), tables.block)
    launch("frametap_horizontal", params, tables.horizontal_grid(count), tables.block)
    if place is watched:
        for memory in (content, scratch, *slots):
            check_margins(memory)
    results = [slot.view(word).reshape(job.out_shape) for slot in slots]
    if job.dtype == "bfloat16":
        return [(result.astype(np.uint32) << 16).view(np.float32) for result in results]
    return results
