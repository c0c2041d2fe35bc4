"""Plain decoding with PyAV: the whole file, from its start, one thread. What frametap's frames are compared with.

Shares nothing with frametap: pictures are kept as the planes that FFmpeg's decoder put out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from reference import Conversion, Plane, convert, parse_pixel_format, simple

# AVColorSpace, AVColorRange: the values that FFmpeg's decoders put on the clips of clips.py.
MATRICES = {1: "bt709", 2: "bt601", 5: "bt601", 6: "bt601", 9: "bt2020nc", 0: "rgb"}
FULL_RANGE = 2


@dataclass(frozen=True)
class Picture:
    """One decoded picture; `seconds` and `duration` are None where FFmpeg does not say."""

    seconds: float | None
    duration: float | None
    pixel_format: str
    width: int
    height: int
    matrix: str
    full_range: bool
    chroma_location: str
    keyframe: bool
    corrupt: bool  # FFmpeg says so itself
    planes: tuple[Plane, ...]

    @property
    def luma(self) -> Plane | None:
        """The Y plane, None for RGB."""
        layout = parse_pixel_format(self.pixel_format)
        return self.planes[0] if layout.family != "rgb" and layout.planes[0] == "y" else None

    def rgb(self, size: tuple[int, int] | None = None) -> NDArray[np.float64]:
        """(3, h, w): what the float64 reference makes of it, at `size` = (width, height)."""
        job: Conversion = simple(
            self.pixel_format,
            self.width,
            self.height,
            size,
            matrix="bt601" if self.matrix == "rgb" else self.matrix,
            full_range=self.full_range,
            chroma_location=self.chroma_location,
        )
        return convert(self.planes, job)


@dataclass
class Decoded:
    """All pictures of a file in the order FFmpeg yields them, and what went wrong on the way."""

    packets: int = 0
    pictures: list[Picture] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    errors_after: list[int] = field(default_factory=list)  # how many pictures had come out by then

    def __len__(self) -> int:
        return len(self.pictures)

    def note(self, error: Exception) -> None:
        self.errors.append(str(error))
        self.errors_after.append(len(self.pictures))

    def quiet(self) -> NDArray[np.bool_]:
        """bool[N]: nothing went wrong in the keyframe interval of a picture, nor in those beside it.

        After damage FFmpeg invents pictures out of what its decoder happens to hold, so those differ from run to run.
        """
        interval = np.cumsum([picture.keyframe for picture in self.pictures])
        if self.packets != len(self) and not self.errors:  # a picture is lost, nobody knows which
            return np.zeros(len(self), dtype=bool)
        noisy = [i for i, picture in enumerate(self.pictures) if picture.corrupt]
        noisy += [min(i, len(self) - 1) for i in self.errors_after]
        near = np.abs(interval[:, None] - interval[noisy][None, :]) <= 1
        return ~near.any(axis=1)

    @property
    def clean(self) -> bool:
        """Every packet has given a picture, and nothing went wrong as far as FFmpeg knows."""
        whole = 0 < len(self.pictures) == self.packets
        return whole and not self.errors and not any(p.corrupt for p in self.pictures)


@lru_cache(maxsize=8)
def decode(path: Path) -> Decoded:
    """Decode the first video stream of a file that is not going to change."""
    return decode_now(path)


def decode_now(path: Path) -> Decoded:
    """Decode the first video stream of a file, passing over damage."""
    result = Decoded()
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except av.error.FFmpegError as error:  # the demuxer gives up: drain
                result.note(error)
                packet = av.Packet()
            result.packets += packet.size > 0
            try:
                pictures = stream.decode(packet if packet.size else None)
            except av.error.FFmpegError as error:
                result.note(error)
                pictures = []
            result.pictures += [picture_of(frame, stream) for frame in pictures]
            if not packet.size:
                return result


def picture_of(frame: av.VideoFrame, stream: av.VideoStream) -> Picture:
    tick = Fraction(stream.time_base)  # a drained frame does not carry it
    seconds = None if frame.pts is None else float(frame.pts * tick)
    return Picture(
        seconds=seconds,
        duration=float(frame.duration * tick) if frame.duration else None,
        pixel_format=frame.format.name,
        width=frame.width,
        height=frame.height,
        matrix=MATRICES[int(frame.colorspace)],
        full_range=int(frame.color_range) == FULL_RANGE
        or frame.format.name.startswith("yuvj")
        or (int(frame.color_range) == 0 and frame.format.name.startswith(("gray", "ya"))),
        chroma_location="center"
        if stream.codec_context.name in ("mjpeg", "mpeg1video")
        else "left",
        keyframe=bool(frame.key_frame),
        corrupt=frame.is_corrupt,
        planes=tuple(planes_of(frame)),
    )


def planes_of(frame: av.VideoFrame) -> list[Plane]:
    layout = parse_pixel_format(frame.format.name)
    shapes = layout.plane_shapes(frame.width, frame.height)
    planes = []
    for plane, (rows, columns) in zip(frame.planes, shapes, strict=True):
        lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:rows]
        size = np.dtype(layout.sample_type).itemsize
        planes.append(np.ascontiguousarray(lines[:, : columns * size]).view(layout.sample_type))
    return planes
