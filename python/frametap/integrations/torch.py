"""PyTorch: `VideoDataset`, `VideoStream`, `collate` and `prefetch`, safe in forked and spawned DataLoader workers."""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from frametap import Transform, Uniform
from frametap.integrations.torch_prefetch import prefetch
from frametap.integrations.torch_samples import (
    OnError,
    Recipe,
    Row,
    SharedNumber,
    Skipped,
    as_row,
    collate,
    length_of,
    row_of,
)
from frametap.timeline import Sampler

__all__ = ["Skipped", "VideoDataset", "VideoStream", "collate", "prefetch"]


class VideoDataset(Dataset):
    """One sample per row of a table, or per video of a list: frames as a tensor, their times, and the row's other columns.

    A sample is a dict: the row itself, with the video replaced by its frames of shape (N, C, H, W) (or as `transform`
    says), and "pts_seconds" float64[N], "indices" int64[N], "ok" bool[N] (which frames could be decoded), "row".
    Use it with `DataLoader(..., collate_fn=collate)`. Nothing is opened before the first sample, so it can be forked,
    pickled and spawned; DDP works as always, with `DistributedSampler`.

    Args:
        rows: a list of videos (paths, URLs, bytes), a list of dicts, a dict of columns, a pandas or Arrow table, a
            Hugging Face dataset (its column cast to `Video(decode=False)`): anything with a length that gives rows by
            number.
        sampler: which frames.
        transform: what to make of them.
        sampler_for: called with the row, gives its sampler: for rows that name a time or a window.
        video_key: the column with the video.
        device: "cpu", or "cuda" in the main process (`num_workers=0`; see `prefetch`).
        threads: cores per sample; one, since workers and samples are many.
        on_error: "raise"; "skip": a failed sample becomes a `Skipped`; "repeat" or "black": frames that cannot be
            decoded are filled in (`ok` says which), and only a video of which nothing can be had becomes a `Skipped`.
        seed: makes `Clips(random=True)` and `RandomCrop` draw by (seed, epoch, row), the same for any number of
            workers; None draws anew every time.

    Raises:
        TypeError: `rows` has no length.
        ValueError: a column has a name that a sample or its batch uses itself.

    Example:
        >>> import frametap as ft
        >>> from frametap.integrations.torch import VideoDataset, collate
        >>> from torch.utils.data import DataLoader
        >>> rows = [{"video": "clips/a.mp4", "label": 3}, {"video": "clips/b.mp4", "label": 7}]
        >>> dataset = VideoDataset(rows, ft.Clips(1, 8, step=2, random=True), ft.Transform(size=(112, 112)), seed=0)
        >>> batch = next(iter(DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=collate)))
        >>> batch["video"].shape, batch["label"].tolist()
        (torch.Size([2, 8, 3, 112, 112]), [3, 7])
    """

    def __init__(
        self,
        rows: Any,
        sampler: Sampler = Uniform(16),  # noqa: B008 - samplers are frozen values
        transform: Transform | None = None,
        *,
        sampler_for: Callable[[Row], Sampler] | None = None,
        video_key: str = "video",
        device: str = "cpu",
        threads: int = 1,
        on_error: OnError = "raise",
        seed: int | None = None,
    ) -> None:
        self._recipe = Recipe(
            sampler,
            sampler_for,
            transform or Transform(),
            video_key,
            device,
            threads,
            on_error,
            seed,
        )
        self._rows, self._length = rows, length_of(rows)
        self._epoch = SharedNumber()

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._length

    def __getitem__(self, number: int) -> dict[str, Any] | Skipped:
        """Return the sample of a row.

        Raises:
            FrametapError: it failed, and `on_error` is "raise".
        """
        # A tensor would be changed in place, and end up in the sample.
        number = operator.index(number)
        if not -self._length <= number < self._length:
            raise IndexError(f"row {number} does not exist: there are {self._length}")
        number %= self._length
        row = as_row(row_of(self._rows, number), self._recipe.video_key)
        return self._recipe.sample(number, row, self._epoch.get())

    def set_epoch(self, epoch: int) -> None:
        """Set what random draws depend on beside `seed` and row; reaches running workers too."""
        self._epoch.set(epoch)


class VideoStream(IterableDataset):
    """Samples from shards, split evenly over the processes of a job and their workers, in an order that can be resumed.

    All processes see the same order: by shard, or with `shuffle` the shards permuted by (seed, epoch) and the rows
    inside each by (seed, epoch, shard). Of every C rows in that order, C being processes x workers, each consumer takes
    one, and the last rows that do not go round are left out: every consumer has the same number of samples, as DDP needs.

    Args:
        shards: list of shards; a shard is a list of videos or rows (as in `VideoDataset`), or whatever `expand` turns
            into one, e.g. the path of a manifest.
        sampler, transform, sampler_for, video_key, device, threads, on_error: as in `VideoDataset`.
        expand: called with a shard when its turn comes, gives its rows.
        shuffle: permute shards and rows, anew in each epoch.
        seed: of the permutation and of random samplers and crops.
        rank, world_size: this process among how many; default: from torch.distributed, else the variables RANK and
            WORLD_SIZE that torchrun sets, else 0 of 1. Workers have those of the process that started them.

    Example:
        >>> import frametap as ft
        >>> from frametap.integrations.torch import VideoStream
        >>> stream = VideoStream([["clips/a.mp4"], ["clips/b.mp4", "talk.mp4"]], ft.Uniform(4), shuffle=True, seed=1)
        >>> samples = iter(stream)
        >>> first = next(samples)
        >>> state = stream.state_dict()
        >>> rest = [sample["row"] for sample in samples]
        >>> stream.load_state_dict(state)
        >>> [sample["row"] for sample in stream] == rest
        True
    """

    def __init__(
        self,
        shards: Sequence[Any],
        sampler: Sampler = Uniform(16),  # noqa: B008 - samplers are frozen values
        transform: Transform | None = None,
        *,
        expand: Callable[[Any], Iterable[Any]] | None = None,
        shuffle: bool = False,
        seed: int = 0,
        sampler_for: Callable[[Row], Sampler] | None = None,
        video_key: str = "video",
        device: str = "cpu",
        threads: int = 1,
        on_error: OnError = "raise",
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self._recipe = Recipe(
            sampler,
            sampler_for,
            transform or Transform(),
            video_key,
            device,
            threads,
            on_error,
            seed,
        )
        self._shards, self._expand, self._shuffle, self._seed = shards, expand, shuffle, seed
        self._rank, self._world_size = rank, world_size
        self._epoch = SharedNumber()
        self._position, self._epoch_of_position, self._resume_at = 0, 0, 0
        self._resume_consumers = 0
        self._taken_in_workers = SharedNumber()
        self._taking_thread: int | None = None  # which may be ahead of others
        self._parent: tuple[int, int, int] | None = None  # see __setstate__

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order the next iteration takes, from its beginning; reaches running workers too."""
        self._epoch.set(epoch)

    def state_dict(self) -> dict[str, int]:
        """Return where this process (or worker) is: epoch, samples given out, and among how many consumers.

        Raises:
            RuntimeError: workers of a DataLoader, or another thread, took the samples: they are ahead of what was consumed.
        """
        if get_worker_info() is None:
            self._refuse_state_of_others()
        return {
            "epoch": self._epoch_of_position,
            "position": self._position,
            "seed": self._seed,
            "consumers": self._consumer()[1],
        }

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from where `state_dict` was called; rows before it are passed over without opening a video.

        Raises:
            ValueError: another seed, or another number of processes or workers: the order would not be the same.
        """
        now = {"seed": self._seed, "consumers": self._consumer()[1]}
        if differing := [name for name in now if state[name] != now[name]]:
            told = ", ".join(f"{name} {state[name]} then and {now[name]} now" for name in differing)
            raise ValueError(_does_not_continue(told))
        self._epoch.set(state["epoch"])
        self._epoch_of_position = state["epoch"]
        self._position = self._resume_at = state["position"]
        self._resume_consumers = state["consumers"]
        self._taking_thread = None
        self._taken_in_workers.set(0)

    def __iter__(self) -> Iterator[dict[str, Any] | Skipped]:
        """Yield this consumer's samples of the epoch, after those that `load_state_dict` passes over.

        Raises:
            ValueError: the state loaded is one among another number of consumers: it was loaded before workers were started.
        """
        epoch = self._epoch.get()
        resume_at = self._resume_at if self._epoch_of_position == epoch else 0
        me, consumers = self._consumer()
        if resume_at and self._resume_consumers != consumers:
            raise ValueError(
                _does_not_continue(f"consumers {self._resume_consumers} then and {consumers} now")
            )
        self._epoch_of_position, self._position, self._resume_at = epoch, resume_at, 0
        self._taken_in_workers.set(get_worker_info() is not None)
        return self._samples(epoch, resume_at, me, consumers)

    def _samples(
        self, epoch: int, resume_at: int, me: int, consumers: int
    ) -> Iterator[dict[str, Any] | Skipped]:
        given, mine = 0, None
        for place, (number, row) in enumerate(self._order(epoch)):
            if place % consumers == me:
                mine = (number, row)
            if place % consumers == consumers - 1 and mine is not None:  # the round is complete
                given += 1
                if given > resume_at:
                    sample = self._recipe.sample(*mine, epoch)
                    self._position, self._taking_thread = given, threading.get_ident()
                    yield sample
        self._taking_thread = None

    def _order(self, epoch: int) -> Iterator[tuple[int, Row]]:
        """Yield (row number over all shards in the order of this epoch, row)."""
        shards = range(len(self._shards))
        number = 0
        for shard in self._permuted(shards, epoch):
            found = (
                self._shards[shard] if self._expand is None else self._expand(self._shards[shard])
            )
            if isinstance(found, (str, bytes, os.PathLike)):
                raise TypeError(
                    f"a shard is a list of videos, got {found!r:.200}: put it into a list, or say with expand= what it holds"
                )
            rows = list(found) if self._shuffle else found
            for row in self._permuted(rows, epoch, shard) if self._shuffle else rows:
                yield number, as_row(row, self._recipe.video_key)
                number += 1

    def _permuted(self, items: Any, *key: int) -> Any:
        if not self._shuffle:
            return items
        order = np.random.default_rng([self._seed, *key]).permutation(len(items))
        return (items[i] for i in order.tolist())

    def _refuse_state_of_others(self) -> None:
        if self._taken_in_workers.get():
            raise RuntimeError(
                "workers of a DataLoader took the samples, and where they are is not known here: use torchdata's "
                "StatefulDataLoader, whose state_dict() asks them, or num_workers=0"
            )
        if self._taking_thread not in (None, threading.get_ident()):
            raise RuntimeError(
                "another thread takes the samples, ahead of what was consumed here: let it take the state with each batch, "
                "prefetch(((batch, stream.state_dict()) for batch in loader), device)"
            )

    def _consumer(self) -> tuple[int, int]:
        """Return (number of this consumer, how many there are)."""
        rank, world = self._process()
        worker = get_worker_info()
        workers, me = (1, 0) if worker is None else (worker.num_workers, worker.id)
        return rank * workers + me, world * workers

    def _process(self) -> tuple[int, int]:
        """Return (rank of this process, or of the one that started this worker, how many there are)."""
        if get_worker_info() is not None and self._parent and self._parent[0] == os.getpid():
            rank, world = self._parent[1:]
        else:
            rank, world = _distributed()
        return (
            rank if self._rank is None else self._rank,
            world if self._world_size is None else self._world_size,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_parent": self._process()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A spawned worker is in no process group: who it works for came with the stream. Only this process may go by it.
        self.__dict__.update(state, _parent=(os.getpid(), *state["_parent"]), _taking_thread=None)


def _does_not_continue(told: str) -> str:
    return f"this state does not continue here: {told}; start the epoch again instead"


def _distributed() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
