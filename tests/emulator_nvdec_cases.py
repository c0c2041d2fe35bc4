"""What the emulated NVDEC does, callback by callback; run by test_emulator_nvdec.py in a process that loads the emulator.

python emulator_nvdec_cases.py FOLDER     prints {"case": null or what went wrong} for all cases
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
from av.bitstream import BitStreamFilterContext

from emulator_control import Emulator
from nvcuvid import DISCONTINUITY, END_OF_PICTURE, END_OF_STREAM, NOTIFY_EOS, Client

CASES: dict[str, Callable[[Path], None]] = {}
UNKNOWN = 999
Packets = list[tuple[bytes, int]]


def case(function: Callable[[Path], None]) -> Callable[[Path], None]:
    CASES[function.__name__] = function
    return function


def switch(**values: object) -> None:
    for name, value in values.items():
        Emulator.load().switch(name, value)


def packets_of(path: Path) -> Packets:
    """Packets as a parser takes them, parameter sets in band, and presentation times in frames."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        filters = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}
        name = filters.get(stream.codec_context.name)
        context = BitStreamFilterContext(name, stream) if name else None
        rate = stream.average_rate * stream.time_base
        found = []
        for packet in container.demux(stream):
            for out in context.filter(packet if packet.size else None) if context else [packet]:
                if out.size:
                    found.append((bytes(out), round((out.pts or 0) * rate)))
        return found


def units(data: bytes) -> list[bytes]:
    """NAL units with their start codes."""
    starts = [
        i - 1 if i and data[i - 1] == 0 else i
        for i in range(len(data) - 3)
        if data[i : i + 3] == b"\0\0\1"
    ]
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]


def headers_of(data: bytes) -> bytes:
    """SPS and PPS of an H.264 packet."""
    return b"".join(unit for unit in units(data) if unit.lstrip(b"\0")[1] & 31 in {7, 8})


def feed(client: Client, packets: Packets, *, flags: int = 0) -> None:
    for data, pts in packets:
        client.parse(data, flags, pts)


def shown(client: Client) -> list[int]:
    return [event.timestamp for event in client.of("display")]


def decode_all(path: Path, codec: str, **options: object) -> Client:
    client = Client(codec, decodes=True, **options)
    feed(client, packets_of(path))
    client.end()
    client.close()
    return client


# ------------------------------------------------------------------------------------------------- pictures and packets


@case
def picture_is_complete_when_the_next_one_begins(folder: Path) -> None:
    packets = packets_of(folder / "h264.mp4")
    with Client("h264") as client:
        feed(client, packets)
        client.end()
    for number, event in enumerate(client.of("decode")):
        # Of the next picture, 256 bytes are looked at, or all of it, which then the one after that ends.
        long = number + 1 < len(packets) and len(packets[number + 1][0]) > 300
        assert event.packet == number + 1 or (event.packet == number + 2 and not long)


@case
def end_of_picture_removes_the_latency(folder: Path) -> None:
    packets = packets_of(folder / "h264.mp4")
    with Client("h264") as client:
        feed(client, packets, flags=END_OF_PICTURE)
        client.end()
    assert [event.packet for event in client.of("decode")] == list(range(len(packets)))


@case
def end_of_picture_counts_the_first_picture_only(folder: Path) -> None:
    (one, _), (two, _) = packets_of(folder / "h264.mp4")[:2]
    with Client("h264") as client:
        client.parse(one + two, END_OF_PICTURE)
        client.end()
    assert len(client.of("decode")) == 1


@case
def packets_may_end_anywhere(folder: Path) -> None:
    for name, codec in (("h264.mp4", "h264"), ("hevc.mp4", "hevc")):
        packets = packets_of(folder / name)
        whole = b"".join(data for data, _ in packets)
        for chunk in (1, 2, 3, 61, 4096, len(whole)):
            with Client(codec) as client:
                for at in range(0, len(whole), chunk):
                    client.parse(whole[at : at + chunk])
                client.end()
            assert len(client.of("decode")) == len(packets), (codec, chunk)
            assert len(client.of("display")) == len(packets), (codec, chunk)


@case
def nothing_happens_before_the_headers(folder: Path) -> None:
    packets = packets_of(folder / "h264.mp4")
    with Client("h264") as client:
        feed(client, packets[1:5])
        assert client.events == []
        feed(client, packets[:5])
        client.end()
    # The last of the first four was still incomplete, and stays unknown: its slices came before the headers.
    assert len(client.of("decode")) == 5


@case
def pictures_tell_what_they_are(folder: Path) -> None:
    with Client("h264") as client:
        feed(client, packets_of(folder / "h264.mp4"))
        client.end()
    decoded = client.of("decode")
    assert [n for n, event in enumerate(decoded) if event.intra] == [0, 12, 24, 36]
    assert all(event.reference for event in decoded if event.intra)
    assert any(not event.reference for event in decoded)


# ---------------------------------------------------------------------------------------------------------- sequences


@case
def format_of_a_sequence(folder: Path) -> None:
    sizes = {}
    for codec in ("h264", "hevc"):
        for multiple in (16, 8):
            switch(hevc_size_multiple=multiple)
            with Client(codec) as client:
                feed(client, packets_of(folder / f"{codec}_178x166.mp4")[:2])
                client.end()
            (told,) = [event.format for event in client.of("sequence")]
            assert told is not None
            assert list(told.display_area) == [0, 0, 178, 166]
            assert (told.chroma_format, told.progressive_sequence) == (1, 1)
            assert told.frame_rate[0] / told.frame_rate[1] == 24
            sizes[codec, multiple] = told.coded_width, told.coded_height
    assert sizes == {
        ("h264", 16): (192, 176),
        ("h264", 8): (192, 176),
        ("hevc", 16): (192, 176),
        ("hevc", 8): (184, 168),
    }


@case
def fewest_surfaces_are_enough(folder: Path) -> None:
    """The number that the sequence callback tells serves every clip, under each way to choose among surfaces."""
    driver = Emulator.load()
    clips = {
        "h264.mp4": "h264",
        "h264_open_gop_ts.ts": "h264",
        "hevc.mp4": "hevc",
        "vp9.webm": "vp9",
        "av1.mp4": "av1",
    }
    for policy in ("least_recently_freed", "round_robin", "lowest", "most_recently_freed"):
        switch(index_policy=policy)
        for name, codec in clips.items():
            driver.reset()
            client = decode_all(folder / name, codec)
            assert driver.violations() == [], (name, policy, driver.violations())
            assert len(client.frames) == 48, (name, policy)


@case
def surfaces_may_be_reported_as_none(folder: Path) -> None:
    switch(min_surfaces=0)
    with Client("h264") as client:
        feed(client, packets_of(folder / "h264.mp4")[:2])
    assert [event.format.min_num_decode_surfaces for event in client.of("sequence")] == [0]


@case
def new_size_is_a_new_sequence(folder: Path) -> None:
    with Client("h264", display_delay=4) as client:
        client.parse((folder / "resized.h264").read_bytes())
        client.end()
    kinds = [event.kind for event in client.events]
    second = kinds.index("sequence", 1)
    # All pictures of the first size are displayed before the client hears of the second one.
    assert kinds[:second].count("decode") == kinds[:second].count("display") == 12
    assert kinds.count("sequence") == 2
    assert kinds.count("display") == 24


@case
def refused_sequence_ends_parsing(folder: Path) -> None:
    packets = packets_of(folder / "h264.mp4")
    with Client("h264", answer_sequence=lambda _: 0) as client:
        assert client.parse(*packets[0][:1]) == 0
        assert client.parse(packets[1][0]) == UNKNOWN
        assert client.parse(packets[2][0]) == UNKNOWN
    assert [event.kind for event in client.events] == ["sequence"]


# ------------------------------------------------------------------------------------------------ display and timestamps


@case
def display_order_and_timestamps(folder: Path) -> None:
    for name, codec in (
        ("h264.mp4", "h264"),
        ("hevc.mp4", "hevc"),
        ("vp9.webm", "vp9"),
        ("av1.mp4", "av1"),
    ):
        with Client(codec) as client:
            feed(client, packets_of(folder / name))
            client.end()
        assert shown(client) == list(range(48)), name


@case
def display_delay(folder: Path) -> None:
    first = {}
    for delay in (0, 1, 4):
        with Client("h264", display_delay=delay) as client:
            feed(client, packets_of(folder / "h264.mp4"))
            client.end()
        first[delay] = client.of("display")[0].packet
        assert shown(client) == list(range(48))
    assert first[1] == first[0] + 1
    assert first[4] == first[0] + 4


@case
def missing_timestamps_are_interpolated(folder: Path) -> None:
    packets = packets_of(folder / "h264.mp4")
    with Client("h264", clock_rate=2400) as client:
        for number, (data, pts) in enumerate(packets):
            client.parse(data, timestamp=pts * 100 + 7000 if number == 0 else None)
        client.end()
    assert shown(client) == [7000 + 100 * n for n in range(48)]


@case
def decoding_times_are_sorted(folder: Path) -> None:
    packets = packets_of(folder / "h264.mp4")
    in_order = {}
    for sorts in (1, 0):
        switch(timestamp_resorting=sorts)
        with Client("h264") as client:
            for number, (data, _) in enumerate(packets):
                client.parse(data, timestamp=number)
            client.end()
        in_order[sorts] = shown(client) == sorted(shown(client))
        assert sorted(shown(client)) == list(range(48))
    assert in_order == {1: True, 0: False}


@case
def end_of_stream_shows_all_and_says_so(folder: Path) -> None:
    with Client("h264", display_delay=4) as client:
        feed(client, packets_of(folder / "h264.mp4")[:10])
        before = len(client.of("display"))
        client.parse(flags=END_OF_STREAM | NOTIFY_EOS)
    assert before < len(client.of("display")) == 10
    assert client.events[-1].kind == "end"


@case
def end_of_stream_forgets_headers(folder: Path) -> None:
    packets = packets_of(folder / "h264.mp4")
    headers = headers_of(packets[0][0])
    keyframe = packets[0][0].replace(headers, b"")
    assert len(headers) + len(keyframe) == len(packets[0][0])
    for forgets in (1, 0):
        switch(eos_forgets_headers=forgets)
        with Client("h264") as client:
            feed(client, packets[:3])
            client.end()
            client.events.clear()
            client.parse(keyframe)
            client.end()
            assert len(client.of("decode")) == 1 - forgets
            client.events.clear()
            client.parse(headers)
            client.parse(keyframe)
            client.end()
        assert [event.kind for event in client.events] == ["sequence", "decode", "display"]


@case
def leading_pictures_that_cannot_be_decoded(folder: Path) -> None:
    packets = packets_of(folder / "rasl.mp4")
    cra = [
        n
        for n, (data, _) in enumerate(packets)
        if any(u.lstrip(b"\0")[1] >> 1 == 21 for u in units(data))
    ]
    start = cra[1] if cra[0] == 0 else cra[0]
    headers = b"".join(u for u in units(packets[0][0]) if u.lstrip(b"\0")[1] >> 1 in {32, 33, 34})
    hidden = {}
    for what in ("drop", "show"):
        switch(rasl=what)
        with Client("hevc") as client:
            client.parse(headers)
            feed(client, packets[start:])
            client.end()
        assert len(client.of("decode")) == len(packets) - start
        hidden[what] = len(client.of("decode")) - len(client.of("display"))
    rasl = [data for data, _ in packets[start:] if units(data)[-1].lstrip(b"\0")[1] >> 1 in {8, 9}]
    leading = 0
    for data, _ in packets[start + 1 :]:
        if not any(u.lstrip(b"\0")[1] >> 1 in {8, 9} for u in units(data)):
            break
        leading += 1
    assert len(rasl) >= leading > 0
    assert hidden == {"drop": leading, "show": 0}


@case
def discontinuity(folder: Path) -> None:
    packets = packets_of(folder / "h264.mp4")
    displayed = {}
    decoded = {}
    for what in ("none", "nvp", "drain"):
        switch(discontinuity=what)
        with Client("h264") as client:
            feed(client, packets[:10])
            client.parse(flags=DISCONTINUITY)
            decoded[what] = len(client.of("decode"))
            displayed[what] = len(client.of("display"))
    assert decoded == {"none": 9, "nvp": 10, "drain": 10}
    assert displayed["none"] <= displayed["nvp"] < displayed["drain"] == 10


@case
def failing_callbacks(folder: Path) -> None:
    packets = packets_of(folder / "h264.mp4")
    for how in ("propagate", "skip"):
        switch(callback_failure=how)
        with Client("h264") as client:
            client.answer_decode = lambda _, client=client: int(len(client.of("decode")) != 6)
            results = [client.parse(data, timestamp=pts) for data, pts in packets]
            results.append(client.end())
        assert [n for n, result in enumerate(results) if result] == (
            [6] if how == "propagate" else []
        )
        assert len(client.of("display")) == 47
        with Client("h264") as client:
            client.answer_display = lambda _, client=client: int(len(client.of("display")) != 3)
            results = [client.parse(data, timestamp=pts) for data, pts in packets]
        assert any(results) == (how == "propagate")
