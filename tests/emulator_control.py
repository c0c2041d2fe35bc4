"""The emulated CUDA driver (tests/emulator) from Python: load it, set it, read what it saw.

    driver = Emulator.load()                   # this process's libcuda.so.1, from now on
    driver.set(profile="strict", seed=3)
    with driver.fault("cuMemAllocAsync", 2, call=2):
        ...
    assert driver["bytes.DtoH"] == 0
    assert driver.violations() == []
    assert driver.alive() == {"primary contexts": 1}

Loading is for the whole process: tests of a client that opens `libcuda.so.1` itself start a process of their own with
`environment()`. docs/emulator.md lists settings and counters.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ROOT / "build" / "emulator" / "lib"


def missing(library: str = "libcuda.so.1") -> str | None:
    """Say why that library of the emulator cannot be used here; None if it can."""
    if (LIBRARIES / library).is_file():
        return None
    return f"the emulated CUDA driver is not built, or without {library}: make emulator"


def environment(**settings: object) -> dict[str, str]:
    """The environment of a process that finds the emulator where it looks for the driver, set as `set` would."""
    variables = {f"FRAMETAP_EMU_{name.upper()}": str(value) for name, value in settings.items()}
    paths = [str(LIBRARIES), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(paths), **variables}


class Emulator(Mapping[str, int]):
    """The loaded libcuda.so.1: its counters as a mapping, and its controls. `lib` has the driver API itself."""

    def __init__(self, path: Path) -> None:
        self.lib = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        self.lib.emu_counter.restype = ctypes.c_int64
        self.lib.emu_list.restype = ctypes.c_size_t
        self.lib.emu_list.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]

    @classmethod
    def load(cls) -> Emulator:
        """Load it, so that later `dlopen("libcuda.so.1")` in this process find it too."""
        return cls(LIBRARIES / "libcuda.so.1")

    def set(self, **settings: object) -> None:
        """Change settings: profile, devices (before cuInit), seed, faults, budget, switches, trace, report, abort."""
        for name, value in settings.items():
            if self.lib.emu_set(name.encode(), str(value).encode()) != 0:
                raise ValueError(f"{name}={value!r} makes no sense to the emulated driver")

    def switch(self, name: str, value: object) -> None:
        """Answer one open question about real hardware."""
        self.set(**{f"switch.{name}": value})

    @contextmanager
    def fault(self, entry: str, result: int, call: int = 1) -> Iterator[None]:
        """Within the block, the `call`-th call of `entry` from now on returns `result`; entry "lost": so does all after."""
        self.set(faults=f"{entry}:{result}@{call}")
        try:
            yield
        finally:
            self.set(faults="")

    def reset(self) -> None:
        """Forget violations, counters and faults, and find lost devices again; what is alive stays counted."""
        self.lib.emu_reset()

    def check_memory(self) -> None:
        """Report what was written around live allocations, instead of when they are freed."""
        self.lib.emu_check_memory()

    def violations(self) -> list[str]:
        """What the client did wrong since the last reset, in order."""
        return self._list("violations")

    def alive(self) -> dict[str, int]:
        """Number of objects by kind, of those that exist: {"streams": 2, "allocations": 5, "bytes": 4096}."""
        live = {name: self[name] for name in self if name.startswith("live.")}
        return {name.removeprefix("live."): number for name, number in live.items() if number}

    def __getitem__(self, counter: str) -> int:
        return int(self.lib.emu_counter(counter.encode()))

    def __iter__(self) -> Iterator[str]:
        return iter(self._list("counters"))

    def __len__(self) -> int:
        return len(self._list("counters"))

    def _list(self, what: str) -> list[str]:
        size = self.lib.emu_list(what.encode(), None, 0)
        buffer = ctypes.create_string_buffer(size + 4096)
        self.lib.emu_list(what.encode(), buffer, len(buffer))
        return buffer.value.decode().splitlines()
