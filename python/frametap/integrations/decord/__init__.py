"""decord's video API on frametap: replace `import decord` by `from frametap.integrations import decord`.

Example:
    >>> from frametap.integrations import decord
    >>> reader = decord.VideoReader("talk.mp4", ctx=decord.cpu(0), width=160, height=120)
    >>> len(reader), reader.get_avg_fps()
    (96, 24.0)
    >>> reader.get_batch([0, 10, -1]).asnumpy().shape
    (3, 120, 160, 3)
"""

from frametap.integrations.decord import (
    _ffi,
    base,
    bridge,
    logging,
    ndarray,
    video_loader,
    video_reader,
)
from frametap.integrations.decord.loader import VideoLoader
from frametap.integrations.decord.ndarray import Context, NDArray, cpu, gpu
from frametap.integrations.decord.reader import DECORDError, DECORDLimitReachedError, VideoReader

__version__ = "0.6.0"  # of decord, whose names these are
nd = ndarray

__all__ = [
    "Context",
    "DECORDError",
    "DECORDLimitReachedError",
    "NDArray",
    "VideoLoader",
    "VideoReader",
    "__version__",
    "_ffi",
    "base",
    "bridge",
    "cpu",
    "gpu",
    "logging",
    "nd",
    "ndarray",
    "video_loader",
    "video_reader",
]
