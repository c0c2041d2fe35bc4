"""The same bytes whatever the answers to the open questions about real drivers are, and on every kind of GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import frametap as ft
from emulator_control import environment
from gpu.axes import SWITCHES
from gpu.driver import Gpu, Library

pytestmark = pytest.mark.emulated

Check = Callable[..., ft.FrameBatch]
TESTS = Path(__file__).resolve().parents[1]
SMALL = ft.Transform(size=(56, 72))
# All defaults, and each other value of a switch that the engine can notice.
SETTINGS = [("rasl", "drop")]
SETTINGS += [(name, value) for name, values in SWITCHES.items() for value in values[1:]]


@pytest.fixture
def switch(driver: Gpu) -> Iterator[Callable[[str, str], None]]:
    assert driver.emulator is not None
    driver.emulator.set(seed=7)
    yield driver.emulator.switch
    driver.emulator.set(switches="")


@pytest.mark.usefixtures("fresh_pool")
@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_open_questions(
    check: Check, videos: Library, switch: Callable[[str, str], None], name: str, value: str
) -> None:
    switch(name, value)
    for clip in ("h264_pyramid", "hevc_open_gop", "vp9", "resized"):
        batch = check(videos[clip], ft.Indices([20, 3, 3, 17, 0, 23]), SMALL)
        too_small = (name, value) == ("min_size", "200")
        assert batch.report.engine == ("hybrid" if too_small else "nvdec")
        assert too_small or batch.report.why == 'device="cuda" was asked for'
        check(videos[clip], ft.Every(1), SMALL)


@pytest.mark.usefixtures("fresh_pool")
def test_a_driver_that_does_not_say_how_many_surfaces(
    check: Check, corpus: Path, switch: Callable[[str, str], None]
) -> None:
    """A stream that leaves the number of waiting pictures to its level needs most."""
    switch("min_surfaces", "0")
    check(corpus / "conformance/h264-jvt/fuzzing-corpus__HCBP2_HHI_A.264", ft.Every(1), SMALL)


@pytest.mark.parametrize("in_progress", [0, 3])
@pytest.mark.parametrize("status", [8, 9])
def test_damage_that_the_driver_reports(videos: Library, status: int, in_progress: int) -> None:
    """The part of the video that it is in is decoded on the CPU: the bytes stay the same. Sooner or later it is reported."""
    code = """
import sys, numpy as np, frametap as ft
from gpu.driver import Gpu
driver, small = Gpu(), ft.Transform(size=48)
for sampler in (ft.Every(5), ft.Uniform(3)):
    expected = ft.sample(sys.argv[1], sampler, small, device="cpu")
    batch = ft.sample(sys.argv[1], sampler, small, device="cuda")
    np.testing.assert_array_equal(driver.host(batch), expected.numpy())
    print(batch.report.why)
assert driver.emulator.violations() == []
"""
    damage = f"damaged_picture=9,damaged_status={status},in_progress={in_progress}"
    done = run(code, [videos["h264_one_gop"]], switches=damage)
    first, second = done.splitlines()
    assert "decoded on the CPU" in first
    assert "decoded on the CPU" not in second


def test_damage_in_a_stream_of_batches(videos: Library) -> None:
    """What is not handed on yet when the driver reports it is decoded on the CPU."""
    code = """
import sys, numpy as np, frametap as ft
from gpu.driver import Gpu
driver, small = Gpu(), ft.Transform(size=48)
expected = ft.sample(sys.argv[1], ft.Every(1), small, device="cpu").numpy()
with ft.open(sys.argv[1], device="cuda", transform=small) as video:
    batches = list(video.batches(4))
for batch in batches:
    np.testing.assert_array_equal(driver.host(batch), expected[batch.indices])
print(*(batch.report.why for batch in batches))
"""
    said = run(code, [videos["h264_one_gop"]], switches="damaged_picture=40,damaged_status=8")
    assert "decoded on the CPU" in said


def run(code: str, paths: list[Path], **settings: object) -> str:
    """Run code in a process of its own on an emulator set so, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)],
        env={**environment(**{"profile": "strict", **settings}), "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_engine_serves_nested_readers(videos: Library) -> None:
    """While a stream of batches waits for its consumer, the consumer may decode something else."""
    code = """
import sys, frametap as ft
small = ft.Transform(size=32)
with ft.open(sys.argv[1], device="cuda", transform=small) as video:
    for batch in video.batches(2):
        inner = ft.open(sys.argv[2], device="cuda", transform=small)
        assert batch.report.engine == inner.sample(ft.Uniform(3)).report.engine == "nvdec"
        unfinished = inner.batches(1)
        next(unfinished)
print("done")
"""
    paths = [videos["h264_one_gop"], videos["hevc"]]
    assert run(code, paths, devices="tiny", seed=3) == "done\n"


def test_a_forked_child_does_not_wait_for_an_engine(videos: Library) -> None:
    """Which another thread of the parent has, and nobody in the child will give back."""
    code = """
import os, signal, sys, threading, frametap as ft
from gpu.driver import Gpu
driver, small = Gpu(), ft.Transform(size=32)
batches = ft.open(sys.argv[1], device="cuda", transform=small).batches(2)
next(batches)
before = driver.emulator["nvcuvid.decodes"]
driver.emulator.set(switches="decode_microseconds=50000")
other = threading.Thread(target=lambda: ft.sample(sys.argv[2], ft.Every(1), small, device="cuda"))
other.start()
while driver.emulator["nvcuvid.decodes"] == before:
    pass
child = os.fork()
if child == 0:
    signal.alarm(20)
    try:
        next(batches)
    except ft.DeviceError as error:
        os._exit(0 if "spawn" in str(error) else 1)
    os._exit(2)
print(os.waitpid(child, 0)[1])
driver.emulator.set(switches="decode_microseconds=0")
other.join()
"""
    assert run(code, [videos["h264_one_gop"], videos["hevc"]], devices="tiny") == "0\n"


def test_paused_decoders_count_into_the_memory_limit(
    videos: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import sys, frametap as ft
small, unfinished = ft.Transform(size=32), []
try:
    for _ in range(9):
        unfinished.append(ft.open(sys.argv[1], device="cuda", transform=small).batches(2))
        next(unfinished[-1])
except ft.DeviceError as error:
    print(len(unfinished), error)
unfinished[0].close()
print(next(ft.open(sys.argv[1], device="cuda", transform=small).batches(2)).report.engine)
"""
    monkeypatch.setenv("FRAMETAP_NVDEC_MEMORY_MB", "2")
    said = run(code, [videos["h264_one_gop"]])
    assert "unfinished batches() leave too little" in said
    assert said.endswith("nvdec\n")


@pytest.mark.parametrize("call", [1, 2, 7])
def test_pynvvideocodec_and_a_picture_that_the_driver_refuses(videos: Library, call: int) -> None:
    pytest.importorskip("PyNvVideoCodec")
    code = f"""
import sys, numpy as np, frametap as ft
from gpu.driver import Gpu
driver, small = Gpu(), ft.Transform(size=32)
def sample(**options): return ft.sample(sys.argv[1], ft.Every(1), small, **options)
expected = sample(device="cpu").numpy()
with driver.emulator.fault("cuvidDecodePicture", 1, {call}):
    batch = sample(device="cuda", engine="pynvvideocodec")
np.testing.assert_array_equal(driver.host(batch), expected)
print(batch.report.why)
again = sample(device="cuda", engine="pynvvideocodec")
np.testing.assert_array_equal(driver.host(again), expected)
assert "on the CPU" not in again.report.why
"""
    said = run(code, [videos["h264"]], profile="driver")
    assert "cuvidDecodePicture(m_hDecoder, pPicParams) returned error 1" in said
    assert "its part was decoded on the CPU" in said


def test_pynvvideocodec_leaves_nothing_to_the_garbage_collector(videos: Library) -> None:
    pytest.importorskip("PyNvVideoCodec")
    code = """
import gc, sys, frametap as ft
from gpu.driver import Gpu
driver, alive = Gpu(), []
gc.disable()
for _ in range(4):
    ft.sample(sys.argv[1], ft.Uniform(5), ft.Transform(size=32), device="cuda", engine="pynvvideocodec")
    alive.append(driver.emulator.alive())
print(alive[2] == alive[3], alive)
"""
    assert run(code, [videos["h264"]], profile="driver").startswith("True")


def test_one_decoder_goes_from_video_to_video(videos: Library) -> None:
    """Whoever waits for the only engine finds the decoder that had it: making one takes longer than a short clip."""
    code = """
import sys, frametap as ft
from gpu.driver import Gpu
driver, small = Gpu(), ft.Transform(size=32)
with ft.sample_many([sys.argv[1]] * 24, ft.Uniform(3), small, device="cuda", workers=3) as batches:
    assert all(batch.report.engine == "nvdec" for batch in batches)
print(driver.emulator["calls.cuvidCreateDecoder"], driver.emulator["calls.cuvidDestroyDecoder"])
"""
    assert run(code, [videos["h264"]], devices="tiny") == "1 0\n"


@pytest.mark.parametrize("profile", ["t4", "a10", "l4", "h100", "b200", "tiny"])
def test_gpus(videos: Library, profile: str) -> None:
    code = """
import json, sys, numpy as np, frametap as ft
from gpu.driver import Gpu
driver, small, engines = Gpu(), ft.Transform(size=48), {}
for path in sys.argv[1:]:
    expected = ft.sample(path, ft.Uniform(5), small, device="cpu")
    batch = ft.sample(path, ft.Uniform(5), small, device="cuda")
    np.testing.assert_array_equal(driver.host(batch), expected.numpy())
    engines[path.rpartition("/")[2].partition(".")[0]] = batch.report.engine
assert driver.emulator.violations() == []
print(json.dumps(engines))
"""
    names = ("h264", "hevc", "vp9", "av1", "h264_10bit", "hevc_12bit_444", "mpeg4")
    engines = json.loads(run(code, [videos[name] for name in names], devices=profile))
    assert engines["h264"] == engines["hevc"] == engines["vp9"] == "nvdec"
    assert engines["av1"] == ("nvdec" if profile in ("a10", "l4", "b200") else "hybrid")
    assert engines["h264_10bit"] == ("nvdec" if profile == "b200" else "hybrid")


def test_av1_changes_its_size_between_keyframes(corpus: Path) -> None:
    """A new decoder would lack the references, so the rest is decoded on the CPU."""
    code = """
import sys, numpy as np, frametap as ft
from gpu.driver import Gpu
driver, small = Gpu(), ft.Transform(size=48)
for path in sys.argv[1:]:
    expected = ft.sample(path, ft.Every(1), small, device="cpu")
    batch = ft.sample(path, ft.Every(1), small, device="cuda")
    np.testing.assert_array_equal(driver.host(batch), expected.numpy())
    print(batch.report.why)
assert driver.emulator.violations() == []
"""
    names = ("edge/fate-suite__switch_frame.mp4", "conformance/av1-dav1d/rav1d__00001133.ivf")
    said = run(code, [corpus / name for name in names], devices="b200", switches="min_size=0")
    assert said.count("the pictures change their size where others refer to them") == len(names)


@pytest.mark.usefixtures("fresh_pool")
def test_a_driver_that_waits_for_an_idr_picture(
    check: Check, videos: Library, switch: Callable[[str, str], None]
) -> None:
    """Nothing comes out of an open GOP there, so it is decoded on the CPU."""
    switch("h264_start", "idr")
    wanted = ft.Indices([20, 40])
    batch = check(videos["h264_open_gop"], wanted, SMALL)
    assert "NVDEC did not deliver frame" in batch.report.why
    switch("h264_start", "any")
    assert "decoded on the CPU" not in check(videos["h264_open_gop"], wanted, SMALL).report.why


@pytest.mark.usefixtures("fresh_pool")
@pytest.mark.parametrize("multiple", ["1", "2", "8", "16", "64"])
def test_odd_pictures_whatever_their_coded_size(
    check: Check, corpus: Path, switch: Callable[[str, str], None], multiple: str
) -> None:
    switch("vp9_size_multiple", multiple)
    switch("min_size", "0")
    path = corpus / "edge/torchcodec__testsrc2_odd_width_vp9_10bit.mp4"
    batch = check(path, ft.Indices([0, 5, 9]), SMALL)
    would_scale = "NVDEC's output sizes are even" in batch.report.why
    assert would_scale == (multiple == "1")
