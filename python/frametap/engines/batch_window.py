"""The batches of a stream that several workers fill at once, while the consumer takes them in order."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from frametap.engines.base import Destination, Report
from frametap.errors import SourceError

# How often a worker that waits for the consumer looks whether there still can be one.
_POLL_SECONDS = 0.1


class StreamWorker(threading.Thread):
    """A thread that fills a window. No daemon: one that is killed inside a decoder takes the interpreter down with it."""


def _interpreter_ends() -> bool:
    """Whether only stream workers are left: the main thread is done and waits for them, and nobody will ask for more."""
    others = (thread for thread in threading.enumerate() if not isinstance(thread, StreamWorker))
    return not any(thread.is_alive() and not thread.daemon for thread in others)


@dataclass(eq=False)
class OpenBatch:
    """A batch being filled: which positions of the plan's frames are its own, and how many of those are missing."""

    destination: Destination
    report: Report
    begin: int
    end: int
    missing: int


class BatchWindow:
    """Opens batches as workers reach them, never further than `ahead` frames from the one the consumer waits for.

    Positions count the plan's ascending frames. Workers must begin with the lowest position nobody has begun with: then the
    batch that the consumer waits for is always being filled, and a worker that has to wait, waits for the consumer.

    Args:
        batches: destination and report of each batch, in order.
        ahead: how many frames may be finished before the consumer gets to them.
    """

    def __init__(self, batches: Iterable[tuple[Destination, Report]], ahead: int) -> None:
        self._coming = iter(batches)
        self._ahead = ahead
        self._open: deque[OpenBatch] = deque()
        self._taken = self._opened = (
            0  # positions before these are with the consumer, or in a batch
        )
        self._failure: tuple[int, BaseException] | None = None
        self._stopped = False
        self._pid = os.getpid()
        self._changed = threading.Condition()

    @property
    def stopped(self) -> bool:
        """Whether nobody wants the rest."""
        return self._stopped

    def stop(self) -> None:
        """Let workers go home: nobody wants the rest."""
        self._stopped = True
        if (
            os.getpid() == self._pid
        ):  # in a forked child nobody waits, and nobody is there to release the lock
            with self._changed:
                self._changed.notify_all()

    def batch_at(self, position: int) -> OpenBatch | None:
        """Return the batch that a position belongs to, waiting until it may be open; None once the window is stopped."""
        with self._changed:
            while not self._stopped:
                while self._opened <= position and self._opened - self._taken <= self._ahead:
                    self._open_next()
                if self._opened > position:
                    return next(batch for batch in self._open if position < batch.end)
                if not self._changed.wait(_POLL_SECONDS) and _interpreter_ends():
                    self._stopped = True
            return None

    def _open_next(self) -> None:
        destination, report = next(self._coming)
        count = len(destination.frames)
        self._open.append(OpenBatch(destination, report, self._opened, self._opened + count, count))
        self._opened += count

    def filled(self, batch: OpenBatch, count: int) -> None:
        """Note that `count` more frames of a batch are done."""
        with self._changed:
            batch.missing -= count
            if not batch.missing:
                self._changed.notify_all()

    def fail(self, position: int, error: BaseException) -> None:
        """Note that the frames from a position on will not come, and why."""
        with self._changed:
            if self._failure is None or position < self._failure[0]:
                self._failure = position, error
            self._changed.notify_all()

    def take(self, total: int) -> Iterator[tuple[Destination, Report]]:
        """Yield the batches of `total` positions in order, each once it is filled.

        Raises:
            BaseException: what a worker failed with, when its batch would be next.
        """
        while self._taken < total:
            if os.getpid() != self._pid:
                raise SourceError(
                    "this process was forked while batches() was under way, and the threads that fill them stayed "
                    "with the parent; call batches() again"
                )
            batch = self.batch_at(self._taken)
            assert batch is not None
            with self._changed:
                while batch.missing:
                    if self._failure is not None and self._failure[0] < batch.end:
                        raise self._failure[1]
                    self._changed.wait()
                self._open.popleft()
                self._taken = batch.end
                self._changed.notify_all()
            yield batch.destination, batch.report
