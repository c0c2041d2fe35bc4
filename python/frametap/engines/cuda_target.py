"""Batches in GPU memory: allocation, the caller's tensors, converters."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np

from frametap._core import CudaConverter, CudaDevice, CudaStream, CudaTables
from frametap.engines.device_array import DeviceArray, stream_handle
from frametap.engines.out_tensor import OutTensor, claim
from frametap.geometry import ConvertParams
from frametap.output import STORAGE, check_fit


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

    def claim(self, out: Any) -> OutTensor:
        """Look at the caller's tensor, on the caller's thread; what is written from here on comes after its owner's work.

        Raises:
            ValueError: it is not on this GPU, or read-only.
        """
        tensor = claim(out, self.cuda, self.stream)
        self.cuda.order(self.stream, self.own_stream)  # the caller may still be using it
        return tensor

    def allocate(self, shape: tuple[int, ...], dtype: str, out: OutTensor | None) -> DeviceArray:
        """Return fresh GPU memory, or the caller's tensor, claimed before.

        Raises:
            DeviceError: it does not fit.
            ValueError: `out` has another shape or dtype, or is not contiguous.
        """
        if out is not None:
            check_fit(out.shape, out.dtype, out.contiguous, shape, dtype)
            storage = np.dtype(STORAGE[dtype])
            return DeviceArray(
                self.cuda, out.address, shape, storage, self.stream, out.owner, self._stream_object
            )
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
