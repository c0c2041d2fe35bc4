"""The probe of real drivers, put to the emulated one: the answers that it finds must be how the switches are set."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from emulator_control import environment
from gpu import probe
from gpu.question import QUESTIONS, UNDECIDED

pytestmark = pytest.mark.emulated

# Between them, every value of every switch that the probe asks for. One that is not named has its default.
SETTINGS: list[dict[str, str]] = [
    {
        "discontinuity": "nvp", "callback_failure": "propagate", "rasl": "drop", "h264_start": "any",
        "index_policy": "least_recently_freed",
        "min_surfaces": "exact", "h264_extra_surfaces": "3", "timestamp_resorting": "1", "eos_forgets_headers": "1",
        "hevc_size_multiple": "16", "vp9_size_multiple": "8",
        "pitch_alignment": "512", "over_map_error": "1", "undecoded_map_error": "1",
        "unmap_needs_context": "0", "destroy_needs_context": "0", "odd_targets": "1", "cleared_luma": "0",
        "cleared_chroma": "128", "round_10_to_8": "0", "scaling": "nearest",
    },
    {
        "discontinuity": "drain", "callback_failure": "skip", "rasl": "show", "h264_start": "idr",
        "index_policy": "round_robin",
        "h264_extra_surfaces": "1", "timestamp_resorting": "0", "eos_forgets_headers": "0", "hevc_size_multiple": "8",
        "vp9_size_multiple": "1",
        "pitch_alignment": "256", "over_map_error": "205", "undecoded_map_error": "0", "unmap_needs_context": "1",
        "destroy_needs_context": "1", "odd_targets": "0", "cleared_luma": "16", "cleared_chroma": "0",
        "round_10_to_8": "1", "scaling": "bilinear",
    },
    {
        "discontinuity": "none", "index_policy": "lowest", "hevc_size_multiple": "64", "vp9_size_multiple": "64",
        "pitch_alignment": "16",
        "over_map_error": "2", "undecoded_map_error": "400",
    },
    {"index_policy": "most_recently_freed", "min_surfaces": "0", "hevc_size_multiple": "32", "vp9_size_multiple": "2"},
]  # fmt: skip


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    (folder / "streams").write_bytes(pickle.dumps(probe.make_streams(folder)))
    return folder / "streams"


def put(streams: Path, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, probe.__file__, "--streams", str(streams), *arguments]
    return subprocess.run(
        command, env=environment(**settings), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_the_answers_are_the_switches(streams: Path, tmp_path: Path, number: int) -> None:
    setting = SETTINGS[number]
    found = tmp_path / "answers.json"
    switches = ",".join(f"{name}={value}" for name, value in setting.items())
    done = put(streams, "--json", str(found), switches=switches)
    assert done.returncode == 0, done.stderr
    answers = json.loads(found.read_text())["answers"]
    assert set(answers) == set(QUESTIONS)
    expected = {**SETTINGS[0], **setting}
    for name, question in QUESTIONS.items():
        answer = answers[name]
        if expected["min_surfaces"] == "0" and name == "h264_extra_surfaces":
            assert answer["value"] == UNDECIDED, answer  # it cannot be seen
        elif question.switch:
            assert answer["value"] == expected[question.switch], (name, answer)
        else:
            assert answer["value"] != UNDECIDED, (name, answer)


def test_every_value_is_asked_for() -> None:
    """A question with a switch is put with at least two of its values: one that always says the same is found."""
    for question in QUESTIONS.values():
        if question.switch:
            assert len({setting.get(question.switch, "") for setting in SETTINGS} - {""}) >= 2


def test_it_writes_a_page_that_says_emulated(streams: Path, tmp_path: Path) -> None:
    page = tmp_path / "hardware.md"
    done = put(streams, "--out", str(page), "--only", "over_map", "capabilities")
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "the emulated driver's own" in text
    assert "(`over_map_error`) | a picture mapped twice" in text
    assert "7 engines" in text  # of the emulated H100


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({"faults": "cuvidCreateDecoder:999@1"}, "cuvidCreateDecoder returned 999"),
        ({"abort": 1}, "the process died of SIGABRT"),  # where mapping too many is a violation
    ],
)
def test_what_happens_to_one_question_does_not_end_the_others(
    streams: Path, tmp_path: Path, settings: dict[str, object], seen: str
) -> None:
    found = tmp_path / "answers.json"
    done = put(streams, "--json", str(found), "--only", "over_map", "timestamps", **settings)
    assert done.returncode == 0, done.stderr
    answers = json.loads(found.read_text())["answers"]
    assert answers["timestamps"]["value"] == "1"
    assert answers["over_map"]["value"] == UNDECIDED
    assert seen in answers["over_map"]["seen"]


def test_decoders_take_time(streams: Path, tmp_path: Path) -> None:
    found = tmp_path / "answers.json"
    done = put(streams, "--json", str(found), "--only", "cost", switches="create_milliseconds=30")
    assert done.returncode == 0, done.stderr
    words = json.loads(found.read_text())["answers"]["cost"]["value"].split()
    assert float(words[1]) >= 30
    assert float(words[-3]) > 0
