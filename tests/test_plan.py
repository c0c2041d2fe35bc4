"""What a plan promises: the runs, the numbers it prints and what is then measured, dropping, and snapping."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import frametap as ft
import plain
from clips import ClipLibrary
from frametap._core import PARSED, REFERENCE, RESET, START
from frametap.container import Container
from frametap.plan import Run
from restamp import gap_from, restamp
from test_frames_contract import GRAY, ORDERS, assert_same_luma

# Codecs of the clips that leave pictures out which nothing refers to.
DROPPING = ["h264", "hevc", "mpeg2", "mpeg4", "h264_pyramid", "h264_open_gop", "hevc_open_gop"]
QUICK = settings(max_examples=25, deadline=None, derandomize=True)


class Fed:
    """Counts what really goes into decoders."""

    def __init__(self) -> None:
        self.packets = 0
        self.bytes = 0


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> Fed:
    count = Fed()
    decode = Container.decode

    def counting(self: Container, packet: object) -> object:
        if packet is not None:
            count.packets += 1
            count.bytes += packet.size  # type: ignore[attr-defined]
        return decode(self, packet)  # type: ignore[arg-type]

    monkeypatch.setattr(Container, "decode", counting)
    return count


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "name", ["h264", "hevc_open_gop", "vp9", "mpeg2", "av1", "mjpeg", "vfr_mkv"]
)
@pytest.mark.parametrize(
    "sampler", [ft.Uniform(3), ft.Every(1), ft.Indices([30, 2, 2, 31]), ft.Keyframes()], ids=repr
)
def test_report_measures_what_the_plan_says(
    clips: ClipLibrary, fed: Fed, name: str, sampler: ft.Uniform, threads: int
) -> None:
    with ft.open(clips[name], transform=GRAY, threads=threads) as video:
        plan = video.plan(sampler)
        fed.packets = fed.bytes = 0
        report = video.sample(sampler).report
        total = len(video.index.packet_pts)
    assert (fed.packets, fed.bytes) == (plan.packets, plan.bytes)
    assert report.bytes_read == plan.bytes
    assert report.skipped == total - plan.packets
    assert report.mapped == len(np.unique(plan.frames))
    assert report.mapped <= report.decoded <= plan.packets
    assert {"index", "decode", "convert", "total"} <= set(report.milliseconds)


@pytest.mark.parametrize("name", ["h264", "hevc_open_gop", "vp9"])
def test_batches_measure_too(clips: ClipLibrary, fed: Fed, name: str) -> None:
    sampler = ft.Every(4)
    with ft.open(clips[name], transform=GRAY, threads=1) as video:
        plan = video.plan(sampler)
        fed.packets = fed.bytes = 0
        reports = [batch.report for batch in video.batches(5, sampler)]
    assert fed.bytes == plan.bytes
    assert sum(report.bytes_read for report in reports) == plan.bytes
    assert sum(report.mapped for report in reports) == len(plan.frames)
    assert len(plan.frames) <= sum(report.decoded for report in reports) <= plan.packets


@pytest.mark.parametrize("name", ORDERS)
def test_runs_are_sound(clips: ClipLibrary, name: str) -> None:
    index = ft.FrameIndex.build(clips[name])
    rng = np.random.default_rng(7)
    for count in (1, 3, 9):
        wanted = rng.integers(0, len(index), count)
        plan = ft.Plan.of(index, wanted)
        assert_array_equal(plan.frames, wanted)
        assert_array_equal(np.concatenate([run.frames for run in plan.runs]), np.unique(wanted))
        for run, following in zip(plan.runs, [*plan.runs[1:], None], strict=True):
            assert len(run.feed) == run.stop - run.start
            assert len(run) == run.feed.sum() >= len(run.frames)
            assert run.feed[0], "a run begins with its keyframe"
            assert run.feed[index.decode_order[run.frames] - run.start].all()
            assert following is None or run.stop <= following.start


def some_index(clips: ClipLibrary, rng: np.random.Generator) -> ft.FrameIndex:
    """Return an index of made-up packets: reordered, open and closed keyframes, packets without a frame."""
    count = int(rng.integers(1, 60))
    flags = rng.choice([PARSED, PARSED | REFERENCE, START | PARSED, START | RESET | PARSED], count)
    shown = np.sort(rng.permutation(count)[: rng.integers(1, count + 1)])
    order = shown[np.argsort(shown + rng.integers(0, 5, len(shown)), kind="stable")]
    return replace(
        ft.FrameIndex.build(clips["h264"]),
        packet_pts=rng.permutation(count).astype(np.int64),
        packet_duration=np.ones(count, np.int32),
        packet_position=np.arange(count, dtype=np.int64),
        packet_size=np.ones(count, np.int32),
        packet_flags=flags.astype(np.uint8),
        ref_counts=np.zeros(count, np.uint8),
        refs=np.zeros(0, np.int32),
        decode_order=order.astype(np.int32),
    )


@pytest.mark.parametrize("seed", range(100))
def test_runs_are_those_of_the_frames_one_by_one(clips: ClipLibrary, seed: int) -> None:
    """A run per frame, and those made one that have a packet in common."""
    rng = np.random.default_rng(seed)
    index = some_index(clips, rng)
    wanted = rng.integers(0, len(index), rng.integers(1, 20))
    spans: list[tuple[int, int, list[int]]] = []
    alone = [ft.Plan.of(index, [frame]).runs[0] for frame in np.unique(wanted)]
    for run in sorted(alone, key=lambda run: run.start):
        start, stop, frames = run.start, run.stop, run.frames.tolist()
        if spans and start < spans[-1][1]:
            begin, before, others = spans.pop()
            start, stop, frames = begin, max(before, stop), sorted(others + frames)
        spans.append((start, stop, frames))
    plan = ft.Plan.of(index, wanted)
    assert [(run.start, run.stop, run.frames.tolist()) for run in plan.runs] == spans
    for run, span in zip(plan.runs, spans, strict=True):
        expected = Run.of(index, span[0], span[1], np.array(span[2]))
        assert_array_equal(run.feed, expected.feed)


@pytest.mark.parametrize("seed", range(20))
def test_joined_runs_follow_on_each_other(clips: ClipLibrary, seed: int) -> None:
    rng = np.random.default_rng(seed)
    index = some_index(clips, rng)
    plan = ft.Plan.of(index, rng.integers(0, len(index), 20))
    joined = plan.joined().runs
    assert all(a.stop < b.start for a, b in pairwise(joined))
    for name in ("frames", "feed"):
        parts = [[getattr(run, name) for run in runs] for runs in (plan.runs, joined)]
        assert_array_equal(np.concatenate(parts[0]), np.concatenate(parts[1]))
    assert all(len(run.feed) == run.stop - run.start for run in joined)


def test_untouched_keyframe_intervals(clips: ClipLibrary) -> None:
    with ft.open(clips["h264"]) as video:
        plan = video.plan(ft.Indices([1, 40]))
        assert len(plan.runs) == 2
        assert plan.packets < 24
        assert video.plan(ft.Keyframes()).packets == int(video.index.keyframes.sum())


def test_leading_pictures_start_one_keyframe_earlier(clips: ClipLibrary) -> None:
    index = ft.FrameIndex.build(clips["h264_open_gop"])
    second = int(np.flatnonzero(index.keyframes)[1])
    (on_keyframe,) = ft.Plan.of(index, [second]).runs
    (before,) = ft.Plan.of(index, [second - 1]).runs
    assert on_keyframe.start == index.decode_order[second]
    assert before.start == 0
    assert before.stop > on_keyframe.start


def test_leading_pictures_that_are_stamped_after_their_keyframe(
    clips: ClipLibrary, tmp_path: Path
) -> None:
    """A gap in the timestamps between a keyframe and pictures that are shown before it: they refer further back yet."""
    index = ft.FrameIndex.build(clips["h264_open_gop"])
    second = int(index.decode_order[index.keyframes][1])
    path = restamp(clips["h264_open_gop"], tmp_path / "gap.mp4", gap_from(second + 2))
    with ft.open(path, transform=GRAY, threads=1) as video:
        expected = video.sample(ft.Every(1)).numpy()
        singly = [video[number].numpy() for number in range(len(video))]
    assert len(expected) == 48
    assert_array_equal(singly, expected)


@pytest.mark.parametrize("step", [2, 3, 5, 7])
@pytest.mark.parametrize("name", DROPPING)
def test_dropping_changes_no_picture(clips: ClipLibrary, name: str, step: int) -> None:
    expected = plain.decode(clips[name]).pictures
    with ft.open(clips[name], transform=GRAY, threads=1) as video:
        plan = video.plan(ft.Every(step))
        batch = video.sample(ft.Every(step))
    assert plan.dropped > 0
    for number, gray in zip(batch.indices.tolist(), batch.numpy(), strict=True):
        assert_same_luma(gray[0], expected[number], name, f"frame {number}")


def test_every_frame_wanted_drops_none(clips: ClipLibrary) -> None:
    with ft.open(clips["h264"]) as video:
        plan = video.plan(ft.Every(1))
    assert (plan.dropped, plan.packets) == (0, 48)


class TestPrint:
    @pytest.fixture
    def plan(self, clips: ClipLibrary) -> ft.Plan:
        with ft.open(clips["h264"]) as video:
            return video.plan(ft.Indices([1, 40, 40]))

    def test_says_what_it_costs(self, plan: ft.Plan) -> None:
        text = str(plan)
        assert "3 frames wanted (2 different) of 48, in 2 runs" in text
        assert f"{plan.packets} of 48 packets" in text
        assert f"{plan.bytes:,} of" in text
        assert f"{plan.dropped} packets" in text
        assert "h264" in text

    def test_lists_runs_but_not_hundreds(self, plan: ft.Plan, clips: ClipLibrary) -> None:
        assert len([line for line in str(plan).splitlines() if "-> " in line]) == 2
        with ft.open(clips["h264_intra"]) as video:
            text = str(video.plan(ft.Every(1)))
        assert "runs more" in text
        assert len(text.splitlines()) < 30


def test_outside_frames_are_refused(clips: ClipLibrary) -> None:
    index = ft.FrameIndex.build(clips["h264"])
    for bad in (48, -49, 10**9):
        with pytest.raises(IndexError, match=rf"frame {bad} .*48 frames \(0 to 47\)"):
            ft.Plan.of(index, [0, bad])


def test_what_does_not_exist_is_refused_with_the_name_of_the_source(clips: ClipLibrary) -> None:
    path = re.escape(str(clips["h264"]))
    with ft.open(clips["h264"], transform=GRAY) as video:
        for call in (
            lambda: video[48],
            lambda: video.frames_played_at([0.1, 99]),
            lambda: video.sample(ft.At([99])),
            lambda: video.plan(ft.Indices([-49])),
            lambda: video.batches(4, ft.Indices([48])),
        ):
            with pytest.raises(IndexError, match=f"^{path}: "):
                call()
        with pytest.raises(ValueError, match=f"^{path}: .*window"):
            video.sample(ft.Uniform(4, start_seconds=60))


@pytest.fixture(scope="module", params=["h264", "h264_open_gop", "vfr_mkv", "vp9", "h264_one_gop"])
def index(request: pytest.FixtureRequest, clips: ClipLibrary) -> ft.FrameIndex:
    return ft.FrameIndex.build(clips[request.param])


class TestSnap:
    @QUICK
    @given(
        wanted=st.sets(st.integers(0, 47), min_size=1, max_size=8),
        seconds=st.sampled_from([0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0]),
    )
    def test_stays_near_increasing_and_gets_cheaper(
        self, index: ft.FrameIndex, wanted: set[int], seconds: float
    ) -> None:
        exact = ft.Plan.of(index, sorted(wanted))
        snapped = exact.snap(seconds)
        times = index.pts_seconds
        moved = times[snapped.frames] - times[exact.frames]
        assert np.abs(moved).max() <= seconds + 1e-9
        assert (np.diff(snapped.frames) > 0).all()
        assert snapped.packets <= exact.packets
        if seconds == 0:
            assert_array_equal(snapped.frames, exact.frames)

    def test_one_frame_goes_to_the_cheapest_in_reach(self, index: ft.FrameIndex) -> None:
        """By brute force: the fewest packets, then the nearest."""
        times, costs = (
            index.pts_seconds,
            [ft.Plan.of(index, [i]).packets for i in range(len(index))],
        )
        for wanted in range(0, len(index), 3):
            for seconds in (0.1, 0.3):
                reach = np.flatnonzero(np.abs(times - times[wanted]) <= seconds + 1e-9)
                (snapped,) = ft.Plan.of(index, [wanted]).snap(seconds).frames
                assert snapped in reach
                assert costs[snapped] == min(costs[i] for i in reach)

    def test_nearest_among_what_is_decoded_anyway(self, clips: ClipLibrary) -> None:
        """The last frame alone decides how far its run goes; the ones before it have no reason to move far."""
        with ft.open(clips["h264_one_gop"]) as video:
            wanted = [10, 20, 30, 40]
            exact, plan = (
                video.plan(ft.Indices(wanted)),
                video.plan(ft.Indices(wanted), snap_seconds=0.2),
            )
            index = video.index
        fed = set()
        for run in plan.runs:
            fed |= set(run.start + np.flatnonzero(run.feed))
        decoded = [frame for frame in range(len(index)) if index.decode_order[frame] in fed]
        assert plan.packets < exact.packets
        for frame, moved in zip(wanted, plan.frames.tolist(), strict=True):
            assert abs(moved - frame) == min(abs(other - frame) for other in decoded)

    def test_keyframes_in_reach_are_all_it_takes(self, clips: ClipLibrary) -> None:
        with ft.open(clips["h264"]) as video:
            plan = video.plan(ft.Indices([1, 13, 23, 37]), snap_seconds=0.1)
        assert_array_equal(plan.frames, [0, 12, 24, 36])
        assert plan.packets == 4

    def test_duplicates_and_order_are_kept(self, clips: ClipLibrary) -> None:
        index = ft.FrameIndex.build(clips["h264"])
        snapped = ft.Plan.of(index, [37, 1, 37]).snap(0.1)
        assert_array_equal(snapped.frames, [36, 0, 36])

    @pytest.mark.parametrize("seconds", [-0.1, float("nan")])
    def test_nonsense_is_refused(self, clips: ClipLibrary, seconds: float) -> None:
        with pytest.raises(ValueError, match="snap_seconds must be 0 or more"):
            ft.sample(clips["h264"], ft.Uniform(2), snap_seconds=seconds)

    def test_sample_delivers_and_reports_it(self, clips: ClipLibrary) -> None:
        path, sampler = clips["h264"], ft.Indices([1, 13, 25, 38])
        batch = ft.sample(path, sampler, GRAY, snap_seconds=0.1, threads=1)
        assert_array_equal(batch.indices, [0, 12, 24, 36])
        assert batch.report.moved_seconds == pytest.approx([-1 / 24, -1 / 24, -1 / 24, -2 / 24])
        assert ft.sample(path, sampler, GRAY).report.moved_seconds.size == 0
        expected = plain.decode(Path(path)).pictures
        for number, gray in zip(batch.indices.tolist(), batch.numpy(), strict=True):
            assert_same_luma(gray[0], expected[number], "h264", f"frame {number}")
