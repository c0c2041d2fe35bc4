"""What NVDEC of a GPU decodes, asked once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from frametap._core import CudaDevice
from frametap.geometry import PictureFormat
from frametap.index import FrameIndex

_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "mpeg1video", "mpeg2video", "mpeg4"})
# What NVDEC can put out, of FFmpeg's pixel formats: (chroma as NVDEC counts it, bits).
DECODABLE = {
    "yuv420p": (1, 8), "yuvj420p": (1, 8), "yuv420p10le": (1, 10), "yuv420p12le": (1, 12),
    "yuv422p": (2, 8), "yuvj422p": (2, 8), "yuv422p10le": (2, 10), "yuv422p12le": (2, 12),
    "yuv444p": (3, 8), "yuvj444p": (3, 8), "yuv444p10le": (3, 10), "yuv444p12le": (3, 12),
}  # fmt: skip


@lru_cache(maxsize=256)
def nvdec_caps(cuda: CudaDevice, codec: str, chroma: int, bit_depth: int) -> dict[str, Any]:
    """Return what NVDEC of a GPU decodes: supported, engines, min_size, max_size, max_macroblocks.

    Args:
        cuda: the GPU.
        codec: FFmpeg's name.
        chroma: as NVDEC counts it: 1 for 4:2:0, 2 for 4:2:2, 3 for 4:4:4.
        bit_depth: bits per sample.
    """
    return cuda.caps(codec, chroma, bit_depth)


def forget_caps() -> None:
    """Let go of the GPUs that were asked; for the end of the process."""
    nvdec_caps.cache_clear()


def refusal(cuda: CudaDevice, index: FrameIndex, picture: PictureFormat) -> str:
    """Return why NVDEC of this GPU cannot decode a video, in words for a report; empty when it can."""
    if index.codec not in _CODECS:
        return f"NVDEC has no decoder for {index.codec}"
    if index.method == "decode":
        return "its packets do not tell its frames, so only decoding on the CPU numbers them"
    if picture.pixel_format not in DECODABLE:
        return f"NVDEC does not put out {picture.pixel_format}"
    chroma, bit_depth = DECODABLE[picture.pixel_format]
    caps = nvdec_caps(cuda, index.codec, chroma, bit_depth)
    what = f"{index.codec} with {bit_depth} bits 4:{('2:0', '2:2', '4:4')[chroma - 1]}"
    if not caps["supported"]:
        return f"{cuda.name} does not decode {what}"
    (least_width, least_height), (most_width, most_height) = caps["min_size"], caps["max_size"]
    width, height = picture.width, picture.height
    if (width // 16) * (height // 16) > caps["max_macroblocks"]:
        return f"{cuda.name} does not decode {what} of {width}x{height} pixels"
    if not (least_width <= width + 15 and least_height <= height + 15):
        return f"{cuda.name} decodes {what} only from {least_width}x{least_height}, this is {width}x{height}"
    if not (width <= most_width and height <= most_height):
        return f"{cuda.name} decodes {what} only up to {most_width}x{most_height}, this is {width}x{height}"
    return ""
