"""Which packets to feed for the frames that are wanted: `Plan`, a list of independent `Run`s."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frametap.index import REFERENCE, REFS_KNOWN, RESET, START, FrameIndex


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Packets to feed to one decoder, from a keyframe to the last wanted one in decode order, then drain.

    Attributes:
        start: number of the first packet, in decode order.
        stop: one past the last packet.
        frames: int64[K], the wanted frames it yields, ascending.
        feed: bool[stop - start], False for pictures that nobody wants and nothing refers to: they are left out.
    """

    start: int
    stop: int
    frames: NDArray[np.int64]
    feed: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return how many packets the run feeds."""
        return int(self.feed.sum())

    @classmethod
    def of(cls, index: FrameIndex, start: int, stop: int, frames: NDArray[np.int64]) -> Run:
        """Plan the packets between two numbers for the given frames."""
        # Where headers do not number the frames, a packet without a reference may still be half of a wanted picture.
        if start < index.decoded_packets or stop - start == len(frames):
            return cls(start, stop, frames, np.ones(stop - start, dtype=bool))
        feed = np.zeros(stop - start, dtype=bool)
        feed[0] = True
        feed[index.decode_order[frames] - start] = True
        _add_references(index, start, feed)
        return cls(start, stop, frames, feed)


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
        try:
            wanted = np.atleast_1d(np.asarray(frames, dtype=np.int64)).ravel()
        except OverflowError:  # a number that does not fit, which is to be named as it is
            wanted = np.atleast_1d(np.asarray(frames, dtype=object)).ravel()
        outside = wanted[(wanted < -len(index)) | (wanted >= len(index))]
        if outside.size:
            raise IndexError(
                f"frame {outside[0]} is outside the video, which has {len(index)} frames (0 to {len(index) - 1})"
            )
        wanted = np.where(wanted < 0, wanted + len(index), wanted)
        return cls(index, wanted, _runs(index, np.unique(wanted)))

    def snap(self, seconds: float) -> Plan:
        """Return a cheaper plan: each wanted frame may move to the cheapest frame within `seconds` of it.

        Cheapest is the frame for which the fewest further packets have to be fed, so a keyframe where one is near,
        else one earlier in its run. Of the pictures that are decoded then, each frame takes the nearest. Frames stay
        strictly increasing.

        Raises:
            ValueError: seconds is negative or not a number.
        """
        if not seconds >= 0:
            raise ValueError(f"snap_seconds must be 0 or more, got {seconds}")
        if seconds == 0 or not len(self.frames):
            return self
        wanted, slots = np.unique(self.frames, return_inverse=True)
        cheapest = _snap(self.index, wanted, seconds)
        frames = _settle(self.index, wanted, cheapest, seconds)[slots]
        return Plan(self.index, frames, _runs(self.index, np.unique(frames)))

    def joined(self) -> Plan:
        """Return the same plan with runs that follow on each other made one, for a decoder that takes them in order."""
        parts: list[list[Run]] = []
        for run in self.runs:
            if parts and parts[-1][-1].stop == run.start:
                parts[-1].append(run)
            else:
                parts.append([run])
        runs = (
            Run(
                part[0].start,
                part[-1].stop,
                np.concatenate([run.frames for run in part]),
                np.concatenate([run.feed for run in part]),
            )
            for part in parts
        )
        return Plan(self.index, self.frames, tuple(runs))

    @property
    def in_order(self) -> bool:
        """Whether the runs yield their frames one after another; where timestamps jump back and forth they do not."""
        return all(a.frames[-1] < b.frames[0] for a, b in pairwise(self.runs))

    @cached_property
    def packets(self) -> int:
        """Packets that will be fed to decoders."""
        return sum(len(run) for run in self.runs)

    @cached_property
    def bytes(self) -> int:
        """Compressed bytes that will be fed."""
        return sum(_bytes(run, self.index) for run in self.runs)

    @cached_property
    def dropped(self) -> int:
        """Packets inside the runs that are left out: pictures that nobody wants and nothing refers to."""
        return sum(int((~run.feed).sum()) for run in self.runs)

    def __str__(self) -> str:
        """Return a short account: what is fed, what that saves, and each run."""
        index, unique = self.index, len(np.unique(self.frames))
        total, total_bytes = len(index.packet_pts), int(index.packet_size.sum())
        share = self.packets / total if total else 0.0
        lines = [
            f"{len(self.frames)} frames wanted ({unique} different) of {len(index)}, in {len(self.runs)} runs",
            f"index: by {_METHODS[index.method]} ({index.codec})",
            f"feed:  {self.packets} of {total} packets ({share:.0%}), {self.bytes:,} of {total_bytes:,} bytes",
            f"drop:  {self.dropped} packets inside the runs that nothing refers to",
            f"saves: {total - self.packets} pictures ({1 - share:.0%}) against decoding it all",
        ]
        lines += [_describe(run, index) for run in self.runs[:_RUNS_PRINTED]]
        if len(self.runs) > _RUNS_PRINTED:
            lines.append(f"  ... and {len(self.runs) - _RUNS_PRINTED} runs more")
        return "\n".join(lines)


_METHODS = {
    "tables": "the sample tables",
    "headers": "the headers of all packets (this container has no complete table of them)",
    "decode": "decoding the file once (its headers do not tell)",
}
_RUNS_PRINTED = 12
_FRAMES_PRINTED = 6


def _describe(run: Run, index: FrameIndex) -> str:
    frames = ", ".join(str(f) for f in run.frames[:_FRAMES_PRINTED]) + (
        ", ..." if len(run.frames) > _FRAMES_PRINTED else ""
    )
    return (
        f"  packets {run.start}-{run.stop - 1} (feeds {len(run)}, {_bytes(run, index):,} bytes) -> "
        f"{len(run.frames)} frames: {frames}"
    )


def _bytes(run: Run, index: FrameIndex) -> int:
    return int(index.packet_size[run.start : run.stop][run.feed].sum())


def _runs(index: FrameIndex, wanted: NDArray[np.int64]) -> tuple[Run, ...]:
    """Group ascending frame numbers by the keyframe that their decoding starts at."""
    if not len(wanted):
        return ()
    packets = index.decode_order[wanted].astype(np.int64)
    ends = _end_packets(index, packets)
    starts = _start_packets(index, wanted, packets)
    order = np.argsort(starts, kind="stable")
    begins, first = np.unique(starts[order], return_index=True)
    stops = np.maximum.reduceat(ends[order], first)
    spans: list[tuple[int, int, list[NDArray[np.int64]]]] = []
    for begin, stop, frames in zip(
        begins.tolist(), stops.tolist(), np.split(wanted[order], first[1:]), strict=True
    ):
        # Leading pictures need the keyframe interval before theirs; what that decodes anyway is not decoded again.
        if spans and spans[-1][1] > begin:
            before, previous_stop, parts = spans.pop()
            parts.append(frames)
            spans.append((before, max(previous_stop, stop), parts))
        else:
            spans.append((begin, stop, [frames]))
    return tuple(
        Run.of(index, begin, stop, np.sort(np.concatenate(parts))) for begin, stop, parts in spans
    )


def _add_references(index: FrameIndex, start: int, feed: NDArray[np.bool_]) -> None:
    """Mark all packets that the marked ones need, counted from packet `start`, directly or through others."""
    flags = index.packet_flags[start : start + len(feed)]
    known = ((flags & REFS_KNOWN) != 0).tolist()
    offsets, refs = index.ref_offsets, index.refs
    for packet in range(len(feed) - 1, 0, -1):
        if not feed[packet]:
            continue
        if not known[
            packet
        ]:  # then it may need any reference before it, and those all that they need
            feed[:packet] |= (flags[:packet] & REFERENCE) != 0
            return
        number = start + packet
        for distance in refs[offsets[number] : offsets[number + 1]].tolist():
            if distance <= packet:
                feed[packet - distance] = True


def _end_packets(index: FrameIndex, packets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each wanted packet one past the last packet that belongs to its picture.

    Where headers number the frames that is the packet itself; otherwise packets without a frame of their own that follow
    may be the second field of it.
    """
    with_frame = np.append(np.flatnonzero(index.frame_of_packet >= 0), len(index.packet_size))
    after = with_frame[np.searchsorted(with_frame, packets, side="right")]
    return np.where(packets < index.decoded_packets, after, packets + 1)


def _start_packets(
    index: FrameIndex, wanted: NDArray[np.int64], packets: NDArray[np.int64]
) -> NDArray[np.int64]:
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


def _snap(index: FrameIndex, wanted: NDArray[np.int64], seconds: float) -> NDArray[np.int64]:
    """Move ascending frames to cheaper ones near them, one after another, each after the one before."""
    times = np.maximum.accumulate(index.pts_seconds)
    packets = index.decode_order.astype(np.int64)
    starts = _start_packets(index, np.arange(len(index)), packets)
    fed_before = np.append(0, np.cumsum((index.packet_flags & REFERENCE) != 0))
    chosen = wanted.copy()
    previous, fed_to = -1, 0
    for i, frame in enumerate(wanted.tolist()):
        # The next wanted frame keeps its own place, so that there always is one left for it.
        last = int(wanted[i + 1]) - 1 if i + 1 < len(wanted) else len(index) - 1
        near = _near(times, frame, seconds, previous + 1, last)
        cost = (
            fed_before[packets[near]]
            - fed_before[np.maximum(starts[near], np.minimum(fed_to, packets[near]))]
        )
        best = near[np.lexsort((np.abs(times[near] - times[frame]), cost))[0]]
        chosen[i] = previous = int(best)
        fed_to = int(packets[best]) + 1
    return chosen


def _settle(
    index: FrameIndex, wanted: NDArray[np.int64], cheapest: NDArray[np.int64], seconds: float
) -> NDArray[np.int64]:
    """Move each frame to the nearest one among the pictures that decoding the cheapest ones takes anyway."""
    fed = np.zeros(len(index.packet_pts), dtype=bool)
    for run in _runs(index, cheapest):
        fed[run.start : run.stop] |= run.feed
    decoded = fed[index.decode_order]
    times = np.maximum.accumulate(index.pts_seconds)
    settled = cheapest.copy()
    previous = -1
    for i, frame in enumerate(wanted.tolist()):
        # Its cheapest one is among them, and so will the next one's be.
        last = int(cheapest[i + 1]) - 1 if i + 1 < len(wanted) else len(index) - 1
        near = _near(times, frame, seconds, previous + 1, last)
        near = near[decoded[near]]
        settled[i] = previous = int(near[np.argmin(np.abs(times[near] - times[frame]))])
    return settled


def _near(
    times: NDArray[np.float64], frame: int, seconds: float, first: int, last: int
) -> NDArray[np.int64]:
    """Return the frames from `first` to `last` that start within `seconds` of a frame."""
    begin = int(np.searchsorted(times, times[frame] - seconds - _SNAP_SLACK))
    end = int(np.searchsorted(times, times[frame] + seconds + _SNAP_SLACK))
    return np.arange(max(first, begin), min(last + 1, end))


# Half a nanosecond: timestamps are decimal fractions, and 0.5 s away should count as within 0.5 s.
_SNAP_SLACK = 5e-10
