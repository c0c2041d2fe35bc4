"""DLPack capsules of `_core.export_dlpack`: what a consumer sees, and when the owner is let go."""

from __future__ import annotations

import ctypes
import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from frametap import _core

CPU = (1, 0)


class Owner:
    """Memory that says when it goes, and offers itself as numpy.from_dlpack wants it."""

    def __init__(self, array: np.ndarray, versioned: bool = True, read_only: bool = False) -> None:
        self.array = array
        self.versioned = versioned
        self.read_only = read_only

    def export(self, dtype: str | None = None) -> Any:
        name = dtype or self.array.dtype.name
        return _core.export_dlpack(
            owner=self,
            address=self.array.ctypes.data,
            shape=list(self.array.shape),
            dtype=name,
            device=CPU,
            versioned=self.versioned,
            read_only=self.read_only,
        )

    def __dlpack__(self, **_: Any) -> Any:
        return self.export()

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU


class Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class Versioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    ]


def content(capsule: Any, name: bytes, kind: type[Any]) -> Any:
    """The struct in a capsule that nobody has consumed yet."""
    get: Callable[..., int] = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]  # type: ignore[attr-defined]
    return kind.from_address(get(capsule, name))


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_numpy_reads_it_in_place(dtype: str, versioned: bool) -> None:
    array = np.arange(24).astype(dtype).reshape(2, 3, 4)
    view = np.from_dlpack(Owner(array, versioned))
    assert view.dtype == dtype
    assert view.shape == array.shape
    assert view.ctypes.data == array.ctypes.data
    array[1, 2, 3] = 77
    assert view[1, 2, 3] == 77


@pytest.mark.parametrize("versioned", [True, False])
def test_consumer_keeps_the_owner_alive(versioned: bool) -> None:
    owner = Owner(np.arange(6, dtype=np.uint8), versioned)
    gone = weakref.ref(owner)
    view = np.from_dlpack(owner)
    del owner
    gc.collect()
    assert gone() is not None
    assert list(view) == [0, 1, 2, 3, 4, 5]
    del view
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("versioned", [True, False])
def test_unconsumed_capsule_releases_the_owner(versioned: bool) -> None:
    owner = Owner(np.zeros(3, np.uint8), versioned)
    gone = weakref.ref(owner)
    capsule = owner.export()
    del owner
    gc.collect()
    assert gone() is not None
    del capsule
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("dtype", "code", "bits"),
    [("uint8", 1, 8), ("float16", 2, 16), ("bfloat16", 4, 16), ("float32", 2, 32)],
)
def test_versioned_fields(dtype: str, code: int, bits: int) -> None:
    array = np.zeros((2, 3, 5), "float32")
    capsule = Owner(array, read_only=True).export(dtype)
    managed = content(capsule, b"dltensor_versioned", Versioned)
    tensor = managed.tensor
    assert managed.major == 1
    assert managed.flags == 1
    assert (tensor.code, tensor.bits, tensor.lanes) == (code, bits, 1)
    assert tensor.data == array.ctypes.data
    assert (tensor.device_type, tensor.device_id, tensor.byte_offset) == (1, 0, 0)
    assert tensor.shape[: tensor.ndim] == [2, 3, 5]
    assert tensor.strides[: tensor.ndim] == [15, 5, 1]


def test_legacy_fields() -> None:
    capsule = Owner(np.zeros((4, 7), np.uint8), versioned=False).export("bfloat16")
    tensor = content(capsule, b"dltensor", Tensor)
    assert (tensor.code, tensor.bits, tensor.shape[:2]) == (4, 16, [4, 7])


def test_read_only_arrives() -> None:
    view = np.from_dlpack(Owner(np.zeros(3, np.uint8), read_only=True))
    assert not view.flags.writeable


def test_nonsense_is_refused() -> None:
    array = np.zeros(3, np.uint8)
    with pytest.raises(ValueError, match="int7"):
        Owner(array).export("int7")
    with pytest.raises(ValueError, match="read-only"):
        Owner(array, versioned=False, read_only=True).export()
