"""Other versions of a benchmark's video, made once and kept in a folder: in another codec, container or length."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import av

# Encoder, its options and the container: defaults of the encoders, at their faster presets.
ENCODERS = {
    "hevc": ("libx265", {"preset": "veryfast", "x265-params": "log-level=error"}, ".mp4"),
    "vp9": (
        "libvpx-vp9",
        {"deadline": "realtime", "cpu-used": "6", "row-mt": "1", "g": "250"},
        ".webm",
    ),
    "av1": ("libsvtav1", {"preset": "9", "g": "250"}, ".mp4"),
}


def encoded(video: Path, codec: str, cache: Path, frames: int | None) -> Path:
    """Return a version of a video in another codec; `frames` limits its length."""
    encoder, options, suffix = ENCODERS[codec]

    def write(path: Path) -> None:
        with av.open(str(video)) as source, av.open(str(path), "w") as target:
            stream = source.streams.video[0]
            stream.thread_type = "FRAME"
            out = target.add_stream(encoder, rate=stream.average_rate, options=options)
            out.width, out.height, out.pix_fmt = stream.width, stream.height, "yuv420p"
            out.bit_rate = stream.bit_rate or 5_000_000
            for number, picture in enumerate(source.decode(stream)):
                if number == frames:
                    break
                picture.pict_type = 0
                target.mux(out.encode(picture))
            target.mux(out.encode())
        if sys.platform == "linux":
            # SVT-AV1 run by root leaves its caller, and the threads that one starts, ahead of all else on the machine.
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))

    name = f"{video.stem}_{codec}{'' if frames is None else f'_{frames}'}{suffix}"
    return _made_once(cache / name, write)


def copied(video: Path, suffix: str, times: int, cache: Path) -> Path:
    """Return the same packets in the container that a suffix names, `times` over: an hour of video in seconds."""

    def write(path: Path) -> None:
        with av.open(str(path), "w") as target:
            out, shift = None, 0
            for _ in range(times):
                with av.open(str(video)) as source:
                    stream = source.streams.video[0]
                    out = out or target.add_stream_from_template(stream)
                    length = int(stream.duration or 0)
                    for packet in source.demux(stream):
                        if packet.dts is None:
                            continue
                        packet.pts, packet.dts = (packet.pts or 0) + shift, packet.dts + shift
                        packet.stream = out
                        target.mux(packet)
                shift += length

    return _made_once(cache / f"{video.stem}_x{times}{suffix}", write)


def _made_once(path: Path, write: Callable[[Path], None]) -> Path:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"unfinished_{os.getpid()}_{path.name}")
        write(unfinished)
        unfinished.replace(path)
    return path
