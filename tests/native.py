"""Pictures made of numpy planes, and `_core.Converter` run on them: what the pixel tests share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from frametap import _core
from reference import Conversion, Plane, parse_pixel_format

CANARY = 0xA5
MARGIN = 64  # bytes watched before and after the output


def make_planes(
    pixel_format: str, width: int, height: int, content: str, seed: int = 0, pitch_extra: int = 6
) -> list[Plane]:
    """One picture of "random", "smooth" or "extreme" (only the two end values) content.

    Rows are `pitch_extra` samples longer than the picture; those, and bits that carry no sample,
    hold noise that must not show.
    """
    description = parse_pixel_format(pixel_format)
    rng = np.random.default_rng([seed, width, height])
    top = 2**description.depth - 1
    planes = []
    for rows, columns in description.plane_shapes(width, height):
        word = np.iinfo(description.sample_type).max
        store = rng.integers(0, word, (rows, columns + pitch_extra), endpoint=True)
        if content == "random":
            samples = rng.integers(0, top, (rows, columns), endpoint=True)
        elif content == "extreme":
            samples = rng.integers(0, 1, (rows, columns), endpoint=True) * top
        else:
            y, x = np.ogrid[:rows, :columns]
            fx, fy, phase = rng.uniform(-3, 3, 3)
            wave = np.sin(fx * x / columns * 3 + fy * y / rows * 3 + phase)
            samples = np.rint((wave * 0.5 + 0.5) * top).astype(np.int64)
        store[:, :columns] = samples << description.shift
        planes.append(store.astype(description.sample_type)[:, :columns])
    return planes


def constant_planes(
    pixel_format: str, width: int, height: int, value: dict[str, int]
) -> list[Plane]:
    """A picture of one colour: `value` maps each component to its sample ("yuv", "rgb" or "y")."""
    description = parse_pixel_format(pixel_format)
    planes = make_planes(pixel_format, width, height, "random")
    for plane, names in zip(planes, description.planes, strict=True):
        for position, name in enumerate(names):
            if name in value:
                plane[:, position :: len(names)] = value[name] << description.shift
    return planes


def make_converter(job: Conversion) -> _core.Converter:
    """`_core.Converter` for the same numbers that the reference gets."""
    return _core.Converter(**asdict(job))


def run(planes: Sequence[Plane], job: Conversion, threads: int = 1) -> NDArray[np.generic]:
    """Convert one picture natively; fails when a byte outside the output is written.

    Returns:
        The output in its own dtype; "bfloat16" comes back as float32, which holds it exactly.
    """
    converter = make_converter(job)
    assert tuple(converter.out_shape) == job.out_shape
    word = np.dtype("uint16" if job.dtype == "bfloat16" else job.dtype)
    size = int(np.prod(job.out_shape)) * word.itemsize
    store = np.full(size + 2 * MARGIN, CANARY, np.uint8)
    converter.convert(
        [(plane.ctypes.data, plane.strides[0]) for plane in planes],
        store.ctypes.data + MARGIN,
        threads,
    )
    assert (store[:MARGIN] == CANARY).all(), "wrote before the output"
    assert (store[-MARGIN:] == CANARY).all(), "wrote past the output"
    out = store[MARGIN:-MARGIN].view(word).reshape(job.out_shape)
    if job.dtype == "bfloat16":
        return (out.astype(np.uint32) << 16).view(np.float32)
    return out
