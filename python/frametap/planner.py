"""From wanted frames to a plan: reads the packet headers it rests on where the index lacks them."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np

from frametap.errors import SourceError
from frametap.index import START, FrameIndex
from frametap.index_build import build_index
from frametap.packet_headers import HeadersDisagreeError, read_headers, unread_spans
from frametap.plan import Plan, Run
from frametap.source import Source

# Where keyframes of the sample tables turn out to be none, each round goes back to the one before; then to the first at once.
_MOST_STEPS_BACK = 3


def plan_frames(index: FrameIndex, source: Source, frames: Any, snap_seconds: float = 0.0) -> Plan:
    """Plan frames; the index of the plan is the given one with the headers that were read on the way.

    Raises:
        IndexError: a number outside the video.
        SourceError: headers cannot be read, or are those of another video than the index describes.
    """
    for round_number in count():
        plan = Plan.of(index, frames).snap(snap_seconds)
        spans = [span for run in plan.runs for span in _spans_to_know(index, run)]
        unread = unread_spans(index, spans)
        if not unread:
            break
        if round_number > _MOST_STEPS_BACK:
            unread = [(0, unread[-1][1])]
        try:
            index = read_headers(index, source, unread)
        except HeadersDisagreeError as error:
            index = _scan_again(index, source, error)
    return plan


def _scan_again(index: FrameIndex, source: Source, error: HeadersDisagreeError) -> FrameIndex:
    """Index by the packets alone, if that leaves the frames where the sample tables put them."""
    scanned, container = build_index(source, tables=False)
    container.close()
    if not np.array_equal(scanned.pts, index.pts):
        raise SourceError(
            f"{source.name}: its sample tables and its packets disagree on the frames ({error}); "
            f"open it with index=FrameIndex.build(source, tables=False), which scans the packets"
        ) from error
    return scanned


def _spans_to_know(index: FrameIndex, run: Run) -> list[tuple[int, int]]:
    """Return the packets of a run whose headers matter: where all are wanted, only those where decoding may start."""
    if len(run.frames) < run.stop - run.start:
        return [(run.start, run.stop)]
    starts = run.start + np.flatnonzero(index.packet_flags[run.start : run.stop] & START)
    return [(start, start + 1) for start in starts.tolist()]
