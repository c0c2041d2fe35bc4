"""A few frames of each way through device="cuda", compared with the CPU: short enough for compute-sanitizer."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import frametap as ft
from gpu.driver import Gpu, Library

TRANSFORMS = (
    ft.Transform(size=(64, 48)),
    ft.Transform(size=48, filter="bicubic", dtype="float16", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    ft.Transform(),
)  # fmt: skip


def main() -> None:
    """Sample H.264, 10-bit HEVC and what only the CPU decodes."""
    driver = Gpu()
    with tempfile.TemporaryDirectory() as folder:
        videos = Library(Path(folder))
        for name in ("h264", "hevc_10bit", "h264_10bit"):
            for transform in TRANSFORMS:
                expected = ft.sample(videos[name], ft.Uniform(3), transform, device="cpu")
                batch = ft.sample(videos[name], ft.Uniform(3), transform, device="cuda")
                np.testing.assert_array_equal(driver.host(batch), np.asarray(expected._data))
                print(name, transform, batch.report.engine)


if __name__ == "__main__":
    main()
