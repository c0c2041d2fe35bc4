"""Checks one video file after another against plain PyAV decoding; run by test_corpus.py in a process of its own.

Reads paths from standard input, writes one JSON line per path to standard output: {"problems": [...], "outcome": ...}.
A file that crashes, hangs or eats memory takes only this process with it.
"""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import asdict, dataclass, field
from fractions import Fraction

import av
import av.error
import numpy as np

import frametap as ft
from frametap._core import Converter
from frametap.container import orientation_of, picture_format

# Every pixel of a picture has a say in so small a copy of it.
SMALL = ft.Transform(size=(48, 48))
MEMORY_LIMIT = 6 << 30


@dataclass
class Plain:
    """What plain PyAV decoding of the whole file gives; errors are noted and passed over."""

    pts_seconds: list[float | None] = field(default_factory=list)
    pixels: list[np.ndarray] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    corrupt: list[bool] = field(default_factory=list)
    unsupported: str = ""

    @property
    def clean(self) -> bool:
        return not self.errors and not any(self.corrupt) and len(self.pixels) > 0


def small_copy(picture: av.VideoFrame, chroma_location: str) -> np.ndarray:
    params = SMALL.resolve(picture_format(picture, orientation_of(picture), chroma_location))
    out = np.empty(params.out_shape, np.uint8)
    planes = [(plane.buffer_ptr, plane.line_size) for plane in picture.planes]
    Converter(**asdict(params)).convert(planes, out.ctypes.data)
    return out


def decode_plainly(path: str, chroma_location: str) -> Plain:
    plain = Plain()
    try:
        container = av.open(path, metadata_errors="ignore")
        stream = container.streams.video[0]
        packets = container.demux(stream)
    except (av.error.FFmpegError, IndexError, ValueError, MemoryError) as error:
        plain.errors.append(f"open: {error}")
        return plain
    with container:
        while True:
            try:
                packet = next(packets)
            except (av.error.FFmpegError, MemoryError) as error:
                plain.errors.append(f"demux: {error}")
                packet = av.Packet()
            if stream.codec_context is None:
                plain.errors.append("no decoder")
                return plain
            try:
                pictures = stream.codec_context.decode(packet if is_data(packet) else None)
            except av.error.FFmpegError as error:
                plain.errors.append(f"decode: {error}")
                pictures = []
            for picture in pictures:
                note_picture(plain, picture, stream.time_base, chroma_location)
            if not is_data(packet):
                return plain


def is_data(packet: av.Packet) -> bool:
    """PyAV ends a stream with an empty packet; Theora also has empty ones inside, which mean "as before"."""
    return packet.size > 0 or packet.pts is not None


def note_picture(
    plain: Plain, picture: av.VideoFrame, time_base: Fraction, chroma_location: str
) -> None:
    seconds = None if picture.pts is None else float(picture.pts * time_base)
    plain.pts_seconds.append(seconds)
    plain.corrupt.append(picture.is_corrupt)
    try:
        plain.pixels.append(small_copy(picture, chroma_location))
    except ft.UnsupportedError as error:
        plain.unsupported = str(error)
        plain.pixels.append(np.zeros(0, np.uint8))


def chroma_location_of(path: str) -> str:
    """The stream's chroma location as frametap reads it: a wrong one would be a colour error, not a frame error."""
    try:
        with ft.open(path, threads=1) as video:
            return video._engine._borrow(1)._chroma_location
    except (ft.FrametapError, MemoryError):
        return "left"


def check(path: str) -> dict[str, object]:
    problems: list[str] = []
    plain = decode_plainly(path, chroma_location_of(path))
    try:
        with ft.open(path, transform=SMALL, threads=2) as video:
            outcome = compare(video, plain, problems)
    except ft.FrametapError as error:
        outcome = f"{type(error).__name__}: {error}"
        if plain.clean and not (isinstance(error, ft.UnsupportedError) and plain.unsupported):
            problems.append(
                f"plain decoding gives {len(plain.pixels)} frames, frametap says: {outcome}"
            )
    return {
        "problems": problems,
        "outcome": outcome,
        "frames": len(plain.pixels),
        "clean": plain.clean,
    }


def compare(video: ft.VideoReader, plain: Plain, problems: list[str]) -> str:
    if plain.clean and len(video) != len(plain.pixels):
        problems.append(f"{len(video)} frames, plain decoding gives {len(plain.pixels)}")
    batches = list(video.batches(16, on_error="black"))
    ok = np.concatenate([batch.ok for batch in batches])
    pixels = [frame for batch in batches for frame in batch.numpy()]
    if plain.clean and not ok.all():
        problems.append(
            f"clean file, but frames {np.flatnonzero(~ok)[:9].tolist()} failed: {batches[0].error}"
        )
    same_count = len(video) == len(plain.pixels)
    by_pts = {seconds: i for i, seconds in enumerate(plain.pts_seconds)}
    for number in np.flatnonzero(ok).tolist():
        seconds = float(video.index.pts_seconds[number])
        match = number if same_count else by_pts.get(seconds)
        if match is None:
            problems.append(f"frame {number} at {seconds} s is none of plain decoding's")
        elif not np.array_equal(pixels[number], plain.pixels[match]):
            problems.append(f"frame {number} differs from plain decoding")
        elif same_count and plain.pts_seconds[number] not in (None, seconds):
            problems.append(
                f"frame {number}: pts {seconds}, plain decoding {plain.pts_seconds[number]}"
            )
    compare_random_access(video, plain, pixels, ok, problems)
    return f"{len(video)} frames by {video.index.method}, {int((~ok).sum())} failed"


def compare_random_access(
    video: ft.VideoReader,
    plain: Plain,
    pixels: list[np.ndarray],
    ok: np.ndarray,
    problems: list[str],
) -> None:
    rng = np.random.default_rng(len(pixels))
    for _ in range(3):
        numbers = rng.integers(0, len(pixels), size=min(8, 2 * len(pixels)))
        batch = video.sample(ft.Indices(numbers.tolist()), on_error="black")
        for slot, number in enumerate(numbers.tolist()):
            same = np.array_equal(batch.numpy()[slot], pixels[number])
            if batch.ok[slot] and not same and (ok[number] or plain.clean):
                problems.append(f"random access: frame {number} differs")
            if plain.clean and not batch.ok[slot]:
                problems.append(f"random access: frame {number} failed: {batch.error}")


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    av.logging.set_level(av.logging.PANIC)
    for line in sys.stdin:
        print(json.dumps(check(line.rstrip("\n"))), flush=True)


if __name__ == "__main__":
    main()
