"""The CUDA kernels, run on the CPU, give the bytes of the CPU converter: every format, size, option and pitch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cuda_twin import KERNELS, build_twin, run_batch, run_twin
from frametap import _core
from native import make_planes, run
from reference import Conversion, simple
from test_isa import ANY_FORMAT, jobs, random_planes, repad

# What NVDEC writes (NV12, P016 for any depth above 8, NV16 and P216, YUV444 of 8 and 16 bits), and what is uploaded
# after decoding on the CPU.
SURFACES = [
    "nv12",
    "p010le",
    "p012le",
    "p016le",
    "nv16",
    "p210le",
    "p216le",
    "yuv444p",
    "yuv444p16le",
]
UPLOADS = [
    "yuv420p",
    "yuv420p10le",
    "yuv420p12le",
    "yuv422p10le",
    "yuv444p10le",
    "gray",
    "gbrp",
    "rgb24",
    "bgra",
]
SMALL = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def equals_cpu(planes: list[np.ndarray], job: Conversion) -> None:
    expected, found = run(planes, job), run_twin(planes, job)
    assert found.dtype == expected.dtype
    assert (found.view(np.uint8) == expected.view(np.uint8)).all(), job


@settings(max_examples=300, **SMALL)
@given(job=jobs(st.sampled_from(SURFACES + UPLOADS)), seed=st.integers(0, 99))
def test_twin_equals_cpu(job: Conversion, seed: int) -> None:
    equals_cpu(random_planes(job, seed), job)


@settings(max_examples=100, **SMALL)
@given(job=jobs(ANY_FORMAT), seed=st.integers(0, 99))
def test_twin_equals_cpu_in_every_format(job: Conversion, seed: int) -> None:
    equals_cpu(random_planes(job, seed), job)


@settings(max_examples=100, **SMALL)
@given(job=jobs(st.sampled_from(SURFACES)), extra=st.integers(0, 70), bottom_up=st.booleans())
def test_pitch_and_padding_do_not_matter(job: Conversion, extra: int, bottom_up: bool) -> None:
    """Rows of any pitch, also one that forbids wide loads, with noise after them."""
    planes = [repad(plane, extra) for plane in random_planes(job, extra)]
    if bottom_up:
        planes = [np.ascontiguousarray(plane[::-1])[::-1] for plane in planes]
    equals_cpu(planes, job)


SIZES = {
    "smallest": ((2, 2), (2, 2)),
    "enlarged": ((2, 2), (7, 5)),
    "odd": ((1919, 1079), (224, 224)),
    "hd": ((1920, 1080), (455, 256)),
}


@pytest.mark.parametrize("pixel_format", SURFACES)
@pytest.mark.parametrize("name", SIZES)
def test_sizes(pixel_format: str, name: str) -> None:
    size, grid = SIZES[name]
    planes = make_planes(pixel_format, *size, "random")
    equals_cpu(planes, simple(pixel_format, *size, grid, filter="bicubic"))


@pytest.mark.parametrize("pixel_format", ["nv12", "p016le", "yuv444p"])
def test_8k(pixel_format: str) -> None:
    planes = make_planes(pixel_format, 7680, 4320, "random")
    equals_cpu(planes, simple(pixel_format, 7680, 4320, (448, 252), filter="bicubic"))


def test_unscaled_8k() -> None:
    planes = make_planes("nv12", 7680, 4320, "random")
    equals_cpu(planes, simple("nv12", 7680, 4320))


@settings(max_examples=40, **SMALL)
@given(job=jobs(st.sampled_from(SURFACES + UPLOADS)), count=st.integers(1, 32))
def test_many_pictures_in_one_launch(job: Conversion, count: int) -> None:
    pictures = [random_planes(job, seed) for seed in range(count)]
    for planes, found in zip(pictures, run_batch(pictures, job), strict=True):
        assert (found.view(np.uint8) == run(planes, job).view(np.uint8)).all(), job


def test_one_launch_takes_what_fits_its_parameters() -> None:
    job = simple("nv12", 8, 8)
    planes = make_planes("nv12", 8, 8, "random")
    with pytest.raises(ValueError, match="1 to 32 pictures, got 33"):
        run_batch([planes] * 33, job)
    with pytest.raises(ValueError, match="pitches"):
        run_batch([planes, [repad(plane, 50) for plane in planes]], job)


def aligned(plane: np.ndarray) -> np.ndarray:
    """A copy in rows that start at 16 bytes, as surfaces and staging memory have them; the rest is noise."""
    pitch = -(-plane.nbytes // plane.shape[0] // 16) * 16
    store = np.full(plane.shape[0] * pitch + 16, 0xEE, np.uint8)
    begin = -store.ctypes.data % 16
    rows = store[begin : begin + plane.shape[0] * pitch].view(plane.dtype)
    rows = rows.reshape(plane.shape[0], -1)[:, : plane.shape[1]]
    rows[:] = plane
    return rows


@settings(max_examples=300, **SMALL)
@given(job=jobs(st.sampled_from(SURFACES + UPLOADS)), seed=st.integers(0, 99))
def test_wide_loads_equal_cpu(job: Conversion, seed: int) -> None:
    equals_cpu([aligned(plane) for plane in random_planes(job, seed)], job)


@pytest.mark.parametrize("pixel_format", SURFACES)
def test_poison_beside_the_picture_is_not_used(pixel_format: str) -> None:
    """A surface larger than the picture, as NVDEC's are: what lies right and below changes nothing."""
    job = simple(pixel_format, 90, 50, (61, 43), filter="lanczos", dtype="float16")
    planes = make_planes(pixel_format, 90, 50, "random")
    results = []
    for poison in (0x00, 0xFF):
        surfaces = []
        for plane in planes:
            surface = np.full((plane.shape[0] + 9, 512), poison, np.uint8).view(plane.dtype)
            surface[: plane.shape[0], : plane.shape[1]] = plane
            surfaces.append(surface)
        results.append(run_twin(surfaces, job))
    assert (results[0] == results[1]).all()
    assert (results[0] == run(planes, job)).all()


def test_nothing_outside_the_buffers_is_touched() -> None:
    """Planes, tables, scratch and output between unreadable pages: one byte too far would be a crash."""
    script = Path(__file__).with_name("guarded_twin.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        f"exit {done.returncode}\n{done.stdout[-500:]}\n{done.stderr[-2000:]}"
    )
    assert "everything within bounds" in done.stdout


def test_twin_has_the_kernels_of_the_fatbin() -> None:
    """A kernel that is only in one of them would never be compared."""
    exported = subprocess.run(
        ["nm", "-D", "--defined-only", build_twin()], capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[-1] for line in exported.splitlines() if "_on_host" in line} == {
        f"{kernel}_on_host" for kernel in KERNELS
    }
    fatbin = _core.cuda_fatbin()
    if not fatbin:
        pytest.skip("built without nvcc")
    for kernel in KERNELS:
        assert kernel.encode() in fatbin
