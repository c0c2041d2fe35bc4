"""frametap taps a video for exactly the frames a model will see and hands them over as a tensor."""

from importlib import import_module
from typing import TYPE_CHECKING

import av  # noqa: F401 - FFmpeg's libraries are loaded here, before any fork, so that worker processes share them

from frametap._core import __version__
from frametap.errors import DecodeError, DeviceError, FrametapError, SourceError, UnsupportedError

if TYPE_CHECKING:
    from frametap.batch import Frame, FrameBatch
    from frametap.engines.base import Report
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

# Where each public name lives. They are imported when first used, so that importing frametap costs little more than PyAV.
_HOMES = {
    "batch": "Frame FrameBatch",
    "engines.base": "Report",
    "index": "FrameIndex",
    "info": "VideoInfo",
    "many": "sample_many",
    "plan": "Plan Run",
    "reader": "VideoReader open probe sample",
    "sampler": "At Clips Every HuggingFace Indices Keyframes QwenVL Rate Uniform",
    "transform": "Box CenterCrop Letterbox PixelBudget RandomCrop Transform",
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "At", "Box", "CenterCrop", "Clips", "DecodeError", "DeviceError", "Every", "Frame", "FrameBatch", "FrameIndex",
    "FrametapError", "HuggingFace", "Indices", "Keyframes", "Letterbox", "PixelBudget", "Plan", "QwenVL", "RandomCrop",
    "Rate", "Report", "Run", "SourceError", "Transform", "Uniform", "UnsupportedError", "VideoInfo", "VideoReader",
    "__version__", "open", "probe", "sample", "sample_many",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'frametap' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"frametap.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
