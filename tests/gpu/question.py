"""A question to a driver, the streams it may be asked with, and how an answer looks. Standard library alone, as raw_nvdec.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from gpu.raw_nvdec import Decoder, DisplayInfo, Driver, Parser, VideoFormat

UNDECIDED = "undecided"


class Packet(NamedTuple):
    """One packet as the parser takes it: its picture's number in display order, and its bytes without and with headers."""

    rank: int
    keyframe: bool
    plain: bytes
    with_headers: bytes


class Stream(NamedTuple):
    """A stream in decode order."""

    codec: str
    size: tuple[int, int]
    packets: list[Packet]


class Answer(NamedTuple):
    """What was found: the answer in one word, where the emulated driver has it as a switch in the switch's; and what was seen."""

    value: str
    seen: str = ""


class Question(NamedTuple):
    """A question: its name, the emulated driver's switch of the same meaning, what is asked and what is done to find out."""

    name: str
    switch: str
    text: str
    done: str
    ask: Callable[[Driver, Mapping[str, Stream]], Answer]


QUESTIONS: dict[str, Question] = {}


def question(text: str, done: str, switch: str = "") -> Callable[[Any], Any]:
    """Register a function under its own name."""

    def register(ask: Any) -> Any:
        QUESTIONS[ask.__name__] = Question(ask.__name__, switch, text, done, ask)
        return ask

    return register


def feed(
    parser: Parser, packets: Sequence[Packet], *, headers: bool = True, finish: bool = True
) -> list[int]:
    """Hand packets to a parser, the first one with its headers; return the CUresult of each call."""
    codes = [
        parser.parse(packet.with_headers if headers and number == 0 else packet.plain, packet.rank)
        for number, packet in enumerate(packets)
    ]
    return [*codes, parser.finish()] if finish else codes


def decode(
    driver: Driver,
    stream: Stream,
    show: Callable[[Decoder, DisplayInfo], None],
    packets: Sequence[Packet] | None = None,
    **fields: Any,
) -> None:
    """Decode a stream and have every picture shown inside its display callback; `fields` are of the decoder's create info."""
    made: list[Decoder] = []

    def on_sequence(video: VideoFormat) -> int:
        if not made:
            made.append(Decoder(driver, video, **fields))
        return video.surfaces

    def on_display(info: DisplayInfo) -> int:
        show(made[0], info)
        return 1

    parser = Parser(
        driver,
        stream.codec,
        on_sequence=on_sequence,
        on_decode=lambda picture: made[0].decode(picture),
        on_display=on_display,
    )
    try:
        feed(parser, stream.packets if packets is None else packets)
    finally:
        parser.close()
        for decoder in made:
            decoder.close()


def first_picture(driver: Driver, stream: Stream, **fields: Any) -> tuple[list[bytes], int]:
    """Return the rows and the pitch of the first picture displayed."""
    found: list[tuple[list[bytes], int]] = []

    def show(decoder: Decoder, info: DisplayInfo) -> None:
        if not found:
            found.append(decoder.rows(info.picture_index))

    decode(driver, stream, show, stream.packets[:8], **fields)
    return found[0]


def all_pictures(
    driver: Driver, stream: Stream, packets: Sequence[Packet] | None = None
) -> dict[int, list[bytes]]:
    """Return the rows of every picture displayed, by its timestamp."""
    found: dict[int, list[bytes]] = {}

    def show(decoder: Decoder, info: DisplayInfo) -> None:
        found[info.timestamp] = decoder.rows(info.picture_index)[0]

    decode(driver, stream, show, packets)
    return found
