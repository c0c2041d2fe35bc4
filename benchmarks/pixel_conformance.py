"""How close frametap's pixels are to the float64 gold, and to what swscale and torchvision make of real videos.

    python benchmarks/pixel_conformance.py            # the table of ranges, matrices and depths
    python benchmarks/pixel_conformance.py FOLDER     # and the videos under a folder

The gold is tests/reference.py, which shares no code with the library. Of each video the last of its first frames is taken, to
224x224 with antialiased bilinear: by frametap; and by swscale to RGB of full size (accurate rounding, chroma interpolated), then
torchvision's resize, or Pillow's, whose rules those are, where torch is not installed. PSNR is over all values of all videos.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from frametap import _core, container, transform  # noqa: E402
from frametap.errors import FrametapError  # noqa: E402
from frametap.info import Orientation  # noqa: E402
from native import make_planes, run  # noqa: E402
from reference import Conversion, gold, quantise, simple  # noqa: E402

try:
    import torch
    from torchvision.transforms.v2 import functional
except ImportError:
    torch = None

ACCURATE = 0x40000 | 0x2000  # SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT
FRAMES, SIDE = 8, 224
DEPTHS = {8: "yuv420p", 10: "yuv420p10le", 12: "yuv420p12le", 16: "yuv420p16le"}
SHAPES = [((320, 240), (320, 240)), ((320, 240), (96, 72)), ((96, 72), (173, 150))]


def errors(job: Conversion, content: str) -> NDArray[Any]:
    """|ours - gold|, in steps of 8 bits, where gold is not rounded: half a step is what rounding alone costs."""
    planes = make_planes(job.pixel_format, job.width, job.height, content)
    return abs(run(planes, job).astype(np.float64) - gold(planes, job))


def print_table() -> None:
    """Largest and mean error over noise and waves, unscaled, shrunk and enlarged, bilinear and bicubic."""
    print(f"{'range':8} {'matrix':9} " + " ".join(f"{f'{depth} bits':>13}" for depth in DEPTHS))
    for full, matrix in itertools.product((False, True), ("bt601", "bt709", "bt2020nc")):
        print_row("full" if full else "limited", matrix, {"matrix": matrix, "full_range": full})
    for tone_map, primaries in itertools.product(("pq", "hlg"), ("bt2020", "display-p3", "bt709")):
        options = {"matrix": "bt2020nc", "tone_map": tone_map, "primaries": primaries}
        print_row(f"{tone_map} sdr", primaries, options)


def print_row(first: str, second: str, options: dict[str, Any]) -> None:
    cells = []
    for pixel_format in DEPTHS.values():
        jobs = (
            (simple(pixel_format, *size, grid, filter=name, **options), content)
            for (size, grid), name, content in itertools.product(
                SHAPES, ("bilinear", "bicubic"), ("random", "smooth")
            )
        )
        found = np.concatenate([errors(*job).ravel() for job in jobs])
        cells.append(f"{found.max():5.2f} / {found.mean():.3f}")
    print(f"{first:8} {second:10}" + " ".join(f"{cell:>13}" for cell in cells))


def pictures(folder: Path) -> Iterator[tuple[Path, av.VideoFrame]]:
    """The last of the first frames of every file that has any."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        frame = None
        try:
            with av.open(str(path)) as opened:
                for number, frame in enumerate(opened.decode(video=0)):  # noqa: B007
                    if number == FRAMES:
                        break
        except (av.FFmpegError, OSError, IndexError, ValueError):
            pass
        if frame is not None and min(frame.width, frame.height) >= 64:
            yield path, frame


def by_frametap(frame: av.VideoFrame) -> tuple[NDArray[Any], Conversion]:
    """(3, SIDE, SIDE), and the numbers it was made with."""
    picture = container.picture_format(frame, Orientation(), "left")
    params = transform.Transform((SIDE, SIDE)).resolve(picture)
    converter = _core.Converter(**asdict(params))
    out = np.empty(converter.out_shape, np.uint8)
    converter.convert([(p.buffer_ptr, p.line_size) for p in frame.planes], out.ctypes.data)
    return out, Conversion(**asdict(params))


def by_peers(frame: av.VideoFrame) -> NDArray[Any]:
    flags: Any = int(Interpolation.BILINEAR) | ACCURATE
    rgb = (
        VideoReformatter()
        .reformat(frame, format="rgb24", interpolation=flags, threads=1)
        .to_ndarray()
    )
    if torch is not None:
        resized = functional.resize(
            torch.from_numpy(rgb).permute(2, 0, 1), [SIDE, SIDE], antialias=True
        )
        return resized.numpy()
    return np.asarray(
        Image.fromarray(rgb).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    ).transpose(2, 0, 1)


def by_gold(frame: av.VideoFrame, job: Conversion) -> NDArray[Any]:
    word = job.format.sample_type
    planes = [
        np.frombuffer(plane, word).reshape(plane.height, -1)[:, :columns]
        for plane, (_, columns) in zip(
            frame.planes, job.format.plane_shapes(job.width, job.height), strict=True
        )
    ]
    return quantise(gold(planes, job))


def psnr(squares: list[float]) -> float:
    mean = sum(squares) / max(1, len(squares))
    return math.inf if mean == 0 else 10 * math.log10(255**2 / mean)


def print_videos(folder: Path) -> None:
    pairs = ("frametap and gold", "frametap and swscale + resize", "swscale + resize and gold")
    squares: dict[str, list[float]] = {pair: [] for pair in pairs}
    for path, frame in pictures(folder):
        try:
            ours, job = by_frametap(frame)
            three = by_gold(frame, job), ours, by_peers(frame)
        except (FrametapError, ValueError) as error:
            print(f"left out: {path.name}: {error}", file=sys.stderr)
            continue
        expected, ours, theirs = (image.astype(np.float64) for image in three)
        for pair, (a, b) in zip(
            pairs, ((ours, expected), (ours, theirs), (theirs, expected)), strict=True
        ):
            squares[pair].append(float(((a - b) ** 2).mean()))
    resize = "Pillow" if torch is None else "torchvision"
    print(
        f"\n{len(squares[pairs[0]])} videos, {SIDE}x{SIDE}, antialiased bilinear ({resize}); PSNR in dB"
    )
    for pair, found in squares.items():
        worst = psnr([max(found, default=0.0)])
        middle = psnr([float(np.median(found))]) if found else math.inf
        print(
            f"{pair:30} all {psnr(found):6.1f}   median video {middle:6.1f}   worst video {worst:6.1f}"
        )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="videos, searched in all its folders")
    folder = parser.parse_args().folder
    print_table()
    if folder is not None:
        print_videos(folder)


if __name__ == "__main__":
    main()
