"""What users get: `FrameBatch` and `Frame`, tensors with times that every array library can take over without a copy."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frametap._core import export_dlpack
from frametap.engines.base import Report
from frametap.engines.device_array import Array, DeviceArray, stream_handle
from frametap.errors import UnsupportedError

_DLPACK_CPU = (1, 0)
_DLPACK_CUDA = 2
# The consumer takes care of the order itself.
_DLPACK_NO_SYNC = -1


class _Tensor:
    """One block of memory and the protocols that hand it out. bfloat16 is kept as uint16, since numpy has no such type."""

    _data: Array
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the dimensions."""
        return self._data.shape

    @property
    def device(self) -> str:
        """Where the memory is: "cpu" or "cuda:N"."""
        return f"cuda:{self._data.device.ordinal}" if isinstance(self._data, DeviceArray) else "cpu"

    @property
    def nbytes(self) -> int:
        """Bytes of pixel memory."""
        return self._data.nbytes

    def __dlpack_device__(self) -> tuple[int, int]:
        data = self._data
        return (_DLPACK_CUDA, data.device.ordinal) if isinstance(data, DeviceArray) else _DLPACK_CPU

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Export without copying (DLPack 1.x when the consumer asks for it, else the unversioned struct).

        On CUDA, `stream` is the consumer's stream as DLPack writes it (1: the legacy default one, also meant by None; -1: do not
        synchronise); what it is given after this call waits for the batch.

        Raises:
            BufferError: a copy or another device is asked for.
        """
        data, device = self._data, self.__dlpack_device__()
        if copy:
            raise BufferError(
                "__dlpack__ hands out the memory itself; copy it on the receiving side"
            )
        if dl_device is not None and tuple(dl_device) != device:
            raise BufferError(f"the batch is on {self.device}, not on DLPack device {dl_device}")
        versioned = max_version is not None and max_version[0] >= 1
        if isinstance(data, DeviceArray):
            if stream == _DLPACK_NO_SYNC:
                data.expect_other_readers()
            else:
                data.share_with(stream_handle(stream, per_thread=True))
            address, owner = data.address, data.owner
        else:
            if stream is not None:
                raise BufferError(
                    "a batch in host memory has no stream; call __dlpack__ without one"
                )
            address, owner = data.ctypes.data, data
        return export_dlpack(owner, address, list(data.shape), self.dtype, device, versioned, False)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The CUDA array interface, version 3, of a batch on CUDA; bfloat16 has no place in it."""
        data = self._data
        if not isinstance(data, DeviceArray) or self.dtype == "bfloat16":
            raise AttributeError(
                f"a {self.dtype} batch on {self.device} has no CUDA array interface"
            )
        data.expect_other_readers()  # whoever takes it may read on a stream of its own
        return {
            "shape": data.shape,
            "typestr": data.dtype.str,
            "data": (data.address, False),
            "version": 3,
            "stream": data.stream or 1,  # 1 is how the interface writes the legacy default stream
        }

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = self.numpy()
        if copy is False and dtype is not None and np.dtype(dtype) != array.dtype:
            raise ValueError(
                f"a {array.dtype} batch cannot become {np.dtype(dtype)} without a copy"
            )
        return np.array(array, dtype=dtype, copy=copy)

    def numpy(self) -> NDArray[Any]:
        """Return the values as a numpy array over the same memory.

        Raises:
            UnsupportedError: for bfloat16, which numpy does not have, and for a batch on a GPU; use `.torch()` or DLPack.
        """
        if isinstance(self._data, DeviceArray):
            raise UnsupportedError(
                f'the batch is on {self.device}: .torch().cpu().numpy() or .cupy().get() copies it, device="cpu" avoids it'
            )
        if self.dtype == "bfloat16":
            raise UnsupportedError(
                'numpy has no bfloat16: use .torch() or DLPack, or Transform(dtype="float32")'
            )
        return self._data

    def torch(self) -> Any:
        """Return the values as a torch tensor over the same memory (torch must be installed)."""
        import torch

        return torch.from_dlpack(self)

    def cupy(self) -> Any:
        """Return the values of a batch on CUDA as a cupy array over the same memory (cupy must be installed)."""
        import cupy

        return cupy.from_dlpack(self)


@dataclass(frozen=True, slots=True, eq=False)
class Frame(_Tensor):
    """One frame: shape (C, H, W), or (H, W, C) with layout "NHWC".

    Attributes:
        index: frame number in the video.
        pts_seconds: when it comes on screen, container time.
        duration_seconds: how long it stays.
        dtype: "uint8", "float16", "bfloat16" or "float32".
    """

    _data: Array
    dtype: str
    index: int
    pts_seconds: float
    duration_seconds: float

    def __repr__(self) -> str:
        return f"Frame({self.index} at {self.pts_seconds:.3f} s, {self.shape}, {self.dtype}, {self.device})"


@dataclass(frozen=True, slots=True, eq=False)
class FrameBatch(_Tensor):
    """Frames as one tensor of shape (N, C, H, W), or (N, H, W, C) with layout "NHWC".

    `torch.from_dlpack(batch)`, `np.asarray(batch)`, `jax.dlpack.from_dlpack(batch)` share its memory; nothing is copied.

    Attributes:
        dtype: "uint8", "float16", "bfloat16" or "float32".
        indices: int64[N], frame numbers.
        pts_seconds: float64[N], when each frame comes on screen, container time.
        duration_seconds: float64[N], how long each stays.
        ok: bool[M], for each *requested* frame whether it was decoded; all True unless `on_error` let failures pass.
            With `on_error="skip"` the failed ones are missing from the batch, so that N = ok.sum().
        report: what it took to make it.
        error: the first failure that `on_error` let pass, or None; of `sample_many` also that the sampler does not fit the video.

    Example:
        >>> import frametap as ft
        >>> batch = ft.sample("talk.mp4", ft.Uniform(8), ft.Transform(size=(224, 224)))
        >>> batch.shape, batch.dtype
        ((8, 3, 224, 224), 'uint8')
    """

    _data: Array
    dtype: str
    indices: NDArray[np.int64]
    pts_seconds: NDArray[np.float64]
    duration_seconds: NDArray[np.float64]
    ok: NDArray[np.bool_]
    report: Report
    error: Exception | None = None

    def __len__(self) -> int:
        """Return the number of frames in the batch."""
        return len(self._data)

    def __getitem__(self, position: int) -> Frame:
        """Return one frame of the batch, over the same memory.

        Raises:
            IndexError: there is no such position.
        """
        try:
            position = operator.index(position)
        except TypeError:
            raise TypeError(
                f"a batch gives the frame at one position, got {position!r}; for several slice its values, "
                f"batch.numpy() or batch.torch()"
            ) from None
        if not -len(self) <= position < len(self):
            raise IndexError(f"position {position} is outside the batch of {len(self)} frames")
        return Frame(
            self._data[position],
            self.dtype,
            int(self.indices[position]),
            float(self.pts_seconds[position]),
            float(self.duration_seconds[position]),
        )

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames."""
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"FrameBatch({self.shape}, {self.dtype}, {self.device}, by {self.report.engine})"
