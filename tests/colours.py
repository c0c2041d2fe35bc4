"""Streams whose colour description changes on the way: coded sequences of one encoder, joined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clips import Clip, encode

FRAMES = 12
"""Of each sequence."""

_BT709 = "colorprim=bt709:transfer=bt709:colormatrix=bt709"
_PQ = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
# What a sequence says, as x264 and x265 take it; {full} and {limited} are how they are told the range.
STATEMENTS = {
    "nothing": "",
    "range": "{limited}",  # x264 leaves it unsaid
    "full range": "{full}",
    "bt601": "colorprim=smpte170m:transfer=smpte170m:colormatrix=smpte170m:{limited}",
    "bt709": _BT709,
    "bt709, full range": _BT709 + ":{full}",
    "bt2020, PQ": _PQ + ":{limited}",
}
_ENCODERS = {
    "h264": ("libx264", "x264-params", "keyint=12:bframes=3:scenecut=0"),
    "hevc": ("libx265", "x265-params", "keyint=12:bframes=3:log-level=none"),
}
_RANGES = {
    "full": {"h264": "fullrange=on", "hevc": "range=full"},
    "limited": {"h264": "fullrange=off", "hevc": "range=limited"},
}


def encode_recoloured(path: Path, codec: str, statements: Sequence[str]) -> None:
    """Write a raw stream of "h264" or "hevc", a sequence of `FRAMES` frames for each of the statements."""
    encoder, option, params = _ENCODERS[codec]
    ranges = {name: words[codec] for name, words in _RANGES.items()}
    sequences = []
    for statement in statements:
        said = STATEMENTS[statement].format(**ranges)
        options = {"preset": "ultrafast", option: f"{params}:{said}".rstrip(":")}
        clip = Clip(encoder, f".{codec}", size=(192, 160), encoded=FRAMES, options=options)
        encode(path, clip)
        sequences.append(path.read_bytes())
    path.write_bytes(b"".join(sequences))
