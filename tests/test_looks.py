"""What a stream's pictures look like: found out once per colour statement, and whoever knows does not wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import frametap as ft
from clips import ClipLibrary
from frametap.engines.looks import Looks
from frametap.geometry import PictureFormat

FIRST = PictureFormat("yuv420p", 64, 48, "bt601", False)
SECOND = replace(FIRST, matrix="bt709")


class Decoder:
    """Who keeps a `Looks`, which holds its method weakly."""

    def __init__(self, answer: Callable[[int, ft.FrameIndex], Any]) -> None:
        self._answer = answer

    def decode(self, frame: int, index: ft.FrameIndex) -> tuple[int, PictureFormat] | None:
        return self._answer(frame, index)


@pytest.fixture
def index(clips: ClipLibrary) -> ft.FrameIndex:
    return ft.FrameIndex.build(clips["h264"])


def test_who_knows_does_not_wait_for_who_has_to_decode(index: ft.FrameIndex) -> None:
    decoding, go_on = threading.Event(), threading.Event()

    def decode(frame: int, _: ft.FrameIndex) -> tuple[int, PictureFormat]:
        if frame == 0:
            return 1, FIRST
        decoding.set()
        assert go_on.wait(60)
        return 2, SECOND

    decoder = Decoder(decode)
    looks = Looks(decoder.decode)
    looks.first(index)
    finds_out = threading.Thread(target=looks.of, args=(2, 9, index))
    knows = threading.Thread(target=looks.of, args=(1, 3, index))
    finds_out.start()
    assert decoding.wait(60)
    knows.start()
    knows.join(5)
    waited = knows.is_alive()
    go_on.set()
    finds_out.join()
    knows.join()
    assert not waited
    assert looks.of(2, 9, index) == SECOND


def test_each_statement_is_decoded_once(index: ft.FrameIndex) -> None:
    asked: list[int] = []

    def decode(frame: int, _: ft.FrameIndex) -> tuple[int, PictureFormat] | None:
        asked.append(frame)
        return (2, SECOND) if frame == 9 else None

    decoder = Decoder(decode)
    looks = Looks(decoder.decode)
    assert looks.first(index) is None
    with pytest.raises(ft.DecodeError, match="frame 8"):
        looks.of(2, 8, index)  # which says nothing of other frames
    assert looks.of(2, 9, index) == looks.of(2, 8, index) == SECOND
    assert asked == [0, 8, 9]
