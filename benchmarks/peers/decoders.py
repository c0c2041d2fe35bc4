"""One job in one process: `python decoders.py LIBRARY JOB.json OUT.npz` decodes the job's frames and says what it took.

Run by bench_decode.py with the interpreter that has the library; imports nothing of this project but frametap itself.
JOB.json holds path, size [h, w], threads, frames (the wanted frame numbers, or null for all), batch and, for the many-clip
job, paths. Prints one JSON line: wall and CPU seconds without imports, peak memory of the process in MiB.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
        if job.get("paths"):
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
        if job.get("paths"):
            yield from in_threads(clip, job["paths"])
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
        if job.get("paths"):
            yield from in_threads(clip, job["paths"])
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
    """FFmpeg's decoder alone with frame threads, no conversion: the floor of the every-frame job."""
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


def in_threads(clip: Callable[[str], np.ndarray], paths: list[str]) -> Frames:
    """What users of a library without `sample_many` write: a thread per core, a clip per task."""
    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(clip, paths)


def spread(frames: int, count: int) -> list[int]:
    return np.linspace(0, frames - 1, count).round().astype(int).tolist()


def planar(batch: np.ndarray) -> np.ndarray:
    return batch.transpose(0, 3, 1, 2)


LIBRARIES = {f.__name__: f for f in (frametap, torchcodec, decord, decode_only)}


def main() -> None:
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
    print(json.dumps({"wall": wall, "cpu": cpu, "rss": peak_mebibytes()}))


def peak_mebibytes() -> float:
    """Peak memory of this process. Not ru_maxrss: that is inherited from the process that started this one."""
    with open("/proc/self/status") as file:  # noqa: PTH123
        status = dict(line.split(":", 1) for line in file if ":" in line)
    return int(status["VmHWM"].split()[0]) / 1024


if __name__ == "__main__":
    main()
