"""`out` that has the CUDA array interface alone, as Numba's arrays do."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import frametap as ft
from frametap import _core
from frametap.engines.device_array import DeviceArray
from gpu.driver import Gpu, Library

SMALL = ft.Transform(size=(24, 32))
SHAPE = (48, 3, 24, 32)


class Interface:
    """A consumer's array, as the CUDA array interface shows it."""

    def __init__(
        self, shape: tuple[int, ...] = SHAPE, dtype: str = "uint8", gpu: int = 0, **changes: Any
    ) -> None:
        self.array = DeviceArray.empty(_core.CudaDevice.get(gpu), shape, np.dtype(dtype), 0)
        self.asked_by: list[int] = []
        self._changes = changes

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        self.asked_by.append(threading.get_ident())
        array = self.array
        interface = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.address, False),
            "version": 3,
            "strides": None,
            "stream": None,
        }
        return {**interface, **self._changes}


def misshapen(shape: Any) -> Interface:
    out = Interface()
    out._changes["shape"] = shape
    return out


def on_gpu(videos: Library, out: Any, **options: Any) -> ft.FrameBatch:
    return ft.sample(videos["h264"], ft.Every(1), SMALL, device="cuda", out=out, **options)


@pytest.fixture
def expected(videos: Library) -> Any:
    return ft.sample(videos["h264"], ft.Every(1), SMALL, device="cpu").numpy()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"strides": (3 * 24 * 32, 24 * 32, 32, 1)},
        {"stream": 1},
        {"version": 2},
        {"mask": None},
    ],
    ids=str,
)
def test_out(videos: Library, driver: Gpu, expected: Any, changes: dict[str, Any]) -> None:
    out = Interface(**changes)
    batch = on_gpu(videos, out)
    assert batch._data.address == out.array.address
    np.testing.assert_array_equal(driver.host(batch), expected)
    assert set(out.asked_by) == {threading.get_ident()}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["created", "legacy default", "per-thread default"])
def test_what_its_stream_still_writes_comes_first(
    videos: Library, driver: Gpu, expected: Any, kind: str, seed: int
) -> None:
    if driver.emulator is not None:
        driver.emulator.set(seed=seed)
    device = _core.CudaDevice.get(0)
    created, caller = _core.CudaStream(device), _core.CudaStream(device)
    stream = {"created": created.handle, "legacy default": 1, "per-thread default": 2}[kind]
    out, other = Interface(stream=stream), Interface()
    device.order(0, stream)  # they were allocated on the default stream
    for _ in range(20):
        device.copy(out.array.address, other.array.address, out.array.nbytes, stream)
    batch = on_gpu(videos, out, stream=caller.handle)
    np.testing.assert_array_equal(driver.host(batch), expected)
    for done in (stream, caller.handle):
        device.order(done, 0)  # on which they are freed


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Interface(stream=0), "stream 0"),
        (lambda: Interface(stream=-5), "stream"),
        (lambda: Interface(stream="mine"), "stream"),
        (lambda: Interface((48, 3, 24, 33)), "the batch needs"),
        (lambda: Interface(dtype="float32"), "the batch needs"),
        (lambda: Interface(typestr="<i1"), "the batch needs"),
        (lambda: Interface(typestr=">f4"), "byte order"),
        (lambda: Interface(strides=(1, 48, 144, 3456)), "not contiguous"),
        (lambda: Interface(strides=(1,)), "strides"),
        (lambda: Interface(mask=object()), "mask"),
        (lambda: Interface(data=None), "data"),
        (lambda: Interface(typestr="nonsense"), "typestr"),
        (lambda: Interface(typestr=None), "typestr"),
        (lambda: misshapen((4.5, 3, 24, 32)), "shape"),
        (lambda: Interface(data=(-64, False)), "data"),
        (lambda: misshapen(7), "shape"),
        (lambda: Interface(data=(np.zeros(4).ctypes.data, False)), "no memory of a GPU"),
        (object, "must be a CUDA tensor"),
    ],
)
def test_out_that_does_not_fit(videos: Library, make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"out .*{message}"):
        on_gpu(videos, make())


def test_out_that_is_read_only(videos: Library) -> None:
    out = Interface()
    out._changes["data"] = (out.array.address, True)
    with pytest.raises(ValueError, match="out is read-only"):
        on_gpu(videos, out)


def test_out_on_another_gpu(videos: Library) -> None:
    if _core.CudaDevice.count() < 2:
        pytest.skip("one GPU")
    with pytest.raises(ValueError, match="out is on cuda:1"):
        on_gpu(videos, Interface(gpu=1))


class Tensor(Interface):
    """The same as DLPack shows it; who knows DLPack is asked by it."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None) -> Any:
        self.asked_by.append(threading.get_ident())
        array = self.array
        return _core.export_dlpack(
            array, array.address, list(array.shape), "uint8", (2, 0), True, False
        )


def test_dlpack_is_asked_on_the_thread_of_the_caller(
    videos: Library, driver: Gpu, expected: Any
) -> None:
    """The stream that a library calls its current one is another in each thread."""
    for _ in range(5):
        out = Tensor(data=None)
        np.testing.assert_array_equal(driver.host(on_gpu(videos, out)), expected)
        assert set(out.asked_by) == {threading.get_ident()}


class CreatedStream:
    """A library's stream: destroyed when nobody holds it."""

    def __init__(self) -> None:
        self._stream = _core.CudaStream(_core.CudaDevice.get(0))
        self.ptr = self._stream.handle


@pytest.mark.parametrize("case", ["fresh", "out", "skip"])
def test_a_batch_keeps_its_stream(videos: Library, case: str) -> None:
    data = bytearray(videos["h264"].read_bytes())
    if case == "skip":
        index = ft.FrameIndex.build(videos["h264"])
        at = int(index.packet_position[30])
        data[at : at + int(index.packet_size[30])] = b"\xff" * int(index.packet_size[30])
    stream = CreatedStream()
    alive = weakref.ref(stream)
    batch = ft.sample(
        bytes(data), ft.Every(1), SMALL, device="cuda", stream=stream,
        out=Interface() if case == "out" else None, on_error="skip" if case == "skip" else "raise",
    )  # fmt: skip
    assert batch.ok.all() == (case != "skip")
    del stream
    gc.collect()
    assert alive() is not None
    del batch
    gc.collect()
    assert alive() is None


@pytest.mark.emulated
@pytest.mark.parametrize("call", [1, 2])
def test_asking_where_it_is_may_fail(
    videos: Library, driver: Gpu, expected: Any, call: int
) -> None:
    assert driver.emulator is not None
    out = Interface()
    with (
        driver.emulator.fault("cuPointerGetAttribute", 999, call),
        pytest.raises(ft.DeviceError, match=r"cuPointerGetAttribute.*999"),
    ):
        on_gpu(videos, out)
    np.testing.assert_array_equal(driver.host(on_gpu(videos, out)), expected)
