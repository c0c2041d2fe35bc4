"""Every generated clip, frame for frame, against plain PyAV decoding of the whole file: count, times, pixels, any order.

Luma is compared exactly: at full size the gray output is a function of the luma sample alone, so one luma value that
comes out as two grays is a wrong picture. Colour is compared with the float64 reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

import frametap as ft
import plain
from clips import CLIPS, OTHERS, ClipLibrary

# What plain decoding cannot stand for: damage and audio have tests of their own, "long" is for memory.
SPECIAL = {"truncated", "truncated_ts", "long", "audio_only", "cover"}
WHOLE = sorted((set(CLIPS) | set(OTHERS)) - SPECIAL)
# Display orientation by what a viewer sees: applied to (..., h, w).
TURNS = {
    "rotate90": lambda a: np.rot90(a, -1, (-2, -1)),
    "rotate180": lambda a: np.rot90(a, 2, (-2, -1)),
    "rotate270": lambda a: np.rot90(a, 1, (-2, -1)),
    "hflip": lambda a: a[..., ::-1],
    "vflip": lambda a: a[..., ::-1, :],
}
# One clip of each kind of reordering, dropping and starting; `threads` and orders are tried on these.
ORDERS = [
    "av1", "edit_list", "fields", "fields_apart", "fields_raw", "h264_forgets", "h264_open_gop", "h264_intra_refresh",
    "h264_pyramid", "h264_raw", "hevc_layers", "hevc_open_gop", "interlaced", "mpeg2", "mpeg4", "packed_b",
    "resized", "vfr_mkv", "vp8_hidden", "vp9", "wmv2",
]  # fmt: skip
GRAY = ft.Transform(color="gray")
SMALL = ft.Transform(size=(24, 32))
FEW = settings(max_examples=6, deadline=None, derandomize=True)
Opened = tuple[ft.VideoReader, NDArray[np.generic]]


def turned(name: str, picture: NDArray[np.generic]) -> NDArray[np.generic]:
    return TURNS[name](picture) if name in TURNS else picture


def assert_same_luma(gray: NDArray[np.uint8], picture: plain.Picture, name: str, why: str) -> None:
    """Check that `gray` (h, w) is the picture with these very luma samples."""
    luma = picture.luma
    assert luma is not None
    shown = turned(name, luma)
    assert gray.shape == shown.shape, why
    pairs = len(np.unique(shown.astype(np.int64) * 256 + gray))
    assert pairs == len(np.unique(shown)), f"{why}: luma differs from plain decoding"


def all_frames(path: Path, transform: ft.Transform) -> NDArray[np.generic]:
    with ft.open(path, transform=transform, threads=1) as video:
        return np.concatenate([batch.numpy() for batch in video.batches(16)])


@pytest.mark.parametrize("name", WHOLE)
def test_count_and_times(clips: ClipLibrary, name: str) -> None:
    expected = plain.decode(clips[name]).pictures
    assert len(expected) == (CLIPS[name].frames if name in CLIPS else len(expected))
    with ft.open(clips[name], threads=1) as video:
        assert len(video) == len(video.index) == video.info.num_frames == len(expected)
        seconds = video.index.pts_seconds
        batch = video.frames_at(range(len(video)))
    assert_array_equal(batch.pts_seconds, seconds)
    assert (
        np.diff(seconds) > 0
    ).all() or name == "packed_b"  # whose packets are numbered wrongly, as plain decoding has it
    known = [i for i, picture in enumerate(expected) if picture.seconds is not None]
    assert_array_equal(seconds[known], [expected[i].seconds for i in known])
    durations = [i for i, picture in enumerate(expected) if picture.duration is not None]
    assert_array_equal(batch.duration_seconds[durations], [expected[i].duration for i in durations])
    assert (batch.duration_seconds > 0).all()


@pytest.mark.parametrize("name", sorted(set(WHOLE) - {"resized"}))
def test_pixels(clips: ClipLibrary, name: str) -> None:
    expected = plain.decode(clips[name]).pictures
    if expected[0].luma is not None:
        for number, gray in enumerate(all_frames(clips[name], GRAY)):
            assert_same_luma(gray[0], expected[number], name, f"frame {number}")
    with ft.open(clips[name], threads=1) as video:
        batch = video.frames_at(range(0, len(video), 11))
    for number, rgb in zip(batch.indices, batch.numpy(), strict=True):
        gold = turned(name, expected[number].rgb())
        assert np.abs(rgb - gold).max() <= 1, f"frame {number}: colours are off"


def test_size_change_is_resized_to_the_first(clips: ClipLibrary) -> None:
    expected = plain.decode(clips["resized"]).pictures
    first = expected[0]
    assert {(p.width, p.height) for p in expected} == {(160, 120), (96, 64)}
    with ft.open(clips["resized"], threads=1) as video:
        batch = video[:]
    assert batch.shape[2:] == (first.height, first.width)
    for number, picture in enumerate(expected):
        gold = picture.rgb((first.width, first.height))
        assert np.abs(batch.numpy()[number] - gold).max() <= 1, f"frame {number}"


@pytest.mark.parametrize(
    ("transform", "cut"),
    [
        (ft.Transform(crop=ft.Box(40, 30, 120, 90)), (slice(30, 120), slice(40, 160))),
        (ft.Transform(size=(120, 160), window=ft.Box(40, 30, 90, 60)), (slice(30, 90), slice(40, 130))),
        (ft.Transform(size=(120, 160), window=ft.CenterCrop(60)), (slice(30, 90), slice(50, 110))),
    ],
    ids=["crop", "window", "centre"],
)  # fmt: skip
def test_size_change_keeps_what_is_cut_out(
    clips: ClipLibrary, transform: ft.Transform, cut: tuple[slice, slice]
) -> None:
    """The crop fits the first pictures, and would not fit the smaller ones as it is."""
    expected = plain.decode(clips["resized"]).pictures
    with ft.open(clips["resized"], transform=transform, threads=1) as video:
        found = video[:].numpy().astype(int)
    for number, picture in enumerate(expected):
        error = np.abs(found[number] - picture.rgb((160, 120))[:, *cut])
        if transform.crop is not None:
            error = error[:, 3:, 3:]  # a resampled crop does not look at what lies outside it
        assert error.max() <= 1, f"frame {number}"


@pytest.mark.parametrize("threads", [1, 2])
def test_crop_that_fits_the_displayed_picture_only(clips: ClipLibrary, threads: int) -> None:
    """Headers give the size of pictures as they are stored."""
    crop = ft.Transform(crop=ft.CenterCrop(150, 100))
    with ft.open(clips["rotate90"], transform=crop, threads=threads) as video:
        every = video[:].numpy()
        assert every.shape[2:] == (150, 100)
        assert_array_equal(np.concatenate([batch.numpy() for batch in video.batches(5)]), every)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("wanted", [[20], [3, 20], [20, 3], [0, *range(12, 24)]], ids=str)
def test_size_change_never_changes_the_shape(
    clips: ClipLibrary, wanted: list[int], threads: int
) -> None:
    """Which frames are asked for, and which thread is first, must not decide what a batch looks like."""
    with ft.open(clips["resized"], threads=threads) as video:
        assert video.frames_at(wanted).shape[1:] == (3, 120, 160)
        assert {batch.shape[1:] for batch in video.batches(8)} == {(3, 120, 160)}


def test_frames_are_all_different(clips: ClipLibrary) -> None:
    """Or the tests above would show less than they say."""
    frames = all_frames(clips["h264"], SMALL)
    distances = [np.abs(a.astype(int) - b).mean() for i, a in enumerate(frames) for b in frames[:i]]
    assert min(distances) > 2


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("name", [name for name in ORDERS if name != "resized"])
def test_any_number_of_threads_gives_the_same(clips: ClipLibrary, name: str, threads: int) -> None:
    numbers = [20, 3, 9, 9, 0, 22, -1, 11]
    with ft.open(clips[name], transform=GRAY, threads=threads) as video:
        batch = video.frames_at(numbers)
        assert_array_equal(batch.indices, [n % len(video) for n in numbers])
        assert_array_equal(
            np.concatenate([b.numpy() for b in video.batches(16)])[numbers], batch.numpy()
        )
    expected = plain.decode(clips[name]).pictures
    for slot, number in enumerate(numbers):
        assert_same_luma(batch.numpy()[slot, 0], expected[number], name, f"frame {number}")


@pytest.fixture(params=ORDERS, scope="module")
def opened(request: pytest.FixtureRequest, clips: ClipLibrary) -> Iterator[Opened]:
    """One reader per clip, kept open, so that it goes back and forth with decoders it has used; and all its frames."""
    with ft.open(clips[request.param], transform=SMALL, threads=1) as video:
        yield video, np.stack([frame.numpy() for frame in video])


@FEW
@given(data=st.data())
def test_random_access_equals_iteration(opened: Opened, data: st.DataObject) -> None:
    video, in_order = opened
    count = len(video)
    numbers = data.draw(st.lists(st.integers(-count, count - 1), min_size=1, max_size=10))
    batch = video.frames_at(numbers)
    assert_array_equal(batch.indices, np.arange(count)[numbers])
    assert_array_equal(batch.numpy(), in_order[numbers])
    assert batch.ok.all()


@FEW
@given(data=st.data())
def test_slices(opened: Opened, data: st.DataObject) -> None:
    video, in_order = opened
    part = data.draw(st.slices(len(video)))
    batch = video[part]
    assert_array_equal(batch.indices, np.arange(len(video))[part])
    assert batch.shape == in_order[part].shape
    assert_array_equal(batch.numpy(), in_order[part])


@FEW
@given(data=st.data())
def test_batches(opened: Opened, data: st.DataObject) -> None:
    video, in_order = opened
    size = data.draw(st.integers(1, 20))
    numbers = data.draw(st.lists(st.integers(0, len(video) - 1), min_size=1, max_size=12))
    batches = list(video.batches(size, ft.Indices(numbers)))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert_array_equal(np.concatenate([batch.indices for batch in batches]), numbers)
    assert_array_equal(np.concatenate([batch.numpy() for batch in batches]), in_order[numbers])
