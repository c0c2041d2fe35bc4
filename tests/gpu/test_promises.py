"""What the emulated driver counts: what is decoded, mapped, copied, left alive; and what failures lead to that are no bugs."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import frametap as ft
from frametap import _core
from frametap.engines.nvdec import _with_reason
from gpu.driver import Gpu, Library, forget

pytestmark = pytest.mark.emulated

SMALL = ft.Transform(size=(40, 56))
CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_OUT_OF_MEMORY = 1, 2
CUDA_ERROR_UNKNOWN, CUDA_ERROR_ILLEGAL_ADDRESS = 999, 700

Counters = dict[str, int]


@pytest.fixture
def count(driver: Gpu) -> Callable[[Callable[[], object]], Counters]:
    """Run something and return by how much each counter rose."""

    def run(work: Callable[[], object]) -> Counters:
        assert driver.emulator is not None
        before = dict(driver.emulator)
        work()
        return {name: value - before.get(name, 0) for name, value in driver.emulator.items()}

    return run


def sample(path: Path, frames: list[int]) -> ft.FrameBatch:
    return ft.sample(path, ft.Indices(frames), SMALL, device="cuda")


@pytest.mark.parametrize("name", ["h264", "hevc", "vp9", "mpeg4"])
def test_only_what_is_wanted_is_mapped_and_nothing_comes_back(
    videos: Library, count: Callable[..., Counters], name: str
) -> None:
    frames = [40, 3, 3, 17, 40, 5]
    sample(videos[name], frames)  # filter tables are uploaded once per geometry
    with ft.open(videos[name], device="cpu") as video:
        plan = video.plan(ft.Indices(frames))
    rose = count(lambda: sample(videos[name], frames))
    assert rose["nvcuvid.maps"] == rose["nvcuvid.unmaps"] == len(set(frames))
    assert rose["nvcuvid.decodes"] == plan.packets
    assert rose.get("bytes.DtoH", 0) == 0
    assert rose.get("bytes.HtoD", 0) == 0
    assert rose["launches"] == 2 * len(set(frames))


def test_hybrid_uploads_the_wanted_planes_alone(
    videos: Library, count: Callable[..., Counters]
) -> None:
    sample(videos["h264_10bit"], [1, 2, 9])
    rose = count(lambda: sample(videos["h264_10bit"], [1, 2, 9]))
    width, height = 192, 160
    rows = [512] * height + [256] * (
        height // 2
    ) * 2  # 10 bits take two bytes; pitches are multiples of 256
    assert width * 2 <= 512
    assert rose["bytes.HtoD"] == 3 * sum(rows)
    assert rose.get("bytes.DtoH", 0) == 0
    assert rose.get("nvcuvid.decodes", 0) == 0


def test_decoders_are_pooled(videos: Library, count: Callable[..., Counters]) -> None:
    sample(videos["h264_one_gop"], [1, 30])  # one run, so one decoder
    rose = count(lambda: [sample(videos["h264_one_gop"], [2, 40]) for _ in range(5)])
    assert rose.get("calls.cuvidCreateDecoder", 0) == 0


@pytest.mark.usefixtures("fresh_pool")
def test_a_smaller_size_reconfigures(videos: Library, count: Callable[..., Counters]) -> None:
    sample(videos["resized"], [1])
    rose = count(lambda: sample(videos["resized"], [20]))
    assert rose.get("calls.cuvidCreateDecoder", 0) == 0
    assert rose["calls.cuvidReconfigureDecoder"] == 1


def test_nothing_stays_alive(videos: Library, driver: Gpu) -> None:
    emulator = driver.emulator
    assert emulator is not None
    forget()
    before = emulator.alive()  # what other tests left, such as a batch in a traceback
    for _ in range(200):
        with ft.open(videos["h264"], device="cuda", transform=SMALL) as video:
            assert len(video.sample(ft.Uniform(3))) == 3
            next(iter(video.batches(2)))
    # A decoder for each engine at the most is kept for the next reader.
    assert emulator["live.decoders"] <= 7
    forget()
    assert emulator.alive() == before


def test_eight_threads(videos: Library, driver: Gpu) -> None:
    names = ["h264", "hevc", "vp9", "av1", "h264", "mpeg4", "hevc_10bit", "h264_one_gop"]
    expected = {
        name: ft.sample(videos[name], ft.Uniform(6), SMALL, device="cpu") for name in set(names)
    }
    problems: list[str] = []

    def work(name: str) -> None:
        for _ in range(3):
            batch = ft.sample(videos[name], ft.Uniform(6), SMALL, device="cuda")
            if not np.array_equal(driver.host(batch), expected[name].numpy()):
                problems.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


@pytest.mark.parametrize(
    "made",
    [
        "DeviceMemory(device, 256, 0)",
        "CudaStream(device)",
        "CudaConvertStream(device)",
        "PlaneUploader(device)",
        "NvdecSession(device, 'vp9', b'')",
        "CudaConverter(device, tables)",
    ],
)
def test_objects_are_made_in_many_threads(made: str) -> None:
    """pybind11 keeps a table of all objects that only the GIL guards: making one must not let go of it too long."""
    code = (
        "import sys, threading\n"
        "from dataclasses import asdict\n"
        "from frametap._core import *\n"
        "from emulator_kernels import JOB\n"
        "sys.setswitchinterval(1e-6)\n"
        "device, tables = CudaDevice.get(0), CudaTables(**asdict(JOB))\n"
        "def make():\n"
        f"    for _ in range(1000): {made}\n"
        "threads = [threading.Thread(target=make) for _ in range(4)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr)


@pytest.mark.parametrize(
    "code",
    [
        "for path in sys.argv[1:]: ft.sample(path, ft.Uniform(4), ft.Transform(size=32), device='cuda')",
        "assert ft.doctor.cuda_state().usable",
        "try: ft.open('/nowhere.mp4', device='cuda')\nexcept ft.SourceError: pass",
    ],
    ids=["samples", "looks at the machine", "finds no video"],
)
def test_a_closed_process_leaks_nothing(videos: Library, tmp_path: Path, code: str) -> None:
    """The emulator reports what is alive when the process ends; a batch that lives to the end is the process's own affair."""
    code = f"import sys, frametap as ft, frametap.doctor\n{code}\n"
    report = tmp_path / "report"
    command = [sys.executable, "-c", code, *map(str, (videos["h264"], videos["av1"]))]
    settings = {"FRAMETAP_EMU_PROFILE": "strict", "FRAMETAP_EMU_REPORT": str(report)}
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "violation" not in report.read_text().lower(), report.read_text()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_is_told(videos: Library) -> None:
    code = (
        "import os, sys, frametap as ft\n"
        "video = ft.open(sys.argv[1], device='cuda')\n"
        "video[0]\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try:\n"
        "        video[0]\n"
        "    except ft.DeviceError as error:\n"
        "        print(error)\n"
        "        print(ft.sample(sys.argv[1], ft.Uniform(1), device='auto').device)\n"
        "    sys.exit()\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "video[1]\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(videos["h264"])],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "forked" in done.stdout
    assert "spawn" in done.stdout
    assert done.stdout.endswith("cpu\n")


@pytest.mark.parametrize("seed", range(1, 9))
def test_what_is_decoded_again_is_written_last(videos: Library, driver: Gpu, seed: int) -> None:
    """Damage may be told at the end of a run, when kernels that write its pictures are still to run."""
    emulator = driver.emulator
    assert emulator is not None
    expected = ft.sample(videos["h264"], ft.Every(1), SMALL, device="cpu").numpy()
    try:
        for damaged in (3, 9, 30):
            emulator.set(seed=0, switches="damaged_picture=-1")
            emulator.set(seed=seed, switches=f"damaged_picture={damaged},damaged_status=8")
            batch = ft.sample(videos["h264"], ft.Every(1), SMALL, device="cuda")
            np.testing.assert_array_equal(driver.host(batch), expected)
            assert "decoded on the CPU" in batch.report.why
    finally:
        emulator.set(switches="damaged_picture=-1")


@pytest.mark.parametrize("engine", ["nvdec", "hybrid"])
def test_nothing_waits_for_the_garbage_collector(videos: Library, driver: Gpu, engine: str) -> None:
    """Which does not see how much memory of a GPU hangs on an object."""
    emulator = driver.emulator
    assert emulator is not None
    forget()
    alive = []
    gc.disable()
    try:
        for _ in range(3):
            ft.sample(videos["h264"], ft.Uniform(5), SMALL, device="cuda", engine=engine)
            with ft.open(videos["h264"], device="cuda", engine=engine, transform=SMALL) as video:
                next(video.batches(3))
            ft.open(videos["h264"], device="cuda", engine=engine)[3]  # and one that nobody closes
            alive.append(emulator.alive())
    finally:
        gc.enable()
    assert alive[1] == alive[2]


@pytest.mark.parametrize("call", [1, 2, 7])
def test_a_picture_that_the_driver_refuses(videos: Library, driver: Gpu, call: int) -> None:
    """CUDA_ERROR_INVALID_VALUE is what parameters of damaged headers lead to: decoded again, but never unseen."""
    emulator = driver.emulator
    assert emulator is not None
    forget()
    before = emulator.alive()
    expected = ft.sample(videos["h264"], ft.Every(1), SMALL, device="cpu").numpy()
    with emulator.fault("cuvidDecodePicture", CUDA_ERROR_INVALID_VALUE, call):
        batch = ft.sample(videos["h264"], ft.Every(1), SMALL, device="cuda")
    np.testing.assert_array_equal(driver.host(batch), expected)
    assert "cuvidDecodePicture failed: CUDA_ERROR_INVALID_VALUE (1)" in batch.report.why
    assert "its part was decoded on the CPU" in batch.report.why
    again = ft.sample(videos["h264"], ft.Every(1), SMALL, device="cuda")
    np.testing.assert_array_equal(driver.host(again), expected)
    assert again.report.why == 'device="cuda" was asked for'
    del batch, again
    forget()
    assert emulator.alive() == before


def test_each_reason_for_decoding_again_is_told(videos: Library, driver: Gpu) -> None:
    emulator = driver.emulator
    assert emulator is not None
    emulator.set(switches="damaged_picture=30,damaged_status=8")
    try:
        with emulator.fault("cuvidDecodePicture", CUDA_ERROR_INVALID_VALUE, 2):
            batch = ft.sample(videos["h264"], ft.Every(1), SMALL, device="cuda")
    finally:
        emulator.set(switches="damaged_picture=-1")
    assert "cuvidDecodePicture failed: CUDA_ERROR_INVALID_VALUE (1)" in batch.report.why
    assert "cuvidGetDecodeStatus reports an error" in batch.report.why


@pytest.mark.usefixtures("fresh_pool")
@pytest.mark.parametrize("code", [CUDA_ERROR_UNKNOWN, CUDA_ERROR_OUT_OF_MEMORY])
def test_only_memory_is_made_by_freeing_idle_decoders(
    videos: Library, driver: Gpu, code: int
) -> None:
    """Where creating a decoder fails beside an idle one of another codec, only want of memory is a reason to try again."""
    assert driver.emulator is not None
    ft.sample(videos["hevc"], ft.Uniform(2), SMALL, device="cuda")
    expected = ft.sample(videos["h264"], ft.Uniform(2), SMALL, device="cpu")
    outcome = (
        contextlib.nullcontext()
        if code == CUDA_ERROR_OUT_OF_MEMORY
        else pytest.raises(ft.DeviceError, match=f"cuvidCreateDecoder.*{code}")
    )
    with driver.emulator.fault("cuvidCreateDecoder", code, 1), outcome:
        batch = ft.sample(videos["h264"], ft.Uniform(2), SMALL, device="cuda")
        np.testing.assert_array_equal(driver.host(batch), expected.numpy())
    assert len(sample(videos["h264"], [1])) == 1


def test_a_lost_device_says_so(videos: Library) -> None:
    code = (
        "import sys, frametap as ft\n"
        "for _ in range(2):\n"
        "    try:\n"
        "        ft.sample(sys.argv[1], ft.Every(1), device='cuda')\n"
        "    except ft.DeviceError as error:\n"
        "        print(error)\n"
    )
    command = [sys.executable, "-c", code, str(videos["h264"])]
    settings = {"FRAMETAP_EMU_FAULTS": f"lost:{CUDA_ERROR_ILLEGAL_ADDRESS}@120"}
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("restart the process") == 2


@pytest.mark.usefixtures("fresh_pool")
def test_a_batch_that_does_not_fit(videos: Library, driver: Gpu) -> None:
    assert driver.emulator is not None
    driver.emulator.set(budget=128 << 20)
    try:
        with pytest.raises(
            ft.DeviceError, match=r"cuMemAllocAsync.*OUT_OF_MEMORY.*fewer or smaller"
        ):
            ft.sample(videos["h264"], ft.Every(1), ft.Transform(size=(1024, 1024)), device="cuda")
    finally:
        driver.emulator.set(budget=1 << 62)
    assert len(sample(videos["h264"], [1])) == 1


def test_a_device_that_cannot_be_used_leaves_nothing(
    driver: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose context somebody else may hold, so that it does not go with it."""
    emulator, context = driver.emulator, ctypes.c_void_p()
    assert emulator is not None
    forget()
    assert driver.lib.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
    before = emulator.alive()
    monkeypatch.setenv("FRAMETAP_NVDEC_MEMORY_MB", "many")
    with pytest.raises(ValueError, match="FRAMETAP_NVDEC_MEMORY_MB must be"):
        _core.CudaDevice.get(0)
    assert emulator.alive() == before
    driver.lib.cuDevicePrimaryCtxRelease_v2(0)


@pytest.mark.parametrize("megabytes", ["0", "many"])
def test_the_memory_limit_of_decoders(videos: Library, megabytes: str) -> None:
    code = "import sys, frametap as ft; ft.sample(sys.argv[1], ft.Uniform(2), device='cuda')"
    command = [sys.executable, "-c", code, str(videos["h264"])]
    settings = {"FRAMETAP_NVDEC_MEMORY_MB": megabytes}
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "FRAMETAP_NVDEC_MEMORY_MB" in done.stderr


def test_a_report_names_the_first_reasons_and_stays_short() -> None:
    why = "asked for"
    for frame in (12, 1, 12, 300, 4, 5):
        why = _with_reason(why, f"NVDEC did not deliver frame {frame}")
    assert why.count("its part was decoded") == 3
    assert "frame 1," in why
    assert why.endswith("frame 300, so its part was decoded on the CPU; and other parts")
