"""Transform: what a wanted frame is turned into, in space and numbers; samplers choose the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import numpy as np

from frametap.geometry import (
    MAX_SIDE,
    Box,
    CenterCrop,
    ConvertParams,
    Crop,
    PictureFormat,
    PixelBudget,
    RandomCrop,
    Rect,
    check_choice,
    check_side,
    height_width,
    is_number,
)

__all__ = [
    "Box",
    "CenterCrop",
    "ConvertParams",
    "Letterbox",
    "PictureFormat",
    "PixelBudget",
    "RandomCrop",
    "Transform",
]

Triple = tuple[float, float, float]

_CHOICES: dict[str, tuple[str, ...]] = {
    "filter": ("bilinear", "bicubic", "nearest", "lanczos", "area"),
    "dtype": ("uint8", "float16", "bfloat16", "float32"),
    "layout": ("NCHW", "NHWC"),
    "color": ("rgb", "bgr", "gray"),
    "unspecified_matrix": ("bt601", "bt709"),
}


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Scale the picture to fit ``size=(h, w)``, keeping its aspect ratio, and fill the rest.

    With ``r = min(w / W, h / H)`` the picture becomes ``round(W * r)`` by ``round(H * r)`` pixels;
    of an odd remainder the extra row or column goes to the bottom or right. Small pictures are
    enlarged.

    Args:
        fill: colour of the border, 0..255: one number for gray, or (r, g, b). Float outputs
            normalise it like a pixel.

    Example:
        >>> from frametap.transform import Letterbox, Transform
        >>> Transform(size=(640, 640), pad=Letterbox(114)).pad
        Letterbox(fill=(114, 114, 114))
    """

    fill: int | Sequence[int] = 0

    def __post_init__(self) -> None:
        """Bring the colour to (r, g, b)."""
        object.__setattr__(self, "fill", self.rgb)

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour of the border as (r, g, b)."""
        levels = tuple(self.fill) if isinstance(self.fill, Sequence) else (self.fill,) * 3
        if len(levels) != 3 or not all(
            is_number(v) and v == int(v) and 0 <= v <= 255 for v in levels
        ):
            raise ValueError(
                f"fill must be an integer 0..255 or (r, g, b) of such, got {self.fill!r}"
            )
        return int(levels[0]), int(levels[1]), int(levels[2])


@dataclass(frozen=True, slots=True)
class Transform:
    """Describe the pixels a model wants: part, size, values, type and layout.

    Checked when made, then immutable. Sizes and crops are in display orientation: rotation metadata
    is applied. The order is crop, resize to ``size``, keep ``window``, pad, colour, normalise; it
    is computed in one pass, and pixels that are cut away are never made.

    Args:
        size: None keeps the size; an int is the shorter side, the longer becoming ``int(size * long
            / short)`` as in torchvision; (h, w) is exact; a `PixelBudget` depends on the picture
            and, where it says so, on the number of frames.
        crop: part of the source picture to use: `CenterCrop`, `RandomCrop` or `Box`, in source
            pixels. None: all of it.
        window: part of the *resized* picture to keep, in output pixels. ``Transform(size=256,
            window=CenterCrop(224))`` is torchvision's ``Resize(256)`` and ``CenterCrop(224)``.
        filter: "bilinear", "bicubic", "nearest", "lanczos" or "area", as Pillow defines them.
        antialias: widen the filter when shrinking, as Pillow and torchvision do; no effect on
            "nearest".
        pad: `Letterbox` keeps the aspect ratio inside ``size=(h, w)`` and fills the rest.
        mean, std: float outputs are ``(value / 255 - mean) / std``; one number, or three in the
            order R, G, B whatever ``color`` is. Need a float ``dtype``; std must be above 0.
        dtype: "uint8", "float16", "bfloat16" or "float32".
        layout: "NCHW" or "NHWC".
        color: "rgb", "bgr" or "gray" (one channel).
        unspecified_matrix: colour matrix of a stream that names none: "bt601" (as FFmpeg) or
            "bt709".
        tone_map: None: HDR values are passed on as they are. "sdr": frames of PQ and HLG video are
            mapped to BT.709 for a display of 100 cd/m2, by ITU-R BT.2390 (docs/pixels.md); SDR
            video is not touched.

    Raises:
        ValueError: an argument makes no sense, alone or with another.

    Example:
        >>> from frametap.transform import CenterCrop, Letterbox, Transform
        >>> imagenet = Transform(
        ...     size=256, window=CenterCrop(224), dtype="float32",
        ...     mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
        ... )
        >>> clip = Transform(
        ...     size=224, window=CenterCrop(224), filter="bicubic", dtype="float16",
        ...     mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711),
        ... )
        >>> detector = Transform(size=(640, 640), pad=Letterbox(114))
    """

    size: int | Sequence[int] | PixelBudget | None = None
    _: KW_ONLY
    crop: Crop | None = None
    window: Crop | None = None
    filter: Literal["bilinear", "bicubic", "nearest", "lanczos", "area"] = "bilinear"
    antialias: bool = True
    pad: Letterbox | None = None
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    dtype: Literal["uint8", "float16", "bfloat16", "float32"] = "uint8"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    unspecified_matrix: Literal["bt601", "bt709"] = "bt601"
    tone_map: Literal["sdr"] | None = None

    def __post_init__(self) -> None:
        """Check every field alone, then together, and bring sequences to tuples."""
        for name, allowed in _CHOICES.items():
            check_choice(name, getattr(self, name), allowed)
        if not isinstance(self.antialias, bool):
            raise ValueError(f"antialias must be True or False, got {self.antialias!r}")
        self._check_geometry()
        self._check_normalisation()
        if self.tone_map not in (None, "sdr"):
            raise ValueError(f'tone_map must be None or "sdr", got {self.tone_map!r}')

    def resolve(
        self,
        picture: PictureFormat,
        *,
        rng: np.random.Generator | None = None,
        num_frames: int | None = None,
    ) -> ConvertParams:
        """Turn the wishes into numbers for pictures of one format: everything the converter needs.

        Args:
            picture: the decoded picture.
            rng: where a `RandomCrop` without a seed draws its place; None draws anew.
            num_frames: frames in the batch; needed by a `PixelBudget` with ``total_pixels``.

        Raises:
            ValueError: a crop or window is larger than what it is cut from, or the output would be
            too large.

        Example:
            >>> from frametap.transform import PictureFormat, Transform
            >>> picture = PictureFormat("nv12", 1920, 1080, "bt709", False, transpose=True)
            >>> params = Transform(size=336).resolve(picture)
            >>> params.grid, params.canvas, params.out_shape
            ((597, 336), (336, 597), (3, 597, 336))
        """
        shown = picture.display_size
        crop = (0, 0, *shown) if self.crop is None else self.crop.cut(shown, rng)
        grid = self._grid(crop[2], crop[3], num_frames)
        window = (0, 0, *grid) if self.window is None else self.window.cut(grid, rng)
        canvas, offset = self._place(window)
        mean, std = self._mean_std()
        return ConvertParams(
            **self.color_params(picture),
            width=picture.width,
            height=picture.height,
            chroma_location=picture.chroma_location,
            crop=picture.decoded_rect(crop, shown),
            grid=picture.decoded_size(grid),
            window=picture.decoded_rect(window, grid),
            filter=self.filter,
            antialias=self.antialias and self.filter != "nearest",
            transpose=picture.transpose,
            flip_x=picture.flip_x,
            flip_y=picture.flip_y,
            canvas=canvas,
            offset=offset,
            fill=(0, 0, 0) if self.pad is None else self.pad.rgb,
            color=self.color,
            layout=self.layout,
            dtype=self.dtype,
            mean=mean,
            std=std,
        )

    def color_params(self, picture: PictureFormat) -> dict[str, Any]:
        """Return the part of `resolve` that says what the samples mean; the rest is geometry.

        Raises:
            UnsupportedError: `tone_map` is set, and the picture is HDR in primaries that have no conversion.
        """
        tone_map, primaries = picture.tone_source() if self.tone_map else ("none", "bt2020")
        return {
            "pixel_format": picture.pixel_format,
            "full_range": picture.full_range,
            "matrix": self.unspecified_matrix
            if picture.matrix == "unspecified"
            else picture.matrix,
            "tone_map": tone_map,
            "primaries": primaries,
        }

    def out_shape(
        self, picture: PictureFormat, *, num_frames: int | None = None
    ) -> tuple[int, int, int]:
        """Return the shape of one frame, (C, H, W) or (H, W, C), for pictures of this format."""
        return self.resolve(picture, num_frames=num_frames).out_shape

    def _check_geometry(self) -> None:
        size = self.size
        if isinstance(size, (int, np.integer)):
            check_side("size", size)
            object.__setattr__(self, "size", int(size))
        elif size is not None and not isinstance(size, PixelBudget):
            object.__setattr__(self, "size", height_width("size", size))
        for name in ("crop", "window"):
            cut = getattr(self, name)
            if cut is not None and not isinstance(cut, Crop):
                raise ValueError(
                    f"{name} must be a CenterCrop, RandomCrop or Box, or None, got {cut!r}"
                )
        if self.pad is None:
            return
        if not isinstance(self.pad, Letterbox):
            raise ValueError(f"pad must be Letterbox(fill) or None, got {self.pad!r}")
        if not isinstance(self.size, tuple):
            raise ValueError(
                f"pad needs the size to fill: size=(height, width), got size={self.size!r}"
            )
        if self.window is not None:
            raise ValueError("pad and window exclude each other; cut the source with crop instead")

    def _check_normalisation(self) -> None:
        for name in ("mean", "std"):
            value = getattr(self, name)
            if value is None:
                continue
            if self.dtype == "uint8":
                raise ValueError(
                    f'{name} needs a float output: set dtype="float32" (or "float16", "bfloat16")'
                )
            if isinstance(value, np.ndarray):
                value = np.atleast_1d(value)
            numbers = tuple(value) if isinstance(value, (Sequence, np.ndarray)) else (value,)
            if len(numbers) not in (1, 3) or not all(is_number(v) for v in numbers):
                raise ValueError(f"{name} must be a number or three (R, G, B), got {value!r}")
            if self.color == "gray" and len(numbers) == 3:
                raise ValueError(
                    f'color="gray" has one channel: {name} must be one number, got {value!r}'
                )
            if name == "std" and min(numbers) <= 0:
                raise ValueError(
                    f"std must be above 0, got {value!r}: it divides the values (1 leaves them)"
                )
            object.__setattr__(
                self, name, numbers[0] if len(numbers) == 1 else tuple(float(v) for v in numbers)
            )

    def _grid(self, width: int, height: int, num_frames: int | None) -> tuple[int, int]:
        """Return (width, height) of what a part of this size is resampled to, as displayed."""
        grid = (width, height)
        if isinstance(self.size, PixelBudget):
            grid = self.size.size_for(height, width, num_frames)[::-1]
        elif isinstance(self.size, int):
            longer = int(self.size * max(grid) / min(grid))
            grid = (self.size, longer) if width <= height else (longer, self.size)
        elif self.size is not None:
            grid = (self.size[1], self.size[0])
            if self.pad is not None:
                ratio = min(grid[0] / width, grid[1] / height)
                grid = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        if max(grid) > MAX_SIDE:
            raise ValueError(
                f"size={self.size!r} turns {width}x{height} into {grid[0]}x{grid[1]}, but no side "
                f"may be above {MAX_SIDE}; set a smaller size, or crop"
            )
        return grid

    def _place(self, window: Rect) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the canvas (width, height) and where in it the displayed window goes (x, y)."""
        if self.pad is None or not isinstance(self.size, tuple):
            return window[2:], (0, 0)
        canvas = (self.size[1], self.size[0])
        return canvas, ((canvas[0] - window[2]) // 2, (canvas[1] - window[3]) // 2)

    def _mean_std(self) -> tuple[Triple, Triple]:
        """Return mean and std as (R, G, B); 0 and 1 where not given."""
        return _triple(self.mean, 0.0), _triple(self.std, 1.0)


def _triple(value: float | Sequence[float] | None, default: float) -> Triple:
    if value is None:
        return default, default, default
    if isinstance(value, Sequence):
        return float(value[0]), float(value[1]), float(value[2])
    return float(value), float(value), float(value)
