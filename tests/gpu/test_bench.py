"""What runs on real hardware runs at all: on the emulated driver, at sizes that take seconds. Times mean nothing there."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import clips
from emulator_control import ROOT, environment

pytestmark = pytest.mark.emulated
BENCH = [sys.executable, str(ROOT / "benchmarks" / "bench_gpu.py")]
PROBE = [sys.executable, str(ROOT / "tests" / "gpu" / "probe.py")]
SHORT_SAMPLE = [sys.executable, str(ROOT / "tests" / "gpu" / "short_sample.py")]


def test_bench_gpu(tmp_path: Path) -> None:
    video, numbers = tmp_path / "small.mp4", tmp_path / "numbers.json"
    clips.encode(video, replace(clips.CLIPS["h264"], size=(192, 160), encoded=70))
    command = [*BENCH, str(video), "--repeat", "1", "--launches", "1", "--json", str(numbers)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "emulated driver: times mean nothing" in done.stdout
    found = json.loads(numbers.read_text())
    wrong = {(row["job"], row["library"]): row["wrong"] for row in found["jobs"]}
    for job in ("Uniform(32)", "Clips(4, 16, step=4)", "every frame, batches(64)"):
        assert wrong[job, "frametap"] == 0
        assert wrong[job, "raw NVDEC"] is None
    assert len(found["kernels"]) == 3


def test_short_sample() -> None:
    done = subprocess.run(
        SHORT_SAMPLE, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nvdec") == 6
    assert done.stdout.count("hybrid") == 3


@pytest.mark.parametrize("command", [BENCH, PROBE])
def test_without_a_gpu_it_says_so_and_fails(command: list[str]) -> None:
    done = subprocess.run(
        command, env=environment(devices="none"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no usable GPU" in done.stderr


@pytest.mark.parametrize("command", [BENCH, PROBE])
def test_where_hardware_is_required_the_emulated_driver_will_not_do(command: list[str]) -> None:
    done = subprocess.run(
        command,
        env={**environment(), "FRAMETAP_REQUIRE_CUDA": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "this is the emulated driver" in done.stderr
