"""`Resize`, `CenterCrop` and `RandomCrop`, and what makes one `frametap.Transform` of a list of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from frametap import Box, Transform, UnsupportedError

_FILTERS = {"bilinear", "bicubic", "nearest", "lanczos"}


@dataclass(frozen=True)
class _Sized:
    size: Sequence[int]

    def __post_init__(self) -> None:
        if len(self.size) != 2:
            raise ValueError(f"{type(self).__name__} needs size=(height, width), got {self.size!r}")


@dataclass(frozen=True)
class Resize(_Sized):
    """Resize to (height, width), bilinear with antialiasing unless told otherwise (which torchcodec cannot be).

    Example:
        >>> from frametap.integrations.torchcodec.decoders import VideoDecoder
        >>> from frametap.integrations.torchcodec.transforms import CenterCrop, Resize
        >>> decoder = VideoDecoder("talk.mp4", transforms=[Resize((256, 340)), CenterCrop((224, 224))])
        >>> decoder[0].shape
        torch.Size([3, 224, 224])
    """

    interpolation: str = "bilinear"
    antialias: bool = True


@dataclass(frozen=True)
class CenterCrop(_Sized):
    """Keep the middle (height, width) of the picture."""


@dataclass(frozen=True)
class RandomCrop(_Sized):
    """Keep a (height, width) part whose place torch's generator draws once, when the decoder is made."""


class _Chain:
    """Transforms taken up one after the other: crops before the resize, the resize, crops after it."""

    def __init__(self, height: int, width: int) -> None:
        # Of the picture in hand, which is the source until the resize.
        self.part = self.whole = (0, 0, width, height)
        self.crop: Box | None = None
        self.resize: dict[str, Any] | None = None

    def add(self, transform: Any) -> None:
        kind, size = type(transform).__name__, getattr(transform, "size", None)
        if kind not in ("Resize", "CenterCrop", "RandomCrop"):
            raise ValueError(
                f"unsupported transform {transform!r}: a decoder takes Resize, CenterCrop and RandomCrop, frametap's, "
                f"torchcodec's or those of torchvision.transforms.v2"
            )
        if size is None:
            raise ValueError(f"{kind} must have a size")
        if kind == "Resize":
            self._add_resize(transform, list(size))
        else:
            self._add_crop(transform, kind, *size)

    def transform(self, **rest: Any) -> Transform:
        crop, window = (self.crop, self._box()) if self.resize else (self._box(), None)
        return Transform(crop=crop, window=window, **(self.resize or {}), **rest)

    def _box(self) -> Box | None:
        """Return what is kept; None for all of a picture, whose size may change within a stream."""
        return None if self.part == self.whole else Box(*self.part)

    def _add_resize(self, transform: Any, size: list[int]) -> None:
        if self.resize is not None:
            raise UnsupportedError("two Resize in a row would resample twice: leave out the first")
        # torchcodec's own Resize has neither attribute, torchvision's interpolation is an enum.
        name = getattr(transform, "interpolation", "bilinear")
        name = getattr(name, "value", name)
        if name not in _FILTERS:
            raise ValueError(
                f"interpolation must be one of {', '.join(sorted(_FILTERS))}, got {name!r}"
            )
        if getattr(transform, "max_size", None) is not None:
            raise ValueError("Resize(max_size=...) is not supported: give size=(height, width)")
        _, _, width, height = self.part
        if len(size) == 1:  # torchvision's shorter side
            longer = int(size[0] * max(width, height) / min(width, height))
            size = [longer, size[0]] if width <= height else [size[0], longer]
        antialias = getattr(transform, "antialias", True) is not False  # torchvision: None is True
        self.crop = self._box()
        self.resize = {"size": (size[0], size[1]), "filter": name, "antialias": antialias}
        self.part = self.whole = (0, 0, size[1], size[0])

    def _add_crop(self, transform: Any, kind: str, height: int, width: int) -> None:
        for option in ("padding", "pad_if_needed"):
            if getattr(transform, option, None):
                raise ValueError(f"{kind}({option}=...) is not supported: a decoder does not pad")
        x, y, whole_width, whole_height = self.part
        if height > whole_height or width > whole_width:
            raise ValueError(
                f"{kind} of {height}x{width} does not fit into a picture of {whole_height}x{whole_width}"
            )
        if kind == "CenterCrop":
            top, left = round((whole_height - height) / 2), round((whole_width - width) / 2)
        else:  # the draws, and their order, of torchvision
            top = int(torch.randint(0, whole_height - height + 1, size=()))
            left = int(torch.randint(0, whole_width - width + 1, size=()))
        self.part = (x + left, y + top, width, height)


def as_transform(
    transforms: Sequence[Any] | None, height: int, width: int, **rest: Any
) -> Transform:
    """Return the one `frametap.Transform` that a list of transforms comes to, for pictures of this size.

    Raises:
        ValueError: a transform of another kind, an option that decoding does not have, or a crop that does not fit.
        UnsupportedError: more than one Resize.
    """
    chain = _Chain(height, width)
    for transform in transforms or ():
        chain.add(transform)
    return chain.transform(**rest)
