"""WebDataset: a handler for `decode` that samples the videos in tar shards."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from frametap.batch import FrameBatch
from frametap.engines.base import OnError
from frametap.integrations._cells import check_request
from frametap.reader import check_transform, sample
from frametap.sampler import Sampler, Uniform
from frametap.transform import Transform

EXTENSIONS = (
    "mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "m2ts", "flv", "wmv", "ogv", "3gp", "mjpeg", "h264",
    "h265", "hevc", "ivf", "obu",
)  # fmt: skip


class VideoHandler:
    """Sample the videos of a WebDataset: what `WebDataset(...).decode(VideoHandler(...))` calls for every file of a sample.

    Files with other extensions are left to the next handler. The bytes are decoded where they lie, without a temporary file.
    It can be pickled, and in a worker of a data loader it uses one core.

    Args:
        sampler: which frames.
        transform: what to make of them.
        extensions: of the files to sample, without the dot. Of "left.mp4" it is "mp4".
        output: called with each `FrameBatch`; what it returns takes the place of the bytes, e.g. `FrameBatch.torch` for
            tensors that the default collate function can stack. None: the `FrameBatch` itself, with its times.
        device: where frames are decoded, as in `frametap.sample`.
        threads: cores per video.
        on_error: as in `frametap.sample`. What is raised reaches the `handler` of `decode`, e.g. `webdataset.warn_and_continue`,
            which leaves the sample out.

    Example:
        >>> import frametap as ft
        >>> from frametap.integrations.webdataset import VideoHandler
        >>> handler = VideoHandler(ft.Uniform(4), ft.Transform(size=(64, 64)))
        >>> with open("talk.mp4", "rb") as file:
        ...     handler(".mp4", file.read())
        FrameBatch((4, 3, 64, 64), uint8, cpu, by cpu)
        >>> handler(".json", b"{}") is None
        True
    """

    def __init__(
        self,
        sampler: Sampler = Uniform(32),  # noqa: B008 - samplers are frozen values
        transform: Transform | None = None,
        *,
        extensions: Collection[str] = EXTENSIONS,
        output: Callable[[FrameBatch], Any] | None = None,
        device: str = "cpu",
        threads: int = 1,
        on_error: OnError = "raise",
    ) -> None:
        check_request(sampler, device, threads, on_error)
        if isinstance(extensions, str):
            extensions = extensions.split()
        self._extensions = frozenset(name.lstrip(".").lower() for name in extensions)
        self._output = output
        self._arguments: dict[str, Any] = {
            "sampler": sampler,
            "transform": check_transform(transform),
            "device": device,
            "threads": threads,
            "on_error": on_error,
        }

    def __call__(self, key: str, data: bytes) -> Any:
        """Return what becomes of a file, or None for what is no video.

        Raises:
            FrametapError: the video is damaged, or none; WebDataset adds which sample of which shard it was.
        """
        if key.rpartition(".")[2].lower() not in self._extensions:
            return None
        batch = sample(data, **self._arguments)
        return batch if self._output is None else self._output(batch)
