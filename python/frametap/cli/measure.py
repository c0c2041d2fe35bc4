"""What jobs cost on this machine: peak memory of one sampling, frames per second of a reader."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import frametap as ft
from frametap.sampler import Sampler


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run of the job cost and gave.

    Attributes:
        clip_bytes: size of the file.
        rgb_bytes: what every frame of it takes as 8-bit RGB, the naive way to hold it.
        batch_bytes: size of the batch that came out.
        shape: of that batch.
        peak_growth: bytes by which the peak of resident memory rose during the job.
        how: how that was measured.
        seconds: wall-clock time of the job, index and decoder start-up included.
        frames: in the clip.
        decoded: pictures that went through the decoder.
        engine: which one it was.
    """

    clip_bytes: int
    rgb_bytes: int
    batch_bytes: int
    shape: tuple[int, ...]
    peak_growth: int
    how: str
    seconds: float
    frames: int
    decoded: int
    engine: str


def measure(
    video: str, sampler: Sampler, transform: ft.Transform, device: str = "auto"
) -> Measured:
    """Run `ft.sample` on a video in a fresh process and return what it cost."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(_job, video, sampler, transform, device).result()


def _job(video: str, sampler: Sampler, transform: ft.Transform, device: str) -> Measured:
    with _PeakMemory() as memory:
        start = time.perf_counter()
        batch = ft.sample(video, sampler, transform, device=device)
        seconds = time.perf_counter() - start
    # After the meter: memory that this leaves behind must not hide what the job needs.
    with ft.open(video) as reader:
        info, frames, clip_bytes = reader.info, len(reader), reader.source.size
    return Measured(
        clip_bytes=clip_bytes,
        rgb_bytes=info.width * info.height * 3 * frames,
        batch_bytes=batch.nbytes,
        shape=tuple(batch.shape),
        peak_growth=memory.growth,
        how=memory.how,
        seconds=seconds,
        frames=frames,
        decoded=batch.report.decoded,
        engine=batch.report.engine,
    )


class _PeakMemory:
    """Growth of this process's peak resident memory within a `with` block, in bytes."""

    def __enter__(self) -> _PeakMemory:
        self.growth, self.how = 0, "growth of ru_maxrss"
        with contextlib.suppress(OSError):
            # proc(5): sets VmHWM back to what is resident now.
            Path("/proc/self/clear_refs").write_text("5")
            self.how = "VmHWM"
        self._before = self._peak()
        return self

    def __exit__(self, *_: object) -> None:
        self.growth = self._peak() - self._before

    def _peak(self) -> int:
        if self.how.startswith("VmHWM"):
            status = Path("/proc/self/status").read_text()
            return int(status.split("VmHWM:")[1].split()[0]) * 1024
        import resource  # not on Windows, and only needed where /proc is not

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def time_all_frames(reader: ft.VideoReader, seconds: float) -> dict[str, Any]:
    """Decode and convert frames in order until `seconds` are over; return the rates."""
    frames = 0
    start = time.perf_counter()
    for batch in reader.batches(64):
        frames += len(batch.indices)
        if time.perf_counter() - start > seconds:
            break
    took = time.perf_counter() - start
    pixels = frames * reader.info.width * reader.info.height
    return {
        "frames": frames,
        "frames_per_second": round(frames / took, 1),
        "megapixels_per_second": round(pixels / took / 1e6, 1),
    }


def time_samples(reader: ft.VideoReader, seconds: float) -> dict[str, Any]:
    """Take 32 frames from all over the file, again and again; return the median time."""
    times: list[float] = []
    begin = time.perf_counter()
    while not times or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        batch = reader.sample(ft.Uniform(32))
        times.append(time.perf_counter() - start)
    report = batch.report
    return {
        "engine": report.engine,
        "sample_of_32_milliseconds": round(float(np.median(times)) * 1000, 1),
        "pictures_decoded": report.decoded,
        "samples_timed": len(times),
    }
