"""The input side of fine-tuning a video language model: conversations in, batches for the model out.

    python examples/vlm_finetune_inputs.py VIDEO... [--workers 2] [--batch-size 2]

Workers decode, each on one core, straight to the size that the model sees; the main process only collates. In a real run
the processor comes from `AutoProcessor.from_pretrained(...)`, and its tokenizer makes input ids of the text; here the video
processor is built from its defaults, so that nothing is downloaded.
"""

import argparse
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from transformers import Qwen2VLVideoProcessor

import frametap as ft
from frametap.integrations.qwen_vl import process_vision_info

# What a model with 14 pixel patches may see of a video: up to 16 frames, up to 128 tokens each.
VIDEO = {"fps": 2.0, "max_frames": 16, "min_pixels": 16 * 28 * 28, "max_pixels": 128 * 28 * 28}


class Conversations(Dataset[dict[str, Any]]):
    """Questions about videos, as a JSON lines file would hold them."""

    def __init__(self, videos: list[str]) -> None:
        self.rows = [
            {"video": video, "question": "What happens?", "answer": "..."} for video in videos
        ]
        self.processor = Qwen2VLVideoProcessor(
            size={"shortest_edge": 16 * 28 * 28, "longest_edge": 128 * 28 * 28},
            cap_pixels_per_frame=True,
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        row = self.rows[number]
        content = [
            {"type": "video", "video": row["video"], **VIDEO},
            {"type": "text", "text": row["question"]},
        ]
        try:
            _, videos, told = process_vision_info(
                [{"role": "user", "content": content}], return_video_kwargs=True
            )
        except (ft.FrametapError, ValueError) as error:
            # One bad file, or one with fewer frames than the model takes, must not end a run of days.
            return {"row": number, "error": str(error)}
        pixels = self.processor(
            videos=videos, do_resize=False, do_sample_frames=False, return_tensors="pt"
        )
        return {"row": number, "fps": told["fps"][0], **pixels}


def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Join the patches of all videos in one row of tokens, as the Qwen models take them."""
    good = [sample for sample in samples if "error" not in sample]
    batch: dict[str, Any] = {"errors": [sample["error"] for sample in samples if "error" in sample]}
    if good:
        for name in ("pixel_values_videos", "video_grid_thw"):
            batch[name] = torch.cat([sample[name] for sample in good])
        batch["second_per_grid_ts"] = torch.tensor([2 / sample["fps"] for sample in good])
    return batch


def main() -> None:
    """Print what the model would be given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=2)
    options = parser.parse_args()
    loader = DataLoader(
        Conversations(options.videos),
        batch_size=options.batch_size,
        num_workers=options.workers,
        collate_fn=collate,
        persistent_workers=options.workers > 0,
    )
    for batch in loader:
        for error in batch["errors"]:
            print(f"left out: {error}")
        if "video_grid_thw" in batch:
            grid, patches = batch["video_grid_thw"], batch["pixel_values_videos"]
            print(
                f"{len(grid)} videos, grids {grid.tolist()}, patches {tuple(patches.shape)}, {grid.prod(1).sum() // 4} tokens"
            )


if __name__ == "__main__":
    main()
