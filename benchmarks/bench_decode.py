"""Decode throughput against the peers, job by job, with a correctness column.

    python benchmarks/bench_decode.py VIDEO --peers PYTHON... [--clips FOLDER...] [--repeat 3] [--only NAME] [--json out.json]
    python benchmarks/bench_decode.py VIDEO --codec hevc ...      # or vp9, av1: a version of VIDEO, encoded once into --cache
    python benchmarks/bench_decode.py VIDEO --open                # open + exact index: an hour of VIDEO as MP4, VIDEO as Matroska

Every measurement is a process of its own; libraries take turns, so that a noisy minute hits them all. The table gives
medians and, for frametap, the ratio to the fastest peer in the same run (wall and CPU seconds, and in brackets CPU seconds
against the peer that takes the fewest). "floor" is libavcodec alone on the packets of frametap's plan, a run per thread.
"wrong" counts frames whose content is not that of the wanted frame: frametap's are compared byte for byte with plain PyAV
decoding of the whole file put through the converter, the peers' (they resize differently) by which frame of the file they
resemble most. Clips that a library raises an error for are left out for all, and named: giving up early is not speed.
Under pytest the harness runs once on a small clip.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np

import frametap as ft

sys.path.insert(0, str(Path(__file__).parent))
from reference_frames import SIZE, Reference
from versions import ENCODERS, copied, encoded

BATCH = 64
# Peers at their best: torchcodec with 1, 2 and automatic (0) threads, decord with automatic.
PEER_THREADS = {"torchcodec": (1, 2, 0), "decord": (0,)}
# Of the every-frame job, so many frames are kept to be checked.
KEEP_EVERY = 7
CLIPS, PER_CLIP = 32, 8
DECODER = Path(__file__).with_name("peers") / "decoders.py"


@dataclass
class Job:
    """A list of frames to fetch, or all of them, or a few of many clips, or just to open a file."""

    name: str
    frames: list[int] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    runs: list[list[int]] = field(default_factory=list)
    snapped: list[int] | None = None

    def as_json(self, path: Path, threads: int) -> dict[str, Any]:
        """The job as decoders.py reads it."""
        return {
            "path": str(path),
            "size": SIZE,
            "threads": threads,
            "frames": self.frames,
            "batch": BATCH,
            "keep_every": 1 if self.frames is not None else KEEP_EVERY,
            "runs": self.runs,
            **self.options,
        }

    def wanted(self, library: str, total: int) -> list[int]:
        """The numbers of the frames that a library should have kept, of `total`."""
        if self.frames is None:
            starts = range(0, total, BATCH)
            return [n for at in starts for n in range(at, min(at + BATCH, total), KEEP_EVERY)]
        return self.snapped if library == "frametap" and self.snapped else self.frames


def jobs_for(path: Path, clips: list[Path]) -> list[Job]:
    """The jobs of the table for one video."""
    index = ft.FrameIndex.build(path)
    samplers = {
        "Uniform(32)": ft.Uniform(min(32, len(index))),
        "Clips(4, 16, step=4)": ft.Clips(4, 16, step=4),
        "Rate(2)": ft.Rate(2),
    }
    found = []
    with ft.open(path) as video:
        for name, sampler in samplers.items():
            found.append(Job(name, sampler(index).tolist(), runs=packets_of(video.plan(sampler))))
        everything = packets_of(video.plan(ft.Every(1)))
        found.append(Job("every frame, batches(64)", runs=everything))
        uniform = samplers["Uniform(32)"]
        for seconds in (0.5, 3.0):
            plan = video.plan(uniform, snap_seconds=seconds)
            found.append(
                Job(
                    f"Uniform(32), snap {seconds:g} s",
                    uniform(index).tolist(),
                    {"snap_seconds": seconds},
                    packets_of(plan),
                    plan.frames.tolist(),
                )
            )
    if clips:
        options = {"paths": [str(path) for path in clips], "per_clip": PER_CLIP}
        found.append(Job(f"{len(clips)} clips, {PER_CLIP} frames each", [], options))
    return found


def packets_of(plan: ft.Plan) -> list[list[int]]:
    """The numbers of the packets that each run feeds."""
    return [(run.start + np.flatnonzero(run.feed)).tolist() for run in plan.runs]


@dataclass
class Contestant:
    """A library with a number of threads, in an interpreter; and what its runs of a job took."""

    library: str
    threads: int
    python: str = sys.executable
    version: str = ""
    runs: list[dict[str, float]] = field(default_factory=list)
    frames: np.ndarray = field(default_factory=lambda: np.zeros(0))
    wrong: int | None = None
    failed: list[str] = field(default_factory=list)

    @property
    def is_peer(self) -> bool:
        """Whether it is a library to compare with."""
        return self.library in PEER_THREADS

    def median(self, key: str) -> float:
        """The median over the runs of "wall", "cpu" or "rss"."""
        return statistics.median(run[key] for run in self.runs)

    def measure(self, job: Job, path: Path, folder: Path) -> None:
        """Run a job in a process of its own and note its numbers and the frames it kept."""
        (folder / "job.json").write_text(json.dumps(job.as_json(path, self.threads)))
        command = [self.python, DECODER, self.library, folder / "job.json", folder / "out.npz"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{self.version or self.library} failed: {done.stderr[-500:]}")
        numbers = json.loads(done.stdout.splitlines()[-1])
        self.failed = numbers.pop("failed")
        self.runs.append(numbers)
        self.frames = np.load(folder / "out.npz")["frames"]


def contestants_for(job: Job, peers: list[str], threads: int) -> list[Contestant]:
    """Who takes part: frametap, what the interpreters `peers` have, and FFmpeg's decoder alone."""
    found = [Contestant("frametap", threads, version=f"frametap {ft.__version__}")]
    for python in peers:
        listed = subprocess.run([python, DECODER], capture_output=True, text=True, check=True)
        for library, version in json.loads(listed.stdout).items():
            found += [Contestant(library, n, python, version) for n in PEER_THREADS[library]]
    if job.runs:
        found.append(Contestant("floor", threads))
    if job.runs and job.frames is None:
        found.append(Contestant("decode_only", threads))
    return found


def run_job(job: Job, path: Path, peers: list[str], repeat: int, threads: int) -> list[Contestant]:
    """Measure one job with every library, taking turns; return those that can do it."""
    contestants = contestants_for(job, peers, threads)
    if "paths" in job.options:
        leave_out_failing(job, path, contestants)
    for _ in range(repeat):
        measure_all(job, path, contestants)
    return contestants


def measure_all(job: Job, path: Path, contestants: list[Contestant]) -> None:
    """Let each contestant do a job once; those that cannot do it leave the list."""
    with tempfile.TemporaryDirectory() as folder:
        for contestant in list(contestants):
            try:
                contestant.measure(job, path, Path(folder))
            except RuntimeError as error:
                if contestant.library == "frametap":
                    raise
                print(f"{job.name}: {error}".splitlines()[-1], file=sys.stderr)
                contestants.remove(contestant)


def leave_out_failing(job: Job, path: Path, contestants: list[Contestant]) -> None:
    """Take clips that some contestant raises an error for out of the job: a library that gives up early is not fast."""
    measure_all(job, path, contestants)
    failing = {clip: one for one in contestants for clip in one.failed}
    for clip, one in failing.items():
        print(f"left out: {Path(clip).name}, which {one.version} cannot decode", file=sys.stderr)
    job.options["paths"] = [clip for clip in job.options["paths"] if clip not in failing]
    job.name = f"{len(job.options['paths'])} clips, {PER_CLIP} frames each"
    for one in contestants:
        one.runs.clear()


def check(job: Job, contestants: list[Contestant], reference: Reference) -> None:
    """Count for each contestant the frames that are not the wanted ones."""
    checked = [one for one in contestants if one.library == "frametap" or one.is_peer]
    if "open" in job.options:
        for one in checked:
            one.wrong = abs(len(one.frames) - job.options["open"] * len(reference.frames))
        return
    if "paths" not in job.options:
        for one in checked:
            wanted = job.wanted(one.library, len(reference.frames))
            one.wrong = reference.wrong(one.library, wanted, one.frames)
        return
    for one in checked:
        one.wrong = 0
    for number, path in enumerate(job.options["paths"]):
        clip = Reference(Path(path))
        total = len(clip.frames)
        ours = ft.Uniform(PER_CLIP)(ft.FrameIndex.build(path)).tolist()
        theirs = np.linspace(0, total - 1, PER_CLIP).round().astype(int).tolist()
        for one in checked:
            got = one.frames[number * PER_CLIP : (number + 1) * PER_CLIP]
            wanted = ours if one.library == "frametap" else theirs
            one.wrong = (one.wrong or 0) + clip.wrong(one.library, wanted, got)


LINE = "{:26} {:17} {:>3} {:>18} {:>7} {:>8} {:>6}  {}"
HEADER = LINE.format(
    "job", "library", "thr", "wall s", "cpu s", "RSS MiB", "wrong", "to the fastest peer: wall, cpu"
)


def table(job: Job, contestants: list[Contestant]) -> str:
    """What a job took, as text: medians, spread, ratios to the peers."""
    lines = []
    for one in contestants:
        wall = [run["wall"] for run in one.runs]
        lines.append(
            LINE.format(
                job.name,
                one.version or one.library,
                one.threads,
                f"{one.median('wall'):.2f} ({min(wall):.2f}-{max(wall):.2f})",
                f"{one.median('cpu'):.2f}",
                f"{one.median('rss'):.0f}",
                "-" if one.wrong is None else one.wrong,
                ratios(one, contestants),
            )
        )
    return "\n".join(lines)


def ratios(one: Contestant, contestants: list[Contestant]) -> str:
    """Wall and CPU time over the fastest peer's, and CPU time over that of the most frugal; "" for the peers."""
    peers = [other for other in contestants if other.is_peer]
    if one.is_peer or not peers:
        return ""
    fastest = min(peers, key=lambda other: other.median("wall"))
    wall, cpu = (one.median(key) / fastest.median(key) for key in ("wall", "cpu"))
    frugal = one.median("cpu") / min(other.median("cpu") for other in peers)
    return f"{wall:.2f}, {cpu:.2f} ({frugal:.2f})"


def open_jobs(video: Path, cache: Path, length: float = 3600) -> Iterator[tuple[Job, Path]]:
    """Opening with an exact index: an hour of MP4, and the video in a container without a table of its frames.

    The option "open" says how many times the file holds the video.
    """
    with av.open(str(video)) as container:
        seconds = float(container.duration or av.time_base) / av.time_base
    times = max(1, round(length / seconds))
    name = f"open + index, MP4 of {times * seconds:.0f} s"
    yield Job(name, [], {"open": times}), copied(video, ".mp4", times, cache)
    yield Job("open + index, Matroska", [], {"open": 1}), copied(video, ".mkv", 1, cache)


def short_clips(places: list[Path]) -> list[Path]:
    """The smallest videos of some folders that have enough frames and that plain decoding can deliver."""
    files = sorted({p for place in places for p in place.iterdir() if p.is_file()}, key=_bytes)
    found = []
    for path in files:
        try:
            index = ft.FrameIndex.build(path)
            ft.sample(path, ft.Uniform(PER_CLIP), ft.Transform(size=SIZE))
        except ft.FrametapError:
            continue
        if len(index) >= PER_CLIP:
            found.append(path)
        if len(found) == CLIPS:
            break
    return found


def _bytes(path: Path) -> int:
    return path.stat().st_size


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument(
        "--peers", nargs="+", default=[], help="interpreters that have torchcodec or decord"
    )
    parser.add_argument("--clips", type=Path, nargs="+", default=[], help="folders of short clips")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", help="run only jobs whose name contains this")
    parser.add_argument(
        "--codec", choices=sorted(ENCODERS), help="measure a version of VIDEO in this codec"
    )
    parser.add_argument("--frames", type=int, help="how many frames of VIDEO --codec encodes")
    parser.add_argument("--open", action="store_true", help="measure opening alone")
    parser.add_argument("--cache", type=Path, default=Path("build/bench"), help="for versions")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    """Measure what the command line asks for."""
    wish, rows = arguments(), []
    video = wish.video
    if wish.codec:
        video = encoded(video, wish.codec, wish.cache, wish.frames)
    decoding = ((job, video) for job in jobs_for(video, short_clips(wish.clips)))
    jobs = list(open_jobs(video, wish.cache) if wish.open else decoding)
    jobs = [(job, path) for job, path in jobs if not wish.only or wish.only in job.name]
    reference = Reference(video)
    print(HEADER)
    for job, path in jobs:
        done = run_job(job, path, wish.peers, wish.repeat, wish.threads)
        check(job, done, reference)
        print(table(job, done), flush=True)
        rows += [{"job": job.name, **vars(one), "frames": len(one.frames)} for one in done]
    if wish.json:
        wish.json.write_text(json.dumps(rows, indent=1))


def test_harness_on_a_small_clip(tmp_path: Path) -> None:
    """Every job runs, and every frame is the right one."""
    from clips import Clip, encode

    path = tmp_path / "small.mp4"
    options = {"preset": "ultrafast", "g": "30", "bf": "2"}
    encode(path, Clip("libx264", size=(320, 180), encoded=90, options=options))
    reference = Reference(path)
    for job in jobs_for(path, [path, path]):
        done = run_job(job, path, [], 1, 2)
        check(job, done, reference)
        assert done[0].wrong == 0, job.name
        assert {one.library for one in done} >= ({"floor"} if job.runs else set())
    for job, made in open_jobs(path, tmp_path, 60):
        done = run_job(job, made, [], 1, 1)
        check(job, done, reference)
        assert done[0].wrong == 0, job.name


if __name__ == "__main__":
    main()
