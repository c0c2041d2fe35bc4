"""Open videos kept for the next call, the longest unused closed first; for integrations that are asked for single frames."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from frametap import VideoReader


class ReaderCache:
    """At most `max_size` open `VideoReader`s; safe to use from several threads, and after a fork.

    Args:
        max_size: readers to keep; None: all.

    Raises:
        ValueError: `max_size` below 1.
    """

    def __init__(self, max_size: int | None = None) -> None:
        if max_size is not None and max_size < 1:
            raise ValueError(f"max_size must be at least 1, or None for no limit, got {max_size}")
        self.max_size = max_size
        self._idle: OrderedDict[Any, VideoReader] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many readers are kept."""
        return len(self._idle)

    @contextmanager
    def reader(self, path: str, **arguments: Any) -> Iterator[VideoReader]:
        """Lend a reader, opened with these arguments, to one thread: one kept, or a new one. After an error it is not kept."""
        key = (path, *sorted(arguments.items()))
        with self._lock:
            video = self._idle.pop(key, None)
        if video is None:
            video = VideoReader(path, **arguments)
        try:
            yield video
        except BaseException:
            video.close()
            raise
        self._keep(key, video)

    def clear(self) -> None:
        """Close all readers that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, OrderedDict()
        for video in idle.values():
            video.close()

    def _keep(self, key: Any, video: VideoReader) -> None:
        with self._lock:
            surplus = [self._idle.pop(key)] if key in self._idle else []  # of another thread
            self._idle[key] = video
            while self.max_size is not None and len(self._idle) > self.max_size:
                surplus.append(self._idle.popitem(last=False)[1])
        for other in surplus:
            other.close()
