"""The main jobs on a 720p clip: `make bench` times them, `make test` runs each once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import frametap as ft
from clips import Clip, encode
from frametap.sampler import Sampler

FRAMES = 120


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "720p.mp4"
    options = {"preset": "ultrafast", "g": "30", "bf": "2"}
    encode(path, Clip("libx264", size=(1280, 720), encoded=FRAMES, options=options))
    return path


@pytest.mark.parametrize("sampler", [ft.Uniform(8), ft.Every(1), ft.Keyframes()], ids=repr)
def test_sample(benchmark: Any, video: Path, sampler: Sampler) -> None:
    """Open, index, decode, convert: what a data loader does per file."""
    batch = benchmark(ft.sample, video, sampler, ft.Transform(size=224), device="cpu")
    benchmark.extra_info["decoded"] = batch.report.decoded
    assert len(batch.indices) == batch.shape[0]


def test_all_frames(benchmark: Any, video: Path) -> None:
    """Decode and convert every frame through a reader that is already open."""
    with ft.open(video, device="cpu", transform=ft.Transform(size=224)) as reader:
        frames = benchmark(lambda: sum(len(batch.indices) for batch in reader.batches(32)))
    assert frames == FRAMES


@pytest.mark.parametrize("filter", ["bilinear", "bicubic", "area", "nearest"])
def test_one_keyframe(benchmark: Any, video: Path, filter: str) -> None:
    """Open reader, one picture to decode: what is left is overhead and conversion."""
    transform = ft.Transform(size=224, filter=filter)
    with ft.open(video, device="cpu", transform=transform) as reader:
        benchmark(reader.frames_at, [0])


def test_index(benchmark: Any, video: Path) -> None:
    assert len(benchmark(ft.FrameIndex.build, video)) == FRAMES
