"""What this machine can do: versions, instruction set, decoders, CUDA. Looks, never changes anything.

Example:
    >>> from frametap import doctor
    >>> diagnosis = doctor.diagnose()
    >>> "libavcodec" in diagnosis.ffmpeg
    True
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import av

from frametap import _core
from frametap.engines.select import cuda_problem

# Codec name -> decoders in the order FFmpeg would pick them; the first that this build has is the one in use.
_DECODERS = {
    "h264": ("h264",),
    "hevc": ("hevc",),
    "av1": ("libdav1d", "libaom-av1", "av1"),
    "vp9": ("vp9",),
    "vp8": ("vp8",),
    "mpeg4": ("mpeg4",),
    "mpeg2video": ("mpeg2video",),
    "prores": ("prores",),
    "mjpeg": ("mjpeg",),
}
_PACKAGES = (
    "numpy",
    "av",
    "torch",
    "cupy-cuda13x",
    "PyNvVideoCodec",
    "ray",
    "fsspec",
    "typer",
    "rich",
    "pillow",
)

_ATTRIBUTE_COMPUTE_MAJOR = 75  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
_ATTRIBUTE_COMPUTE_MINOR = 76


@dataclass(frozen=True, slots=True)
class CudaState:
    """How far CUDA gets on this machine.

    Attributes:
        driver: CUDA version of the driver ("13.0"), or None when there is no working libcuda.so.1.
        devices: one line per GPU, "NVIDIA H100 80GB HBM3, compute capability 9.0".
        nvdec: whether libnvcuvid.so.1, the decoder part of the driver, can be loaded.
        nvdec_codecs: one line per codec that NVDEC of the first GPU decodes.
        kernel_bytes: size of the conversion kernels built into this frametap; 0 when it was built without nvcc.
        usable: whether `device="cuda"` works.
        why: what is missing and what to do about it; empty when usable.
    """

    driver: str | None
    devices: tuple[str, ...]
    nvdec: bool
    nvdec_codecs: tuple[str, ...]
    kernel_bytes: int
    usable: bool
    why: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that `frametap doctor` prints; `dataclasses.asdict` makes it JSON.

    Attributes:
        frametap: version of this package.
        python: version of the interpreter, and of what machine it is built for.
        cpu: model name of the processor.
        cpu_threads: logical cores this process may run on.
        cpu_isa: instruction set of the conversion code in use: "base", "avx2", "avx512", ...
        ffmpeg: library name -> version, of the FFmpeg inside PyAV.
        decoders: codec -> name of the CPU decoder, None when this FFmpeg cannot decode it.
        packages: distribution -> version, None when not installed.
        cuda: see CudaState.
    """

    frametap: str
    python: str
    cpu: str
    cpu_threads: int
    cpu_isa: str
    ffmpeg: dict[str, str]
    decoders: dict[str, str | None]
    packages: dict[str, str | None]
    cuda: CudaState


def diagnose() -> Diagnosis:
    """Look at this machine and this installation. Takes milliseconds without a GPU, up to a second with one."""
    return Diagnosis(
        frametap=_core.__version__,
        python=f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        cpu=_cpu_model(),
        cpu_threads=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        cpu_isa=_core.cpu_isa(),
        ffmpeg={
            name: ".".join(map(str, version))
            for name, version in sorted(av.library_versions.items())
        },
        decoders={codec: _decoder(names) for codec, names in _DECODERS.items()},
        packages={name: _version(name) for name in _PACKAGES},
        cuda=cuda_state(),
    )


def cuda_state() -> CudaState:
    """Find the NVIDIA driver, its GPUs and NVDEC by loading the libraries as the engine would."""
    kernel_bytes = len(_core.cuda_fatbin())
    driver, devices, problem = _driver()
    nvdec = driver is not None and _load("libnvcuvid.so.1") is not None
    if not problem and not nvdec:
        problem = (
            "the driver is there but libnvcuvid.so.1 is not; in a container set "
            "NVIDIA_DRIVER_CAPABILITIES=compute,video,utility"
        )
    problem = problem or cuda_problem()
    codecs = () if problem else tuple(_nvdec_codecs())
    return CudaState(driver, devices, nvdec, codecs, kernel_bytes, usable=not problem, why=problem)


def _nvdec_codecs() -> Iterator[str]:
    """Yield a line for each codec that NVDEC of the first GPU decodes: bits, largest size, engines."""
    from frametap.engines.nvdec_caps import nvdec_caps

    cuda = _core.CudaDevice.get(0)
    for codec in ("h264", "hevc", "av1", "vp9", "vp8", "mpeg2video", "mpeg4"):
        found = {
            f"{bits}-bit {name}": caps
            for chroma, name in ((1, "4:2:0"), (2, "4:2:2"), (3, "4:4:4"))
            for bits in (8, 10, 12)
            if (caps := nvdec_caps(cuda, codec, chroma, bits))["supported"]
        }
        if found:
            caps = next(iter(found.values()))
            width, height = caps["max_size"]
            yield (
                f"{codec}: {', '.join(found)}, up to {width}x{height}, {caps['engines']} engine(s)"
            )


def _load(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _driver() -> tuple[str | None, tuple[str, ...], str]:
    """Return (driver version, one line per GPU, what is wrong or "")."""
    library = _load("libcuda.so.1")
    if library is None:
        return (
            None,
            (),
            'no NVIDIA driver: libcuda.so.1 cannot be loaded; install the driver, or use device="cpu"',
        )
    status = library.cuInit(0)
    if status != 0:
        return (
            None,
            (),
            f"libcuda.so.1 is there but cuInit failed with error {status}; `nvidia-smi` may say more",
        )
    number, count = ctypes.c_int(), ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(number))
    version = f"{number.value // 1000}.{number.value % 1000 // 10}"
    if library.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return version, (), "the driver sees no GPU; check CUDA_VISIBLE_DEVICES"
    return version, tuple(_device(library, ordinal) for ordinal in range(count.value)), ""


def _device(library: ctypes.CDLL, ordinal: int) -> str:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGet(ctypes.byref(device), ordinal)
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceGetAttribute(ctypes.byref(major), _ATTRIBUTE_COMPUTE_MAJOR, device)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _ATTRIBUTE_COMPUTE_MINOR, device)
    return f"{name.value.decode()}, compute capability {major.value}.{minor.value}"


def _decoder(names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in av.codecs_available), None)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
