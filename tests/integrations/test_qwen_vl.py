"""Qwen-VL: the frames, sizes and pixels that the released qwen-vl-utils gives, from one opening of the file."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

import frametap as ft
from clips import ClipLibrary
from integrations.real import real

torch = real("torch")
vision_process = real("qwen_vl_utils.vision_process")
qwen_vl = real("frametap.integrations.qwen_vl")

NTSC = 30000 / 1001
Message = dict[str, Any]
Case = tuple[int, float, tuple[int, int], int, Message]

# torch rounds linspace in another way on a processor without fused multiply-add.
needs_fma = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="needs a processor with FMA"
)


@pytest.fixture(autouse=True)
def _restore(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the readers of qwen-vl-utils as they were, and its log silent: it warns of every odd message."""
    monkeypatch.setattr(vision_process, "FORCE_QWENVL_VIDEO_READER", None)
    monkeypatch.setattr(
        vision_process, "VIDEO_READER_BACKENDS", dict(vision_process.VIDEO_READER_BACKENDS)
    )
    monkeypatch.setattr(vision_process.logger, "disabled", True)
    vision_process.get_video_reader_backend.cache_clear()
    yield
    vision_process.get_video_reader_backend.cache_clear()


def read_with(reader: str) -> None:
    """Have qwen-vl-utils read with one of its readers; skip where that one does not load."""
    real("torchcodec.decoders" if reader == "torchcodec" else reader)
    vision_process.FORCE_QWENVL_VIDEO_READER = reader
    vision_process.get_video_reader_backend.cache_clear()


# --- indices and sizes, against the released code ---------------------------------------------------------------------


@pytest.fixture
def ask_qwen(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ask `qwen_vl_utils.fetch_video` for indices and size; only decoding and resizing are replaced by a record."""
    video: Any = None
    taken: list[int] = []

    class VideoDecoder:
        def __init__(self, *_: Any, **__: Any) -> None:
            self.metadata = SimpleNamespace(num_frames=video[0], average_fps=video[1])

        def get_frames_at(self, indices: list[int]) -> Any:
            taken[:] = indices
            return SimpleNamespace(data=torch.empty(len(indices), 3, *video[2], device="meta"))

    def resize(frames: Any, size: list[int], **options: Any) -> Any:
        assert options == {
            "interpolation": vision_process.InterpolationMode.BICUBIC,
            "antialias": True,
        }
        return torch.empty(*frames.shape[:2], *size, device="meta")

    decoders = ModuleType("torchcodec.decoders")
    decoders.VideoDecoder = VideoDecoder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchcodec", ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)
    monkeypatch.setattr(vision_process.transforms.functional, "resize", resize)
    # The errors of the reader itself, not those of the reader that it falls back to.
    monkeypatch.setitem(
        vision_process.VIDEO_READER_BACKENDS,
        "torchvision",
        lambda _: (_ for _ in ()).throw(ValueError),
    )
    vision_process.FORCE_QWENVL_VIDEO_READER = "torchcodec"
    vision_process.get_video_reader_backend.cache_clear()

    def ask(case: Case) -> tuple[list[int], tuple[int, int]] | None:
        nonlocal video
        video = case
        try:
            frames = vision_process.fetch_video({"video": "a.mp4", **case[4]}, case[3])
        except (ValueError, AssertionError):
            return None
        return list(taken), tuple(frames.shape[2:])

    return ask


def ours(case: Case) -> tuple[list[int], tuple[int, int]] | None:
    total, fps, (height, width), patch, message = case
    try:
        sampler = qwen_vl.message_sampler(message)
        indices = sampler(ft.sampler.ConstantRate(total, fps)).tolist()
        size = qwen_vl.message_transform(message, patch).size
        if isinstance(size, ft.PixelBudget):
            size = size.size_for(height, width, len(indices))
    except ValueError:
        return None
    return indices, size


def differ(cases: list[Case], ask: Any) -> tuple[list[Any], int]:
    """Return the cases with another answer, and how many have an answer that is no error."""
    wrong, answered = [], 0
    for case in cases:
        theirs, mine = ask(case), ours(case)
        answered += theirs is not None
        if theirs != mine and not (theirs and 0 in theirs[1]):  # qwen fails on a side of 0 pixels
            wrong.append((case, theirs, mine))
    return wrong, answered


TOTALS = [1, 2, 3, 4, 5, 7, 8, 24, 25, 47, 96, 100, 301, 719, 1800, 5400, 17999, 90000]
RATES = [10, 24000 / 1001, 24, 25, NTSC, 30, 50, 60000 / 1001]
SIZES = [(1080, 1920), (1920, 1080), (360, 640), (64, 64), (31, 4000)]
FLOATS: list[Message] = [
    {"nframes": 16.0}, {"nframes": 7.4}, {"min_frames": 5.0, "max_frames": 9.9}, {"fps": 30, "max_frames": 64.0},
    {"total_pixels": 24576 * 784 * 0.9}, {"max_pixels": 360 * 420.5, "min_pixels": 1e4},
    {"resized_height": 300.0, "resized_width": 500.5},
]  # fmt: skip
MESSAGES: list[Message] = [
    {}, {"fps": 1}, {"fps": 0.5}, {"fps": 4.0, "max_pixels": 360 * 420}, {"nframes": 7}, {"nframes": 16},
    {"fps": 2, "min_frames": 30, "total_pixels": 2000 * 784}, {"fps": 5, "max_frames": 9},
    {"video_start": 0.5, "video_end": 2.0}, {"video_start": 1.01, "min_pixels": 64 * 784},
    {"video_end": 0.3, "resized_height": 300, "resized_width": 500},
    {"max_frames": 128, "total_pixels": 24576 * 784, "max_pixels": 768 * 784, "min_pixels": 128 * 784},
]  # fmt: skip


def test_numbers_may_be_floats(ask_qwen: Any) -> None:
    """As they are in JSON, or after `total_pixels * 0.9`."""
    cases = [
        (total, 25, (360, 640), 14, message) for total in (3, 24, 301, 5400) for message in FLOATS
    ]
    wrong, answered = differ(cases, ask_qwen)
    assert wrong == []
    assert answered > len(cases) / 2


SETTINGS: list[dict[str, float]] = [
    {"FPS": 1.0}, {"FPS_MIN_FRAMES": 30}, {"FPS_MAX_FRAMES": 16}, {"FPS_MIN_FRAMES": 5, "FPS_MAX_FRAMES": 11},
    {"FRAME_FACTOR": 1}, {"FRAME_FACTOR": 4}, {"VIDEO_MAX_TOKEN_NUM": 64, "VIDEO_MIN_TOKEN_NUM": 16},
    {"VIDEO_MAX_TOKEN_NUM": 128, "FPS_MAX_FRAMES": 24.0}, {"MODEL_SEQ_LEN": 4096},
]  # fmt: skip


@needs_fma
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_settings_of_the_module(
    settings: dict[str, float], ask_qwen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who trains a model sets them on `vision_process`; they count when a video is read."""
    for name, value in settings.items():
        monkeypatch.setattr(vision_process, name, value)
    messages = [*MESSAGES, {"nframes": 1}, {"nframes": 3}]
    cases = [
        (total, 25, (360, 640), 14, message)
        for total in (1, 3, 24, 301, 5400)
        for message in messages
    ]
    wrong, answered = differ(cases, ask_qwen)
    assert wrong == []
    assert answered > len(cases) / 3


LIMITS: list[Message] = [
    {"min_frames": 0}, {"min_frames": -3, "fps": 1}, {"video_end": float("inf")}, {"min_pixels": 0},
    {"video_start": float("-inf"), "video_end": 0.5}, {"video_start": float("inf")}, {"max_frames": 0},
    {"min_pixels": 0, "max_pixels": 10_000}, {"min_pixels": -5, "total_pixels": 30_000},
]  # fmt: skip


def test_limits_that_limit_nothing(ask_qwen: Any) -> None:
    cases = [
        (total, 25, (360, 640), 14, message) for total in (3, 24, 301, 5400) for message in LIMITS
    ]
    wrong, answered = differ(cases, ask_qwen)
    assert wrong == []
    assert answered > len(cases) / 2


@needs_fma
def test_grid(ask_qwen: Any) -> None:
    cases = [
        (*video, patch, message)
        for video, message, patch in zip(
            itertools.cycle(itertools.product(TOTALS, RATES, SIZES)),
            itertools.chain.from_iterable([m] * len(TOTALS) * len(RATES) * len(SIZES) for m in MESSAGES),
            itertools.cycle([14, 16, 14]),
        )
    ]  # fmt: skip
    wrong, answered = differ(cases, ask_qwen)
    assert not wrong, f"{len(wrong)} of {len(cases)}: {wrong[:3]}"
    assert answered > 5000


def random_case(rng: np.random.Generator) -> Case:
    total = int(rng.integers(1, rng.choice([60, 1000, 20000, 100000]) + 1))
    fps = float(rng.choice([*RATES, 12.5, 15, 60, 29.7]))
    message: Message = {}
    kind = rng.integers(4)
    if kind == 0:
        message["nframes"] = int(rng.integers(2, min(total, 800) + 3))
    elif kind == 1:
        message["fps"] = float(rng.choice([0.5, 1, 2, 3, 4, 7.5, 24, NTSC]))
    if kind > 0 and rng.random() < 0.3:
        message["min_frames"] = int(rng.integers(1, 40))
    if kind > 0 and rng.random() < 0.4:
        message["max_frames"] = int(rng.integers(2, 800))
    duration = total / fps
    if rng.random() < 0.3:
        message["video_start"] = float(rng.choice([rng.uniform(-0.1, duration), int(duration / 3)]))
    if rng.random() < 0.3:
        low = max(message.get("video_start", 0.0), 0)
        message["video_end"] = low + float(rng.uniform(0.01, duration * 1.1))
    for name, most in (("min_pixels", 300_000), ("max_pixels", 900_000), ("total_pixels", 10**8)):
        if rng.random() < 0.2:
            message[name] = int(rng.integers(100, most))
    size = tuple(int(v) for v in rng.integers(2, rng.choice([60, 700, 4000], size=2) + 1))
    return total, fps, size, int(rng.choice([14, 16])), message


@needs_fma
def test_random_messages(ask_qwen: Any) -> None:
    rng = np.random.default_rng(1)
    cases = [random_case(rng) for _ in range(6000)]
    wrong, answered = differ(cases, ask_qwen)
    assert not wrong, f"{len(wrong)} of {len(cases)}: {wrong[:3]}"
    assert answered > 3000


# --- real files -------------------------------------------------------------------------------------------------------


def psnr(a: Any, b: Any) -> float:
    return float(10 * torch.log10(255**2 / ((a - b) ** 2).mean()))


@needs_fma
@pytest.mark.parametrize("reader", ["torchcodec", "decord"])
@pytest.mark.parametrize(
    "name",
    ["talk", "ntsc", "vfr", "rotate90", "hevc", "full_range", "edit_list", "best_track_last"],
)
def test_the_same_video(clips: ClipLibrary, name: str, reader: str) -> None:
    read_with(reader)
    for message in ({}, {"nframes": 4, "max_pixels": 200 * 784}, {"fps": 3.0, "video_start": 0.4}):
        message = {
            "video": f"file://{clips[name]}" if reader == "torchcodec" else str(clips[name]),
            **message,
        }
        mine, metadata = qwen_vl.fetch_video(message, 16, True, True)[0]
        theirs, expected = vision_process.fetch_video(message, 16, True, True)[0]
        assert metadata.pop("video_backend") == "frametap"
        assert expected.pop("video_backend") == reader
        assert metadata.pop("fps") == pytest.approx(expected.pop("fps"), rel=1e-12)
        assert metadata == expected
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        # Both are bicubic with antialias; we resample planes before, they RGB after the colour conversion.
        assert psnr(mine, theirs) > 38


def test_one_opening_of_the_container(clips: ClipLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rate, number of frames and size decide what is decoded, and still the container is opened once."""
    opened: list[str] = []
    monkeypatch.setattr(
        av, "open", lambda file, *a, _open=av.open, **k: opened.append(file) or _open(file, *a, **k)
    )
    message = {"video": str(clips["talk"]), "fps": 2.0, "total_pixels": 900 * 784}
    video = qwen_vl.fetch_video(message, threads=1)
    assert opened == [f"file:{clips['talk']}"]
    assert video.shape == (8, 3, 280, 392)
    qwen_vl.register(image_patch_size=14, threads=1)
    assert vision_process.fetch_video(message).shape == video.shape
    assert len(opened) == 2


def test_bytes_and_open_files(clips: ClipLibrary) -> None:
    path = clips["talk"]
    expected = qwen_vl.fetch_video({"video": str(path), "nframes": 4})
    assert torch.equal(qwen_vl.fetch_video({"video": path.read_bytes(), "nframes": 4}), expected)
    with path.open("rb") as file:
        assert torch.equal(qwen_vl.fetch_video({"video": file, "nframes": 4}), expected)


def test_errors_are_the_real_ones(clips: ClipLibrary, tmp_path: Path) -> None:
    with pytest.raises(ft.SourceError, match=r"none\.mp4: no such file"):
        qwen_vl.fetch_video({"video": str(tmp_path / "none.mp4")})
    with pytest.raises(ValueError, match="qwen takes between 2 and all of the 1 frames"):
        qwen_vl.fetch_video({"video": str(clips["one_frame"])})


# --- as a reader of qwen-vl-utils -------------------------------------------------------------------------------------


def test_registered_and_selected(clips: ClipLibrary, capsys: pytest.CaptureFixture[str]) -> None:
    message = {"video": str(clips["talk"]), "fps": 2.0}
    qwen_vl.register()
    full, metadata = vision_process.fetch_video(message, return_video_metadata=True)
    assert "using frametap to read video" in capsys.readouterr().err
    assert metadata["video_backend"] == "frametap"
    qwen_vl.register(image_patch_size=14)
    video, rate = vision_process.fetch_video(message, return_video_sample_fps=True)
    assert rate == 2.0
    assert torch.equal(video, qwen_vl.fetch_video(message))
    assert psnr(video, full) > 38
    assert "frametap" in vision_process.VIDEO_READER_BACKENDS


def test_add_without_selecting(clips: ClipLibrary) -> None:
    qwen_vl.register(select=False)
    assert "frametap" in vision_process.VIDEO_READER_BACKENDS
    assert vision_process.get_video_reader_backend() != "frametap"


def test_selected_by_the_environment(clips: ClipLibrary) -> None:
    code = (
        "import sys; from qwen_vl_utils import fetch_video; from frametap.integrations import qwen_vl\n"
        "qwen_vl.register(select=False)\n"
        "print(fetch_video({'video': sys.argv[1]}, return_video_metadata=True)[1]['video_backend'])"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(clips["talk"])]
    environment = {**os.environ, "FORCE_QWENVL_VIDEO_READER": "frametap"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "frametap", done.stderr


@pytest.mark.parametrize(
    "message",
    [
        {"nframes": 4},
        {
            "nframes": 4,
            "min_pixels": 300 * 784,
            "max_pixels": 300 * 784,
        },  # the rule changes its own result
        {"nframes": 4, "resized_height": 100, "resized_width": 900},
    ],
)
def test_the_registered_reader_never_changes_the_size(clips: ClipLibrary, message: Message) -> None:
    message = {"video": str(clips["talk"]), **message}
    sizes = []
    for patch in (None, 14):
        qwen_vl.register(image_patch_size=patch)
        sizes.append(vision_process.fetch_video(message).shape)
    assert sizes[0] == sizes[1] == qwen_vl.fetch_video(message).shape


@pytest.mark.parametrize("with_metadata", [False, True])
def test_process_vision_info(clips: ClipLibrary, with_metadata: bool) -> None:
    image = real("PIL.Image").new("RGB", (80, 60), (10, 200, 30))
    frames = [image, image, image]
    parts = [{"type": "video", "video": str(clips["talk"]), "fps": 1.0}, {"type": "text", "text": "?"},
             {"type": "image", "image": image}, {"type": "video", "video": frames}]  # fmt: skip
    conversations = [[{"role": "user", "content": parts}], [{"role": "user", "content": parts[:1]}]]
    qwen_vl.register(image_patch_size=16)
    theirs = vision_process.process_vision_info(conversations, True, with_metadata, 16)
    mine = qwen_vl.process_vision_info(conversations, True, with_metadata, 16)
    assert mine[2] == theirs[2]
    assert [np.asarray(a).tolist() for a in mine[0]] == [np.asarray(a).tolist() for a in theirs[0]]
    assert len(mine[1]) == 3
    for a, b in zip(mine[1], theirs[1], strict=True):
        (a, about_a), (b, about_b) = (a, b) if with_metadata else ((a, None), (b, None))
        assert torch.equal(a, b)
        assert about_a == about_b
    assert qwen_vl.process_vision_info([{"role": "user", "content": "hello"}]) == (None, None)
