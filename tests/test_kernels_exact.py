"""What converted pixels must equal exactly: identities, relations between options, known colours.

Nothing here has a tolerance except the colour triples of the standards, which are rounded.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frametap.errors import UnsupportedError
from native import constant_planes, make_converter, make_planes, run
from reference import Conversion, parse_pixel_format, simple
from test_kernels import IMAGENET, OPTIONS, PIXEL_FORMATS

FILTERS = OPTIONS["filter"]
BASE = simple("yuv420p", 45, 37, (31, 22), filter="bicubic")


def make(job: Conversion, content: str = "random", seed: int = 0) -> list[np.ndarray]:
    """Planes for `job`'s picture."""
    return make_planes(job.pixel_format, job.width, job.height, content, seed)


# Identities.


@pytest.mark.parametrize("filter_name", FILTERS)
@pytest.mark.parametrize("antialias", [True, False])
def test_full_range_gray_at_its_own_size_is_the_input(filter_name: str, antialias: bool) -> None:
    job = simple("gray", 45, 37, filter=filter_name, antialias=antialias, full_range=True)
    (plane,) = make(job)
    out = run([plane], job)
    assert (out == plane).all()
    assert (
        run([plane], replace(job, color="gray", matrix="bt709", canvas=(45, 37))) == plane
    ).all()


@pytest.mark.parametrize("filter_name", FILTERS)
@pytest.mark.parametrize(
    "pixel_format",
    ["rgb24", "bgr24", "rgba", "bgra", "argb", "abgr", "rgb0", "0bgr", "gbrp", "gbrap"],
)
def test_rgb_at_its_own_size_is_the_input(pixel_format: str, filter_name: str) -> None:
    job = simple(pixel_format, 45, 37, filter=filter_name, matrix="rgb", layout="NHWC")
    planes = make(job)
    names = parse_pixel_format(pixel_format).planes
    step = len(names[0])
    where = {name: (p, i) for p, group in enumerate(names) for i, name in enumerate(group)}
    rgb = np.stack([planes[where[c][0]][:, where[c][1] :: step] for c in "rgb"], axis=-1)
    assert (run(planes, job) == rgb).all()


@pytest.mark.parametrize("filter_name", FILTERS)
@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
@pytest.mark.parametrize("size", [(33, 21), (7, 5), (90, 71)])
def test_one_colour_stays_one_colour(
    pixel_format: str, filter_name: str, size: tuple[int, int]
) -> None:
    """Weights sum to one exactly, so a flat picture is flat at any size, and equal to its 1 x 1."""
    top = 2 ** parse_pixel_format(pixel_format).depth - 1
    parts = {"y": 0.4, "u": 0.7, "v": 0.3, "r": 0.9, "g": 0.2, "b": 0.6}
    value = {name: int(part * top) for name, part in parts.items()}
    job = simple(pixel_format, 33, 21, size, filter=filter_name)
    out = run(constant_planes(pixel_format, 33, 21, value), job)
    pixel = run(
        constant_planes(pixel_format, 1, 1, value), simple(pixel_format, 1, 1, filter="nearest")
    )
    assert (out == pixel).all()


# Relations between options.


def test_window_is_a_part_of_the_grid() -> None:
    planes = make(BASE)
    whole = run(planes, BASE)
    part = replace(BASE, window=(5, 3, 20, 11), canvas=(20, 11))
    assert (run(planes, part) == whole[:, 3:14, 5:25]).all()


@pytest.mark.parametrize(
    "pixel_format", ["yuv420p", "nv12", "yuv422p10le", "gray", "rgb24", "gbrp"]
)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", OPTIONS["dtype"])
@pytest.mark.parametrize(("transpose", "flip_x", "flip_y"), OPTIONS["orientation"])
def test_orientation_moves_pixels_and_changes_none(
    pixel_format: str, layout: str, dtype: str, transpose: bool, flip_x: bool, flip_y: bool
) -> None:
    job = replace(BASE, pixel_format=pixel_format, layout=layout, dtype=dtype)
    planes = make(job)
    expected = run(planes, job)
    expected = expected if layout == "NCHW" else expected.transpose(2, 0, 1)
    expected = expected.swapaxes(1, 2) if transpose else expected
    expected = expected[:, :, ::-1] if flip_x else expected
    expected = expected[:, ::-1] if flip_y else expected
    canvas = expected.shape[:0:-1]
    turned = replace(
        job, transpose=transpose, flip_x=flip_x, flip_y=flip_y, canvas=(canvas[0], canvas[1])
    )
    out = run(planes, turned)
    assert (out == (expected if layout == "NCHW" else expected.transpose(1, 2, 0))).all()


def test_rotation_90_clockwise_is_transpose_and_flip_x() -> None:
    job = simple("gray", 3, 2, full_range=True, color="gray", transpose=True, flip_x=True)
    out = run([np.array([[1, 2, 3], [4, 5, 6]], np.uint8)], job)
    assert out[0].tolist() == [[4, 1], [5, 2], [6, 3]]


@pytest.mark.parametrize("dtype", OPTIONS["dtype"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p10le", "rgb24", "gray"])
def test_layout_and_colour_order_move_values_and_change_none(pixel_format: str, dtype: str) -> None:
    job = replace(BASE, pixel_format=pixel_format, dtype=dtype, **IMAGENET)
    planes = make(job)
    chw = run(planes, job)
    assert (run(planes, replace(job, layout="NHWC")) == chw.transpose(1, 2, 0)).all()
    assert (run(planes, replace(job, color="bgr")) == chw[::-1]).all()
    assert (
        run(planes, replace(job, color="bgr", layout="NHWC")) == chw[::-1].transpose(1, 2, 0)
    ).all()


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", OPTIONS["dtype"])
@pytest.mark.parametrize("color", ["rgb", "bgr", "gray"])
def test_padding_is_the_fill_colour(color: str, dtype: str, layout: str) -> None:
    """Everything but the window is `fill`; floats are normalised like any pixel of that colour."""
    fill = (200, 100, 50)
    job = replace(
        BASE,
        color=color,
        dtype=dtype,
        layout=layout,
        canvas=(40, 30),
        offset=(4, 7),
        fill=fill,
        **IMAGENET,
    )
    out = run(make(BASE), job)
    flat = simple("rgb24", 1, 1, color=color, dtype=dtype, layout=layout, **IMAGENET)
    colour = run([np.array([fill], np.uint8)], flat)
    outside = np.ones((30, 40), bool)
    outside[7:29, 4:35] = False
    shown = out if layout == "NCHW" else out.transpose(2, 0, 1)
    assert (shown[:, outside] == colour.reshape(-1, 1)).all()
    inside = run(make(BASE), replace(job, canvas=(31, 22), offset=(0, 0)))
    inside = inside if layout == "NCHW" else inside.transpose(2, 0, 1)
    assert (shown[:, 7:29, 4:35] == inside).all()


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12", "yuvj422p", "gray", "gbrp", "bgra"])
@pytest.mark.parametrize("scale", [{}, IMAGENET])
def test_float_outputs_are_the_normalised_bytes(
    pixel_format: str, scale: dict[str, tuple[float, float, float]]
) -> None:
    """8-bit sources: one fused multiply-add of the uint8 output, then nearest even for halves."""
    job = replace(BASE, pixel_format=pixel_format, **scale)
    planes = make(job)
    bytes_out = run(planes, job).astype(np.float64)
    std, mean = (np.reshape(three, (3, 1, 1)) for three in (job.std, job.mean))
    gain, bias = np.float32(1 / (255 * std)), np.float32(-mean / std)
    # float64 holds the product exactly, so this rounds once except in rare double-rounding cases.
    expected = (bytes_out * gain.astype(np.float64) + bias.astype(np.float64)).astype(np.float32)
    single = run(planes, replace(job, dtype="float32"))
    np.testing.assert_array_max_ulp(single, expected, maxulp=1)
    assert (single == expected).mean() > 0.999
    assert (run(planes, replace(job, dtype="float16")) == single.astype(np.float16)).all()
    bits = single.view(np.uint32).astype(np.uint64)
    nearest_even = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32)
    assert (run(planes, replace(job, dtype="bfloat16")) == nearest_even.view(np.float32)).all()


# Relations between pixel formats.

SAME_PICTURE = [
    ("yuvj420p", "yuv420p"),
    ("yuvj422p", "yuv422p"),
    ("yuvj444p", "yuv444p"),
    ("yuva420p", "yuv420p"),
    ("yuva444p10le", "yuv444p10le"),
    ("gbrap", "gbrp"),
    ("gbrap12le", "gbrp12le"),
]


@pytest.mark.parametrize("filter_name", FILTERS)
@pytest.mark.parametrize(("one", "other"), SAME_PICTURE)
def test_alpha_and_j_change_nothing(one: str, other: str, filter_name: str) -> None:
    job = replace(BASE, pixel_format=one, full_range=True, filter=filter_name)
    planes = make(job)
    assert (run(planes, job) == run(planes[:3], replace(job, pixel_format=other))).all()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("filter_name", FILTERS)
@pytest.mark.parametrize(
    ("planar", "interleaved", "shift"),
    [("yuv420p", "nv12", 0), ("yuv420p10le", "p010le", 6), ("yuv420p12le", "p012le", 4)],
)
def test_semiplanar_equals_planar(
    planar: str, interleaved: str, shift: int, filter_name: str, dtype: str
) -> None:
    """What NVDEC writes gives the same bytes as what FFmpeg's own decoders write."""
    for full_range in (False, True):
        job = replace(
            BASE, pixel_format=planar, filter=filter_name, dtype=dtype, full_range=full_range
        )
        luma, blue, red = make(job)
        chroma = np.stack([blue, red], axis=-1).reshape(len(blue), -1)
        out = run([luma << shift, chroma << shift], replace(job, pixel_format=interleaved))
        assert (out == run([luma, blue, red], job)).all()


@pytest.mark.parametrize(
    "pixel_format", ["yuv420p", "nv12", "p010le", "gray", "rgb24", "yuva444p10le"]
)
def test_negative_pitch_reads_rows_from_the_bottom(pixel_format: str) -> None:
    job = replace(BASE, pixel_format=pixel_format)
    planes = make(job)
    bottom_up = [np.ascontiguousarray(plane[::-1])[::-1] for plane in planes]
    assert bottom_up[0].strides[0] < 0
    assert (run(bottom_up, job) == run(planes, job)).all()


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv411p", "nv12", "p010le", "rgb24", "gray"])
def test_crop_sees_nothing_outside_it(pixel_format: str) -> None:
    """An even crop converts like a copy of it: no tap reaches a neighbour."""
    job = replace(BASE, pixel_format=pixel_format, crop=(8, 4, 24, 20), filter="lanczos")
    planes = make(job)
    whole = parse_pixel_format(pixel_format)
    copies = []
    for plane, names in zip(planes, whole.planes, strict=True):
        sub_x, sub_y = whole.subsampling(names[0])
        step = len(names)
        columns = slice(8 // sub_x * step, 32 // sub_x * step)
        copies.append(np.ascontiguousarray(plane[4 // sub_y : 24 // sub_y, columns]))
    alone = replace(job, width=24, height=20, crop=(0, 0, 24, 20))
    assert (run(planes, job) == run(copies, alone)).all()


# Known colours.

COLOUR_BARS = {  # 100% bars, 8-bit limited range Y, Cb, Cr (BT.601 / BT.709 studio encoding)
    "bt601": {
        (255, 255, 255): (235, 128, 128),
        (255, 255, 0): (210, 16, 146),
        (0, 255, 255): (170, 166, 16),
        (0, 255, 0): (145, 54, 34),
        (255, 0, 255): (106, 202, 222),
        (255, 0, 0): (81, 90, 240),
        (0, 0, 255): (41, 240, 110),
        (0, 0, 0): (16, 128, 128),
    },
    "bt709": {
        (255, 255, 255): (235, 128, 128),
        (255, 255, 0): (219, 16, 138),
        (0, 255, 255): (188, 154, 16),
        (0, 255, 0): (173, 42, 26),
        (255, 0, 255): (78, 214, 230),
        (255, 0, 0): (63, 102, 240),
        (0, 0, 255): (32, 240, 118),
        (0, 0, 0): (16, 128, 128),
    },
}


@pytest.mark.parametrize("matrix", list(COLOUR_BARS))
@pytest.mark.parametrize(("pixel_format", "shift"), [("yuv444p", 0), ("nv12", 0), ("p010le", 2)])
def test_colour_bars_of_the_standards(matrix: str, pixel_format: str, shift: int) -> None:
    for rgb, yuv in COLOUR_BARS[matrix].items():
        value = dict(zip("yuv", (v << shift for v in yuv), strict=True))
        job = simple(pixel_format, 4, 4, matrix=matrix, layout="NHWC")
        out = run(constant_planes(pixel_format, 4, 4, value), job).astype(int)
        tolerance = 0 if rgb in ((0, 0, 0), (255, 255, 255)) else 2  # the triples are rounded
        assert np.abs(out - rgb).max() <= tolerance, (rgb, yuv, out[0, 0])


@pytest.mark.parametrize(
    ("pixel_format", "depth"), [("gray", 8), ("gray10le", 10), ("gray12le", 12)]
)
@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_black_and_white_of_both_ranges(pixel_format: str, depth: int, color: str) -> None:
    limited = {16: 0, 235: 255, 0: 0, 255: 255}
    for sample, expected in limited.items():
        planes = constant_planes(pixel_format, 3, 3, {"y": sample << (depth - 8)})
        assert (run(planes, simple(pixel_format, 3, 3, color=color)) == expected).all()
    for sample, expected in ((0, 0), (2**depth - 1, 255)):
        planes = constant_planes(pixel_format, 3, 3, {"y": sample})
        job = simple(pixel_format, 3, 3, color=color, full_range=True)
        assert (run(planes, job) == expected).all()


# Errors and memory.


@pytest.mark.parametrize("name", ["xyz", "yuv420p99le", "pal8"])
def test_unknown_pixel_format_is_named(name: str) -> None:
    with pytest.raises(UnsupportedError, match=name):
        make_converter(replace(BASE, pixel_format=name))


@pytest.mark.parametrize(
    "nonsense",
    [
        {"crop": (0, 0, 46, 37)},
        {"crop": (-1, 0, 10, 10)},
        {"crop": (0, 0, 0, 10)},
        {"crop": (2**31 - 1, 0, 10, 10)},
        {"grid": (0, 22)},
        {"window": (0, 0, 32, 22)},
        {"window": (0, -1, 31, 22)},
        {"canvas": (30, 22)},
        {"offset": (1, 0)},
        {"offset": (-1, 0)},
        {"filter": "cubic"},
        {"chroma_location": "right"},
        {"layout": "CHWN"},
        {"dtype": "float64"},
        {"color": "hsv"},
        {"std": (1.0, 0.0, 1.0), "dtype": "float32"},
        {"mean": (float("nan"), 0.0, 0.0), "dtype": "float16"},
        {"width": 0},
    ],
)
def test_nonsense_is_refused(nonsense: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        make_converter(replace(BASE, **nonsense))


def test_unresolved_matrix_is_refused() -> None:
    """Transform.resolve settles "unspecified"; reaching the converter with it is a mistake."""
    with pytest.raises((ValueError, UnsupportedError), match="unspecified"):
        make_converter(replace(BASE, matrix="unspecified"))


def test_too_few_planes_are_refused() -> None:
    with pytest.raises(ValueError, match="plane"):
        run(make(BASE)[:2], BASE)


def run_script(name: str, **environment: str) -> str:
    """Run a script beside this file in its own process; its output, or a failure."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(name))],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (
        f"exit {done.returncode}\n{done.stdout[-500:]}\n{done.stderr[-2000:]}"
    )
    return done.stdout


def test_no_read_past_any_plane() -> None:
    """Planes that end where unreadable memory begins: one byte too far would be a crash."""
    assert "all planes read within bounds" in run_script("guarded_planes.py")


def test_every_instruction_set_gives_the_same_bytes() -> None:
    """The best variant of this machine and the portable one agree byte for byte."""
    best, portable = run_script("digest.py"), run_script("digest.py", FRAMETAP_CPU="base")
    assert best == portable
