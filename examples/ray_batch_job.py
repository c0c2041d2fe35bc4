"""A batch job on Ray: every video of a folder to a small descriptor, results and errors to Parquet.

    python examples/ray_batch_job.py FOLDER OUT [--gpus-per-actor 0.25] [--actors 4]

On a cluster, run it on the head node (`ray job submit`) with a shared folder or s3:// URLs; here it starts a local Ray.
"""

import argparse
from typing import Any

import numpy as np
import ray
import ray.data

import frametap as ft
from frametap.integrations.ray import VideoSampler


class Descriptor:
    """Stands for a model: called with the frames where they were decoded, returns what is kept of them."""

    def __init__(self) -> None:
        self.projection = (
            np.random.default_rng(0).standard_normal((3 * 8 * 8, 16)).astype(np.float32)
        )

    def __call__(self, batch: ft.FrameBatch) -> dict[str, Any]:
        """Return one descriptor per video."""
        frames = np.asarray(batch.torch().cpu()) if batch.device != "cpu" else batch.numpy()
        return {"descriptor": frames.reshape(len(frames), -1).mean(axis=0) @ self.projection}


def main() -> None:
    """Run the job."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--gpus-per-actor", type=float, default=0.0)
    options = parser.parse_args()

    ray.init(include_dashboard=False, log_to_driver=False)
    files = ray.data.read_binary_files(options.folder, include_paths=True).select_columns(["path"])
    results = files.map_batches(
        VideoSampler,
        fn_constructor_kwargs={
            "sampler": ft.Rate(2, max_frames=32),
            "transform": ft.Transform(size=(8, 8), filter="area", dtype="float32"),
            "consume": Descriptor(),
            "consume_columns": ["descriptor"],
        },
        batch_size=4,
        num_gpus=options.gpus_per_actor,
        compute=ray.data.ActorPoolStrategy(size=options.actors),
    ).materialize()
    results.select_columns(["path", "descriptor", "error"]).write_parquet(options.out)
    failed = results.filter(lambda row: bool(row["error"])).take_all()
    print(f"{results.count()} videos, {len(failed)} failed")
    for row in failed:
        print(f"  {row['path']}: {row['error']}")


if __name__ == "__main__":
    main()
