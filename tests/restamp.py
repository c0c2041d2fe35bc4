"""The packets of a clip in a file with other timestamps, as recorders and tools that join files leave them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
from av.packet import Packet


def restamp(clip: Path, path: Path, change: Callable[[int, Packet], None]) -> Path:
    """Write the packets of a clip after `change(number, packet)` has set their pts and dts."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for number, packet in enumerate(p for p in source.demux(stream) if p.size):
            change(number, packet)
            packet.stream = copy
            target.mux(packet)
    return path


def gap_from(first: int) -> Callable[[int, Packet], None]:
    """Stamp packets from number `first` on 100 frames later."""

    def change(number: int, packet: Packet) -> None:
        if number >= first:
            gap = 100 * (packet.duration or 0)
            packet.pts, packet.dts = (packet.pts or 0) + gap, (packet.dts or 0) + gap

    return change
