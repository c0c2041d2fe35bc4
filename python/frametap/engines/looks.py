"""What a stream's pictures look like, by what their sequences state of colour."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

from frametap.errors import DecodeError
from frametap.geometry import PictureFormat
from frametap.index import FrameIndex


class Looks:
    """What FFmpeg makes of each colour statement of a stream; NVDEC's parser guesses where a stream leaves something unsaid.

    Thread-safe.

    Args:
        decode: decodes a frame with FFmpeg: (colour statement, format), or None when it does not come out. A method of
            whoever keeps this object, held weakly.
    """

    def __init__(
        self, decode: Callable[[int, FrameIndex], tuple[int, PictureFormat] | None]
    ) -> None:
        self._decoder = weakref.WeakMethod(decode)
        self._lock = threading.Lock()
        self._known: dict[int, PictureFormat] = {}

    def _decode(self, frame: int, index: FrameIndex) -> tuple[int, PictureFormat] | None:
        decode = self._decoder()
        assert decode is not None
        return decode(frame, index)

    def first(self, index: FrameIndex) -> PictureFormat | None:
        """Return the format of the video's first frame, None when it cannot be decoded."""
        found = self._decode(0, index) if len(index) else None
        if found is not None:
            self._known[found[0]] = found[1]
        return found[1] if found is not None else None

    def of(self, colour: int, frame: int, index: FrameIndex) -> PictureFormat:
        """Return the format of pictures with a colour statement, of which `frame` is one.

        Raises:
            DecodeError: it has to be decoded for that, and cannot be.
        """
        known = self._known.get(colour)  # who knows need not wait for who has to find out
        if known is not None:
            return known
        with self._lock:
            if colour not in self._known:
                found = self._decode(frame, index)
                if found is None:
                    raise DecodeError(f"frame {frame}, which shows the colours, cannot be decoded")
                self._known[colour] = found[1]
            return self._known[colour]
