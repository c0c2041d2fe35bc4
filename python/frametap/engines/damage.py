"""How far damage to a packet reaches: `Damage`."""

from __future__ import annotations

import numpy as np

from frametap._core import PARSED, REFERENCE, START
from frametap.index import FrameIndex


class Damage:
    """Which frames of a run damage makes doubtful: those decoded after it, up to the next keyframe.

    Of a picture that nothing refers to, as its header says: no more than that one.
    """

    def __init__(self, index: FrameIndex) -> None:
        self._index = index
        self._spans: list[tuple[int, int, int]] = []  # packets from, to; only frames before

    def add(self, number: int) -> None:
        """Note that packet `number` is damaged."""
        flags, frame_of = self._index.packet_flags, self._index.frame_of_packet
        if number < len(flags) and flags[number] & (PARSED | REFERENCE) == PARSED:
            self._spans.append((number, number + 1, len(self._index)))
            return
        starts = np.flatnonzero(flags & (START | PARSED) == (START | PARSED))
        after = int(np.searchsorted(starts, number, side="right"))
        stop = int(starts[after]) if after < len(starts) else len(flags)
        keyframe = int(frame_of[starts[after - 1]]) if after else -1
        # What is shown before the keyframe it is decoded after is nothing to those shown after that.
        leads = number < len(flags) and 0 <= frame_of[number] < keyframe
        self._spans.append((number, stop, keyframe if leads else len(self._index)))

    def spoils(self, frame: int) -> bool:
        """Whether a frame may show damage. What is shown before the keyframe that ends it may refer to before it, too."""
        number = int(self._index.decode_order[frame])
        for start, stop, before in self._spans:
            leading = number >= stop and frame < self._index.frame_of_packet[stop]
            if frame < before and (start <= number < stop or leading):
                return True
        return False
