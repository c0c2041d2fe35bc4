"""A video behind a URL: only the byte ranges that are needed are fetched, merged and several at a time, through fsspec."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
# Of what is announced so much is fetched at once: a part of the cache, so that all of it is read before it has to go.
_PORTION = _CACHE_BYTES // 4


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
        self._blocks: dict[int, bytes] = {}  # by offset, oldest first; they never overlap
        self._starts: list[int] = []  # their offsets, ascending
        self._kept = 0
        # What is to be fetched yet, in the order it will be read.
        self._announced: list[tuple[int, int]] = []
        self._next_read, self._read_size = 0, _FIRST_READ
        with _asking(url):
            self._system, self._path = _file_system(url)
            self._size = self._check_file()

    def _check_file(self) -> int:
        size = self._system.info(self._path)["size"]
        if size is None or (size and len(self._probe(size)) != 1):
            raise SourceError(
                f"{self.name}: the server does not serve byte ranges, so every read would fetch the whole file; "
                f"download it first, or pass its bytes"
            )
        return int(size)

    def _probe(self, size: int) -> bytes:
        """Return a single byte, or nothing where the server would send the whole file, without waiting for that."""
        at = min(1, size - 1)
        if "http" not in self._system.protocol:
            return bytes(self._system.cat_file(self._path, start=at, end=at + 1))
        # cat_file reads whatever the server sends; a file of fsspec refuses an answer that is no part, by its headers.
        with self._system.open(self._path, cache_type="none", size=size) as file:
            file.seek(at)
            try:
                return bytes(file.read(1))
            except ValueError:
                return b""

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
            if missing := self._missing(offset, end):
                self._fetch([*self._next_portion(missing[0][0]), *missing])
            return self._take(offset, end)

    def read_some(self, offset: int, size: int) -> bytes:
        """Return what is at hand from `offset`, at most `size` bytes; fetch a block only where nothing is."""
        end = min(offset + size, self._size)
        if end <= offset:
            return b""
        with self._lock:
            missing = self._missing(offset, end)
            if missing and missing[0][0] == offset:
                self._fetch(self._next_portion(offset) or [self._next_block(offset)])
                missing = self._missing(offset, end)
            return self._take(offset, missing[0][0] if missing else end)

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Note that the byte ranges [start, end) will be read, in this order, and fetch the first of them.

        The others follow, a portion at a time, as reading gets to them; so each byte is fetched once, however many there are.
        """
        with self._lock:
            self._announced = _pieces(_merge(ranges))
            self._fetch(self._next_portion())
            self._evict()

    def _next_portion(self, offset: int | None = None) -> list[tuple[int, int]]:
        """Take the next portion of what is announced and not at hand; nothing where an offset is given that lies elsewhere."""
        portion: list[tuple[int, int]] = []
        size = count = 0
        for start, end in self._announced:
            count += 1
            if self._missing(start, end):
                portion.append((start, end))
                size += end - start
            if size >= _PORTION:
                break
        if offset is not None and not any(start <= offset < end for start, end in portion):
            return []
        del self._announced[:count]
        return portion

    def _next_block(self, offset: int) -> tuple[int, int]:
        """Return what to fetch for a read from `offset` that nobody announced."""
        goes_on = offset == self._next_read
        self._read_size = min(2 * self._read_size, _LARGEST_READ) if goes_on else _FIRST_READ
        self._next_read = min(self._size, offset + self._read_size)
        return offset, self._next_read

    def _fetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch what is not at hand of the ranges, merged and side by side."""
        pieces = _pieces(
            gap
            for start, end in _merge(sorted(ranges))
            for gap in self._missing(start, min(end, self._size))
        )
        if not pieces:
            return
        with _asking(self.name):
            fetched = self._system.cat_ranges(
                [self._path] * len(pieces),
                [start for start, _ in pieces],
                [end for _, end in pieces],
            )
        for (start, end), data in zip(pieces, fetched, strict=True):
            with _asking(self.name, f"bytes {start} to {end} cannot be read"):
                if isinstance(data, BaseException):
                    raise data
                if len(data) != end - start:
                    raise ValueError(f"{len(data)} bytes came")
            bisect.insort(self._starts, start)
            self._blocks[start] = data
            self._kept += len(data)
            self.fetched += len(data)

    def _missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the parts of [start, end) that are not at hand."""
        gaps, at = [], start
        for offset, data in self._at_hand(start, end):
            if offset > at:
                gaps.append((at, offset))
            at = offset + len(data)
        return [*gaps, (at, end)] if at < end else gaps

    def _at_hand(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield the blocks that have a part in [start, end), ascending."""
        first = max(0, bisect.bisect_right(self._starts, start) - 1)
        for i in range(first, bisect.bisect_left(self._starts, end)):
            offset = self._starts[i]
            if offset + len(self._blocks[offset]) > start:
                yield offset, self._blocks[offset]

    def _take(self, start: int, end: int) -> bytes:
        """Return [start, end), all of it at hand; only then may its blocks go."""
        parts = [
            data[max(0, start - offset) : end - offset]
            for offset, data in self._at_hand(start, end)
        ]
        self._evict()
        return b"".join(parts)

    def _evict(self) -> None:
        while self._kept > _CACHE_BYTES:
            oldest = next(iter(self._blocks))
            self._kept -= len(self._blocks.pop(oldest))
            del self._starts[bisect.bisect_left(self._starts, oldest)]


def _file_system(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise SourceError(
            f'{url}: reading URLs needs fsspec: pip install "frametap[remote]"'
        ) from None
    system, path = url_to_fs(url)
    return system, path


def _merge(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges in the given order, those made one that touch or nearly touch the one before."""
    merged: list[tuple[int, int]] = []
    for start, end in ranges:
        if merged and merged[-1][0] <= start <= merged[-1][1] + _MERGE_GAP:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        elif start < end:
            merged.append((start, end))
    return merged


def _pieces(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    return [
        (at, min(at + _PIECE, end)) for start, end in ranges for at in range(start, end, _PIECE)
    ]


@contextmanager
def _asking(url: str, what: str = "cannot be read") -> Iterator[None]:
    """Make a SourceError of whatever fsspec raises: each protocol has errors of its own, many of them no OSError."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(
            f"{url}: {what}: {_reason(error)}; check the address, the network and the right to read it"
        ) from error


def _reason(error: BaseException) -> str:
    """Return what happened at the bottom: fsspec makes a FileNotFoundError, with the URL for a text, of nearly everything."""
    while error.__cause__ is not None:
        error = error.__cause__
    if status := getattr(error, "status", None):  # aiohttp's ClientResponseError
        return f"the server answers {status} {getattr(error, 'message', '')}"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return str(error) or type(error).__name__
