"""Clip samplers and transforms of the torchcodec stand-in beside torchcodec's own: same clips, same draws, same crops."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

import frametap as ft
from clips import ClipLibrary
from integrations.real import real

torch = real("torch")
v2 = real("torchvision.transforms.v2")
theirs = real("torchcodec.samplers")
their_decoders = real("torchcodec.decoders")
their_transforms = real("torchcodec.transforms")

from frametap.integrations.torchcodec import FrameBatch, samplers, transforms  # noqa: E402
from frametap.integrations.torchcodec.decoders import VideoDecoder  # noqa: E402

NAMES = tuple(samplers.__all__)


class Recorder:
    """Stands in for a decoder: remembers what a sampler asks for."""

    def __init__(self, frames: int, fps: float, begin: float) -> None:
        self.frames, self.asked = frames, []
        end = begin + frames / fps
        self.metadata = type("Metadata", (), {})()
        self.metadata.average_fps = frames / (end - begin)
        self.metadata.begin_stream_seconds, self.metadata.end_stream_seconds = begin, end

    def __len__(self) -> int:
        return self.frames

    def _batch(self, asked: Any) -> FrameBatch:
        self.asked = [float(value) for value in asked]
        times = torch.zeros(len(self.asked), dtype=torch.float64)
        return FrameBatch(torch.zeros(len(self.asked), 1, 1, 1), times, times)

    def get_frames_at(self, indices: Any) -> FrameBatch:
        return self._batch(indices)

    def get_frames_played_at(self, seconds: Any) -> FrameBatch:
        return self._batch(seconds)


def arguments_of(name: str, draw: random.Random, recorder: Recorder) -> dict[str, Any]:
    frames, begin = recorder.frames, recorder.metadata.begin_stream_seconds
    end = recorder.metadata.end_stream_seconds
    chosen: dict[str, Any] = {"num_frames_per_clip": draw.choice([1, 1, 2, 5, 16, 0])}
    chosen["policy"] = draw.choice(["repeat_last", "wrap", "error", "repeat_last", "wrap", "drop"])
    if name.endswith("indices"):
        chosen["num_clips"] = draw.choice([1, 2, 3, 7, 40, 0])
        chosen["num_indices_between_frames"] = draw.choice([1, 2, 3, 10, 0])
        chosen["sampling_range_start"] = draw.randint(-frames, frames + 2)
        chosen["sampling_range_end"] = draw.choice([None, draw.randint(-frames, 2 * frames)])
        return chosen
    if name == "clips_at_random_timestamps":
        chosen["num_clips"] = draw.choice([1, 2, 3, 7, 40, 0])
    else:
        chosen["seconds_between_clip_starts"] = draw.choice([0.1, 0.33, 1.0, 5.0, 1 / 30, 0.0])
    chosen["seconds_between_frames"] = draw.choice([None, None, 0.01, 0.1, 0.7, -1.0])
    chosen["sampling_range_start"] = draw.choice([None, draw.uniform(begin - 0.2, end + 0.2)])
    chosen["sampling_range_end"] = draw.choice([None, draw.uniform(begin - 0.2, end + 1)])
    return chosen


def asked_of(sampler: Any, recorder: Recorder, arguments: dict[str, Any]) -> Any:
    """Return (what the sampler asked the decoder for, shape of the clips, state of torch's generator), or the error's class."""
    torch.manual_seed(5)
    try:
        shape = sampler(recorder, **arguments).pts_seconds.shape
    except Exception as error:
        return type(error)
    return recorder.asked, tuple(shape), torch.get_rng_state().tolist()


@pytest.mark.parametrize("name", NAMES)
def test_samplers_ask_for_the_same_frames(name: str) -> None:
    draw = random.Random(name)
    answers = 0
    for _ in range(800):
        frames, fps = draw.choice([1, 2, 5, 48, 96, 301]), draw.choice([24, 30, 30000 / 1001, 8.7])
        recorder = Recorder(frames, fps, draw.choice([0.0, 0.0, 5.0, -0.04]))
        arguments = arguments_of(name, draw, recorder)
        expected = asked_of(getattr(theirs, name), recorder, arguments)
        assert asked_of(getattr(samplers, name), recorder, arguments) == expected, (
            len(recorder),
            arguments,
        )
        answers += isinstance(expected, tuple)
    assert answers > 150, "most draws must be valid, or the comparison says little"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("clip", ["h264", "vfr_mkv", "late_start"])
def test_samplers_on_real_videos(name: str, clip: str, clips: ClipLibrary) -> None:
    spacing = (
        {"seconds_between_clip_starts": 0.4}
        if name == "clips_at_regular_timestamps"
        else {"num_clips": 3}
    )
    torch.manual_seed(1)
    expected = getattr(theirs, name)(
        their_decoders.VideoDecoder(clips[clip]), num_frames_per_clip=4, **spacing
    )
    torch.manual_seed(1)
    found = getattr(samplers, name)(VideoDecoder(clips[clip]), num_frames_per_clip=4, **spacing)
    assert found.data.shape == expected.data.shape
    assert torch.equal(found.pts_seconds, expected.pts_seconds)
    assert torch.equal(found.duration_seconds, expected.duration_seconds)
    assert [len(clip_of) for clip_of in found] == [4] * len(found)
    assert repr(found).splitlines()[1] == f"  data (shape): {found.data.shape}"


# --- transforms -------------------------------------------------------------------------------------------------------

CHAINS: dict[str, list[tuple[str, tuple[int, int]]]] = {
    "resize": [("Resize", (64, 64))],
    "enlarge": [("Resize", (300, 400))],
    "center": [("CenterCrop", (33, 41))],
    "random": [("RandomCrop", (33, 41))],
    "random of all": [("RandomCrop", (120, 160))],
    "crops": [("CenterCrop", (100, 101)), ("RandomCrop", (50, 60)), ("CenterCrop", (31, 32))],
    "resize and crop": [("Resize", (60, 80)), ("CenterCrop", (56, 56))],
    "all": [
        ("RandomCrop", (90, 96)),
        ("Resize", (45, 48)),
        ("CenterCrop", (40, 30)),
        ("RandomCrop", (31, 20)),
    ],
}


def psnr(one: Any, other: Any) -> float:
    error = ((one.float() - other.float()) ** 2).mean().item()
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


@pytest.mark.parametrize("source", ["torchcodec", "frametap", "torchvision"])
@pytest.mark.parametrize("chain", CHAINS)
def test_transforms(chain: str, source: str, clips: ClipLibrary) -> None:
    module = {"torchcodec": their_transforms, "frametap": transforms, "torchvision": v2}[source]

    def decoded(decoder: Any, kinds: Any) -> tuple[Any, Any]:
        torch.manual_seed(3)
        made = decoder(
            clips["h264_444"],
            transforms=[getattr(kinds, name)(size) for name, size in CHAINS[chain]],
        )
        return made.get_frames_at([0, 7, 20]).data, torch.get_rng_state()

    expected, state = decoded(their_decoders.VideoDecoder, their_transforms)
    found, state_after = decoded(VideoDecoder, module)
    assert found.shape == expected.shape
    assert torch.equal(state, state_after), "the same draws in the same order"
    # A crop is exact; their bilinear filter is FFmpeg's, ours is Pillow's and torchvision's.
    assert psnr(found, expected) >= (50 if "Resize" in str(CHAINS[chain]) else math.inf)


def test_more_filters_than_torchcodec(clips: ClipLibrary) -> None:
    full = VideoDecoder(clips["h264_444"])[3]
    for mode in ("BICUBIC", "BILINEAR"):
        resize = v2.Resize((48, 64), interpolation=v2.InterpolationMode[mode], antialias=True)
        found = VideoDecoder(clips["h264_444"], transforms=[resize])[3]
        # torchvision works on the rounded RGB picture, frametap on the planes.
        assert psnr(found, resize(full)) > 50
    assert VideoDecoder(clips["h264"], transforms=[v2.Resize(60)])[0].shape == (3, 60, 80)
    assert VideoDecoder(clips["rotate90"], transforms=[v2.Resize(60)])[0].shape == (3, 80, 60)


@pytest.mark.parametrize(
    ("chain", "error"),
    [
        ([v2.RandomCrop(20, padding=2)], ValueError),
        ([v2.RandomCrop(20, pad_if_needed=True)], ValueError),
        ([transforms.CenterCrop((500, 20))], ValueError),
        ([v2.RandomHorizontalFlip()], ValueError),
        ([v2.Resize((20, 20), interpolation=v2.InterpolationMode.BOX)], ValueError),
        ([v2.Resize(20, max_size=30)], ValueError),
        ([transforms.Resize((20, 20)), transforms.Resize((10, 10))], ft.UnsupportedError),
    ],
)
def test_what_transforms_refuse(
    chain: list[Any], error: type[Exception], clips: ClipLibrary
) -> None:
    with pytest.raises(error):
        VideoDecoder(clips["h264"], transforms=chain)


@pytest.mark.parametrize("kind", ["Resize", "CenterCrop", "RandomCrop"])
def test_sizes_are_pairs(kind: str) -> None:
    for module in (their_transforms, transforms):
        with pytest.raises(ValueError, match="height, width"):
            getattr(module, kind)((5,))


def test_transforms_on_cuda_meet_no_refusal_of_their_own(clips: ClipLibrary) -> None:
    """torchcodec: "Transforms are only supported for CPU devices"; here only a GPU can be missing."""
    if torch.cuda.is_available():
        frame = VideoDecoder(
            clips["h264"], device="cuda", transforms=[transforms.Resize((64, 64))]
        )[0]
        assert frame.device.type == "cuda"
        assert frame.shape == (3, 64, 64)
    else:
        with pytest.raises(ft.DeviceError):
            VideoDecoder(clips["h264"], device="cuda", transforms=[transforms.Resize((64, 64))])
