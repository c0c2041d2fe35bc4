"""How a row of a table becomes a sample and samples a batch; part of `frametap.integrations.torch`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import default_collate, get_worker_info

from frametap import RandomCrop, Transform, sample
from frametap.engines.base import check_on_error
from frametap.integrations._cells import source_of
from frametap.timeline import Sampler

Row = Mapping[str, Any]
OnError = Literal["raise", "skip", "repeat", "black"]
# What a sample, and then a batch, holds beside the columns of its row.
_OURS = ("pts_seconds", "indices", "ok", "row", "num_frames", "skipped")


@dataclass(frozen=True)
class Skipped:
    """What stands in the place of a sample that failed under an `on_error` other than "raise"; `collate` takes it out.

    Attributes:
        row: number of the row.
        source: what the video is called.
        error: class and text of the error.
    """

    row: int
    source: str
    error: str


@dataclass(frozen=True)
class Recipe:
    """How a row becomes a sample; shared by both datasets."""

    sampler: Sampler
    sampler_for: Callable[[Row], Sampler] | None
    transform: Transform
    video_key: str
    device: str
    threads: int
    on_error: OnError
    seed: int | None

    def __post_init__(self) -> None:
        if self.device.partition(":")[0] not in ("cpu", "cuda"):
            raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:<n>', got {self.device!r}")
        check_on_error(self.on_error)

    def sample(self, number: int, row: Row, epoch: int) -> dict[str, Any] | Skipped:
        """Decode a row; raise or return what `on_error` says when it fails."""
        video = row[self.video_key]
        try:
            video = source_of(video)
            batch = self._decode(number, row, video, epoch)
        except (
            ValueError,
            IndexError,
            OSError,
            NotImplementedError,
        ) as error:  # FrametapErrors, samplers
            if self.on_error == "raise":
                raise
            name = video if isinstance(video, (str, os.PathLike)) else type(video).__name__
            return Skipped(number, os.fspath(name), f"{type(error).__name__}: {error}")
        return {
            **row,
            self.video_key: batch.torch(),
            "pts_seconds": torch.from_numpy(batch.pts_seconds),
            "indices": torch.from_numpy(batch.indices),
            "ok": torch.from_numpy(batch.ok),
            "row": number,
        }

    def _decode(self, number: int, row: Row, video: Any, epoch: int) -> Any:
        sampler = self.sampler if self.sampler_for is None else self.sampler_for(row)
        transform = self.transform
        if self.seed is not None:
            draws = np.random.SeedSequence([self.seed, epoch, number]).generate_state(3)
            sampler, transform = _seeded(sampler, transform, draws.tolist())
        stream = None
        if self.device != "cpu":
            _refuse_workers(self.device)
            # Without a usable driver frametap's own error says what is missing.
            stream = torch.cuda.current_stream(self.device) if torch.cuda.is_available() else None
        return sample(
            video,
            sampler,
            transform,
            device=self.device,
            stream=stream,
            threads=self.threads,
            on_error="raise" if self.on_error == "skip" else self.on_error,
        )


def _refuse_workers(device: str) -> None:
    if get_worker_info() is not None:
        raise RuntimeError(
            f"device={device!r} in a DataLoader worker would make a CUDA context of its own in every worker: use "
            f"num_workers=0 and frametap.integrations.torch.prefetch, or device='cpu' in the workers"
        )


def _seeded(sampler: Any, transform: Any, draws: list[int]) -> tuple[Sampler, Transform]:
    """Give whatever draws at random a seed of its own, unless the user gave it one."""
    if getattr(sampler, "random", False) and getattr(sampler, "seed", 0) is None:
        sampler = replace(sampler, seed=draws[0])
    for name, draw in zip(("crop", "window"), draws[1:], strict=True):
        cut = getattr(transform, name)
        if isinstance(cut, RandomCrop) and cut.seed is None:
            transform = replace(transform, **{name: replace(cut, seed=draw)})
    return sampler, transform


class SharedNumber:
    """A number that the main process and its workers, forked or spawned, share: set in one, all see it at once."""

    def __init__(self) -> None:
        self._shared = torch.zeros((), dtype=torch.int64).share_memory_()

    def set(self, number: int) -> None:
        """Set it for all processes."""
        self._shared.fill_(number)

    def get(self) -> int:
        """Return what was set last."""
        return int(self._shared)


def length_of(rows: Any) -> int:
    """Return how many rows a table has."""
    if isinstance(rows, Mapping):
        return min((len(column) for column in rows.values()), default=0)
    if not hasattr(rows, "__len__") or isinstance(rows, (str, bytes)):
        raise TypeError(
            f"rows must be a list of videos or a table, got {type(rows).__name__}; use VideoStream for an iterator"
        )
    return len(rows)


def row_of(rows: Any, number: int) -> Any:
    """Return a row of a table, or an item of a list, by number."""
    if isinstance(rows, Mapping):
        return {name: column[number] for name, column in rows.items()}
    if hasattr(rows, "iloc"):  # pandas: of a table a row, of a column a value
        row = rows.iloc[number]
        return row.to_dict() if hasattr(row, "to_dict") else row
    if hasattr(rows, "slice") and hasattr(rows, "to_pylist"):  # Arrow
        return rows.slice(number, 1).to_pylist()[0]
    return rows[number]


def as_row(item: Any, video_key: str) -> Row:
    """Return a row with a video in it; of a bare video, one with nothing else."""
    row: Row = item if isinstance(item, Mapping) else {video_key: item}
    if taken := [name for name in _OURS if name in row]:
        raise ValueError(
            f"the column {taken[0]!r} has the name of something a sample or batch holds: rename it"
        )
    if video_key not in row:
        raise ValueError(
            f"no column {video_key!r} among {', '.join(map(repr, row))}: set video_key"
        )
    return row


def collate(samples: Sequence[dict[str, Any] | Skipped]) -> dict[str, Any]:
    """Make a batch of samples: what `DataLoader(collate_fn=collate)` calls.

    Tensors of equal shape are stacked. Where samples have different numbers of frames, they are filled up with zeros to
    the longest ("ok" with False), and "num_frames" int64[B], always there, says how many are real. Where pictures differ in
    size the batch holds a list of tensors. Numbers become tensors, strings and other columns lists. `Skipped` samples
    are left out and listed under "skipped"; a batch may be empty, `len(batch["row"]) == 0`, where all were.

    Example:
        >>> import frametap as ft
        >>> from frametap.integrations.torch import VideoDataset, collate
        >>> dataset = VideoDataset(["talk.mp4", "screen.mkv", "missing.mp4"], ft.Rate(2), ft.Transform(size=(64, 64)),
        ...                        on_error="skip")
        >>> batch = collate([dataset[0], dataset[1], dataset[2]])
        >>> batch["video"].shape[0], batch["num_frames"].tolist(), len(batch["skipped"])
        (2, [8, 11], 1)
    """
    good = [sample for sample in samples if not isinstance(sample, Skipped)]
    batch: dict[str, Any] = {
        name: _joined([sample[name] for sample in good]) for name in (good[0] if good else ())
    }
    batch.setdefault("row", torch.zeros(0, dtype=torch.int64))
    batch["num_frames"] = torch.tensor(
        [len(sample["indices"]) for sample in good], dtype=torch.int64
    )
    batch["skipped"] = [sample for sample in samples if isinstance(sample, Skipped)]
    return batch


def _joined(values: list[Any]) -> Any:
    first = values[0]
    if all(isinstance(value, torch.Tensor) and value.ndim > 0 for value in values):
        if (
            len({value.shape[1:] for value in values}) > 1
            or len({value.dtype for value in values}) > 1
        ):
            return values
        longest = max(len(value) for value in values)
        return default_collate([_lengthened(value, longest) for value in values])
    if isinstance(first, (bool, int, float, np.generic, torch.Tensor)):
        try:
            return default_collate(values)
        except (TypeError, RuntimeError, ValueError):  # a column of mixed types
            return values
    return values


def _lengthened(value: torch.Tensor, length: int) -> torch.Tensor:
    if len(value) == length:
        return value
    return torch.cat([value, value.new_zeros(length - len(value), *value.shape[1:])])
