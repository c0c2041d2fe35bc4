"""The clip that `frametap demo` samples when it is given none.

A landscape from dawn to night, drawn with numpy straight into YUV 4:2:0 and encoded as H.264 through PyAV.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import av
import numpy as np

import frametap as ft

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH, HEIGHT, FPS, SECONDS = 1920, 1080, 30, 24
CLIP_NAME = "frametap_demo_1080p.mp4"
FRAMES = FPS * SECONDS
# The first encoder that this FFmpeg has is used; the others stand in where a build of PyAV leaves x264 out.
_ENCODERS = {
    "libx264": {"preset": "superfast", "crf": "23", "g": "60", "bf": "3"},
    "libopenh264": {"g": "60", "b": "6M"},
    "mpeg4": {"g": "60", "bf": "2", "b": "12M"},
}


def synthesize(path: Path, advance: Callable[[], None] = lambda: None) -> None:
    """Encode the demo clip to `path`: 1920x1080, 30 frames per second, 24 s, B-frames, a keyframe every 2 s or so.

    Args:
        path: where to write; the folder is created, an unfinished clip is never left under this name.
        advance: called after each of the FRAMES frames.
    """
    encoder = next((name for name in _ENCODERS if name in av.codecs_available), None)
    if encoder is None:
        raise ft.UnsupportedError(
            f"this FFmpeg has none of the encoders {', '.join(_ENCODERS)}; give the demo a video of your own"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished_{path.name}")
    with av.open(str(unfinished), "w", format="mp4") as output:
        stream: Any = output.add_stream(encoder, rate=FPS, options=_ENCODERS[encoder])
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 0
        stream.codec_context.color_range, stream.codec_context.colorspace = 1, 1  # limited, BT.709
        for number, planes in enumerate(_landscape()):
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            output.mux(stream.encode(frame))
            advance()
        output.mux(stream.encode(None))
    unfinished.replace(path)


def _yuv(red: float, green: float, blue: float) -> NDArray[np.float64]:
    """BT.709 limited-range Y, Cb, Cr of one sRGB colour in 0..255."""
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    chroma = [(blue - luma) / 1.8556, (red - luma) / 1.5748]
    return np.array([16 + luma * 219 / 255, *(128 + value * 224 / 255 for value in chroma)])


class _Hour(NamedTuple):
    day: float  # part of the clip that is over
    top: NDArray[np.float64]  # of the sky
    horizon: NDArray[np.float64]
    light: float  # on the hills


_SKY = [
    _Hour(0.00, _yuv(38, 44, 92), _yuv(214, 122, 110), 0.45),
    _Hour(0.15, _yuv(78, 132, 200), _yuv(250, 205, 160), 0.80),
    _Hour(0.40, _yuv(64, 142, 224), _yuv(188, 222, 244), 1.00),
    _Hour(0.65, _yuv(84, 116, 190), _yuv(252, 196, 128), 0.85),
    _Hour(0.80, _yuv(62, 40, 98), _yuv(240, 104, 66), 0.55),
    _Hour(1.00, _yuv(8, 10, 30), _yuv(30, 34, 70), 0.22),
]
# Height of the ridge, its roughness, colour, and pixels it moves per frame: far to near.
_HILLS = [
    (560, 90, _yuv(122, 140, 168), 2),
    (700, 110, _yuv(84, 122, 108), 4),
    (860, 120, _yuv(44, 84, 56), 8),
]


@dataclass(frozen=True)
class _Layer:
    """A row of hills, wider than the picture so that it can scroll: luma, where it covers, and from which row on."""

    luma: NDArray[np.uint8]
    covers: NDArray[np.bool_]
    rows: slice
    chroma: tuple[float, float]
    speed: int


def _hills(rng: np.random.Generator) -> Iterator[_Layer]:
    period = 2 * WIDTH
    # Whole periods: the end joins the beginning.
    x = np.arange(period + WIDTH) * (2 * np.pi / period)
    for ridge, rough, color, speed in _HILLS:
        height = np.full(len(x), float(ridge))
        for k in rng.integers(1, 24, 9):
            height += np.sin(k * x + rng.uniform(0, 6.3)) / np.sqrt(k) * rough / 3
        # No need to go further down: a nearer row of hills covers the rest.
        rows = slice(int(height.min()) // 2 * 2, min(HEIGHT, int(height.max()) + 330))
        y = np.arange(rows.start, rows.stop)[:, None]
        shade = np.clip(1.15 - (y - height) / 900, 0.7, 1.15)
        grain = rng.normal(0, 5, (len(y) // 4 + 1, period // 4)).repeat(4, 0).repeat(4, 1)[: len(y)]
        grain = np.hstack([grain, grain[:, :WIDTH]])
        luma = np.clip((color[0] - 16) * shade + grain, 0, 219).astype(np.uint8)
        yield _Layer(luma, y >= height, rows, (color[1], color[2]), speed)


def _landscape() -> Iterator[NDArray[np.uint8]]:
    """Yield every frame as the (3/2 height, width) array that PyAV takes for yuv420p; the array is reused."""
    rng = np.random.default_rng(7)
    layers = list(_hills(rng))
    stars = rng.integers(0, [HEIGHT // 4, WIDTH // 2], (260, 2)) * 2
    planes = np.empty((HEIGHT * 3 // 2, WIDTH), np.uint8)
    luma = planes[:HEIGHT]
    chroma = planes[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
    for number in range(FRAMES):
        day = number / FRAMES
        light = _draw_sky(luma, chroma, day)
        for dy, dx in np.ndindex(2, 2) if light < 0.5 else ():
            luma[stars[:, 0] + dy, stars[:, 1] + dx] += np.uint8((0.5 - light) * 600)
        _draw_sun(luma, chroma, day)
        for layer in layers:
            _draw_hills(luma, chroma, layer, number, light)
        yield planes


def _draw_sky(luma: NDArray[np.uint8], chroma: NDArray[np.uint8], day: float) -> float:
    """Fill the picture with the gradient of that time of day; return the light on the hills, 0..1."""
    days = [hour.day for hour in _SKY]
    top, horizon = (
        np.array([np.interp(day, days, values) for values in zip(*colors, strict=True)])
        for colors in ([hour.top for hour in _SKY], [hour.horizon for hour in _SKY])
    )
    down = np.minimum(np.arange(HEIGHT)[:, None] / 640, 1)
    column: NDArray[np.float64] = top + (horizon - top) * down  # (height, 3)
    # Ordered dither: a slow gradient in 8 bits would show bands.
    dither = np.array([[0.1, 0.6], [0.85, 0.35]])
    for y in (0, 1):
        pairs = (column[y::2, :1] + dither[y]).astype(np.uint8)
        # Two pixels at a time: five times quicker.
        luma[y::2].view(np.uint16)[:] = pairs.view(np.uint16)
    for c in (0, 1):
        chroma[c] = (column[::2, c + 1] + 0.5).astype(np.uint8)[:, None]
    return float(np.interp(day, days, [hour.light for hour in _SKY]))


def _draw_sun(luma: NDArray[np.uint8], chroma: NDArray[np.uint8], day: float) -> None:
    """Blend a glowing disc that rises at the left and sets at the right; gone when it is below the hills."""
    x, y = WIDTH * (0.08 + day), HEIGHT * (0.86 - 0.74 * np.sin(np.pi * min(1.0, day / 0.85)))
    reach = 260
    left, right = (int(np.clip(x + side, 0, WIDTH)) // 2 * 2 for side in (-reach, reach))
    upper, lower = (int(np.clip(y + side, 0, HEIGHT)) // 2 * 2 for side in (-reach, reach))
    if right <= left or lower <= upper:
        return
    distance = np.hypot(*np.ogrid[upper - y : lower - y, left - x : right - x])
    glow = np.clip(1 - (distance - 64) / (reach - 64), 0, 1) ** 3 * 0.55
    glow[distance < 64] = 1.0
    color = _yuv(255, 238, 190)
    target = luma[upper:lower, left:right]
    target[:] = target + (color[0] - target) * glow
    for c in (0, 1):
        target = chroma[c, upper // 2 : lower // 2, left // 2 : right // 2]
        target[:] = target + (color[c + 1] - target) * glow[::2, ::2]


def _draw_hills(
    luma: NDArray[np.uint8], chroma: NDArray[np.uint8], layer: _Layer, number: int, light: float
) -> None:
    left = number * layer.speed % (2 * WIDTH)
    covers = layer.covers[:, left : left + WIDTH]
    lit = np.multiply(layer.luma[:, left : left + WIDTH], round(light * 256), dtype=np.uint16)
    lit >>= 8
    lit += 16
    np.copyto(luma[layer.rows], lit, where=covers, casting="unsafe")
    below = chroma[:, layer.rows.start // 2 : (layer.rows.stop + 1) // 2]
    for c in (0, 1):
        np.copyto(
            below[c], np.uint8(round(128 + (layer.chroma[c] - 128) * light)), where=covers[::2, ::2]
        )
