"""`VideoLoader`: batches of evenly spaced frames out of many videos, in the orders that decord has."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

import frametap as ft
from frametap.integrations._reader_cache import ReaderCache
from frametap.integrations.decord.bridge import bridge_out
from frametap.integrations.decord.ndarray import Context, NDArray, cpu
from frametap.integrations.decord.reader import DECORDError, decord_errors, rescaled
from frametap.source import BEST_STREAM

# Readers kept open; random order goes to and fro between all videos.
_OPEN = 16


class VideoLoader:
    """Goes once through the batches of an epoch: (frames (N, H, W, 3) uint8, numbers int64 (N, 2): video, frame).

    A batch is N frames of one video, `interval` frames left out between two of them; the next batch of that video begins
    `skip` frames after its last. As in decord, the last frame of a video is never reached. `random.seed` makes shuffling
    repeatable.

    Args:
        uris: paths.
        ctx: a context, or several, over which the videos are spread in turn.
        shape: (N, height, width, 3); a height or width of -1 keeps the video's own.
        interval: frames left out inside a batch.
        skip: frames left out between batches.
        shuffle: 0: one video after the other; 1: videos in random turns, each in order; 2: random order of all batches;
            3: videos in order, the batches of each in random order.
        prefetch: accepted, and not needed: decoding uses all cores already.

    Raises:
        DECORDError: a video cannot be opened, or there is no such shuffle.
        AssertionError: no videos, or a shape that is none.

    Example:
        >>> from frametap.integrations.decord import VideoLoader, cpu
        >>> loader = VideoLoader(["clips/a.mp4", "clips/b.mp4"], cpu(0), (4, 60, 80, 3), interval=1, skip=5, shuffle=0)
        >>> frames, numbers = next(iter(loader))
        >>> len(loader), frames.shape, numbers.asnumpy().tolist()
        (16, (4, 60, 80, 3), [[0, 0], [0, 2], [0, 4], [0, 6]])
    """

    def __init__(
        self,
        uris: Sequence[str | os.PathLike[str]],
        ctx: Context | Sequence[Context],
        shape: Sequence[int],
        interval: int,
        skip: int,
        shuffle: int,
        prefetch: int = 0,  # noqa: ARG002 - decord's signature
    ) -> None:
        contexts = [ctx] if isinstance(ctx, Context) else list(ctx)
        if not isinstance(uris, (list, tuple)) or not uris:
            _refuse(f"uris must be a list of paths, got {uris!r}")
        if not contexts or not all(isinstance(one, Context) for one in contexts):
            _refuse(f"ctx must be cpu() or gpu(), or several, got {ctx!r}")
        if len(shape) != 4 or shape[3] != 3:
            _refuse(f"shape must be (frames, height, width, 3), got {shape!r}")
        if shuffle not in (0, 1, 2, 3):
            raise DECORDError(f"shuffle must be 0, 1, 2 or 3, got {shuffle!r}")
        self._uris = [os.fspath(uri).strip() for uri in uris]
        self._contexts = contexts
        if min(shape[1:3]) > 0:
            same = ft.Transform(size=(shape[1], shape[2]), layout="NHWC")
            self._transforms = [same] * len(self._uris)
        else:
            with decord_errors():
                headers = [ft.probe(uri, stream_index=BEST_STREAM) for uri in self._uris]
            self._transforms = [rescaled(header, shape[1], shape[2]) for header in headers]
        self._readers = ReaderCache(_OPEN)
        self._offsets = np.arange(shape[0]) * (interval + 1)
        self._shuffle = shuffle
        span = int(self._offsets[-1]) + 1
        # decord's rule, found by counting: the last frame of a video is in no batch, and unless videos take turns no batch
        # ends on the one before it either.
        unreached = 1 if shuffle == 1 else 2
        self._starts = [
            range(0, self._frames(video) - int(self._offsets[-1]) - unreached, span + skip)
            for video in range(len(uris))
        ]
        self.reset()

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return sum(len(starts) for starts in self._starts)

    def reset(self) -> None:
        """Begin another epoch, in a new order where it is random."""
        self._order = iter(self._ordered())

    def __iter__(self) -> VideoLoader:
        """Return itself: what is left of the epoch."""
        return self

    def __next__(self) -> tuple[Any, Any]:
        """Return the next (frames, numbers), each as the bridge has it.

        Raises:
            StopIteration: the epoch is over; `reset` begins the next.
            DECORDError: a frame is damaged.
        """
        video, start = next(self._order)
        frames = start + self._offsets
        with decord_errors(), self._reader(video) as reader:
            batch = reader.frames_at(frames)
        numbers = np.stack([np.full_like(frames, video), frames], axis=-1)
        return bridge_out(NDArray(batch, self._context(video))), bridge_out(
            NDArray(numbers, cpu(0))
        )

    def next(self) -> tuple[Any, Any]:
        """Return the next (frames, numbers)."""
        return self.__next__()

    def _ordered(self) -> list[tuple[int, int]]:
        starts = [list(of_video) for of_video in self._starts]
        if self._shuffle == 3:
            for of_video in starts:
                random.shuffle(of_video)
        order = [(video, start) for video, of_video in enumerate(starts) for start in of_video]
        if self._shuffle == 1:
            turns = [video for video, _ in order]
            random.shuffle(turns)
            in_order = [iter(of_video) for of_video in starts]
            return [(video, next(in_order[video])) for video in turns]
        if self._shuffle == 2:
            random.shuffle(order)
        return order

    def _context(self, video: int) -> Context:
        return self._contexts[video % len(self._contexts)]

    def _reader(self, video: int) -> Any:
        device = self._context(video).frametap_device
        return self._readers.reader(
            self._uris[video],
            device=device,
            transform=self._transforms[video],
            stream_index=BEST_STREAM,
        )

    def _frames(self, video: int) -> int:
        with decord_errors(), self._reader(video) as reader:
            return len(reader)


def _refuse(message: str) -> NoReturn:
    raise AssertionError(message)  # as decord does
