"""transformers: the backend of load_video and of the video processors, and timestamps where the rate varies."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import frametap as ft
from clips import ClipLibrary
from integrations.real import real

torch = real("torch")
video_utils = real("transformers.video_utils")
processing = real("transformers.video_processing_utils")
ours = real("frametap.integrations.transformers")


@pytest.fixture(autouse=True)
def _restore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_utils, "VIDEO_DECODERS", dict(video_utils.VIDEO_DECODERS))
    mixin = processing.VideoProcessorMixin
    monkeypatch.setattr(mixin, "fetch_videos", mixin.fetch_videos)


def load(path: Any, backend: str, **arguments: Any) -> tuple[Any, Any]:
    return video_utils.load_video(str(path), backend=backend, **arguments)


# --- load_video -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [{}, {"num_frames": 5}, {"fps": 2}])
@pytest.mark.parametrize("name", ["talk", "ntsc", "rotate90", "edit_list", "best_track_last"])
def test_load_video_as_torchcodec(clips: ClipLibrary, name: str, arguments: dict[str, Any]) -> None:
    real("torchcodec.decoders")
    ours.register()
    video, metadata = load(clips[name], "frametap", **arguments)
    expected, known = load(clips[name], "torchcodec", **arguments)
    assert (video.shape, video.dtype) == (expected.shape, expected.dtype)
    assert metadata.frames_indices == known.frames_indices.tolist()
    assert metadata.frame_numbers.tolist() == metadata.frames_indices
    assert metadata.fps == pytest.approx(known.fps, rel=1e-12)
    assert metadata.sampled_fps == pytest.approx(known.sampled_fps)
    assert metadata.duration == pytest.approx(known.duration)
    for key in ("total_num_frames", "height", "width"):
        assert metadata[key] == known[key]
    assert metadata.timestamps == pytest.approx(known.timestamps, abs=1e-3)
    assert abs(video.float() - expected.float()).mean() < 3


def test_own_sampling_function_and_keywords(clips: ClipLibrary) -> None:
    ours.register()
    seen: dict[str, Any] = {}

    def last_frames(metadata: Any, **kwargs: Any) -> np.ndarray:
        seen.update(kwargs, fps=metadata.fps, total=metadata.total_num_frames)
        return np.arange(metadata.total_num_frames - kwargs["count"], metadata.total_num_frames)

    video, metadata = load(
        clips["talk"],
        "frametap",
        sample_indices_fn=last_frames,
        count=3,
        transform=ft.Transform(size=(32, 48)),
    )
    assert seen == {"count": 3, "fps": 24.0, "total": 96}
    assert metadata.frames_indices == [93, 94, 95]
    assert video.shape == (3, 3, 32, 48)
    assert (metadata.height, metadata.width) == (32, 48)


def test_errors(clips: ClipLibrary, tmp_path: Any) -> None:
    ours.register()
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ft.SourceError, match=r"text\.mp4"):
        load(tmp_path / "text.mp4", "frametap")
    with pytest.raises(IndexError, match="frame 96"):
        load(clips["talk"], "frametap", sample_indices_fn=lambda **_: [96])
    with pytest.raises(ValueError, match="num_frames=97"):
        load(clips["talk"], "frametap", num_frames=97)


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vfr", "vfr_mkv", "vfr_hevc"])
def test_timestamps_are_true_where_the_rate_varies(clips: ClipLibrary, name: str) -> None:
    ours.register()
    _, metadata = load(clips[name], "frametap", num_frames=6)
    index = ft.FrameIndex.build(clips[name])
    numbers = metadata.frame_numbers
    assert numbers.tolist() == [0, 8, 16, 24, 32, 40]
    true = index.pts_seconds[numbers] - index.pts_seconds[0]
    assert metadata.timestamps == pytest.approx(true)
    assert metadata.pts_seconds == pytest.approx(index.pts_seconds[numbers])
    # What every model computes for itself, and what transformers' own metadata would say.
    assert [position / metadata.fps for position in metadata.frames_indices] == pytest.approx(true)
    assert abs(numbers / metadata.fps - true).max() > 0.1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["talk", "vfr"])
def test_times_follow_a_processor_that_samples_again(clips: ClipLibrary, name: str) -> None:
    """Decoded videos are sampled by the processor, which then writes frame numbers into the metadata."""
    ours.register()
    video, metadata = load(clips[name], "frametap")
    assert len(metadata.timestamps) == len(video)
    made = processor("LlavaOnevisionVideoProcessor")
    result = made(videos=[video], video_metadata=[metadata], return_metadata=True)
    (known,) = result["video_metadata"]
    numbers = np.arange(4) * len(video) // 4
    true = (pts := ft.FrameIndex.build(clips[name]).pts_seconds)[numbers] - pts[0]
    assert known.frame_numbers.tolist() == numbers.tolist()
    assert known.timestamps == pytest.approx(true)
    assert known.pts_seconds == pytest.approx(pts[numbers])
    assert [position / known.fps for position in known.frames_indices] == pytest.approx(
        true, abs=1e-3
    )
    assert pickle.loads(pickle.dumps(known)).timestamps == known.timestamps
    known.frames_indices = None
    with pytest.raises(ValueError, match="frames_indices"):
        _ = known.timestamps


@pytest.mark.parametrize("name", ["talk", "ntsc", "h264_mkv", "late_start", "h264_ts"])
def test_at_a_constant_rate_indices_are_frame_numbers(clips: ClipLibrary, name: str) -> None:
    ours.register()
    _, metadata = load(clips[name], "frametap", num_frames=4)
    assert all(type(number) is int for number in metadata.frames_indices)
    assert metadata.timestamps[0] == 0


# --- processors -------------------------------------------------------------------------------------------------------

# Built from their defaults: no model, no download.
PROCESSORS = {
    "Qwen2VLVideoProcessor": {"num_frames": 4},  # Qwen2.5-VL's too
    "Qwen3VLVideoProcessor": {"cap_pixels_per_frame": True},
    "LlavaOnevisionVideoProcessor": {"num_frames": 4},
    "LlavaNextVideoVideoProcessor": {"num_frames": 4, "size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}},
    "VideoLlavaVideoProcessor": {"num_frames": 4, "size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}},
    "InternVLVideoProcessor": {"num_frames": 4, "size": {"height": 64, "width": 64}},
}  # fmt: skip


def processor(name: str, **more: Any) -> Any:
    return getattr(real("transformers"), name)(
        **{**PROCESSORS[name], **more}, do_sample_frames=True
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROCESSORS)
def test_processors_read_paths(clips: ClipLibrary, name: str) -> None:
    """What comes out equals what the processor makes of the same frames handed over as a tensor."""
    ours.register(processors=True)
    made = processor(name)
    paths = [str(clips["talk"]), str(clips["vfr"])]
    result = made(videos=paths, return_tensors="pt", return_metadata=True)
    assert [metadata.video_backend for metadata in result["video_metadata"]] == ["frametap"] * 2
    frames = [
        ft.sample(path, ft.Indices(metadata.frame_numbers)).torch()
        for path, metadata in zip(paths, result["video_metadata"], strict=True)
    ]
    made.do_sample_frames = False
    expected = made(videos=frames, return_tensors="pt")
    assert torch.equal(result["pixel_values_videos"], expected["pixel_values_videos"])
    if "video_grid_thw" in expected:
        assert torch.equal(result["video_grid_thw"], expected["video_grid_thw"])


@pytest.mark.filterwarnings("ignore")
def test_processors_with_a_size(clips: ClipLibrary) -> None:
    """A video far above the budget is never decoded at its own size."""
    budget = ft.PixelBudget(min_pixels=4 * 28 * 28, max_pixels=16 * 28 * 28)
    ours.register(processors=True, transform=ft.Transform(size=budget, filter="bicubic"))
    made = processor(
        "Qwen2VLVideoProcessor", size={"shortest_edge": 4 * 784, "longest_edge": 16 * 784}
    )
    result = made(videos=[str(clips["talk"])], return_tensors="pt", return_metadata=True)
    assert (result["video_metadata"][0].height, result["video_metadata"][0].width) == (84, 112)
    assert result["video_grid_thw"].tolist() == [[2, 6, 8]]


@pytest.mark.filterwarnings("ignore")
def test_qwen3_prompt_tells_the_true_times(clips: ClipLibrary) -> None:
    tokenizers, transformers = real("tokenizers"), real("transformers")
    words = ["<unk>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    model = tokenizers.models.WordLevel(
        {word: i for i, word in enumerate(words)}, unk_token="<unk>"
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(model),
        extra_special_tokens=words[1:],
        unk_token="<unk>",
    )
    made = transformers.Qwen3VLProcessor(
        transformers.Qwen2VLImageProcessor(), tokenizer, processor("Qwen3VLVideoProcessor")
    )
    ours.register(processors=True)
    inputs = made.video_processor(videos=[str(clips["vfr"])], return_metadata=True)
    prompt = made.replace_video_token(inputs, 0)
    times = inputs["video_metadata"][0].timestamps
    for first, second in zip(times[::2], times[1::2], strict=True):
        assert f"<{(first + second) / 2:.1f} seconds>" in prompt
