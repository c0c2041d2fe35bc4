"""Sizes, crops and orientation: what a picture is, and the numbers the converter is given for it.

Users speak of the picture as displayed, engines decode it unrotated. Everything here turns the one
into the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from frametap.errors import UnsupportedError

MAX_SIDE = 16384
"""Widest and tallest grid or canvas that a Transform may ask for, in pixels."""

Rect = tuple[int, int, int, int]
"""x, y, width, height."""

_MATRICES = ("bt601", "bt709", "bt2020nc", "smpte240m", "fcc", "rgb", "unspecified")
_TRANSFERS = ("pq", "hlg")
_HDR_PRIMARIES = ("bt2020", "display-p3", "bt709")
_CHROMA_LOCATIONS = ("left", "center", "topleft", "top", "bottomleft", "bottom")


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """One decoded picture as the engine sees it: never rotated.

    To display it: first swap x and y if ``transpose``, then mirror columns if ``flip_x``, then rows
    if ``flip_y``. Rotation by 90 degrees clockwise is transpose + flip_x, by 180 flip_x + flip_y,
    by 90 counter-clockwise transpose + flip_y.

    Args:
        pixel_format: FFmpeg's name: "yuv420p", "yuv422p10le", "nv12", "gbrp", "gray12le", "rgb24",
            ...
        width, height: decoded size in luma samples.
        matrix: "bt601", "bt709", "bt2020nc", "smpte240m", "fcc", "rgb" or "unspecified".
        full_range: True for 0..255 (yuvj*, RGB); False when the stream does not say.
        chroma_location: "left", "center", "topleft", "top", "bottomleft" or "bottom".
        transfer: "pq" or "hlg" for HDR; any other name is SDR.
        primaries: "bt2020", "display-p3", "bt709", ...; read for HDR only.

    Example:
        >>> from frametap.transform import PictureFormat
        >>> phone = PictureFormat("nv12", 1920, 1080, "bt709", False, transpose=True, flip_x=True)
        >>> phone.display_size
        (1080, 1920)
    """

    pixel_format: str
    width: int
    height: int
    matrix: str
    full_range: bool
    chroma_location: str = "left"
    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False
    transfer: str = "unspecified"
    primaries: str = "unspecified"

    def __post_init__(self) -> None:
        """Refuse sizes and names that no engine should pass on."""
        check_side("width", self.width, maximum=None)
        check_side("height", self.height, maximum=None)
        if self.matrix not in _MATRICES:
            raise UnsupportedError(
                f"colour matrix {self.matrix!r} is not supported, only {', '.join(_MATRICES)}; "
                f"convert the video first, e.g. with ffmpeg -vf scale=out_color_matrix=bt709"
            )
        check_choice("chroma_location", self.chroma_location, _CHROMA_LOCATIONS)

    def tone_source(self) -> tuple[str, str]:
        """Return what ``ConvertParams`` calls tone_map and primaries for making SDR of this picture.

        Raises:
            UnsupportedError: HDR in primaries that have no conversion.
        """
        if self.transfer not in _TRANSFERS:
            return "none", "bt2020"
        primaries = (
            "bt2020" if self.primaries == "unspecified" else self.primaries
        )  # BT.2100 has no other
        if primaries not in _HDR_PRIMARIES:
            raise UnsupportedError(
                f"tone mapping knows the primaries {', '.join(_HDR_PRIMARIES)}, not {primaries!r}; "
                f"leave tone_map None, or convert the video first, e.g. with ffmpeg -vf zscale=p=2020"
            )
        return self.transfer, primaries

    @property
    def display_size(self) -> tuple[int, int]:
        """(width, height) as displayed, rotation applied."""
        return (self.height, self.width) if self.transpose else (self.width, self.height)

    def decoded_rect(self, rect: Rect, grid: tuple[int, int]) -> Rect:
        """Return where ``rect`` of a displayed (width, height) grid lies in the decoded grid."""
        x, y, width, height = rect
        if self.flip_x:
            x = grid[0] - x - width
        if self.flip_y:
            y = grid[1] - y - height
        return (y, x, height, width) if self.transpose else (x, y, width, height)

    def decoded_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return a displayed (width, height) as the decoded picture counts it."""
        return (size[1], size[0]) if self.transpose else size


@dataclass(frozen=True, slots=True)
class ConvertParams:
    """Exactly the keyword arguments of ``_core.Converter``: all wishes turned into numbers.

    ``dataclasses.asdict`` gives the arguments; equal values may share one converter. Sizes are
    (width, height) and rectangles x, y, width, height. ``crop``, ``grid`` and ``window`` are in
    decoded orientation: the crop is resampled to the grid, the window is the part of it that is
    computed. It is then transposed and flipped, and put at ``offset`` of ``canvas``, whose
    remainder is ``fill`` (RGB). ``mean`` and ``std`` are in the order R, G, B whatever ``color``
    is. ``tone_map`` says what to make SDR of: "none", "pq" or "hlg", in ``primaries``.
    """

    pixel_format: str
    width: int
    height: int
    matrix: str
    full_range: bool
    chroma_location: str
    crop: Rect
    grid: tuple[int, int]
    window: Rect
    filter: str
    antialias: bool
    transpose: bool
    flip_x: bool
    flip_y: bool
    canvas: tuple[int, int]
    offset: tuple[int, int]
    fill: tuple[int, int, int]
    color: str
    layout: str
    dtype: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    tone_map: str = "none"
    primaries: str = "bt2020"

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """Shape of one output frame: (C, H, W) or (H, W, C)."""
        channels = 1 if self.color == "gray" else 3
        width, height = self.canvas
        return (channels, height, width) if self.layout == "NCHW" else (height, width, channels)


@dataclass(frozen=True, slots=True)
class CenterCrop:
    """Keep the middle: ``CenterCrop(224)``, ``CenterCrop((h, w))`` or ``CenterCrop(h, w)``.

    The corner is at ``int(round((H - h) / 2.0))`` and likewise for x, as in torchvision. Unlike
    torchvision's, a crop larger than the picture is an error, not a black border.

    Example:
        >>> from frametap.transform import CenterCrop
        >>> CenterCrop(224)
        CenterCrop(height=224, width=224)
    """

    height: int | Sequence[int]
    width: int | None = None

    def __post_init__(self) -> None:
        """Bring every way of writing the size to height and width."""
        size = self.height if self.width is None else (self.height, self.width)
        height, width = height_width("the size of a CenterCrop", cast("Sequence[int]", size))
        object.__setattr__(self, "height", height)
        object.__setattr__(self, "width", width)

    def cut(self, picture: tuple[int, int], rng: np.random.Generator | None) -> Rect:
        """Return the part of a (width, height) picture to keep; ``rng`` is not used."""
        del rng
        height, width = cast("tuple[int, int]", (self.height, self.width))
        _check_fits(self, (width, height), picture)
        return round((picture[0] - width) / 2.0), round((picture[1] - height) / 2.0), width, height


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """Keep a part of fixed size at a random place: the same place for all frames of one batch.

    Args:
        size: int for a square, or (h, w), in displayed pixels.
        seed: makes the place reproducible: pictures of the same size get the same place every time.
            Without it the place comes from the ``rng`` given to `Transform.resolve`, or is drawn
            anew for every batch.

    Example:
        >>> from frametap.transform import RandomCrop
        >>> RandomCrop((224, 320), seed=7)
        RandomCrop(size=(224, 320), seed=7)
    """

    size: int | Sequence[int]
    seed: int | None = None

    def __post_init__(self) -> None:
        """Bring the size to (h, w)."""
        object.__setattr__(self, "size", height_width("the size of a RandomCrop", self.size))
        seed = self.seed
        if seed is not None and (not _is_int(seed) or seed < 0):
            raise ValueError(f"seed must be an integer >= 0 or None, got {seed!r}")

    def cut(self, picture: tuple[int, int], rng: np.random.Generator | None) -> Rect:
        """Return the part of a (width, height) picture to keep; y is drawn first, then x."""
        height, width = cast("tuple[int, int]", self.size)
        _check_fits(self, (width, height), picture)
        if self.seed is not None or rng is None:
            rng = np.random.default_rng(self.seed)
        y = int(rng.integers(0, picture[1] - height, endpoint=True))
        x = int(rng.integers(0, picture[0] - width, endpoint=True))
        return x, y, width, height


@dataclass(frozen=True, slots=True)
class Box:
    """Keep the given rectangle, in displayed pixels from the top left corner.

    Example:
        >>> from frametap.transform import Box
        >>> Box(x=320, y=0, width=1280, height=720)
        Box(x=320, y=0, width=1280, height=720)
    """

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        """Refuse an empty box and one that starts outside."""
        for name in ("x", "y"):
            value = getattr(self, name)
            if not _is_int(value) or value < 0:
                raise ValueError(f"{name} must be an integer >= 0, got {value!r}")
        check_side("width", self.width)
        check_side("height", self.height)

    def cut(self, picture: tuple[int, int], rng: np.random.Generator | None) -> Rect:
        """Return the box; ValueError where it does not lie inside the (width, height) picture."""
        del rng
        _check_fits(self, (self.x + self.width, self.y + self.height), picture)
        return self.x, self.y, self.width, self.height


Crop = CenterCrop | RandomCrop | Box


@dataclass(frozen=True, slots=True)
class PixelBudget:
    """Choose the size from a number of pixels, keeping the aspect ratio as closely as possible.

    Both sides are rounded to the nearest multiple (at least one). If that gives more than the
    maximum, both are scaled by ``sqrt(maximum / (h * w))`` and floored to multiples; if less than
    the minimum, scaled likewise and raised to multiples. That is the ``smart_resize`` of
    qwen-vl-utils, except that a side it would floor to 0 stays one multiple.

    Args:
        min_pixels: at least so many pixels per frame.
        max_pixels: at most so many pixels per frame.
        multiple_of: each side is a multiple of this.
        total_pixels: also share these among the frames of the batch: the maximum for n frames is
            then ``min(max_pixels, max(total_pixels / n * frame_factor, int(min_pixels * 1.05)))``.
        frame_factor: so many frames share one budget (models that merge frame pairs: 2).

    Example:
        >>> from frametap.transform import PixelBudget
        >>> PixelBudget(min_pixels=128 * 28 * 28, max_pixels=256 * 28 * 28).size_for(1080, 1920)
        (336, 588)
        >>> PixelBudget.qwen_vl().size_for(1080, 1920, num_frames=768)
        (336, 644)
    """

    min_pixels: float
    max_pixels: float
    multiple_of: int = 28
    total_pixels: float | None = None
    frame_factor: int = 2

    def __post_init__(self) -> None:
        """Refuse a budget that nothing fits in."""
        check_side("multiple_of", self.multiple_of)
        check_side("frame_factor", self.frame_factor)
        for name in ("min_pixels", "max_pixels", "total_pixels"):
            value = getattr(self, name)
            if value is not None and not (is_number(value) and value > 0):
                raise ValueError(f"{name} must be a number above 0, got {value!r}")
        if self.min_pixels > self.max_pixels:
            raise ValueError(
                f"min_pixels ({self.min_pixels}) is above max_pixels ({self.max_pixels}); "
                f"lower it or raise max_pixels"
            )

    @classmethod
    def qwen_vl(
        cls,
        image_patch_size: int = 14,
        *,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        total_pixels: float | None = None,
        model_seq_len: int = 128000,
    ) -> PixelBudget:
        """Return the budget of ``qwen_vl_utils.fetch_video`` (which resizes with "bicubic").

        Args:
            image_patch_size: 14 for Qwen2-VL and Qwen2.5-VL, 16 for Qwen3-VL; sides are multiples
                of twice that.
            min_pixels, max_pixels, total_pixels: the keys of its video message.
            model_seq_len: its environment variable ``MODEL_SEQ_LEN``.
        """
        factor = image_patch_size * 2
        least = 128 * factor**2 if min_pixels is None else min_pixels
        most = max(768 * factor**2, int(least * 1.05))
        return cls(
            min_pixels=least,
            max_pixels=most if max_pixels is None else min(max_pixels, most),
            multiple_of=factor,
            total_pixels=model_seq_len * factor * factor * 0.9
            if total_pixels is None
            else total_pixels,
        )

    def size_for(self, height: int, width: int, num_frames: int | None = None) -> tuple[int, int]:
        """Return (h, w) for a picture of this size; ``total_pixels`` needs ``num_frames``."""
        if max(height, width) > 200 * min(height, width):
            raise ValueError(
                f"a picture of {width}x{height} is too long for a pixel budget: "
                f"its sides may differ by 200 to 1; crop it first"
            )
        step, most = self.multiple_of, self._most(num_frames)
        h, w = max(step, round(height / step) * step), max(step, round(width / step) * step)
        if h * w > most:
            shrink = math.sqrt((height * width) / most)
            h = max(step, math.floor(height / shrink / step) * step)
            w = max(step, math.floor(width / shrink / step) * step)
        elif h * w < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (height * width))
            h, w = math.ceil(height * grow / step) * step, math.ceil(width * grow / step) * step
        return h, w

    def _most(self, num_frames: int | None) -> float:
        if self.total_pixels is None:
            return self.max_pixels
        if num_frames is None or num_frames < 1:
            raise ValueError(
                f"this budget shares total_pixels={self.total_pixels:.6g} among the frames of a "
                f"batch, so it needs their number: resolve(..., num_frames=...), got {num_frames!r}"
            )
        share = self.total_pixels / num_frames * self.frame_factor
        return min(self.max_pixels, max(share, int(self.min_pixels * 1.05)))


def height_width(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    """Return (h, w) of an int (square) or a pair; ValueError for anything else."""
    sides = (size, size) if isinstance(size, (int, np.integer)) else size
    if not isinstance(sides, Sequence) or isinstance(sides, str) or len(sides) != 2:
        raise ValueError(f"{name} must be an integer or (height, width), got {size!r}")
    for side in sides:
        check_side(name, side)
    return int(sides[0]), int(sides[1])


def check_side(name: str, value: object, *, maximum: int | None = MAX_SIDE) -> None:
    """Raise ValueError unless ``value`` is an integer from 1 to ``maximum``."""
    if (
        not isinstance(value, (int, np.integer))
        or not _is_int(value)
        or value < 1
        or value > (maximum or value)
    ):
        upto = "" if maximum is None else f" and at most {maximum}"
        raise ValueError(f"{name} must be an integer, at least 1{upto}, got {value!r}")


def check_choice(name: str, value: object, allowed: Sequence[object]) -> None:
    """Raise ValueError unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def is_number(value: object) -> bool:
    """Return whether ``value`` is a finite real number (numpy's too, bool not)."""
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    try:
        return real and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:  # an integer above all floats
        return False


def _is_int(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _check_fits(crop: Crop, needed: tuple[int, int], picture: tuple[int, int]) -> None:
    if needed[0] > picture[0] or needed[1] > picture[1]:
        raise ValueError(
            f"{crop!r} needs {needed[0]}x{needed[1]} pixels (width x height), but is cut from only "
            f"{picture[0]}x{picture[1]}; use a smaller one (crop= cuts the source picture, window= "
            f"what size= makes of it)"
        )
