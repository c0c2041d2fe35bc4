"""`Frame` and `FrameBatch` as torchcodec's users know them: plain dataclasses around tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch


def _described(value: Any) -> str:
    """Return one line per field, with the shape in the place of pixels."""
    lines = []
    for field in fields(value):
        content = getattr(value, field.name)
        is_pixels = field.name == "data"
        lines.append(
            f"  {field.name}{' (shape)' if is_pixels else ''}: {content.shape if is_pixels else content}"
        )
    return "\n".join([f"{type(value).__name__}:", *lines, ""])


@dataclass(repr=False)
class Frame:
    """One frame; unpacks as `data, pts_seconds, duration_seconds`.

    Attributes:
        data: tensor of shape (C, H, W), or (H, W, C).
        pts_seconds: when it comes on screen.
        duration_seconds: how long it stays.
    """

    data: torch.Tensor
    pts_seconds: float
    duration_seconds: float

    def __post_init__(self) -> None:
        """Check the shape, and turn times into floats."""
        if self.data.ndim != 3:
            raise ValueError(
                f"a frame has 3 dimensions, got a tensor of shape {tuple(self.data.shape)}"
            )
        self.pts_seconds, self.duration_seconds = (
            float(self.pts_seconds),
            float(self.duration_seconds),
        )

    def __iter__(self) -> Iterator[Any]:
        """Yield data, pts_seconds, duration_seconds."""
        return iter((self.data, self.pts_seconds, self.duration_seconds))

    def __repr__(self) -> str:
        return _described(self)


@dataclass(repr=False)
class FrameBatch:
    """Frames, or clips of frames; indexing and iterating give batches with one dimension less.

    Attributes:
        data: tensor of shape (N, C, H, W) or (clips, frames, C, H, W); C last with "NHWC".
        pts_seconds: float64 of the leading dimensions, on the CPU.
        duration_seconds: likewise.
    """

    data: torch.Tensor
    pts_seconds: torch.Tensor
    duration_seconds: torch.Tensor

    def __post_init__(self) -> None:
        """Check that times and frames belong together."""
        leading = self.data.shape[:-3]
        if (
            self.data.ndim < 3
            or not leading == self.pts_seconds.shape == self.duration_seconds.shape
        ):
            raise ValueError(
                f"data of shape {tuple(self.data.shape)} needs times of shape {tuple(leading)}, got "
                f"{tuple(self.pts_seconds.shape)} and {tuple(self.duration_seconds.shape)}"
            )

    def __iter__(self) -> Iterator[FrameBatch]:
        """Yield one item of the first dimension at a time."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> FrameBatch:
        """Index all three tensors alike."""
        return FrameBatch(self.data[key], self.pts_seconds[key], self.duration_seconds[key])

    def __len__(self) -> int:
        """Return the length of the first dimension."""
        return len(self.data)

    def __repr__(self) -> str:
        return _described(self)
