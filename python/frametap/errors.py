"""Every error frametap raises on purpose: one family, each also the built-in a caller would expect.

Messages say what went wrong, in which source, at which frame or byte where that is known, and what to do about it.
"""

from __future__ import annotations


class FrametapError(Exception):
    """Base of all frametap errors.

    Example:
        >>> import frametap as ft
        >>> try:
        ...     ft.probe("missing.mp4")
        ... except ft.FrametapError as error:
        ...     print(type(error).__name__)
        SourceError
    """


class SourceError(FrametapError, OSError):
    """The source cannot be opened or read, holds no video, or is not the file an index was made of."""


class DecodeError(FrametapError, ValueError):
    """A wanted frame could not be decoded: the bytes are damaged or incomplete."""


class UnsupportedError(FrametapError, NotImplementedError):
    """The source is valid but uses something frametap does not handle (pixel format, codec, container feature)."""


class DeviceError(FrametapError, RuntimeError):
    """The requested device cannot be used on this machine."""


# What a source may raise of which the next source knows nothing: ours, a sampler's that does not fit it, the file system's, and
# that a picture of it does not fit into memory. A device that is missing or full is no fault of the source and would make an
# error of every one; everything else is a mistake in a program.
SOURCE_ERRORS = (
    SourceError,
    DecodeError,
    UnsupportedError,
    ValueError,
    IndexError,
    OSError,
    MemoryError,
)
