"""Many samples through a DataLoader, with what its workers held in memory as they went; a test uses it, and so may you:

python tests/integrations/loader_soak.py FOLDER --samples 2000 --workers 2 --context fork
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from torch.multiprocessing.reductions import shared_cache
from torch.utils.data import DataLoader, Dataset

import frametap as ft
from frametap.integrations.torch import VideoDataset, collate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where it runs as a program
from heap import live_bytes

SUFFIXES = {
    ".mp4",
    ".mkv",
    ".mov",
    ".webm",
    ".avi",
    ".ts",
    ".m2ts",
    ".flv",
    ".wmv",
    ".mpg",
    ".h264",
    ".hevc",
    ".ivf",
    ".obu",
}


class Memory(NamedTuple):
    """What a worker held before a batch.

    `live` and `blocks` tell a leak; `resident` adds what allocators were given back and keep for later.
    """

    process: int
    resident: int
    """Bytes."""
    live: int
    """Bytes that malloc has handed out."""
    blocks: int
    """Blocks that Python's own allocator has handed out."""

    @classmethod
    def now(cls) -> Memory:
        """Measure this process, after what is dead anyhow is gone."""
        gc.collect()
        shared_cache.free_dead_references()  # PyTorch's list of tensors sent, which it looks through at times
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident = pages * os.sysconf("SC_PAGE_SIZE")
        return cls(os.getpid(), resident, live_bytes(), sys.getallocatedblocks())


class Measured(Dataset):
    """Goes round `dataset`, and measures the worker before each batch, when nothing of the batch before it is left."""

    def __init__(self, dataset: VideoDataset, samples: int) -> None:
        self.dataset, self.samples = dataset, samples

    def __len__(self) -> int:
        return self.samples

    def __getitems__(self, numbers: list[int]) -> tuple[Memory, list[Any]]:
        """Return the measurement and the samples of a batch: the method that DataLoader prefers where it is there."""
        return Memory.now(), [self.dataset[number % len(self.dataset)] for number in numbers]


def collate_measured(measured: tuple[Memory, list[Any]]) -> tuple[Memory, dict[str, Any]]:
    """Make a batch of the samples and pass the measurement on."""
    memory, samples = measured
    return memory, collate(samples)


def freeze(_worker: int) -> None:
    """Keep what was there when the worker began out of the collections: they take 1 ms instead of 50."""
    gc.freeze()


def dataset_of(videos: list[str], kind: type[VideoDataset] = VideoDataset) -> VideoDataset:
    """Return a dataset of short random clips, which passes over what it cannot read."""
    sampler, transform = ft.Clips(1, 4, step=2, random=True), ft.Transform(size=(64, 64))
    return kind(videos, sampler, transform, on_error="skip", seed=0)


def soak(dataset: VideoDataset, samples: int, workers: int, context: str) -> dict[str, Any]:
    """Return counts of good and skipped samples, and what each worker held before each of its batches."""
    loader = DataLoader(
        Measured(dataset, samples),
        batch_size=8,
        num_workers=workers,
        multiprocessing_context=context,
        collate_fn=collate_measured,
        worker_init_fn=freeze,
    )
    memory: dict[int, list[Memory]] = {}
    skipped: Counter[str] = Counter()
    good = 0
    for measured, batch in loader:
        good += len(batch["row"])
        if len(batch["row"]):
            assert batch["video"].shape[1:] == (4, 3, 64, 64)
        memory.setdefault(measured.process, []).append(measured)
        for sample in batch["skipped"]:
            skipped[f"{Path(sample.source).name}: {sample.error}"] += 1
    return {"good": good, "skipped": skipped, "memory": memory}


def quarters(measured: list[Memory], what: str) -> list[int]:
    """Return the least of each quarter of a worker's batches: a leak lifts it, a batch that is still on its way does not."""
    numbers, count = [getattr(memory, what) for memory in measured], len(measured)
    return [min(numbers[i * count // 4 : (i + 1) * count // 4]) for i in range(4)]


def main() -> None:
    """Soak over the videos of a folder and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--context", choices=["fork", "spawn"], default="fork")
    arguments = parser.parse_args()
    videos = sorted(
        str(path) for path in arguments.folder.rglob("*") if path.suffix.lower() in SUFFIXES
    )
    dataset = dataset_of(videos)
    result = soak(dataset, arguments.samples, arguments.workers, arguments.context)
    skipped = result["skipped"]
    print(f"{len(videos)} videos, {result['good']} good samples, {sum(skipped.values())} skipped")
    for process, measured in result["memory"].items():
        print(f"worker {process}: {len(measured)} batches; the least of each quarter:")
        for what, unit, digits in (("resident", 1e6, 1), ("live", 1e6, 2), ("blocks", 1, 0)):
            numbers = (f"{number / unit:.{digits}f}" for number in quarters(measured, what))
            print(f"  {what:8s} {' '.join(numbers)}{' MB' if unit > 1 else ''}")
    for reason, count in skipped.most_common():
        print(f"{count:5d} x {reason}")


if __name__ == "__main__":
    main()
