"""What tables hold of videos, and what they can hold of batches; shared by the integrations that work on tables."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frametap.batch import FrameBatch
from frametap.engines.base import OnError, check_on_error
from frametap.engines.select import check_device, check_threads
from frametap.errors import DeviceError, SourceError
from frametap.transform import Transform


def check_request(sampler: Any, device: str, threads: int | None, on_error: OnError) -> None:
    """Refuse, before the first video, what would fail in the same way for each.

    Raises:
        TypeError: the sampler is none.
        ValueError: any of the others makes no sense.
    """
    if not callable(sampler):
        raise TypeError(
            f"sampler must be callable, such as frametap.Uniform(32), got {type(sampler).__name__}"
        )
    with suppress(DeviceError):  # whether it is there, the process that decodes will say
        check_device(device, None)
    if threads is not None:
        check_threads(threads)
    check_on_error(on_error)


def source_of(cell: Any) -> Any:
    """Return the video in a cell: a path, URL or bytes as it is, of Hugging Face's {"path", "bytes"} what is there.

    Raises:
        SourceError: the cell holds a decoder of torchcodec.
    """
    if type(cell).__module__.startswith("torchcodec."):
        raise SourceError(
            "the column holds torchcodec's decoders: cast it with datasets.Video(decode=False), so that it holds videos"
        )
    if isinstance(cell, Mapping) and ("bytes" in cell or "path" in cell):
        data = cell.get("bytes")
        return cell.get("path") if data is None else data
    return cell


def host_array(batch: FrameBatch) -> NDArray[Any]:
    """Return a batch's values in host memory: its own where it is there, else a copy."""
    if batch.device == "cpu":
        return batch.numpy()
    copied: NDArray[Any] = batch.torch().cpu().numpy()
    return copied


def no_frames(transform: Transform) -> NDArray[Any]:
    """Return what stands for the frames of a source that failed: an array of no frames."""
    channels = 1 if transform.color == "gray" else 3
    shape = (0, channels, 0, 0) if transform.layout == "NCHW" else (0, 0, 0, channels)
    return np.zeros(shape, transform.dtype)


def error_text(error: BaseException | None) -> str:
    """Return class and message, or nothing for no error."""
    return f"{type(error).__name__}: {error}" if error is not None else ""
