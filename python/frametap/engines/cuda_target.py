"""Batches in GPU memory: allocation, the caller's tensors, converters."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np

from frametap._core import CudaConverter, CudaDevice, CudaStream, CudaTables, view_dlpack
from frametap.engines.device_array import DeviceArray, stream_handle
from frametap.geometry import ConvertParams
from frametap.output import STORAGE, check_fit

DLPACK_CUDA = 2
"""DLDeviceType kDLCUDA."""


class CudaTarget:
    """Batches in the memory of one GPU.

    They are allocated on a stream of our own, so that decoding does not wait for whatever the caller's stream is busy with;
    that stream is made to wait for what is converted.

    Args:
        cuda: the GPU.
        stream: the caller's stream, in any form that `stream_handle` takes: batches are complete, and freed, in its order.
    """

    def __init__(self, cuda: CudaDevice, stream: Any) -> None:
        self.cuda, self.stream = cuda, stream_handle(stream)
        self._stream_object = stream
        self.device = f"cuda:{cuda.ordinal}"
        self._own = CudaStream(cuda)

    @property
    def own_stream(self) -> int:
        """Handle of the stream after which slots may be written."""
        return self._own.handle

    def allocate(self, shape: tuple[int, ...], dtype: str, out: Any) -> DeviceArray:
        """Return fresh GPU memory, or the caller's tensor.

        Raises:
            DeviceError: it does not fit.
            ValueError: `out` has another shape, dtype or device, or is not contiguous.
        """
        if out is not None:
            array = self._adopt(out, shape, dtype)
            self.cuda.order(self.stream, self.own_stream)  # the caller may still be using it
            return array
        array = DeviceArray.empty(
            self.cuda,
            shape,
            np.dtype(STORAGE[dtype]),
            self.stream,
            self.own_stream,
            self._stream_object,
        )
        self.cuda.order(self.own_stream, self.stream)
        return array

    def _adopt(self, out: Any, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        mine = (DLPACK_CUDA, self.cuda.ordinal)
        if not hasattr(out, "__dlpack__"):
            raise ValueError(f"out must be a CUDA tensor with DLPack, got {type(out).__name__}")
        device = tuple(int(number) for number in out.__dlpack_device__())
        if device != mine:
            raise ValueError(f"out is on DLPack device {device}, the batch on {self.device} {mine}")
        view = _view(out, self.stream)
        if view.read_only:
            raise ValueError("out is read-only")
        check_fit(tuple(view.shape), view.dtype, view.contiguous, shape, dtype)
        return DeviceArray(
            self.cuda, view.address, shape, np.dtype(STORAGE[dtype]), self.stream, out
        )

    def converter(self, params: ConvertParams) -> CudaConverter:
        """Return the GPU's converter of these numbers."""
        return _converter(self.cuda, params)

    def address(self, array: DeviceArray) -> int:
        """Return the device address of the first element."""
        return array.address


@lru_cache(maxsize=64)
def _converter(cuda: CudaDevice, params: ConvertParams) -> CudaConverter:
    # Its tables are computed and uploaded once; it may serve many sessions at once.
    return CudaConverter(cuda, CudaTables(**asdict(params)))


def forget_converters() -> None:
    """Free the tables kept on GPUs; for the end of the process."""
    _converter.cache_clear()


def _view(out: Any, stream: int) -> Any:
    """Return what DLPack says of a caller's tensor."""
    # The producer makes our stream (1: the legacy default one) wait for what it is still writing there.
    try:
        try:
            capsule = out.__dlpack__(stream=stream or 1, max_version=(1, 1))
        except TypeError:  # a producer from before DLPack 1.0
            capsule = out.__dlpack__(stream=stream or 1)
    except (BufferError, RuntimeError, AssertionError) as error:
        raise ValueError(f"out cannot be used by DLPack: {error}") from error
    return view_dlpack(capsule)
