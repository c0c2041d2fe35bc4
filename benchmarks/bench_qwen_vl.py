"""Reading a Qwen-VL video message: frametap against the readers that qwen-vl-utils has, in time, memory and pixels.

    .venv-integrations/bin/python benchmarks/bench_qwen_vl.py VIDEO [--repeat 3]

Every measurement is a process of its own, imports done before the clock starts; readers take turns. PSNR is against the
tensor of the first reader that works (both are bicubic with antialias, before or after the colour conversion).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

READERS = ("torchcodec", "decord", "frametap", "frametap, registered")
MESSAGES: dict[str, dict[str, Any]] = {
    "fps=2": {"fps": 2.0},
    "nframes=32": {"nframes": 32},
    "nframes=16, 256 tokens": {"nframes": 16, "max_pixels": 256 * 28 * 28},
}


def read_once(reader: str, message: dict[str, Any], out: Path) -> dict[str, Any]:
    """Read one message in this process; write the frames to `out`, report the rest."""
    import resource

    import torch
    from qwen_vl_utils import vision_process

    fetch = vision_process.fetch_video
    vision_process.VIDEO_READER_BACKENDS["torchvision"] = None  # so that a reader's failure is one
    vision_process.FORCE_QWENVL_VIDEO_READER = reader
    if reader.startswith("frametap"):
        from frametap.integrations import qwen_vl

        qwen_vl.register(image_patch_size=14)
        fetch = qwen_vl.fetch_video if reader == "frametap" else fetch
    else:
        __import__({"torchcodec": "torchcodec.decoders"}.get(reader, reader))
    started = time.perf_counter()
    video, metadata = fetch(message, return_video_metadata=True)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    np.save(out, video.to(torch.uint8).numpy())
    return {"seconds": seconds, "peak_mb": peak, "indices": metadata["frames_indices"]}


def measure(reader: str, message: dict[str, Any], out: Path) -> dict[str, Any] | None:
    command = [
        sys.executable,
        "-W",
        "ignore",
        __file__,
        "--read",
        reader,
        json.dumps(message),
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"  {reader}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float32) - b) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def compare(name: str, message: dict[str, Any], repeat: int, folder: Path) -> list[str]:
    """Return the table rows of one message."""
    runs: dict[str, list[dict[str, Any]]] = {reader: [] for reader in READERS}
    files = {reader: folder / f"{reader}.npy" for reader in READERS}
    for _ in range(repeat):
        for reader in READERS:
            result = measure(reader, message, files[reader])
            if result is not None:
                runs[reader].append(result)
    working = [reader for reader in READERS if runs[reader]]
    rows = []
    reference = np.load(files[working[0]])
    for reader in working:
        seconds = [run["seconds"] for run in runs[reader]]
        frames = np.load(files[reader])
        same = runs[reader][0]["indices"] == runs[working[0]][0]["indices"]
        likeness = f"{psnr(frames, reference):.1f} dB" if reader != working[0] else "-"
        rows.append(
            f"| {name} | {reader} | {'x'.join(map(str, frames.shape))} | {statistics.median(seconds):.2f} "
            f"({min(seconds):.2f} to {max(seconds):.2f}) | {max(run['peak_mb'] for run in runs[reader]):.0f} | "
            f"{'yes' if same else 'no'} | {likeness} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--read", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        reader, message, out = options.read
        print(json.dumps(read_once(reader, json.loads(message), Path(out))))
        return
    print(
        "| message | reader | tensor | seconds | peak MB | same frames | PSNR |\n|---|---|---|--:|--:|---|--:|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, message in MESSAGES.items():
            rows = compare(
                name, {"video": str(options.video), **message}, options.repeat, Path(folder)
            )
            print("\n".join(rows), flush=True)


if __name__ == "__main__":
    main()
