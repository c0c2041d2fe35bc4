"""The full product that device="cuda" is held to, on the emulated driver, for as long as one has: `make test-cuda-matrix`.

    make test-cuda-matrix SECONDS=1800              # the first half hour of the walk
    make test-cuda-matrix SECONDS=1800 START=4321   # and on from where that ended
    make test-cuda-matrix START=17 ARGS="--count 1" # one combination again; --seed and --switches change it

Every corpus clip that is not damaged x sampler x transform x order of work x switches of the emulator are too many, so this is
a walk through them in a fixed order (`Walk`). Each combination runs in `matrix_worker.py`, a process that may crash or hang.
"""

from __future__ import annotations

import argparse
import json
import random
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from conftest import find_corpus
from emulator_control import environment
from gpu.axes import GPUS, SAMPLERS, SEEDS, SWITCHES, TRANSFORMS, UNNOTICED, corpus_clips

PAIRED = ("sampler", "transform", "seed")  # with each clip
Outcome = dict[str, Any]
SECONDS_PER_COMBINATION = 180
# Each costs some 20 combinations, which say what switch it takes.
EXAMINED_FAILURES = 10
ALL_SWITCHES = {**SWITCHES, **UNNOTICED}
DEFAULTS = {name: values[0] for name, values in ALL_SWITCHES.items()}


@dataclass(frozen=True)
class Combination:
    """One sample to take: by name, so that it can be said on a line."""

    clip: str
    sampler: str
    transform: str
    gpu: str
    seed: int
    switches: dict[str, str]

    def __str__(self) -> str:
        turned = {k: v for k, v in self.switches.items() if v != DEFAULTS[k]}
        names = (self.clip, self.sampler, self.transform, self.gpu, f"seed {self.seed}")
        return ", ".join([*names, spell(turned) or "no switch turned"])


class Walk:
    """All combinations in a fixed order, without end.

    A round has every clip with every sampler once. From round to round each of these goes on to the next transform and the next
    seed, so that 30 rounds have every clip x sampler x transform x seed once. The GPU and all switches are drawn anew at every
    step.
    """

    def __init__(self, clips: list[str]) -> None:
        self.clips = random.Random(1).sample(sorted(clips), len(clips))
        self.round = len(clips) * len(SAMPLERS)

    def __getitem__(self, position: int) -> Combination:
        number, place = divmod(position, self.round)
        clip, sampler = divmod(place, len(SAMPLERS))
        draw = random.Random(position)
        return Combination(
            clip=self.clips[clip],
            sampler=list(SAMPLERS)[sampler],
            transform=list(TRANSFORMS)[(clip + sampler + number) % len(TRANSFORMS)],
            gpu=draw.choice(GPUS),
            seed=SEEDS[(clip + 2 * sampler + number) % len(SEEDS)],
            switches={name: draw.choice(values) for name, values in ALL_SWITCHES.items()},
        )


class Worker:
    """A process that runs combinations; one that dies or hangs is replaced, and the combination has failed."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, combination: Combination) -> Outcome:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                env=environment(devices=",".join(GPUS)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(combination)) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], SECONDS_PER_COMBINATION)
        line = self._process.stdout.readline() if ready else ""
        if line:
            return dict(json.loads(line))
        self.close()
        return {"problems": ["it crashed" if ready else "it hangs"], "way": "none"}

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class Tally:
    """What ran, how often each value of each axis, and what failed."""

    def __init__(self) -> None:
        self.axes: dict[str, Counter[str]] = {
            name: Counter() for name in ("clip", *(f"clip x {other}" for other in PAIRED))
        }
        self.axes |= {name: Counter() for name in (*PAIRED, "gpu", "way", "why")}
        self.switches: Counter[str] = Counter()
        self.by_nvdec: set[str] = set()
        self.shortened = 0
        self.failures: list[str] = []

    def add(self, done: Combination, outcome: Outcome) -> None:
        values = {"clip": done.clip, "sampler": done.sampler, "transform": done.transform}
        values |= {"seed": str(done.seed), "gpu": done.gpu, "way": f"{outcome['way']} ({done.gpu})"}
        for other in PAIRED:
            values[f"clip x {other}"] = f"{done.clip} x {values[other]}"
        if outcome.get("why"):
            values["why"] = outcome["why"]
        for axis, value in values.items():
            self.axes[axis][value] += 1
        self.switches.update(f"{name}={value}" for name, value in done.switches.items())
        if outcome["way"].startswith("nvdec"):
            self.by_nvdec.add(done.clip)
        self.shortened += outcome.get("shortened", False)

    def report(self, walk: Walk) -> str:
        clips = len(walk.clips)
        most = {"clip": clips, "clip x sampler": clips * len(SAMPLERS)}
        most |= {"clip x transform": clips * len(TRANSFORMS), "clip x seed": clips * len(SEEDS)}
        lines = [f"{self.axes['clip'].total()} combinations, {len(self.failures)} failed"]
        lines += [f"  {axis}: {len(self.axes[axis])} of {n}" for axis, n in most.items()]
        lines.append(f"  clips that NVDEC decoded, on one GPU at least: {len(self.by_nvdec)}")
        lines += [f"  {axis}: {counts(self.axes[axis])}" for axis in ("way", "gpu", *PAIRED)]
        lines.append(f"  switches: {counts(self.switches)}")
        lines.append(
            f"  a stretch of what the sampler chose, as all of it would put out more than 48 MiB: {self.shortened}"
        )
        lines += [f"  {n} x {why}" for why, n in self.axes["why"].most_common()]
        return "\n".join([*lines, *self.failures])


def counts(counter: Counter[str]) -> str:
    return ", ".join(f"{value} {n}" for value, n in sorted(counter.items()))


def spell(switches: dict[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in switches.items())


def guilty(failed: Combination, ask: Callable[[Combination], Outcome]) -> str:
    """Say which switch it takes to fail, if one is enough; tried with nothing kept from before."""
    if not ask(failed)["problems"]:
        return "not when tried again"
    if ask(replace(failed, switches=DEFAULTS))["problems"]:
        return "with no switch turned too"
    enough = [
        f"{name}={value}"
        for name, value in failed.switches.items()
        if value != DEFAULTS[name]
        and ask(replace(failed, switches={**DEFAULTS, name: value}))["problems"]
    ]
    return f"enough: {' or '.join(enough)}" if enough else "no switch alone is enough"


def go(
    walk: Walk,
    ask: Callable[[Combination], Outcome],
    start: int,
    end: Callable[[int], bool],
    change: Callable[[Combination], Combination] = lambda same: same,
) -> tuple[Tally, int]:
    """Take the walk from a position until `end` says so; return what was found, and the position reached."""
    tally, position = Tally(), start
    while not end(position):
        combination = change(walk[position])
        outcome = ask(combination)
        tally.add(combination, outcome)
        if outcome["problems"]:
            line = f"FAILED at {position}: {combination}: {'; '.join(outcome['problems'])}"
            if len(tally.failures) < EXAMINED_FAILURES:
                line += f"; {guilty(combination, ask)}"
            line += f'\n  make test-cuda-matrix START={position} ARGS="--count 1"'
            tally.failures.append(line)
            print(f"... failed at {position}", flush=True)
        position += 1
        if (position - start) % 500 == 0:
            print(f"... {position - start} combinations, now at {position}", flush=True)
    return tally, position


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=600, help="stop after this long")
    parser.add_argument("--start", type=int, default=0, help="position in the walk to begin at")
    parser.add_argument("--count", type=int, help="stop after so many combinations")
    parser.add_argument("--clip", default="", help="only clips that have this in their name")
    parser.add_argument("--seed", type=int, choices=SEEDS, help="this one for all combinations")
    parser.add_argument(
        "--switches", help="these for all: name=value,...; the rest at their defaults"
    )
    return parser.parse_args()


def main() -> int:
    wanted = arguments()
    folder = find_corpus()
    if folder is None:
        print("the corpus is absent: set FRAMETAP_CORPUS to a folder with CATALOG.tsv")
        return 2
    walk = Walk([name for name in corpus_clips() if wanted.clip in name])
    deadline = time.monotonic() + wanted.seconds

    def end(position: int) -> bool:
        all_done = wanted.count is not None and position - wanted.start >= wanted.count
        return all_done or time.monotonic() > deadline

    def change(combination: Combination) -> Combination:
        if wanted.seed is not None:
            combination = replace(combination, seed=wanted.seed)
        if wanted.switches is not None:
            pairs = dict(one.split("=", 1) for one in wanted.switches.split(",") if one)
            combination = replace(combination, switches={**DEFAULTS, **pairs})
        return combination

    worker = Worker([sys.executable, "-m", "gpu.matrix_worker", str(folder)])
    try:
        tally, position = go(walk, worker, wanted.start, end, change)
    finally:
        worker.close()
    print(tally.report(walk))
    print(f"on from here: make test-cuda-matrix START={position}")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
