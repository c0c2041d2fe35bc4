"""Takes one sample after another on the emulated driver and compares it with device="cpu"; run by matrix.py.

Reads combinations from standard input, a JSON line each, and writes for each one line to standard output:
{"problems": [...], "way": "nvdec" | "hybrid" | ..., "why": what was decoded on the CPU, and for what reason, "shortened": bool}.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import av
import numpy as np

import frametap as ft
from gpu.axes import GPUS, sampler_for, tolerance_of, transform_for
from gpu.driver import Gpu, forget
from gpu.matrix import Combination, Outcome, spell

# What one sample may put out. Of more, a stretch is taken: as many frames as fit, from some place in the list.
BYTES_PER_SAMPLE = 48 << 20
COMBINATIONS_PER_CLEARANCE = 25
Error = (ft.FrametapError, ValueError)


@dataclass(frozen=True)
class Job:
    """What a combination asks of a clip: the same of both devices."""

    sampler: ft.Sampler
    transform: ft.Transform
    index: ft.FrameIndex
    shortened: bool = False  # to a stretch of what the sampler chose

    def run(self, path: Path, device: str) -> ft.FrameBatch:
        return ft.sample(path, self.sampler, self.transform, device=device, index=self.index)


def job_for(path: Path, wanted: Combination, index: ft.FrameIndex) -> Job:
    transform = transform_for(wanted.transform, index)
    job = Job(sampler_for(wanted.sampler, wanted.clip, index), transform, index)
    numbers = job.sampler(index)
    one = replace(job, sampler=ft.Indices(numbers[:1])).run(path, "cpu")
    room = max(1, BYTES_PER_SAMPLE // np.asarray(one._data).nbytes)
    if len(numbers) <= room:
        return job
    start = random.Random(f"{wanted.clip} {wanted.sampler}").randrange(len(numbers) - room + 1)
    return replace(job, sampler=ft.Indices(numbers[start : start + room]), shortened=True)


class Comparer:
    """Runs combinations on a driver, one after another; a clip's name is its path in `folder`."""

    def __init__(self, driver: Gpu, folder: Path) -> None:
        assert driver.emulator is not None
        self._driver, self._emulator, self._folder = driver, driver.emulator, folder
        self._min_size = ""
        self._done = 0
        self._index_of = lru_cache(maxsize=1)(ft.FrameIndex.build)
        self._before: tuple[tuple[str, ...], Job, ft.FrameBatch] | None = None

    def __call__(self, wanted: Combination) -> Outcome:
        self._set(wanted)
        problems: list[str] = []
        outcome = self._compare(wanted, problems)
        self._emulator.check_memory()
        problems += self._emulator.violations()
        self._done += 1
        if self._done % COMBINATIONS_PER_CLEARANCE == 0:
            forget()
            if alive := self._emulator.alive():
                problems.append(f"left alive after forgetting everything: {alive}")
        return {"problems": problems, **outcome}

    def _set(self, wanted: Combination) -> None:
        names = (wanted.clip, wanted.sampler, wanted.transform)
        again = self._before is not None and self._before[0] == names
        # What NVDEC decodes is asked once; and a decoder kept from before may hide why something failed.
        if again or wanted.switches["min_size"] != self._min_size:
            forget()
            self._min_size = wanted.switches["min_size"]
        self._emulator.set(
            profile="strict", seed=wanted.seed, switches=spell(wanted.switches), faults=""
        )
        self._emulator.reset()

    def _on_cpu(self, wanted: Combination) -> tuple[Job, ft.FrameBatch]:
        """What device="cpu" makes of it; kept, since what failed is tried again with other switches."""
        names = (wanted.clip, wanted.sampler, wanted.transform)
        if self._before is None or self._before[0] != names:
            path = self._folder / wanted.clip
            job = job_for(path, wanted, self._index_of(path))
            self._before = (names, job, job.run(path, "cpu"))
        return self._before[1:]

    def _compare(self, wanted: Combination, problems: list[str]) -> Outcome:
        path = self._folder / wanted.clip
        try:
            job, expected = self._on_cpu(wanted)
        except Error as error:
            problems += self._refuses_too(wanted, error)
            return {"way": "refused"}
        try:
            batch = job.run(path, device_of(wanted))
        except Exception as error:  # whatever it is, the walk goes on
            problems.append(f"{type(error).__name__}: {error}")
            return {"way": "none"}
        found = self._driver.host(batch)
        tolerance = tolerance_of(job.index) * step_of(job.transform)
        problems += differences(batch, expected, found, tolerance)
        why, way = batch.report.why, batch.report.engine
        in_part = way == "nvdec" and "decoded on the CPU" in why
        return {
            "way": way + ", a part of it on the CPU" * in_part,
            "why": f"{wanted.clip}: {why}" * in_part,
            "shortened": job.shortened,
        }

    def _refuses_too(self, wanted: Combination, on_cpu: Exception) -> list[str]:
        """Say how device="cuda" does not fail as device="cpu" did."""
        path = self._folder / wanted.clip
        try:
            index = self._index_of(path)
            transform = transform_for(wanted.transform, index)
            job = Job(sampler_for(wanted.sampler, wanted.clip, index), transform, index)
            job.run(path, device_of(wanted))
        except Error as error:
            same = type(error) is type(on_cpu)
            return [] if same else [f"{error!r}, on the CPU {on_cpu!r}"]
        return [f"no error, on the CPU {on_cpu!r}"]


def device_of(wanted: Combination) -> str:
    return f"cuda:{GPUS.index(wanted.gpu)}"


def differences(
    batch: ft.FrameBatch, expected: ft.FrameBatch, found: np.ndarray, tolerance: float
) -> list[str]:
    """Say in what a batch differs from the one expected."""
    wanted = np.asarray(expected._data)
    if batch.indices.tolist() != expected.indices.tolist():
        return [f"frames {batch.indices.tolist()}, on the CPU {expected.indices.tolist()}"]
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return [f"{found.dtype} {found.shape}, on the CPU {wanted.dtype} {wanted.shape}"]
    if tolerance:
        different = ~(np.abs(values(found) - values(wanted)) <= tolerance)
    else:
        different = found.view(np.uint8) != wanted.view(np.uint8)
    slots = np.flatnonzero(different.reshape(len(found), -1).any(axis=1))
    if not len(slots):
        return []
    frames = batch.indices[slots[:8]].tolist()
    return [f"{len(slots)} of {len(found)} frames differ, the first: {frames}"]


def step_of(transform: ft.Transform) -> float:
    """By how much an output value rises for 1 of 255."""
    return 1 if transform.dtype == "uint8" else 1 / 255 / min(transform.std or (1.0,))


def values(stored: np.ndarray) -> np.ndarray:
    """The numbers of a batch's memory, in which bfloat16 is kept as uint16."""
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)


def main() -> None:
    av.logging.set_level(av.logging.PANIC)
    compare = Comparer(Gpu(), Path(sys.argv[1]))
    for line in sys.stdin:
        print(json.dumps(compare(Combination(**json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
