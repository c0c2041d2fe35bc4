"""The torchcodec stand-in beside torchcodec itself: same frames, times, errors and metadata.

Left out are clips on which torchcodec 0.17 itself is wrong or fails: transport streams (its frame 0 is not the first), AVI,
MPEG-PS and raw streams (it ends early), intra refresh. Pixels of 4:4:4 are equal; where chroma is interpolated both are
approximations, and frames must lie far nearer to each other than to their neighbours.
"""

from __future__ import annotations

import copy
import io
import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import frametap as ft
from clips import ClipLibrary
from integrations.real import real

torch = real("torch")
theirs = real("torchcodec.decoders")

from frametap.integrations.torchcodec import decoders as ours  # noqa: E402
from frametap.integrations.torchcodec import transforms  # noqa: E402

CLIPS = (
    "h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "prores", "h264_open_gop", "hevc_open_gop", "h264_pyramid", "h264_mkv",
    "h264_fragmented", "vfr", "vfr_mkv", "ntsc", "late_start", "late_start_mp4", "edit_list", "one_frame", "rotate90",
    "rotate180", "rotate270", "odd_size", "h264_422", "h264_10bit", "bt709", "full_range", "two_tracks",
    "best_track_last",
)  # fmt: skip
EXACT = ("h264_444", "ffv1", "png_rgb", "hevc_gbr", "hevc_12bit_444")
# H.264 and HEVC in MP4 with a varying rate: torchcodec tells the nominal duration of every frame.
OTHER_DURATIONS = ("vfr",)


@pytest.fixture(params=[*CLIPS, *EXACT])
def clip(request: pytest.FixtureRequest, clips: ClipLibrary) -> Path:
    return clips[request.param]


def both(path: Any, **arguments: Any) -> tuple[Any, Any]:
    return theirs.VideoDecoder(path, **arguments), ours.VideoDecoder(path, **arguments)


def assert_same_frames(
    real_batch: Any, batch: Any, *, exact: bool = False, durations: bool = True
) -> None:
    assert batch.data.shape == real_batch.data.shape
    assert batch.data.dtype == real_batch.data.dtype
    assert torch.equal(batch.pts_seconds, real_batch.pts_seconds)
    if durations:
        assert torch.equal(batch.duration_seconds, real_batch.duration_seconds)
    if exact:
        assert torch.equal(batch.data, real_batch.data)
    elif batch.data.numel():
        difference = (batch.data.float() - real_batch.data.float()).abs().mean(dim=(-1, -2, -3))
        assert difference.max() < 3  # of 255; another frame of these clips differs by 40


def test_frames_and_times_by_number(clip: Path) -> None:
    expected, decoder = both(clip)
    assert len(decoder) == len(expected)
    count = len(decoder)
    numbers = [count - 1, 0, count // 2, -1, count // 2, count // 3]
    exact, durations = clip.stem in EXACT, clip.stem not in OTHER_DURATIONS
    for indices in (numbers, torch.tensor(numbers)):
        batch = decoder.get_frames_at(indices)
        assert_same_frames(expected.get_frames_at(indices), batch, exact=exact, durations=durations)
    if clip.stem != "png_rgb":  # where frametap knows of the first keyframe only
        assert torch.equal(decoder._get_key_frame_indices(), expected._get_key_frame_indices())


@pytest.mark.parametrize("stream_index", [None, 0, 1])
@pytest.mark.parametrize("name", ["two_tracks", "best_track_last"])
def test_any_video_stream(clips: ClipLibrary, name: str, stream_index: int | None) -> None:
    expected, decoder = both(clips[name], stream_index=stream_index)
    assert decoder.stream_index == expected.stream_index
    assert decoder.metadata.num_frames == expected.metadata.num_frames
    assert_same_frames(expected.get_frames_in_range(0, 12), decoder.get_frames_in_range(0, 12))


def test_frames_by_time(clip: Path) -> None:
    expected, decoder = both(clip)
    begin, end = expected.metadata.begin_stream_seconds, expected.metadata.end_stream_seconds
    inside = np.nextafter(end, begin)
    times = [
        begin,
        (begin + end) / 2,
        inside,
        begin,
        *expected.get_frames_at([len(expected) // 2]).pts_seconds.tolist(),
    ]
    durations = clip.stem not in OTHER_DURATIONS
    for seconds in (times, torch.tensor(times, dtype=torch.float64)):
        assert_same_frames(
            expected.get_frames_played_at(seconds),
            decoder.get_frames_played_at(seconds),
            durations=durations,
        )
    # Alone, torchcodec's get_frame_played_at gives the *next* frame where a gap follows the duration of one; its batch does not.
    frame = decoder.get_frame_played_at(times[1])
    assert frame.pts_seconds == expected.get_frames_played_at([times[1]]).pts_seconds.item()
    for start, stop in (
        (begin, end),
        (begin, begin),
        (times[1], end),
        (times[1], times[1]),
        (begin, times[1]),
    ):
        for fps in (None, 7.0, 60):
            assert_same_frames(
                expected.get_frames_played_in_range(start, stop, fps),
                decoder.get_frames_played_in_range(start, stop, fps),
                durations=durations,
            )


FROM_HEADERS = {  # what FFmpeg's stream does not say, frametap takes from the file; unknown pixels it calls square
    "duration_seconds_from_header", "bit_rate", "average_fps_from_header", "pixel_aspect_ratio", "color_space",
    "begin_stream_seconds_from_header", "num_frames_from_header",
}  # fmt: skip


def test_metadata(clip: Path) -> None:
    expected, decoder = both(clip)
    for name in set(vars(expected.metadata)) - FROM_HEADERS:
        told, true = getattr(decoder.metadata, name), getattr(expected.metadata, name)
        assert told == true, name
    assert set(vars(decoder.metadata)) == set(vars(expected.metadata))
    assert decoder.stream_index == expected.stream_index
    assert str(decoder.cpu_fallback) == str(expected.cpu_fallback)
    assert not decoder.cpu_fallback
    assert f"num_frames: {len(decoder)}" in repr(decoder.metadata)


def test_color_names_are_ffmpegs(clips: ClipLibrary) -> None:
    expected, decoder = both(clips["bt709"])
    for name in ("color_space", "color_primaries", "color_transfer_characteristic"):
        assert getattr(decoder.metadata, name) == getattr(expected.metadata, name) == "bt709"


# --- arguments --------------------------------------------------------------------------------------------------------


def test_indexing(clips: ClipLibrary) -> None:
    expected, decoder = both(clips["h264_444"])
    for key in (0, -1, np.int64(5), slice(3, 9, 2), slice(-3, None), slice(0, 0)):
        assert torch.equal(decoder[key], expected[key])
    assert decoder[::-1].shape[0] == len(decoder), "torchcodec refuses steps below 1"
    assert_same_frames(
        expected.get_frames_in_range(-10, 1000, 3),
        decoder.get_frames_in_range(-10, 1000, 3),
        exact=True,
    )
    data, pts_seconds, duration_seconds = decoder.get_frame_at(7)
    assert (data.shape, pts_seconds, duration_seconds) == ((3, 120, 160), 7 / 24, 1 / 24)
    assert isinstance(next(iter(decoder)), torch.Tensor)


def test_pictures_of_other_sizes_come_at_the_first_size(clips: ClipLibrary) -> None:
    """torchcodec gives each its own size and makes no batch of them."""
    decoder = ours.VideoDecoder(clips["resized"])
    assert (decoder.metadata.height, decoder.metadata.width) == (120, 160)
    np.testing.assert_array_equal(decoder[:], ft.sample(clips["resized"], ft.Every(1)))
    half = ours.VideoDecoder(clips["resized"], transforms=[transforms.Resize((60, 80))])
    assert half.get_frames_at([0, -1]).data.shape == (2, 3, 60, 80)


def test_layout_and_dtype(clips: ClipLibrary) -> None:
    for arguments in (
        {"dimension_order": "NHWC"},
        {"output_dtype": torch.float32},
        {"output_dtype": "auto"},
    ):
        for name in ("h264_444", "hevc_12bit_444"):
            expected, decoder = both(clips[name], **arguments)
            frame, reference = decoder[3], expected[3]
            assert frame.shape == reference.shape
            assert frame.dtype == reference.dtype
            assert frame.is_contiguous()
            scale = 1.0 if frame.dtype == torch.uint8 else 255.0
            assert ((frame.float() - reference.float()) * scale).abs().max() < 2


def test_sources(clips: ClipLibrary) -> None:
    path = clips["h264"]
    data = path.read_bytes()
    expected = ours.VideoDecoder(path)[5]

    class OnlyReadAndSeek:
        def __init__(self) -> None:
            self.file = io.BytesIO(data)

        def read(self, size: int) -> bytes:
            return self.file.read(size)

        def seek(self, offset: int, whence: int) -> int:
            return self.file.seek(offset, whence)

    tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    with path.open("rb") as file:
        for source in (str(path), data, tensor, file, io.BytesIO(data), OnlyReadAndSeek()):
            theirs.VideoDecoder(source)
            assert torch.equal(ours.VideoDecoder(source)[5], expected)


def test_num_ffmpeg_threads_and_seek_mode_change_nothing(clips: ClipLibrary) -> None:
    expected = ours.VideoDecoder(clips["hevc"])[17]
    for arguments in (
        {"num_ffmpeg_threads": 0},
        {"num_ffmpeg_threads": -1},
        {"num_ffmpeg_threads": 2},
        {"seek_mode": "approximate"},
        {"device": "cpu"},
        {"device": "cpu:0"},
        {"device": torch.device("cpu", 0)},
    ):
        assert torch.equal(ours.VideoDecoder(clips["hevc"], **arguments)[17], expected)


def test_custom_frame_mappings(clips: ClipLibrary) -> None:
    frames = [{"pts": i * 512, "duration": 512, "key_frame": int(i % 12 == 0)} for i in range(48)]
    for mappings in (json.dumps({"frames": frames}), io.StringIO(json.dumps({"frames": frames}))):
        assert len(ours.VideoDecoder(clips["h264"], custom_frame_mappings=mappings)) == 48
    for bad in ("{", "{}", '{"frames": [{"pts": 1}]}'):
        for module in (theirs, ours):
            with pytest.raises(ValueError, match="mappings"):
                module.VideoDecoder(clips["h264"], custom_frame_mappings=bad)


# What programs do wrong, and what their tests look for in the message.
MISTAKES: list[tuple[str, Any, str]] = [
    ("no file", lambda m, _: m.VideoDecoder("absent.mp4"), ""),
    ("no video", lambda m, _: m.VideoDecoder(b"not a video"), ""),
    ("no source", lambda m, _: m.VideoDecoder(123), "Unknown source type"),
    ("text", lambda m, _: m.VideoDecoder(io.StringIO("text")), "binary reading?"),
    ("no stream", lambda m, p: m.VideoDecoder(p, stream_index=40), "40 is not a valid stream"),
    ("stream's type", lambda m, p: m.VideoDecoder(p, stream_index="1"), ""),
    ("seek mode", lambda m, p: m.VideoDecoder(p, seek_mode="fast"), "Invalid seek mode (fast)"),
    ("order", lambda m, p: m.VideoDecoder(p, dimension_order="CHWN"), "Invalid dimension order (CHWN)"),
    ("dtype", lambda m, p: m.VideoDecoder(p, output_dtype=torch.float16), "Invalid output_dtype"),
    ("threads", lambda m, p: m.VideoDecoder(p, num_ffmpeg_threads=None), "should be an int"),
    ("no device", lambda m, p: m.VideoDecoder(p, device="bad"), ""),
    ("another device", lambda m, p: m.VideoDecoder(p, device="mps"), "Unknown device type: mps"),
    ("device by number", lambda m, p: m.VideoDecoder(p, device=0), ""),
    ("both modes", lambda m, p: m.VideoDecoder(p, seek_mode="approximate", custom_frame_mappings="{}"),
     "incompatible with seek_mode='approximate'"),
    ("no JSON", lambda m, p: m.VideoDecoder(p, custom_frame_mappings="{"), "Invalid custom frame mappings"),
    ("no mappings", lambda m, p: m.VideoDecoder(p, custom_frame_mappings="{}"), "missing the required 'frames' key"),
    ("half a mapping", lambda m, p: m.VideoDecoder(p, custom_frame_mappings='{"frames": [{"pts": 1}]}'),
     "keys are required in the frame metadata"),
    ("frame", lambda m, p: m.VideoDecoder(p).get_frame_at(48), "must be less than 48"),
    ("negative frame", lambda m, p: m.VideoDecoder(p).get_frame_at(-49),
     "negative indices must have an absolute value less than the number of frames"),
    ("frames", lambda m, p: m.VideoDecoder(p).get_frames_at([0, 48]), "Invalid frame index=48"),
    ("frame names", lambda m, p: m.VideoDecoder(p).get_frames_at(["a"]), ""),
    ("key", lambda m, p: m.VideoDecoder(p)["a"], "Unsupported key type"),
    ("early", lambda m, p: m.VideoDecoder(p).get_frame_played_at(-0.1), "Invalid pts in seconds: -0.1"),
    ("late", lambda m, p: m.VideoDecoder(p).get_frame_played_at(2.0), "greater than or equal to 0"),
    ("a time's name", lambda m, p: m.VideoDecoder(p).get_frame_played_at("1"), ""),
    ("no time", lambda m, p: m.VideoDecoder(p).get_frame_played_at(None), ""),
    ("early batch", lambda m, p: m.VideoDecoder(p).get_frames_played_at([-1.0]), "must be greater than or equal to"),
    ("late batch", lambda m, p: m.VideoDecoder(p).get_frames_played_at([0.0, 2.0]), "must be less than"),
    ("no times", lambda m, p: m.VideoDecoder(p).get_frames_played_at([None]),
     "Couldn't convert timestamps input to a tensor"),
    ("names of times", lambda m, p: m.VideoDecoder(p).get_frames_played_at(["a"]), "Couldn't convert timestamps"),
    ("turned", lambda m, p: m.VideoDecoder(p).get_frames_played_in_range(1.0, 0.5), "Invalid start seconds: 1.0"),
    ("long", lambda m, p: m.VideoDecoder(p).get_frames_played_in_range(1.0, 2.5), "Invalid stop seconds: 2.5"),
    ("late range", lambda m, p: m.VideoDecoder(p).get_frames_played_in_range(2.0, 2.0), "Invalid start seconds: 2.0"),
    ("fps", lambda m, p: m.VideoDecoder(p).get_frames_played_in_range(0.0, 1.0, fps=0), "fps must be positive"),
    ("transform", lambda m, p: m.VideoDecoder(p, transforms=["resize"]), "nsupported transform"),
    ("backend", lambda m, _: m.set_cuda_backend("vaapi").__enter__(), ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("mistake", "phrase"), [pytest.param(call, phrase, id=name) for name, call, phrase in MISTAKES]
)
def test_mistakes_raise_the_same_errors(mistake: Any, phrase: str, clips: ClipLibrary) -> None:
    with pytest.raises((Exception,), match=re.escape(phrase)) as expected:
        mistake(theirs, clips["h264"])
    with pytest.raises(expected.type, match=re.escape(phrase)):
        mistake(ours, clips["h264"])


NUMBERS: list[Any] = [
    torch.tensor([0.5, 7]), torch.tensor(3), 5, [torch.tensor(1)], range(3), (1, 2), np.array([1, 2]),
    torch.tensor([1, 2], dtype=torch.uint8), torch.tensor([]), torch.tensor([True, False]), [-1, -48],
]  # fmt: skip


@pytest.mark.parametrize("indices", NUMBERS, ids=str)
def test_frame_numbers_of_all_kinds(clips: ClipLibrary, indices: Any) -> None:
    expected, decoder = both(clips["h264_444"])
    assert_same_frames(expected.get_frames_at(indices), decoder.get_frames_at(indices), exact=True)


def test_frame_numbers_that_are_none(clips: ClipLibrary) -> None:
    decoder = ours.VideoDecoder(clips["h264"])
    for indices in ([0.5], np.array([0.5]), [[0, 1]], torch.tensor([[0, 1]]), [None]):
        with pytest.raises((TypeError, RuntimeError), match="frame numbers"):
            decoder.get_frames_at(indices)
    assert len(decoder.get_frames_at([])) == 0


def test_no_pictures_is_the_same_error(clips: ClipLibrary) -> None:
    """torchcodec has a ValueError for this, and a RuntimeError for what else cannot be opened."""
    for source in (clips["audio_only"], b""):
        for module in (theirs, ours):
            with pytest.raises(ValueError):  # noqa: PT011 - theirs says something else for each
                module.VideoDecoder(source)


def test_errors_are_frametaps_too(clips: ClipLibrary) -> None:
    with pytest.raises(ft.FrametapError) as caught:
        ours.VideoDecoder("absent.mp4")
    assert isinstance(caught.value.__cause__, ft.SourceError)
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), ours.DecoderError), (
        "it must come out of a worker"
    )
    with pytest.raises(ft.UnsupportedError, match="nvdec"), ours.set_cuda_backend("ffmpeg"):
        pass
    with ours.set_cuda_backend("nvdec"):
        assert len(ours.SimpleVideoDecoder(clips["h264"])) == 48


def test_an_open_decoder_is_pickled_and_copied(clips: ClipLibrary, tmp_path: Path) -> None:
    path = clips["best_track_last"]
    resize = [transforms.Resize((30, 40))]
    for source in (path, path.read_bytes()):
        decoder = ours.VideoDecoder(
            source, stream_index=0, transforms=resize, dimension_order="NHWC"
        )
        expected = decoder.get_frames_at([3, 20]).data
        for copy_of in (lambda d: pickle.loads(pickle.dumps(d)), copy.deepcopy, copy.copy):
            assert torch.equal(copy_of(decoder).get_frames_at([3, 20]).data, expected)
    with path.open("rb") as file, pytest.raises(TypeError, match="pickle"):
        pickle.dumps(ours.VideoDecoder(file))


def test_where_torchcodec_is_wrong(clips: ClipLibrary) -> None:
    """What the list at the top leaves out: frame 0 of a transport stream, against plain decoding."""
    expected = ft.sample(clips["h264_ts"], ft.Indices([0]))
    decoder = ours.VideoDecoder(clips["h264_ts"])
    np.testing.assert_array_equal(decoder[0].numpy(), expected.numpy()[0])
    assert decoder.get_frame_at(0).pts_seconds == decoder.metadata.begin_stream_seconds
