"""Memory for a batch: fresh, or a tensor the caller brings."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

# How each output dtype is stored in a numpy array.
STORAGE = {"uint8": np.uint8, "float16": np.float16, "bfloat16": np.uint16, "float32": np.float32}
# DLDeviceType: kDLCPU.
_DLPACK_CPU = 1
# What TensorFlow and XLA want of memory that they take over: the one aborts the process without, the other copies.
_ALIGNMENT = 64


def allocate(shape: tuple[int, ...], dtype: str) -> NDArray[np.generic]:
    """Return fresh host memory for a batch, aligned to 64 bytes.

    Raises:
        MemoryError: it does not fit; says how large the batch would be.
    """
    needed = int(np.prod(shape, dtype=object)) * np.dtype(STORAGE[dtype]).itemsize
    try:
        memory = np.empty(needed + _ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % _ALIGNMENT
        return memory[start : start + needed].view(STORAGE[dtype]).reshape(shape)
    except (MemoryError, ValueError) as error:
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
    check_fit(array.shape, found, array.flags.c_contiguous, shape, dtype)
    return array


def check_fit(
    found_shape: tuple[int, ...],
    found_dtype: str,
    contiguous: bool,
    shape: tuple[int, ...],
    dtype: str,
) -> None:
    """Refuse a caller's tensor that a batch does not fit in exactly.

    Raises:
        ValueError: another shape or dtype, or not contiguous.
    """
    if found_dtype != dtype or found_shape != tuple(shape):
        raise ValueError(
            f"out has shape {found_shape} and dtype {found_dtype}, the batch needs {tuple(shape)} and {dtype}"
        )
    if not contiguous:
        raise ValueError(
            "out is not contiguous; pass a tensor whose last dimension varies fastest, without gaps"
        )


def _view(out: Any) -> tuple[NDArray[np.generic], str]:
    """Return (array over the memory of out, its dtype name); bfloat16 comes as uint16."""
    if isinstance(out, np.ndarray):
        if not out.flags.writeable:
            raise ValueError("out is read-only")
        return out, str(out.dtype)
    if hasattr(out, "__dlpack_device__") and int(out.__dlpack_device__()[0]) != _DLPACK_CPU:
        device = tuple(out.__dlpack_device__())
        raise ValueError(f"out is not in host memory (DLPack device {device}); the batch is")
    is_bfloat16 = str(getattr(out, "dtype", "")).removeprefix("torch.") == "bfloat16"
    try:
        array = np.from_dlpack(_as_uint16(out) if is_bfloat16 else out)
    except (AttributeError, TypeError, BufferError, RuntimeError, ImportError) as error:
        kind = type(out).__name__
        raise ValueError(
            f"out must be a numpy array or a tensor with DLPack, got {kind}: {error}"
        ) from error
    if not array.flags.writeable:
        if _is_versioned(out):
            raise ValueError("out is read-only")
        array = np.asarray(_Writable(array))
    return array, "bfloat16" if is_bfloat16 else str(array.dtype)


def _as_uint16(out: Any) -> Any:
    import torch

    return torch.from_dlpack(out).view(torch.uint16)


def _is_versioned(out: Any) -> bool:
    """Whether a tensor exports DLPack 1.x, which says if it may be written."""
    try:
        capsule = out.__dlpack__(max_version=(1, 0))
    except TypeError:
        return False
    is_valid = ctypes.pythonapi.PyCapsule_IsValid
    is_valid.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return bool(is_valid(capsule, b"dltensor_versioned"))


class _Writable:
    """An array's memory without its read-only flag; keeps the array alive.

    Unversioned DLPack cannot say "writable", so numpy assumes the worst; the caller passed it to be written.
    """

    def __init__(self, array: NDArray[np.generic]) -> None:
        self._array = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}
