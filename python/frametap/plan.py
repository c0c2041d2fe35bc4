"""Which packets to feed for the frames that are wanted: `Plan`, a list of independent `Run`s."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frametap.index import RESET, START, FrameIndex


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Packets to feed to one decoder, from a keyframe to the last wanted one in decode order, then drain.

    Attributes:
        start: number of the first packet, in decode order.
        stop: one past the last packet.
        frames: int64[K], the wanted frames it yields, ascending.
    """

    start: int
    stop: int
    frames: NDArray[np.int64]

    def __len__(self) -> int:
        """Return how many packets the run feeds."""
        return self.stop - self.start


@dataclass(frozen=True, eq=False)
class Plan:
    """What will be decoded for a list of frames. A plain value: print it to see what it costs and saves.

    Attributes:
        index: the frames and packets of the video.
        frames: int64[N], the wanted frame numbers in output order, duplicates included.
        runs: the independent runs that yield them, in file order.

    Example:
        >>> import frametap as ft
        >>> with ft.open("talk.mp4") as video:
        ...     plan = video.plan(ft.Uniform(4))
        >>> len(plan.frames)
        4
    """

    index: FrameIndex
    frames: NDArray[np.int64]
    runs: tuple[Run, ...]

    @classmethod
    def of(cls, index: FrameIndex, frames: Any) -> Plan:
        """Plan the decoding of frame numbers `frames` (any order, duplicates allowed, negative ones count from the end).

        Raises:
            IndexError: a number outside the video.
        """
        wanted = np.atleast_1d(np.asarray(frames, dtype=np.int64)).ravel()
        outside = wanted[(wanted < -len(index)) | (wanted >= len(index))]
        if outside.size:
            raise IndexError(
                f"frame {outside[0]} is outside the video, which has {len(index)} frames (0 to {len(index) - 1})"
            )
        wanted = np.where(wanted < 0, wanted + len(index), wanted)
        return cls(index, wanted, _runs(index, np.unique(wanted)))

    @cached_property
    def packets(self) -> int:
        """Packets that will be fed to decoders."""
        return sum(len(run) for run in self.runs)

    @cached_property
    def bytes(self) -> int:
        """Compressed bytes that will be read."""
        return sum(int(self.index.packet_size[run.start : run.stop].sum()) for run in self.runs)

    def __str__(self) -> str:
        """Return a short account: what is fed, what that saves, and each run."""
        index, unique = self.index, len(np.unique(self.frames))
        total, total_bytes = len(index.packet_pts), int(index.packet_size.sum())
        share = self.packets / total if total else 0.0
        lines = [
            f"{len(self.frames)} frames wanted ({unique} different) of {len(index)}, in {len(self.runs)} runs",
            f"index: by {'packet headers' if index.method == 'headers' else 'decoding the file once'} ({index.codec})",
            f"feed:  {self.packets} of {total} packets ({share:.0%}), {self.bytes:,} of {total_bytes:,} bytes",
            f"saves: {total - self.packets} pictures ({1 - share:.0%}) against decoding it all",
        ]
        lines += [_describe(run, index) for run in self.runs[:_RUNS_PRINTED]]
        if len(self.runs) > _RUNS_PRINTED:
            lines.append(f"  ... and {len(self.runs) - _RUNS_PRINTED} runs more")
        return "\n".join(lines)


_RUNS_PRINTED = 12
_FRAMES_PRINTED = 6


def _describe(run: Run, index: FrameIndex) -> str:
    frames = ", ".join(str(f) for f in run.frames[:_FRAMES_PRINTED]) + (", ..." if len(run.frames) > _FRAMES_PRINTED else "")
    size = int(index.packet_size[run.start : run.stop].sum())
    return f"  packets {run.start}-{run.stop - 1} ({len(run)}, {size:,} bytes) -> {len(run.frames)} frames: {frames}"


def _runs(index: FrameIndex, wanted: NDArray[np.int64]) -> tuple[Run, ...]:
    """Group ascending frame numbers by the keyframe that their decoding starts at."""
    if not len(wanted):
        return ()
    packets = index.decode_order[wanted].astype(np.int64)
    ends = _end_packets(index, packets)
    starts = _start_packets(index, wanted, packets)
    runs: list[Run] = []
    for start in np.unique(starts):
        chosen = starts == start
        begin, stop, frames = int(start), int(ends[chosen].max()), wanted[chosen]
        # Leading pictures need the keyframe interval before theirs; what that decodes anyway is not decoded again.
        if runs and runs[-1].stop > begin:
            previous = runs.pop()
            begin, stop = previous.start, max(previous.stop, stop)
            frames = np.union1d(previous.frames, frames)
        runs.append(Run(begin, stop, frames))
    return tuple(runs)


def _end_packets(index: FrameIndex, packets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each wanted packet one past the last packet that belongs to its picture.

    Where headers number the frames that is the packet itself; otherwise packets without a frame of their own that follow
    may be the second field of it.
    """
    if index.method == "headers":
        return packets + 1
    with_frame = np.append(np.flatnonzero(index.frame_of_packet >= 0), len(index.packet_size))
    return with_frame[np.searchsorted(with_frame, packets, side="right")]


def _start_packets(index: FrameIndex, wanted: NDArray[np.int64], packets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each wanted frame the last packet from which decoding yields it exactly."""
    flags = index.packet_flags
    starts = np.flatnonzero(flags & START)
    if not len(starts) or starts[0] != 0:
        starts = np.insert(starts, 0, 0)
    choice = np.searchsorted(starts, packets, side="right") - 1
    # A picture that is shown before its keyframe (open GOP) refers to pictures before that keyframe: start one earlier.
    shown_as = index.frame_of_packet[starts].astype(np.int64)
    hidden = shown_as < 0  # by an edit list, say: its place is where its timestamp would put it
    shown_as[hidden] = np.searchsorted(index.pts, index.packet_pts[starts[hidden]])
    closed = (flags[starts] & RESET) != 0
    leading = ~closed[choice] & (wanted < shown_as[choice])
    while leading.any():
        choice = np.where(leading, np.maximum(choice - 1, 0), choice)
        leading = (choice > 0) & ~closed[choice] & (wanted < shown_as[choice])
    return starts[choice]
