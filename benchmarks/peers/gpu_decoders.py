"""One job on one GPU in one process: `python gpu_decoders.py LIBRARY JOB.json OUT.npz` decodes the job's frames, several times.

Run by bench_gpu.py. JOB.json is that of decoders.py, and `repeat`. The first time is not counted: it makes the CUDA context,
loads kernels and creates decoders. Prints one JSON line: seconds of each time, peak memory of the process in MiB, NVDEC
utilisation in percent where NVML tells; frames that are kept go to OUT.npz as uint8 (N, 3, h, w).
`python gpu_decoders.py` alone lists the libraries that this interpreter has.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from decoders import peak_mebibytes

from gpu.question import Packet
from gpu.raw_nvdec import Decoder, DisplayInfo, Driver, Parser, VideoFormat

Job = dict[str, Any]
Frames = Iterator[np.ndarray]
Work = Callable[[bool], Frames]
"""Does the job; yields the kept frames when asked for them, else nothing."""


def frametap(job: Job, driver: Driver, engine: str | None = None) -> Work:
    import frametap as ft

    transform = ft.Transform(size=tuple(job["size"]))
    options: dict[str, Any] = {"device": "cuda", "engine": engine}

    def host(batch: ft.FrameBatch) -> np.ndarray:
        data: Any = batch._data
        return np.frombuffer(driver.read(data.address, data.nbytes), np.uint8).reshape(data.shape)

    def run(keep: bool) -> Frames:
        if job["frames"] is not None:
            batch = ft.sample(job["path"], ft.Indices(job["frames"]), transform, **options)
            if keep:
                yield host(batch)
            return
        with ft.open(job["path"], transform=transform, **options) as video:
            for batch in video.batches(job["batch"]):
                if keep:
                    yield host(batch)[:: job["keep_every"]]

    return run


def frametap_pynvvideocodec(job: Job, driver: Driver) -> Work:
    return frametap(job, driver, "pynvvideocodec")


def raw(job: Job, driver: Driver) -> Work:
    """NVDEC alone on the packets of frametap's plan: a session per run, as many at once as there are engines, and only the
    last picture of each mapped, which waits for the others."""
    from gpu.probe import read_stream

    stream = read_stream(Path(job["path"]))
    engines = max(1, driver.caps(stream.codec).num_engines)

    def one(packets: list[Packet]) -> None:
        driver.push()
        made: list[Decoder] = []
        last: list[int] = []

        def on_sequence(video: VideoFormat) -> int:
            made[:] = made or [decoder_for(video)]
            return video.surfaces

        def on_display(info: DisplayInfo) -> int:
            last[:] = [info.picture_index]
            return 1

        parser = Parser(
            driver,
            stream.codec,
            on_sequence=on_sequence,
            on_decode=lambda picture: made[0].decode(picture),
            on_display=on_display,
        )
        for number, packet in enumerate(packets):
            parser.parse(packet.plain if number else packet.with_headers, packet.rank)
        parser.finish()
        parser.close()
        address, _ = made[0].map(last[0])
        made[0].unmap(address)
        idle.extend(made)
        driver.pop()

    idle: list[Decoder] = []  # pooled, as frametap's are

    def decoder_for(video: VideoFormat) -> Decoder:
        try:
            return idle.pop()
        except IndexError:
            return Decoder(driver, video)

    def run(_: bool) -> Frames:
        runs = [[stream.packets[number] for number in numbers] for numbers in job["runs"]]
        with ThreadPoolExecutor(engines) as pool:
            list(pool.map(one, sorted(runs, key=len, reverse=True)))
        yield from ()

    return run


def torchcodec(job: Job, _: Driver) -> Work:
    import torch
    from torchcodec.decoders import VideoDecoder

    def host(frames: Any) -> np.ndarray:
        small = torch.nn.functional.interpolate(frames.float(), job["size"], mode="area")
        return small.round().to(torch.uint8).cpu().numpy()

    def run(keep: bool) -> Frames:
        decoder = VideoDecoder(job["path"], device="cuda")
        if job["frames"] is not None:
            batch = decoder.get_frames_at(job["frames"]).data
            if keep:
                yield host(batch)
            return
        for start in range(0, len(decoder), job["batch"]):
            stop = min(start + job["batch"], len(decoder))
            batch = decoder.get_frames_in_range(start, stop).data
            if keep:
                yield host(batch[:: job["keep_every"]])

    return run


def simple_decoder(job: Job, _: Driver) -> Work:
    """PyNvVideoCodec's own reader, whole RGB pictures."""
    import PyNvVideoCodec as nvc
    import torch

    def host(frames: list[Any]) -> np.ndarray:
        stacked = torch.stack([torch.from_dlpack(frame) for frame in frames]).permute(0, 3, 1, 2)
        small = torch.nn.functional.interpolate(stacked.float(), job["size"], mode="area")
        return small.round().to(torch.uint8).cpu().numpy()

    def run(keep: bool) -> Frames:
        decoder = nvc.SimpleDecoder(
            job["path"],
            gpu_id=0,
            use_device_memory=True,
            output_color_type=nvc.OutputColorType.RGB,
        )
        wanted = job["frames"]
        if wanted is not None:
            frames = decoder.get_batch_frames_by_index(wanted)
            if keep:
                yield host(frames)
            return
        while frames := decoder.get_batch_frames(job["batch"]):
            if keep:
                yield host(frames[:: job["keep_every"]])

    return run


LIBRARIES = {
    "frametap": (frametap, ("frametap",)),
    "frametap pynvvideocodec": (frametap_pynvvideocodec, ("frametap", "PyNvVideoCodec")),
    "raw NVDEC": (raw, ("frametap",)),
    "torchcodec": (torchcodec, ("torchcodec", "torch")),
    "SimpleDecoder": (simple_decoder, ("PyNvVideoCodec", "torch")),
}


class Utilization(threading.Thread):
    """Reads NVML's utilisation of the decoders while it runs; nothing where there is no NVML."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.percent: list[int] = []
        self._stop_it = threading.Event()

    def run(self) -> None:
        try:
            nvml = ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            return
        handle, percent, period = ctypes.c_void_p(), ctypes.c_uint(), ctypes.c_uint()
        if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(handle)):
            return
        while not self._stop_it.wait(0.05):
            arguments = (handle, ctypes.byref(percent), ctypes.byref(period))
            if nvml.nvmlDeviceGetDecoderUtilization(*arguments) == 0:
                self.percent.append(percent.value)

    def stop(self) -> float | None:
        """The mean of what was read."""
        self._stop_it.set()
        self.join()
        return sum(self.percent) / len(self.percent) if self.percent else None


def main() -> None:
    """Do the job so many times and once more."""
    if len(sys.argv) == 1:
        found = [
            name
            for name, (_, needs) in LIBRARIES.items()
            if all(importlib.util.find_spec(module) for module in needs)
        ]
        print(json.dumps(found))
        return
    library, job_file, out = sys.argv[1:]
    job: Job = json.loads(Path(job_file).read_text())
    driver = Driver()
    work = LIBRARIES[library][0](job, driver)
    kept = list(work(True))
    driver.call("cuCtxSynchronize")
    seconds = []
    watch = Utilization()
    watch.start()
    for _ in range(job["repeat"]):
        started = time.perf_counter()
        for _ in work(False):
            pass
        driver.call("cuCtxSynchronize")
        seconds.append(time.perf_counter() - started)
    percent = watch.stop()
    np.savez(out, frames=np.concatenate(kept) if kept else np.zeros(0, np.uint8))
    print(json.dumps({"seconds": seconds, "rss": peak_mebibytes(), "nvdec": percent}))


if __name__ == "__main__":
    main()
