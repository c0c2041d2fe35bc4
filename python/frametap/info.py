"""What a video is: `VideoInfo`, and FFmpeg's colour and orientation metadata in frametap's words."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from frametap.timeline import ConstantRate

# AVColorSpace (ITU-T H.273 matrix coefficients) by name. 5 and 6 share the BT.601 coefficients.
_MATRICES = {
    0: "rgb",
    1: "bt709",
    2: "unspecified",
    3: "unspecified",
    4: "fcc",
    5: "bt601",
    6: "bt601",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    11: "smpte2085",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
}
_TRANSFERS = {
    1: "bt709",
    4: "gamma22",
    6: "bt601",
    13: "srgb",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "pq",
    18: "hlg",
}
_PRIMARIES = {1: "bt709", 5: "bt470bg", 6: "smpte170m", 9: "bt2020", 11: "dci-p3", 12: "display-p3"}
# ITU-T H.264 table E-3 and H.265 E.3.1: chroma_sample_loc_type.
_CHROMA_LOCATIONS = ("left", "center", "topleft", "top", "bottomleft", "bottom")


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a decoded picture is turned for display: swap x and y, then mirror columns, then mirror rows."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of_display_matrix(cls, matrix: bytes | None) -> Orientation:
        """Read FFmpeg's display matrix: nine int32, 16.16 fixed point, x' = a x + c y and y' = b x + d y.

        Angles that are no multiple of 90 degrees go to the nearest one, as players do.
        """
        if matrix is None or len(matrix) < 36:
            return cls()
        a, b, _, c, d = struct.unpack_from("<5i", matrix)
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @classmethod
    def of_rotation(cls, degrees: float) -> Orientation:
        """Turn clockwise by an angle, or by the multiple of 90 degrees nearest to it."""
        return cls(*list(_DEGREES)[round(degrees / 90) % 4])

    @property
    def degrees(self) -> int:
        """Clockwise rotation in degrees; a mirrored picture counts as mirrored left-right, then rotated."""
        return _DEGREES[self.transpose, self.flip_x, self.flip_y]

    @property
    def mirrored(self) -> bool:
        """Whether the picture is mirrored, on top of any rotation."""
        return (self.transpose + self.flip_x + self.flip_y) % 2 == 1


# Clockwise, of (transpose, flip_x, flip_y): the four quarter turns in order, then those of a mirrored picture.
_DEGREES = {
    (False, False, False): 0,
    (True, True, False): 90,
    (False, True, True): 180,
    (True, False, True): 270,
    (False, True, False): 0,
    (True, True, True): 90,
    (False, False, True): 180,
    (True, False, False): 270,
}


def matrix_name(code: int) -> str:
    """Return frametap's name for an AVColorSpace value."""
    return _MATRICES.get(code, "unspecified")


def transfer_name(code: int) -> str:
    """Return frametap's name for an AVColorTransferCharacteristic value."""
    return _TRANSFERS.get(code, "unspecified")


def primaries_name(code: int) -> str:
    """Return frametap's name for an AVColorPrimaries value."""
    return _PRIMARIES.get(code, "unspecified")


def chroma_location_name(loc_type: int, codec: str) -> str:
    """Return where 4:2:0 chroma lies; streams that do not say follow their codec: JPEG and MPEG-1 centre it, the rest left."""
    if 0 <= loc_type < len(_CHROMA_LOCATIONS):
        return _CHROMA_LOCATIONS[loc_type]
    return "center" if codec in ("mjpeg", "mpeg1video") else "left"


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the headers and the first picture of a video say; `probe` makes it without scanning the file.

    Attributes:
        source: what the source is called in messages.
        container: FFmpeg's demuxer name, e.g. "mov,mp4,m4a,3gp,3g2,mj2".
        codec: FFmpeg's codec name, e.g. "h264".
        profile: codec profile as FFmpeg prints it, or None.
        width: pixels, as displayed (rotation applied).
        height: pixels, as displayed.
        pixel_format: FFmpeg's name of the decoded format, e.g. "yuv420p".
        bit_depth: bits per sample.
        num_frames: frames the header announces, or None; `len(video)` is the exact number.
        average_fps: frames per second the header announces (0.0 when it does not).
        start_seconds: container time of the first frame.
        duration_seconds: length of the video stream (of the file when the stream does not say), or 0.0.
        bit_rate: bits per second of the stream or of the file, or None.
        rotation: degrees clockwise that were applied for display: 0, 90, 180 or 270.
        mirrored: whether the picture is mirrored for display.
        sample_aspect_ratio: width over height of one pixel.
        matrix: colour matrix: "bt601", "bt709", "bt2020nc", "rgb", ... or "unspecified".
        full_range: whether luma spans 0..255 (of 8 bits) instead of 16..235.
        primaries: "bt709", "bt2020", ... or "unspecified".
        transfer: "bt709", "pq", "hlg", "srgb", ... or "unspecified".
        time_base: seconds per pts unit.
        stream_index: which stream of the file it is.

    Example:
        >>> import frametap as ft
        >>> ft.probe("talk.mp4").codec
        'h264'
    """

    source: str
    container: str
    codec: str
    profile: str | None
    width: int
    height: int
    pixel_format: str
    bit_depth: int
    num_frames: int | None
    average_fps: float
    start_seconds: float
    duration_seconds: float
    bit_rate: int | None
    rotation: int
    mirrored: bool
    sample_aspect_ratio: float
    matrix: str
    full_range: bool
    primaries: str
    transfer: str
    time_base: Fraction
    stream_index: int

    def __len__(self) -> int:
        """Return the announced number of frames, or the one that duration and rate imply."""
        if self.num_frames:
            return self.num_frames
        return max(1, round(self.duration_seconds * self.average_fps))

    # A `Timeline` for samplers, as good as the header: evenly spaced frames. A FrameIndex has the true times.

    @property
    def pts_seconds(self) -> NDArray[np.float64]:
        """float64[len(self)]: when each frame would come on screen at a constant rate."""
        return self._timeline.pts_seconds

    @property
    def end_seconds(self) -> float:
        """When the last frame leaves the screen."""
        return self._timeline.end_seconds

    @property
    def keyframes(self) -> NDArray[np.bool_]:
        """Not known from headers: ValueError."""
        return self._timeline.keyframes

    @property
    def _timeline(self) -> ConstantRate:
        return ConstantRate(len(self), self.average_fps or 25.0, self.start_seconds)
