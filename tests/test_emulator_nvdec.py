"""The emulated parser and decoder keep to what is known of NVDEC: emulator_nvdec_cases.py, emulator_surface_cases.py."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

import emulator_surface_cases
from clips import CLIPS, encode, encode_resized
from emulator_control import environment

# File, recipe, size.
FILES = {
    "h264.mp4": ("h264", (192, 144)),
    "h264_open_gop_ts.ts": ("h264_open_gop_ts", (192, 144)),
    "hevc.mp4": ("hevc", (192, 144)),
    "hevc_10bit.mp4": ("hevc_10bit", (192, 144)),
    "rasl.mp4": ("hevc_open_gop", (192, 144)),
    "vp9.webm": ("vp9", (192, 144)),
    "av1.mp4": ("av1", (192, 144)),
    "odd.webm": ("odd_size", (161, 145)),
    "h264_178x166.mp4": ("h264", (178, 166)),
}


@pytest.fixture(scope="module")
def results(
    emulated_nvdec: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str | None]:
    folder = tmp_path_factory.mktemp("nvdec_cases")
    for file, (name, size) in FILES.items():
        encode(folder / file, dataclasses.replace(CLIPS[name], size=size))
    for chroma, pix_fmt in (("444", "yuv444p"), ("422", "yuv422p10le")):
        recipe = dataclasses.replace(CLIPS["hevc"], size=(192, 144), pix_fmt=pix_fmt, encoded=6)
        encode(folder / f"hevc_{chroma}.mp4", recipe)
    # Coded in multiples of 8, where x265 would take 16 for its fastest preset.
    x265 = {**CLIPS["hevc"].options}
    x265["x265-params"] += ":min-cu-size=8"
    encode(
        folder / "hevc_178x166.mp4",
        dataclasses.replace(CLIPS["hevc"], size=(178, 166), options=x265),
    )
    encode_resized(folder / "resized.h264")
    done = subprocess.run(
        [sys.executable, emulator_surface_cases.__file__, folder],
        env=environment(devices="l4,b200"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", emulator_surface_cases.CASES)
def test_case(results: dict[str, str | None], name: str) -> None:
    assert results[name] is None, results[name]
