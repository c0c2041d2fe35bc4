"""What nvcc makes of the CUDA kernels, for every architecture: no spills, enough threads at once, wide loads."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cuda_twin import KERNELS, ROOT, twin

SOURCE = ROOT / "csrc" / "kernels" / "kernels_cuda.cu"
REGISTERS_OF_AN_SM, THREADS_OF_AN_SM, BLOCK = 65536, 2048, 256  # sm_90 (and sm_80, sm_100)


def find_nvcc() -> str | None:
    """The machine's own, else the one of the wheel that builds use."""
    if found := shutil.which("nvcc"):
        return found
    try:
        import nvidia
    except ImportError:
        return None
    wheels = (Path(folder).glob("cu1*/bin/nvcc") for folder in nvidia.__path__)
    return next((str(nvcc) for found in wheels for nvcc in found), None)


def architectures() -> list[str]:
    """Those that every build compiles for."""
    text = (ROOT / "cmake" / "cuda_fatbin.cmake").read_text()
    found = re.search(r"set\(FRAMETAP_CUDA_ARCHITECTURES ([\d ]+)", text)
    assert found
    return found[1].split()


def nvcc(*arguments: str) -> str:
    """Output of nvcc over the kernels, with the options of the build."""
    command = find_nvcc()
    if command is None:
        pytest.skip("no nvcc")
    options = ["-std=c++17", "-O3", "-fmad=false", "-I", str(ROOT / "csrc"), str(SOURCE)]
    done = subprocess.run(
        [command, *options, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def ptx(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ptx") / "kernels.ptx"
    nvcc("-ptx", "-arch=compute_90", "-o", str(path))
    return path.read_text()


def test_registers_of_every_architecture(tmp_path: Path) -> None:
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures()]
    verbose = nvcc("-fatbin", "-Xptxas", "-v", *targets, "-o", str(tmp_path / "kernels.fatbin"))
    told = re.findall(
        r"entry function '(\w+)' for 'sm_(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads.*?Used (\d+) registers",
        verbose,
        re.DOTALL,
    )
    assert {(kernel, arch) for kernel, arch, *_ in told} == {
        (kernel, arch) for kernel in KERNELS for arch in architectures()
    }
    for kernel, arch, stack, stores, loads, registers in told:
        what = f"{kernel} on sm_{arch}: {registers} registers"
        assert (stack, stores, loads) == ("0", "0", "0"), what
        blocks = REGISTERS_OF_AN_SM // (-(-int(registers) // 8) * 8 * BLOCK)
        assert blocks * BLOCK >= THREADS_OF_AN_SM / 2, what


def test_no_local_memory(ptx: str) -> None:
    assert not re.search(r"\.local|ld\.local|st\.local", ptx)


def test_vertical_pass_loads_and_stores_16_bytes(ptx: str) -> None:
    """One load per sample type and unrolled row; the stores are those of the Q6 rows."""
    vertical = ptx[ptx.index(".entry frametap_vertical") :].split(".entry")[1]
    assert len(re.findall(r"ld\.global(\.nc)?\.v4\.(u|b)32", vertical)) >= 3 * 4
    assert len(re.findall(r"st\.global\.v4\.(u|b)32", vertical)) >= 4


@pytest.mark.parametrize("kernel", KERNELS)
def test_nvcc_and_gcc_agree_on_the_parameters(ptx: str, kernel: str) -> None:
    declared = re.search(rf"\.param \.align 8 \.b8 {kernel}_param_0\[(\d+)\]", ptx)
    assert declared
    assert int(declared[1]) == ctypes.c_uint32.in_dll(twin(), f"{kernel}_param_bytes").value
