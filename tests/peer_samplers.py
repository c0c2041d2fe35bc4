"""Ask the libraries that frametap imitates: run by the tests in an interpreter that has them.

Usage: ``python peer_samplers.py < questions.json > answers.json``. Each question is a dict with "peer"
("qwen", "transformers", "torchcodec") and its arguments; each answer is a list of frame numbers, for
qwen with the size, or {"error": type}. Their code runs as released; only its surroundings (decoders,
torchvision, which has no CPU build beside torch) are replaced by stand-ins that record what it asks for.

The interpreter needs: torch, transformers==5.23.0, qwen-vl-utils==0.0.14 and torchcodec==0.17.0 (these
two with --no-deps), pillow, requests. Name it in FRAMETAP_PEERS_PYTHON; default is the one of the tests.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

Question = dict[str, Any]
PACKAGES = ("torch", "transformers", "qwen_vl_utils", "torchcodec")


def ask(questions: list[Question]) -> list[Any]:
    """Return the peers' answers; skip the test where they are not installed."""
    import pytest  # the peers' interpreter, which runs this file too, may not have it

    python = os.environ.get("FRAMETAP_PEERS_PYTHON", sys.executable)
    find = f"import importlib.util as u; print([p for p in {PACKAGES} if u.find_spec(p) is None])"
    missing = subprocess.run([python, "-c", find], capture_output=True, text=True, check=True)
    if missing.stdout.strip() != "[]":
        pytest.skip(f"{python} lacks {missing.stdout.strip()} (set FRAMETAP_PEERS_PYTHON)")
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MODEL_SEQ_LEN")}
    done = subprocess.run(
        [python, __file__], input=json.dumps(questions), env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    reply = json.loads(done.stdout)
    if reply["cpu"] == "DEFAULT" and platform.machine() == "x86_64":
        pytest.skip("torch rounds differently on a processor without AVX2")
    return list(reply["answers"])


class Frames:
    """What a decoder or torchvision's resize would return, as far as qwen_vl_utils looks at it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.data = self

    def float(self) -> Frames:
        return self


def module(name: str, **contents: Any) -> ModuleType:
    """Make a stand-in module and let it be imported."""
    made = ModuleType(name)
    vars(made).update(contents)
    sys.modules[name] = made
    return made


def load_qwen() -> Any:
    """Import qwen_vl_utils with a recording decoder; return a function that answers one question."""
    os.environ["FORCE_QWENVL_VIDEO_READER"] = "torchcodec"
    seen: dict[str, Any] = {}

    class VideoDecoder:
        def __init__(self, source: str, **_: Any) -> None:
            total, fps, self.height, self.width = json.loads(source)
            self.metadata = SimpleNamespace(average_fps=fps, num_frames=total)

        def get_frames_at(self, indices: list[int]) -> Frames:
            seen["indices"] = indices
            return Frames((len(indices), 3, self.height, self.width))

    def resize(video: Frames, size: list[int], **_: Any) -> Frames:
        return Frames((*video.shape[:2], *size))

    def read_video(*_: Any, **__: Any) -> None:
        raise ValueError("the torchcodec reader refused")

    functional = SimpleNamespace(resize=resize)
    module("torchcodec")
    module("torchcodec.decoders", VideoDecoder=VideoDecoder)
    module("torchvision", io=SimpleNamespace(read_video=read_video), __version__="0.30.0")
    module("torchvision.io", read_video=read_video)
    sys.modules["torchvision"].transforms = module("torchvision.transforms", functional=functional)
    module("torchvision.transforms.functional", resize=resize)
    sys.modules["torchvision.transforms"].InterpolationMode = SimpleNamespace(BICUBIC=3)
    from qwen_vl_utils import vision_process

    vision_process.logger.disabled = True
    vision_process.transforms.functional = functional

    def answer(question: Question) -> Any:
        source = [
            question.get(key, default)
            for key, default in (("total", None), ("fps", None), ("height", 360), ("width", 640))
        ]
        message = {"video": json.dumps(source), **question["message"]}
        video = vision_process.fetch_video(message, question.get("image_patch_size", 14))
        return {"indices": [int(i) for i in seen["indices"]], "size": list(video.shape[2:])}

    return answer


def load_transformers() -> Any:
    """Import transformers' samplers; return a function that answers one question."""
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
    from transformers.video_utils import VideoMetadata, default_sample_indices_fn

    functional = module("torchvision.transforms.v2.functional")
    v2 = module("torchvision.transforms.v2", functional=functional)
    module("torchvision", transforms=module("torchvision.transforms", v2=v2))
    from transformers.models.internvl.video_processing_internvl import InternVLVideoProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    classes = {
        "qwen2_vl": Qwen2VLVideoProcessor,
        "qwen3_vl": Qwen3VLVideoProcessor,
        "internvl": InternVLVideoProcessor,
    }

    def answer(question: Question) -> Any:
        metadata = VideoMetadata(question["total"], question["fps"])
        arguments = question["arguments"]
        if question["rule"] == "default":
            return [int(i) for i in default_sample_indices_fn(metadata, **arguments)]
        made = classes[question["rule"]]
        names = (
            "fps",
            "num_frames",
            "min_frames",
            "max_frames",
            "temporal_patch_size",
            "initial_shift",
        )
        self = SimpleNamespace(**{name: getattr(made, name, None) for name in names})
        if question["rule"] == "qwen3_vl":  # reads its bounds from the processor, not from the call
            for name in ("min_frames", "max_frames"):
                setattr(self, name, arguments.pop(name, getattr(self, name)))
        return [int(i) for i in made.sample_frames(self, metadata, **arguments)]

    return answer


def load_torchcodec() -> Any:
    """Import torchcodec's samplers alone (its library needs FFmpeg); return an answering function."""
    spec = importlib.util.find_spec("torchcodec")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package = Path(spec.submodule_search_locations[0])

    class VideoDecoder:
        def __init__(self, total: int) -> None:
            self.total = total
            self.indices: list[int] = []

        def __len__(self) -> int:
            return self.total

        def get_frames_at(self, indices: list[int]) -> Any:
            self.indices = [int(i) for i in indices]
            view = SimpleNamespace(view=lambda *_: None, shape=(1, 1, 1))
            return SimpleNamespace(data=view, pts_seconds=view, duration_seconds=view)

    module("torchcodec", FrameBatch=SimpleNamespace)
    module("torchcodec.decoders", VideoDecoder=VideoDecoder)
    samplers = module("torchcodec.samplers")
    samplers.__path__ = [str(package / "samplers")]
    from torchcodec.samplers._index_based import clips_at_regular_indices

    def answer(question: Question) -> Any:
        decoder = VideoDecoder(question["total"])
        clips_at_regular_indices(decoder, **question["arguments"])
        return decoder.indices

    return answer


def main() -> None:
    """Answer all questions; torchcodec before qwen, whose stand-in for it would hide the real one."""
    questions: list[Question] = json.load(sys.stdin)
    loaders = {"transformers": load_transformers, "torchcodec": load_torchcodec, "qwen": load_qwen}
    answers: list[Any] = [None] * len(questions)
    for peer, load in loaders.items():
        mine = [i for i, question in enumerate(questions) if question["peer"] == peer]
        answer = load() if mine else None
        for i in mine:
            try:
                answers[i] = answer(questions[i])
            except (ValueError, ZeroDivisionError, AssertionError) as error:
                answers[i] = {"error": type(error).__name__}
    import torch

    sys.__stdout__.write(
        json.dumps({"cpu": torch.backends.cpu.get_cpu_capability(), "answers": answers})
    )


if __name__ == "__main__":
    main()
