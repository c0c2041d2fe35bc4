"""Every instruction set this CPU has gives the bytes of the base one, whatever the picture and the numbers."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frametap import _core
from native import make_converter, make_planes, run
from reference import Conversion, simple
from test_kernels import PIXEL_FORMATS

ISAS = _core.cpu_isas()
ANY_FORMAT = st.sampled_from(_core.pixel_formats())
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _unforced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRAMETAP_CPU", raising=False)


def random_planes(job: Conversion, seed: int) -> list[np.ndarray]:
    """Random bytes, planes as FFmpeg sizes them: also for formats that reference.py does not describe."""
    rng = np.random.default_rng(seed)
    frame = av.VideoFrame(job.width, job.height, job.pixel_format)
    return [rng.integers(0, 256, (p.height, p.line_size), np.uint8) for p in frame.planes]


def repad(plane: np.ndarray, extra: int) -> np.ndarray:
    """The same samples in rows of another pitch, other noise after them."""
    store = np.full((plane.shape[0], plane.shape[1] + extra), 0xEE, plane.dtype)
    store[:, : plane.shape[1]] = plane
    return store[:, : plane.shape[1]]


def run_as(isa: str, planes: list[np.ndarray], job: Conversion) -> np.ndarray:
    """Convert on one instruction set; fails when the padding of a row or a byte round the output matters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMETAP_CPU", isa)
        return run(planes, job)


@st.composite
def jobs(draw: st.DrawFn, formats: st.SearchStrategy[str] = ANY_FORMAT) -> Conversion:
    """Any conversion that makes sense, small sizes first."""

    def part_of(size: int) -> tuple[int, int]:
        length = draw(st.integers(1, size))
        return draw(st.integers(0, size - length)), length

    def one_of(*values: str) -> str:
        return draw(st.sampled_from(values))

    width, height = draw(st.integers(1, 300)), draw(st.integers(1, 100))
    (x, w), (y, h) = part_of(width), part_of(height)
    grid = draw(
        st.sampled_from([(w, h), (2 * w, 2 * h), (w, 2 * h)])
        | st.tuples(st.integers(1, 300), st.integers(1, 60))
    )
    (wx, ww), (wy, wh) = (
        ((0, grid[0]), (0, grid[1]))
        if draw(st.booleans())
        else (part_of(grid[0]), part_of(grid[1]))
    )
    transpose = draw(st.booleans())
    oriented = (wh, ww) if transpose else (ww, wh)
    left, top, right, bottom = draw(st.tuples(*[st.integers(0, 9)] * 4))
    return Conversion(
        pixel_format=draw(formats),
        width=width,
        height=height,
        matrix=one_of("bt601", "bt709", "bt2020nc", "smpte240m", "fcc", "rgb"),
        full_range=draw(st.booleans()),
        chroma_location=one_of("left", "center", "topleft", "top", "bottomleft", "bottom"),
        crop=(x, y, w, h),
        grid=grid,
        window=(wx, wy, ww, wh),
        filter=one_of("bilinear", "bicubic", "lanczos", "area", "nearest"),
        antialias=draw(st.booleans()),
        transpose=transpose,
        flip_x=draw(st.booleans()),
        flip_y=draw(st.booleans()),
        canvas=(oriented[0] + left + right, oriented[1] + top + bottom),
        offset=(left, top),
        fill=draw(st.tuples(*[st.integers(0, 255)] * 3)),
        color=one_of("rgb", "bgr", "gray"),
        layout=one_of("NCHW", "NHWC"),
        dtype=one_of("uint8", "float16", "bfloat16", "float32"),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        tone_map=one_of("none", "none", "pq", "hlg"),
        primaries=one_of("bt2020", "display-p3", "bt709"),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(job=jobs(), seed=st.integers(0, 99))
def test_every_isa_equals_base(job: Conversion, seed: int) -> None:
    planes = random_planes(job, seed)
    expected = run_as("base", planes, job)
    for isa in ISAS[1:]:
        assert (run_as(isa, planes, job) == expected).all(), isa


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(job=jobs(st.sampled_from(PIXEL_FORMATS)), extra=st.integers(0, 70), bottom_up=st.booleans())
def test_pitch_and_padding_do_not_matter(job: Conversion, extra: int, bottom_up: bool) -> None:
    planes = make_planes(job.pixel_format, job.width, job.height, "extreme", extra)
    expected = run_as("base", planes, job)
    planes = [repad(plane, extra) for plane in planes]
    if bottom_up:
        planes = [np.ascontiguousarray(plane[::-1])[::-1] for plane in planes]
    for isa in ISAS[1:]:
        assert (run_as(isa, planes, job) == expected).all(), isa


@pytest.mark.parametrize("isa", ISAS)
def test_words_no_decoder_writes(isa: str) -> None:
    """10-bit samples with all 16 bits set: whatever comes out, it is the same everywhere."""
    rng = np.random.default_rng(3)
    planes = [rng.integers(0, 65536, (h, w), np.uint16) for h, w in ((37, 90), (19, 45), (19, 45))]
    job = simple("yuv420p10le", 90, 37, (40, 20), filter="lanczos", dtype="float32")
    assert (run_as(isa, planes, job) == run_as("base", planes, job)).all()


@pytest.mark.parametrize("size", [(1920, 1080), (1918, 270), (1, 1080)])
def test_unscaled_full_hd(size: tuple[int, int]) -> None:
    """Large slots are written past the caches: every byte still arrives, also where rows are not aligned."""
    planes = make_planes("yuv420p", *size, "random")
    job = simple("yuv420p", *size)
    expected = run_as("base", planes, job)
    for isa in ISAS[1:]:
        assert (run_as(isa, planes, job) == expected).all(), isa


@pytest.mark.parametrize(
    "options", [{}, {"layout": "NHWC"}, {"transpose": True}, {"dtype": "float16"}]
)
@pytest.mark.parametrize("threads", [2, 3, 64, 10_000])
def test_rows_split_over_threads(threads: int, options: dict[str, Any]) -> None:
    job = simple("yuv420p", 1500, 1001, **options)
    planes = make_planes("yuv420p", 1500, 1001, "random")
    assert (run(planes, job, threads) == run(planes, job)).all()


def test_one_converter_in_many_threads() -> None:
    job = simple("yuv420p", 300, 200, (111, 77), filter="bicubic")
    converter = make_converter(job)
    pictures = [make_planes("yuv420p", 300, 200, "random", seed) for seed in range(16)]

    def convert(planes: list[np.ndarray]) -> np.ndarray:
        out = np.empty(job.out_shape, np.uint8)
        for _ in range(20):
            converter.convert([(p.ctypes.data, p.strides[0]) for p in planes], out.ctypes.data)
        return out

    with ThreadPoolExecutor(4) as threads:
        for planes, out in zip(pictures, threads.map(convert, pictures), strict=True):
            assert (out == run(planes, job)).all()


def test_forced_isa_is_used_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ISAS[0] == "base"
    assert _core.cpu_isa() == ISAS[-1]
    for isa in ISAS:
        monkeypatch.setenv("FRAMETAP_CPU", isa)
        assert _core.cpu_isa() == isa
    monkeypatch.setenv("FRAMETAP_CPU", "mmx")
    with pytest.raises(ValueError, match=r"mmx.*base, avx2, avx512"):
        _core.cpu_isa()


def isa_objects() -> list[Path]:
    return sorted(ROOT.glob("build/cp*/CMakeFiles/kernels_*.dir/**/*.o"))


@pytest.mark.skipif(not isa_objects(), reason="not built in this checkout")
@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
def test_isa_objects_share_no_functions() -> None:
    """A weak symbol in one of them could replace the base copy at link time with code this CPU cannot run."""
    for path in isa_objects():
        symbols = subprocess.run(
            ["nm", "-C", path], capture_output=True, text=True, check=True
        ).stdout
        assert [line for line in symbols.splitlines() if line.split()[-2] in "WVuw"] == [], path
        defined = [
            line for line in symbols.splitlines() if " T " in line or " D " in line or " R " in line
        ]
        assert all("::kTable" in line for line in defined), path
