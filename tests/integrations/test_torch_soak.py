"""A short soak: forked and spawned workers over good and damaged clips neither die nor grow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clips import ClipLibrary
from integrations.real import real

torch = real("torch")

from frametap.integrations.torch import Skipped, VideoDataset  # noqa: E402
from integrations.loader_soak import Memory, dataset_of, quarters, soak  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    "h264",
    "hevc",
    "vfr",
    "h264_ts",
    "mpeg4_avi",
    "truncated",
    "truncated_ts",
    "resized",
    "audio_only",
    "rotate90",
)

# Divided among two workers and four quarters: 120. Caches that fill up and are emptied move about a hundred blocks at a time.
SAMPLES = 960


class Hoarder(VideoDataset):
    """Keeps a tuple and an object per sample, good or not."""

    def __getitem__(self, number: int) -> dict[str, Any] | Skipped:
        hoard: list[object] = self.__dict__.setdefault("hoard", [])
        hoard.append((number, object()))
        return super().__getitem__(number)


def growth(measured: list[Memory], what: str) -> int:
    """Return how much more a worker held in its last quarter than in the one before, when all that is kept once is there."""
    _, _, third, last = quarters(measured, what)
    return last - third


@pytest.fixture
def videos(clips: ClipLibrary, tmp_path: Path) -> list[str]:
    half = tmp_path / "half.mp4"
    half.write_bytes(clips["h264"].read_bytes()[:3000])
    return [str(clips[name]) for name in NAMES] + [str(half), str(tmp_path / "absent.mp4")]


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_neither_die_nor_grow(videos: list[str], context: str) -> None:
    result = soak(dataset_of(videos), SAMPLES, workers=2, context=context)
    assert result["good"] + sum(result["skipped"].values()) == SAMPLES
    assert sum(result["skipped"].values()) >= SAMPLES // 12 * 3  # no video, no file, no moov
    assert len(result["memory"]) == 2
    for measured in result["memory"].values():
        assert len(measured) == SAMPLES // 16
        assert growth(measured, "resident") < 16e6  # what an allocator may keep
        assert growth(measured, "live") < 100e3  # 800 bytes a sample
        assert growth(measured, "blocks") < 130  # one object per sample


def test_a_leak_of_two_small_objects_per_sample_is_seen(videos: list[str]) -> None:
    result = soak(dataset_of(videos, Hoarder), SAMPLES, workers=2, context="fork")
    for measured in result["memory"].values():
        assert growth(measured, "blocks") > 150


def test_the_command_that_the_documents_name() -> None:
    command = [sys.executable, "tests/integrations/loader_soak.py", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--samples" in shown
