"""Which engine serves a request: never a silent fallback, always with a reason in words."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import re
import sys
from functools import lru_cache
from typing import Any

from frametap import _core
from frametap.container import Container
from frametap.engines.base import Engine
from frametap.engines.cpu import CpuEngine
from frametap.errors import DeviceError
from frametap.source import Source, naming

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
_ENGINES = ("cpu", "nvdec", "pynvvideocodec", "hybrid")


def check_device(device: str, engine: str | None) -> str:
    """Return the device that will be used, "cpu" or "cuda:N", and refuse what this machine or build cannot do.

    "auto" is GPU 0 where CUDA and NVDEC work, else the CPU; in a worker of a data loader it is always the CPU, for a
    CUDA context in each would cost memory and their tensors could not be handed over.

    Raises:
        ValueError: a name that is no device or engine, or an engine that does not run there.
        DeviceError: a device this machine or build cannot use.
    """
    name = str(device)
    if not _DEVICE.fullmatch(name):
        raise ValueError(f'device must be "auto", "cpu", "cuda" or "cuda:N", got {device!r}')
    if engine not in (None, *_ENGINES):
        raise ValueError(f"engine must be None or one of {', '.join(_ENGINES)}, got {engine!r}")
    if name == "auto" and engine is not None:
        name = "cpu" if engine == "cpu" else "cuda"
    if name == "auto":
        return "cpu" if in_loader_worker() or cuda_problem() else "cuda:0"
    if name == "cpu":
        if engine not in (None, "cpu"):
            raise ValueError(f'engine="{engine}" works on a CUDA device, not on device="cpu"')
        return name
    if engine == "cpu":
        raise ValueError(
            f'engine="cpu" fills host memory; for device="{name}" use engine="hybrid", which decodes on the CPU'
        )
    ordinal = int(name.partition(":")[2] or 0)
    problem = cuda_problem(ordinal, needs_nvdec=engine != "hybrid")
    if problem:
        raise DeviceError(
            f'device="{name}": {problem}; use device="cpu" (or "auto"); `frametap doctor` shows what this machine has'
        )
    return f"cuda:{ordinal}"


def cuda_problem(ordinal: int = 0, *, needs_nvdec: bool = True) -> str:
    """Return what keeps CUDA device number `ordinal` from being used, in words; empty when nothing does."""
    if not hasattr(_core, "CudaDevice"):
        return "this frametap was built without CUDA (no nvcc was found when it was built)"
    try:
        device = _core.CudaDevice.get(ordinal)
        _free_at_exit()
        if needs_nvdec:
            device.caps("h264", 1, 8)
    except DeviceError as error:
        return str(error)
    return ""


def create_engine(
    source: Source,
    device: str,
    engine: str | None,
    threads: int | None,
    container: Container | None = None,
    stream: Any = None,
) -> Engine:
    """Make the engine for one source; it takes over the container the index was read from, if there is one."""
    chosen = check_device(device, engine)
    why = f'device="{device}"' + (f' and engine="{engine}"' if engine else "")
    why += " was asked for" if device != "auto" else f" is {chosen} on this machine"
    count = default_threads() if threads is None else check_threads(threads)
    if chosen == "cpu":
        return CpuEngine(source, count, why, container)
    from frametap.engines.cuda_target import CudaTarget
    from frametap.engines.hybrid import HybridEngine
    from frametap.engines.nvdec import NvdecEngine

    with naming(source, (DeviceError,)):
        target = CudaTarget(_core.CudaDevice.get(int(chosen.partition(":")[2])), stream)
    kind: type[HybridEngine] = HybridEngine if engine == "hybrid" else NvdecEngine
    if engine == "pynvvideocodec":
        from frametap.engines.pynvvideocodec import PynvEngine

        kind = PynvEngine
    return kind(source, count, why, target, container)


@lru_cache(maxsize=1)
def _free_at_exit() -> None:
    """See to it that contexts, decoders and tables are freed while the driver still works."""
    from frametap.engines.cuda_target import forget_converters
    from frametap.engines.nvdec_caps import forget_caps

    def free() -> None:
        forget_converters()
        forget_caps()
        _core.CudaDevice.shutdown()

    atexit.register(free)


def check_threads(threads: int) -> int:
    """Return a number of threads a user asked for, or refuse it with a ValueError."""
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    return int(threads)


def default_threads() -> int:
    """Return how many cores to use: those this process may run on, but one inside a data loader's worker process.

    A worker is one of many by design; if each took all cores they would fight over them.
    """
    if in_loader_worker():
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_loader_worker() -> bool:
    """Whether this is a worker process of a data loader, or another daemonic child process."""
    torch_data = sys.modules.get("torch.utils.data")
    return multiprocessing.current_process().daemon or (
        torch_data is not None and torch_data.get_worker_info() is not None
    )
