"""Every entry point that the extension opens, made to fail: what is said of it, what it leaves behind, what comes next."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import frametap as ft
from frametap import _core
from frametap.engines.device_array import DeviceArray
from gpu.driver import Gpu, Library, forget

pytestmark = pytest.mark.emulated

SMALL = ft.Transform(size=(40, 56))
CUDA_ERROR_UNKNOWN = 999


def sample_all(path: Path, **options: object) -> list[ft.FrameBatch]:
    return [ft.sample(path, ft.Every(1), SMALL, device="cuda", **options)]


def sample_twice_the_same(path: Path) -> list[ft.FrameBatch]:
    return [ft.sample(path, ft.Indices([3, 3, 9, 3, 9, 9, 9, 9, 9]), SMALL, device="cuda")]


def read_batches(path: Path) -> list[ft.FrameBatch]:
    with ft.open(path, device="cuda", transform=SMALL) as video:
        return list(video.batches(4))


class Out:
    """The caller's own tensor."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.array = DeviceArray.empty(_core.CudaDevice.get(0), shape, np.dtype("uint8"), 0)
        self.__cuda_array_interface__ = {
            "shape": shape, "typestr": "|u1", "data": (self.array.address, False), "version": 3,
        }  # fmt: skip


def sample_into(path: Path) -> list[ft.FrameBatch]:
    return sample_all(path, out=Out((48, 3, 40, 56)))


def sample_both_sizes(path: Path) -> list[ft.FrameBatch]:
    return [ft.sample(path, ft.Indices([n]), SMALL, device="cuda") for n in (1, 20)]


# What is done, and with which clip. Between them they call every entry point.
WORK: dict[str, tuple[str, Callable[[Path], list[ft.FrameBatch]]]] = {
    "sample": ("h264", sample_all),
    "duplicates": ("h264", sample_twice_the_same),
    "batches": ("h264_one_gop", read_batches),
    "out": ("h264", sample_into),
    "hybrid": ("h264_10bit", sample_all),
    "reconfigure": ("resized", sample_both_sizes),
}
# Where an entry point is made to fail, if not in "sample".
ELSEWHERE = {
    "cuMemHostAlloc": "hybrid", "cuMemFreeHost": "hybrid", "cuMemcpyHtoDAsync": "hybrid", "cuEventSynchronize": "hybrid",
    "cuMemcpyDtoDAsync": "duplicates", "cuPointerGetAttribute": "out", "cuvidReconfigureDecoder": "reconfigure",
    "cuMemAllocAsync": "batches", "cuStreamWaitEvent": "batches",
}  # fmt: skip
# The first is called once in a process, the others only where another call failed: see below.
APART = {"cuInit", "cuGetErrorName", "cuGetErrorString"}
# What gives something back. Mostly at the end of something, where nobody is left to tell.
CLEANUP = re.compile("Destroy|Free|Unload|Release|Pop|Synchronize")


def opened() -> list[str]:
    """The entry points that the extension looks up in the driver."""
    source = Path(__file__).resolve().parents[2] / "csrc" / "nvdec" / "driver.h"
    return re.findall(r"X\((cu\w+)\)", source.read_text())


def images(driver: Gpu, batches: list[ft.FrameBatch]) -> list[np.ndarray]:
    return [driver.host(batch) for batch in batches]


def assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("fresh_pool")
@pytest.mark.parametrize("entry", sorted(set(opened()) - APART))
def test_any_call_may_fail(videos: Library, driver: Gpu, entry: str) -> None:
    """The error names call and code, or nothing was lost; nothing is left behind, and the next sample works."""
    emulator = driver.emulator
    assert emulator is not None
    clip, work = WORK[ELSEWHERE.get(entry, "sample")]
    before, alive = emulator[f"calls.{entry}"], emulator.alive()
    expected = images(driver, work(videos[clip]))
    forget()
    calls = emulator[f"calls.{entry}"] - before
    assert calls > 0
    for call in (n for n in (1, 2, 7) if n <= calls):
        before, batches, message = emulator[f"calls.{entry}"], [], ""
        with emulator.fault(entry, CUDA_ERROR_UNKNOWN, call):
            try:
                batches = work(videos[clip])
            except ft.DeviceError as error:
                message = str(error)
            failed = emulator[f"calls.{entry}"] - before >= call
            if not failed:
                forget()  # what is called at the end
        if message:
            assert failed
            assert entry in message
            assert "999" in message
            # What fails before the video comes into it is the machine's.
            assert videos[clip].name in message or message.startswith('device="cuda":')
        else:
            # A destructor makes a context current too; there it is tried again.
            assert not failed or CLEANUP.search(entry) or entry == "cuCtxPushCurrent"
            assert_same(images(driver, batches), expected)
        del batches
        forget()
        assert emulator.alive() == alive
        assert_same(images(driver, work(videos[clip])), expected)
        forget()


@pytest.mark.parametrize("entry", ["cuGetErrorName", "cuGetErrorString"])
def test_words_for_an_error_may_be_missing(videos: Library, driver: Gpu, entry: str) -> None:
    assert driver.emulator is not None
    driver.emulator.set(faults=f"cuLaunchKernel:{CUDA_ERROR_UNKNOWN}@1,{entry}:1@1")
    try:
        with pytest.raises(ft.DeviceError, match=r"cuLaunchKernel failed: .*\(999\)"):
            sample_all(videos["h264"])
    finally:
        driver.emulator.set(faults="")
    assert len(sample_all(videos["h264"])[0]) == 48


# What a process calls first, before anything of ours is there.
AT_START = [
    "cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDevicePrimaryCtxRetain", "cuModuleLoadData",
    "cuModuleGetFunction",
]  # fmt: skip


@pytest.mark.parametrize("entry", AT_START)
def test_a_call_at_the_start_may_fail(videos: Library, entry: str) -> None:
    code = (
        "import sys, frametap as ft\n"
        "try:\n"
        "    ft.sample(sys.argv[1], ft.Uniform(2), device='cuda')\n"
        "except ft.DeviceError as error:\n"
        "    print(error)\n"
        "print(len(ft.sample(sys.argv[1], ft.Uniform(2), device='cuda')))\n"
    )
    command = [sys.executable, "-c", code, str(videos["h264"])]
    settings = {"FRAMETAP_EMU_FAULTS": f"{entry}:{CUDA_ERROR_UNKNOWN}@1"}
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert entry in done.stdout
    assert "999" in done.stdout
    assert done.stdout.endswith("2\n")
