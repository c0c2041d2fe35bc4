"""`FrameBatch` and `Frame` as tensors: shapes, protocols, whose memory it is, and memory the caller brings."""

from __future__ import annotations

import gc
import pickle
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import frametap as ft
from clips import ClipLibrary
from frametap import output
from frametap._core import export_dlpack

CPU = (1, 0)
SAMPLER = ft.Indices([3, 30, 3])
SMALL = ft.Transform(size=(24, 32))


def make(clips: ClipLibrary, sampler: Any = SAMPLER, **transform: Any) -> ft.FrameBatch:
    return ft.sample(clips["h264"], sampler, ft.Transform(size=(24, 32), **transform))


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


@pytest.mark.parametrize(
    ("options", "shape", "dtype"),
    [
        ({}, (3, 3, 24, 32), "uint8"),
        ({"layout": "NHWC"}, (3, 24, 32, 3), "uint8"),
        ({"color": "gray"}, (3, 1, 24, 32), "uint8"),
        ({"dtype": "float16"}, (3, 3, 24, 32), "float16"),
        ({"dtype": "float32", "layout": "NHWC", "color": "gray"}, (3, 24, 32, 1), "float32"),
    ],
)
def test_shape_and_dtype(
    clips: ClipLibrary, options: dict[str, Any], shape: tuple[int, ...], dtype: str
) -> None:
    batch = make(clips, **options)
    assert (batch.shape, batch.dtype, batch.device, len(batch)) == (shape, dtype, "cpu", 3)
    array = batch.numpy()
    assert (array.shape, array.dtype, batch.nbytes) == (shape, dtype, array.nbytes)
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert_array_equal(batch.indices, [3, 30, 3])
    assert batch.indices.dtype == np.int64
    assert batch.pts_seconds == pytest.approx([3 / 24, 30 / 24, 3 / 24])
    assert batch.duration_seconds == pytest.approx([1 / 24] * 3)
    assert batch.ok.tolist() == [True] * 3
    assert batch.error is None
    assert batch.report.engine == "cpu"
    assert batch.report.why
    assert batch.report.peak_staging_bytes == 0


def test_frames_of_a_batch(clips: ClipLibrary) -> None:
    batch = make(clips)
    frames = list(batch)
    assert [frame.index for frame in frames] == [3, 30, 3]
    assert frames[1].pts_seconds == batch.pts_seconds[1]
    assert frames[1].shape == (3, 24, 32)
    assert np.shares_memory(frames[1].numpy(), batch.numpy())
    assert_array_equal(batch[-1].numpy(), batch.numpy()[2])
    for outside in (3, -4):
        with pytest.raises(IndexError, match="batch of 3 frames"):
            batch[outside]
    assert "(3, 3, 24, 32)" in repr(batch)
    assert "1.250 s" in repr(frames[1])


@pytest.mark.parametrize("key", [slice(0, 1), 1.5, "a", np.array([0, 1]), None], ids=repr)
def test_a_batch_is_indexed_by_position(clips: ClipLibrary, key: Any) -> None:
    batch = ft.sample(clips["h264"], ft.Uniform(2))
    assert batch[np.int64(-1)].index == 47
    with pytest.raises(TypeError, match=r"one position.*slice its values, batch\.numpy\(\)"):
        batch[key]


def test_duplicates_are_copies(clips: ClipLibrary) -> None:
    array = make(clips).numpy()
    assert_array_equal(array[0], array[2])
    array[0] = 0
    assert array[2].any()


class TestEmpty:
    @pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
    def test_no_frames(self, clips: ClipLibrary, layout: str) -> None:
        transform = ft.Transform(size=(24, 32), layout=layout)  # type: ignore[arg-type]
        with ft.open(clips["rotate90"], transform=transform) as video:
            for batch in (video.frames_at([]), video[5:5], video.frames_played_at([])):
                assert batch.shape == ((0, 3, 24, 32) if layout == "NCHW" else (0, 24, 32, 3))
                assert len(batch.indices) == len(batch.pts_seconds) == len(batch.ok) == 0
                assert list(batch) == []
                assert np.from_dlpack(batch).shape == batch.shape

    def test_own_size(self, clips: ClipLibrary) -> None:
        with ft.open(clips["rotate90"]) as video:
            assert video[0:0].shape == (0, *video[0].shape) == (0, 3, 160, 120)


class TestNumpy:
    def test_asarray_shares_memory(self, clips: ClipLibrary) -> None:
        batch = make(clips)
        assert np.shares_memory(np.asarray(batch), batch.numpy())
        assert np.shares_memory(np.asarray(batch[0]), batch.numpy())
        assert np.shares_memory(np.array(batch, copy=False), batch.numpy())

    def test_array_copies(self, clips: ClipLibrary) -> None:
        batch = make(clips)
        copy = np.array(batch)
        assert not np.shares_memory(copy, batch.numpy())
        assert_array_equal(copy, batch.numpy())

    def test_to_another_dtype(self, clips: ClipLibrary) -> None:
        batch = make(clips)
        assert np.asarray(batch, dtype=np.float32).dtype == np.float32
        assert_array_equal(np.asarray(batch, np.int64), batch.numpy())
        with pytest.raises(ValueError, match="without a copy"):
            np.array(batch, dtype=np.float32, copy=False)

    def test_arithmetic(self, clips: ClipLibrary) -> None:
        batch = make(clips)
        assert np.mean(batch) == batch.numpy().mean()  # type: ignore[call-overload]
        assert_array_equal(np.stack(list(batch)), batch.numpy())


class TestDlpack:
    def test_from_dlpack_shares_memory(self, clips: ClipLibrary) -> None:
        for tensor in (make(clips), make(clips)[1], make(clips, dtype="float16")):
            view = np.from_dlpack(tensor)
            assert view.shape == tensor.shape
            assert view.dtype == tensor.dtype
            assert np.shares_memory(view, tensor.numpy())
            assert view.flags.writeable

    def test_memory_outlives_the_batch(self, clips: ClipLibrary) -> None:
        batch = make(clips)
        expected = batch.numpy().copy()
        views = [np.from_dlpack(batch), np.from_dlpack(batch[1]), batch.numpy(), batch[1].numpy()]
        del batch
        gc.collect()
        scratch = [
            np.full(expected.shape, 7, np.uint8) for _ in range(20)
        ]  # would land in freed memory
        assert_array_equal(views[0], expected)
        assert_array_equal(views[1], expected[1])
        assert_array_equal(views[3], expected[1])
        del scratch

    def test_versions(self, clips: ClipLibrary) -> None:
        batch = make(clips)
        assert batch.__dlpack_device__() == CPU
        assert '"dltensor"' in repr(batch.__dlpack__())
        assert '"dltensor"' in repr(batch.__dlpack__(max_version=(0, 8)))
        assert '"dltensor_versioned"' in repr(batch.__dlpack__(max_version=(1, 0)))
        assert '"dltensor_versioned"' in repr(
            batch.__dlpack__(max_version=(2, 0), dl_device=CPU, copy=False)
        )

    @pytest.mark.parametrize(
        "request_", [{"copy": True}, {"dl_device": (2, 0)}, {"stream": 1}], ids=str
    )
    def test_what_it_cannot_do(self, clips: ClipLibrary, request_: dict[str, Any]) -> None:
        with pytest.raises(BufferError):
            make(clips).__dlpack__(**request_)

    def test_torch(self, clips: ClipLibrary) -> None:
        torch = pytest.importorskip("torch")
        batch = make(clips, dtype="bfloat16")
        assert batch.torch().dtype == torch.bfloat16
        assert make(clips).torch().data_ptr() != batch.torch().data_ptr()


class TestBfloat16:
    def test_rounds_to_nearest_even(self, clips: ClipLibrary) -> None:
        half = make(clips, dtype="bfloat16", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))
        full = make(clips, dtype="float32", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2)).numpy()
        bits = full.view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        assert_array_equal(half._data, rounded.astype(np.uint16))
        assert np.abs(bfloat16_to_float32(half._data) - full).max() <= np.abs(full).max() / 256

    def test_numpy_says_what_to_do(self, clips: ClipLibrary) -> None:
        batch = make(clips, dtype="bfloat16")
        assert (batch.dtype, batch.shape, batch.nbytes) == (
            "bfloat16",
            (3, 3, 24, 32),
            3 * 3 * 24 * 32 * 2,
        )
        for convert in (np.asarray, lambda b: b.numpy(), lambda b: b[0].numpy()):
            with pytest.raises(
                ft.UnsupportedError, match=r"no bfloat16: use \.torch\(\) or DLPack"
            ):
                convert(batch)


class Tensor:
    """Somebody else's tensor: DLPack and nothing else."""

    def __init__(
        self,
        array: np.ndarray,
        versioned: bool = True,
        read_only: bool = False,
        device: tuple[int, int] = CPU,
    ) -> None:
        self.array, self.versioned, self.read_only, self.device = (
            array,
            versioned,
            read_only,
            device,
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **_: Any) -> Any:
        array = self.array
        return export_dlpack(
            array,
            array.ctypes.data,
            list(array.shape),
            array.dtype.name,
            CPU,
            self.versioned,
            self.read_only,
        )


class TestOut:
    shape = (3, 3, 24, 32)

    def fill(self, clips: ClipLibrary, out: Any, **options: Any) -> ft.FrameBatch:
        return ft.sample(clips["h264"], SAMPLER, SMALL, out=out, **options)

    def test_numpy(self, clips: ClipLibrary) -> None:
        out = np.zeros(self.shape, np.uint8)
        batch = self.fill(clips, out)
        assert_array_equal(out, make(clips).numpy())
        assert np.shares_memory(batch.numpy(), out)

    def test_part_of_a_larger_array(self, clips: ClipLibrary) -> None:
        ring = np.full((9, *self.shape[1:]), 5, np.uint8)
        self.fill(clips, ring[3:6])
        assert_array_equal(ring[3:6], make(clips).numpy())
        assert (ring[:3] == 5).all()
        assert (ring[6:] == 5).all()

    def test_an_earlier_batch(self, clips: ClipLibrary) -> None:
        earlier = make(clips, sampler=ft.Indices([7, 8, 9]))
        self.fill(clips, earlier)
        assert_array_equal(earlier.numpy(), make(clips).numpy())

    @pytest.mark.parametrize("versioned", [True, False])
    def test_dlpack(self, clips: ClipLibrary, versioned: bool) -> None:
        array = np.zeros(self.shape, np.uint8)
        batch = self.fill(clips, Tensor(array, versioned))
        assert_array_equal(array, make(clips).numpy())
        assert batch.numpy().ctypes.data == array.ctypes.data

    @pytest.mark.parametrize("versioned", [True, False])
    def test_the_batch_keeps_it_alive(self, clips: ClipLibrary, versioned: bool) -> None:
        batch = self.fill(clips, Tensor(np.zeros(self.shape, np.uint8), versioned))
        expected = make(clips).numpy()
        gc.collect()
        scratch = [
            np.full(self.shape, 7, np.uint8) for _ in range(50)
        ]  # would land in freed memory
        assert_array_equal(batch.numpy(), expected)
        del scratch

    def test_torch(self, clips: ClipLibrary) -> None:
        torch = pytest.importorskip("torch")
        out = torch.zeros(self.shape, dtype=torch.uint8)
        self.fill(clips, out)
        assert_array_equal(out.numpy(), make(clips).numpy())
        turned = torch.zeros((24, 3, 3, 32), dtype=torch.uint8).permute(1, 2, 0, 3)
        with pytest.raises(ValueError, match="not contiguous"):
            self.fill(clips, turned)

    @pytest.mark.parametrize(
        "shape", [(2, 3, 24, 32), (3, 24, 32, 3), (3, 3, 24, 33), (3 * 3 * 24 * 32,)]
    )
    def test_other_shape(self, clips: ClipLibrary, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"out has shape .*the batch needs \(3, 3, 24, 32\)"):
            self.fill(clips, np.zeros(shape, np.uint8))

    @pytest.mark.parametrize("dtype", ["int8", "float32", "uint16", "bool"])
    def test_other_dtype(self, clips: ClipLibrary, dtype: str) -> None:
        with pytest.raises(ValueError, match=f"dtype {dtype}, the batch needs .* and uint8"):
            self.fill(clips, np.zeros(self.shape, dtype))

    def test_byte_order(self, clips: ClipLibrary) -> None:
        transform = ft.Transform(size=(24, 32), dtype="float32")
        with pytest.raises(ValueError, match=r"the batch needs .* and float32"):
            ft.sample(clips["h264"], SAMPLER, transform, out=np.zeros(self.shape, ">f4"))

    def test_read_only(self, clips: ClipLibrary) -> None:
        out = np.zeros(self.shape, np.uint8)
        out.flags.writeable = False
        for tensor in (out, Tensor(np.zeros(self.shape, np.uint8), read_only=True)):
            with pytest.raises(ValueError, match="read-only"):
                self.fill(clips, tensor)

    def test_gaps(self, clips: ClipLibrary) -> None:
        wide = np.zeros((3, 3, 24, 64), np.uint8)
        for out in (wide[..., ::2], wide[..., :32], np.asfortranarray(wide[..., :32])):
            with pytest.raises(ValueError, match="not contiguous"):
                self.fill(clips, out)
        assert not wide.any()

    def test_gaps_behind_dlpack(self, clips: ClipLibrary) -> None:
        class Strided(Tensor):
            def __dlpack__(self, **_: Any) -> Any:
                return self.array.__dlpack__()  # numpy's own: unversioned, with strides

        wide = np.zeros((3, 3, 24, 64), np.uint8)
        for out in (wide[..., ::2], wide[..., :32]):
            with pytest.raises(ValueError, match="not contiguous"):
                self.fill(clips, Strided(out))
        assert not wide.any()

    def test_other_device(self, clips: ClipLibrary) -> None:
        with pytest.raises(ValueError, match=r"not in host memory \(DLPack device \(2, 0\)\)"):
            self.fill(clips, Tensor(np.zeros(self.shape, np.uint8), device=(2, 0)))

    @pytest.mark.parametrize(
        "out", [b"x" * 6912, [0], 3, "numpy"], ids=["bytes", "list", "int", "str"]
    )
    def test_no_tensor(self, clips: ClipLibrary, out: Any) -> None:
        with pytest.raises(ValueError, match="must be a numpy array or a tensor with DLPack, got"):
            self.fill(clips, out)


@pytest.mark.parametrize(
    "value",
    [
        ft.Transform(
            size=224,
            crop=ft.CenterCrop((200, 200)),
            dtype="float16",
            mean=(0.5, 0.5, 0.5),
            std=(0.2, 0.2, 0.2),
        ),
        ft.Transform(size=ft.PixelBudget(min_pixels=3136, max_pixels=50_000)),
        ft.Uniform(8),
        ft.Rate(2, max_frames=64),
        ft.Clips(2, 4, 2, random=True, seed=3),
        ft.Indices([1, 2, 3]),
        ft.Keyframes(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_can_be_pickled(value: Any) -> None:
    assert pickle.loads(pickle.dumps(value)) == value


def test_a_plan_can_be_pickled(clips: ClipLibrary) -> None:
    with ft.open(clips["h264"]) as video:
        plan = video.plan(ft.Uniform(5))
    loaded = pickle.loads(pickle.dumps(plan))
    assert str(loaded) == str(plan)
    assert_array_equal(loaded.frames, plan.frames)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float32"])
def test_memory_is_aligned_as_tensorflow_and_xla_want_it(dtype: Any) -> None:
    for count in range(1, 20):  # numpy gives an empty array no address of its own
        batch = output.allocate((count, 3, 5, 7), dtype)
        assert batch.ctypes.data % 64 == 0
        assert batch.shape == (count, 3, 5, 7)
        assert batch.flags.c_contiguous
        assert batch.flags.writeable
