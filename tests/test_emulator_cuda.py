"""The emulated CUDA driver: what it does for good clients (emulator_cases.py), and that it reports bad ones (emulator_bugs.py).

Every case runs in a process of its own, because a process has one libcuda.so.1.
"""

from __future__ import annotations

import inspect
import json
import signal
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType

import pytest

import cuda_client
import emulator_bugs
import emulator_cases
import emulator_memory_cases

SEEDS = (0, 1, 2)  # 0: work runs at once


def functions(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_"
    ]


def run(module: ModuleType, case: str, seed: int, profile: str) -> CompletedProcess[str]:
    devices = module.DEVICES.get(case, "h100")
    return cuda_client.run(module.__name__, case, seed=seed, devices=devices, profile=profile)


CASES = [
    (module, case)
    for module in (emulator_cases, emulator_memory_cases)
    for case in functions(module)
]


@pytest.mark.parametrize(("module", "case"), CASES, ids=[case for _, case in CASES])
def test_behaviour(module: ModuleType, case: str, emulator_libraries: Path) -> None:
    for seed in SEEDS:
        done = run(module, case, seed, "strict")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == [], f"seed {seed}"


def reports(case: str, seed: int, profile: str = "strict") -> bool:
    """Whether what a mistake has to be reported with shows; fails when the process ends as it should not."""
    bug = emulator_bugs.BUGS[case]
    done = run(emulator_bugs, case, seed, profile)
    assert done.returncode == (-signal.SIGSEGV if bug.dies else 0), done.stderr
    return bug.words in done.stderr


def test_every_bug_has_its_words() -> None:
    assert sorted(emulator_bugs.BUGS) == sorted({*functions(emulator_bugs)} - {"reported"})
    assert len(emulator_bugs.BUGS) >= 25


@pytest.mark.parametrize("case", emulator_bugs.BUGS)
def test_planted_bug_is_reported(case: str, emulator_libraries: Path) -> None:
    bug = emulator_bugs.BUGS[case]
    if bug.seeds_only:
        assert not reports(case, seed=0), "eagerly the order hides it"
        assert any(reports(case, seed) for seed in range(1, 9))
        return
    assert reports(case, seed=0)
    assert reports(case, seed=1)
    assert reports(case, seed=0, profile="driver") != bug.lenient
