"""Converted pixels against the float64 gold of `reference.py`: every option of `_core.Converter`.

uint8 stays within 1 LSB, without bias; float outputs within 1 LSB / 255 / std plus the dtype's own
rounding. Options are combined pairwise: each value of each option meets each value of every other.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import zlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from frametap import _core
from native import make_planes, run
from reference import Conversion, Plane, simple

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=600)
settings.register_profile("explore", derandomize=False, deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# What FFmpeg's H.264, HEVC, VP8, VP9, AV1, MPEG-2/4, ProRes, MJPEG and DV decoders and NVDEC give.
_DEPTHS = ("", "10le", "12le")
_SAMPLINGS = ("420", "422", "444")
PIXEL_FORMATS = [
    *(f"yuv{sampling}p{depth}" for sampling in (*_SAMPLINGS, "440") for depth in _DEPTHS),
    *(f"yuvj{sampling}p" for sampling in (*_SAMPLINGS, "440", "411")),
    *(f"yuva{sampling}p{depth}" for sampling in _SAMPLINGS for depth in ("", "10le")),
    *(f"{name}{depth}" for name in ("gray", "gbrp", "gbrap") for depth in _DEPTHS),
    *("yuv411p", "yuva422p12le", "yuva444p12le", "nv12", "p010le", "p012le", "p016le"),
    *("rgb24", "bgr24", "rgba", "bgra", "argb", "abgr", "rgb0", "bgr0", "0rgb", "0bgr"),
]

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
OPTIONS: dict[str, list[Any]] = {
    "pixel_format": PIXEL_FORMATS,
    "matrix": list(reference.LUMA_COEFFICIENTS),
    "full_range": [False, True],
    "chroma_location": list(reference.SITING),
    "filter": ["bilinear", "bicubic", "nearest", "lanczos", "area"],
    "antialias": [True, False],
    "orientation": list(itertools.product([False, True], repeat=3)),
    "crop": ["whole", "odd", "even", "thin"],
    "scale": ["same", "half", "seventh", "triple", "mixed"],
    "window": ["whole", "middle", "corner"],
    "pad": ["none", "centred", "corner"],
    "color": ["rgb", "bgr", "gray"],
    "layout": ["NCHW", "NHWC"],
    "dtype": ["uint8", "float16", "bfloat16", "float32"],
    "normalise": [{}, IMAGENET, {"mean": (0.5, 0.1, 0.0), "std": (0.5, 1.0, 2.0)}],
    "content": ["random", "smooth", "extreme"],
}


def pairwise(options: dict[str, list[Any]], seed: int = 0) -> list[dict[str, Any]]:
    """Rows that between them hold every pair of values of every two options (greedy, seeded)."""
    rng = random.Random(seed)
    names = list(options)
    missing = {
        (a, i, b, j)
        for a, b in itertools.combinations(range(len(names)), 2)
        for i in range(len(options[names[a]]))
        for j in range(len(options[names[b]]))
    }
    rows = []
    while missing:
        a, i, b, j = min(missing)
        best: tuple[int, list[int], set[tuple[int, int, int, int]]] = (-1, [], set())
        for _ in range(12):
            row = [rng.randrange(len(options[name])) for name in names]
            row[a], row[b] = i, j
            pairs = itertools.combinations(enumerate(row), 2)
            found = {(p, x, q, y) for (p, x), (q, y) in pairs} & missing
            best = max(best, (len(found), row, found), key=lambda candidate: candidate[0])
        missing -= best[2]
        rows.append({name: options[name][k] for name, k in zip(names, best[1], strict=True)})
    return rows


def place(row: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Numbers for the words "crop", "scale", "window", "pad" and "orientation" of a row."""
    width, height = rng.randint(24, 61), rng.randint(24, 61)
    crop = {
        "whole": (0, 0, width, height),
        "odd": (3, 5, width - 10, height - 12),
        "even": (4, 2, width - 10, height - 8),
        "thin": (width - 3, 1, 3, height - 1),
    }[row["crop"]]
    across, down = {
        "same": (1.0, 1.0),
        "half": (0.5, 0.5),
        "seventh": (1 / 7, 1 / 6.3),
        "triple": (3.0, 2.7),
        "mixed": (0.4, 1.9),
    }[row["scale"]]
    grid = max(1, round(crop[2] * across)), max(1, round(crop[3] * down))
    window = {
        "whole": (0, 0, *grid),
        "middle": (grid[0] // 3, grid[1] // 4, grid[0] - grid[0] // 2, grid[1] - grid[1] // 2),
        "corner": (grid[0] - 1, grid[1] - 1, 1, 1),
    }[row["window"]]
    transpose, flip_x, flip_y = row["orientation"]
    shown = window[:1:-1] if transpose else window[2:]
    canvas, offset = {
        "none": (shown, (0, 0)),
        "centred": ((shown[0] + 5, shown[1] + 4), (2, 2)),
        "corner": ((shown[0] + 9, shown[1]), (9, 0)),
    }[row["pad"]]
    return {
        "width": width,
        "height": height,
        "crop": crop,
        "grid": grid,
        "window": window,
        "transpose": transpose,
        "flip_x": flip_x,
        "flip_y": flip_y,
        "canvas": canvas,
        "offset": offset,
        "fill": (rng.randrange(256), rng.randrange(256), rng.randrange(256)),
    }


def job_of(row: dict[str, Any], rng: random.Random) -> Conversion:
    """The conversion a row of options describes."""
    same = ("pixel_format", "matrix", "full_range", "chroma_location", "filter", "antialias")
    named = {name: row[name] for name in (*same, "color", "layout", "dtype")}
    return Conversion(**named, **place(row, rng), **row["normalise"])


def levels(out: np.ndarray, job: Conversion) -> np.ndarray:
    """Back from an output to 0..255 in (C, H, W), R, G, B order, in float64."""
    value = out.astype(np.float64)
    value = value if job.layout == "NCHW" else value.transpose(2, 0, 1)
    value = value[::-1] if job.color == "bgr" else value
    if job.dtype == "uint8":
        return value
    mean, std = (np.reshape(three[: len(value)], (-1, 1, 1)) for three in (job.mean, job.std))
    return (value * std + mean) * 255


# Relative rounding error of each dtype; float32 has a few operations behind it.
EPSILON = {"uint8": 0.0, "float32": 2.0**-22, "float16": 2.0**-11, "bfloat16": 2.0**-8}
ERRORS: dict[str, list[np.ndarray]] = defaultdict(list)


def binary_exact(size: int, grid: int) -> bool:
    """Whether size / grid, and so every sample position, is exact in binary floating point."""
    steps = grid // math.gcd(size, grid)
    return steps & (steps - 1) == 0


def other_sides_of_ties(planes: list[Plane], job: Conversion) -> Iterator[np.ndarray]:
    """The golds that a last-bit difference in a chroma position could give.

    "area" and "nearest" jump where a sample lies exactly on the edge of a window. There the last
    bit of its position decides, and that depends on the order in which siting, crop and scale are
    added up: both sides are right. Not where every position is exact, and not for luma, which is
    Pillow's own formula and agrees with it at every tie.
    """
    exact = [binary_exact(*sizes) for sizes in zip(job.crop[2:], job.grid, strict=True)]
    if job.filter in ("area", "nearest") and job.format.family == "yuv":
        steps = [(0.0,) if known else (-1e-9, 1e-9) for known in exact]
        for nudge_x, nudge_y in itertools.product(*steps):
            yield reference.gold(planes, job, (nudge_x, nudge_y))


def check(
    planes: list[Plane], job: Conversion, unbiased: bool = False, limit: float = 1.0
) -> np.ndarray:
    """Assert that the native output is within `limit` LSB of the gold; return the error in LSB."""
    value = levels(run(planes, job), job)
    gold = reference.gold(planes, job)
    error = value - gold
    if np.abs(error).max() > 1:
        for other in other_sides_of_ties(planes, job):
            error = np.where(np.abs(value - other) < np.abs(error), value - other, error)
    if job.dtype == "uint8":  # before the assertions: the table must show failures too
        ERRORS[job.pixel_format].append(error.ravel())
    mean = np.reshape(job.mean[: len(gold)], (-1, 1, 1))
    allowed = limit + EPSILON[job.dtype] * (np.abs(gold - 255 * mean) + 255)
    worst = np.unravel_index(np.argmax(np.abs(error) - allowed), error.shape)
    assert (np.abs(error) <= allowed).all(), (
        f"error {error[worst]:+.3f} LSB at (c, y, x) = {tuple(map(int, worst))}, "
        f"gold {gold[worst]:.3f}, {(np.abs(error) > allowed).mean():.1%} of values, {job}"
    )
    if unbiased:
        assert np.abs(error).mean() < 0.35, job
        # Against the rounded gold: averages of 2 x 2 bytes end in .5 so often that rounding half
        # up is a bias of its own.
        assert abs((value - reference.quantise(gold)).mean()) < 0.1, job
    return error


@pytest.fixture(scope="module", autouse=True)
def error_table() -> Iterator[None]:
    """After the module, under `pytest -s`: error against the gold by pixel format."""
    yield
    print("\npixel format     values  max |error|  mean |error|  bias   (LSB, uint8)")
    for name, parts in sorted(ERRORS.items()):
        error = np.concatenate(parts)
        size = np.abs(error)
        print(
            f"{name:14} {error.size:8} {size.max():12.3f} {size.mean():13.3f} {error.mean():+.4f}"
        )


ROWS = pairwise(OPTIONS)


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
def test_every_pair_of_options(pixel_format: str) -> None:
    """All pairs of two options' values, grouped by pixel format."""
    rng = random.Random(zlib.crc32(pixel_format.encode()))
    for number, row in enumerate(ROWS):
        if row["pixel_format"] == pixel_format:
            job = job_of(row, rng)
            planes = make_planes(pixel_format, job.width, job.height, row["content"], number)
            check(planes, job)


def described(pixel_format: str) -> bool:
    """Whether the reference knows this format; packed YUV it does not."""
    try:
        reference.parse_pixel_format(pixel_format)
    except ValueError:
        return False
    return True


OTHER_FORMATS = [f for f in _core.pixel_formats() if described(f) and f not in PIXEL_FORMATS]


@pytest.mark.parametrize("pixel_format", OTHER_FORMATS)
def test_other_formats_the_converter_takes(pixel_format: str) -> None:
    """Formats that no listed decoder gives but `_core` accepts: a few options each."""
    for full_range, filter_name, color in itertools.product(
        (False, True), ("bilinear", "lanczos"), ("rgb", "gray")
    ):
        job = simple(
            pixel_format, 45, 37, (31, 52), filter=filter_name, full_range=full_range, color=color
        )
        check(make_planes(pixel_format, 45, 37, "random"), job, unbiased=True)


def test_pairwise_holds_every_pair() -> None:
    """The rows really hold e.g. each pixel format with each orientation."""
    for one, other in itertools.combinations(OPTIONS, 2):
        seen = {(repr(row[one]), repr(row[other])) for row in ROWS}
        assert len(seen) == len(OPTIONS[one]) * len(OPTIONS[other])


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
@pytest.mark.parametrize("filter_name", ["bilinear", "bicubic", "lanczos", "area"])
def test_unbiased_on_random_content(pixel_format: str, filter_name: str) -> None:
    """Rounding is to nearest everywhere: errors average out over a whole downscaled picture."""
    job = simple(
        pixel_format, 127, 93, (56, 40), filter=filter_name, full_range="j" in pixel_format
    )
    for content in ("random", "smooth"):
        check(make_planes(pixel_format, 127, 93, content), job, unbiased=True)


@pytest.mark.parametrize("pixel_format", [f for f in PIXEL_FORMATS if f.endswith("le")])
def test_deep_float_output_is_not_rounded_to_eight_bits(pixel_format: str) -> None:
    """Above 8 bits, float outputs come from the unrounded value: far closer than half an LSB."""
    job = simple(pixel_format, 61, 47, (40, 30), filter="bicubic", dtype="float32", **IMAGENET)
    error = check(make_planes(pixel_format, 61, 47, "random"), job)
    assert np.abs(error).max() < 0.2
    assert abs(error.mean()) < 0.02


sizes = st.integers(1, 64)


@st.composite
def whole_jobs(draw: st.DrawFn) -> Conversion:
    """Any crop of any small picture to any small grid, with any window of it."""
    width, height = draw(sizes), draw(sizes)
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    crop = (x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y)))
    grid = draw(sizes), draw(sizes)
    left, top = draw(st.integers(0, grid[0] - 1)), draw(st.integers(0, grid[1] - 1))
    kept = draw(st.integers(1, grid[0] - left)), draw(st.integers(1, grid[1] - top))
    transpose = draw(st.booleans())
    return Conversion(
        draw(st.sampled_from(PIXEL_FORMATS)),
        width,
        height,
        crop,
        grid,
        window=(left, top, *kept),
        canvas=kept[::-1] if transpose else kept,
        matrix=draw(st.sampled_from(OPTIONS["matrix"])),
        full_range=draw(st.booleans()),
        chroma_location=draw(st.sampled_from(OPTIONS["chroma_location"])),
        filter=draw(st.sampled_from(OPTIONS["filter"])),
        antialias=draw(st.booleans()),
        transpose=transpose,
        flip_x=draw(st.booleans()),
        flip_y=draw(st.booleans()),
        color=draw(st.sampled_from(OPTIONS["color"])),
    )


@given(job=whole_jobs(), content=st.sampled_from(OPTIONS["content"]), seed=st.integers(0, 99))
def test_any_size_crop_and_window(job: Conversion, content: str, seed: int) -> None:
    """Sizes from 1 x 1 up, crops that start and end on odd samples, windows of one sample."""
    check(make_planes(job.pixel_format, job.width, job.height, content, seed), job)


LARGE = [
    ("yuv420p", (1919, 1079), (224, 224), "bicubic"),
    ("yuv420p", (1919, 1079), (398, 224), "bilinear"),
    ("nv12", (1920, 1080), (336, 336), "lanczos"),
    ("yuv422p10le", (1280, 720), (224, 224), "area"),
    ("yuv420p", (3840, 16), (31, 16), "bicubic"),
    ("gray", (17, 4001), (17, 8), "area"),
    ("gray", (4096, 5), (8, 5), "bilinear"),
    ("yuv444p", (7, 2160), (7, 5), "lanczos"),
    ("rgb24", (64, 48), (1000, 700), "bicubic"),
    ("p010le", (1001, 333), (1001, 333), "bilinear"),
]


@pytest.mark.parametrize("content", ["random", "smooth", "extreme"])
@pytest.mark.parametrize(("pixel_format", "source", "size", "filter_name"), LARGE)
def test_large_and_odd_sizes(
    pixel_format: str,
    source: tuple[int, int],
    size: tuple[int, int],
    filter_name: str,
    content: str,
) -> None:
    """Long rows and long tap windows: several hundred taps must still sum to one, evenly.

    Weights have 14 bits: from a factor of 256 on (here 2160 to 5, 2,600 taps) black-and-white noise may be 1.1 LSB off.
    """
    job = simple(pixel_format, *source, size, filter=filter_name)
    extreme = max(a / b for a, b in zip(source, size, strict=True)) > 256
    planes = make_planes(pixel_format, *source, content)
    check(planes, job, unbiased=content == "random", limit=1.1 if extreme else 1.0)
