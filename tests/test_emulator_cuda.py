"""The emulated CUDA driver: what it does for good clients (emulator_cases.py), and that it reports bad ones (emulator_bugs.py).

Every case runs in a process of its own, because a process has one libcuda.so.1.
"""

from __future__ import annotations

import inspect
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType

import av
import pytest

import cuda_client
import emulator_bugs
import emulator_cases
import emulator_control
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


def test_a_seed_means_one_order(emulator_libraries: Path) -> None:
    first, again, other = (
        cuda_client.run("emulator_memory_cases", "_print_order", seed=seed).stdout
        for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


def test_settings_of_the_environment(emulator_libraries: Path, tmp_path: Path) -> None:
    trace, report = tmp_path / "trace", tmp_path / "report"
    variables = emulator_control.environment(
        profile="strict", devices="tiny", faults="cuMemAlloc:2@1", trace=trace, report=report
    )
    client = [
        sys.executable,
        cuda_client.__file__,
        "emulator_memory_cases",
        "_first_allocation_fails",
    ]
    done = subprocess.run(client, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    calls = [line.split()[1] for line in trace.read_text().splitlines()]
    assert calls[:2] == ["cuInit", "cuDevicePrimaryCtxRetain"]
    assert "injected" in calls
    lines = report.read_text().splitlines()
    assert any(line.split() == ["calls.cuMemAlloc", "2"] for line in lines)
    assert "violation: the process ended with 1 primary contexts" in report.read_text()


def test_nonsense_in_the_environment_ends_the_process(emulator_libraries: Path) -> None:
    client = [sys.executable, cuda_client.__file__, "emulator_cases", "contexts_nest"]
    done = subprocess.run(
        client,
        env=emulator_control.environment(seed="many"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGABRT
    assert "FRAMETAP_EMU_SEED=many makes no sense" in done.stderr


def test_every_name_that_ffmpeg_looks_up_is_there(emulator_libraries: Path) -> None:
    """Its loader gives up at the first that is missing. PyAV's FFmpeg holds the names as strings."""
    libraries = Path(av.__file__).parent.parent / "av.libs"
    names = {
        name.decode()
        for library in libraries.glob("libav*")
        for name in re.findall(rb"\0(cu[A-Z]\w+)(?=\0)", library.read_bytes())
    }
    assert len(names) > 50
    driver = (emulator_libraries / "libcuda.so.1").read_bytes()
    assert [name for name in sorted(names) if b"\0" + name.encode() + b"\0" not in driver] == []
