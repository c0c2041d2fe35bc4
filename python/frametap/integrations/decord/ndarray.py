"""`NDArray`, what readers return without a bridge, and the contexts `cpu()` and `gpu()`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray as NumpyArray

from frametap import UnsupportedError

_DLPACK_TYPES = {"cpu": 1, "gpu": 2}


@dataclass(frozen=True)
class Context:
    """Where frames are decoded and kept; make one with `cpu()` or `gpu()`."""

    device_name: str
    device_id: int

    @property
    def device_type(self) -> int:
        """DLPack's number of the device type: 1 for the CPU, 2 for CUDA."""
        return _DLPACK_TYPES[self.device_name]

    @property
    def frametap_device(self) -> str:
        """What frametap calls it."""
        return "cpu" if self.device_name == "cpu" else f"cuda:{self.device_id}"

    def __repr__(self) -> str:
        return f"{self.device_name}({self.device_id})"


def cpu(dev_id: int = 0) -> Context:
    """Return the context of the CPU."""
    return Context("cpu", dev_id)


def gpu(dev_id: int = 0) -> Context:
    """Return the context of a CUDA device."""
    return Context("gpu", dev_id)


def array(arr: Any, ctx: Context = cpu(0)) -> NDArray:  # noqa: B008 - a frozen value
    """Return an array in host memory with a copy of what numpy makes of `arr`.

    Raises:
        UnsupportedError: a GPU.
    """
    _refuse_gpu(ctx)
    return NDArray(np.array(arr), ctx)


def _refuse_gpu(context: Context) -> None:
    if context.device_name != "cpu":
        raise UnsupportedError(
            f"arrays are copied in host memory, not to {context}: give to_dlpack() to your GPU library"
        )


class NDArray:
    """A tensor in host or GPU memory that numpy (`asnumpy`) and any library with DLPack take over without a copy.

    As in decord its `len()` is the number of elements, and it is not indexed: index what `asnumpy()` returns.
    """

    def __init__(self, data: Any, context: Context) -> None:
        self._data = data  # a numpy array or a FrameBatch: both speak DLPack
        self.ctx = self.context = context

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the dimensions."""
        return tuple(self._data.shape)

    @property
    def dtype(self) -> str:
        """Name of the element type."""
        return str(self._data.dtype)

    def __len__(self) -> int:
        """Return the number of elements."""
        return math.prod(self.shape)

    def asnumpy(self) -> NumpyArray[Any]:
        """Return a numpy array: the memory itself, or a copy of what is on a GPU."""
        if self.ctx.device_name == "gpu":
            return np.asarray(self._data.torch().cpu())
        return np.asarray(self._data)

    def copyto(self, target: Context | NDArray) -> NDArray:
        """Return a copy on the CPU, or copy into an array of the same shape and return that.

        Raises:
            ValueError: another shape, or no target.
            UnsupportedError: a target on a GPU.
        """
        if isinstance(target, NDArray):
            return target.copyfrom(self)
        if not isinstance(target, Context):
            raise ValueError(f"Unsupported target type {type(target)}: copy to cpu() or an array")
        _refuse_gpu(target)
        return NDArray(self.asnumpy().copy(), target)

    def copyfrom(self, source: Any) -> NDArray:
        """Copy an array of the same shape into this one, and return it."""
        values = np.asarray(source)
        _refuse_gpu(self.ctx)
        if values.shape != self.shape:
            raise ValueError(f"array shape {values.shape} does not match this one's {self.shape}")
        np.copyto(self.asnumpy(), values, casting="unsafe")
        return self

    def __setitem__(self, key: slice, value: Any) -> None:
        if key != slice(None):
            raise ValueError("only all of an array can be set: array[:] = values")
        self.copyfrom(value)

    def same_as(self, other: Any) -> bool:
        """Whether both are the same array."""
        return self is other

    def to_dlpack(self) -> Any:
        """Return a DLPack capsule of the memory itself."""
        return self._data.__dlpack__()

    def __dlpack__(self, **arguments: Any) -> Any:
        return self._data.__dlpack__(**arguments)

    def __dlpack_device__(self) -> tuple[int, int]:
        return tuple(self._data.__dlpack_device__())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NumpyArray[Any]:
        return np.array(self.asnumpy(), dtype=dtype, copy=copy)

    def __str__(self) -> str:
        return str(self.asnumpy())

    def __repr__(self) -> str:
        return f"NDArray({self.shape}, {self.dtype}, {self.ctx})"
