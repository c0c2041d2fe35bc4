"""Batches on the GPU as others see them: DLPack, the CUDA array interface, streams, `out`, devices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import frametap as ft
from frametap import _core
from frametap.engines.device_array import DeviceArray, stream_handle
from gpu.driver import Gpu, Library, busy

SMALL = ft.Transform(size=(24, 32))
CUDA = 2  # kDLCUDA


@pytest.fixture
def batch(videos: Library) -> ft.FrameBatch:
    return ft.sample(videos["h264"], ft.Uniform(3), SMALL, device="cuda")


def test_dlpack(batch: ft.FrameBatch) -> None:
    assert batch.__dlpack_device__() == (CUDA, 0)
    for stream in (None, 1, 2, -1):
        view = _core.view_dlpack(batch.__dlpack__(stream=stream, max_version=(1, 0)))
        assert (view.address, view.device) == (batch._data.address, (CUDA, 0))
        assert (view.shape, view.dtype, view.contiguous) == ([3, 3, 24, 32], "uint8", True)
    with pytest.raises(BufferError, match="not on DLPack device"):
        batch.__dlpack__(dl_device=(1, 0))
    with pytest.raises(BufferError, match="copy"):
        batch.__dlpack__(copy=True)


def test_cuda_array_interface(batch: ft.FrameBatch, videos: Library) -> None:
    interface = batch.__cuda_array_interface__
    assert interface["shape"] == (3, 3, 24, 32)
    assert (interface["typestr"], interface["version"], interface["stream"]) == ("|u1", 3, 1)
    assert interface["data"] == (batch._data.address, False)
    assert not hasattr(
        ft.sample(videos["h264"], ft.Uniform(1), device="cpu"), "__cuda_array_interface__"
    )


def test_it_is_no_numpy_array(batch: ft.FrameBatch) -> None:
    assert batch.device == "cuda:0"
    with pytest.raises(ft.UnsupportedError, match=r'cuda:0.*device="cpu"'):
        batch.numpy()
    with pytest.raises(ft.UnsupportedError):
        np.asarray(batch)


def test_frames_of_a_batch_are_views(batch: ft.FrameBatch) -> None:
    data: Any = batch._data
    assert [frame._data.address for frame in batch] == [
        data.address + i * 3 * 24 * 32 for i in range(3)
    ]


class TorchStream:
    def __init__(self, handle: int) -> None:
        self.cuda_stream = handle


class CupyStream:
    def __init__(self, handle: int) -> None:
        self.ptr = handle


class CoreStream:
    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._handle


@pytest.mark.parametrize("kind", [int, TorchStream, CupyStream, CoreStream])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_streams(videos: Library, driver: Gpu, kind: Any, seed: int) -> None:
    if driver.emulator is not None:
        driver.emulator.set(seed=seed)
    stream = _core.CudaStream(_core.CudaDevice.get(0))
    batch = ft.sample(
        videos["h264"], ft.Uniform(4), SMALL, device="cuda", stream=kind(stream.handle)
    )
    expected = ft.sample(videos["h264"], ft.Uniform(4), SMALL, device="cpu")
    np.testing.assert_array_equal(driver.host(batch), expected.numpy())  # read on that stream
    del batch


def test_no_stream() -> None:
    assert (stream_handle(None), stream_handle(1)) == (0, 0)
    with pytest.raises(TypeError, match="stream must be"):
        stream_handle("default")
    with pytest.raises(ValueError, match="stream must be"):
        stream_handle(-1)
    with pytest.raises(ValueError, match="per-thread"):
        stream_handle(2)


class Tensor:
    """A consumer's tensor, as DLPack shows it."""

    def __init__(self, shape: tuple[int, ...], dtype: str = "uint8") -> None:
        device = _core.CudaDevice.get(0)
        self.array = DeviceArray.empty(device, shape, np.dtype(dtype), 0)
        self.dtype = dtype

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, 0

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None) -> Any:
        array = self.array
        return _core.export_dlpack(
            array, array.address, list(array.shape), self.dtype, (CUDA, 0), True, False
        )


def test_out(videos: Library, driver: Gpu) -> None:
    out = Tensor((4, 3, 24, 32))
    batch = ft.sample(videos["h264"], ft.Uniform(4), SMALL, device="cuda", out=out)
    assert batch._data.address == out.array.address
    expected = ft.sample(videos["h264"], ft.Uniform(4), SMALL, device="cpu")
    np.testing.assert_array_equal(driver.host(batch), expected.numpy())


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (lambda: Tensor((4, 3, 24, 33)), "the batch needs"),
        (lambda: Tensor((4, 3, 24, 32), "float32"), "the batch needs"),
        (lambda: np.zeros((4, 3, 24, 32), np.uint8), "DLPack|device"),
        (object, "must be a CUDA tensor"),
    ],
)
def test_out_that_does_not_fit(videos: Library, out: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ft.sample(videos["h264"], ft.Uniform(4), SMALL, device="cuda", out=out())


def test_devices(videos: Library) -> None:
    for device in ("auto", "cuda", "cuda:0"):
        batch = ft.sample(videos["h264"], ft.Uniform(1), SMALL, device=device)
        assert batch.device == "cuda:0"
    with pytest.raises(ft.DeviceError, match=r'device="cuda:9".*does not exist'):
        ft.open(videos["h264"], device="cuda:9")
    with pytest.raises(ValueError, match="hybrid"):
        ft.open(videos["h264"], device="cuda", engine="cpu")
    with pytest.raises(ValueError, match="CUDA device"):
        ft.open(videos["h264"], device="cpu", engine="nvdec")


def test_second_gpu(videos: Library, driver: Gpu) -> None:
    if _core.CudaDevice.count() < 2:
        pytest.skip("one GPU")
    batch = ft.sample(videos["h264"], ft.Uniform(3), SMALL, device="cuda:1")
    assert (batch.device, batch.__dlpack_device__()) == ("cuda:1", (CUDA, 1))
    expected = ft.sample(videos["h264"], ft.Uniform(3), SMALL, device="cpu")
    np.testing.assert_array_equal(driver.host(batch), expected.numpy())


# --- the libraries themselves: their CUDA halves need a real driver ---------------------------------------------------


@pytest.fixture
def cupy() -> Any:
    return pytest.importorskip("cupy", reason="cupy is not installed")


def on_cpu(videos: Library, transform: ft.Transform = SMALL) -> np.ndarray[Any, Any]:
    return np.asarray(ft.sample(videos["h264"], ft.Uniform(4), transform, device="cpu")._data)


def on_gpu(videos: Library, transform: ft.Transform = SMALL, **options: Any) -> ft.FrameBatch:
    return ft.sample(videos["h264"], ft.Uniform(4), transform, device="cuda", **options)


@pytest.mark.gpu
def test_torch_shares_the_memory(videos: Library, torch: Any) -> None:
    batch = on_gpu(videos)
    tensor = batch.torch()
    assert (tensor.device.type, tensor.device.index) == ("cuda", 0)
    assert tensor.data_ptr() == batch._data.address
    del batch  # the tensor keeps the memory
    torch.cuda.empty_cache()
    np.testing.assert_array_equal(tensor.cpu().numpy(), on_cpu(videos))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_torch_dtypes(videos: Library, torch: Any, dtype: str) -> None:
    transform = ft.Transform(size=(24, 32), dtype=dtype)  # type: ignore[arg-type]
    tensor = on_gpu(videos, transform).torch()
    assert tensor.dtype == getattr(torch, dtype)
    bits = tensor.view(torch.int16 if dtype != "float32" else torch.int32).cpu().numpy()
    expected = on_cpu(videos, transform)
    np.testing.assert_array_equal(bits, expected.view(bits.dtype))


@pytest.mark.gpu
@pytest.mark.parametrize("take", ["cupy", "from_dlpack", "asarray"])
def test_cupy_shares_the_memory(videos: Library, cupy: Any, take: str) -> None:
    batch = on_gpu(videos)
    array = batch.cupy() if take == "cupy" else getattr(cupy, take)(batch)
    assert array.data.ptr == batch._data.address
    np.testing.assert_array_equal(array.get(), on_cpu(videos))


@pytest.mark.gpu
def test_out_is_a_torch_tensor(videos: Library, torch: Any) -> None:
    out = torch.full((4, 3, 24, 32), 7, dtype=torch.uint8, device="cuda")
    batch = on_gpu(videos, out=out)
    assert batch._data.address == out.data_ptr()
    np.testing.assert_array_equal(out.cpu().numpy(), on_cpu(videos))
    wider = torch.empty(4, 3, 24, 64, dtype=torch.uint8, device="cuda")
    with pytest.raises(ValueError, match="contiguous"):
        on_gpu(videos, out=wider[..., ::2])
    with pytest.raises(ValueError, match="the batch needs"):
        on_gpu(videos, out=out.float())
    with pytest.raises(ValueError, match="device"):
        on_gpu(videos, out=out.cpu())


@pytest.mark.gpu
def test_out_is_a_cupy_array(videos: Library, cupy: Any) -> None:
    out = cupy.zeros((4, 3, 24, 32), cupy.uint8)
    batch = on_gpu(videos, out=out)
    assert batch._data.address == out.data.ptr
    np.testing.assert_array_equal(out.get(), on_cpu(videos))


@pytest.mark.gpu
def test_torch_streams(videos: Library, torch: Any) -> None:
    """What is read on the caller's stream is complete, without the host waiting, however long that stream was busy."""
    stream = torch.cuda.Stream()
    for _ in range(10):
        with torch.cuda.stream(stream):
            busy(torch)
            copy = on_gpu(videos, stream=stream).torch().clone()
        stream.synchronize()
        np.testing.assert_array_equal(copy.cpu().numpy(), on_cpu(videos))


@pytest.mark.gpu
def test_out_that_its_stream_still_writes(videos: Library, torch: Any) -> None:
    """`out` is filled by work that is queued on the stream: the batch comes after that, not before."""
    stream = torch.cuda.Stream()
    out = torch.empty(4, 3, 24, 32, dtype=torch.uint8, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        busy(torch)
        out.fill_(7)
        on_gpu(videos, stream=stream, out=out)
    stream.synchronize()
    np.testing.assert_array_equal(out.cpu().numpy(), on_cpu(videos))


@pytest.mark.gpu
def test_cupy_streams(videos: Library, cupy: Any) -> None:
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        array = cupy.from_dlpack(on_gpu(videos, stream=stream)).copy()
    stream.synchronize()
    np.testing.assert_array_equal(array.get(), on_cpu(videos))


@pytest.mark.gpu
def test_a_batch_may_go_while_another_stream_reads_it(videos: Library, torch: Any) -> None:
    """DLPack to a busy stream, then nothing holds the batch any more, and the next batch must not get its memory early."""
    stream = torch.cuda.Stream()
    for _ in range(10):
        with torch.cuda.stream(stream):
            batch = on_gpu(videos)
            tensor = torch.from_dlpack(batch)
            busy(torch)
            copy = tensor.clone()
        del batch, tensor
        others = [on_gpu(videos, ft.Transform(size=(24, 32), color="bgr")) for _ in range(4)]
        stream.synchronize()
        np.testing.assert_array_equal(copy.cpu().numpy(), on_cpu(videos))
        del others
