"""Arrays in GPU memory: the part of numpy's indexing that a batch needs, so that the same code fills either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from frametap import _core

if (
    TYPE_CHECKING
):  # a frametap built without CUDA has no such class, and never an array of this kind
    from frametap._core import CudaDevice

LEGACY_STREAM = 0
"""The legacy default stream; as a stream handle CUDA, DLPack and the CUDA array interface also write it 1."""
_PER_THREAD_STREAM = 2


class DeviceArray:
    """A C-contiguous array on one GPU. Copies run in the order of its stream; indexing never touches host memory.

    Attributes:
        device: where it is.
        address: device address of the first element.
        shape: lengths of the dimensions.
        dtype: numpy's type of the elements (uint16 for bfloat16).
        stream: handle of the CUDA stream that its contents are ordered by.
        keep: the object whose stream that is; it lives as long.
    """

    def __init__(
        self,
        device: CudaDevice,
        address: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        stream: int,
        owner: object,
        keep: object = None,
    ) -> None:
        self.device, self.address, self.shape = device, address, tuple(shape)
        self.dtype, self.stream, self.owner, self.keep = dtype, stream, owner, keep

    @classmethod
    def empty(
        cls,
        device: CudaDevice,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        stream: int,
        allocate_on: int | None = None,
        keep: object = None,
    ) -> DeviceArray:
        """Allocate from the driver's stream-ordered pool, on the array's stream or another one that it is made to wait for.

        Raises:
            DeviceError: it does not fit.
        """
        memory = _core.DeviceMemory(
            device, _nbytes(shape, dtype), stream if allocate_on is None else allocate_on
        )
        memory.free_on(stream, keep)
        return cls(device, memory.address, shape, dtype, stream, memory, keep)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return _nbytes(self.shape, self.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: int | NDArray[np.generic]) -> DeviceArray:
        """Return one element of the first dimension as a view, or those of an integer or boolean array as a copy."""
        if isinstance(key, np.ndarray):
            chosen = np.flatnonzero(key) if key.dtype == bool else key
            shape = (len(chosen), *self.shape[1:])
            picked = DeviceArray.empty(self.device, shape, self.dtype, self.stream, keep=self.keep)
            for to, source in enumerate(chosen.tolist()):
                self._copy(picked._at(to), self._at(source))
            return picked
        address, shape = self._at(int(key)), self.shape[1:]
        return DeviceArray(
            self.device, address, shape, self.dtype, self.stream, self.owner, self.keep
        )

    def __setitem__(
        self,
        key: int | np.integer[Any] | NDArray[np.integer[Any]],
        value: DeviceArray | NDArray[np.generic],
    ) -> None:
        """Copy one element from device or host, or several from a device array."""
        if isinstance(key, np.ndarray):
            assert isinstance(value, DeviceArray)
            for i, to in enumerate(key.tolist()):
                self._copy(self._at(to), value._at(i))
        elif isinstance(value, DeviceArray):
            self._copy(self._at(int(key)), value.address)
        else:
            self.device.upload(self._at(int(key)), np.ascontiguousarray(value).data, self.stream)

    def _at(self, position: int) -> int:
        position += len(self) if position < 0 else 0
        return self.address + position * _nbytes(self.shape[1:], self.dtype)

    def _copy(self, to: int, source: int) -> None:
        self.device.copy(to, source, _nbytes(self.shape[1:], self.dtype), self.stream)

    def share_with(self, stream: int) -> None:
        """Let another stream read the contents: what it is given from now on waits for what they come from."""
        if stream != self.stream:
            self.device.order(self.stream, stream)
            self.expect_other_readers()

    def expect_other_readers(self) -> None:
        """Keep memory of ours from being freed while streams other than its own may read it."""
        if isinstance(self.owner, _core.DeviceMemory):
            self.owner.shared_with_other_streams()


Array: TypeAlias = "NDArray[np.generic] | DeviceArray"


def _nbytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def stream_handle(stream: Any, *, per_thread: bool = False) -> int:
    """Return the handle of a CUDA stream: an int, None (the legacy default stream), or an object that has one.

    Objects: anything with `__cuda_stream__()` (cuda.core, nvmath), `.cuda_stream` (torch) or `.ptr` (cupy).

    Args:
        stream: the stream.
        per_thread: accept 2, the per-thread default stream, which is another stream in each thread.

    Raises:
        TypeError: none of these.
        ValueError: a number that is no stream, or the per-thread one where other threads would have to name it.
    """
    if stream is None:
        return LEGACY_STREAM
    if isinstance(stream, (int, np.integer)) and not isinstance(stream, bool):
        handle = int(stream)
    elif hasattr(stream, "__cuda_stream__"):
        protocol = stream.__cuda_stream__
        handle = int((protocol() if callable(protocol) else protocol)[1])
    elif hasattr(stream, "cuda_stream"):
        handle = int(stream.cuda_stream)
    elif hasattr(stream, "ptr"):
        handle = int(stream.ptr)
    else:
        raise TypeError(
            f"stream must be a handle, or an object with __cuda_stream__, .cuda_stream or .ptr, got {type(stream).__name__}"
        )
    if handle < 0:
        raise ValueError(f"stream must be a CUDA stream handle, got {handle}")
    if handle == _PER_THREAD_STREAM and not per_thread:
        raise ValueError(
            "stream is the per-thread default stream, which decoding threads cannot name; pass a stream that was created, "
            "or none for the legacy default stream"
        )
    return LEGACY_STREAM if handle == 1 else handle
