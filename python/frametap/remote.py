"""A video behind a URL: only the byte ranges that are needed are fetched, merged and several at a time, through fsspec."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable
from typing import Any

from frametap.errors import SourceError
from frametap.source import Source

# Ranges closer than this are fetched as one: a request costs more than so many bytes.
_MERGE_GAP = 16 * 1024
# Larger ranges are fetched in pieces, side by side.
_PIECE = 4 * 1024 * 1024
# A read that nobody announced fetches this much, and twice as much each time it goes straight on.
_FIRST_READ, _LARGEST_READ = 32 * 1024, 4 * 1024 * 1024
# Fetched bytes are kept until there are more than this.
_CACHE_BYTES = 128 * 1024 * 1024


class RemoteSource(Source):
    """A file at an `http(s)://`, `s3://`, `gs://` or any other fsspec URL.

    Args:
        url: where it is.

    Raises:
        SourceError: fsspec or its protocol is not installed, there is no such file, or the server sends whole files only.
    """

    def __init__(self, url: str) -> None:
        self.name = url
        self.fetched = 0
        self._lock = threading.RLock()
        self._ranges: list[tuple[int, bytes]] = []  # (offset, bytes), ascending, never overlapping
        self._age: list[int] = []  # offsets, oldest first
        self._next_read, self._read_size = 0, _FIRST_READ
        self._system, self._path = _file_system(url)
        self._size = self._check_file()

    def _check_file(self) -> int:
        try:
            size = self._system.info(self._path)["size"]
            probe = self._system.cat_file(self._path, start=0, end=1) if size else b""
        except (OSError, ValueError, KeyError) as error:
            raise SourceError(f"{self.name}: cannot be read: {_reason(error)}") from error
        if size is None or (size and len(probe) != 1):
            raise SourceError(
                f"{self.name}: the server does not serve byte ranges, so every read would fetch the whole file; "
                f"download it first, or pass its bytes"
            )
        return int(size)

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self._size

    def read_at(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, fewer only at the end."""
        end = min(offset + size, self._size)
        if end <= offset:
            return b""
        with self._lock:
            if self._missing(offset, end):
                self.prefetch([(offset, end)])
            return self._cached(offset, end)

    def read_some(self, offset: int, size: int) -> bytes:
        """Return what is at hand from `offset`, at most `size` bytes; fetch a block only where nothing is."""
        end = min(offset + size, self._size)
        if end <= offset:
            return b""
        with self._lock:
            missing = self._missing(offset, end)
            if missing and missing[0][0] == offset:
                ahead = (
                    min(2 * self._read_size, _LARGEST_READ)
                    if offset == self._next_read
                    else _FIRST_READ
                )
                until = min(self._size, offset + ahead, missing[0][1] + ahead)
                self.prefetch([(offset, until)])
                self._next_read, self._read_size = until, ahead
                missing = self._missing(offset, end)
            return self._cached(offset, missing[0][0] if missing else end)

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch what is not at hand of the byte ranges [start, end), merged and side by side."""
        with self._lock:
            gaps = [
                gap
                for start, end in _merge(ranges)
                for gap in self._missing(start, min(end, self._size))
            ]
            pieces = [
                (at, min(at + _PIECE, end))
                for start, end in gaps
                for at in range(start, end, _PIECE)
            ]
            if not pieces:
                return
            try:
                fetched = self._system.cat_ranges(
                    [self._path] * len(pieces),
                    [start for start, _ in pieces],
                    [end for _, end in pieces],
                )
            except (OSError, ValueError) as error:
                raise SourceError(f"{self.name}: cannot be read: {_reason(error)}") from error
            for (start, end), data in zip(pieces, fetched, strict=True):
                if isinstance(data, BaseException) or len(data) != end - start:
                    reason = (
                        _reason(data)
                        if isinstance(data, BaseException)
                        else f"{len(data)} bytes came"
                    )
                    raise SourceError(
                        f"{self.name}: bytes {start} to {end} cannot be read: {reason}"
                    )
                self._keep(start, data)

    def _keep(self, start: int, data: bytes) -> None:
        bisect.insort(self._ranges, (start, data), key=lambda item: item[0])
        self._age.append(start)
        self.fetched += len(data)
        while sum(len(data) for _, data in self._ranges) > _CACHE_BYTES and len(self._age) > 1:
            oldest = self._age.pop(0)
            self._ranges = [item for item in self._ranges if item[0] != oldest]

    def _missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the parts of [start, end) that are not at hand."""
        gaps, at = [], start
        for offset, data in self._ranges:
            if offset >= end:
                break
            if offset + len(data) <= at:
                continue
            if offset > at:
                gaps.append((at, offset))
            at = offset + len(data)
        return [*gaps, (at, end)] if at < end else gaps

    def _cached(self, start: int, end: int) -> bytes:
        parts = []
        for offset, data in self._ranges:
            if offset < end and offset + len(data) > start:
                parts.append(data[max(0, start - offset) : end - offset])
        return b"".join(parts)


def _file_system(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise SourceError(
            f'{url}: reading URLs needs fsspec: pip install "frametap[remote]"'
        ) from None
    try:
        system, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise SourceError(f"{url}: cannot be read: {_reason(error)}") from error
    return system, path


def _merge(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges in order, those that touch or nearly touch made one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start - merged[-1][1] <= _MERGE_GAP:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
