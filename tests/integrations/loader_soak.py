"""Many samples through a DataLoader, with what its workers held in memory as they went; a test uses it, and so may you:

python tests/integrations/loader_soak.py FOLDER --samples 2000 --workers 2 --context fork
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

import frametap as ft
from frametap.integrations.torch import Skipped, VideoDataset, collate

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


class HeapInfo(ctypes.Structure):
    """What glibc's mallinfo2 returns."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def live_bytes() -> int:
    """Return what malloc has handed out and not got back; Python keeps small objects elsewhere.

    Resident memory adds what glibc was given back and keeps for later.
    """
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = HeapInfo
    heap = mallinfo2()
    return int(heap.uordblks + heap.hblkhd)


class Measured(Dataset):
    """Goes round `dataset` and adds the worker's process, resident and live memory to each sample."""

    def __init__(self, dataset: VideoDataset, samples: int) -> None:
        self.dataset, self.samples = dataset, samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, number: int) -> Any:
        sample = self.dataset[number % len(self.dataset)]
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        if isinstance(sample, Skipped):
            return Skipped(os.getpid(), sample.source, f"{resident} {sample.error}")
        numbers = {"process": os.getpid(), "resident": resident, "live": live_bytes()}
        return {**sample, **numbers}


def soak(videos: list[str], samples: int, workers: int, context: str) -> dict[str, Any]:
    """Return counts of good and skipped samples, and for each worker its resident and live bytes sample by sample."""
    sampler, transform = ft.Clips(1, 4, step=2, random=True), ft.Transform(size=(64, 64))
    dataset = VideoDataset(videos, sampler, transform, on_error="skip", seed=0)
    loader = DataLoader(
        Measured(dataset, samples),
        batch_size=8,
        num_workers=workers,
        multiprocessing_context=context,
        collate_fn=collate,
    )
    memory: dict[int, list[int]] = {}
    live: dict[int, list[int]] = {}
    skipped: Counter[str] = Counter()
    good = 0
    for batch in loader:
        assert batch["video"].shape[1:] == (4, 3, 64, 64) if len(batch["row"]) else True
        good += len(batch["row"])
        if len(batch["row"]):
            numbers = (batch[name].tolist() for name in ("process", "resident", "live"))
            for process, resident, allocated in zip(*numbers, strict=True):
                memory.setdefault(process, []).append(resident)
                live.setdefault(process, []).append(allocated)
        for sample in batch["skipped"]:
            skipped[f"{Path(sample.source).name}: {sample.error.split(' ', 1)[1]}"] += 1
    return {"good": good, "skipped": skipped, "memory": memory, "live": live}


def quarters(numbers: list[int]) -> list[float]:
    """Return the median of each quarter, in MB."""
    count = len(numbers)
    parts = (numbers[i * count // 4 : (i + 1) * count // 4] for i in range(4))
    return [round(statistics.median(part) / 1e6, 1) for part in parts]


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
    result = soak(videos, arguments.samples, arguments.workers, arguments.context)
    print(
        f"{len(videos)} videos, {result['good']} good samples, {sum(result['skipped'].values())} skipped"
    )
    for process, resident in result["memory"].items():
        print(
            f"worker {process}: {len(resident)} samples, MB by quarter: resident {quarters(resident)}, "
            f"live {quarters(result['live'][process])}"
        )
    for reason, count in result["skipped"].most_common():
        print(f"{count:5d} x {reason}")


if __name__ == "__main__":
    main()
