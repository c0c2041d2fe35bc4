"""Decode throughput against the peers, job by job, with a correctness column.

    python benchmarks/bench_decode.py VIDEO --peers /path/to/venv/bin/python [--clips DIR] [--repeat 3] [--json out.json]
    python benchmarks/bench_decode.py VIDEO --codec hevc ...      # or vp9, av1: a version of VIDEO, encoded once into --cache

Every measurement is a process of its own; libraries take turns, so that a noisy minute hits them all. The table gives
medians and, for frametap, the ratio to the best peer in the same run. "wrong" counts frames whose content is not that of the
wanted frame: frametap's are compared byte for byte with plain PyAV decoding of the whole file put through the converter, the
peers' (they resize differently) by which frame of the file they resemble most. Under pytest the harness runs once on a
small clip.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np

import frametap as ft
from frametap._core import Converter
from frametap.container import orientation_of, picture_format

SIZE = (224, 224)
# Encoder, its options and the container of the versions that --codec makes: defaults of the encoders, at their faster presets.
ENCODERS = {
    "hevc": ("libx265", {"preset": "fast", "x265-params": "log-level=error"}, ".mp4"),
    "vp9": (
        "libvpx-vp9",
        {"deadline": "realtime", "cpu-used": "5", "row-mt": "1", "g": "250"},
        ".webm",
    ),
    "av1": ("libsvtav1", {"preset": "8", "g": "250"}, ".mp4"),
}
BATCH = 64
# Peers at their best: torchcodec with 1, 2 and automatic (0) threads, decord with automatic.
PEER_SETTINGS = [("torchcodec", 1), ("torchcodec", 2), ("torchcodec", 0), ("decord", 0)]
NEIGHBOURS = 3
# Of the every-frame job, so many frames are kept to be checked.
KEEP_EVERY = 7


@dataclass
class Job:
    """A list of frames to fetch, or all of them, or a few of many clips."""

    name: str
    frames: list[int] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    peers: bool = True

    def as_json(self, path: Path, threads: int, keep_every: int) -> dict[str, Any]:
        """The job as decoders.py reads it."""
        return {
            "path": str(path),
            "size": SIZE,
            "threads": threads,
            "frames": self.frames,
            "batch": BATCH,
            "keep_every": keep_every,
            **self.options,
        }


def jobs_for(index: ft.FrameIndex, clips: list[Path]) -> list[Job]:
    """The jobs of the table for one video."""
    uniform = ft.Uniform(min(32, len(index)))(index).tolist()
    found = [
        Job("Uniform(32)", uniform),
        Job("Clips(4, 16, step=4)", ft.Clips(4, 16, step=4)(index).tolist()),
        Job("Rate(2)", ft.Rate(2)(index).tolist()),
        Job("every frame, batches(64)"),
        Job("Uniform(32), snap 0.5 s", uniform, {"snap_seconds": 0.5}),
        Job("Uniform(32), snap 3 s", uniform, {"snap_seconds": 3.0}),
    ]
    if clips:
        options = {"paths": [str(path) for path in clips], "per_clip": 8}
        found.append(Job(f"{len(clips)} clips, 8 frames each", [], options))
    return found


class Reference:
    """All frames of a video by plain PyAV decoding, in the benchmark's size."""

    def __init__(self, path: Path) -> None:
        transform = ft.Transform(size=SIZE)
        self.frames: list[np.ndarray] = []
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "FRAME"
            for picture in container.decode(stream):
                self.frames.append(convert(picture, transform))

    def wrong(self, library: str, wanted: list[int], got: np.ndarray) -> int:
        """How many of the frames got are not the wanted ones."""
        if len(wanted) != len(got):
            return max(len(wanted), len(got))
        if library == "frametap":
            return sum(
                not np.array_equal(a, self.frames[n]) for a, n in zip(got, wanted, strict=True)
            )
        return sum(not self._resembles(a, n) for a, n in zip(got, wanted, strict=True))

    def _resembles(self, frame: np.ndarray, number: int) -> bool:
        def distance(other: int) -> float:
            return float(np.abs(frame.astype(np.int16) - self.frames[other]).mean())

        near = range(max(0, number - NEIGHBOURS), min(len(self.frames), number + NEIGHBOURS + 1))
        return distance(number) <= min(distance(other) for other in near) + 0.02


def convert(picture: av.VideoFrame, transform: ft.Transform) -> np.ndarray:
    """One decoded picture through the converter, without the rest of the library."""
    params = transform.resolve(picture_format(picture, orientation_of(picture), "left"))
    out = np.empty(params.out_shape, np.uint8)
    planes = [(plane.buffer_ptr, plane.line_size) for plane in picture.planes]
    Converter(**asdict(params)).convert(planes, out.ctypes.data)
    return out


def measure(
    python: str, library: str, job: dict[str, Any], folder: Path
) -> tuple[dict[str, float], np.ndarray]:
    """Run one job in one process; return its numbers and the frames it kept."""
    (folder / "job.json").write_text(json.dumps(job))
    script = Path(__file__).with_name("peers") / "decoders.py"
    command = [python, str(script), library, str(folder / "job.json"), str(folder / "out.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{library} failed: {done.stderr[-500:]}")
    return json.loads(done.stdout.splitlines()[-1]), np.load(folder / "out.npz")["frames"]


def run_job(
    job: Job, path: Path, reference: Reference, peers: str | None, repeat: int, threads: int
) -> list[dict[str, Any]]:
    """Measure one job with every library, taking turns; return a row per library and setting."""
    keep_every = 1 if job.frames is not None else KEEP_EVERY
    contestants = [(sys.executable, "frametap", threads)]
    contestants += [(peers, library, count) for library, count in PEER_SETTINGS] if peers else []
    if job.frames is None:
        contestants.append((sys.executable, "decode_only", threads))
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    failed: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeat):
            for python, library, count in contestants:
                if library in failed:
                    continue
                try:
                    numbers, frames = measure(
                        python, library, job.as_json(path, count, keep_every), Path(folder)
                    )
                except RuntimeError as error:
                    if library == "frametap":
                        raise
                    print(f"{job.name}: {error}".splitlines()[-1], file=sys.stderr)
                    failed.add(library)
                    continue
                row = rows.setdefault(
                    (library, count),
                    {"job": job.name, "library": library, "threads": count, "runs": []},
                )
                row["runs"].append(numbers)
                row["wrong"] = count_wrong(job, library, frames, reference)
    return list(rows.values())


def count_wrong(job: Job, library: str, frames: np.ndarray, reference: Reference) -> int | None:
    """Frames that are not the wanted ones; None where the job has no single right answer."""
    if library == "decode_only" or "paths" in job.options or "snap_seconds" in job.options:
        return None
    wanted = job.frames
    if wanted is None:
        total = len(reference.frames)
        starts = range(0, total, BATCH)
        wanted = [n for at in starts for n in range(at, min(at + BATCH, total), KEEP_EVERY)]
    return reference.wrong(library, wanted, frames)


HEADER = (
    "job",
    "library",
    "thr",
    "wall s",
    "cpu s",
    "RSS MiB",
    "wrong",
    "to best peer (wall, cpu)",
)
LINE = "{:26} {:12} {:>3} {:>18} {:>7} {:>8} {:>6}  {}"


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text: medians, spread, ratio to the best peer of the same job."""
    for row in rows:
        for key in ("wall", "cpu", "rss"):
            row[key] = statistics.median(run[key] for run in row["runs"])
    lines = []
    for row in rows:
        wall = [run["wall"] for run in row["runs"]]
        lines.append(
            LINE.format(
                row["job"],
                row["library"],
                row["threads"],
                f"{row['wall']:.2f} ({min(wall):.2f}-{max(wall):.2f})",
                f"{row['cpu']:.2f}",
                f"{row['rss']:.0f}",
                "-" if row["wrong"] is None else row["wrong"],
                ratio_to_peers(row, rows),
            )
        )
    return "\n".join(lines)


def ratio_to_peers(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Frametap's wall and CPU time over the best peer's at the same job, "" for the others."""
    peers = [
        other
        for other in rows
        if other["job"] == row["job"] and other["library"] in ("torchcodec", "decord")
    ]
    if row["library"] != "frametap" or not peers:
        return ""
    ratios = (row[key] / min(peer[key] for peer in peers) for key in ("wall", "cpu"))
    return ", ".join(f"{ratio:.2f}" for ratio in ratios)


def encoded(video: Path, codec: str, cache: Path, frames: int | None) -> Path:
    """Return a version of a video in another codec, made once and kept in `cache`; `frames` limits its length."""
    encoder, options, suffix = ENCODERS[codec]
    path = cache / f"{video.stem}_{codec}{'' if frames is None else f'_{frames}'}{suffix}"
    if path.exists():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name("unfinished_" + path.name)
    with av.open(str(video)) as source, av.open(str(unfinished), "w") as target:
        stream = source.streams.video[0]
        stream.thread_type = "FRAME"
        out = target.add_stream(encoder, rate=stream.average_rate, options=options)
        out.width, out.height, out.pix_fmt = stream.width, stream.height, "yuv420p"
        out.bit_rate = stream.bit_rate or 5_000_000
        for number, picture in enumerate(source.decode(stream)):
            if number == frames:
                break
            picture.pict_type = 0
            target.mux(out.encode(picture))
        target.mux(out.encode())
    unfinished.replace(path)
    return path


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--peers", help="interpreter that has torchcodec and decord")
    parser.add_argument("--clips", type=Path, help="folder of short clips for the many-clip job")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", help="run only jobs whose name contains this")
    parser.add_argument(
        "--codec", choices=sorted(ENCODERS), help="measure a version of VIDEO in this codec"
    )
    parser.add_argument("--frames", type=int, help="how many frames of VIDEO --codec encodes")
    parser.add_argument(
        "--cache", type=Path, default=Path("build/bench"), help="where --codec keeps it"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    video = arguments.video
    if arguments.codec:
        video = encoded(video, arguments.codec, arguments.cache, arguments.frames)
    clips = (
        sorted(path for path in arguments.clips.iterdir() if path.is_file())[:32]
        if arguments.clips
        else []
    )
    reference = Reference(video)
    rows: list[dict[str, Any]] = []
    print(LINE.format(*HEADER))
    for job in jobs_for(ft.FrameIndex.build(video), clips):
        if arguments.only and arguments.only not in job.name:
            continue
        done = run_job(job, video, reference, arguments.peers, arguments.repeat, arguments.threads)
        print(table(done), flush=True)
        rows += done
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


def test_harness_on_a_small_clip(tmp_path: Path) -> None:
    """Every job runs, and every frame is the right one."""
    from clips import Clip, encode

    path = tmp_path / "small.mp4"
    encode(
        path,
        Clip(
            "libx264",
            size=(320, 180),
            encoded=90,
            options={"preset": "ultrafast", "g": "30", "bf": "2"},
        ),
    )
    reference = Reference(path)
    for job in jobs_for(ft.FrameIndex.build(path), [path, path]):
        row = run_job(job, path, reference, None, 1, 2)[0]
        assert row["wrong"] in (0, None), row


if __name__ == "__main__":
    main()
