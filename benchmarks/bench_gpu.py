"""Frames per second of device="cuda" next to NVDEC alone and to other libraries, on this machine's GPU.

    python benchmarks/bench_gpu.py [VIDEO] [--repeat 5] [--json out.json]        # make gpu-bench VIDEO=...

Each library does each job in a process of its own (peers/gpu_decoders.py), once uncounted and then `repeat` times; the table
gives the median, the spread and the ratio to raw NVDEC, which decodes the packets of frametap's plan and does nothing with
the pictures. "wrong" counts frames: frametap's are compared byte for byte with device="cpu", those of others (they are not
resized, or differently) by which frame of the file they resemble most. Then the conversion kernels alone, by CUDA events.
Without VIDEO one is encoded: 10 s of 1080p H.264. Without a usable GPU it says so and fails.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import av
import numpy as np

import frametap as ft
from frametap import doctor
from frametap.container import orientation_of, picture_format
from frametap.geometry import ConvertParams

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parent))
from bench_decode import Job, packets_of
from reference_frames import Reference

from clips import Clip, encode
from gpu.raw_nvdec import Driver

DECODER = Path(__file__).with_name("peers") / "gpu_decoders.py"
EMULATED = "emulated driver: times mean nothing"
RAW = "raw NVDEC"
LINE = "{:26} {:24} {:>28} {:>8} {:>7} {:>9} {:>6}"
HEADER = LINE.format("job", "library", "frames/s", "of raw", "NVDEC %", "RSS MiB", "wrong")
LAUNCHES = 200


def jobs_for(path: Path) -> list[Job]:
    """A few frames of the whole video, clips of it, all of it."""
    found = []
    with ft.open(path, device="cpu") as video:
        samplers = {
            "Uniform(32)": ft.Uniform(min(32, len(video))),
            "Clips(4, 16, step=4)": ft.Clips(4, 16, step=4),
        }
        for name, sampler in samplers.items():
            frames = sampler(video.index).tolist()
            found.append(Job(name, frames, runs=packets_of(video.plan(sampler))))
        everything = packets_of(video.plan(ft.Every(1)))
        found.append(Job("every frame, batches(64)", runs=everything))
    return found


def measure(job: Job, path: Path, library: str, repeat: int, folder: Path) -> dict[str, Any]:
    """One job with one library: its numbers, and the frames that it kept."""
    fields = {**job.as_json(path, 0), "repeat": repeat}
    (folder / "job.json").write_text(json.dumps(fields))
    command = [sys.executable, DECODER, library, folder / "job.json", folder / "out.npz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{library} failed: {(done.stderr.splitlines() or ['?'])[-1]}")
    numbers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**numbers, "frames": np.load(folder / "out.npz")["frames"]}


def run(job: Job, path: Path, repeat: int, reference: Reference) -> list[dict[str, Any]]:
    """One job with every library that is installed; a line of the table for each."""
    listed = subprocess.run([sys.executable, DECODER], capture_output=True, text=True, check=True)
    count = len(reference.frames) if job.frames is None else len(job.frames)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for library in json.loads(listed.stdout):
            try:
                numbers = measure(job, path, library, repeat, Path(folder))
            except RuntimeError as error:
                if library == "frametap":
                    raise
                print(f"{job.name}: {error}", file=sys.stderr)
                continue
            frames = numbers.pop("frames")
            own = "frametap" if library.startswith("frametap") else library
            wanted = job.wanted(own, len(reference.frames))
            wrong = None if library == RAW else reference.wrong(own, wanted, frames)
            speeds = [count / seconds for seconds in numbers["seconds"]]
            rows.append(
                {"job": job.name, "library": library, "speeds": speeds, "wrong": wrong, **numbers}
            )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The lines of one job."""
    raw = [statistics.median(row["speeds"]) for row in rows if row["library"] == RAW]
    lines = []
    for row in rows:
        speeds, middle = row["speeds"], statistics.median(row["speeds"])
        lines.append(
            LINE.format(
                row["job"],
                row["library"],
                f"{middle:.0f} ({min(speeds):.0f}-{max(speeds):.0f})",
                f"{middle / raw[0]:.2f}" if raw else "-",
                "-" if row["nvdec"] is None else f"{row['nvdec']:.0f}",
                f"{row['rss']:.0f}",
                "-" if row["wrong"] is None else row["wrong"],
            )
        )
    return "\n".join(lines)


NORMALISED = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "dtype": "float16"}
KERNELS = {
    "224x224 uint8": ft.Transform(size=(224, 224)),
    "448x448 float16, bicubic": ft.Transform(size=(448, 448), filter="bicubic", **NORMALISED),
    "as it is": ft.Transform(),
}


def kernel_times(path: Path, repeat: int, launches: int) -> list[dict[str, Any]]:
    """Microseconds of conversions from a surface of the video's size, and the bytes of the picture read plus those written."""
    from frametap._core import CudaDevice, DeviceMemory

    with av.open(str(path)) as container:
        picture = next(container.decode(video=0))
        surface = picture_format(picture, orientation_of(picture), "left")
    surface = replace(surface, pixel_format="nv12")
    driver, device = Driver(), CudaDevice.get(0)
    pitch, rows = -(-surface.width // 512) * 512, surface.height + surface.height % 2
    size = pitch * rows * 3 // 2
    source = DeviceMemory(device, size, 0)
    address = ctypes.c_uint64(source.address)
    driver.call("cuMemsetD8_v2", address, ctypes.c_ubyte(100), ctypes.c_size_t(size))
    planes = [(source.address, pitch), (source.address + pitch * rows, pitch)]
    results = []
    for name, transform in KERNELS.items():
        params = transform.resolve(surface)
        written = int(np.prod(params.out_shape)) * np.dtype(params.dtype).itemsize
        micros = _convert(driver, params, planes, written, repeat, launches)
        moved = surface.width * surface.height * 3 // 2 + written
        results.append({"kernel": name, "microseconds": micros, "bytes": moved})
    return results


def _convert(
    driver: Driver,
    params: ConvertParams,
    planes: list[tuple[int, int]],
    written: int,
    repeat: int,
    launches: int,
) -> list[float]:
    """Microseconds of one conversion, each from so many on one stream."""
    from frametap._core import (
        CudaConverter,
        CudaConvertStream,
        CudaDevice,
        CudaTables,
        DeviceMemory,
    )

    device = CudaDevice.get(0)
    converter = CudaConverter(device, CudaTables(**asdict(params)))
    stream, out = CudaConvertStream(device), DeviceMemory(device, written, 0)
    driver.call("cuCtxSynchronize")

    def work(times: int) -> None:
        for _ in range(times):
            stream.convert(converter, planes, out.address)

    work(1)  # loads the kernels
    micros = []
    for _ in range(repeat):
        micros.append(_elapsed(driver, stream.handle, lambda: work(launches)) * 1e3 / launches)
    return micros


def _elapsed(driver: Driver, stream: int, work: Callable[[], None]) -> float:
    """Milliseconds that a stream takes for what is put on it."""
    events = ctypes.c_void_p(), ctypes.c_void_p()
    for event in events:
        driver.call("cuEventCreate", ctypes.byref(event), 0)
    driver.call("cuEventRecord", events[0], ctypes.c_void_p(stream))
    work()
    driver.call("cuEventRecord", events[1], ctypes.c_void_p(stream))
    driver.call("cuEventSynchronize", events[1])
    milliseconds = ctypes.c_float()
    driver.call("cuEventElapsedTime", ctypes.byref(milliseconds), *events)
    for event in events:
        driver.call("cuEventDestroy_v2", event)
    return milliseconds.value


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--launches", type=int, default=LAUNCHES, help="of a kernel, per time")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    state = doctor.cuda_state()
    if not state.usable:
        sys.exit(f"no usable GPU, so nothing is measured: {state.why}")
    driver = Driver()
    emulated = hasattr(driver.cuda, "emu_counter")
    print(f"{driver.name}{f'; {EMULATED}' if emulated else ''}")
    if emulated and os.environ.get("FRAMETAP_REQUIRE_CUDA") == "1":
        sys.exit("FRAMETAP_REQUIRE_CUDA=1, but this is the emulated driver")
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or Path(folder) / "1080p.mp4"
        if options.video is None:
            settings = {"preset": "veryfast", "g": "60", "bf": "2"}
            encode(video, Clip("libx264", size=(1920, 1080), encoded=240, options=settings))
        reference, rows = Reference(video), []
        print(HEADER)
        for job in jobs_for(video):
            rows += (lines := run(job, video, options.repeat, reference))
            print(table(lines), flush=True)
        kernels = kernel_times(video, options.repeat, options.launches)
    for kernel in kernels:
        micros = statistics.median(kernel["microseconds"])
        spread = f"({min(kernel['microseconds']):.1f}-{max(kernel['microseconds']):.1f})"
        speed = kernel["bytes"] / micros / 1e3 if micros else 0
        print(f"convert to {kernel['kernel']:26} {micros:8.1f} us {spread}  {speed:7.1f} GB/s")
    if options.json:
        found = {"gpu": driver.name, "emulated": emulated, "jobs": rows, "kernels": kernels}
        options.json.write_text(json.dumps(found, indent=1))
    if any(row["wrong"] for row in rows if row["library"].startswith("frametap")):
        sys.exit("frames are wrong")


if __name__ == "__main__":
    main()
