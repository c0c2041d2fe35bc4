"""Hugging Face datasets: frames in the place of `Video` columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from frametap.batch import FrameBatch
from frametap.engines.base import OnError
from frametap.errors import SOURCE_ERRORS
from frametap.integrations._cells import (
    check_request,
    error_text,
    host_array,
    source_of,
)
from frametap.many import failed_batch
from frametap.reader import check_transform, sample
from frametap.sampler import Sampler, Uniform
from frametap.transform import Transform


class SampleVideos:
    """Sample a column of videos: what `Dataset.with_transform`, `IterableDataset.map` and `Dataset.map` call.

    Cast the column with `Video(decode=False)` first, so that it holds `{"path", "bytes"}`; columns of paths or bytes do too.
    The column then holds frames, and `<column>_pts_seconds` and `<column>_frame_index` are added. With `with_transform` a
    video is decoded when its row is read, and nothing is written to the cache. `Dataset.map` writes every pixel there, and of a
    `Video` column it needs `features=` with another type for the frames, e.g. `Array4D`: without, datasets ends in a
    NotImplementedError that says nothing.

    Args:
        sampler: which frames.
        transform: what to make of them.
        column: the column of videos.
        output: called with each `FrameBatch`, which has no frames if the video failed; makes what the column holds, e.g.
            `FrameBatch.torch`. Default: numpy arrays.
        device: where frames are decoded, as in `frametap.sample`.
        threads: cores per video; None: all this process may use, one inside a worker of a data loader.
        on_error: as in `frametap.sample`.
        errors: "raise", or "column": a video that fails has no frames, and `<column>_error` says why ("" for all others); a
            `DeviceError` is always raised.

    Example:
        >>> import frametap as ft
        >>> from datasets import Dataset, Video
        >>> from frametap.integrations.datasets import SampleVideos
        >>> rows = Dataset.from_dict({"video": ["talk.mp4"], "label": [3]}).cast_column("video", Video(decode=False))
        >>> rows = rows.with_transform(SampleVideos(ft.Uniform(4), ft.Transform(size=(64, 64))))
        >>> rows[0]["video"].shape, rows[0]["label"]
        ((4, 3, 64, 64), 3)
    """

    def __init__(
        self,
        sampler: Sampler = Uniform(32),  # noqa: B008 - samplers are frozen values
        transform: Transform | None = None,
        *,
        column: str = "video",
        output: Callable[[FrameBatch], Any] = host_array,
        device: str = "cpu",
        threads: int | None = None,
        on_error: OnError = "raise",
        errors: Literal["raise", "column"] = "raise",
    ) -> None:
        check_request(sampler, device, threads, on_error)
        if errors not in ("raise", "column"):
            raise ValueError(f'errors must be "raise" or "column", got {errors!r}')
        self._column, self._output, self._errors = column, output, errors
        self._transform = check_transform(transform)
        self._arguments: dict[str, Any] = {
            "sampler": sampler,
            "transform": self._transform,
            "device": device,
            "threads": threads,
            "on_error": on_error,
        }

    def __call__(self, rows: Mapping[str, Any]) -> dict[str, Any]:
        """Return one row, or a batch of rows (lists), with frames in the column.

        Raises:
            KeyError: there is no such column.
            FrametapError: a video failed and `errors` is "raise".
        """
        if self._column not in rows:
            raise KeyError(
                f"no column {self._column!r} among {', '.join(map(repr, rows))}: set column="
            )
        cells = rows[self._column]
        if not isinstance(cells, (list, np.ndarray)):  # an array with the format "numpy"
            return {**rows, **self._sample(cells)}
        sampled = [self._sample(cell) for cell in cells]
        names = sampled[0] if sampled else ()
        return {**rows, **{name: [columns[name] for columns in sampled] for name in names}}

    def _sample(self, cell: Any) -> dict[str, Any]:
        name, failure = self._column, None
        try:
            batch = sample(source_of(cell), **self._arguments)
        except SOURCE_ERRORS as error:
            if self._errors == "raise":
                raise
            batch, failure = failed_batch(self._transform), error
        columns = {
            name: self._output(batch),
            f"{name}_pts_seconds": batch.pts_seconds,
            f"{name}_frame_index": batch.indices,
        }
        if self._errors == "column":
            columns[f"{name}_error"] = error_text(failure or batch.error)
        return columns
