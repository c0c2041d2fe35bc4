"""The VideoLoader of the decord stand-in beside decord's own: the same batches, and the orders that shuffling gives."""

from __future__ import annotations

import random

import numpy as np
import pytest

from clips import ClipLibrary
from integrations.real import real

theirs = real("decord")
real("torch")

from frametap.integrations import decord  # noqa: E402

SIZE = {"width": 80, "height": 60}


def test_loader_makes_the_same_batches(clips: ClipLibrary) -> None:
    videos = [str(clips[name]) for name in ("h264", "hevc", "prores", "best_track_last")]
    for frames, interval, skip in (
        (2, 0, 0),
        (2, 1, 0),
        (2, 0, 3),
        (4, 2, 1),
        (5, 1, 5),
        (1, 0, 0),
        (50, 0, 0),
    ):
        arguments = ((frames, 30, 40, 3), interval, skip)
        expected = theirs.VideoLoader(videos, theirs.cpu(0), *arguments, shuffle=0)
        loader = decord.VideoLoader(videos, decord.cpu(0), *arguments, shuffle=0)
        assert len(loader) == len(expected)
        wanted = [(data.shape, numbers.asnumpy().tolist()) for data, numbers in expected]
        assert [(data.shape, numbers.asnumpy().tolist()) for data, numbers in loader] == wanted
        for shuffle in (1, 2):
            theirs_shuffled = theirs.VideoLoader(videos, theirs.cpu(0), *arguments, shuffle=shuffle)
            assert len(
                decord.VideoLoader(videos, decord.cpu(0), *arguments, shuffle=shuffle)
            ) == len(theirs_shuffled)


def test_loader_orders(clips: ClipLibrary) -> None:
    videos = [str(clips["h264"]), str(clips["hevc"])]

    def order(shuffle: int) -> list[tuple[int, int]]:
        loader = decord.VideoLoader(
            videos, [decord.cpu(0), decord.cpu(0)], (2, 30, 40, 3), 1, 1, shuffle
        )
        return [tuple(numbers.asnumpy()[0]) for _, numbers in loader]

    in_order = order(0)
    for shuffle in (1, 2, 3):
        random.seed(1)
        shuffled = order(shuffle)
        random.seed(1)
        assert order(shuffle) == shuffled
        # In random turns, as in decord, the last batch of a video may be one that the other orders leave out.
        assert set(shuffled) >= set(in_order) if shuffle == 1 else sorted(shuffled) == in_order
        assert shuffled != in_order
        of_first = [start for video, start in shuffled if video == 0]
        assert (of_first == sorted(of_first)) == (shuffle == 1)
    assert [video for video, _ in order(3)] == [video for video, _ in in_order]


def test_loader_epochs_and_pixels(clips: ClipLibrary) -> None:
    loader = decord.VideoLoader(
        [str(clips["h264"])], decord.cpu(0), (3, 60, 80, 3), interval=2, skip=4, shuffle=0
    )
    assert len(decord.VideoLoader([clips["h264"]], decord.cpu(0), (3, 60, 80, 3), 2, 4, 0)) == len(
        loader
    ), "paths as VideoReader takes them"
    data, numbers = loader.next()
    expected = decord.VideoReader(str(clips["h264"]), **SIZE).get_batch(numbers.asnumpy()[:, 1])
    np.testing.assert_array_equal(data.asnumpy(), expected.asnumpy())
    assert numbers.asnumpy().dtype == np.int64
    assert len(list(loader)) == len(loader) - 1
    with pytest.raises(StopIteration):
        loader.next()
    loader.reset()
    assert len(list(loader)) == len(loader)
    with pytest.raises(decord.DECORDError):
        decord.VideoLoader(["absent.mp4"], decord.cpu(0), (1, 4, 4, 3), 0, 0, 0)
    with pytest.raises(decord.DECORDError):
        decord.VideoLoader([str(clips["h264"])], decord.cpu(0), (1, 4, 4, 3), 0, 0, shuffle=9)
