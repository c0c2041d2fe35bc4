"""The caller's tensor that a batch is to be written to: what DLPack or the CUDA array interface says of it."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from frametap._core import CudaDevice, view_dlpack
from frametap.engines.device_array import stream_handle

DLPACK_CUDA = 2
"""DLDeviceType kDLCUDA."""


@dataclass(frozen=True, slots=True)
class OutTensor:
    """A writable tensor on a GPU; its owner keeps the memory."""

    owner: Any
    address: int
    shape: tuple[int, ...]
    dtype: str
    contiguous: bool


def claim(out: Any, cuda: CudaDevice, stream: int) -> OutTensor:
    """Look at a caller's tensor, and make `stream` wait for whatever its owner is still doing there.

    To be called on the caller's thread: the current stream of a library, and the per-thread default stream, are others elsewhere.

    Args:
        out: anything with DLPack, or else with the CUDA array interface.
        cuda: the GPU that it must be on.
        stream: handle of a CUDA stream.

    Raises:
        ValueError: it is none of these, on another device, read-only, or describes itself wrongly.
    """
    if hasattr(out, "__dlpack__"):
        return _by_dlpack(out, cuda, stream)
    interface = getattr(out, "__cuda_array_interface__", None)
    if not isinstance(interface, dict):
        raise ValueError(
            f"out must be a CUDA tensor with DLPack or the CUDA array interface, got {type(out).__name__}"
        )
    return _by_interface(out, interface, cuda, stream)


def _by_dlpack(out: Any, cuda: CudaDevice, stream: int) -> OutTensor:
    mine = (DLPACK_CUDA, cuda.ordinal)
    device = tuple(int(number) for number in out.__dlpack_device__())
    if device != mine:
        raise ValueError(
            f"out is on DLPack device {device}, the batch on cuda:{cuda.ordinal} {mine}"
        )
    view = _view(out, stream)
    if view.read_only:
        raise ValueError("out is read-only")
    return OutTensor(out, view.address, tuple(view.shape), view.dtype, view.contiguous)


def _view(out: Any, stream: int) -> Any:
    # The producer makes our stream (1: the legacy default one) wait for what it is still writing there.
    try:
        try:
            capsule = out.__dlpack__(stream=stream or 1, max_version=(1, 1))
        except TypeError:  # a producer from before DLPack 1.0
            capsule = out.__dlpack__(stream=stream or 1)
    except (BufferError, RuntimeError, AssertionError) as error:
        raise ValueError(f"out cannot be used by DLPack: {error}") from error
    return view_dlpack(capsule)


def _by_interface(out: Any, interface: dict[str, Any], cuda: CudaDevice, stream: int) -> OutTensor:
    shape = _numbers(interface, "shape")
    address, read_only = _entry(interface, "data", _address_and_flag)
    dtype = _entry(interface, "typestr", _dtype_of)
    strides = None if interface.get("strides") is None else _numbers(interface, "strides")
    if strides is not None and len(strides) != len(shape):
        raise ValueError(f"out has the shape {shape} and the strides {strides}")
    if interface.get("mask") is not None:
        raise ValueError("out has a mask; pass the array without it")
    if read_only:
        raise ValueError("out is read-only")
    if not dtype.isnative:
        raise ValueError(f"out has the byte order of another machine: typestr {dtype.str!r}")
    if 0 not in shape:
        _check_device(address, cuda)
    if (producer := _producer_stream(interface)) is not None:
        cuda.order(producer, stream)
    return OutTensor(
        out, address, shape, dtype.name, _is_contiguous(shape, strides, dtype.itemsize)
    )


def _entry(interface: dict[str, Any], key: str, read: Any) -> Any:
    try:
        return read(interface[key])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        found = repr(interface[key]) if key in interface else "missing"
        raise ValueError(f"out has a __cuda_array_interface__ whose {key} is {found}") from error


def _address_and_flag(data: Any) -> tuple[int, bool]:
    address = operator.index(data[0])
    if not 0 <= address < 1 << 64:
        raise ValueError("no address")
    return address, bool(data[1])


def _dtype_of(typestr: Any) -> np.dtype[Any]:
    if not isinstance(typestr, str):
        raise TypeError("no string")  # numpy takes None for float64
    return np.dtype(typestr)


def _numbers(interface: dict[str, Any], key: str) -> tuple[int, ...]:
    numbers: tuple[int, ...] = _entry(
        interface, key, lambda value: tuple(map(operator.index, value))
    )
    return numbers


def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...] | None, itemsize: int) -> bool:
    if 0 in shape:
        return True
    expected = itemsize
    for length, stride in zip(reversed(shape), reversed(strides or ()), strict=False):
        if length != 1 and stride != expected:
            return False
        expected *= length
    return True


def _check_device(address: int, cuda: CudaDevice) -> None:
    # The interface does not say where memory is; writing to that of another GPU would fail in the middle of a batch.
    ordinal = cuda.owner_of(address)
    if ordinal < 0:
        raise ValueError(f"out is at address {address:#x}, which is no memory of a GPU")
    if ordinal != cuda.ordinal:
        raise ValueError(f"out is on cuda:{ordinal}, the batch on cuda:{cuda.ordinal}")


def _producer_stream(interface: dict[str, Any]) -> int | None:
    """Return the stream that the contents are ordered by, None where nothing is to be waited for."""
    stream = interface.get("stream")
    if stream is None:
        return None
    if isinstance(stream, (int, np.integer)) and int(stream) == 0:
        raise ValueError(
            "out has a __cuda_array_interface__ with stream 0, which the interface forbids, for it can mean two streams: "
            "1 is the legacy default stream, 2 the per-thread one, None that there is nothing to wait for"
        )
    try:
        return stream_handle(stream, per_thread=True)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"out has a __cuda_array_interface__ whose stream is {stream!r}"
        ) from error
