"""device="cuda" gives the bytes of device="cpu": every kind of stream, sampler and transform, in every order of streams."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import frametap as ft
from gpu.axes import SAMPLERS, TRANSFORMS, corpus_clips, tolerance_of
from gpu.driver import EMULATED, Gpu, Library
from test_recordings import cut

Check = Callable[..., ft.FrameBatch]

SMALL = ft.Transform(size=(56, 72))
# NVDEC of an H100 decodes these; the others go the hybrid way.
DECODED_BY_NVDEC = (
    "h264", "h264_one_gop", "h264_intra", "h264_pyramid", "hevc", "hevc_open_gop", "vp9", "mpeg4", "h264_mkv", "h264_ts",
    "h264_raw", "h264_fragmented", "vfr", "late_start", "edit_list", "one_frame", "rotate90", "rotate180", "hflip", "hevc_10bit",
    "bt709", "full_range", "interlaced", "resized",
    "fields", "fields_mkv",
)  # fmt: skip
DECODED_BY_CPU = (
    "av1",
    "h264_10bit",
    "h264_422",
    "h264_gray",
    "odd_size",
    "ffv1_16bit",
    "png_rgb",
    "hevc_gbr",
    "fields_ts",
    "fields_apart",
    "fields_raw",
)


@pytest.mark.parametrize("name", DECODED_BY_NVDEC)
def test_streams(check: Check, videos: Library, name: str) -> None:
    for sampler in SAMPLERS.values():
        frames = ft.FrameIndex.build(videos[name])
        if isinstance(sampler, ft.Indices) and len(frames) < 32:
            sampler = ft.Indices([n % len(frames) for n in sampler.numbers])
        batch = check(videos[name], sampler, SMALL)
        if EMULATED:
            assert batch.report.engine == "nvdec"
            assert batch.report.why == 'device="cuda" was asked for'


@pytest.mark.parametrize("name", DECODED_BY_CPU)
def test_hybrid(check: Check, videos: Library, name: str) -> None:
    batch = check(videos[name], ft.Uniform(5), SMALL)
    assert batch.device == "cuda:0"
    if EMULATED:
        assert "decoded on the CPU" in batch.report.why


@pytest.mark.parametrize("name", ["h264_open_gop_ts", "hevc_open_gop", "mpeg2"])
def test_recordings_that_begin_between_keyframes(
    check: Check, videos: Library, driver: Gpu, tmp_path: Path, name: str
) -> None:
    """What comes before the second keyframe is for FFmpeg to number and decode, the rest for NVDEC."""
    path = cut(videos[name], tmp_path / "cut.ts", 5)
    index = ft.FrameIndex.build(path)
    late = int((index.decode_order < index.decoded_packets).sum()) + 4
    tolerance = tolerance_of(index)
    check(path, ft.Every(1), SMALL, tolerance=tolerance)
    batch = check(path, ft.Indices(range(late, len(index), 3)), SMALL, tolerance=tolerance)
    if EMULATED:
        assert batch.report.why == 'device="cuda" was asked for'
    with (
        ft.open(path, device="cuda", transform=SMALL) as gpu,
        ft.open(path, device="cpu", transform=SMALL) as cpu,
    ):
        for on_gpu, on_cpu in zip(gpu.batches(5), cpu.batches(5), strict=True):
            found, wanted = driver.host(on_gpu), on_cpu.numpy()
            np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
@pytest.mark.parametrize("name", ["h264", "hevc_10bit", "rotate90", "interlaced"])
def test_transforms(check: Check, videos: Library, name: str, transform: ft.Transform) -> None:
    check(videos[name], ft.Uniform(5), transform)


@pytest.mark.parametrize("engine", ["nvdec", "hybrid", "pynvvideocodec"])
@pytest.mark.parametrize("name", ["h264", "hevc", "vp9"])
def test_engines(check: Check, videos: Library, driver: Gpu, name: str, engine: str) -> None:
    if engine == "pynvvideocodec":
        pytest.importorskip("PyNvVideoCodec")
        if driver.emulator is not None:
            driver.emulator.set(profile="driver")  # it is not ours to be strict with
    batch = check(videos[name], ft.Indices([40, 2, 2, 11]), SMALL, engine=engine)
    assert batch.report.engine == engine
    assert batch.report.mapped == 3


@pytest.mark.emulated
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_whatever_order_streams_run_in(
    check: Check, videos: Library, driver: Gpu, seed: int
) -> None:
    assert driver.emulator is not None
    driver.emulator.set(seed=seed)
    for name, transform in itertools.product(("h264", "hevc", "av1"), (SMALL, ft.Transform())):
        check(videos[name], SAMPLERS["random with duplicates"], transform)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_batches(videos: Library, driver: Gpu, seed: int) -> None:
    """Streaming, with batches shorter and longer than a keyframe interval, of all frames and of some."""
    if driver.emulator is not None:
        driver.emulator.set(seed=seed)
    for name, size, sampler in itertools.product(
        ("h264", "h264_one_gop", "vp9", "edit_list", "av1"), (1, 5, 64), (None, ft.Every(7))
    ):
        with (
            ft.open(videos[name], device="cuda", transform=SMALL) as gpu,
            ft.open(videos[name], device="cpu", transform=SMALL) as cpu,
        ):
            pairs = zip(gpu.batches(size, sampler), cpu.batches(size, sampler), strict=True)
            for on_gpu, on_cpu in pairs:
                np.testing.assert_array_equal(driver.host(on_gpu), on_cpu.numpy())


def test_reader(videos: Library, driver: Gpu) -> None:
    with (
        ft.open(videos["vfr"], device="cuda", transform=SMALL) as gpu,
        ft.open(videos["vfr"], device="cpu", transform=SMALL) as cpu,
    ):
        np.testing.assert_array_equal(driver.host(gpu[-1]), cpu[-1].numpy())
        np.testing.assert_array_equal(driver.host(gpu[3:20:4]), cpu[3:20:4].numpy())
        played = [0.3, 0.1, 1.2]
        np.testing.assert_array_equal(
            driver.host(gpu.frames_played_at(played)), cpu.frames_played_at(played).numpy()
        )
        assert "cuda:0" in repr(gpu[0])


def test_sample_many(videos: Library, driver: Gpu) -> None:
    names = ["h264", "av1", "hevc", "vp9", "mpeg4", "h264"]
    paths = [videos[name] for name in names]
    with ft.sample_many(paths, ft.Uniform(4), SMALL, device="cuda", workers=3) as batches:
        for path, batch in zip(paths, batches, strict=True):
            expected = ft.sample(path, ft.Uniform(4), SMALL, device="cpu")
            np.testing.assert_array_equal(driver.host(batch), expected.numpy())


@pytest.mark.parametrize("on_error", ["skip", "repeat", "black"])
@pytest.mark.parametrize("name", ["truncated", "truncated_ts"])
def test_damage(check: Check, videos: Library, name: str, on_error: str) -> None:
    check(videos[name], ft.Every(1), SMALL, on_error=on_error)


ABSENT = pytest.param("", marks=pytest.mark.skip(reason="corpus absent (FRAMETAP_CORPUS)"))


@pytest.mark.parametrize("name", corpus_clips() or [ABSENT])
def test_corpus(check: Check, corpus: Path, name: str) -> None:
    path = corpus / name
    try:
        ft.sample(path, ft.Uniform(2), SMALL, device="cpu")
    except ft.FrametapError as error:
        with pytest.raises(type(error)):
            ft.sample(path, ft.Uniform(2), SMALL, device="cuda")
        return
    index = ft.FrameIndex.build(path)
    last, tolerance = len(index) - 1, tolerance_of(index)
    check(path, ft.Uniform(6), SMALL, tolerance=tolerance)
    check(path, ft.Indices([last, 0, last]), SMALL, tolerance=tolerance)
