"""`VideoStreamMetadata` with torchcodec's names, filled from frametap's probe and index."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction

from frametap import FrameIndex, VideoInfo

# FFmpeg's names, which torchcodec reports, where frametap has plainer ones.
_TRANSFERS = {
    "pq": "smpte2084",
    "hlg": "arib-std-b67",
    "bt601": "smpte170m",
    "srgb": "iec61966-2-1",
}
_SPACES = {"bt601": "smpte170m", "rgb": "gbr"}
_PRIMARIES = {"dci-p3": "smpte431", "display-p3": "smpte432"}


@dataclass
class VideoStreamMetadata:
    """What is known about the stream. `*_from_header`: as announced; `*_from_content`: exact, from frametap's index.

    `width` and `height` are as displayed, `rotation` is counter-clockwise in degrees; times are container seconds.
    """

    duration_seconds_from_header: float | None
    begin_stream_seconds_from_header: float | None
    bit_rate: float | None
    codec: str | None
    stream_index: int
    media_type: str
    width: int | None
    height: int | None
    num_frames_from_header: int | None
    average_fps_from_header: float | None
    pixel_aspect_ratio: Fraction | None
    rotation: float | None
    color_primaries: str | None
    color_space: str | None
    color_transfer_characteristic: str | None
    pixel_format: str | None
    begin_stream_seconds_from_content: float | None
    end_stream_seconds_from_content: float | None
    num_frames_from_content: int | None
    duration_seconds: float | None
    begin_stream_seconds: float | None
    end_stream_seconds: float | None
    num_frames: int | None
    average_fps: float | None

    def __repr__(self) -> str:
        lines = [f"  {field.name}: {getattr(self, field.name)}" for field in fields(self)]
        return "\n".join(["VideoStreamMetadata:", *lines, ""])


def stream_metadata(header: VideoInfo, index: FrameIndex) -> VideoStreamMetadata:
    """Return the metadata of an opened video from what its header announces and its index knows."""
    begin, tick = float(index.pts_seconds[0]), index.time_base
    # Added up in ticks: in seconds the last bit may differ from pts_seconds of the same instant.
    end = int(index.pts[-1] + index.duration[-1]) * tick.numerator / tick.denominator
    return VideoStreamMetadata(
        duration_seconds_from_header=header.duration_seconds or None,
        begin_stream_seconds_from_header=header.start_seconds,
        bit_rate=header.bit_rate,
        codec=header.codec,
        stream_index=header.stream_index,
        media_type="video",
        width=header.width,
        height=header.height,
        num_frames_from_header=header.num_frames,
        average_fps_from_header=header.average_fps or None,
        pixel_aspect_ratio=Fraction(header.sample_aspect_ratio).limit_denominator(1000),
        rotation=_counter_clockwise(header.rotation),
        color_primaries=_named(header.primaries, _PRIMARIES),
        color_space=_named(header.matrix, _SPACES),
        color_transfer_characteristic=_named(header.transfer, _TRANSFERS),
        pixel_format=header.pixel_format,
        begin_stream_seconds_from_content=begin,
        end_stream_seconds_from_content=end,
        num_frames_from_content=len(index),
        duration_seconds=end - begin,
        begin_stream_seconds=begin,
        end_stream_seconds=end,
        num_frames=len(index),
        average_fps=len(index) / (end - begin) if end > begin else None,
    )


def _counter_clockwise(degrees: int) -> float | None:
    """Return torchcodec's angle, in [-180, 180), for frametap's clockwise one; None for no rotation."""
    return None if degrees == 0 else float(-degrees if degrees <= 180 else 360 - degrees)


def _named(name: str, ffmpeg: dict[str, str]) -> str | None:
    return None if name == "unspecified" else ffmpeg.get(name, name)
