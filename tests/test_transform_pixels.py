"""`Transform.resolve` and `_core.Converter` together, seen from the display side.

The gold turns the decoded planes upright with numpy first and then crops, resizes and pads in
display orientation, with numbers worked out here; frametap does it the other way round, in decoded
orientation, and turns at the store. Both must show the same picture.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import numpy as np
import pytest

import reference
from frametap.transform import Box, CenterCrop, ConvertParams, Letterbox, PictureFormat, Transform
from native import make_planes, run
from reference import Conversion, Plane, parse_pixel_format

WIDTH, HEIGHT = 44, 30  # decoded; even, so that a turned 4:2:0 picture is a 4:2:0 picture

ORIENTATIONS = {  # name: (what a viewer does with numpy, the flags that say so)
    "upright": (lambda a: a, {}),
    "90 clockwise": (lambda a: np.rot90(a, -1), {"transpose": True, "flip_x": True}),
    "180": (lambda a: np.rot90(a, 2), {"flip_x": True, "flip_y": True}),
    "90 counter-clockwise": (lambda a: np.rot90(a, 1), {"transpose": True, "flip_y": True}),
    "mirrored": (np.fliplr, {"flip_x": True}),
    "upside down": (np.flipud, {"flip_y": True}),
    "transposed": (np.transpose, {"transpose": True}),
    "anti-transposed": (
        lambda a: np.rot90(a, 2).T,
        {"transpose": True, "flip_x": True, "flip_y": True},
    ),
}


def whole(shown: tuple[int, int], size: tuple[int, int]) -> dict[str, Any]:
    """Display geometry of a plain resize of the whole picture to (width, height)."""
    return {"crop": (0, 0, *shown), "grid": size, "window": (0, 0, *size), "canvas": size}


def shorter_side(shown: tuple[int, int]) -> dict[str, Any]:
    """torchvision's Resize(20): the shorter side becomes 20, the longer int(20 * long / short)."""
    longer = int(20 * max(shown) / min(shown))
    return whole(shown, (longer, 20) if shown[0] > shown[1] else (20, longer))


def boxed(shown: tuple[int, int]) -> dict[str, Any]:
    """Box(5, 3, 21, 18) to 13 high and 17 wide."""
    return {**whole(shown, (17, 13)), "crop": (5, 3, 21, 18)}


def resize_and_centre(shown: tuple[int, int]) -> dict[str, Any]:
    """torchvision's Resize(20) and CenterCrop((11, 14)), whose corner is rounded half to even."""
    grid = shorter_side(shown)["grid"]
    corner = round((grid[0] - 14) / 2), round((grid[1] - 11) / 2)
    return {**whole(shown, grid), "window": (*corner, 14, 11), "canvas": (14, 11)}


def letterboxed(shown: tuple[int, int]) -> dict[str, Any]:
    """Fitted into 25 high and 27 wide, the rest filled, the odd pixel right or below."""
    ratio = min(27 / shown[0], 25 / shown[1])
    grid = round(shown[0] * ratio), round(shown[1] * ratio)
    offset = (27 - grid[0]) // 2, (25 - grid[1]) // 2
    fill = (10, 120, 230)
    return {**whole(shown, grid), "canvas": (27, 25), "offset": offset, "fill": fill}


TRANSFORMS = {
    "own size": ({}, lambda shown: whole(shown, shown)),
    "exact size": ({"size": (19, 33)}, lambda shown: whole(shown, (33, 19))),
    "shorter side": ({"size": 20}, shorter_side),
    "box": ({"crop": Box(5, 3, 21, 18), "size": (13, 17)}, boxed),
    "resize, centre": ({"size": 20, "window": CenterCrop(11, 14)}, resize_and_centre),
    "letterbox": ({"size": (25, 27), "pad": Letterbox((10, 120, 230))}, letterboxed),
}


def turn(planes: list[Plane], pixel_format: str, viewer: Any) -> list[Plane]:
    """Each plane turned as a viewer turns the picture; interleaved samples stay together."""
    turned = []
    for plane, names in zip(planes, parse_pixel_format(pixel_format).planes, strict=True):
        step = len(names)
        samples = [viewer(plane[:, position::step]) for position in range(step)]
        turned.append(np.stack(samples, axis=-1).reshape(len(samples[0]), -1))
    return turned


@pytest.mark.parametrize("orientation", list(ORIENTATIONS))
@pytest.mark.parametrize("wish", list(TRANSFORMS))
@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12", "yuv444p10le", "gbrp", "rgb24"])
@pytest.mark.parametrize("filter_name", ["bilinear", "bicubic"])
def test_transform_acts_on_the_displayed_picture(
    orientation: str, wish: str, pixel_format: str, filter_name: str
) -> None:
    viewer, flags = ORIENTATIONS[orientation]
    arguments, geometry = TRANSFORMS[wish]
    picture = PictureFormat(
        pixel_format, WIDTH, HEIGHT, "bt709", False, chroma_location="center", **flags
    )
    params = Transform(filter=filter_name, **arguments).resolve(picture)
    planes = make_planes(pixel_format, WIDTH, HEIGHT, "random")
    out = run(planes, Conversion(**asdict(params)))

    shown = (HEIGHT, WIDTH) if flags.get("transpose") else (WIDTH, HEIGHT)
    upright = Conversion(
        pixel_format,
        *shown,
        matrix="bt709",
        chroma_location="center",
        filter=filter_name,
        **geometry(shown),
    )
    gold = reference.gold(turn(planes, pixel_format, viewer), upright)
    assert out.shape == gold.shape
    assert np.abs(out - gold).max() <= 1


def test_numbers_reach_the_converter_in_the_order_of_the_channels() -> None:
    """mean and std are R, G, B; with color="bgr" the first channel is B and takes the third."""
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    picture = PictureFormat("rgb24", 1, 1, "rgb", True)
    for color, order in (("rgb", [0, 1, 2]), ("bgr", [2, 1, 0])):
        transform = Transform(dtype="float32", mean=mean, std=std, color=color)
        out = run(
            [np.array([[51, 102, 204]], np.uint8)],
            Conversion(**asdict(transform.resolve(picture))),
        )
        expected = (np.array([0.2, 0.4, 0.8]) - mean) / std
        np.testing.assert_allclose(out[:, 0, 0], expected[order], rtol=1e-6)


@pytest.mark.parametrize("unspecified", ["bt601", "bt709"])
def test_a_stream_that_names_no_matrix_gets_the_one_asked_for(unspecified: str) -> None:
    planes = make_planes("yuv444p", 9, 7, "random")
    transform = Transform(unspecified_matrix=unspecified)
    outputs = []
    for matrix in ("unspecified", unspecified):
        params = transform.resolve(PictureFormat("yuv444p", 9, 7, matrix, False))
        outputs.append(run(planes, Conversion(**asdict(params))))
    assert (outputs[0] == outputs[1]).all()


def test_reference_takes_the_very_arguments_of_the_converter() -> None:
    """A new converter argument must not slip past the gold."""
    assert {f.name for f in fields(ConvertParams)} == {f.name for f in fields(Conversion)}
