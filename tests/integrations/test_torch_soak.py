"""A short soak: forked and spawned workers over good and damaged clips neither die nor grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from clips import ClipLibrary
from integrations.real import real

torch = real("torch")

from integrations.loader_soak import quarters, soak  # noqa: E402

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


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_neither_die_nor_grow(clips: ClipLibrary, tmp_path: Path, context: str) -> None:
    half = tmp_path / "half.mp4"
    half.write_bytes(clips["h264"].read_bytes()[:3000])
    videos = [str(clips[name]) for name in NAMES] + [str(half), str(tmp_path / "absent.mp4")]
    result = soak(videos, samples=360, workers=2, context=context)
    assert result["good"] + sum(result["skipped"].values()) == 360
    assert sum(result["skipped"].values()) >= 3 * 30  # no video, no file, no moov
    assert len(result["memory"]) == 2
    for resident in result["memory"].values():
        second, last = (
            resident[len(resident) // 4 : len(resident) // 2],
            resident[-len(resident) // 4 :],
        )
        # Once every clip was seen, a worker's memory stands still; 16 MB is what the allocator may keep on top.
        assert max(last) - max(second) < 16e6
    for live in result["live"].values():
        assert quarters(live)[3] - quarters(live)[1] < 1
