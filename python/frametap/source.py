"""Where the bytes of a video come from: a path, bytes, or a binary file object, read in place and never slurped."""

from __future__ import annotations

import hashlib
import io
import operator
import os
import re
import stat
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from frametap.errors import SourceError

SourceLike: TypeAlias = "str | os.PathLike[str] | os.PathLike[bytes] | bytes | bytearray | memoryview | BinaryIO | Source"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

# FFmpeg's -1: the stream that av_find_best_stream finds.
BEST_STREAM = -1

# Enough to tell two files apart that have the same size: container headers differ within their first blocks.
_FINGERPRINT_BYTES = 64 * 1024


def is_url(text: str) -> bool:
    """Whether a source is read through fsspec; whatever else there may be in it, a path has no `name://` in front."""
    return _URL.match(text) is not None


class Source(ABC):
    """One video's bytes, readable at any offset by several threads at once, and which stream of them is meant.

    `name` is what error messages call it. `Source.of` turns whatever a user passes into one. `stream_index` is the number
    of the stream, None for the first video stream that is no cover, `BEST_STREAM` for the one FFmpeg's tools take; the
    first container opened puts the number there, and those that follow keep to it.
    """

    name: str
    stream_index: int | None = None

    @staticmethod
    def of(source: SourceLike, stream_index: int | None = None) -> Source:
        """Wrap a path, URL, bytes-like object or seekable binary file object.

        Raises:
            SourceError: the path does not exist, is a directory, or the object cannot be read as a file.
        """
        wrapped = Source._wrap(source)
        if stream_index is not None:
            wrapped.choose_stream(stream_index)
        return wrapped

    def choose_stream(self, stream_index: int) -> None:
        """Settle which stream is meant.

        Raises:
            SourceError: it is settled already, and another.
        """
        stream_index = operator.index(stream_index)
        if self.stream_index not in (None, stream_index):
            raise SourceError(
                f"{self.name}: is read as stream {self.stream_index} and cannot be read as stream {stream_index} too: leave out "
                f"stream_index where an index is given, or open the file anew"
            )
        self.stream_index = stream_index

    @staticmethod
    def _wrap(source: SourceLike) -> Source:
        if isinstance(source, Source):
            return source
        if isinstance(source, str) and is_url(source):
            from frametap.remote import RemoteSource

            return RemoteSource(source)
        if isinstance(source, (str, os.PathLike)):
            return PathSource(os.fsdecode(source))  # bytes: an entry of os.scandir(b"...")
        if isinstance(source, (bytes, bytearray, memoryview)):
            return BytesSource(source)
        if all(hasattr(source, method) for method in ("read", "seek", "tell")):
            return FileSource(source)
        raise SourceError(
            f"cannot read a video from {type(source).__name__!r}: pass a path, a URL, bytes, or a seekable binary file object"
        )

    @abstractmethod
    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the end of the source."""

    def read_some(self, offset: int, size: int) -> bytes:
        """Return at least one and up to `size` bytes from `offset`, as many as come easily; none only at the end."""
        return self.read_at(offset, size)

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:  # noqa: B027
        """Take note that the byte ranges [start, end) will be read, in this order; a slow source fetches them ahead."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Length in bytes."""

    def av_input(self) -> Any:
        """Return what `av.open` reads: a path, or a file object with a position of its own."""
        return Cursor(self)

    def fingerprint(self) -> tuple[int, str]:
        """Return (size, hash of the first bytes): what an index remembers of the file it was made of."""
        return self.size, hashlib.blake2b(
            self.read_at(0, _FINGERPRINT_BYTES), digest_size=16
        ).hexdigest()


class PathSource(Source):
    """A file on disk; FFmpeg opens it by name, so its own file layer does the reading."""

    def __init__(self, path: str) -> None:
        self.name = path
        try:
            mode = Path(path).stat().st_mode
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in it
            raise SourceError(
                f"{path}: no such file; check the path (it is relative to {Path.cwd()})"
            ) from None
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
        if stat.S_ISDIR(mode):
            raise SourceError(
                f"{path}: is a directory, not a video; use `frametap index` or list its files yourself"
            )

    def read_at(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise SourceError(f"{self.name}: cannot be read: {error.strerror}") from error

    @cached_property
    def _descriptor(self) -> int:
        # Reading by offset needs no position, so that all threads, and a forked child, can share one open file.
        descriptor = os.open(self.name, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        return descriptor

    @property
    def size(self) -> int:
        try:
            return Path(self.name).stat().st_size
        except OSError as error:
            raise SourceError(f"{self.name}: cannot be read: {error.strerror}") from error

    def av_input(self) -> str:
        # The prefix keeps FFmpeg from reading "a:b.mp4" as a protocol called "a".
        return "file:" + self.name


class BytesSource(Source):
    """A video held in memory; it is not copied."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        self.name = f"<{view.nbytes} bytes>"
        if not view.c_contiguous:
            raise SourceError(f"{self.name}: not contiguous in memory; pass bytes(...) of it")
        self._data = view.cast("B")

    def read_at(self, offset: int, size: int) -> bytes:
        return bytes(self._data[offset : offset + size])

    @property
    def size(self) -> int:
        return len(self._data)


class FileSource(Source):
    """A user's open file object: read lazily, under a lock, because it has a single position that all threads share."""

    def __init__(self, file: BinaryIO) -> None:
        self.name = f"<{getattr(file, 'name', type(file).__name__)}>"
        self._file = file
        self._lock = threading.Lock()
        try:
            file.seek(0, os.SEEK_END)
            self._size = file.tell()
        except (OSError, ValueError) as error:
            raise SourceError(f"{self.name}: not a seekable open file: {error}") from error
        if not isinstance(self.read_at(0, 1), bytes):
            raise SourceError(
                f"{self.name}: read() returns text; open the file in binary mode ('rb')"
            )

    def read_at(self, offset: int, size: int) -> bytes:
        try:
            with self._lock:
                self._file.seek(offset)
                return self._file.read(size)
        except (OSError, ValueError) as error:  # ValueError: closed meanwhile
            raise SourceError(f"{self.name}: cannot be read: {error}") from error

    @property
    def size(self) -> int:
        return self._size


class Cursor(io.RawIOBase):
    """A file object over a `Source` with a position of its own, so that each demuxer can have one."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            size = max(0, self._source.size - self._position)
        data = self._source.read_some(self._position, size)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._source.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position


@contextmanager
def naming(
    source: Source, kinds: tuple[type[Exception], ...] = (IndexError, ValueError)
) -> Iterator[None]:
    """Say which source it was where errors of these very kinds come from what does not know.

    By default: samplers and plans, which know frames alone, and refuse a number, a time or a window.
    """
    try:
        yield
    except kinds as error:
        if type(error) not in kinds or str(error).startswith(source.name):
            raise
        raise type(error)(f"{source.name}: {error}") from error
