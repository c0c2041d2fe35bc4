"""Transform: sizes, places and values by example, and every refusal."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frametap import UnsupportedError
from frametap.transform import (
    Box,
    CenterCrop,
    Letterbox,
    PictureFormat,
    PixelBudget,
    RandomCrop,
    Transform,
)

HD = PictureFormat("yuv420p", 1920, 1080, "bt709", full_range=False)


def picture(width: int, height: int, **rest: Any) -> PictureFormat:
    return PictureFormat("rgb24", width, height, "rgb", full_range=True, **rest)


# --- by example ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "height", "width", "expected"),
    [
        (None, 1080, 1920, (1080, 1920)),
        (336, 1080, 1920, (336, 597)),  # int(336 * 1920 / 1080) = int(597.33)
        (336, 1920, 1080, (597, 336)),
        (256, 1080, 1920, (256, 455)),
        (224, 500, 500, (224, 224)),
        (1, 3, 16384, (1, 5461)),
        ((224, 400), 1080, 1920, (224, 400)),
        ([7, 5], 9, 9, (7, 5)),
        (np.int64(10), 10, 25, (10, 25)),
        (PixelBudget(56 * 56, 28 * 28 * 1280), 1080, 1920, (728, 1316)),
    ],
    ids=str,
)
def test_size(size: Any, height: int, width: int, expected: tuple[int, int]) -> None:
    params = Transform(size).resolve(picture(width, height))
    assert params.grid == expected[::-1]
    assert params.window == (0, 0, *expected[::-1])
    assert params.canvas == expected[::-1]
    assert params.offset == (0, 0)
    assert params.out_shape == (3, *expected)


@pytest.mark.parametrize(
    ("height", "width", "size", "window", "grid", "corner"),
    [
        # torchvision Resize(size), CenterCrop(window): int(round((H - h) / 2.0)), halves to even
        (1080, 1920, 256, 224, (256, 455), (16, 116)),  # 115.5 -> 116
        (1080, 1920, 256, 223, (256, 455), (16, 116)),  # 16.5 -> 16
        (1920, 1080, 256, 224, (455, 256), (116, 16)),
        (480, 640, 224, 224, (224, 298), (0, 37)),
        (240, 325, 224, 224, (224, 303), (0, 40)),  # 39.5 -> 40
        (240, 323, 224, 224, (224, 301), (0, 38)),  # 38.5 -> 38
        (100, 100, 225, (224, 225), (225, 225), (0, 0)),  # 0.5 -> 0
    ],
)
def test_window_is_torchvisions_resize_and_center_crop(
    height: int, width: int, size: int, window: Any, grid: Any, corner: Any
) -> None:
    params = Transform(size=size, window=CenterCrop(window)).resolve(picture(width, height))
    assert params.grid == grid[::-1]
    assert params.window[:2] == corner[::-1]
    h, w = (window, window) if isinstance(window, int) else window
    assert params.window[2:] == params.canvas == (w, h)


def test_crop_is_cut_from_the_source_before_the_resize() -> None:
    params = Transform(size=(240, 320), crop=CenterCrop(720, 960)).resolve(HD)
    assert params.crop == (480, 180, 960, 720)
    assert params.grid == (320, 240)
    params = Transform(size=100, crop=Box(x=11, y=7, width=300, height=600)).resolve(HD)
    assert params.crop == (11, 7, 300, 600)
    assert params.grid == (100, 200)


def test_crop_and_size_mean_the_displayed_picture() -> None:
    """A phone's portrait video: decoded 1920x1080, shown 1080x1920, rotated by 90 degrees clockwise."""
    phone = replace(HD, transpose=True, flip_x=True)
    params = Transform(size=270, crop=Box(x=0, y=0, width=1080, height=480)).resolve(phone)
    assert params.crop == (0, 0, 480, 1080)  # the top of a clockwise turn is the decoded left
    assert params.grid == (270, 607)
    assert params.canvas == (607, 270)
    top_left = Transform(crop=Box(0, 0, 2, 4)).resolve(phone)
    assert top_left.crop == (0, 1078, 4, 2)  # and its left is the decoded bottom


@pytest.mark.parametrize(
    ("height", "width", "size", "grid", "offset"),
    [
        (1080, 1920, (640, 640), (640, 360), (0, 140)),
        (1920, 1080, (640, 640), (360, 640), (140, 0)),
        (100, 201, (640, 640), (640, 318), (0, 161)),
        (100, 199, (640, 641), (641, 322), (0, 159)),
        (3, 5000, (10, 100), (100, 1), (0, 4)),  # never less than a row; the odd row below
        (50, 50, (224, 448), (224, 224), (112, 0)),
    ],
)
def test_letterbox(height: int, width: int, size: Any, grid: Any, offset: Any) -> None:
    params = Transform(size=size, pad=Letterbox((1, 2, 3))).resolve(picture(width, height))
    assert params.grid == grid
    assert params.offset == offset
    assert params.canvas == size[::-1]
    assert params.fill == (1, 2, 3)
    assert params.out_shape == (3, *size)


def test_random_crop_is_seeded_and_drawn_in_bounds() -> None:
    seeded = Transform(crop=RandomCrop((100, 200), seed=5))
    assert seeded.resolve(HD) == seeded.resolve(HD)
    free = Transform(crop=RandomCrop(2))
    rng = np.random.default_rng(0)
    places = {free.resolve(picture(4, 3), rng=rng).crop for _ in range(200)}
    assert places == {(x, y, 2, 2) for x in range(3) for y in range(2)}
    assert free.resolve(HD, rng=np.random.default_rng(1)) == free.resolve(
        HD, rng=np.random.default_rng(1)
    )
    assert len({free.resolve(HD).crop for _ in range(5)}) > 1


def test_a_shared_budget_needs_the_number_of_frames() -> None:
    transform = Transform(PixelBudget.qwen_vl(total_pixels=1000 * 784))
    assert transform.out_shape(HD, num_frames=8) == (3, 308, 588)
    assert transform.out_shape(HD, num_frames=2) == (3, 560, 1008)
    with pytest.raises(
        ValueError, match=r"shares total_pixels=784000 .* resolve\(..., num_frames="
    ):
        transform.resolve(HD)


@pytest.mark.parametrize(
    ("rest", "mean", "std"),
    [
        ({}, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        ({"mean": 0.5, "std": 0.25}, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        ({"mean": [0.485, 0.456, 0.406]}, (0.485, 0.456, 0.406), (1.0, 1.0, 1.0)),
        ({"std": np.array([1, 2, 3])}, (0.0, 0.0, 0.0), (1.0, 2.0, 3.0)),
        ({"mean": (0.1, 0.2, 0.3), "color": "bgr"}, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0)),
        ({"mean": 0.5, "color": "gray"}, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)),
    ],
)
def test_mean_and_std(rest: dict[str, Any], mean: Any, std: Any) -> None:
    params = Transform(dtype="float32", **rest).resolve(HD)
    assert params.mean == mean
    assert params.std == std


def test_numbers_and_names_are_passed_on() -> None:
    made = Transform(
        dtype="bfloat16", layout="NHWC", color="gray", filter="bicubic", antialias=False
    ).resolve(replace(HD, full_range=True, chroma_location="topleft"))
    assert made.out_shape == (1080, 1920, 1)
    assert (made.dtype, made.layout, made.color) == ("bfloat16", "NHWC", "gray")
    assert (made.filter, made.antialias) == ("bicubic", False)
    assert (made.matrix, made.full_range, made.chroma_location) == ("bt709", True, "topleft")
    assert Transform(filter="nearest").resolve(HD).antialias is False


@pytest.mark.parametrize("guess", ["bt601", "bt709"])
def test_only_an_unspecified_matrix_is_guessed(guess: Any) -> None:
    transform = Transform(unspecified_matrix=guess)
    assert transform.resolve(replace(HD, matrix="unspecified")).matrix == guess
    assert transform.resolve(replace(HD, matrix="bt2020nc")).matrix == "bt2020nc"
    assert Transform().unspecified_matrix == "bt601"


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 900), st.integers(1, 900))
def test_letterbox_keeps_the_picture_whole_and_centred(
    w: int, h: int, tall: int, wide: int
) -> None:
    params = Transform(size=(tall, wide), pad=Letterbox()).resolve(picture(w, h))
    width, height = params.grid
    assert width <= wide
    assert height <= tall
    assert width == wide or height == tall
    assert abs(width * h - height * w) <= max(w, h)  # the aspect ratio, to the pixel
    right, below = wide - width - params.offset[0], tall - height - params.offset[1]
    assert right - params.offset[0] in (0, 1)
    assert below - params.offset[1] in (0, 1)


# --- mistakes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Transform(0), r"size must be an integer, at least 1 and at most 16384, got 0"),
        (lambda: Transform(20000), r"at most 16384"),
        (lambda: Transform((224, 20000)), r"at most 16384"),
        (lambda: Transform(224.0), r"size must be an integer or \(height, width\)"),
        (lambda: Transform((1, 2, 3)), r"size must be an integer or \(height, width\)"),
        (lambda: Transform("224"), r"size must be an integer or"),
        (lambda: Transform(True), r"size must be an integer, at least 1"),
        (lambda: Transform(crop=224), r"crop must be a CenterCrop, RandomCrop or Box"),
        (lambda: Transform(window=(3, 4)), r"window must be a CenterCrop"),
        (lambda: Transform(filter="box"), r"filter must be one of 'bilinear', 'bicubic'"),
        (lambda: Transform(dtype="float64"), r"dtype must be one of 'uint8', 'float16'"),
        (lambda: Transform(layout="CHW"), r"layout must be one of 'NCHW', 'NHWC'"),
        (lambda: Transform(color="RGB"), r"color must be one of"),
        (lambda: Transform(antialias=1), r"antialias must be True or False"),
        (lambda: Transform(unspecified_matrix="bt2020nc"), r"unspecified_matrix must be one of"),
        (lambda: Transform(tone_map="hdr"), r"tone_map must be None"),
        (lambda: Transform(mean=0.5), r'mean needs a float output: set dtype="float32"'),
        (lambda: Transform(std=0.5), r"std needs a float output"),
        (lambda: Transform(dtype="float16", std=0), r"std must be above 0, got 0"),
        (lambda: Transform(dtype="float16", std=(1, 1, -1)), r"std must be above 0"),
        (lambda: Transform(dtype="float16", mean=(1, 2)), r"mean must be a number or three"),
        (lambda: Transform(dtype="float16", mean=float("nan")), r"mean must be a number"),
        (lambda: Transform(dtype="float16", mean=10**400), r"mean must be a number"),
        (lambda: Transform(dtype="float16", mean=np.ones((3, 1))), r"mean must be a number"),
        (lambda: Transform(dtype="float16", mean=(0, 0, 0), color="gray"), r"mean must be one number"),
        (lambda: Transform(pad=0, size=(2, 2)), r"pad must be Letterbox"),
        (lambda: Transform(pad=Letterbox()), r"pad needs the size to fill: size=\(height, width\)"),
        (lambda: Transform(224, pad=Letterbox()), r"got size=224"),
        (lambda: Transform((2, 2), pad=Letterbox(), window=CenterCrop(1)), r"exclude each other"),
        (lambda: Letterbox(256), r"fill must be an integer 0..255"),
        (lambda: Letterbox((1, 2)), r"fill must be"),
        (lambda: Letterbox(0.5), r"fill must be"),
        (lambda: CenterCrop(0), r"the size of a CenterCrop must be an integer, at least 1"),
        (lambda: CenterCrop((3, 4), 5), r"the size of a CenterCrop must be"),
        (lambda: RandomCrop("a"), r"the size of a RandomCrop must be an integer or"),
        (lambda: RandomCrop(3, seed=-1), r"seed must be"),
        (lambda: Box(-1, 0, 1, 1), r"x must be an integer >= 0"),
        (lambda: Box(0, 0, 0, 1), r"width must be"),
        (lambda: PixelBudget(2, 1), r"min_pixels \(2\) is above max_pixels \(1\)"),
        (lambda: PixelBudget(0, 1), r"min_pixels must be a number above 0"),
        (lambda: PixelBudget(1, 2, multiple_of=0), r"multiple_of must be"),
        (lambda: picture(0, 5), r"width must be an integer, at least 1"),
        (lambda: replace(HD, chroma_location="middle"), r"chroma_location must be one of"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_when_made(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (
            Transform(crop=CenterCrop(1081, 100)),
            r"CenterCrop\(.*\) needs 100x1081 pixels .* only 1920x1080",
        ),
        (Transform(crop=RandomCrop(2000)), r"RandomCrop.* needs 2000x2000 .* 1920x1080"),
        (Transform(crop=Box(1900, 0, 21, 5)), r"Box.* needs 1921x5 .* 1920x1080"),
        (Transform(256, window=CenterCrop(300)), r"needs 300x300 .* only 455x256"),
        (Transform(16384), r"turns 1920x1080 into 29127x16384, but no side may be above 16384"),
        (Transform(4, crop=Box(0, 0, 1920, 9), window=CenterCrop(5)), r"only 853x4"),
    ],
)
def test_what_does_not_fit_is_refused(transform: Transform, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transform.resolve(HD)


def test_unknown_matrix_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="colour matrix 'ycgco' is not supported"):
        replace(HD, matrix="ycgco")


# --- values -----------------------------------------------------------------------------------------


def test_transforms_are_values() -> None:
    transform = Transform(
        [336, 448], crop=RandomCrop(9, seed=1), dtype="float32", mean=[0.1, 0.2, 0.3], std=0.5
    )
    same = Transform(
        (336, 448), crop=RandomCrop((9, 9), 1), dtype="float32", mean=(0.1, 0.2, 0.3), std=0.5
    )
    assert transform == same
    assert hash(transform) == hash(same)
    assert pickle.loads(pickle.dumps(transform)) == transform
    assert eval(repr(transform)) == transform
    assert replace(transform, std=np.array(0.5), mean=np.array([0.1, 0.2, 0.3])) == transform
    assert hash(replace(transform, std=np.array([0.5]))) == hash(transform)
    assert hash(transform.resolve(HD)) == hash(same.resolve(HD))
    with pytest.raises(FrozenInstanceError):
        transform.size = 3  # type: ignore[misc]
