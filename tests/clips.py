"""Clips for the tests, made on the spot with PyAV's encoders: no binary files, every frame different from the others.

`CLIPS` maps a name to a `Clip`, the recipe of one small file. Tests take them from the `clips` fixture:
`clips["h264"]` is the path of a file that is encoded on first use and kept for the session. A recipe whose encoder
is missing from this build of FFmpeg skips the test and says which encoder it was.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import av
import av.error
import numpy as np
import pytest
from av.stream import Disposition
from av.video.frame import PictureType

from h264_fields import write_fields
from packed_mpeg4 import pack_pairs, vop_type

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Clip:
    """How to make one file. `frames` is how many frames a player shows; `None` where that is a test's own business."""

    encoder: str
    suffix: str = ".mp4"
    size: tuple[int, int] = (160, 120)  # width, height
    encoded: int = 48
    fps: Fraction = Fraction(24)
    pix_fmt: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=dict)  # of the encoder
    muxer: Mapping[str, str] = field(default_factory=dict)  # movflags and the like
    durations: Sequence[int] = (1,)  # of the frames, in 1/fps, repeated: several make it VFR
    types: Mapping[int, str] = field(default_factory=dict)  # of pictures by number, forced
    start_seconds: float = 0.0
    color: Mapping[str, int] = field(default_factory=dict)  # CodecContext attributes
    matrix: tuple[int, ...] | None = None  # a b c d of the display matrix, each -1, 0 or 1
    hide_seconds: float = 0.0  # cut by the edit list
    keep_bytes: float = 1.0  # truncate the file to this part of its size
    frames: int | None = 48


# Without mbtree: with it x264 does not always write the same bytes.
_GOP12 = {"g": "12", "bf": "3", "sc_threshold": "0", "mbtree": "0", "preset": "veryfast"}
_X265 = {
    "preset": "ultrafast",
    "x265-params": "log-level=none:keyint=12:min-keyint=12:bframes=3:open-gop=0",
}
_RASL = {
    "preset": "ultrafast",
    "x265-params": "log-level=none:keyint=12:min-keyint=12:bframes=3:open-gop=1",
}
_VP9 = {
    "g": "12",
    "deadline": "realtime",
    "cpu-used": "8",
    "lag-in-frames": "8",
    "auto-alt-ref": "1",
}
_AV1 = {"preset": "12", "svtav1-params": "keyint=12:lookahead=0"}
_BT709 = {"color_range": 1, "colorspace": 1, "color_primaries": 1, "color_trc": 1}


def _h264(**changes: object) -> Clip:
    return Clip("libx264", options=_GOP12, **changes)  # type: ignore[arg-type]


CLIPS: dict[str, Clip] = {
    "talk": _h264(size=(320, 240), encoded=96, frames=96),  # the one that documents speak of
    # One of each codec; several keyframe intervals, B-frames where the codec has them.
    "h264": _h264(),
    "hevc": Clip("libx265", options=_X265),
    "vp8": Clip("libvpx", ".webm", options={"g": "12", "deadline": "realtime", "cpu-used": "8"}),
    "vp9": Clip("libvpx-vp9", ".webm", options=_VP9),
    "av1": Clip("libsvtav1", options=_AV1),
    "mpeg4": Clip("mpeg4", options={"g": "12", "bf": "2"}),
    "mpeg2": Clip("mpeg2video", ".ts", options={"g": "12", "bf": "2"}),
    "mjpeg": Clip("mjpeg", ".mov", pix_fmt="yuvj420p"),
    "prores": Clip("prores_ks", ".mov", pix_fmt="yuv422p10le", encoded=12, frames=12),
    "ffv1": Clip("ffv1", ".mkv", pix_fmt="yuv444p", encoded=12, frames=12),
    # GOP structure.
    "h264_open_gop": Clip(
        "libx264",
        options={
            "preset": "veryfast",
            "x264-params": "keyint=12:min-keyint=12:bframes=3:open-gop=1:scenecut=0",
        },
    ),
    # The picture after keyframe 24, no IDR, has pictures from before it forgotten. FFmpeg calls that damage where they are not.
    "h264_forgets": Clip(
        "libx264",
        ".mkv",
        options={
            "preset": "ultrafast",
            "x264-params": "keyint=250:bframes=2:b-pyramid=strict:ref=4:open-gop=1:scenecut=0:mbtree=0",
        },
        types={23: "P", 24: "I"},
    ),
    "h264_one_gop": Clip("libx264", options={"g": "1000", "bf": "3", "preset": "veryfast"}),
    "h264_intra": Clip("libx264", options={"g": "1", "preset": "veryfast"}),
    "h264_pyramid": Clip(
        "libx264", options={**_GOP12, "x264-params": "b-pyramid=normal:bframes=7:b-adapt=0"}
    ),
    "hevc_open_gop": Clip("libx265", options=_RASL),
    # Containers.
    "h264_mkv": _h264(suffix=".mkv"),
    "h264_ts": _h264(suffix=".ts"),
    "h264_raw": _h264(suffix=".h264"),
    "h264_fragmented": _h264(muxer={"movflags": "frag_keyframe+empty_moov"}),
    "h264_faststart": _h264(muxer={"movflags": "faststart"}),
    "mpeg4_avi": Clip("mpeg4", ".avi", options={"g": "12", "bf": "2"}),
    # Time.
    "vfr": _h264(durations=(1, 3, 2, 1, 7)),
    "vfr_mkv": _h264(durations=(2, 1, 5), suffix=".mkv"),
    "ntsc": _h264(fps=Fraction(30_000, 1001)),
    "late_start": _h264(suffix=".mkv", start_seconds=5.0),
    "late_start_ts": _h264(suffix=".ts", start_seconds=7.0),
    "edit_list": _h264(hide_seconds=0.5, frames=36),
    "one_frame": _h264(encoded=1, frames=1),
    # Display orientation: the part of the tkhd matrix that turns and mirrors.
    "rotate90": _h264(matrix=(0, 1, -1, 0)),
    "rotate180": _h264(matrix=(-1, 0, 0, -1)),
    "rotate270": _h264(matrix=(0, -1, 1, 0)),
    "hflip": _h264(matrix=(-1, 0, 0, 1)),
    "vflip": _h264(matrix=(1, 0, 0, -1)),
    # Pixels.
    "odd_size": Clip("libvpx-vp9", ".webm", size=(65, 49), options=_VP9),
    "h264_422": _h264(pix_fmt="yuv422p"),
    "h264_444": _h264(pix_fmt="yuv444p"),
    "h264_gray": _h264(pix_fmt="gray"),
    "h264_10bit": _h264(pix_fmt="yuv420p10le"),
    "hevc_10bit": Clip("libx265", options=_X265, pix_fmt="yuv420p10le"),
    "hevc_12bit_444": Clip("libx265", options=_X265, pix_fmt="yuv444p12le"),
    "hevc_gray": Clip("libx265", options=_X265, pix_fmt="gray"),
    "hevc_gbr": Clip("libx265", options=_X265, pix_fmt="gbrp"),
    "av1_10bit": Clip("libsvtav1", options=_AV1, pix_fmt="yuv420p10le"),
    "ffv1_alpha": Clip("ffv1", ".mkv", pix_fmt="yuva420p", encoded=12, frames=12),
    "ffv1_16bit": Clip("ffv1", ".mkv", pix_fmt="yuv420p16le", encoded=12, frames=12),
    "png_rgb": Clip("png", ".mov", pix_fmt="rgb24", encoded=12, frames=12),
    "bt709": _h264(color=_BT709),
    "full_range": _h264(color={**_BT709, "color_range": 2}),
    "interlaced": Clip(
        "libx264", options={"preset": "veryfast", "g": "12", "x264-params": "tff=1"}
    ),
    # Damage.
    "truncated": _h264(muxer={"movflags": "faststart"}, keep_bytes=0.6, frames=None),
    "truncated_ts": _h264(suffix=".ts", keep_bytes=0.6, frames=None),
}


def picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """Return RGB (height, width, 3) that no other frame number gives: drifting gradients and a block that jumps."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 2 + number * 5, y * 2 + number * 3, (x + y) - number * 7], axis=-1)
    rgb = (128 + 100 * np.sin(rgb * (np.pi / 128))).astype(np.uint8)
    left, top = (number * 37) % max(1, width - 16), (number * 23) % max(1, height - 16)
    rgb[top : top + 16, left : left + 16] = [
        (number * 50) % 256,
        255 - (number * 30) % 256,
        255 * (number % 2),
    ]
    return rgb


def encode(path: Path, clip: Clip) -> None:
    """Write `clip` to `path`; skip the running test when this FFmpeg has no such encoder or pixel format."""
    try:
        av.codec.Codec(clip.encoder, "w")
    except (ValueError, av.error.FFmpegError):
        pytest.skip(f"this FFmpeg has no encoder {clip.encoder}")
    with av.open(str(path), "w", options={"fflags": "+bitexact", **clip.muxer}) as output:
        stream = output.add_stream(clip.encoder, rate=clip.fps, options=dict(clip.options))
        stream.width, stream.height = clip.size
        stream.pix_fmt = clip.pix_fmt
        stream.time_base = stream.codec_context.time_base = 1 / clip.fps
        stream.codec_context.thread_count = 1
        for name, value in clip.color.items():
            setattr(stream.codec_context, name, value)
        try:
            for frame in _frames(clip):
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        except av.error.FFmpegError as error:
            pytest.skip(f"{clip.encoder} cannot encode {clip.pix_fmt} here: {error}")
    if sys.platform == "linux":
        # SVT-AV1 run by root leaves its caller, and the threads that one starts, ahead of all else on the machine.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    _patch(path, clip)


def _frames(clip: Clip) -> Iterator[av.VideoFrame]:
    pts = round(clip.start_seconds * clip.fps)
    for number in range(clip.encoded):
        rgb = av.VideoFrame.from_ndarray(picture(number, *clip.size), format="rgb24")
        frame = rgb.reformat(format=clip.pix_fmt)
        frame.pts, frame.time_base = pts, 1 / clip.fps
        frame.pict_type = PictureType[clip.types.get(number, "NONE")]
        yield frame
        pts += clip.durations[number % len(clip.durations)]


def _patch(path: Path, clip: Clip) -> None:
    """Change what no muxer option of PyAV changes: the display matrix, the edit list, the length of the file."""
    if clip.matrix is None and not clip.hide_seconds and clip.keep_bytes == 1.0:
        return
    data = bytearray(path.read_bytes())
    if clip.matrix is not None:
        at = data.index(b"tkhd") + 4 + 40  # version 0: 40 bytes of fields stand before the matrix
        a, b, c, d = (value << 16 for value in clip.matrix)
        struct.pack_into(">9i", data, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    if clip.hide_seconds:
        (timescale,) = struct.unpack_from(">I", data, data.index(b"mdhd") + 4 + 12)
        # One entry: segment duration, media time, rate.
        media_time = data.index(b"elst") + 4 + 8 + 4
        (start,) = struct.unpack_from(">i", data, media_time)
        struct.pack_into(">i", data, media_time, start + round(clip.hide_seconds * timescale))
    path.write_bytes(data[: int(len(data) * clip.keep_bytes)])


def encode_resized(
    path: Path, sizes: Sequence[tuple[int, int]] = ((160, 120), (96, 64)), frames: int = 12
) -> None:
    """Write raw H.264 whose picture size changes at a keyframe: one stream per size, joined."""
    parts = []
    for size in sizes:
        encode(path, Clip("libx264", ".h264", size=size, encoded=frames, options=_GOP12))
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))


def encode_audio(path: Path) -> None:
    """Write half a second of a 440 Hz tone and no picture."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=48_000)
        stream.layout = "mono"
        tone = np.sin(np.arange(24_000) * (2 * np.pi * 440 / 48_000)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(tone[None, :], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48_000, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


OTHERS = {"resized": (encode_resized, ".h264"), "audio_only": (encode_audio, ".m4a")}


class ClipLibrary(Mapping[str, Path]):
    """The clips of one test session by name; each is made the first time somebody asks for its path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> Path:
        make, suffix = OTHERS.get(name, (None, ""))
        path = self._folder / f"{name}{suffix or CLIPS[name].suffix}"
        if not path.exists():
            scratch = path.with_name(f"unfinished_{path.name}")
            if make is not None:
                make(scratch)
            else:
                encode(scratch, CLIPS[name])
            scratch.rename(path)
        return path

    def __iter__(self) -> Iterator[str]:
        return iter([*CLIPS, *OTHERS])

    def __len__(self) -> int:
        return len(CLIPS) + len(OTHERS)


# ------------------------------------------------------ what players meet less often, and frametap must not get wrong

CLIPS |= {
    "hevc_raw": Clip("libx265", ".hevc", options=_X265),
    "hevc_layers": Clip(
        "libx265",
        options={**_X265, "x265-params": f"{_X265['x265-params']}:temporal-layers=3"},
    ),
    "h264_open_gop_ts": Clip(
        "libx264",
        ".ts",
        options={
            "preset": "veryfast",
            "x264-params": "keyint=12:min-keyint=12:bframes=3:open-gop=1:scenecut=0",
        },
    ),
    "h264_intra_refresh": Clip(
        "libx264",
        options={"preset": "veryfast", "x264-params": "intra-refresh=1:keyint=12:bframes=0"},
    ),
    "h264_slices": Clip("libx264", options={**_GOP12, "slices": "4"}),
    "h264_flv": _h264(suffix=".flv"),
    "flv1": Clip("flv", ".flv", options={"g": "12"}),
    "wmv2": Clip("wmv2", ".wmv", options={"g": "12"}),
    "h263_avi": Clip("h263p", ".avi", options={"g": "12"}),  # every packet flagged as a keyframe
    "mjpeg_avi": Clip("mjpeg", ".avi", pix_fmt="yuvj420p"),
    "mpeg1": Clip("mpeg1video", ".mpg", fps=Fraction(25), options={"g": "12", "bf": "2"}),
    "mpeg2_ps": Clip("mpeg2video", ".mpg", fps=Fraction(25), options={"g": "12", "bf": "2"}),
    "mpeg2_interlaced": Clip(
        "mpeg2video",
        ".ts",
        fps=Fraction(25),
        options={"g": "12", "bf": "2", "flags": "+ildct+ilme"},
    ),
    "vp8_hidden": Clip(
        "libvpx",
        ".webm",
        options={
            "g": "24",
            "deadline": "good",
            "cpu-used": "5",
            "lag-in-frames": "10",
            "auto-alt-ref": "1",
        },
    ),
    "av1_webm": Clip("libsvtav1", ".webm", options=_AV1),
    "late_start_mp4": _h264(start_seconds=5.0),
    "vfr_hevc": Clip("libx265", options=_X265, durations=(1, 3, 2, 1, 7)),
    "long": Clip(  # for what must not grow with position: small pictures, many of them
        "libx264",
        size=(96, 64),
        encoded=1500,
        frames=1500,
        options={"preset": "ultrafast", "g": "50", "bf": "2"},
    ),
}


def encode_two_tracks(path: Path, *, best_last: bool = False) -> None:
    """Write an MP4 with an H.264 track of 48 frames, then an MPEG-4 one of 24; players show the first.

    With `best_last` the other way round, both enabled: FFmpeg and its tools take the H.264 one.
    """
    kinds = [("libx264", (160, 120), 48), ("mpeg4", (96, 64), 24)]
    with av.open(str(path), "w") as output:
        tracks = []
        for encoder, size, frames in reversed(kinds) if best_last else kinds:
            clip = Clip(encoder, size=size, encoded=frames, options={"g": "12", "bf": "2"})
            stream = output.add_stream(encoder, rate=clip.fps, options=dict(clip.options))
            stream.width, stream.height = size
            stream.pix_fmt = clip.pix_fmt
            if best_last:
                stream.disposition = Disposition.default
            tracks.append((stream, _frames(clip)))
        for stream, frames_of_it in tracks:
            for frame in frames_of_it:
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))


def encode_cover(path: Path) -> None:
    """Write an MP4 with a tone and a cover picture: audio, whatever its picture track says."""
    with av.open(str(path), "w") as output:
        tone = output.add_stream("aac", rate=48_000)
        tone.layout = "mono"
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 24_000), np.float32), "fltp", "mono")
        silence.sample_rate, silence.pts = 48_000, 0
        frame = av.VideoFrame.from_ndarray(picture(0, 64, 48), format="rgb24")
        output.mux(cover.encode(frame.reformat(format="yuvj420p")))
        output.mux(cover.encode(None))
        output.mux(tone.encode(silence))
        output.mux(tone.encode(None))


def encode_packed(path: Path) -> None:
    """Write an AVI the way DivX did: P and B picture in one packet, and a stub where the B picture would be."""
    plain = path.with_name(f"plain_{path.name}")
    encode(
        plain, Clip("mpeg4", ".avi", options={"g": "12", "bf": "1", "sc_threshold": "1000000000"})
    )
    with av.open(str(plain)) as source, av.open(str(path), "w") as output:
        stream = source.streams.video[0]
        packed = output.add_stream_from_template(stream)
        packets = [bytes(packet) for packet in source.demux(stream) if packet.size]
        for number, payload in enumerate(pack_pairs(packets)):
            packet = av.Packet(payload)
            packet.stream, packet.time_base = packed, 1 / Fraction(24)
            packet.pts = packet.dts = number
            packet.is_keyframe = vop_type(payload) == "I"
            output.mux(packet)
    plain.unlink()


def encode_fields(path: Path) -> None:
    """Write H.264 of field pairs: both fields of a frame in a packet, or each in one of its own where the name says "apart"."""
    frames = _frames(Clip("", size=(64, 64)))
    write_fields(path, frames, keyframe_interval=12, apart="apart" in path.name)


OTHERS |= {
    "fields": (encode_fields, ".mp4"),
    "fields_mkv": (encode_fields, ".mkv"),
    "fields_ts": (encode_fields, ".ts"),
    "fields_apart": (encode_fields, ".ts"),
    "fields_raw": (encode_fields, ".h264"),
    "two_tracks": (encode_two_tracks, ".mp4"),
    "best_track_last": (partial(encode_two_tracks, best_last=True), ".mp4"),
    "cover": (encode_cover, ".mp4"),
    "packed_b": (encode_packed, ".avi"),
}
