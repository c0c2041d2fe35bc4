"""What a user reads when something is wrong, and what damaged files come to: errors of one family, or right frames."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av.error
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import frametap as ft
import plain
from clips import ClipLibrary
from test_frames_contract import GRAY, assert_same_luma

SMALL = ft.Transform(size=(24, 32))
Call = Callable[[ClipLibrary], Any]

# A bad call, the type it raises, and the words a user needs to put it right.
MESSAGES: dict[str, tuple[Call, type[Exception], list[str]]] = {
    "no such file": (
        lambda _: ft.sample("clips/tlak.mp4"),
        ft.SourceError,
        ["clips/tlak.mp4", "no such file", "check the path", str(Path.cwd())],
    ),
    "a folder": (
        lambda clips: ft.sample(Path(clips["h264"]).parent),
        ft.SourceError,
        ["is a directory", "frametap index"],
    ),
    "not a video": (
        lambda _: ft.probe(b"PK\3\4 a zip file, say" * 50),
        ft.SourceError,
        ["<1000 bytes>", "cannot be opened as a video", "Invalid data"],
    ),
    "only sound": (lambda clips: ft.open(clips["audio_only"]), ft.SourceError, ["no video stream", "found: audio"]),
    "text mode": (
        lambda clips: _open_text(clips["h264"]),
        ft.SourceError,
        ["returns text", "'rb'"],
    ),
    "frame number": (
        lambda clips: ft.open(clips["h264"])[48],
        IndexError,
        ["frame 48", "48 frames", "0 to 47"],
    ),
    "time": (
        lambda clips: ft.open(clips["late_start"]).frames_played_at([1.0]),
        IndexError,
        ["at 1 s", "from 5 to 6.999 s"],
    ),
    "a time as a frame number": (
        lambda clips: ft.open(clips["h264"]).frames_at([0.5]),  # type: ignore[list-item]
        TypeError,
        ["integers", "0.5", "frames_played_at"],
    ),
    "index of another file": (
        lambda clips: ft.open(clips["hevc"], index=ft.FrameIndex.build(clips["h264"])),
        ft.SourceError,
        ["hevc.mp4", "not the file this index was made of", "bytes", "build the index again"],
    ),
    "no GPU here": (
        lambda clips: ft.sample(clips["h264"], device="cuda"),
        ft.DeviceError,
        ['device="cuda"', 'device="cpu"', "frametap doctor"],
    ),
    "out of another shape": (
        lambda clips: ft.sample(clips["h264"], ft.Uniform(2), SMALL, out=np.zeros((2, 24, 32, 3), np.uint8)),
        ValueError,
        ["(2, 24, 32, 3)", "(2, 3, 24, 32)", "uint8"],
    ),
    "error policy": (
        lambda clips: ft.sample(clips["h264"], on_error="ignore"),  # type: ignore[arg-type]
        ValueError,
        ["raise, skip, repeat, black", "'ignore'"],
    ),
    "closed": (
        lambda clips: _closed(clips)[0],
        ft.SourceError,
        ["h264.mp4", "closed", "open the video again"],
    ),
    "bfloat16 in numpy": (
        lambda clips: ft.sample(clips["h264"], ft.Uniform(1), ft.Transform(dtype="bfloat16")).numpy(),
        ft.UnsupportedError,
        ["bfloat16", ".torch()", 'dtype="float32"'],
    ),
    "one video for many": (lambda clips: ft.sample_many(str(clips["h264"])), TypeError, ["list of videos", "sample()"]),
    "more than memory holds": (
        lambda clips: ft.sample(clips["one_frame"], ft.Indices([0] * 3000), ft.Transform(size=(16384, 16384))),
        MemoryError,
        ["(3000, 3, 16384, 16384)", "bytes", "Transform(size=...)", "video.batches(n)"],
    ),
}  # fmt: skip


def _open_text(path: Path) -> None:
    with path.open(encoding="latin-1") as file:
        ft.open(file)  # type: ignore[arg-type]


def _closed(clips: ClipLibrary) -> ft.VideoReader:
    with ft.open(clips["h264"]) as video:
        return video


@pytest.mark.parametrize("case", MESSAGES)
def test_messages_say_what_to_do(clips: ClipLibrary, case: str) -> None:
    call, kind, words = MESSAGES[case]
    with pytest.raises(kind) as caught:
        call(clips)
    message = str(caught.value)
    for word in words:
        assert word in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (ft.SourceError, OSError),
        (ft.DecodeError, ValueError),
        (ft.UnsupportedError, NotImplementedError),
        (ft.DeviceError, RuntimeError),
    ],
)
def test_one_family_each_also_a_builtin(kind: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(kind, ft.FrametapError)
    assert issubclass(kind, builtin)
    error = pickle.loads(pickle.dumps(kind("a.mp4: went wrong")))
    assert type(error) is kind
    assert str(error) == "a.mp4: went wrong"


# --------------------------------------------------------------------------------------------------- damage and policies


def damaged(
    clips: ClipLibrary, name: str, frame: int, payload: bytes, offset: float = 0.0
) -> bytes:
    """The clip with `payload` written over one frame's packet, from `offset` of its size on."""
    index = ft.FrameIndex.build(clips[name])
    data = bytearray(Path(clips[name]).read_bytes())
    at = int(index.position[frame]) + int(offset * index.size[frame])
    data[at : at + len(payload)] = payload
    return bytes(data)


BAD = 17


class TestPolicies:
    """MJPEG, whose pictures depend on no other: one of 48 without a readable header."""

    @pytest.fixture
    def source(self, clips: ClipLibrary) -> bytes:
        return damaged(clips, "mjpeg", BAD, bytes(400))

    @pytest.fixture
    def good(self, clips: ClipLibrary) -> Any:
        return ft.sample(clips["mjpeg"], ft.Every(1), SMALL).numpy()

    def test_raise_names_frame_and_byte(self, source: bytes, clips: ClipLibrary) -> None:
        position = ft.FrameIndex.build(clips["mjpeg"]).position[BAD]
        for call in (
            lambda: ft.sample(source, ft.Every(1), SMALL),
            lambda: ft.open(source, transform=SMALL)[BAD],
            lambda: ft.open(source, transform=SMALL).frames_at([3, BAD]),
            lambda: list(ft.open(source, transform=SMALL)),
        ):
            with pytest.raises(ft.DecodeError, match=f"frame {BAD} at byte {position} .*on_error="):
                call()

    def test_what_nobody_wants_is_not_in_the_way(self, source: bytes, good: Any) -> None:
        batch = ft.sample(source, ft.Indices([BAD - 1, BAD + 1]), SMALL)
        assert_array_equal(batch.numpy(), good[[BAD - 1, BAD + 1]])

    def test_raise_delivers_the_batches_before(self, source: bytes) -> None:
        batches = ft.open(source, transform=SMALL).batches(8)
        assert [next(batches).indices[0] for _ in range(2)] == [0, 8]
        with pytest.raises(ft.DecodeError, match=f"frame {BAD}"):
            next(batches)

    @pytest.mark.parametrize("threads", [1, 3])
    def test_skip(self, source: bytes, good: Any, threads: int) -> None:
        batch = ft.sample(source, ft.Every(1), SMALL, on_error="skip", threads=threads)
        kept = np.delete(np.arange(48), BAD)
        assert_array_equal(batch.ok, np.arange(48) != BAD)
        assert_array_equal(batch.indices, kept)
        assert_array_equal(batch.numpy(), good[kept])
        assert batch.pts_seconds == pytest.approx(kept / 24)
        assert len(batch) == len(batch.duration_seconds) == 47
        assert isinstance(batch.error, ft.DecodeError)
        assert f"frame {BAD}" in str(batch.error)

    @pytest.mark.parametrize("wanted", [[BAD - 1, BAD, BAD + 1], [BAD, 3, BAD, 5]], ids=str)
    def test_repeat(self, source: bytes, good: Any, wanted: list[int]) -> None:
        batch = ft.sample(source, ft.Indices(wanted), SMALL, on_error="repeat")
        assert_array_equal(batch.ok, np.array(wanted) != BAD)
        assert_array_equal(batch.indices, wanted)
        shown = {str([BAD - 1, BAD, BAD + 1]): [BAD - 1, BAD - 1, BAD + 1]}.get(
            str(wanted), [3, 3, 3, 5]
        )
        assert_array_equal(batch.numpy(), good[shown])

    @pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
    @pytest.mark.parametrize("color", ["rgb", "gray"])
    def test_black(self, source: bytes, layout: Any, color: Any) -> None:
        mean, std = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.25, 0.1])
        if color == "gray":
            mean, std = mean[:1], std[:1]
        transform = ft.Transform(
            size=(24, 32),
            layout=layout,
            color=color,
            dtype="float32",
            mean=tuple(mean),
            std=tuple(std),
        )
        batch = ft.sample(source, ft.Indices([3, BAD]), transform, on_error="black")
        expected = (-mean / std).reshape((-1, 1, 1) if layout == "NCHW" else (1, 1, -1))
        np.testing.assert_allclose(
            batch.numpy()[1], np.broadcast_to(expected, batch.shape[1:]), rtol=1e-6
        )
        assert batch.numpy()[0].std() > 0.1
        assert batch.ok.tolist() == [True, False]

    @pytest.mark.parametrize("size", [1, 5, 48])
    @pytest.mark.parametrize("on_error", ["skip", "repeat", "black"])
    def test_batches_go_on(self, source: bytes, good: Any, on_error: Any, size: int) -> None:
        batches = list(ft.open(source, transform=SMALL).batches(size, on_error=on_error))
        ok = np.concatenate([batch.ok for batch in batches])
        assert_array_equal(ok, np.arange(48) != BAD)
        assert {batch.shape[1:] for batch in batches} == {(3, 24, 32)}
        pixels = np.concatenate([batch.numpy() for batch in batches])
        assert_array_equal(pixels if on_error == "skip" else pixels[ok], good[ok])

    @pytest.mark.parametrize(("on_error", "count"), [("skip", 0), ("repeat", 2), ("black", 2)])
    def test_no_good_frame_at_all(self, source: bytes, on_error: Any, count: int) -> None:
        batch = ft.sample(source, ft.Indices([BAD, BAD]), SMALL, on_error=on_error)
        assert batch.shape == (count, 3, 24, 32)
        assert batch.ok.tolist() == [False, False]
        assert not batch.numpy().any()
        assert isinstance(batch.error, ft.DecodeError)

    def test_out_with_skip_is_left_behind(self, source: bytes, good: Any) -> None:
        out = np.zeros((3, 3, 24, 32), np.uint8)
        batch = ft.sample(source, ft.Indices([3, BAD, 5]), SMALL, on_error="skip", out=out)
        assert_array_equal(batch.numpy(), good[[3, 5]])

    def test_sample_many(self, source: bytes) -> None:
        (batch,) = ft.sample_many([source], ft.Every(1), SMALL, on_error="skip")
        assert (len(batch), int((~batch.ok).sum())) == (47, 1)


@pytest.mark.parametrize(
    "name", ["h264_faststart", "h264_ts", "h264_mkv", "mpeg2", "hevc_open_gop", "mpeg4"]
)
def test_damage_stays_in_its_keyframe_interval(clips: ClipLibrary, name: str) -> None:
    """Frames of other intervals are those of the sound file, in a row and one by one."""
    index = ft.FrameIndex.build(clips[name])
    source = damaged(clips, name, BAD, b"\x5a" * 8, offset=0.5)
    expected = plain.decode(clips[name]).pictures
    keyframes = np.flatnonzero(index.keyframes)
    first = keyframes[keyframes <= BAD][-1]
    stop = keyframes[keyframes > BAD][0]
    with ft.open(source, transform=GRAY, threads=1) as video:
        if len(video) != len(expected):
            pytest.skip("the damage hides a frame of this clip")
        batches = [
            video.sample(ft.Every(1), on_error="black"),
            *video.batches(48, on_error="black"),
        ]
        for number in (0, int(first) - 3, int(stop), 40, 47):
            assert_same_luma(video[number].numpy()[0], expected[number], name, f"frame {number}")
    for batch in batches:
        assert batch.ok[:first].all()
        assert batch.ok[stop:].all(), "the damage spreads beyond the next keyframe"
        for number in [*range(first - 3), *range(stop, 48)]:
            assert_same_luma(batch.numpy()[number, 0], expected[number], name, f"frame {number}")


@pytest.mark.parametrize("threads", [1, 2])
def test_damage_after_a_keyframe_that_is_no_idr(clips: ClipLibrary, threads: int) -> None:
    """It is told from pictures that are only not there: the stream has some forgotten that one who jumped never had."""
    index = ft.FrameIndex.build(clips["h264_forgets"])
    assert np.flatnonzero(index.keyframes).tolist() == [0, 24]
    source = damaged(clips, "h264_forgets", 33, b"\x5a" * 8, offset=0.3)
    expected = ft.sample(clips["h264_forgets"], ft.Every(1), SMALL).numpy()
    for sampler in (ft.Every(1), ft.Indices([25, 29, 46])):
        batch = ft.sample(source, sampler, SMALL, on_error="black", threads=threads)
        assert "frame 33 at byte" in str(batch.error)
        before = index.decode_order[batch.indices] < index.decode_order[33]
        # The picture that FFmpeg would have put out when it met the damage is lost with it.
        assert not batch.ok[~before].any()
        assert (before & ~batch.ok).sum() <= 1
        assert_array_equal(batch.numpy()[batch.ok], expected[batch.indices[batch.ok]])


@pytest.mark.parametrize("threads", [2, 4])
@pytest.mark.parametrize("frame", [14, 46])
@pytest.mark.parametrize("name", ["h264_one_gop", "mpeg4"])
def test_threads_neither_hide_damage_nor_move_it(
    clips: ClipLibrary, name: str, frame: int, threads: int
) -> None:
    """Frame threads report a damaged packet when later ones are fed, and at the end not at all."""
    source = damaged(clips, name, frame, b"\x5a" * 8, offset=0.5)
    alone = ft.sample(source, ft.Every(1), SMALL, on_error="skip", threads=1)
    batch = ft.sample(source, ft.Every(1), SMALL, on_error="skip", threads=threads)
    assert f"frame {frame} at byte" in str(alone.error)
    assert str(batch.error) == str(alone.error)
    assert_array_equal(batch.ok, alone.ok)
    assert_array_equal(batch.numpy(), alone.numpy())


@pytest.mark.parametrize("name", ["h264_pyramid", "h264_mkv"])
@pytest.mark.parametrize("frame", [13, 14, 16, 17, 20])
def test_what_needs_a_damaged_picture_is_not_called_good(
    clips: ClipLibrary, tmp_path: Path, name: str, frame: int
) -> None:
    """Not even where it is shown before the damaged one, as a B picture is shown before what it refers to."""
    sound = plain.decode(clips[name]).pictures
    path = tmp_path / f"damaged{Path(clips[name]).suffix}"
    path.write_bytes(damaged(clips, name, frame, b"\x5a" * 4, offset=0.3))
    found = plain.decode_now(path)
    index = ft.FrameIndex.build(clips[name])
    corrupt = [i for i, picture in enumerate(found.pictures) if picture.corrupt]
    if not corrupt or len(found) != len(sound):
        pytest.skip("FFmpeg does not notice this damage")
    broken_from = min(index.decode_order[corrupt])
    batch = ft.sample(path, ft.Every(1), GRAY, on_error="black", threads=1)
    for number in np.flatnonzero(batch.ok).tolist():
        if index.decode_order[number] > broken_from:
            assert_same_luma(batch.numpy()[number, 0], sound[number], name, f"frame {number}")


def test_file_that_changed_after_it_was_indexed(clips: ClipLibrary, tmp_path: Path) -> None:
    """Its first bytes and its size are the same, so only the packets tell."""
    sound = Path(clips["long"]).read_bytes()
    index = ft.FrameIndex.build(clips["long"])
    middle = int(index.position[800])
    stop = int(index.position[1200])
    assert 65536 < middle < stop
    path = tmp_path / "changed.mp4"
    path.write_bytes(sound[:middle] + bytes(stop - middle) + sound[stop:])
    with ft.open(path, index=index, transform=SMALL, threads=1) as video:
        before = ft.sample(clips["long"], ft.Indices([10, 700, 1300]), SMALL).numpy()
        batch = video.sample(ft.Indices([10, 700, 900, 1300]), on_error="black")
        assert batch.ok.tolist() == [True, True, False, True]
        assert_array_equal(batch.numpy()[batch.ok], before)
        with pytest.raises(ft.DecodeError, match="frame 9"):
            video[900]


# ------------------------------------------------------------------------------------------------------- random damage


def random_damage(data: bytes, seed: int) -> bytes:
    """Flip a few bytes anywhere, cut the end off, or cut a piece out of the middle."""
    rng = np.random.default_rng(seed)
    result = bytearray(data)
    kind = seed % 4
    if kind == 2:
        return bytes(result[: int(rng.uniform(0.05, 0.98) * len(result))])
    if kind == 3:
        at, count = int(rng.integers(len(result))), int(rng.integers(1, 500))
        return bytes(result[:at] + result[at + count :])
    for at in rng.integers(len(result), size=1 if kind == 0 else 12):
        result[at] ^= int(rng.integers(1, 256))
    return bytes(result)


def compare_with_plain(source: Path, name: str) -> None:
    """Raise FrametapError, or find every frame that is called good to be the one plain decoding gives."""
    try:
        decoded = plain.decode_now(source)
    except (av.error.FFmpegError, AttributeError, IndexError, KeyError, ValueError):
        decoded = plain.Decoded(errors=["cannot be decoded plainly"])
    try:
        with ft.open(source, transform=GRAY, threads=1) as video:
            batches = list(video.batches(64, on_error="black"))
            seconds = video.index.pts_seconds
    except ft.FrametapError:
        if decoded.clean:  # plain decoding has no quarrel with it
            raise
        return
    ok = np.concatenate([batch.ok for batch in batches])
    gray = np.concatenate([batch.numpy() for batch in batches])[:, 0]
    if decoded.clean:  # frametap may be stricter about a picture, not about how many there are
        assert len(seconds) == len(decoded)
    if name in DAMAGED_SILENTLY or not len(decoded):
        return
    numbered = len(seconds) == len(decoded)
    number_at = {picture.seconds: i for i, picture in enumerate(decoded.pictures)}
    quiet = decoded.quiet()
    for number in np.flatnonzero(ok):
        match = int(number) if numbered else number_at.get(float(seconds[number]))
        if match is None and None in number_at:  # raw streams have no times to go by
            continue
        assert match is not None, (
            f"frame {number} at {seconds[number]} s is none of plain decoding's"
        )
        picture = decoded.pictures[match]
        if quiet[match] and picture.luma is not None and picture.luma.shape == gray.shape[1:]:
            assert_same_luma(gray[number], picture, name, f"frame {number}")


# VP8 has no checks at all: a damaged picture decodes to something, and to what depends on pictures before the keyframe.
DAMAGED_SILENTLY = {"vp8"}
FUZZED = [
    "h264",
    "h264_open_gop_ts",
    "hevc_open_gop",
    "vp9",
    "av1",
    "mpeg2",
    "mpeg4_avi",
    "h264_raw",
    "vp8",
    "h264_flv",
]


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("name", FUZZED)
def test_random_damage(clips: ClipLibrary, tmp_path: Path, name: str, seed: int) -> None:
    path = tmp_path / f"damaged{Path(clips[name]).suffix}"
    path.write_bytes(random_damage(Path(clips[name]).read_bytes(), seed * 101 + len(name)))
    compare_with_plain(path, name)


@pytest.mark.parametrize("name", ["truncated", "truncated_ts"])
def test_truncated(clips: ClipLibrary, name: str) -> None:
    compare_with_plain(clips[name], name)


def test_stream_that_appears_on_the_way(clips: ClipLibrary) -> None:
    """One damaged byte makes a transport packet one of another stream, which PyAV does not know."""
    data = bytearray(Path(clips["h264_ts"]).read_bytes())
    begins = [at for at in range(0, len(data), 188) if data[at + 1 : at + 3] == b"\x41\x00"]
    data[begins[-5] + 1] = 0xF2
    try:
        with ft.open(bytes(data), transform=SMALL, threads=1) as video:
            assert video[0].shape == (3, 24, 32)
            assert len(video) > 24
    except ft.FrametapError:
        pass
