"""A client of the CUDA driver API in ctypes, for tests of the emulated driver.

    python cuda_client.py MODULE FUNCTION [KEY=VALUE ...]

runs `FUNCTION(cuda)` of a test module in this process, which starts with nothing loaded, and prints the violations that
the emulator saw; settings are those of emulator_control. Any error is the process's exit status.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import emulator_control
from emulator_control import Emulator

SUCCESS, INVALID_VALUE, OUT_OF_MEMORY, NOT_INITIALIZED = 0, 1, 2, 3
NO_DEVICE, INVALID_DEVICE, INVALID_CONTEXT, NO_BINARY = 100, 101, 201, 209
INVALID_HANDLE, NOT_FOUND, NOT_READY, ILLEGAL_ADDRESS = 400, 500, 600, 700
CONTEXT_IS_DESTROYED, MISALIGNED_ADDRESS, NOT_PERMITTED, NOT_SUPPORTED = 709, 716, 800, 801

NON_BLOCKING = 1  # stream flag
HOST, DEVICE, UNIFIED = 1, 2, 4  # memory types
POISON = 0xCB
HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Copy2D(ctypes.Structure):
    """CUDA_MEMCPY2D."""

    _fields_ = [
        (f"{side}{name}", kind)
        for side in ("src", "dst")
        for name, kind in (
            ("XInBytes", ctypes.c_size_t),
            ("Y", ctypes.c_size_t),
            ("MemoryType", ctypes.c_int),
            ("Host", ctypes.c_void_p),
            ("Device", ctypes.c_uint64),
            ("Array", ctypes.c_void_p),
            ("Pitch", ctypes.c_size_t),
        )
    ] + [("WidthInBytes", ctypes.c_size_t), ("Height", ctypes.c_size_t)]


class Cuda:
    """The driver API, and the few things that every test does with it."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.kept: list[Any] = []  # what callbacks and asynchronous copies refer to

    def call(self, name: str, *arguments: Any) -> int:
        """Call by the exported name; whole numbers are passed as 64 bits. Returns the CUresult."""
        return int(self.emulator.lib[name](*map(_argument, arguments)))

    def must(self, name: str, *arguments: Any) -> None:
        result = self.call(name, *arguments)
        assert result == SUCCESS, f"{name}{arguments} returned {result}"

    def get(self, name: str, *arguments: Any, kind: Any = ctypes.c_uint64) -> int:
        """Call what stores one number through its first argument, and return that number."""
        out = kind(0)
        self.must(name, ctypes.byref(out), *arguments)
        return int(out.value)

    def start(self, device: int = 0) -> int:
        """Init and make the primary context of a device current; its handle."""
        self.must("cuInit", 0)
        context = self.get("cuDevicePrimaryCtxRetain", device)
        self.must("cuCtxPushCurrent_v2", context)
        return context

    def stop(self, device: int = 0) -> None:
        self.must("cuCtxPopCurrent_v2", None)
        self.must("cuDevicePrimaryCtxRelease_v2", device)

    def alloc(self, size: int) -> int:
        return self.get("cuMemAlloc_v2", size)

    def alloc_async(self, size: int, stream: int | None) -> int:
        return self.get("cuMemAllocAsync", size, stream)

    def free(self, *addresses: int) -> None:
        for address in addresses:
            self.must("cuMemFree_v2", address)

    def stream(self, flags: int = NON_BLOCKING) -> int:
        return self.get("cuStreamCreate", flags)

    def event(self, flags: int = 0) -> int:
        return self.get("cuEventCreate", flags)

    def sync(self, stream: int | None = None) -> None:
        self.must("cuStreamSynchronize", stream)

    def fill(self, address: int, value: int, size: int, stream: int | None) -> None:
        self.must("cuMemsetD8Async", address, value, size, stream)

    def read(self, address: int, size: int) -> bytes:
        """Device bytes, by the synchronous call."""
        out = ctypes.create_string_buffer(size)
        self.must("cuMemcpyDtoH_v2", out, address, size)
        return out.raw

    def write(self, address: int, data: bytes) -> None:
        self.must("cuMemcpyHtoD_v2", address, data, len(data))

    def pinned(self, size: int) -> ctypes.Array[ctypes.c_char]:
        address = self.get("cuMemHostAlloc", size, 0)
        return (ctypes.c_char * size).from_address(address)

    def host_function(self, function: Any, stream: int | None) -> None:
        callback = HOST_FUNCTION(lambda _: function())
        self.kept.append(callback)
        self.must("cuLaunchHostFunc", stream, callback, None)

    def launch(
        self,
        function: int,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        stream: int | None,
        argument: bytes,
    ) -> int:
        held = ctypes.create_string_buffer(argument, len(argument))
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(held))
        return self.call("cuLaunchKernel", function, *grid, *block, 0, stream, pointers, None)

    def violations(self) -> list[str]:
        return self.emulator.violations()


def _argument(value: Any) -> Any:
    if isinstance(value, int):
        return ctypes.c_int64(value) if value < 0 else ctypes.c_uint64(value)
    return ctypes.c_void_p(None) if value is None else value


def run(module: str, function: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a function in a process of its own; its violations are on the last line of stdout, as JSON."""
    command = [sys.executable, __file__, module, function]
    return subprocess.run(
        command + [f"{name}={value}" for name, value in settings.items()],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"PYTHONFAULTHANDLER": "0"},
    )


def main() -> None:
    module, function, *settings = sys.argv[1:]
    emulator = Emulator.load()
    emulator.set(**dict(setting.split("=", 1) for setting in settings))
    cuda = Cuda(emulator)
    getattr(importlib.import_module(module), function)(cuda)
    emulator.check_memory()
    print(json.dumps(emulator.violations()), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    assert emulator_control.missing() is None
    main()
