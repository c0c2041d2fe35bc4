"""Robotics: observations of all cameras of an episode, at the policy's times and size, with past frames stacked.

python examples/robot_episode.py CAMERA=VIDEO...

As a policy is trained: for each of the episode's steps it sees every camera now and a little earlier, and the times come from the
robot's own log, not from a frame number.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import frametap as ft
from frametap.integrations.lerobot import decode_episode_frames

HISTORY = (-0.5, -0.25, 0.0)  # seconds relative to a step
RATE = 4.0  # steps per second


class Episode(Dataset):
    """Step k of an episode: {camera: (history, C, H, W)} and the time of the step."""

    def __init__(self, cameras: dict[str, str], size: int) -> None:
        self.cameras = cameras
        self.policy = ft.Transform(size=(size, size), dtype="float32")
        indexes = [ft.FrameIndex.build(path) for path in cameras.values()]
        self.start = max(float(index.pts_seconds[0]) for index in indexes)
        self.end = min(float(index.pts_seconds[-1]) for index in indexes)
        # Half the longest distance between two frames: some frame is always that near.
        longest = max(np.diff(index.pts_seconds).max(initial=0) for index in indexes)
        self.tolerance = float(longest) / 2 + 1e-6

    def __len__(self) -> int:
        return int((self.end - self.start) * RATE) + 1

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        now = self.start + step / RATE
        times = [max(self.start, now + offset) for offset in HISTORY]
        frames = decode_episode_frames(self.cameras, times, self.tolerance, transform=self.policy)
        return {**frames, "time": torch.tensor(now)}


def main() -> None:
    """Go through the episode as a training run would, and say how fast."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cameras", nargs="+", metavar="CAMERA=VIDEO")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    cameras = dict(camera.split("=", 1) for camera in arguments.cameras)
    episode = Episode(cameras, arguments.size)

    torch.manual_seed(0)
    started, frames = time.perf_counter(), 0
    for batch in DataLoader(episode, batch_size=4, shuffle=True, num_workers=arguments.workers):
        frames += sum(batch[camera].shape[0] * len(HISTORY) for camera in cameras)
    seconds = time.perf_counter() - started
    shape = tuple(batch[next(iter(cameras))].shape[1:])
    print(f"{len(episode)} steps, {len(cameras)} cameras, each (history, C, H, W) = {shape}")
    print(f"{frames} frames in {seconds:.1f} s")


if __name__ == "__main__":
    main()
