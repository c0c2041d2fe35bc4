"""One picture to one tensor, next to what people use for it now: `make bench` prints the ratios.

Each test times frametap and its peer in turn, on one thread, on pictures that take turns so that none is still in the L2 cache.
The peer is swscale through PyAV, or a plain copy of the picture, or swscale followed by Pillow and numpy.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image

from frametap import _core

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ROUNDS = 60
BYTES_IN_TURN = 40 << 20

Job = Callable[[av.VideoFrame], object]


def make_frames(pixel_format: str, width: int, height: int) -> list[av.VideoFrame]:
    """Enough pictures of noise to fill BYTES_IN_TURN."""
    rng = np.random.default_rng(1)
    frames: list[av.VideoFrame] = []
    size = 0
    while size < BYTES_IN_TURN:
        frame = av.VideoFrame(width, height, pixel_format)
        for plane in frame.planes:
            top = 4 if "10" in pixel_format else 256
            noise = rng.integers(0, 256, plane.buffer_size, np.uint8)
            if top == 4:
                noise[1::2] %= top
            plane.update(noise.tobytes())
            size += plane.buffer_size
        frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def hd() -> list[av.VideoFrame]:
    return make_frames("yuv420p", 1920, 1080)


@pytest.fixture(scope="module")
def uhd() -> list[av.VideoFrame]:
    return make_frames("yuv420p10le", 3840, 2160)


def frametap_job(frame: av.VideoFrame, grid: tuple[int, int], **options: Any) -> Job:
    """`_core.Converter` on the planes of a frame, into one slot that is used again."""
    width, height = frame.width, frame.height
    defaults: dict[str, Any] = {
        "filter": "bilinear",
        "layout": "NCHW",
        "dtype": "uint8",
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
    }
    converter = _core.Converter(
        pixel_format=frame.format.name,
        width=width,
        height=height,
        matrix="bt601",
        full_range=False,
        chroma_location="left",
        crop=(0, 0, width, height),
        grid=grid,
        window=(0, 0, *grid),
        antialias=True,
        transpose=False,
        flip_x=False,
        flip_y=False,
        canvas=grid,
        offset=(0, 0),
        fill=(0, 0, 0),
        color="rgb",
        **(defaults | options),
    )
    out = np.zeros(converter.out_shape, options.get("dtype", "uint8"))

    def convert(picture: av.VideoFrame) -> None:
        planes = [(plane.buffer_ptr, plane.line_size) for plane in picture.planes]
        converter.convert(planes, out.ctypes.data)

    return convert


def swscale_job(size: tuple[int, int], interpolation: Interpolation) -> Job:
    reformatter = VideoReformatter()

    def convert(picture: av.VideoFrame) -> av.VideoFrame:
        return reformatter.reformat(
            picture, *size, format="rgb24", interpolation=interpolation, threads=1
        )

    return convert


def copy_job(frame: av.VideoFrame) -> Job:
    copies = [np.zeros(plane.buffer_size, np.uint8) for plane in frame.planes]

    def copy(picture: av.VideoFrame) -> None:
        for target, plane in zip(copies, picture.planes, strict=True):
            np.copyto(target, np.frombuffer(plane, np.uint8))

    return copy


def data_loader_job(side: int) -> Job:
    """Full-size RGB, Pillow's bicubic, normalise, half: what a data loader without frametap does."""
    to_rgb = swscale_job((1920, 1080), Interpolation.BILINEAR)
    scale = np.float32(1) / (255 * np.asarray(STD, np.float32))
    bias = -np.asarray(MEAN, np.float32) / np.asarray(STD, np.float32)

    def convert(picture: av.VideoFrame) -> np.ndarray:
        rgb: Any = to_rgb(picture)
        image = Image.fromarray(rgb.to_ndarray()).resize((side, side), Image.Resampling.BICUBIC)
        return (np.asarray(image) * scale + bias).astype(np.float16).transpose(2, 0, 1).copy()

    return convert


def seconds_in_turn(jobs: list[Job], frames: list[av.VideoFrame], rounds: int) -> Iterator[float]:
    """Median seconds of each job; they alternate, so that a busy neighbour slows all of them."""
    times: list[list[float]] = [[] for _ in jobs]
    for turn in range(rounds):
        for job, taken in zip(jobs, times, strict=True):
            start = time.perf_counter()
            job(frames[turn % len(frames)])
            taken.append(time.perf_counter() - start)
    yield from (statistics.median(taken) for taken in times)


@pytest.fixture
def compare(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Let pytest-benchmark time ours; then print our time as a share of the peers'."""

    def run(name: str, frames: list[av.VideoFrame], ours: Job, **peers: Job) -> None:
        turn = iter(range(1 << 30))
        benchmark(lambda: ours(frames[next(turn) % len(frames)]))
        if not benchmark.enabled:
            return
        mine, *theirs = seconds_in_turn([ours, *peers.values()], frames, ROUNDS)
        for peer, seconds in zip(peers, theirs, strict=True):
            benchmark.extra_info[peer] = round(mine / seconds, 3)
            with capsys.disabled():
                print(
                    f"\n{name:28} {mine * 1e3:7.3f} ms = {mine / seconds:5.2f} x {peer} ({seconds * 1e3:.3f} ms)",
                    end="",
                )

    return run


@pytest.mark.parametrize("filter_name", ["bilinear", "bicubic"])
def test_hd_to_224(compare: Any, hd: list[av.VideoFrame], filter_name: str) -> None:
    compare(
        f"1080p to 224, {filter_name}",
        hd,
        frametap_job(hd[0], (224, 224), filter=filter_name),
        swscale=swscale_job((224, 224), Interpolation[filter_name.upper()]),
        copy=copy_job(hd[0]),
    )


def test_hd_to_336_half(compare: Any, hd: list[av.VideoFrame]) -> None:
    ours = frametap_job(hd[0], (336, 336), filter="bicubic", dtype="float16", mean=MEAN, std=STD)
    compare(
        "1080p to 336 float16",
        hd,
        ours,
        swscale=swscale_job((336, 336), Interpolation.BICUBIC),
        swscale_pillow_numpy=data_loader_job(336),
    )


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_hd_unscaled(compare: Any, hd: list[av.VideoFrame], layout: str) -> None:
    compare(
        f"1080p unscaled, {layout}",
        hd,
        frametap_job(hd[0], (1920, 1080), layout=layout),
        swscale_fast=swscale_job((1920, 1080), Interpolation.BILINEAR),
        copy=copy_job(hd[0]),
    )


def test_uhd_10_bit_to_448(compare: Any, uhd: list[av.VideoFrame]) -> None:
    compare(
        "4K 10-bit to 448, bicubic",
        uhd,
        frametap_job(uhd[0], (448, 448), filter="bicubic"),
        swscale=swscale_job((448, 448), Interpolation.BICUBIC),
    )
