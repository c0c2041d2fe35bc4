"""The float64 gold: what every pixel frametap writes should be, computed from the definitions.

Written from ITU-R BT.601/709/2020, ITU-T H.273 and Pillow's resampling rules, and from nothing of
ours: it shares no code and no constant with `csrc/`. It is slow and short on purpose, one function
per step:
    planes -> unpack -> resample -> expand, yuv_to_rgb -> orient -> pad -> quantise -> normalise

Nothing is rounded before `quantise`, so fixed-point code must stay within 1 LSB of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating[Any]]
Plane = NDArray[np.uint8] | NDArray[np.uint16]
Nudge = tuple[float, float]  # added to the (horizontal, vertical) centres of chroma

# ---------------------------------------------------------------------------------- pixel formats


@dataclass(frozen=True)
class PixelFormat:
    """What an FFmpeg pixel format name says about memory.

    Attributes:
        family: "yuv", "rgb" or "gray".
        depth: bits per sample that carry the picture.
        sub_x, sub_y: luma samples per chroma sample, horizontally and vertically.
        planes: for each plane the components of one of its pixels in memory order; "a" is alpha,
            "x" is filler.
        shift: how far samples sit above bit 0 of their word (P010: 10 bits in the top of 16).
    """

    family: str
    depth: int
    sub_x: int
    sub_y: int
    planes: tuple[str, ...]
    shift: int = 0

    @property
    def sample_type(self) -> type[np.uint8 | np.uint16]:
        """The word one sample is stored in: little-endian 16 bits above 8 bits."""
        return np.uint8 if self.depth <= 8 else np.uint16

    def subsampling(self, component: str) -> tuple[int, int]:
        """(horizontal, vertical) luma samples per sample of `component`."""
        return (self.sub_x, self.sub_y) if component in "uv" else (1, 1)

    def plane_shapes(self, width: int, height: int) -> list[tuple[int, int]]:
        """(rows, samples per row) of each plane of a picture of `width` x `height` luma samples."""
        shapes = []
        for components in self.planes:
            sub_x, sub_y = self.subsampling(components[0])
            shapes.append((-(-height // sub_y), -(-width // sub_x) * len(components)))
        return shapes


# Luma samples per chroma sample (horizontally, vertically) by the digits of the name.
SUBSAMPLING = {"420": (2, 2), "422": (2, 1), "444": (1, 1)}
SUBSAMPLING |= {"440": (1, 2), "411": (4, 1), "410": (4, 4)}
SEMIPLANAR = {"nv12": "420", "nv21": "420", "nv16": "422", "nv24": "444", "nv42": "444"}
PACKED = {"rgb", "bgr", "rgba", "bgra", "argb", "abgr", "rgb0", "bgr0", "0rgb", "0bgr"}


def parse_pixel_format(name: str) -> PixelFormat:
    """Read an FFmpeg pixel format name; ValueError for one this reference does not describe."""
    if name in SEMIPLANAR:
        order = "vu" if name in ("nv21", "nv42") else "uv"
        return PixelFormat("yuv", 8, *SUBSAMPLING[SEMIPLANAR[name]], ("y", order))
    if match := re.fullmatch(r"p([024])(10|12|16)le", name):
        depth = int(match[2])
        sampling = {"0": "420", "2": "422", "4": "444"}[match[1]]
        return PixelFormat("yuv", depth, *SUBSAMPLING[sampling], ("y", "uv"), shift=16 - depth)
    if match := re.fullmatch(r"yuv(j|a)?(\d{3})p(?:(9|10|12|14|16)le)?", name):
        planes = ("y", "u", "v", "a") if match[1] == "a" else ("y", "u", "v")
        return PixelFormat("yuv", int(match[3] or 8), *SUBSAMPLING[match[2]], planes)
    if match := re.fullmatch(r"gbr(a)?p(?:(9|10|12|14|16)le)?", name):
        planes = ("g", "b", "r", "a") if match[1] else ("g", "b", "r")
        return PixelFormat("rgb", int(match[2] or 8), 1, 1, planes)
    if match := re.fullmatch(r"gray(?:(9|10|12|14|16)le)?", name):
        return PixelFormat("gray", int(match[1] or 8), 1, 1, ("y",))
    if match := re.fullmatch(r"ya(8|16le)", name):
        return PixelFormat("gray", 8 if match[1] == "8" else 16, 1, 1, ("ya",))
    if match := re.fullmatch(r"(rgb|bgr)24|(rgb|bgr)48le|(rgba|bgra)64le|([rgba0]{4})", name):
        order = next(group for group in match.groups() if group)
        if order in PACKED:
            depth = 16 if name.endswith("le") else 8
            return PixelFormat("rgb", depth, 1, 1, (order.replace("0", "x"),))
    raise ValueError(f"no description of pixel format {name!r}")


def unpack(planes: Sequence[Plane], pixel_format: PixelFormat) -> dict[str, Float]:
    """Planes to components "yuv", "rgb" or "y", values 0..2^depth-1; alpha and filler go."""
    components: dict[str, Float] = {}
    for plane, names in zip(planes, pixel_format.planes, strict=True):
        for position, name in enumerate(names):
            if name not in "ax":
                samples = plane[:, position :: len(names)] >> pixel_format.shift
                components[name] = samples.astype(np.float64)
    return components


# --------------------------------------------------------------------------------------- resample


def _triangle(x: Float) -> Float:
    return np.maximum(0.0, 1.0 - np.abs(x))


def _keys_cubic(x: Float, a: float = -0.5) -> Float:
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _lanczos3(x: Float) -> Float:
    return np.where((x >= -3) & (x < 3), np.sinc(x) * np.sinc(x / 3), 0.0)


def _box(x: Float) -> Float:
    return np.where((x > -0.5) & (x <= 0.5), 1.0, 0.0)


FILTERS: dict[str, tuple[Callable[[Float], Float], float]] = {  # kernel and support
    "bilinear": (_triangle, 1.0),
    "bicubic": (_keys_cubic, 2.0),
    "lanczos": (_lanczos3, 3.0),
    "area": (_box, 0.5),
}


@dataclass(frozen=True)
class Axis:
    """One axis of a resample: `size` samples of a crop seen from `grid` output samples.

    `centres` are positions in the crop's own samples, sample j having its centre at j + 0.5;
    `scale` is how many of them one output sample spans.
    """

    size: int
    scale: float
    centres: Float


def make_axis(start: int, size: int, grid: int, sub: int = 1, siting: float = 0) -> Axis:
    """The axis of a component with one sample per `sub` luma samples, cropped to [start, +size).

    `siting` says where in the `sub` luma samples it stands for a chroma sample sits (H.273
    chroma_loc): 1 on the first, 0 in the middle, -1 on the last. On the first, sample j has its
    centre at luma position sub * j + 0.5, hence the shift.
    """
    scale = size / grid
    centres = (np.arange(grid) + 0.5) * scale
    if sub == 1:
        return Axis(size, scale, centres)
    first = start // sub
    count = -(-(start + size) // sub) - first
    shift = siting * (sub - 1) / (2 * sub)
    return Axis(count, scale / sub, (start + centres) / sub - first + shift)


def weights(axis: Axis, filter_name: str, antialias: bool) -> Float:
    """Pillow's resampling coefficients as a dense (grid, size) matrix whose rows sum to 1."""
    centre = axis.centres[:, np.newaxis]
    tap = np.arange(axis.size)
    if filter_name == "nearest":
        table = np.zeros((len(centre), axis.size))
    else:
        kernel, support = FILTERS[filter_name]
        filter_scale = max(1.0, axis.scale) if antialias else 1.0
        first = np.trunc(centre - support * filter_scale + 0.5)
        last = np.trunc(centre + support * filter_scale + 0.5)
        inside = (tap >= first) & (tap < last)
        table = np.where(inside, kernel((tap - centre + 0.5) / filter_scale), 0.0)
    nearest = np.clip(np.floor(centre), 0, axis.size - 1)
    # No tap at all: the nearest filter, or a sited chroma centre that lies beyond the last sample.
    table = np.where(table.any(axis=1, keepdims=True), table, tap == nearest)
    normalised: Float = table / table.sum(axis=1, keepdims=True)
    return normalised


def resample(plane: Float, vertical: Float, horizontal: Float) -> Float:
    """Vertical pass, then horizontal; nothing is rounded or saturated in between."""
    return (vertical @ plane) @ horizontal.T


SITING = {  # (horizontal, vertical), see make_axis
    "left": (1, 0),
    "center": (0, 0),
    "topleft": (1, 1),
    "top": (0, 1),
    "bottomleft": (1, -1),
    "bottom": (0, -1),
}


# ----------------------------------------------------------------------------------------- colour

LUMA_COEFFICIENTS = {  # (kr, kb): H.273 table 4 (MatrixCoefficients)
    "bt601": (0.299, 0.114),  # 5, 6
    "bt709": (0.2126, 0.0722),  # 1
    "bt2020nc": (0.2627, 0.0593),  # 9
    "smpte240m": (0.212, 0.087),  # 7
    "fcc": (0.30, 0.11),  # 4
}


def expand_luma(samples: Float, depth: int, full_range: bool) -> Float:
    """255 E'Y (H.273 8.3): limited range spans 219 * 2^(d-8) steps from 16 * 2^(d-8)."""
    if full_range:
        return samples * (255 / (2**depth - 1))
    return (samples / 2 ** (depth - 8) - 16) * (255 / 219)


def expand_chroma(samples: Float, depth: int, full_range: bool) -> Float:
    """255 E'PB or 255 E'PR (H.273 8.3): zero at 2^(d-1), limited spans 224 * 2^(d-8) steps."""
    steps = 2**depth - 1 if full_range else 224 * 2 ** (depth - 8)
    return (samples - 2 ** (depth - 1)) * (255 / steps)


def yuv_to_rgb(luma: Float, blue_difference: Float, red_difference: Float, matrix: str) -> Float:
    """Invert H.273's Y = kr R + kg G + kb B, PB = (B - Y) / 2(1 - kb), PR = (R - Y) / 2(1 - kr).

    Returns:
        (3, h, w): R, G, B on the scale of the arguments.
    """
    kr, kb = LUMA_COEFFICIENTS[matrix]
    red = luma + 2 * (1 - kr) * red_difference
    blue = luma + 2 * (1 - kb) * blue_difference
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    return np.stack([red, green, blue])


def gray_of_rgb(rgb: Float) -> Float:
    """BT.601 luma of full-range RGB, as Pillow's mode "L"; (3, ...) in, (1, ...) out."""
    red, green, blue = rgb
    return (0.299 * red + 0.587 * green + 0.114 * blue)[np.newaxis]


# ------------------------------------------------------------------------------------ HDR to SDR

HDR_PEAK, SDR_PEAK, SDR_BLACK = 1000.0, 100.0, 0.1  # cd/m2

CHROMATICITIES = {  # H.273 table 2 (ColourPrimaries): x, y of red, green, blue; white is D65
    "bt2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # 9
    "display-p3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # 12
    "bt709": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),  # 1
}
D65 = (0.3127, 0.3290)


def pq_eotf(code: Float) -> Float:
    """BT.2100 table 4: cd/m2 of a PQ code 0..1."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    root = code ** (1 / m2)
    light: Float = 10000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return light


def pq_inverse_eotf(light: Float) -> Float:
    """BT.2100 table 4: the PQ code of a luminance in cd/m2."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = (light / 10000) ** m1
    code: Float = ((c1 + c2 * power) / (1 + c3 * power)) ** m2
    return code


def hlg_eotf(code: Float, luminance: Float) -> Float:
    """BT.2100 table 5: (3, ...) display light in cd/m2 of HLG R'G'B' 0..1, on a display of 1000 cd/m2.

    `luminance` weighs the three into scene luminance.
    """
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    gain = np.tensordot(luminance, scene, 1) ** (1.2 - 1)
    return HDR_PEAK * gain * scene


def eetf(light: Float) -> Float:
    """BT.2390 5.4.1: luminance for a display of SDR_BLACK to SDR_PEAK, from content of 0 to HDR_PEAK."""
    lowest, highest = pq_inverse_eotf(np.array([0.0, HDR_PEAK]))
    low, high = (pq_inverse_eotf(np.array([SDR_BLACK, SDR_PEAK])) - lowest) / (highest - lowest)
    e1 = (pq_inverse_eotf(np.minimum(light, HDR_PEAK)) - lowest) / (highest - lowest)
    knee = 1.5 * high - 0.5
    t = (e1 - knee) / (1 - knee)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * high
    )
    e2 = np.where(e1 < knee, e1, spline)
    e3 = e2 + low * (1 - e2) ** 4
    return np.minimum(pq_eotf(e3 * (highest - lowest) + lowest), SDR_PEAK)


def bt1886_inverse(light: Float) -> Float:
    """BT.1886 annex 1 solved for V: the code 0..1 of a luminance; what the display cannot show is cut."""
    white, black = SDR_PEAK ** (1 / 2.4), SDR_BLACK ** (1 / 2.4)
    gain, lift = (white - black) ** 2.4, black / (white - black)
    return np.clip((np.maximum(light, 0) / gain) ** (1 / 2.4) - lift, 0, 1)


def rgb_to_xyz(primaries: str) -> Float:
    """SMPTE RP 177: the matrix from linear R, G, B to X, Y, Z."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in CHROMATICITIES[primaries]]).T
    white = np.array([D65[0] / D65[1], 1, (1 - sum(D65)) / D65[1]])
    return columns * np.linalg.solve(columns, white)


def tone_map(rgb: Float, job: Conversion) -> Float:
    """(3, h, w) R'G'B' 0..255 of PQ or HLG to the same of SDR BT.709."""
    to_xyz = rgb_to_xyz(job.primaries)
    code = np.clip(rgb / 255, 0, 1)
    light = pq_eotf(code) if job.tone_map == "pq" else hlg_eotf(code, to_xyz[1])
    gamut = np.linalg.solve(rgb_to_xyz("bt709"), to_xyz)
    return 255 * bt1886_inverse(np.tensordot(gamut, eetf(light), 1))


# ---------------------------------------------------------------------------------- the whole way


@dataclass(frozen=True)
class Conversion:
    """The keyword arguments of `_core.Converter`, same names and meaning."""

    pixel_format: str
    width: int
    height: int
    crop: tuple[int, int, int, int]
    grid: tuple[int, int]
    window: tuple[int, int, int, int]
    canvas: tuple[int, int]
    matrix: str = "bt601"
    full_range: bool = False
    chroma_location: str = "left"
    filter: str = "bilinear"
    antialias: bool = True
    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False
    offset: tuple[int, int] = (0, 0)
    fill: tuple[int, int, int] = (0, 0, 0)
    color: str = "rgb"
    layout: str = "NCHW"
    dtype: str = "uint8"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    tone_map: str = "none"
    primaries: str = "bt2020"

    @property
    def format(self) -> PixelFormat:
        """The parsed pixel format."""
        return parse_pixel_format(self.pixel_format)

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """(C, H, W) or (H, W, C)."""
        count, size = 1 if self.color == "gray" else 3, self.canvas[::-1]
        return (count, *size) if self.layout == "NCHW" else (*size, count)


def simple(
    pixel_format: str,
    width: int,
    height: int,
    size: tuple[int, int] | None = None,
    **rest: Any,
) -> Conversion:
    """Convert the whole picture to `size` = (width, height), its own by default, unpadded."""
    size = size or (width, height)
    canvas = size[::-1] if rest.get("transpose") else size
    whole = Conversion(
        pixel_format, width, height, (0, 0, width, height), size, (0, 0, *size), canvas
    )
    return replace(whole, **rest)


def resampled(planes: Sequence[Plane], job: Conversion, nudge: Nudge) -> dict[str, Float]:
    """Each component cropped and resampled directly to the kept window of the output grid."""
    layout = job.format
    x, y, width, height = job.crop
    left, top, kept_width, kept_height = job.window
    result = {}
    for name, component in unpack(planes, layout).items():
        sub_x, sub_y = layout.subsampling(name)
        siting_x, siting_y = SITING[job.chroma_location]
        across = make_axis(x, width, job.grid[0], sub_x, siting_x)
        down = make_axis(y, height, job.grid[1], sub_y, siting_y)
        if name in "uv":
            across = replace(across, centres=across.centres + nudge[0])
            down = replace(down, centres=down.centres + nudge[1])
        cropped = component[y // sub_y :, x // sub_x :][: down.size, : across.size]
        horizontal = weights(across, job.filter, job.antialias)[left : left + kept_width]
        vertical = weights(down, job.filter, job.antialias)[top : top + kept_height]
        result[name] = resample(cropped, vertical, horizontal)
    return result


def channels(planes: Sequence[Plane], job: Conversion, nudge: Nudge) -> Float:
    """(3, h, w) R, G, B or (1, h, w) gray of the kept window, 0..255, not yet saturated."""
    layout = job.format
    parts = resampled(planes, job, nudge)
    if layout.family == "rgb":
        rgb = np.stack([parts[name] for name in "rgb"]) * (255 / (2**layout.depth - 1))
        return gray_of_rgb(rgb) if job.color == "gray" else rgb
    luma = expand_luma(parts["y"], layout.depth, job.full_range)
    if job.color == "gray":
        return luma[np.newaxis]
    if layout.family == "gray":
        return np.stack([luma] * 3)
    blue_difference, red_difference = (
        expand_chroma(parts[name], layout.depth, job.full_range) for name in "uv"
    )
    return yuv_to_rgb(luma, blue_difference, red_difference, job.matrix)


def orient(picture: Float, job: Conversion) -> Float:
    """Decoded to display orientation: swap x and y, then mirror columns, then mirror rows."""
    if job.transpose:
        picture = picture.swapaxes(1, 2)
    if job.flip_x:
        picture = picture[:, :, ::-1]
    return picture[:, ::-1, :] if job.flip_y else picture


def pad(picture: Float, job: Conversion) -> Float:
    """Put the window into the canvas; the rest is `fill`, as RGB or as the gray byte of it."""
    fill = np.array(job.fill, np.float64).reshape(3, 1, 1)
    if job.color == "gray":
        fill = np.floor(gray_of_rgb(fill) + 0.5)
    canvas = np.tile(fill, (1, *job.canvas[::-1]))
    x, y = job.offset
    canvas[:, y : y + picture.shape[1], x : x + picture.shape[2]] = picture
    return canvas


def gold(planes: Sequence[Plane], job: Conversion, nudge: Nudge = (0, 0)) -> Float:
    """(C, H, W), R, G, B, 0..255: oriented, padded and saturated, but never rounded."""
    picture = channels(planes, job, nudge)
    if job.tone_map != "none":  # gray is a colour whose three components are equal
        picture = tone_map(np.broadcast_to(picture, (3, *picture.shape[1:])), job)[: len(picture)]
    window = orient(picture, job)
    return np.clip(pad(window, job), 0.0, 255.0)


def quantise(value: Float) -> Float:
    """Round half up, to the integers 0..255."""
    return np.floor(value + 0.5)


def normalise(value: Float, job: Conversion) -> Float:
    """(value / 255 - mean) / std per channel; mean and std are in R, G, B order."""
    mean, std = (np.reshape(three[: len(value)], (-1, 1, 1)) for three in (job.mean, job.std))
    return (value / 255 - mean) / std


def arrange(value: Float, job: Conversion) -> Float:
    """Colour order, then layout: (C, H, W) R, G, B to the output's own axes."""
    if job.color == "bgr":
        value = value[::-1]
    return value if job.layout == "NCHW" else value.transpose(1, 2, 0)


def convert(planes: Sequence[Plane], job: Conversion) -> Float:
    """The final array in float64: whole numbers for "uint8", else values before rounding to dtype.

    8-bit sources are quantised before they are normalised, deeper ones are not.
    """
    value = gold(planes, job)
    if job.dtype == "uint8":
        return arrange(quantise(value), job)
    if job.format.depth == 8:
        value = quantise(value)
    return arrange(normalise(value, job), job)
