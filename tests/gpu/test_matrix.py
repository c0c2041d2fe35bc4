"""The walk of matrix.py covers what it claims, and a planted difference, crash or leak is reported."""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import frametap as ft
from gpu import matrix_worker
from gpu.axes import GPUS, SAMPLERS, SEEDS, TOOLS, TRANSFORMS
from gpu.driver import Gpu, Library
from gpu.matrix import ALL_SWITCHES, DEFAULTS, Combination, Outcome, Walk, Worker, go
from gpu.matrix_worker import Comparer

ROOT = Path(__file__).resolve().parents[2]
CLIPS = [f"clip {number}" for number in range(7)]
# A tool for one machine, the emulated one.
pytestmark = pytest.mark.emulated


def test_every_clip_with_every_sampler_comes_first() -> None:
    walk = Walk(CLIPS)
    first = {(one.clip, one.sampler) for one in map(walk.__getitem__, range(walk.round))}
    assert walk.round == len(first) == len(CLIPS) * len(SAMPLERS)


def test_thirty_rounds_have_all_but_the_switches_once() -> None:
    walk = Walk(CLIPS)
    rounds = len(TRANSFORMS) * len(SEEDS)
    walked = map(walk.__getitem__, range(rounds * walk.round))
    seen = Counter((one.clip, one.sampler, one.transform, one.seed) for one in walked)
    assert len(seen) == rounds * walk.round


def test_every_value_comes_soon_and_in_the_same_order_again() -> None:
    walk = Walk(CLIPS)
    steps = [walk[position] for position in range(1000, 1060)]
    assert steps == [Walk(CLIPS[::-1])[position] for position in range(1000, 1060)]
    assert {one.seed for one in steps} == set(SEEDS)
    assert {one.gpu for one in steps} == set(GPUS)
    for name, values in ALL_SWITCHES.items():
        assert {one.switches[name] for one in steps} == set(values)


def test_no_switch_is_left_out() -> None:
    """docs/emulator.md has each with its default first, and tests/test_emulator_bugs.py sees to it that it has all."""
    table = re.findall(r"^\| (`.*?) \| (`\S+?`)", (ROOT / "docs" / "emulator.md").read_text(), re.M)
    defaults = {"cleared_luma": "`0`", "cleared_chroma": "`128`"}  # the two that share a row
    for names, default in table:
        for name in re.findall(r"`([a-z_0-9]+)`", names):
            if name in ALL_SWITCHES:
                assert f"`{DEFAULTS[name]}`" == defaults.get(name, default)
    source = (ROOT / "tests" / "emulator" / "nvcuvid" / "switches.cpp").read_text()
    assert set(re.findall(r'(?:choose|number)\("(\w+)"', source)) == {*ALL_SWITCHES, *TOOLS}


@pytest.fixture
def combination(videos: Library) -> Combination:
    clip = videos["h264"].name
    return Combination(clip, "clips", "letterboxed NHWC", "h100", seed=2, switches=DEFAULTS)


def test_equal_bytes_pass(videos: Library, driver: Gpu, combination: Combination) -> None:
    compare = Comparer(driver, videos["h264"].parent)
    outcome = compare(combination)
    assert outcome == {"problems": [], "way": "nvdec", "why": "", "shortened": False}
    assert compare(replace(combination, transform="bfloat16 gray", seed=0))["problems"] == []


class LyingGpu(Gpu):
    """Reads one byte wrong where the discontinuity switch is turned to drain."""

    def host(self, batch: ft.FrameBatch | ft.Frame) -> NDArray[Any]:
        data = super().host(batch)
        data[3, 0, 0, 0] ^= 1
        return data


def test_a_planted_difference_is_a_failure(videos: Library, combination: Combination) -> None:
    lies, says = (Comparer(make(), videos["h264"].parent) for make in (LyingGpu, Gpu))

    def ask(one: Combination) -> Outcome:
        return (lies if one.switches["discontinuity"] == "drain" else says)(one)

    walk = Walk([combination.clip])
    turned = {**DEFAULTS, "discontinuity": "drain", "rasl": "show"}
    tally, position = go(
        walk,
        ask,
        40,
        lambda position: position == 41,
        lambda _: replace(combination, switches=turned),
    )
    assert position == 41
    (failure,) = tally.failures
    assert combination.clip in failure
    assert "1 of 8 frames differ" in failure
    assert "enough: discontinuity=drain" in failure
    assert 'make test-cuda-matrix START=40 ARGS="--count 1"' in failure
    assert "1 combinations, 1 failed" in tally.report(walk)


def test_what_stays_alive_is_a_failure(
    videos: Library, driver: Gpu, combination: Combination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix_worker, "COMBINATIONS_PER_CLEARANCE", 1)
    kept = ft.sample(videos["h264"], ft.Uniform(2), device="cuda")
    (problem,) = Comparer(driver, videos["h264"].parent)(combination)["problems"]
    assert "left alive" in problem
    assert kept.device == "cuda:0"


def test_differences_beyond_the_tolerance(videos: Library) -> None:
    one = ft.sample(videos["h264"], ft.Uniform(2), ft.Transform(size=8), device="cpu")
    data = np.array(one._data)
    data[1] += 4
    assert matrix_worker.differences(one, one, data, 4) == []
    assert matrix_worker.differences(one, one, data, 3)[0].startswith("1 of 2 frames differ")


def test_a_crash_is_a_failure(combination: Combination) -> None:
    worker = Worker([sys.executable, "-c", "input()"])
    assert worker(combination)["problems"] == ["it crashed"]
    assert worker(combination)["problems"] == ["it crashed"]  # another process
