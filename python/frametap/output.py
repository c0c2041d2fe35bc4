"""Memory for a batch: fresh, or a tensor the caller brings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# How each output dtype is stored in a numpy array.
STORAGE = {"uint8": np.uint8, "float16": np.float16, "bfloat16": np.uint16, "float32": np.float32}


def allocate(shape: tuple[int, ...], dtype: str) -> NDArray[np.generic]:
    """Return fresh host memory for a batch.

    Raises:
        MemoryError: it does not fit; says how large the batch would be.
    """
    try:
        return np.empty(shape, STORAGE[dtype])
    except (MemoryError, ValueError) as error:
        needed = int(np.prod(shape, dtype=object)) * np.dtype(STORAGE[dtype]).itemsize
        raise MemoryError(
            f"a batch of shape {shape} in {dtype} needs {needed:,} bytes; sample fewer frames, set Transform(size=...), "
            f"or read it in pieces with video.batches(n)"
        ) from error


def adopt(out: Any, shape: tuple[int, ...], dtype: str) -> NDArray[np.generic]:
    """Return a writable view of the caller's tensor `out` after checking that a batch fits exactly.

    Args:
        out: a numpy array, torch CPU tensor, or anything else with DLPack.
        shape, dtype: what the batch is.

    Raises:
        ValueError: another shape, dtype or device, read-only, or not contiguous.
    """
    array, found = _view(out)
    if found != dtype or array.shape != tuple(shape):
        raise ValueError(f"out has shape {array.shape} and dtype {found}, the batch needs {tuple(shape)} and {dtype}")
    if not array.flags.c_contiguous:
        raise ValueError("out is not contiguous; pass a tensor whose last dimension varies fastest, without gaps")
    return array


def _view(out: Any) -> tuple[NDArray[np.generic], str]:
    """Return (array over the memory of out, its dtype name); bfloat16 comes as uint16."""
    if isinstance(out, np.ndarray):
        if not out.flags.writeable:
            raise ValueError("out is read-only")
        return out, str(out.dtype)
    dtype = str(getattr(out, "dtype", "")).removeprefix("torch.")
    if hasattr(out, "__dlpack_device__") and int(out.__dlpack_device__()[0]) != 1:
        raise ValueError(f"out is not in host memory (DLPack device {tuple(out.__dlpack_device__())}); the batch is")
    if dtype == "bfloat16":
        import torch

        out = out.view(torch.uint16)
    try:
        array = np.from_dlpack(out)
    except (AttributeError, TypeError, BufferError, RuntimeError) as error:
        raise ValueError(f"out must be a numpy array or a tensor with DLPack, got {type(out).__name__}: {error}") from error
    if not array.flags.writeable:
        # Unversioned DLPack cannot say "writable", so numpy assumes the worst; the caller passed it to be written.
        array = np.lib.stride_tricks.as_strided(array, writeable=True) if array.base is None else _writable(array)
    return array, "bfloat16" if dtype == "bfloat16" else str(array.dtype)


def _writable(array: NDArray[np.generic]) -> NDArray[np.generic]:
    import ctypes

    memory = (ctypes.c_uint8 * array.nbytes).from_address(array.ctypes.data)
    view: NDArray[np.generic] = np.frombuffer(memory, dtype=array.dtype).reshape(array.shape)
    return view
