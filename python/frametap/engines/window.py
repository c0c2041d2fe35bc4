"""Several destinations that follow on each other, opened as their frames come up and handed on as they fill."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from frametap.engines.base import Destination, Report
from frametap.errors import DecodeError
from frametap.geometry import PictureFormat


class Window:
    """The slots of a stream of batches whose frames ascend. One thread at a time.

    Args:
        batches: (destination, report) of each batch in turn; read no further than frames are asked for.
    """

    def __init__(self, batches: Iterator[tuple[Destination, Report]]) -> None:
        self.lock = threading.Lock()
        self._batches = batches
        self._open: deque[tuple[Destination, Report]] = deque()
        self._waiting: dict[int, Destination] = {}  # frames that are neither done nor failed
        self._last = -1

    @property
    def report(self) -> Report:
        """The report of the batch that is next to be complete."""
        if not self._open:
            self._admit()
        return self._open[0][1]

    def _admit(self) -> None:
        destination, report = next(self._batches)
        self._open.append((destination, report))
        for frame in destination.frames.tolist():
            self._waiting[frame] = destination
            self._last = frame

    def _of(self, frame: int) -> Destination:
        while self._last < frame:
            self._admit()
        return self._waiting[frame]

    def is_open(self, frame: int) -> bool:
        """Whether a frame's slot may still be written: not once it is done, for its batch may be handed on."""
        return frame > self._last or frame in self._waiting

    def slot(self, frame: int, picture: PictureFormat) -> tuple[Any, int]:
        """Return the converter of such pictures and the address that the frame goes to."""
        return self._of(frame).slot(frame, picture)

    def done(self, frame: int) -> None:
        """Note that the slot of a frame is filled."""
        self._of(frame).done(frame)
        del self._waiting[frame]

    def fail(self, frames: Iterable[int], error: DecodeError) -> None:
        """Note that frames could not be decoded."""
        for frame in frames:
            self._of(frame).fail([frame], error)
            del self._waiting[frame]

    def complete(self) -> Iterator[tuple[Destination, Report]]:
        """Yield the batches at the front that wait for no frame any more."""
        while self._open and not self._waiting.keys() & self._open[0][0].frames.tolist():
            yield self._open.popleft()
