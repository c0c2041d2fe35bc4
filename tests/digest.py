"""Print a digest of many conversions; test_kernels_exact.py compares it between CPU variants."""

from __future__ import annotations

import hashlib
import random

from native import make_planes, run
from reference import simple
from test_kernels import ROWS, job_of


def main() -> None:
    """One line per conversion: the pairwise rows, and long rows that fill whole vectors."""
    rng = random.Random(1)
    jobs = [(job_of(row, rng), row["content"]) for row in ROWS]
    for pixel_format in ("yuv420p", "nv12", "p010le", "yuv422p10le", "gbrp", "bgra", "gray12le"):
        for dtype in ("uint8", "float32"):
            for size in ((299, 201), (123, 77), (640, 361)):
                job = simple(pixel_format, 299, 201, size, filter="bicubic", dtype=dtype)
                jobs.append((job, "random"))
    for number, (job, content) in enumerate(jobs):
        out = run(make_planes(job.pixel_format, job.width, job.height, content, number), job)
        print(number, hashlib.sha256(out.tobytes()).hexdigest()[:16])


if __name__ == "__main__":
    main()
