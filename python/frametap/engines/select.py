"""Which engine serves a request: never a silent fallback, always with a reason in words."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys

from frametap.container import Container
from frametap.engines.base import Engine
from frametap.engines.cpu import CpuEngine
from frametap.errors import DeviceError
from frametap.source import Source

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def check_device(device: str, engine: str | None) -> str:
    """Return the device that will be used and refuse what this build cannot do.

    Raises:
        ValueError: a name that is no device or engine, or an engine that does not run there.
        DeviceError: a device this machine or build cannot use.
    """
    name = str(device)
    if not _DEVICE.fullmatch(name):
        raise ValueError(f'device must be "auto", "cpu", "cuda" or "cuda:N", got {device!r}')
    if engine not in (None, "cpu"):
        raise ValueError(
            f'engine must be None or "cpu", got {engine!r}: this version of frametap decodes on the CPU only'
        )
    if name.startswith("cuda"):
        raise DeviceError(
            f'device="{name}": this version of frametap has no CUDA engine; use device="cpu" (or "auto") and move the '
            f"batch yourself, e.g. batch.torch().to({name!r}); `frametap doctor` shows what this machine has"
        )
    return "cpu"


def create_engine(
    source: Source,
    device: str,
    engine: str | None,
    threads: int | None,
    container: Container | None = None,
) -> Engine:
    """Make the engine for one source; it takes over the container the index was read from, if there is one."""
    check_device(device, engine)
    why = (
        'device="cpu" was asked for'
        if device == "cpu"
        else 'device="auto" and this version decodes on the CPU'
    )
    return CpuEngine(
        source, default_threads() if threads is None else check_threads(threads), why, container
    )


def check_threads(threads: int) -> int:
    """Return a number of threads a user asked for, or refuse it with a ValueError."""
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    return int(threads)


def default_threads() -> int:
    """Return how many cores to use: those this process may run on, but one inside a data loader's worker process.

    A worker is one of many by design; if each took all cores they would fight over them.
    """
    torch_data = sys.modules.get("torch.utils.data")
    if multiprocessing.current_process().daemon or (
        torch_data is not None and torch_data.get_worker_info() is not None
    ):
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
