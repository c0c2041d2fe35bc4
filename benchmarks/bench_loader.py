"""A DataLoader of random clips against the same with torchcodec and decord: frames per second, memory, wrong frames.

    python benchmarks/bench_loader.py VIDEO... [--workers 0 1 2] [--samples 48] [--repeat 3] [--json out.json]

Run it with an interpreter that has torch and the peers (`make test-integrations` makes one: .venv-integrations). A sample opens
one of the videos and fetches a clip of 8 frames, 4 apart, at 224 x 224, with one thread; all libraries fetch the same clips in
the same order, in processes of their own, taking turns. The clock starts when the library is imported and the loader begins, and
ends with the last batch. "MiB" is the peak of the loading process or of all workers together. "wrong" counts, of the first
samples, frames that are not the wanted ones: frametap's are compared with plain PyAV decoding byte for byte; a peer's, which are
resized differently, count when a neighbour of the wanted frame is less than half as far from them as the wanted one.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import frametap as ft

FRAMES, STEP, SIZE, BATCH = 8, 4, (224, 224), 4
# So many samples, the first of a run, are kept and checked.
CHECKED = 6


def frametap(path: str, numbers: list[int]) -> Any:
    return ft.sample(path, ft.Indices(numbers), ft.Transform(size=SIZE), threads=1).torch()


def torchcodec(path: str, numbers: list[int]) -> Any:
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    return (
        VideoDecoder(path, num_ffmpeg_threads=1, transforms=[Resize(SIZE)])
        .get_frames_at(numbers)
        .data
    )


def decord(path: str, numbers: list[int]) -> Any:
    import decord
    import torch

    reader = decord.VideoReader(path, width=SIZE[1], height=SIZE[0], num_threads=1)
    return torch.from_numpy(reader.get_batch(numbers).asnumpy()).permute(0, 3, 1, 2)


LIBRARIES: dict[str, Callable[[str, list[int]], Any]] = {
    f.__name__: f for f in (frametap, torchcodec, decord)
}


class Clips:
    """A dataset of clips: what any of the libraries' users would write."""

    def __init__(self, library: str, clips: list[tuple[str, list[int]]]) -> None:
        self.library, self.clips = library, clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, number: int) -> tuple[Any, int, float]:
        from bench_decode import DECODER

        frames = LIBRARIES[self.library](*self.clips[number])
        sys.path.insert(0, str(DECODER.parent))
        from decoders import peak_mebibytes
        from torch.utils.data import get_worker_info

        worker = get_worker_info()
        return frames, 0 if worker is None else worker.id, peak_mebibytes()


def measure(job: dict[str, Any], out: Path) -> dict[str, float]:
    """Go through the samples once in this process; keep the first frames for the check."""
    import torch
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)
    importlib.import_module(job["library"])
    _ = ft.sample, ft.Indices, ft.Transform  # imported on first use: not part of the job
    loader = DataLoader(
        Clips(job["library"], job["clips"]), batch_size=BATCH, num_workers=job["workers"]
    )
    kept, frames, peaks = [], 0, {}
    started = time.perf_counter()
    for batch, workers, peak in loader:
        frames += batch.shape[0] * batch.shape[1]
        peaks.update(zip(workers.tolist(), peak.tolist(), strict=True))
        if len(kept) * BATCH < CHECKED:
            kept.append(batch.numpy().copy())
    seconds = time.perf_counter() - started
    np.save(out, np.concatenate(kept)[:CHECKED])
    return {"fps": frames / seconds, "mebibytes": sum(peaks.values())}


def clips_of(videos: list[Path], samples: int) -> list[tuple[str, list[int]]]:
    """The clips of a run: video after video, at random places, the same in every run."""
    draw = np.random.default_rng(0)
    counts = {path: len(ft.FrameIndex.build(path)) for path in videos}
    found = []
    for number in range(samples):
        path = videos[number % len(videos)]
        start = int(draw.integers(0, max(1, counts[path] - (FRAMES - 1) * STEP)))
        found.append((str(path), [min(start + i * STEP, counts[path] - 1) for i in range(FRAMES)]))
    return found


def run(job: dict[str, Any], folder: Path) -> tuple[dict[str, float], np.ndarray]:
    """Measure in a process of its own."""
    (folder / "job.json").write_text(json.dumps(job))
    command = [sys.executable, __file__, "--measure", folder / "job.json", folder / "out.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{job['library']} failed: {done.stderr[-800:]}")
    return json.loads(done.stdout.splitlines()[-1]), np.load(folder / "out.npy")


def count_wrong(
    rows: list[dict[str, Any]], clips: list[tuple[str, list[int]]], kept: list[np.ndarray]
) -> None:
    """Note in each row how many of the frames kept of it are not the wanted ones."""
    from reference_frames import Reference

    for row in rows:
        row["wrong"] = 0
    for path in {path for path, _ in clips[:CHECKED]}:
        reference = Reference(Path(path))
        for row, frames in zip(rows, kept, strict=True):
            for (of, numbers), got in zip(clips, frames, strict=False):
                if of == path and row["library"] == "frametap":
                    row["wrong"] += reference.wrong("frametap", numbers, got)
                elif of == path:
                    row["wrong"] += sum(map(is_other, got, numbers, [reference.frames] * len(got)))


def is_other(frame: np.ndarray, number: int, frames: list[np.ndarray]) -> bool:
    """Whether a frame is clearly a neighbour of the wanted one."""
    near = range(max(0, number - 3), min(len(frames), number + 4))
    distance = {n: float(np.abs(frame.astype(np.int16) - frames[n]).mean()) for n in near}
    return min(distance.values()) < distance[number] / 2


def compare(
    videos: list[Path], libraries: list[str], workers: list[int], samples: int, repeat: int
) -> list[dict[str, Any]]:
    """Return a row per number of workers and library: rates and peaks of all repeats, and wrong frames of the last."""
    clips = clips_of(videos, samples)
    rows = [
        {"workers": count, "library": name, "fps": [], "mebibytes": []}
        for count in workers
        for name in libraries
    ]
    kept: list[np.ndarray] = [np.zeros(0)] * len(rows)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeat):
            for number, row in enumerate(rows):
                job = {"library": row["library"], "workers": row["workers"], "clips": clips}
                numbers, kept[number] = run(job, Path(folder))
                row["fps"].append(numbers["fps"])
                row["mebibytes"].append(numbers["mebibytes"])
    count_wrong(rows, clips, kept)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, with the ratio of each rate to the fastest peer's."""
    lines = [
        "| workers | library | frames/s (range) | to the fastest peer | MiB | wrong |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        peers = [
            statistics.median(other["fps"])
            for other in rows
            if other["workers"] == row["workers"] and other["library"] != "frametap"
        ]
        rate = statistics.median(row["fps"])
        ratio = f"{rate / max(peers):.2f}" if peers and row["library"] == "frametap" else ""
        spread = f"{min(row['fps']):.0f} to {max(row['fps']):.0f}"
        memory = f"{statistics.median(row['mebibytes']):.0f}"
        lines.append(
            f"| {row['workers']} | {row['library']} | {rate:.0f} ({spread}) | {ratio} | {memory} | {row['wrong']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure what the command line asks for."""
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--libraries", nargs="+", choices=list(LIBRARIES), default=list(LIBRARIES))
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    wish = parser.parse_args()
    rows = compare(wish.videos, wish.libraries, wish.workers, wish.samples, wish.repeat)
    print(table(rows))
    if wish.json:
        wish.json.write_text(json.dumps(rows, indent=1))


def test_harness_on_a_small_clip(tmp_path: Path) -> None:
    """frametap's loader delivers the right frames, with workers and without."""
    pytest.importorskip("torch")
    from clips import Clip, encode

    path = tmp_path / "small.mp4"
    encode(
        path,
        Clip("libx264", size=(320, 180), encoded=60, options={"preset": "ultrafast", "g": "30"}),
    )
    rows = compare([path], ["frametap"], [0, 1], samples=8, repeat=1)
    assert [row["wrong"] for row in rows] == [0, 0]
    assert all(row["fps"][0] > 0 for row in rows)
    assert "| 1 | frametap |" in table(rows)


if __name__ == "__main__":
    main()
