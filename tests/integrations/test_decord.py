"""The decord stand-in: what decord's own unit tests ask of a reader, a loader and bridges, and decord 0.6 beside it.

Left out of the comparison are clips on which decord itself is wrong or fails: MPEG-2, MPEG-4 with B-frames, open GOPs, transport
streams, AVI, FLV, WMV, intra refresh, AV1 and raw streams. Pixels of 4:4:4 are equal; where chroma is interpolated both are
approximations, and frames must lie far nearer to each other than to their neighbours.
"""

from __future__ import annotations

import copy
import io
import pickle
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import frametap as ft
from clips import ClipLibrary
from frametap.integrations import decord
from integrations.real import real
from integrations.test_torch_dataset import damage

theirs = real("decord")
torch = real("torch")

CLIPS = (
    "h264", "hevc", "vp8", "vp9", "mjpeg", "prores", "h264_intra", "h264_pyramid", "h264_mkv", "h264_fragmented", "vfr", "ntsc",
    "late_start", "late_start_mp4", "edit_list", "one_frame", "rotate90", "rotate180", "rotate270", "odd_size", "h264_10bit",
    "bt709", "full_range", "interlaced", "two_tracks", "best_track_last", "long",
)  # fmt: skip
EXACT = ("h264_444", "ffv1", "hevc_gbr", "hevc_12bit_444")
SIZE = {"width": 80, "height": 60}


@pytest.fixture(autouse=True)
def native() -> Iterator[None]:
    yield
    decord.bridge.reset_bridge()
    theirs.bridge.reset_bridge()


@pytest.fixture(params=[*CLIPS, *EXACT])
def clip(request: pytest.FixtureRequest, clips: ClipLibrary) -> Path:
    return clips[request.param]


def pixels(array: Any) -> Any:
    return array.asnumpy().astype(np.int16)


# --- beside decord ----------------------------------------------------------------------------------------------------


def test_frames(clip: Path) -> None:
    expected, reader = theirs.VideoReader(str(clip)), decord.VideoReader(str(clip))
    count = len(expected)
    assert len(reader) == count
    numbers = [0, count - 1, count // 2, -1, count // 2, count // 3]
    found, wanted = pixels(reader.get_batch(numbers)), pixels(expected.get_batch(numbers))
    assert found.shape == wanted.shape
    difference = np.abs(found - wanted).mean(axis=(1, 2, 3))
    assert difference.max() <= (
        0 if clip.stem in EXACT else 3
    )  # of 255; another frame of these clips differs by 40


def test_times_and_keyframes(clip: Path) -> None:
    expected, reader = theirs.VideoReader(str(clip)), decord.VideoReader(str(clip))
    assert reader.get_key_indices() == expected.get_key_indices()
    assert reader.get_avg_fps() == pytest.approx(expected.get_avg_fps(), rel=1e-6)
    everything = list(range(len(expected)))
    found, wanted = reader.get_frame_timestamp(everything), expected.get_frame_timestamp(everything)
    assert found.dtype == wanted.dtype
    # decord gives frames of a varying rate one nominal duration, and some of a fragmented file none.
    ends = slice(0, 1 if clip.stem in ("vfr", "h264_fragmented") else 2)
    np.testing.assert_allclose(found[:, ends], (wanted - wanted[0, 0])[:, ends], atol=1e-5)
    np.testing.assert_array_equal(reader.get_frame_timestamp(slice(0, 3)), found[:3])
    np.testing.assert_array_equal(reader.get_frame_timestamp(-1), found[-1])


@pytest.mark.parametrize(("width", "height"), [(80, 60), (81, -1), (-1, 60), (300, 200), (0, 0)])
def test_sizes(width: int, height: int, clips: ClipLibrary) -> None:
    for name in ("h264_444", "rotate90"):
        arguments = {"width": width, "height": height}
        wanted = pixels(theirs.VideoReader(str(clips[name]), **arguments)[7])
        found = pixels(decord.VideoReader(str(clips[name]), **arguments)[7])
        assert found.shape == wanted.shape
        if name == "h264_444":
            assert np.abs(found - wanted).max() <= 4


# Sequences of calls, and the frames that `next` then gives; as decord does, but for `seek`, which goes to a keyframe *after* the
# position there.
STEPS: list[list[Any]] = [
    ["next", "next", "next"],
    [("seek_accurate", 13), "next", "next"],
    ["next", ("skip_frames", 3), "next"],
    ["next", ("skip_frames", 5), "next", ("skip_frames", 30), "next"],
    [("__getitem__", 1), ("__getitem__", 4), "next", ("__getitem__", 14), ("__getitem__", 3)],
    [("skip_frames",), "next"],
    [("__getitem__", 10), "next", "next"],
    [("get_batch", [10, 20]), "next"],
    ["next", "next", ("get_batch", [10, 20]), "next"],
    [("seek_accurate", 47), "next", "next"],
    [("skip_frames", 100), "next"],
    [("seek_accurate", 5), "next", ("seek_accurate", 5), "next", ("__getitem__", -2), "next"],
]


def walk(reader: Any, steps: list[Any]) -> list[Any]:
    seen: list[Any] = []
    for step in steps:
        name, *arguments = step if isinstance(step, tuple) else (step,)
        try:
            result = getattr(reader, name)(*arguments)
        except StopIteration:
            seen.append("end")
            continue
        if name in ("next", "__getitem__"):
            seen.append(result.asnumpy())
    return seen


@pytest.mark.parametrize("steps", STEPS, ids=str)
def test_walking(steps: list[Any], clips: ClipLibrary) -> None:
    path = str(clips["h264_444"])
    expected, found = walk(theirs.VideoReader(path), steps), walk(decord.VideoReader(path), steps)
    assert len(found) == len(expected)
    for frame, reference in zip(found, expected, strict=True):
        np.testing.assert_array_equal(frame, reference)


def test_positions_that_are_tensors_stay_what_they_are(clips: ClipLibrary) -> None:
    reader = decord.VideoReader(str(clips["h264"]))
    for position in (torch.tensor(-1), np.array(5), np.int64(5)):
        before = int(position)
        reader[position].asnumpy()
        if before > 0:
            reader.seek(position)
            reader.seek_accurate(position)
            reader.next()
        reader[7]
        assert int(position) == before


def test_a_refused_position_leaves_the_reader_where_it_was(clips: ClipLibrary) -> None:
    reader = decord.VideoReader(str(clips["h264"]))
    everything = reader[:].asnumpy()
    reader[3]
    for mistake in (
        lambda: reader[2.0],
        lambda: reader.seek_accurate(5.0),
        lambda: reader.seek(5.0),
    ):
        with pytest.raises(decord.DECORDError, match="integers"):
            mistake()
    np.testing.assert_array_equal(reader.next().asnumpy(), everything[4])


def test_arguments_that_decord_takes(clips: ClipLibrary) -> None:
    path = str(clips["h264"])
    for module in (theirs, decord):
        assert module.VideoReader(path, num_threads=-1)[0].shape == (120, 160, 3)
        assert module.VideoReader(path, fault_tol="2")[0].shape == (120, 160, 3)
        for size, frame in (((-1, -1), (120, 160)), ((60, -1), (60, 160)), ((0, 0), (120, 160))):
            loader = module.VideoLoader([path], module.cpu(0), (4, *size, 3), 0, 0, 0)
            assert loader.next()[0].shape == (4, *frame, 3)


def test_going_forward_decodes_no_frame_twice(
    clips: ClipLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, started = str(clips["h264"]), []
    batches = ft.VideoReader.batches
    monkeypatch.setattr(
        ft.VideoReader, "batches", lambda *a, **k: (started.append(1), batches(*a, **k))[1]
    )
    everything = decord.VideoReader(path)[:].asnumpy()
    reader = decord.VideoReader(path)
    for position in range(0, 42, 6):
        np.testing.assert_array_equal(reader[position].asnumpy(), everything[position])
    reader.skip_frames(5)
    np.testing.assert_array_equal(reader.next().asnumpy(), everything[42])
    assert len(started) == 1
    reader[0], reader[30]
    assert len(started) == 3


def test_seek_goes_to_the_keyframe_before(clips: ClipLibrary) -> None:
    reader = decord.VideoReader(str(clips["h264"]))
    everything = reader[:].asnumpy()
    for position, keyframe in ((0, 0), (11, 0), (12, 12), (30, 24), (47, 36)):
        reader.seek(position)
        np.testing.assert_array_equal(reader.next().asnumpy(), everything[keyframe])


MISTAKES: list[tuple[str, Any]] = [
    ("no file", lambda m, _: m.VideoReader("absent.mp4")),
    ("no video", lambda m, _: m.VideoReader(io.BytesIO(b"xx"))),
    ("context", lambda m, p: m.VideoReader(p, ctx="cpu")),
    ("frame", lambda m, p: m.VideoReader(p)[48]),
    ("negative frame", lambda m, p: m.VideoReader(p)[-49]),
    ("batch", lambda m, p: m.VideoReader(p).get_batch([0, 48])),
    ("negative batch", lambda m, p: m.VideoReader(p).get_batch([-49])),
    ("time", lambda m, p: m.VideoReader(p).get_frame_timestamp([99])),
    ("list", lambda m, p: m.VideoReader(p)[[1, 2]]),
    ("seek", lambda m, p: m.VideoReader(p).seek(48)),
    ("seek before", lambda m, p: m.VideoReader(p).seek_accurate(-1)),
    ("skip", lambda m, p: m.VideoReader(p).skip_frames(0)),
    ("no bridge", lambda m, _: m.bridge.set_bridge("jax")),
    ("no videos", lambda m, _: m.VideoLoader([], m.cpu(0), (2, 4, 4, 3), 0, 0, 0)),
    ("shape", lambda m, p: m.VideoLoader([p], m.cpu(0), (2, 4, 4), 0, 0, 0)),
]


@pytest.mark.parametrize("mistake", [pytest.param(call, id=name) for name, call in MISTAKES])
def test_mistakes_raise_the_same_errors(mistake: Any, clips: ClipLibrary) -> None:
    path = str(clips["h264"])
    with pytest.raises((Exception,)) as expected:
        mistake(theirs, path)
    with pytest.raises(expected.type):
        mistake(decord, path)


def test_names_that_programs_use_beside_the_readers() -> None:
    assert decord.__version__ == theirs.__version__
    for module in (theirs, decord):
        assert module.video_reader.VideoReader is module.VideoReader
        assert module.video_loader.VideoLoader is module.VideoLoader
        assert module.ndarray is module.nd
    levels = {name: value for name, value in vars(theirs.logging).items() if name.isupper()}
    assert {name: getattr(decord.logging, name) for name in levels} == levels
    for module in (theirs, decord):
        module.logging.set_level(module.logging.ERROR)
        module.logging.set_level(2)
        with pytest.raises((module._ffi.base.DECORDError, RuntimeError)):
            module.VideoReader("absent.mp4")
        assert module._ffi.base.DECORDError is module.base.DECORDError is module.DECORDError


# --- what decord's unit tests ask -------------------------------------------------------------------------------------


def test_slices_random_reads_and_batches_agree_with_reading_in_order(clips: ClipLibrary) -> None:
    """Where decord itself gives wrong frames (open GOPs, B-frames of MPEG-4, transport streams) too."""
    for name in ("h264", "h264_open_gop", "hevc_open_gop", "mpeg4", "h264_ts", "av1"):
        plain = ft.sample(clips[name], ft.Every(1), ft.Transform(layout="NHWC")).numpy()
        in_order = [frame.asnumpy() for frame in decord.VideoReader(str(clips[name]))]
        np.testing.assert_array_equal(in_order, plain)
        reader = decord.VideoReader(str(clips[name]))
        np.testing.assert_array_equal(reader[:].asnumpy(), plain)
        np.testing.assert_array_equal(reader[5:30:7].asnumpy(), plain[5:30:7])
        order = random.Random(name).sample(range(len(plain)), 20)
        np.testing.assert_array_equal(reader.get_batch(order).asnumpy(), plain[order])
        for number in order[:5]:
            np.testing.assert_array_equal(reader[number].asnumpy(), plain[number])


def test_file_objects_and_bytes(clips: ClipLibrary) -> None:
    expected = decord.VideoReader(str(clips["h264"]))[3].asnumpy()

    class OnlyRead:
        def read(self) -> bytes:
            return clips["h264"].read_bytes()

    with clips["h264"].open("rb") as file:
        for source in (file, io.BytesIO(clips["h264"].read_bytes()), OnlyRead(), clips["h264"]):
            np.testing.assert_array_equal(decord.VideoReader(source)[3].asnumpy(), expected)


def test_an_open_reader_is_pickled_and_copied(clips: ClipLibrary) -> None:
    for uri in (clips["h264"], clips["h264"].read_bytes()):
        reader = decord.VideoReader(uri, **SIZE)
        expected = reader[5:8].asnumpy()
        reader[5]
        for copy_of in (lambda r: pickle.loads(pickle.dumps(r)), copy.deepcopy, copy.copy):
            other = copy_of(reader)
            np.testing.assert_array_equal(other.next().asnumpy(), expected[1])
            np.testing.assert_array_equal(other[5].asnumpy(), expected[0])
        np.testing.assert_array_equal(reader.next().asnumpy(), expected[1])
        reader[5]


def test_rotated_video_is_upright(clips: ClipLibrary) -> None:
    assert decord.VideoReader(str(clips["rotate90"]))[0].shape == (160, 120, 3)
    assert decord.VideoReader(str(clips["rotate270"]), width=30, height=40).get_batch(
        [0, 1]
    ).shape == (2, 40, 30, 3)


def test_damage(clips: ClipLibrary, tmp_path: Path) -> None:
    path = damage(clips["h264"], tmp_path / "damaged.mp4")
    reader = decord.VideoReader(path)
    assert reader.get_batch([0, 5, 23]).shape[0] == 3
    with pytest.raises(decord.DECORDError) as caught:
        reader.get_batch([0, 47])
    assert isinstance(caught.value, ft.FrametapError)
    assert isinstance(caught.value.__cause__, ft.DecodeError)
    assert reader[1].shape == (120, 160, 3), "the reader goes on"

    tolerant = decord.VideoReader(path, fault_tol=2)
    batch = tolerant.get_batch([10, 46, 47]).asnumpy()
    np.testing.assert_array_equal(batch[2], batch[0])
    with pytest.raises(decord.DECORDLimitReachedError, match="3 frames"):
        tolerant.get_batch([45])
    assert decord.VideoReader(path, fault_tol=0.5).get_batch([0, 30, 40]).shape[0] == 3
    with pytest.raises(decord.DECORDLimitReachedError):
        decord.VideoReader(path, fault_tol=0.02).get_batch([0, 47])


def test_damage_on_the_way_to_a_frame_is_passed_over(clips: ClipLibrary) -> None:
    path = clips["h264"]
    index, data = ft.FrameIndex.build(path), bytearray(path.read_bytes())
    start, size = int(index.position[6]), int(index.size[6])
    data[start + 8 : start + size] = b"\xaa" * (size - 8)
    for fault_tol in (-1, 0):
        reader = decord.VideoReader(bytes(data), fault_tol=fault_tol)
        reader[0]
        expected = decord.VideoReader(path)[14].asnumpy()
        np.testing.assert_array_equal(reader[14].asnumpy(), expected)


def test_arrays_and_bridges(clips: ClipLibrary) -> None:
    reader, expected = (
        decord.VideoReader(str(clips["h264"])),
        theirs.VideoReader(str(clips["h264"])),
    )
    array, reference = reader[0], expected[0]
    assert (array.shape, array.dtype, str(array.ctx), len(array)) == (
        reference.shape, str(reference.dtype), str(reference.ctx), len(reference),
    )  # fmt: skip
    np.testing.assert_array_equal(np.from_dlpack(array), array.asnumpy())
    assert torch.utils.dlpack.from_dlpack(array.to_dlpack()).shape == (120, 160, 3)
    np.testing.assert_array_equal(np.asarray(array), array.asnumpy())

    decord.bridge.set_bridge("torch")
    assert isinstance(reader[0], torch.Tensor)
    batch = reader.get_batch([0, 1])
    assert isinstance(batch, torch.Tensor)
    assert batch.shape == (2, 120, 160, 3)
    in_thread: list[Any] = []
    thread = threading.Thread(
        target=lambda: in_thread.append(decord.VideoReader(str(clips["h264"]))[0])
    )
    thread.start()
    thread.join()
    assert isinstance(in_thread[0], torch.Tensor), (
        "other threads take over the main thread's choice"
    )
    decord.bridge.reset_bridge()
    with decord.bridge.use_torch():
        assert isinstance(reader[0], torch.Tensor)
    assert isinstance(reader[0], decord.NDArray)
    with pytest.raises(ft.UnsupportedError, match="to_dlpack"):
        decord.bridge.set_bridge("tvm")


def test_arrays_are_made_copied_and_compared() -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for module in (theirs, decord):
        array = module.nd.array(values)
        assert isinstance(array, module.nd.NDArray)
        assert str(array) == str(values)
        copy = array.copyto(module.cpu(0))
        assert array.same_as(array)
        assert not array.same_as(copy)
        assert not array.same_as(values)
        copy.copyfrom(values + 1)
        np.testing.assert_array_equal(array.asnumpy(), values)
        assert copy.copyto(array) is not copy
        np.testing.assert_array_equal(array.asnumpy(), values + 1)
        array[:] = values
        np.testing.assert_array_equal(array.asnumpy(), values)
        for mistake in (lambda: array.copyto(values), lambda: array.copyfrom(values[:2])):  # noqa: B023
            with pytest.raises(ValueError):  # noqa: PT011 - each says something else
                mistake()
        module.bridge.set_bridge("torch")
        tensor = torch.arange(3)
        assert module.bridge.bridge_in(tensor).asnumpy().tolist() == [0, 1, 2]
        assert module.bridge.to_torch(module.bridge.from_torch(tensor)).tolist() == [0, 1, 2]
        module.bridge.reset_bridge()
        assert module.bridge.bridge_in(tensor) is tensor


def test_tensorflow_bridge(clips: ClipLibrary) -> None:
    tensorflow = real("tensorflow")
    with decord.bridge.use_tensorflow():
        frame = decord.VideoReader(str(clips["h264"]))[0]
        assert isinstance(frame, tensorflow.Tensor)
        assert decord.bridge.bridge_in(frame).shape == (120, 160, 3)


def test_contexts() -> None:
    assert (repr(decord.cpu()), str(decord.gpu(1))) == ("cpu(0)", "gpu(1)")
    assert decord.cpu() == decord.cpu(0) != decord.gpu(0)
    assert decord.gpu(2).frametap_device == "cuda:2"
    assert (decord.cpu().device_type, decord.gpu().device_type) == (
        theirs.cpu().device_type,
        theirs.gpu().device_type,
    )


def test_gpu_without_a_driver_is_a_decord_error(clips: ClipLibrary) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    for module in (theirs, decord):
        with pytest.raises(module.DECORDError):
            module.VideoReader(str(clips["h264"]), ctx=module.gpu(0))
