"""QwenVL, HuggingFace and the qwen pixel budget choose what the original code chooses, to the frame.

tests/integrations/ asks the libraries themselves; the answers here are written down, for where they are not installed.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from frametap.sampler import ConstantRate, HuggingFace, QwenVL
from frametap.transform import PixelBudget

NTSC = 30000 / 1001

# Answers of qwen-vl-utils 0.0.14 (torch 2.13.0): frames, fps, video message, indices or None for an error.
QWEN: list[tuple[int, float, dict[str, Any], list[int] | None]] = [
    (100, 25, {}, [0, 14, 28, 42, 57, 71, 85, 99]),
    (100, 25, {"fps": 1}, [0, 33, 66, 99]),
    (301, NTSC, {}, [0, 16, 32, 47, 63, 79, 95, 111, 126, 142,
                     158, 174, 189, 205, 221, 237, 253, 268, 284, 300]),
    (7, 25, {}, [0, 2, 4, 6]),
    (5, 25, {"fps": 30}, [0, 1, 3, 4]),
    (2, 25, {}, [0, 1]),
    (1, 25, {}, None),
    (1000, 25, {"nframes": 7}, [0, 143, 285, 428, 571, 714, 856, 999]),
    (1000, 25, {"nframes": 9}, [0, 143, 285, 428, 571, 714, 856, 999]),
    (10, 25, {"nframes": 11}, None),
    (250, 25, {"fps": 2, "min_frames": 30}, [0, 9, 17, 26, 34, 43, 52, 60, 69, 77, 86, 94, 103, 112, 120,
                                             129, 137, 146, 155, 163, 172, 180, 189, 197, 206, 215, 223,
                                             232, 240, 249]),
    (250, 25, {"fps": 5, "max_frames": 9}, [0, 36, 71, 107, 142, 178, 213, 249]),
    (250, 25, {"fps": 1, "min_frames": 7, "max_frames": 7}, [0, 50, 100, 149, 199, 249]),
    (250, 25, {"fps": 1, "min_frames": 20, "max_frames": 11},
     [0, 28, 55, 83, 111, 138, 166, 194, 221, 249]),
    (250, 25, {"video_start": 1.01, "video_end": 5}, [26, 40, 54, 68, 83, 97, 111, 125]),
    (250, 25, {"video_start": 3}, [75, 88, 102, 115, 129, 142, 155, 169, 182, 195, 209, 222, 236, 249]),
    (250, 25, {"video_end": 2.5, "fps": 4}, [0, 7, 14, 21, 28, 34, 41, 48, 55, 62]),
    (250, 25, {"video_start": -1, "video_end": 100}, [0, 13, 26, 39, 52, 66, 79, 92, 105, 118, 131, 144,
                                                      157, 170, 183, 197, 210, 223, 236, 249]),
    (250, 25, {"video_start": 9.95}, None),
    (250, 25, {"video_start": 20}, None),
    (301, NTSC, {"video_start": 1.234, "video_end": 7.89},
     [37, 55, 73, 91, 109, 127, 146, 164, 182, 200, 218, 236]),
]  # fmt: skip

# Answers of transformers 5.24.0: frames, fps, rule, arguments, indices or None for an error.
TRANSFORMERS: list[tuple[int, float, Any, dict[str, Any], list[int] | None]] = [
    (100, 25, "default", {"num_frames": 7}, [0, 14, 28, 42, 57, 71, 85]),
    (301, NTSC, "default", {"fps": 1}, [0, 30, 60, 90, 120, 150, 180, 210, 240, 270]),
    (9, 25, "default", {"fps": 1}, [0]),
    (9, 25, "default", {}, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
    (9, 25, "default", {"num_frames": 10}, None),
    (100, 25, "qwen3_vl", {}, [0, 14, 28, 42, 57, 71, 85, 99]),
    (3, 25, "qwen3_vl", {}, [0, 1, 2]),
    (100, 25, "qwen3_vl", {"num_frames": 6}, [0, 20, 40, 59, 79, 99]),
    (4, 25, "qwen3_vl", {"num_frames": 6}, [0, 1, 1, 2, 2, 3]),
    (250, 25, "qwen3_vl", {"fps": 3, "max_frames": 5}, [0, 62, 124, 187, 249]),
    (100, 25, "qwen2_vl", {"num_frames": 7}, [0, 12, 25, 37, 50, 62, 75, 87]),
    (301, NTSC, "qwen2_vl", {"fps": 1}, [0, 30, 60, 90, 120, 150, 180, 210, 240, 270]),
    (9, 25, "qwen2_vl", {"fps": 2}, [0, 2, 4, 6]),
    (3, 25, "qwen2_vl", {"fps": 2}, [0, 1]),
    (9, 25, "qwen2_vl", {"num_frames": 10}, None),
    (1, 25, "qwen2_vl", {"fps": 2}, None),
    (100, 25, "qwen2_vl", {"fps": 9, "max_frames": 7}, [0, 16, 33, 50, 66, 83]),
    (100, 25, "internvl", {"num_frames": 8}, [6, 18, 31, 43, 56, 68, 81, 93]),
    (301, NTSC, "internvl", {"fps": 1}, [15, 45, 75, 105, 135, 165, 195, 225, 255, 285]),
    (9, 25, "internvl", {"num_frames": 9}, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
    (9, 25, "internvl", {"fps": 1}, None),
    (9, 25, "internvl", {"num_frames": 10}, None),
]  # fmt: skip

# Sizes of qwen-vl-utils 0.0.14: frames taken, height, width, image_patch_size, message, (h, w) or None.
QWEN_SIZES: list[tuple[int, int, int, int, dict[str, Any], tuple[int, int] | None]] = [
    (8, 1080, 1920, 14, {}, (560, 1008)),
    (8, 1080, 1920, 16, {}, (640, 1152)),
    (768, 1080, 1920, 14, {}, (336, 644)),
    (8, 1920, 1080, 14, {"total_pixels": 200 * 784}, (420, 224)),
    (8, 64, 64, 14, {}, (336, 336)),
    (8, 360, 640, 14, {"max_pixels": 360 * 420}, (280, 504)),
    (8, 360, 640, 14, {"min_pixels": 16 * 784, "max_pixels": 64 * 784}, (168, 280)),
    (8, 360, 640, 14, {"max_pixels": 10**9}, (364, 644)),
    (8, 31, 4000, 14, {}, (28, 4004)),
    (8, 30, 6000, 14, {}, (28, 5992)),
    (8, 30, 6001, 14, {}, None),
    (8, 360, 640, 14, {"max_pixels": 1000}, None),
    (8, 360, 640, 14, {"min_pixels": 800 * 784}, (616, 1064)),
]


def qwen(total: int, fps: float, message: dict[str, Any]) -> list[int] | None:
    """Answer as the peer does: indices, or None for an error."""
    renamed = {"video_start": "start_seconds", "video_end": "end_seconds"}
    arguments = {renamed.get(key, key): value for key, value in message.items()}
    try:
        return QwenVL(**arguments)(ConstantRate(total, fps)).tolist()
    except ValueError:
        return None


def hugging_face(total: int, fps: float, rule: Any, arguments: dict[str, Any]) -> list[int] | None:
    try:
        return HuggingFace(**arguments, rule=rule)(ConstantRate(total, fps)).tolist()
    except ValueError:
        return None


def qwen_size(
    frames: int, height: int, width: int, patch: int, message: dict[str, Any]
) -> tuple[int, int] | None:
    try:
        return PixelBudget.qwen_vl(patch, **message).size_for(height, width, frames)
    except ValueError:
        return None


@pytest.mark.parametrize(("total", "fps", "message", "expected"), QWEN)
def test_qwen_indices(
    total: int, fps: float, message: dict[str, Any], expected: list[int] | None
) -> None:
    assert qwen(total, fps, message) == expected


@pytest.mark.parametrize(("total", "fps", "rule", "arguments", "expected"), TRANSFORMERS)
def test_transformers_indices(
    total: int, fps: float, rule: Any, arguments: dict[str, Any], expected: list[int] | None
) -> None:
    assert hugging_face(total, fps, rule, arguments) == expected


@pytest.mark.parametrize(("frames", "height", "width", "patch", "message", "expected"), QWEN_SIZES)
def test_qwen_sizes(
    frames: int,
    height: int,
    width: int,
    patch: int,
    message: dict[str, Any],
    expected: tuple[int, int] | None,
) -> None:
    assert qwen_size(frames, height, width, patch, message) == expected


def test_the_last_bit_of_float32_decides() -> None:
    """Frames that double precision, or float32 rounded otherwise than torch does, would miss by one."""
    video = ConstantRate(33478, 25)
    assert QwenVL(nframes=546)(video)[470:473].tolist() == [28870, 28931, 28993]
    assert QwenVL(nframes=724)(ConstantRate(17711, 25))[412:415].tolist() == [10092, 10117, 10141]
    numbers = HuggingFace(num_frames=554, rule="qwen2_vl")(ConstantRate(35013, 25))
    assert numbers[548:551].tolist() == [34633, 34697, 34760]
    numbers = HuggingFace(num_frames=623, rule="internvl")(ConstantRate(34757, 25))
    assert numbers[612:615].tolist() == [34171, 34226, 34282]


def test_a_side_never_becomes_zero() -> None:
    """qwen-vl-utils gives height 0 here, and fails in the resize."""
    budget = PixelBudget.qwen_vl(min_pixels=784, max_pixels=30 * 784)
    assert budget.size_for(20, 4000, num_frames=8) == (28, 2156)


# --- windows and mistakes -----------------------------------------------------------------------------


def test_hugging_face_takes_the_window_for_the_video() -> None:
    video = ConstantRate(1000, 25, start_seconds=1.4)
    inside = HuggingFace(num_frames=7, start_seconds=11.4, end_seconds=15.4)(video)
    assert inside.tolist() == [250 + i for i in (0, 14, 28, 42, 57, 71, 85)]


def test_qwen_counts_seconds_from_the_first_frame() -> None:
    late = ConstantRate(250, 25, start_seconds=100)
    sampler = QwenVL(start_seconds=1.01, end_seconds=5)
    assert sampler(late).tolist() == [26, 40, 54, 68, 83, 97, 111, 125]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QwenVL(fps=2, nframes=4), "fps and nframes exclude each other"),
        (lambda: QwenVL(nframes=1), "nframes must be an integer >= 2"),
        (lambda: QwenVL(fps=math.nan), "fps must be a finite number"),
        (lambda: QwenVL(max_frames=0), "max_frames must be"),
        (lambda: HuggingFace(num_frames=2, fps=1), "exclude each other"),
        (lambda: HuggingFace(fps=-1), "fps must be above 0"),
        (lambda: HuggingFace(rule="llava"), "rule must be one of 'default'"),  # type: ignore[arg-type]
        (lambda: HuggingFace(rule="internvl"), "needs num_frames or fps"),
        (lambda: HuggingFace(fps=2, max_frames=8), "only bound fps, and only under"),
    ],
)
def test_nonsense_is_refused_when_made(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (QwenVL(nframes=12), r"qwen takes between 2 and all of the 10 frames .* QwenVL\(nframes=12\) asks for 12"),
        (QwenVL(start_seconds=0.35), r"window from 0.35 to None s, .* fewer than two frames"),
        (HuggingFace(num_frames=12), r"between 1 and all of the 10 frames .* asks for 12; change it"),
    ],
)  # fmt: skip
def test_counts_a_video_cannot_give_are_refused(sampler: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sampler(ConstantRate(10, 25))
