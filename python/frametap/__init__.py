"""frametap taps a video for exactly the frames a model will see and hands them over as a tensor."""

from frametap._core import __version__
from frametap.batch import Frame, FrameBatch
from frametap.engines.base import Report
from frametap.errors import DecodeError, DeviceError, FrametapError, SourceError, UnsupportedError
from frametap.index import FrameIndex
from frametap.info import VideoInfo
from frametap.many import sample_many
from frametap.plan import Plan, Run
from frametap.reader import VideoReader, open, probe, sample  # noqa: A004
from frametap.sampler import (
    At,
    Clips,
    Every,
    HuggingFace,
    Indices,
    Keyframes,
    QwenVL,
    Rate,
    Uniform,
)
from frametap.transform import Box, CenterCrop, Letterbox, PixelBudget, RandomCrop, Transform

__all__ = [
    "At", "Box", "CenterCrop", "Clips", "DecodeError", "DeviceError", "Every", "Frame", "FrameBatch", "FrameIndex",
    "FrametapError", "HuggingFace", "Indices", "Keyframes", "Letterbox", "PixelBudget", "Plan", "QwenVL", "RandomCrop",
    "Rate", "Report", "Run", "SourceError", "Transform", "Uniform", "UnsupportedError", "VideoInfo", "VideoReader",
    "__version__", "open", "probe", "sample", "sample_many",
]  # fmt: skip
