"""Every file in examples/ runs, as a person would run it, on small clips."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clips import ClipLibrary
from integrations.real import installed

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"

# What each example needs, and its arguments; the files are those of the playground (talk.mp4, screen.mkv, clips/{a,b}.mp4).
RUNS: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "action_clips.py": (("torch",), ["clips/a.mp4", "clips/b.mp4", "talk.mp4", "absent.mp4"]),
    "robot_episode.py": (("torch",), ["top=clips/a.mp4", "wrist=screen.mkv"]),
    "dlpack_cupy.py": (("cupy",), ["talk.mp4"]),
    "dlpack_jax.py": (("jax",), ["talk.mp4"]),
    "dlpack_tensorflow.py": (("tensorflow",), ["talk.mp4"]),
    "http_ranges.py": (("fsspec", "aiohttp"), ["talk.mp4"]),
    "ray_batch_job.py": (("ray",), ["clips", "descriptors"]),
    "vlm_finetune_inputs.py": (
        ("torch", "transformers", "qwen_vl_utils"),
        ["talk.mp4", "screen.mkv", "missing.mp4", "--workers", "1"],
    ),
}


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_example(name: str, playground: Path) -> None:
    run(name, RUNS[name][1], playground)


def test_a_batch_job_of_one_bad_file(playground: Path) -> None:
    (playground / "bad").mkdir()
    (playground / "bad" / "text.mp4").write_text("this is no video")
    said = run("ray_batch_job.py", ["bad", "descriptors"], playground)
    assert "1 videos, 1 failed" in said


def test_one_frame_does_not_end_a_run(playground: Path, clips: ClipLibrary) -> None:
    shutil.copy(clips["one_frame"], playground / "still.mp4")
    said = run("vlm_finetune_inputs.py", ["still.mp4", "talk.mp4", "--workers", "0"], playground)
    assert "left out: " in said
    assert "1 videos" in said
    said = run("robot_episode.py", ["top=still.mp4", "--workers", "0"], playground)
    assert "1 steps, 1 cameras" in said


def run(name: str, arguments: list[str], playground: Path) -> str:
    """Run an example, and return what it printed."""
    for package in RUNS[name][0]:
        installed(package)  # imported by the example, in its own process
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    result = subprocess.run(
        command, cwd=playground, env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    assert result.stdout.strip(), "an example shows what it did"
    assert "same memory: False" not in result.stdout
    return result.stdout
