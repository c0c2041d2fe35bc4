"""Action recognition: random clips of labelled videos for training, spread clips of each video for testing.

python examples/action_clips.py VIDEO...

The class of a video is the name of its folder. A small network is trained on random clips (another place in every epoch, the same
in every run), then each video is classified by the mean over evenly spread clips, the usual protocol.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

import frametap as ft
from frametap.integrations.torch import VideoDataset, collate

FRAMES, STEP, SIZE = 8, 2, 64
KINETICS = {"mean": (0.43216, 0.394666, 0.37645), "std": (0.22803, 0.22145, 0.216989)}


def datasets(rows: list[dict[str, Any]]) -> tuple[VideoDataset, VideoDataset]:
    """Return (training, testing): one random clip and crop per video and epoch, and three clips spread over each."""
    training = VideoDataset(
        rows,
        ft.Clips(1, FRAMES, STEP, random=True),
        ft.Transform(size=SIZE + 8, window=ft.RandomCrop(SIZE), dtype="float32", **KINETICS),
        on_error="skip",
        seed=0,
    )
    testing = VideoDataset(
        rows,
        ft.Clips(3, FRAMES, STEP),
        ft.Transform(size=SIZE, window=ft.CenterCrop(SIZE), dtype="float32", **KINETICS),
        on_error="skip",
    )
    return training, testing


def network(classes: int) -> nn.Module:
    """Return a few 3-D convolutions: enough to show the shapes."""
    return nn.Sequential(
        nn.Conv3d(3, 16, (3, 5, 5), stride=(1, 4, 4), padding=(1, 2, 2)),
        nn.ReLU(),
        nn.Conv3d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(32, classes),
    )


def main() -> None:
    """Train for a few epochs, then test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    names = sorted({path.parent.name for path in arguments.videos})
    rows = [
        {"video": str(path), "label": names.index(path.parent.name)} for path in arguments.videos
    ]
    training, testing = datasets(rows)

    torch.manual_seed(0)
    model = network(len(names))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loader = DataLoader(
        training,
        batch_size=4,
        shuffle=True,
        num_workers=arguments.workers,
        collate_fn=collate,
        persistent_workers=True,
    )
    for epoch in range(arguments.epochs):
        training.set_epoch(epoch)
        for batch in loader:
            for skipped in batch["skipped"]:
                print(f"skipped {skipped.source}: {skipped.error}")
            if len(batch["row"]):
                clips = batch["video"].transpose(1, 2)  # (B, T, C, H, W) to (B, C, T, H, W)
                loss = nn.functional.cross_entropy(model(clips), batch["label"])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}")

    right = total = 0
    with torch.inference_mode():
        for batch in DataLoader(
            testing, batch_size=2, num_workers=arguments.workers, collate_fn=collate
        ):
            if len(batch["row"]):
                clips = batch["video"].unflatten(1, (3, FRAMES)).flatten(0, 1).transpose(1, 2)
                scores = model(clips).softmax(-1).unflatten(0, (-1, 3)).mean(1)
                right += int((scores.argmax(-1) == batch["label"]).sum())
                total += len(batch["row"])
    print(f"{right} of {total} videos right, classes {', '.join(names)}")


if __name__ == "__main__":
    main()
