"""Whatever way round a picture is stored, the output shows the same part of the displayed picture."""

from __future__ import annotations

import itertools
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from frametap import _core
from frametap.transform import (
    Box,
    CenterCrop,
    ConvertParams,
    Letterbox,
    PictureFormat,
    PixelBudget,
    RandomCrop,
    Transform,
)

ORIENTATIONS = list(itertools.product([False, True], repeat=3))


def picture(width: int, height: int) -> PictureFormat:
    return PictureFormat("rgb24", width, height, "rgb", full_range=True)


def turned(upright: PictureFormat, transpose: bool, flip_x: bool, flip_y: bool) -> PictureFormat:
    """The format of a decoded picture that is displayed as ``upright`` is."""
    width, height = upright.width, upright.height
    if transpose:
        width, height = height, width
    return replace(
        upright, width=width, height=height, transpose=transpose, flip_x=flip_x, flip_y=flip_y
    )


def sampled_points(params: ConvertParams) -> NDArray[np.float64]:
    """float64[H, W, 2]: x and y, in decoded pixels, of what each output pixel is sampled at; NaN is padding.

    Written from the converter's contract: crop, resample to the grid, keep the window, transpose, flip, place.
    """
    x, y, width, height = params.crop
    grid_x = x + (np.arange(params.grid[0]) + 0.5) * width / params.grid[0]
    grid_y = y + (np.arange(params.grid[1]) + 0.5) * height / params.grid[1]
    left, top, columns, rows = params.window
    points = np.stack(np.meshgrid(grid_x[left : left + columns], grid_y[top : top + rows]), axis=-1)
    assert points.shape == (rows, columns, 2)
    points = oriented(points, params)
    canvas = np.full((params.canvas[1], params.canvas[0], 2), np.nan)
    left, top = params.offset
    canvas[top : top + points.shape[0], left : left + points.shape[1]] = points
    return canvas


def oriented(image: NDArray[Any], how: PictureFormat | ConvertParams) -> NDArray[Any]:
    """Turn a decoded image [H, W, ...] for display: swap x and y, mirror columns, mirror rows."""
    image = image.swapaxes(0, 1) if how.transpose else image
    image = image[:, ::-1] if how.flip_x else image
    return image[::-1] if how.flip_y else image


def displayed_points(points: NDArray[np.float64], stored: PictureFormat) -> NDArray[np.float64]:
    """Move points from decoded to displayed coordinates."""
    width, height = stored.display_size
    x, y = points[..., 0], points[..., 1]
    if stored.transpose:
        x, y = y, x
    return np.stack(
        [width - x if stored.flip_x else x, height - y if stored.flip_y else y], axis=-1
    )


@st.composite
def crops(draw: st.DrawFn, width: int, height: int) -> Any:
    w, h = draw(st.integers(1, width)), draw(st.integers(1, height))
    kind = draw(st.sampled_from(["none", "center", "random", "box"]))
    if kind == "none":
        return None
    if kind == "center":
        return CenterCrop(h, w)
    if kind == "random":
        return RandomCrop((h, w), seed=draw(st.integers(0, 99)))
    return Box(draw(st.integers(0, width - w)), draw(st.integers(0, height - h)), w, h)


@st.composite
def cases(draw: st.DrawFn) -> tuple[PictureFormat, Transform]:
    """An upright picture and a transform that fits it: every way of cropping, sizing and padding."""
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    upright = picture(width, height)
    side = st.integers(1, 40)
    size = draw(
        st.none() | st.integers(1, 9) | st.tuples(side, side) | st.just(PixelBudget(9, 900, 3))
    )
    plain = Transform(size, crop=draw(crops(width, height)))
    if isinstance(size, tuple) and draw(st.booleans()):
        return upright, replace(plain, pad=Letterbox(draw(st.integers(0, 255))))
    return upright, replace(plain, window=draw(crops(*plain.resolve(upright).grid)))


@given(cases(), st.sampled_from(ORIENTATIONS))
def test_every_orientation_shows_the_same(
    case: tuple[PictureFormat, Transform], orientation: tuple[bool, bool, bool]
) -> None:
    upright, transform = case
    stored = turned(upright, *orientation)
    assert stored.display_size == upright.display_size
    mine = transform.resolve(stored)
    assert mine.out_shape == transform.resolve(upright).out_shape
    assert_allclose(
        displayed_points(sampled_points(mine), stored),
        sampled_points(transform.resolve(upright)),
        atol=1e-9,
    )


@given(cases())
def test_window_cuts_the_full_grid(case: tuple[PictureFormat, Transform]) -> None:
    upright, transform = case
    cut, full = transform.resolve(upright), replace(transform, window=None).resolve(upright)
    assert (cut.crop, cut.grid) == (full.crop, full.grid)
    if transform.pad is None:
        x, y, width, height = cut.window
        expected = sampled_points(full)[y : y + height, x : x + width]
        assert_array_equal(sampled_points(cut), expected)


@given(cases(), st.sampled_from(ORIENTATIONS))
def test_numbers_lie_inside_what_they_are_cut_from(
    case: tuple[PictureFormat, Transform], orientation: tuple[bool, bool, bool]
) -> None:
    stored = turned(case[0], *orientation)
    params = case[1].resolve(stored)
    for (x, y, width, height), outer in (
        (params.crop, (stored.width, stored.height)),
        (params.window, params.grid),
    ):
        assert x >= 0
        assert y >= 0
        assert 1 <= width <= outer[0] - x
        assert 1 <= height <= outer[1] - y
    assert _core.Converter(**asdict(params)).out_shape == params.out_shape


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("size", [(11, 3), (3, 11), (11, 1), (1, 1)])
def test_gray_of_few_columns(size: tuple[int, int], layout: Literal["NHWC", "NCHW"]) -> None:
    """Three pixels to a line are not three channels to a pixel."""
    upright = Transform(size=size, color="gray", layout=layout)
    lying = Transform(size=size[::-1], color="gray", layout=layout)
    rows = np.random.default_rng(3).integers(0, 256, size=(14, 14, 3), dtype=np.uint8)
    results = []
    for transform, orientation in ((lying, (False,) * 3), (upright, (True, False, False))):
        params = transform.resolve(turned(picture(14, 14), *orientation))
        out = np.zeros(params.out_shape, np.uint8)
        _core.Converter(**asdict(params)).convert(
            [(rows.ctypes.data, rows.strides[0])], out.ctypes.data
        )
        results.append(out.squeeze())
    assert_array_equal(results[1], results[0].T)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(
    "transform",
    [Transform(layout="NHWC"), Transform(crop=Box(1, 2, 3, 4), layout="NHWC"),
     Transform(size=(10, 10), window=Box(3, 1, 2, 4), pad=None, crop=Box(0, 0, 10, 10), layout="NHWC")],
    ids=["all", "crop", "window"],
)  # fmt: skip
def test_the_converter_agrees_about_orientation(
    transform: Transform, orientation: tuple[bool, bool, bool]
) -> None:
    """No resampling here, so every pixel comes out as it went in, at its place in the displayed picture."""
    stored = turned(picture(14, 11), *orientation)
    decoded = np.random.default_rng(3).integers(
        0, 256, size=(stored.height, stored.width, 3), dtype=np.uint8
    )
    params = transform.resolve(stored)
    out = np.zeros(params.out_shape, np.uint8)
    _core.Converter(**asdict(params)).convert(
        [(decoded.ctypes.data, decoded.strides[0])], out.ctypes.data
    )
    expected = oriented(decoded, stored)
    for cut in (transform.crop, transform.window):
        if isinstance(cut, Box):
            expected = expected[cut.y : cut.y + cut.height, cut.x : cut.x + cut.width]
    assert_array_equal(out, expected)
