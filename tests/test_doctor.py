"""What `frametap doctor` says of machines that this one is not: drivers made up for the purpose."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from frametap import doctor

# The few driver functions that doctor calls, with the answers of a machine with one H100.
DRIVER = """
#include <cstring>
extern "C" {
int cuInit(unsigned) { return INIT; }
int cuDriverGetVersion(int* version) { *version = 13020; return 0; }
int cuDeviceGetCount(int* count) { *count = COUNT; return 0; }
int cuDeviceGet(int* device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char* name, int size, int) { std::strncpy(name, "NVIDIA H100", size); return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int) { *value = attribute == 75 ? 9 : 0; return 0; }
}
"""


def diagnose(
    folder: Path, *, nvcuvid: bool = True, init: int = 0, count: int = 1
) -> dict[str, Any]:
    """Build the made-up driver, run doctor in a process that finds it, and return the CUDA part."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C++ compiler on Linux")
    source = folder / "driver.cpp"
    source.write_text(DRIVER)
    for name in ["libcuda.so.1", *(["libnvcuvid.so.1"] if nvcuvid else [])]:
        flags = ["-shared", "-fPIC", f"-DINIT={init}", f"-DCOUNT={count}", "-o", str(folder / name)]
        subprocess.run([compiler, str(source), *flags], check=True)
    command = [sys.executable, "-m", "frametap", "doctor", "--json"]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    cuda: dict[str, Any] = json.loads(printed.stdout)["cuda"]
    return cuda


def test_a_machine_with_a_gpu(tmp_path: Path) -> None:
    cuda = diagnose(tmp_path)
    assert cuda["driver"] == "13.2"
    assert cuda["devices"] == ["NVIDIA H100, compute capability 9.0"]
    assert cuda["nvdec"]
    assert not cuda["usable"]
    assert "the NVIDIA driver is too old" in cuda["why"]  # this one has six functions


def test_a_driver_that_does_not_start(tmp_path: Path) -> None:
    cuda = diagnose(tmp_path, init=999)
    assert (cuda["driver"], cuda["usable"]) == (None, False)
    assert "cuInit failed with error 999" in cuda["why"]


def test_no_visible_gpu(tmp_path: Path) -> None:
    cuda = diagnose(tmp_path, count=0)
    assert (cuda["driver"], cuda["devices"]) == ("13.2", [])
    assert "CUDA_VISIBLE_DEVICES" in cuda["why"]


def test_a_container_without_the_video_part(tmp_path: Path) -> None:
    if doctor.cuda_state().nvdec:
        pytest.skip("this machine has a libnvcuvid of its own")
    cuda = diagnose(tmp_path, nvcuvid=False)
    assert (cuda["driver"], cuda["nvdec"]) == ("13.2", False)
    assert "NVIDIA_DRIVER_CAPABILITIES" in cuda["why"]
