"""What does the cuvid parser do? It is asked without a decoder: decode callbacks succeed and decode nothing."""

from __future__ import annotations

from collections.abc import Mapping

from gpu.question import UNDECIDED, Answer, Stream, feed, question
from gpu.raw_nvdec import DISCONTINUITY, END_OF_PICTURE, Driver, Parser, PictureParams, VideoFormat

Streams = Mapping[str, Stream]
POLICIES = ("lowest", "round_robin", "least_recently_freed", "most_recently_freed")


def _failures(codes: list[int]) -> str:
    failed = sorted({code for code in codes if code})
    return f"cuvidParseVideoData returned {failed or 'only 0'}"


def _propagation(codes: list[int], displays: int, packets: int) -> Answer:
    seen = f"{_failures(codes)}; {displays} of {packets} pictures displayed"
    return Answer("propagate" if any(codes) else "skip", seen)


@question(
    "A decode callback returns 0: does parsing fail, and is the picture displayed?",
    "0 for one non-reference picture of an H.264 stream",
    switch="callback_failure",
)
def decode_returns_0(driver: Driver, streams: Streams) -> Answer:
    stream = streams["h264"]
    refused: list[int] = []

    def on_decode(picture: PictureParams) -> int:
        if refused or picture.ref_pic_flag:
            return 1
        refused.append(picture.picture_index)
        return 0

    parser = Parser(driver, stream.codec, on_decode=on_decode)
    codes = feed(parser, stream.packets)
    if not refused:
        return Answer(UNDECIDED, "the stream came out without a non-reference picture")
    return _propagation(codes, len(parser.displays), len(stream.packets))


@question(
    "A display callback returns 0: does parsing fail, and do others follow?",
    "0 for the third picture of an H.264 stream",
    switch="callback_failure",
)
def display_returns_0(driver: Driver, streams: Streams) -> Answer:
    stream = streams["h264"]
    parser = Parser(driver, stream.codec, on_display=lambda _: int(len(parser.displays) != 3))
    codes = feed(parser, stream.packets)
    return _propagation(codes, len(parser.displays), len(stream.packets))


@question("A sequence callback returns 0: does parsing fail for good?", "0 for the first sequence")
def sequence_returns_0(driver: Driver, streams: Streams) -> Answer:
    stream = streams["h264"]
    parser = Parser(driver, stream.codec, on_sequence=lambda _: 0)
    codes = feed(parser, stream.packets)
    seen = (
        f"{_failures(codes)}, first for packet {next((i for i, c in enumerate(codes) if c), None)}"
    )
    seen += f"; {len(parser.sequences)} sequence, {len(parser.decodes)} decode callbacks"
    return Answer("fails" if codes[-2] else "goes on", seen)


@question(
    "What does CUVID_PKT_DISCONTINUITY do with pictures under way?",
    "two packets of a stream with B pictures, then an empty packet with the flag",
    switch="discontinuity",
)
def discontinuity(driver: Driver, streams: Streams) -> Answer:
    stream = streams["h264"]
    parser = Parser(driver, stream.codec)
    feed(parser, stream.packets[:2], finish=False)
    decoded, displayed = len(parser.decodes), len(parser.displays)
    code = parser.parse(flags=DISCONTINUITY)
    seen = f"decode callbacks {decoded}, then {len(parser.decodes)}; display {displayed}, then {len(parser.displays)}"
    seen += f"; returned {code}"
    if len(parser.decodes) == decoded and len(parser.displays) == displayed:
        return Answer("none", seen)
    if len(parser.decodes) != 2:
        return Answer(UNDECIDED, seen)
    return Answer("drain" if len(parser.displays) == 2 else "nvp", seen)


@question(
    "Are parameter sets forgotten at the end of the stream?",
    "end of stream, then an IDR picture without headers, then the same with them",
    switch="eos_forgets_headers",
)
def end_of_stream(driver: Driver, streams: Streams) -> Answer:
    stream = streams["h264"]
    second = [n for n, packet in enumerate(stream.packets) if packet.keyframe][1]
    parser = Parser(driver, stream.codec)
    feed(parser, stream.packets[:second])
    seen = f"{len(parser.displays)} of {second} pictures displayed at the end"
    decoded, sequences = len(parser.decodes), len(parser.sequences)
    feed(parser, stream.packets[second:], headers=False)
    without = len(parser.decodes) - decoded
    decoded, before = len(parser.decodes), len(parser.sequences)
    feed(parser, stream.packets[second:])
    again = len(parser.decodes) - decoded
    seen += f"; {without} decode and {before - sequences} sequence callbacks without headers"
    seen += f", {again} and {len(parser.sequences) - before} with them"
    if again == 0:
        return Answer(UNDECIDED, seen)
    return Answer("1" if without == 0 else "0", seen)


@question(
    "Are undecodable leading pictures (RASL) of a first CRA displayed?",
    "open-GOP HEVC from its second keyframe",
    switch="rasl",
)
def rasl(driver: Driver, streams: Streams) -> Answer:
    stream = streams["hevc_open_gop"]
    start = [n for n, packet in enumerate(stream.packets) if packet.keyframe][1]
    packets = stream.packets[start:]
    leading = sum(packet.rank < packets[0].rank for packet in packets)
    parser = Parser(driver, stream.codec)
    feed(parser, packets)
    shown = len(parser.displays)
    seen = f"{len(packets)} packets, {leading} of them leading: {len(parser.decodes)} decoded, {shown} displayed"
    if leading == 0 or shown not in (len(packets), len(packets) - leading):
        return Answer(UNDECIDED, seen)
    return Answer("show" if shown == len(packets) else "drop", seen)


@question(
    "What comes out of H.264 that starts with an I picture that is no IDR, or with a P picture?",
    "an open-GOP stream from its second keyframe, and from the packet after it, each with headers",
    switch="h264_start",
)
def start_without_idr(driver: Driver, streams: Streams) -> Answer:
    stream = streams["h264_open_gop"]
    keyframe = [n for n, packet in enumerate(stream.packets) if packet.keyframe][1]
    found, first_shown = [], {}
    for what, start in (("I", keyframe), ("P", keyframe + 1)):
        packets = stream.packets[start:]
        parser = Parser(driver, stream.codec)
        feed(parser, packets)
        first = parser.displays[0].timestamp - packets[0].rank if parser.displays else None
        first_shown[what] = first
        found.append(
            f"from {what}: {len(parser.decodes)} decoded, {len(parser.displays)} displayed of {len(packets)},"
            f" the first {first} from the start"
        )
    with_keyframe = first_shown["I"] is not None and first_shown["I"] <= 0
    return Answer("any" if with_keyframe else "idr", "; ".join(found))


@question(
    "Which min_num_decode_surfaces does the parser ask for?",
    "H.264 with 1, 4 and 8 reference frames, HEVC, VP9 and AV1",
    switch="min_surfaces",
)
def min_surfaces(driver: Driver, streams: Streams) -> Answer:
    seen, numbers = [], []
    for name in (
        "h264_1_reference",
        "h264_4_references",
        "h264_8_references",
        "hevc",
        "vp9",
        "av1",
    ):
        if name not in streams:
            seen.append(f"{name}: no encoder")
            continue
        parser = Parser(driver, streams[name].codec)
        feed(parser, streams[name].packets)
        numbers += [video.min_num_decode_surfaces for video in parser.sequences[:1]]
        seen.append(f"{name}: {numbers[-1] if parser.sequences else 'no sequence'}")
    if not numbers or (0 in numbers and any(numbers)):
        return Answer(UNDECIDED, ", ".join(seen))
    return Answer("exact" if numbers[0] else "0", ", ".join(seen))


@question(
    "How many surfaces does H.264 get beyond its decoded picture buffer?",
    "streams with 1, 4 and 8 reference frames and no B pictures, whose buffer is as large",
    switch="h264_extra_surfaces",
)
def h264_extra_surfaces(driver: Driver, streams: Streams) -> Answer:
    extra: list[int] = []
    for references in (1, 4, 8):
        stream = streams[f"h264_{references}_reference{'s' * (references > 1)}"]
        parser = Parser(driver, stream.codec)
        feed(parser, stream.packets)
        stated = parser.sequences[0].min_num_decode_surfaces
        if not stated:
            return Answer(UNDECIDED, "the parser does not say how many it needs")
        extra.append(stated - references)
    if len(set(extra)) > 1:
        return Answer(UNDECIDED, f"beyond 1, 4 and 8 reference frames: {extra}")
    return Answer(str(extra[0]), "the same for 1, 4 and 8 reference frames")


@question(
    "What are HEVC coded sizes rounded up to?",
    "a stream of 200x168, both multiples of 8 and of nothing larger",
    switch="hevc_size_multiple",
)
def hevc_size(driver: Driver, streams: Streams) -> Answer:
    stream = streams["hevc_multiple_of_8"]
    parser = Parser(driver, stream.codec)
    feed(parser, stream.packets)
    return _rounding(stream, parser.sequences[0])


@question(
    "What are coded sizes of VP9 rounded up to?",
    "a stream of 195x161",
    switch="vp9_size_multiple",
)
def vp9_odd_size(driver: Driver, streams: Streams) -> Answer:
    stream = streams["vp9_odd"]
    parser = Parser(driver, stream.codec)
    feed(parser, stream.packets)
    return _rounding(stream, parser.sequences[0])


def _rounding(stream: Stream, video: VideoFormat) -> Answer:
    coded, area = (video.coded_width, video.coded_height), video.display_area
    seen = (
        f"coded size {coded[0]}x{coded[1]}, shown {area.right - area.left}x{area.bottom - area.top}"
    )
    for multiple in (128, 64, 32, 16, 8, 4, 2, 1):
        if coded == tuple(-(-length // multiple) * multiple for length in stream.size):
            return Answer(str(multiple), seen)
    return Answer(UNDECIDED, seen)


@question(
    "Does the parser re-sort timestamps that are decoding times?",
    "H.264 with B pictures, packets numbered in decode order",
    switch="timestamp_resorting",
)
def timestamps(driver: Driver, streams: Streams) -> Answer:
    stream = streams["h264"]
    parser = Parser(driver, stream.codec)
    for number, packet in enumerate(stream.packets):
        parser.parse(packet.plain if number else packet.with_headers, number)
    parser.finish()
    found = [display.timestamp for display in parser.displays]
    count = len(stream.packets)
    own = sorted(range(count), key=lambda number: stream.packets[number].rank)
    seen = f"displayed in the order {found[:10]}..."
    if found == own:
        return Answer("0", seen)
    return Answer("1" if found == sorted(found) and len(found) == count else UNDECIDED, seen)


@question(
    "Which free surface does the next picture get?",
    "H.264 with four surfaces to spare, displayed at once and with a delay of four; a policy is ruled out when a picture"
    " gets another surface than it would give",
    switch="index_policy",
)
def index_policy(driver: Driver, streams: Streams) -> Answer:
    left, orders = set(POLICIES), []
    for delay in (0, 4):
        parser = Parser(driver, "h264", delay=delay, on_sequence=lambda video: video.surfaces + 4)
        feed(parser, streams["h264"].packets)
        left &= _possible_policies(parser, parser.sequences[0].surfaces + 4)
        orders.append(" ".join(str(decode.index) for decode in parser.decodes[:16]))
    seen = f"surfaces {' and '.join(orders)}"
    if len(left) != 1:
        return Answer(UNDECIDED, f"{seen}; possible: {sorted(left) or 'none of these'}")
    return Answer(left.pop(), seen)


def _possible_policies(parser: Parser, surfaces: int) -> set[str]:
    """Surfaces that are surely free: not used yet (since time 0), or holding a displayed picture that nothing refers to."""
    left = set(POLICIES)
    free_since: dict[int, int] = dict.fromkeys(range(surfaces), 0)
    holds: dict[int, bool] = {}  # by surface: whether its picture is a reference
    displayed_at: dict[int, int] = {}
    shown, last = 0, -1
    for number, picture in enumerate(parser.decodes):
        while shown < len(parser.displays) and parser.displays[shown].decodes_before <= number:
            index = parser.displays[shown].index
            shown += 1
            displayed_at[index] = shown
            if not holds.get(index, True):
                free_since[index] = shown
        others = {index: since for index, since in free_since.items() if index != picture.index}
        if any(index < picture.index for index in others):
            left.discard("lowest")
        if any(
            (index - last - 1) % surfaces < (picture.index - last - 1) % surfaces
            for index in others
        ):
            left.discard("round_robin")
        earliest = free_since.get(picture.index, displayed_at.get(picture.index, 0))
        if any(since < earliest for since in others.values()):
            left.discard("least_recently_freed")
        if picture.index in free_since and any(
            since > free_since[picture.index] for since in others.values()
        ):
            left.discard("most_recently_freed")
        free_since.pop(picture.index, None)
        holds[picture.index], last = picture.reference, picture.index
    return left


@question(
    "Does CUVID_PKT_ENDOFPICTURE have a picture decoded in its own call?",
    "one packet with the flag, one without",
)
def end_of_picture(driver: Driver, streams: Streams) -> Answer:
    packets = streams["h264"].packets
    parser = Parser(driver, "h264")
    parser.parse(packets[0].with_headers, 0)
    without = len(parser.decodes)
    parser = Parser(driver, "h264")
    parser.parse(packets[0].with_headers, 0, END_OF_PICTURE)
    return Answer(
        "yes" if len(parser.decodes) > without else "no",
        f"{len(parser.decodes)} decode callbacks with it, {without} without",
    )
