"""How far damage to a packet reaches: `Damage`."""

from __future__ import annotations

from frametap._core import PARSED, START
from frametap.index import FrameIndex


class Damage:
    """Which frames of a run damage makes doubtful: those decoded after it, up to the next keyframe."""

    def __init__(self, index: FrameIndex) -> None:
        self._index = index
        self._spans: list[tuple[int, int]] = []

    def add(self, number: int) -> None:
        """Note that packet `number` is damaged."""
        later = self._index.packet_flags[number + 1 :] & (START | PARSED) == (START | PARSED)
        stop = number + 1 + int(later.argmax()) if later.any() else len(later) + number + 1
        self._spans.append((number, stop))

    def spoils(self, frame: int) -> bool:
        """Whether a frame may show damage. What is shown before the keyframe that ends it may refer to before it, too."""
        number = int(self._index.decode_order[frame])
        for start, stop in self._spans:
            leading = number >= stop and frame < self._index.frame_of_packet[stop]
            if start <= number < stop or leading:
                return True
        return False
