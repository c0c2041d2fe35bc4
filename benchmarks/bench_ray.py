"""Ray Data: `frametap.integrations.ray.read_videos` against Ray's own `read_videos`, on a local Ray.

    .venv-integrations/bin/python benchmarks/bench_ray.py VIDEO [--copies 8] [--fps 1] [--size 224] [--repeat 3]

Both read the same files into a row per frame, `--fps` frames per second at `--size`, and every row is consumed. Ray's own reader
decodes with decord and takes every n-th frame. They take turns in one Ray; the first, uncounted run of each starts the workers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import frametap as ft

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


def consume(dataset: Any) -> int:
    """Execute a dataset; return how many frames came."""
    return sum(len(batch["frame"]) for batch in dataset.iter_batches(batch_size=32))


def main() -> None:
    import ray
    import ray.data

    from frametap.integrations.ray import read_videos

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--fps", type=int, default=1)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    index = ft.FrameIndex.build(options.video)
    stride = max(1, round(index.average_fps / options.fps))  # Ray's rule
    size = (options.size, options.size)
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.copies):
            (Path(folder) / f"{number}{options.video.suffix}").symlink_to(options.video.resolve())
        readers: dict[str, Callable[[], Any]] = {
            "ray.data.read_videos": lambda: ray.data.read_videos(
                folder, fps=options.fps, resize=size
            ),
            "frametap": lambda: read_videos(
                folder, ft.Every(stride), ft.Transform(size=size, layout="NHWC"), rows="frames"
            ),
        }
        seconds: dict[str, list[float]] = {name: [] for name in readers}
        frames: dict[str, int] = {}
        for turn in range(options.repeat + 1):
            for name, reader in readers.items():
                started = time.perf_counter()
                frames[name] = consume(reader())
                if turn:
                    seconds[name].append(time.perf_counter() - started)
    print("| reader | frames | seconds (median, range) | frames/s |\n|---|--:|--:|--:|")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(
            f"| {name} | {frames[name]} | {median:.2f} ({min(times):.2f} to {max(times):.2f}) | {frames[name] / median:.0f} |"
        )


if __name__ == "__main__":
    main()
