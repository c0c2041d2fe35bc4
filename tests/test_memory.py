"""Peak memory is packets in flight, the decoder's pictures and the batch: not the length of the video, not frames x pixels."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clips import ClipLibrary

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")

# Peaks are measured in a process of their own: the peak of this one is long past.
PREAMBLE = """
import sys
import av, numpy
import frametap as ft

def status(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name + ":"))

path = sys.argv[1]
"""


def measure(script: str, path: Path) -> list[int]:
    """Run a script over a video and return the numbers it prints."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + script, str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


SAMPLE_32 = """
before = status("VmHWM")
batch = ft.sample(path, ft.Uniform(32), ft.Transform(size=224))
print(status("VmHWM") - before)
print(len(batch))
"""


def test_sample_of_a_large_clip(corpus: Path) -> None:
    clip = corpus / "bench" / "b50.mp4"
    if not clip.exists():
        pytest.skip("the corpus has no bench/b50.mp4")
    growth, frames = measure(SAMPLE_32, clip)
    assert frames == 32
    assert growth <= 100 << 20


STREAM = """
sizes = []
with ft.open(path, threads=2) as video:
    for number, batch in enumerate(video.batches(64)):
        del batch
        sizes.append(status("VmRSS"))
print(len(sizes))
print(max(sizes[:12]))
print(max(sizes[-6:]))
"""


def test_streaming_does_not_grow_with_position(clips: ClipLibrary) -> None:
    """1500 frames of 96x64 are 27 MB as RGB; a batch of them is 1.2 MB."""
    count, early, late = measure(STREAM, clips["long"])
    assert count == 24
    assert late - early <= 3 << 20


MANY = """
paths = [path] * 40
sizes = []
for batch in ft.sample_many(paths, ft.Uniform(64), workers=2, prefetch=1):
    del batch
    sizes.append(status("VmRSS"))
print(max(sizes[5:15]))
print(max(sizes[-10:]))
"""


def test_many_does_not_grow_with_sources(clips: ClipLibrary) -> None:
    """40 sources of 48 frames of 160x120 would be 110 MB."""
    early, late = measure(MANY, clips["h264"])
    assert (
        late - early <= 20 << 20
    )  # allocators of threads differ by some; 30 kept batches would be 80 MB


OPEN_CLOSE = """
def cycle(count):
    for _ in range(count):
        with ft.open(path, transform=ft.Transform(size=32)) as video:
            video.frames_at([40, 3])

cycle(60)
before = status("VmRSS")
cycle(100)
print(status("VmRSS") - before)
"""


def test_opening_and_closing_leaks_nothing(clips: ClipLibrary) -> None:
    (growth,) = measure(OPEN_CLOSE, clips["h264"])
    assert growth <= 10 << 20  # one decoder is more than 1 MB


AGAIN_AND_AGAIN = """
import gc
from heap import live_bytes

def once():
    try:
        ft.sample(path, ft.Uniform(4), ft.Transform(size=32), threads=1)
    except ft.FrametapError:
        pass

def growth(samples):
    live, blocks = live_bytes(), sys.getallocatedblocks()
    for _ in range(samples):
        once()
    gc.collect()
    return live_bytes() - live, sys.getallocatedblocks() - blocks

growth(150)
live, blocks = zip(*(growth(30) for _ in range(10)))
print(min(live))
print(min(blocks))
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="no mallinfo2 here, which glibc has from 2.33 on",
)
@pytest.mark.parametrize("name", ["h264", "h264_ts", "hevc", "truncated", "audio_only"])
def test_samples_leave_nothing_behind(clips: ClipLibrary, name: str) -> None:
    """The least of ten rounds: what is lost with every sample shows in all of them, a table that grows in some."""
    live, blocks = measure(AGAIN_AND_AGAIN, clips[name])
    assert live / 30 < 100  # bytes a sample; an iterator of PyAV's lost 150
    assert blocks / 30 < 0.5
