"""One job in one process: `python decoders.py LIBRARY JOB.json OUT.npz` decodes the job's frames and says what it took.

Run by bench_decode.py with the interpreter that has the library; imports nothing of this project but frametap itself.
JOB.json holds path, size [h, w], threads, frames (the wanted frame numbers, or null for all), batch, for the many-clip job
paths, for the opening job "open", and for the floor the packets of each run. Prints one JSON line: wall and CPU seconds without
imports, peak memory of the process in MiB, and of the many-clip job the paths that failed. The opening job leaves as many
zeros as it found frames.
`python decoders.py` alone lists the libraries that this interpreter has.
"""

from __future__ import annotations

import importlib.util
import json
import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

Job = dict[str, Any]
Frames = Iterator[np.ndarray]  # (N, 3, h, w) uint8 each


def frametap(job: Job) -> Callable[[], Frames]:
    import frametap as ft

    transform = ft.Transform(size=tuple(job["size"]))
    threads = job["threads"] or None
    _ = ft.open, ft.sample, ft.sample_many  # imported on first use: not part of the job

    def run() -> Frames:
        if job.get("open"):
            with ft.open(job["path"]) as video:
                yield np.zeros(len(video))
        elif job.get("paths"):
            sampler = ft.Uniform(job["per_clip"])
            for batch in ft.sample_many(job["paths"], sampler, transform, workers=threads):
                yield batch.numpy()
        elif job["frames"] is None:
            with ft.open(job["path"], transform=transform, threads=threads) as video:
                for batch in video.batches(job["batch"]):
                    yield batch.numpy()
        else:
            sampler = ft.Indices(job["frames"])
            snap = job.get("snap_seconds", 0.0)
            yield ft.sample(
                job["path"], sampler, transform, threads=threads, snap_seconds=snap
            ).numpy()

    return run


def torchcodec(job: Job) -> Callable[[], Frames]:
    import torch
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    torch.set_num_threads(1)

    def decoder(path: str) -> Any:
        resize = [Resize(size=tuple(job["size"]))]
        return VideoDecoder(path, num_ffmpeg_threads=job["threads"], transforms=resize)

    def clip(path: str) -> np.ndarray:
        video = decoder(path)
        return video.get_frames_at(spread(len(video), job["per_clip"])).data.numpy()

    def run() -> Frames:
        if job.get("open"):
            yield np.zeros(len(decoder(job["path"])))
            return
        if job.get("paths"):
            yield from in_threads(clip, job)
            return
        video = decoder(job["path"])
        if job["frames"] is None:
            for begin in range(0, len(video), job["batch"]):
                end = min(begin + job["batch"], len(video))
                yield video.get_frames_in_range(begin, end).data.numpy()
        else:
            yield video.get_frames_at(job["frames"]).data.numpy()

    return run


def decord(job: Job) -> Callable[[], Frames]:
    import decord

    height, width = job["size"]

    def reader(path: str) -> Any:
        return decord.VideoReader(path, width=width, height=height, num_threads=job["threads"])

    def clip(path: str) -> np.ndarray:
        video = reader(path)
        return planar(video.get_batch(spread(len(video), job["per_clip"])).asnumpy())

    def run() -> Frames:
        if job.get("open"):
            yield np.zeros(len(reader(job["path"])))
            return
        if job.get("paths"):
            yield from in_threads(clip, job)
            return
        video = reader(job["path"])
        if job["frames"] is None:
            for begin in range(0, len(video), job["batch"]):
                end = min(begin + job["batch"], len(video))
                yield planar(video.get_batch(range(begin, end)).asnumpy())
        else:
            yield planar(video.get_batch(job["frames"]).asnumpy())

    return run


def decode_only(job: Job) -> Callable[[], Frames]:
    """FFmpeg's decoder alone with frame threads, no conversion: what the every-frame job is measured by."""
    import av

    def run() -> Frames:
        with av.open(job["path"]) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_type = "FRAME"
            stream.codec_context.thread_count = job["threads"] or 2
            for _ in container.decode(stream):
                pass
        yield from ()

    return run


def floor(job: Job) -> Callable[[], Frames]:
    """FFmpeg's decoder alone on the packets of the plan's runs, already in memory, a run per thread: the limit of any job."""
    import av

    with av.open(job["path"]) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
    containers = [av.open(job["path"]) for _ in range(job["threads"])]
    runs = deque(sorted(job["runs"], key=len, reverse=True))

    def work(container: Any) -> None:
        decoder = container.streams.video[0].codec_context
        decoder.thread_type = "NONE"
        while True:
            try:
                run = runs.popleft()
            except IndexError:
                return
            if decoder.is_open:
                decoder.flush_buffers()
            for number in run:
                decoder.decode(packets[number])
            decoder.decode(None)

    def run() -> Frames:
        threads = [threading.Thread(target=work, args=(container,)) for container in containers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        yield from ()

    return run


def in_threads(clip: Callable[[str], np.ndarray], job: Job) -> Frames:
    """What users of a library without `sample_many` write: a thread per core, a clip per task."""

    def attempt(path: str) -> np.ndarray:
        try:
            return clip(path)
        except Exception as error:  # one clip it cannot take must not end the job
            print(f"{path}: {error}", file=sys.stderr)
            job.setdefault("failed", []).append(path)
            return np.zeros((job["per_clip"], 3, *job["size"]), np.uint8)

    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(attempt, job["paths"])


def spread(frames: int, count: int) -> list[int]:
    return np.linspace(0, frames - 1, count).round().astype(int).tolist()


def planar(batch: np.ndarray) -> np.ndarray:
    return batch.transpose(0, 3, 1, 2)


LIBRARIES = {f.__name__: f for f in (frametap, torchcodec, decord, decode_only, floor)}
# Distributions that provide the module of that name.
DISTRIBUTIONS = {"decord": ("decord", "decord2"), "torchcodec": ("torchcodec",)}


def versions() -> dict[str, str]:
    """The peers that this interpreter has: module name -> distribution and version."""
    found = {}
    for module, names in DISTRIBUTIONS.items():
        for name in names:
            try:
                found[module] = f"{name} {version(name)}"
            except PackageNotFoundError:
                continue
    return {module: name for module, name in found.items() if importlib.util.find_spec(module)}


def main() -> None:
    if len(sys.argv) == 1:
        print(json.dumps(versions()))
        return
    library, job_path, out_path = sys.argv[1:]
    with open(job_path) as file:  # noqa: PTH123 - the peers' interpreters run this, keep it plain
        job = json.load(file)
    run = LIBRARIES[library](job)
    before = resource.getrusage(resource.RUSAGE_SELF)
    wall, kept = time.perf_counter(), []
    for batch in run():
        # Every frame counts for the time; some are kept to be checked.
        kept.append(np.ascontiguousarray(batch[:: job["keep_every"]]))
    wall = time.perf_counter() - wall
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    frames = np.concatenate(kept) if kept and len({k.shape[1:] for k in kept}) == 1 else np.zeros(0)
    np.savez(out_path, frames=frames)
    numbers = {"wall": wall, "cpu": cpu, "rss": peak_mebibytes()}
    print(json.dumps({**numbers, "failed": job.get("failed", [])}))


def peak_mebibytes() -> float:
    """Peak memory of this process. Not ru_maxrss: that is inherited from the process that started this one."""
    with open("/proc/self/status") as file:  # noqa: PTH123
        status = dict(line.split(":", 1) for line in file if ":" in line)
    return int(status["VmHWM"].split()[0]) / 1024


if __name__ == "__main__":
    main()
