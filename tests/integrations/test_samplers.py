"""The samplers that imitate other libraries give those libraries' frame numbers."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from frametap.sampler import Clips, ConstantRate, HuggingFace
from integrations.real import real

torch = real("torch")

RATES = [10, 12.5, 15, 24000 / 1001, 24, 25, 30000 / 1001, 30, 50, 60000 / 1001, 60, 29.7]


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT",
    reason="torch counts in other blocks on a processor without AVX2",
)
@pytest.mark.parametrize("rule", ["default", "qwen2_vl", "qwen3_vl", "internvl"])
def test_hugging_face(rule: Any) -> None:
    video_utils = real("transformers.video_utils")
    if rule == "default":
        sample, processor = video_utils.default_sample_indices_fn, None
    else:
        module = importlib.import_module(f"transformers.models.{rule}.video_processing_{rule}")
        names = {"qwen2_vl": "Qwen2VL", "qwen3_vl": "Qwen3VL", "internvl": "InternVL"}
        processor = getattr(module, f"{names[rule]}VideoProcessor")(num_frames=None, fps=None)
        sample = processor.sample_frames
    rng = np.random.default_rng(3)
    answered = 0
    for _ in range(1000):
        total, fps = (
            int(rng.integers(1, rng.choice([60, 1000, 20000, 100000]) + 1)),
            float(rng.choice(RATES)),
        )
        asked, theirs = random_request(rng, rule, total), {}
        if rule == "qwen3_vl":  # reads its bounds from the processor, not from the call
            processor.min_frames, processor.max_frames = (
                asked.get("min_frames", 4),
                asked.get("max_frames", 768),
            )
            theirs = {k: v for k, v in asked.items() if not k.startswith(("min", "max"))}
        try:
            expected = [
                int(i) for i in sample(video_utils.VideoMetadata(total, fps), **(theirs or asked))
            ]
        except (ValueError, ZeroDivisionError):
            expected = None
        if expected and expected[-1] == total:
            expected.pop()  # one too many, and past the end: transformers would fail to decode it
        try:
            mine = HuggingFace(**asked, rule=rule)(ConstantRate(total, fps)).tolist()
        except ValueError:
            mine = None
        assert mine == expected, (total, fps, asked)
        answered += mine is not None
    assert answered > 700


def random_request(rng: np.random.Generator, rule: str, total: int) -> dict[str, Any]:
    if rng.random() < 0.5:
        return {"num_frames": int(rng.integers(1, min(total, 800) + 3))}
    asked: dict[str, Any] = {"fps": float(rng.choice([0.1, 0.3, 1, 2, 2.5]))}
    if rule.startswith("qwen") and rng.random() < 0.5:
        asked |= {"min_frames": int(rng.integers(1, 9)), "max_frames": int(rng.integers(9, 900))}
    return asked


def test_regular_clips_are_torchcodecs() -> None:
    decoders, samplers = real("torchcodec.decoders"), real("torchcodec.samplers")

    class Frames(decoders.VideoDecoder):  # type: ignore[misc, name-defined]
        def __init__(self, total: int) -> None:
            self.total = total

        def __len__(self) -> int:
            return self.total

        def get_frames_at(self, indices: list[int]) -> Any:
            self.indices = [int(i) for i in indices]
            count = len(indices)
            return SimpleNamespace(
                data=torch.zeros(count, 3, 1, 1),
                pts_seconds=torch.zeros(count),
                duration_seconds=torch.zeros(count),
            )

    rng = np.random.default_rng(0)
    for clips, frames, step in rng.integers(1, [40, 20, 12], size=(400, 3)).tolist():
        decoder, policy = (
            Frames(int(rng.integers(1, 2000))),
            str(rng.choice(["repeat_last", "wrap"])),
        )
        samplers.clips_at_regular_indices(
            decoder,
            num_clips=clips,
            num_frames_per_clip=frames,
            num_indices_between_frames=step,
            policy=policy,
        )
        mine = Clips(clips, frames, step, policy=policy)(ConstantRate(decoder.total, 25))
        assert mine.tolist() == decoder.indices, (decoder.total, clips, frames, step, policy)
