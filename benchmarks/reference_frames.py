"""What every frame of a video is in a benchmark's size, by plain PyAV decoding, and which of a library's differ."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import av
import numpy as np

import frametap as ft
from frametap._core import Converter, PacketParser
from frametap.container import orientation_of, picture_format
from frametap.info import chroma_location_name

SIZE = (224, 224)
# A peer's frame is compared with so many on either side of the wanted one.
NEIGHBOURS = 3


class Reference:
    """All frames of a video by plain PyAV decoding, in the benchmark's size."""

    def __init__(self, path: Path) -> None:
        transform = ft.Transform(size=SIZE)
        self.frames: list[np.ndarray] = []
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "FRAME"
            location = chroma_location(stream.codec_context)
            for picture in container.decode(stream):
                self.frames.append(convert(picture, transform, location))

    def wrong(self, library: str, wanted: list[int], got: np.ndarray) -> int:
        """How many of the frames got are not the wanted ones."""
        if len(wanted) != len(got):
            return max(len(wanted), len(got))
        if library == "frametap":
            return sum(
                not np.array_equal(a, self.frames[n]) for a, n in zip(got, wanted, strict=True)
            )
        return sum(not self._resembles(a, n) for a, n in zip(got, wanted, strict=True))

    def _resembles(self, frame: np.ndarray, number: int) -> bool:
        def distance(other: int) -> float:
            return float(np.abs(frame.astype(np.int16) - self.frames[other]).mean())

        near = range(max(0, number - NEIGHBOURS), min(len(self.frames), number + NEIGHBOURS + 1))
        return distance(number) <= min(distance(other) for other in near) + 0.02


def chroma_location(codec: av.VideoCodecContext) -> str:
    """Where the stream's headers say that its chroma samples lie."""
    try:
        signalled = PacketParser(codec.name, bytes(codec.extradata or b"")).chroma_sample_loc_type
    except ValueError:  # a codec whose headers are not read
        signalled = -1
    return chroma_location_name(signalled, codec.name)


def convert(picture: av.VideoFrame, transform: ft.Transform, location: str) -> np.ndarray:
    """One decoded picture through the converter, without the rest of the library."""
    params = transform.resolve(picture_format(picture, orientation_of(picture), location))
    out = np.empty(params.out_shape, np.uint8)
    planes = [(plane.buffer_ptr, plane.line_size) for plane in picture.planes]
    Converter(**asdict(params)).convert(planes, out.ctypes.data)
    return out
