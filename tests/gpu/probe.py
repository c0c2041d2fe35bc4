"""Asks the NVIDIA driver of this machine what no document says, and writes docs/hardware.md.

    python tests/gpu/probe.py [--out docs/hardware.md] [--json FILE] [--only NAME...]

Each question (ask_parser.py, ask_decoder.py) is put by a process of its own, so that a crash or a hang is an answer too and not
the end of the others. What cannot be decided from outside is called undecided, with what was seen.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from gpu import ask_decoder, ask_parser  # noqa: E402
from gpu.question import QUESTIONS, UNDECIDED, Answer, Packet, Stream  # noqa: E402
from gpu.raw_nvdec import Driver  # noqa: E402

assert ask_decoder, ask_parser  # they register the questions
SIZE, FRAMES, SECONDS = (192, 160), 36, 60
HARDWARE = TESTS.parent / "docs" / "hardware.md"
HEAD = """# What hardware answered

Open questions about NVIDIA's video decoder, asked by `tests/gpu/probe.py`; where the emulated driver has a switch
([emulator.md](emulator.md)), the answer is in the switch's words. {emulated}

{gpu}, driver {driver}, {date}

| question | what was done | answer | seen |
|---|---|---|---|
"""
EMULATED_NOTE = "**These answers are the emulated driver's own: they say nothing of hardware, and times mean nothing.**"


def make_streams(folder: Path) -> dict[str, Stream]:
    """Encode the streams that questions need; one whose encoder is missing is left out."""
    import pytest

    from clips import CLIPS, Clip, encode

    references = {
        f"h264_{n}_reference{'s' * (n > 1)}": Clip(
            "libx264", options={"preset": "veryfast", "bf": "0", "g": "12", "refs": str(n)}
        )
        for n in (1, 4, 8)
    }
    small_blocks = dict(CLIPS["hevc"].options)
    small_blocks["x265-params"] = f"{small_blocks['x265-params']}:min-cu-size=8"
    recipes = {
        **{name: CLIPS[name] for name in ("h264", "h264_open_gop", "hevc", "hevc_open_gop")},
        **{name: CLIPS[name] for name in ("hevc_10bit", "vp9", "av1")},
        **references,
        "hevc_multiple_of_8": replace(CLIPS["hevc"], options=small_blocks, size=(200, 168)),
        "vp9_odd": replace(CLIPS["odd_size"], size=(195, 161)),
    }
    streams = {}
    for name, clip in recipes.items():
        size = clip.size if name in ("hevc_multiple_of_8", "vp9_odd") else SIZE
        path = folder / f"{name}{clip.suffix}"
        try:
            encode(path, replace(clip, size=size, encoded=FRAMES))
        except pytest.skip.Exception as missing:
            print(f"note: {missing}", file=sys.stderr)
            continue
        streams[name] = read_stream(path, size)
    return streams


def read_stream(path: Path, size: tuple[int, int] | None = None) -> Stream:
    """Read a video's packets as the parser takes them."""
    import av

    from frametap._core import ElementaryStream

    with av.open(str(path)) as container:
        video = container.streams.video[0]
        codec = video.codec_context
        form = ElementaryStream(codec.name.partition("-")[0], codec.extradata or b"")
        packets = [packet for packet in container.demux(video) if packet.size]
        ranks = {pts: rank for rank, pts in enumerate(sorted(int(p.pts or 0) for p in packets))}
        return Stream(
            video.codec.canonical_name,
            size or (codec.width, codec.height),
            [
                Packet(
                    ranks[int(packet.pts or 0)],
                    packet.is_keyframe,
                    form.packet(bytes(packet), False),
                    form.packet(bytes(packet), True),
                )
                for packet in packets
            ],
        )


def ask(name: str, streams: Path) -> Answer:
    """Put one question in a process of its own."""
    command = [sys.executable, str(Path(__file__)), "--ask", name, "--streams", str(streams)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Answer(UNDECIDED, f"the driver did not come back within {SECONDS} s")
    if done.returncode < 0:
        return Answer(UNDECIDED, f"the process died of {signal.Signals(-done.returncode).name}")
    try:
        return Answer(*json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError):
        error = (done.stderr.splitlines() or [""])[-1]
        return Answer(UNDECIDED, f"exit status {done.returncode}: {error}")


def answer_here(name: str, streams: Path) -> Answer:
    """Put a question from this process."""
    try:
        return QUESTIONS[name].ask(Driver(), pickle.loads(streams.read_bytes()))
    except Exception as error:
        return Answer(UNDECIDED, f"{type(error).__name__}: {error}")


def driver_version() -> str:
    """The version of NVIDIA's kernel driver."""
    path = Path("/proc/driver/nvidia/version")
    if not path.exists():
        return "unknown"
    words = path.read_text().splitlines()[0].split()
    return next((word for word in words if word[0].isdigit() and "." in word), "unknown")


def emulated() -> bool:
    """Whether libcuda.so.1 is the one of tests/emulator."""
    return hasattr(Driver().cuda, "emu_counter")


def report(answers: dict[str, Answer], gpu: str, date: str) -> str:
    """docs/hardware.md."""
    text = HEAD.format(
        gpu=gpu, driver=driver_version(), date=date, emulated=EMULATED_NOTE if emulated() else ""
    )
    for name, answer in answers.items():
        asked = QUESTIONS[name]
        switch = f" (`{asked.switch}`)" if asked.switch else ""
        cells = (asked.text + switch, asked.done, answer.value, answer.seen)
        text += "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |\n"
    return text


def main() -> None:
    """Make streams, ask, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help=f"default {HARDWARE.name} in docs/, on hardware")
    parser.add_argument("--json", type=Path, help="the answers by name, for programs")
    parser.add_argument("--only", nargs="+", choices=sorted(QUESTIONS), default=list(QUESTIONS))
    parser.add_argument("--ask", choices=sorted(QUESTIONS), help=argparse.SUPPRESS)
    parser.add_argument("--streams", type=Path, help="streams made before, kept there otherwise")
    options = parser.parse_args()
    if options.ask:
        print(json.dumps(answer_here(options.ask, options.streams)))
        return
    try:
        gpu = Driver().name
    except Exception as error:
        sys.exit(f"no usable GPU with NVDEC here: {error}")
    if os.environ.get("FRAMETAP_REQUIRE_CUDA") == "1" and emulated():
        sys.exit("FRAMETAP_REQUIRE_CUDA=1, but this is the emulated driver")
    with tempfile.TemporaryDirectory() as folder:
        streams = options.streams or Path(folder) / "streams"
        if not streams.exists():
            streams.write_bytes(pickle.dumps(make_streams(Path(folder))))
        answers = {name: ask(name, streams) for name in options.only}
    text = report(answers, gpu, datetime.date.today().isoformat())
    print(text)
    out = options.out or (None if emulated() else HARDWARE)
    if out:
        out.write_text(text)
    if options.json:
        found = {name: answer._asdict() for name, answer in answers.items()}
        options.json.write_text(
            json.dumps({"gpu": gpu, "emulated": emulated(), "answers": found}, indent=1)
        )


if __name__ == "__main__":
    main()
