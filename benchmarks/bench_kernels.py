"""One picture to one tensor, next to what people use for it now: `make bench-kernels` prints the table.

Every job runs on one thread, on pictures that take turns so that none is still in the L2 cache, and takes turns itself
with what it is compared to, so that a busy neighbour slows both. Times are CPU time, the best of many; ratios are those
of the best times. `error` is the largest and the mean difference from the float64 gold of tests/reference.py, in steps of
8 bits, over one smooth picture; what we do to noise is checked, too.

The peers: swscale through PyAV with its default flags, and with SWS_ACCURATE_RND (`accurate`), without which it rounds
sums down and converts unscaled pictures with 16-bit products; a plain copy of the picture; full-size RGB by swscale, then
torchvision's antialiased bicubic (where torch is not installed, Pillow's, whose rules those are), normalise and half, as
a data loader does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from frametap import _core
from native import make_planes
from reference import Conversion, convert, simple

try:
    import torch
    from torchvision.transforms.v2 import functional
except ImportError:
    torch = None  # type: ignore[assignment]

IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
ACCURATE = 1 << 18  # SWS_ACCURATE_RND
ROUNDS = 60
BYTES_IN_TURN = 40 << 20

Job = Callable[[av.VideoFrame], Any]


@dataclass
class Peer:
    """Something to be compared with: how, its share of our time that we aim for, and its output for the error column."""

    run: Job
    goal: float | None = None
    pixels: Callable[[av.VideoFrame], NDArray[Any]] | None = None  # (H, W, 3), 0..255


@dataclass
class Row:
    job: str
    peer: str
    ours: float
    theirs: float
    goal: float | None
    errors: list[str] = field(default_factory=list)

    @property
    def cells(self) -> list[str]:
        ratio = self.ours / self.theirs
        met = "" if self.goal is None else ("yes" if ratio <= self.goal else "no")
        goal = "" if self.goal is None else f"{self.goal:.2f}"
        times = [f"{seconds * 1e3:.3f}" for seconds in (self.ours, self.theirs)]
        return [self.job, self.peer, *times, f"{ratio:.2f}", goal, met, *self.errors]


HEADER = [
    "1080p 4:2:0 to",
    "peer",
    "ours ms",
    "peer ms",
    "ratio",
    "goal",
    "met",
    "our error",
    "peer's error",
]


def make_frames(pixel_format: str, width: int, height: int) -> list[av.VideoFrame]:
    """Enough pictures of noise to fill BYTES_IN_TURN."""
    rng = np.random.default_rng(1)
    frames: list[av.VideoFrame] = []
    size = 0
    while size < BYTES_IN_TURN:
        frame = av.VideoFrame(width, height, pixel_format)
        for plane in frame.planes:
            noise = rng.integers(0, 256, plane.buffer_size, np.uint8)
            if "10" in pixel_format:
                noise[1::2] %= 4
            plane.update(noise.tobytes())
            size += plane.buffer_size
        frames.append(frame)
    return frames


def make_smooth(like: av.VideoFrame) -> av.VideoFrame:
    """Waves over all three planes."""
    frame = av.VideoFrame(like.width, like.height, like.format.name)
    planes = make_planes(like.format.name, like.width, like.height, "smooth", pitch_extra=0)
    for plane, samples in zip(frame.planes, planes, strict=True):
        plane.update(samples.tobytes())
    return frame


@pytest.fixture(scope="module")
def hd() -> list[av.VideoFrame]:
    return make_frames("yuv420p", 1920, 1080)


@pytest.fixture(scope="module")
def uhd() -> list[av.VideoFrame]:
    return make_frames("yuv420p10le", 3840, 2160)


class Ours:
    """`_core.Converter` on the planes of a frame, into one slot that is used again."""

    def __init__(
        self, frame: av.VideoFrame, grid: tuple[int, int], threads: int = 1, **options: Any
    ) -> None:
        self.conversion = simple(frame.format.name, frame.width, frame.height, grid, **options)
        self.converter = _core.Converter(**asdict(self.conversion))
        self.out = np.zeros(self.conversion.out_shape, self.conversion.dtype)
        self.threads = threads

    def __call__(self, picture: av.VideoFrame) -> None:
        planes = [(plane.buffer_ptr, plane.line_size) for plane in picture.planes]
        self.converter.convert(planes, self.out.ctypes.data, self.threads)


def swscale(
    size: tuple[int, int], interpolation: Interpolation, flags: int = 0, goal: float | None = None
) -> Peer:
    reformatter = VideoReformatter()

    def convert(picture: av.VideoFrame) -> av.VideoFrame:
        wanted: Any = int(interpolation) | flags if flags else interpolation
        return reformatter.reformat(picture, *size, format="rgb24", interpolation=wanted, threads=1)

    return Peer(convert, goal, lambda picture: convert(picture).to_ndarray())


def copy(frame: av.VideoFrame, goal: float | None = None) -> Peer:
    copies = [np.zeros(plane.buffer_size, np.uint8) for plane in frame.planes]

    def run(picture: av.VideoFrame) -> None:
        for target, plane in zip(copies, picture.planes, strict=True):
            np.copyto(target, np.frombuffer(plane, np.uint8))

    return Peer(run, goal)


def data_loader(side: int, goal: float) -> tuple[str, Peer]:
    """Full-size RGB, antialiased bicubic, normalise, half: what a data loader without frametap does."""
    to_rgb = swscale((1920, 1080), Interpolation.BILINEAR).run
    scale = np.float32(1) / (255 * np.asarray(IMAGENET["std"], np.float32))
    bias = -np.asarray(IMAGENET["mean"], np.float32) / np.asarray(IMAGENET["std"], np.float32)

    def by_pillow(picture: av.VideoFrame) -> NDArray[np.float16]:
        image = Image.fromarray(to_rgb(picture).to_ndarray()).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        return (np.asarray(image) * scale + bias).astype(np.float16).transpose(2, 0, 1).copy()

    def by_torchvision(picture: av.VideoFrame) -> Any:
        rgb = torch.from_numpy(to_rgb(picture).to_ndarray()).permute(
            2, 0, 1
        )  # strided as NHWC, its fast way
        small = functional.resize(rgb, [side, side], interpolation=3, antialias=True)
        return (
            small * torch.from_numpy(scale)[:, None, None] + torch.from_numpy(bias)[:, None, None]
        ).half()

    if torch is None:
        return "swscale, Pillow, numpy", Peer(by_pillow, goal)
    torch.set_num_threads(1)
    return "swscale, torchvision", Peer(by_torchvision, goal)


def gold(picture: av.VideoFrame, conversion: Conversion) -> NDArray[Any]:
    """What the picture should become, in the layout of the conversion."""
    word = np.uint8 if conversion.format.depth == 8 else np.uint16
    planes = [
        np.frombuffer(plane, word).reshape(plane.height, -1)[:, : plane.width]
        for plane in picture.planes
    ]
    return convert(planes, conversion)


def difference(found: NDArray[Any], expected: NDArray[Any], step: float = 1.0) -> str:
    error = abs(found.astype(np.float64) - expected) / step
    return f"{error.max():.1f} / {error.mean():.2f}"


def best_in_turn(
    jobs: list[Job], frames: list[av.VideoFrame], clock: Callable[[], float]
) -> list[float]:
    """Best seconds of each job; they alternate."""
    best = [float("inf")] * len(jobs)
    for turn in range(ROUNDS):
        for number, job in enumerate(jobs):
            start = clock()
            job(frames[turn % len(frames)])
            best[number] = min(best[number], clock() - start)
    return best


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[Row]]:
    """Collects rows; printed when the last job is done."""
    rows: list[Row] = []
    yield rows
    if not rows:
        return
    cells = [HEADER, *(row.cells for row in rows)]
    widths = [max(len(row[i]) for row in cells if i < len(row)) for i in range(len(HEADER))]
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(
            f"\n\n{_core.cpu_isa()}, 1 thread; CPU time, best of {ROUNDS}; error: largest / mean, of 255"
        )
        for row in cells:
            print(
                "  ".join(
                    f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)
                ).rstrip()
            )


@pytest.fixture
def compare(benchmark: Any, table: list[Row]) -> Callable[..., None]:
    """Check ours against the gold, let pytest-benchmark time it, then compare with the peers."""

    def run(name: str, frames: list[av.VideoFrame], ours: Ours, peers: dict[str, Peer]) -> None:
        is_half = ours.conversion.dtype == "float16"
        step = 1 / 255 / min(ours.conversion.std) if is_half else 1.0
        smooth = make_smooth(frames[0])
        for picture in (frames[0], smooth):
            expected = gold(picture, ours.conversion)
            ours(picture)
            assert abs(ours.out - expected).max() <= step + (2**-10 if is_half else 0)
        our_error = difference(ours.out, expected, step)
        turn = iter(range(1 << 30))
        benchmark(lambda: ours(frames[next(turn) % len(frames)]))
        if not benchmark.enabled:
            return
        mine, *theirs = best_in_turn(
            [ours, *(peer.run for peer in peers.values())], frames, time.thread_time
        )
        for (peer_name, peer), seconds in zip(peers.items(), theirs, strict=True):
            benchmark.extra_info[peer_name] = round(mine / seconds, 3)
            row = Row(name, peer_name, mine, seconds, peer.goal, [our_error])
            if peer.pixels is not None and ours.conversion.dtype == "uint8":
                pixels = peer.pixels(smooth)
                wanted = (
                    expected if ours.conversion.layout == "NHWC" else expected.transpose(1, 2, 0)
                )
                row.errors.append(difference(pixels, wanted))
            table.append(row)

    return run


@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_hd_to_224(compare: Any, hd: list[av.VideoFrame], name: str) -> None:
    peers = {"swscale": swscale((224, 224), Interpolation[name.upper()], goal=0.55)}
    peers["swscale accurate"] = swscale((224, 224), Interpolation[name.upper()], ACCURATE)
    peers["copy"] = copy(hd[0], 2.2 if name == "bilinear" else None)
    compare(f"224x224 {name}", hd, Ours(hd[0], (224, 224), filter=name), peers)


def test_hd_to_336_half(compare: Any, hd: list[av.VideoFrame]) -> None:
    ours = Ours(hd[0], (336, 336), filter="bicubic", dtype="float16", **IMAGENET)
    name, peer = data_loader(336, 0.25)
    compare("336x336 bicubic, float16", hd, ours, {name: peer})


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_hd_unscaled(compare: Any, hd: list[av.VideoFrame], layout: str) -> None:
    size = (1920, 1080)
    peers = {
        "swscale accurate": swscale(size, Interpolation.BILINEAR, ACCURATE, goal=0.5),
        "swscale": swscale(size, Interpolation.BILINEAR),
        "copy": copy(hd[0]),
    }
    compare(f"1920x1080 {layout}", hd, Ours(hd[0], size, layout=layout), peers)


def test_uhd_10_bit_to_448(compare: Any, uhd: list[av.VideoFrame]) -> None:
    peers = {"swscale": swscale((448, 448), Interpolation.BICUBIC, goal=0.6)}
    peers["swscale accurate"] = swscale((448, 448), Interpolation.BICUBIC, ACCURATE)
    compare("448x448 bicubic, of 4K 10-bit", uhd, Ours(uhd[0], (448, 448), filter="bicubic"), peers)


def test_uhd_split_over_threads(benchmark: Any, table: list[Row], uhd: list[av.VideoFrame]) -> None:
    """Wall-clock time of a large output on two threads and on one."""
    one, two = (Ours(uhd[0], (3840, 2160), threads) for threads in (1, 2))
    for job in (one, two):
        job(uhd[0])
    assert (one.out == two.out).all()
    benchmark(lambda: two(uhd[0]))
    if benchmark.enabled:
        mine, theirs = best_in_turn([two, one], uhd, time.perf_counter)
        table.append(Row("4K unscaled, 2 threads, wall", "1 thread", mine, theirs, None))
