"""Colours that change in mid-stream: device="cuda" follows them as device="cpu" does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import frametap as ft
from colours import FRAMES, encode_recoloured
from gpu.driver import EMULATED, Gpu
from test_colour_changes import CHANGES

SMALL = ft.Transform(size=(56, 72))


@pytest.fixture
def changing(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    codec, statements = request.param
    path = tmp_path / f"clip.{codec}"
    encode_recoloured(path, codec, statements)
    return path


every_change = pytest.mark.parametrize(
    "changing",
    [pytest.param((codec, c), id=f"{codec}: {' | '.join(c)}") for codec in ("h264", "hevc") for c in CHANGES],
    indirect=True,
)  # fmt: skip


@every_change
@pytest.mark.parametrize("tone_map", [None, "sdr"])
def test_frames(check: Callable[..., ft.FrameBatch], changing: Path, tone_map: Any) -> None:
    transform = ft.Transform(size=(56, 72), tone_map=tone_map)
    frames = len(ft.FrameIndex.build(changing))
    around = [n for change in range(FRAMES, frames, FRAMES) for n in range(change - 3, change + 3)]
    for wanted in ([frames - 1], [FRAMES + 1], around, [frames - 1, 0], range(frames)):
        batch = check(changing, ft.Indices(list(wanted)), transform)
        if EMULATED:
            assert batch.report.engine == "nvdec"
            assert batch.report.why == 'device="cuda" was asked for'


@every_change
def test_batches(driver: Gpu, changing: Path) -> None:
    expected = ft.sample(changing, ft.Every(1), SMALL, device="cpu").numpy()
    with ft.open(changing, device="cuda", transform=SMALL) as video:
        found = np.concatenate([driver.host(batch) for batch in video.batches(5)])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("changing", [("hevc", CHANGES[2])], indirect=True)
@pytest.mark.parametrize("engine", ["hybrid", "pynvvideocodec"])
def test_engines(
    check: Callable[..., ft.FrameBatch], driver: Gpu, changing: Path, engine: str
) -> None:
    if engine == "pynvvideocodec":
        pytest.importorskip("PyNvVideoCodec")
        if driver.emulator is not None:
            driver.emulator.set(profile="driver")  # it is not ours to be strict with
    check(changing, ft.Every(1), SMALL, engine=engine)
