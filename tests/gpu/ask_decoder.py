"""What does NVDEC's decoder do: mapping, output surfaces, contexts, cost?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from gpu.question import UNDECIDED, Answer, Stream, all_pictures, decode, first_picture, question
from gpu.raw_nvdec import (
    CODECS,
    NV12,
    P016,
    Decoder,
    DisplayInfo,
    Driver,
    Parser,
    PictureParams,
    Rect16,
    Refused,
    VideoFormat,
)

Streams = Mapping[str, Stream]


def _once(
    driver: Driver, streams: Streams, ask: Callable[[Decoder, DisplayInfo], Answer], **fields: int
) -> Answer:
    """Ask once, in the first display callback of an H.264 stream."""
    found: list[Answer] = []

    def show(decoder: Decoder, info: DisplayInfo) -> None:
        if not found:
            found.append(ask(decoder, info))

    decode(driver, streams["h264"], show, streams["h264"].packets[:8], **fields)
    return found[0]


def _code(call: Callable[[], object]) -> int:
    """The CUresult of a call."""
    try:
        call()
    except Refused as error:
        return error.code
    return 0


@question(
    "What does mapping one picture too many return?",
    "a picture mapped twice at once with one output surface",
    switch="over_map_error",
)
def over_map(driver: Driver, streams: Streams) -> Answer:
    def ask(decoder: Decoder, info: DisplayInfo) -> Answer:
        first, _ = decoder.map(info.picture_index)
        try:
            second, _ = decoder.map(info.picture_index)
        except Refused as error:
            decoder.unmap(first)
            return Answer(str(error.code))
        decoder.unmap(second)
        if second != first:
            decoder.unmap(first)
        return Answer("0", "the same address" if second == first else "another address")

    return _once(driver, streams, ask, num_output_surfaces=1)


@question(
    "What does mapping a surface return that nothing was decoded into?",
    "the highest index, at the first display callback",
    switch="undecoded_map_error",
)
def undecoded_map(driver: Driver, streams: Streams) -> Answer:
    def ask(decoder: Decoder, _: DisplayInfo) -> Answer:
        index = decoder.info.num_decode_surfaces - 1
        try:
            address, _ = decoder.map(index)
        except Refused as error:
            return Answer(str(error.code))
        decoder.unmap(address)
        return Answer("0", "a surface is handed out")

    # More surfaces than the parser cycles through, so that the last is surely untouched.
    return _once(driver, streams, ask, num_decode_surfaces=24)


@question(
    "Does cuvidUnmapVideoFrame64 need a current context?",
    "unmapping on a thread without one",
    switch="unmap_needs_context",
)
def unmap_without_context(driver: Driver, streams: Streams) -> Answer:
    def ask(decoder: Decoder, info: DisplayInfo) -> Answer:
        address, _ = decoder.map(info.picture_index)
        driver.pop()
        code = _code(lambda: decoder.unmap(address))
        driver.push()
        if code:
            decoder.unmap(address)
        return Answer("1" if code else "0", f"returned {code}")

    return _once(driver, streams, ask)


@question(
    "Does cuvidDestroyDecoder need a current context?",
    "destroying on a thread without one",
    switch="destroy_needs_context",
)
def destroy_without_context(driver: Driver, streams: Streams) -> Answer:
    decoder = Decoder(driver, _sequence(driver, streams["h264"]))
    driver.pop()
    code = _code(decoder.close)
    driver.push()
    if code:
        decoder.close()
    return Answer("1" if code else "0", f"returned {code}")


def _sequence(driver: Driver, stream: Stream) -> VideoFormat:
    """The first sequence of a stream."""
    parser = Parser(driver, stream.codec)
    parser.parse(stream.packets[0].with_headers, 0)
    parser.finish()
    parser.close()
    return parser.sequences[0]


@question(
    "Are odd target sizes accepted, and where does chroma begin then?",
    "a target one row short of the coded picture, and its planes compared with those of the even one",
    switch="odd_targets",
)
def odd_targets(driver: Driver, streams: Streams) -> Answer:
    stream = streams["h264"]
    even, _ = first_picture(driver, stream)
    width, height = stream.size
    try:
        odd, _ = first_picture(
            driver,
            stream,
            target_height=height - 1,
            display_area=Rect16(0, 0, width, height - 1),
        )
    except Refused as error:
        return Answer("0", str(error))
    luma = "luma is the even one's" if odd[: height - 1] == even[: height - 1] else "luma differs"
    places = [
        name
        for name, row in (("the even row", height), ("the next row", height - 1))
        if odd[row] == even[height]
    ]
    return Answer(
        "1", f"{luma}; chroma begins at {places[0] if len(places) == 1 else 'neither row'}"
    )


@question(
    "What are pitches of mapped surfaces aligned to?",
    "NV12 targets of 162 to 1030 columns",
    switch="pitch_alignment",
)
def pitch_alignment(driver: Driver, streams: Streams) -> Answer:
    widths = (162, 194, 322, 514, 640, 1030)
    pitches = [first_picture(driver, streams["h264"], target_width=width)[1] for width in widths]
    seen = ", ".join(f"{width}: {pitch}" for width, pitch in zip(widths, pitches, strict=True))
    for alignment in (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096):
        if pitches == [-(-width // alignment) * alignment for width in widths]:
            return Answer(str(alignment), seen)
    return Answer(UNDECIDED, seen)


@question(
    "Which colour has the target outside target_rect?",
    "a picture placed in the middle of its target",
    switch="cleared_luma",
)
def cleared_luma(driver: Driver, streams: Streams) -> Answer:
    return _outside(driver, streams["h264"], slice(0, 1))


@question(
    "Which chroma has the target outside target_rect?",
    "a picture placed in the middle of its target",
    switch="cleared_chroma",
)
def cleared_chroma(driver: Driver, streams: Streams) -> Answer:
    return _outside(driver, streams["h264"], slice(1, 2))


def _outside(driver: Driver, stream: Stream, plane: slice) -> Answer:
    width, height = stream.size
    rows, _ = first_picture(driver, stream, target_rect=Rect16(32, 32, width - 32, height - 32))
    planes = (rows[:height], 32), (rows[height:], 16)
    ((lines, border),) = planes[plane]
    outside = b"".join(
        [*lines[:border], *lines[-border:], *(line[:32] + line[-32:] for line in lines)]
    )
    values = sorted(set(outside))
    return Answer(str(values[0]) if len(values) == 1 else UNDECIDED, f"values there: {values[:8]}")


@question(
    "How are 10-bit pictures read as 8 bits?",
    "HEVC of 10 bits put out as P016 and as NV12",
    switch="round_10_to_8",
)
def depth_reduction(driver: Driver, streams: Streams) -> Answer:
    mask = driver.caps("hevc", bits=10).output_format_mask
    if not mask >> NV12 & 1:
        return Answer(UNDECIDED, f"the driver offers no NV12 for it (mask {mask:#x})")
    deep, _ = first_picture(driver, streams["hevc_10bit"], output_format=P016)
    narrow = b"".join(first_picture(driver, streams["hevc_10bit"], output_format=NV12)[0])
    samples = [value >> 6 for row in deep for value in memoryview(row).cast("H")]
    if bytes(value >> 2 for value in samples) == narrow:
        return Answer("0", "all samples truncated")
    if bytes(min((value + 2) >> 2, 255) for value in samples) == narrow:
        return Answer("1", "all samples rounded")
    apart = max(abs(value / 4 - low) for value, low in zip(samples, narrow, strict=True))
    return Answer(UNDECIDED, f"neither truncated nor rounded: up to {apart} from the exact value")


@question(
    "Which filter scales?",
    "a target of three quarters and one of one and a half the size, luma compared with models",
    switch="scaling",
)
def scaling(driver: Driver, streams: Streams) -> Answer:
    stream = streams["h264"]
    width, height = stream.size
    source = first_picture(driver, stream)[0][:height]
    worst = {"nearest": 0.0, "bilinear": 0.0}
    for target in ((width * 3 // 4, height * 3 // 4), (width * 3 // 2, height * 3 // 2)):
        rows, _ = first_picture(driver, stream, target_width=target[0], target_height=target[1])
        for name, model in (("nearest", _nearest), ("bilinear", _bilinear)):
            apart = _apart(rows[: target[1]], model(source, target))
            worst[name] = max(worst[name], apart)
    seen = ", ".join(f"{name} is up to {apart:.2f} away" for name, apart in worst.items())
    if worst["nearest"] == 0:
        return Answer("nearest", seen)
    # A weight of 8 bits and a rounded result: less than one step of the exact value.
    return Answer("bilinear" if worst["bilinear"] <= 1.5 else UNDECIDED, seen)


def _apart(rows: Sequence[bytes], model: Sequence[Sequence[float]]) -> float:
    pairs = zip(rows, model, strict=True)
    return max(abs(a - b) for row, wanted in pairs for a, b in zip(row, wanted, strict=True))


def _nearest(source: Sequence[bytes], target: tuple[int, int]) -> list[list[float]]:
    width, height = target
    columns = [(2 * x + 1) * len(source[0]) // (2 * width) for x in range(width)]
    rows = [(2 * y + 1) * len(source) // (2 * height) for y in range(height)]
    return [[source[y][x] for x in columns] for y in rows]


def _bilinear(source: Sequence[bytes], target: tuple[int, int]) -> list[list[float]]:
    """Sample centres aligned, the edge repeated."""

    def places(length: int, count: int) -> list[tuple[int, int, float]]:
        exact = [min(max((i + 0.5) * length / count - 0.5, 0), length - 1) for i in range(count)]
        return [(int(at), min(int(at) + 1, length - 1), at - int(at)) for at in exact]

    columns = places(len(source[0]), target[0])
    across = [[row[a] + (row[b] - row[a]) * w for a, b, w in columns] for row in source]
    return [
        [upper + (lower - upper) * w for upper, lower in zip(across[a], across[b], strict=True)]
        for a, b, w in places(len(source), target[1])
    ]


def _same(reference: Mapping[int, list[bytes]], found: Mapping[int, list[bytes]]) -> Answer:
    wrong = [rank for rank, rows in found.items() if reference.get(rank) != rows]
    return Answer(
        "no" if wrong else "yes",
        f"{len(found)} of {len(reference)} pictures left, {len(wrong)} differ",
    )


def _is_reference(packet: bytes) -> bool:
    """Whether an H.264 packet has a slice with nal_ref_idc above 0 (ITU-T H.264, 7.4.1)."""
    units = packet.split(b"\0\0\1")[1:]
    return any(unit[0] & 31 in (1, 5) and unit[0] >> 5 & 3 for unit in units if unit)


@question(
    "May packets of non-reference pictures be left out before the parser?",
    "H.264 without packets of nal_ref_idc 0: the other pictures compared byte for byte",
)
def packets_left_out(driver: Driver, streams: Streams) -> Answer:
    stream = streams["h264"]
    kept = [packet for packet in stream.packets if _is_reference(packet.plain)]
    return _same(all_pictures(driver, stream), all_pictures(driver, stream, kept))


@question(
    "May non-reference pictures be left out of cuvidDecodePicture?",
    "the decode callback succeeds without decoding them: the other pictures compared byte for byte",
)
def decodes_left_out(driver: Driver, streams: Streams) -> Answer:
    stream = streams["h264"]
    reference = all_pictures(driver, stream)
    made: list[Decoder] = []
    skipped: set[int] = set()
    found: dict[int, list[bytes]] = {}

    def on_sequence(video: VideoFormat) -> int:
        made[:] = made or [Decoder(driver, video)]
        return video.surfaces

    def on_decode(picture: PictureParams) -> int:
        if not picture.ref_pic_flag:
            skipped.add(picture.picture_index)
            return 1
        skipped.discard(picture.picture_index)
        return made[0].decode(picture)

    def on_display(info: DisplayInfo) -> int:
        if info.picture_index not in skipped:
            found[info.timestamp] = made[0].rows(info.picture_index)[0]
        return 1

    parser = Parser(
        driver, stream.codec, on_sequence=on_sequence, on_decode=on_decode, on_display=on_display
    )
    for number, packet in enumerate(stream.packets):
        parser.parse(packet.plain if number else packet.with_headers, packet.rank)
    parser.finish()
    made[0].close()
    return _same(reference, found)


@question(
    "What does a decoder cost?",
    "five decoders for 1080p H.264 with 6 decode and 2 output surfaces, created and reconfigured to 720p",
)
def cost(driver: Driver, streams: Streams) -> Answer:
    video = _sequence(driver, streams["h264"])
    video.coded_width, video.coded_height, video.min_num_decode_surfaces = 1920, 1088, 6
    free = driver.free_memory
    decoders, creating, changing = [], [], []
    for _ in range(5):
        started = time.perf_counter()
        decoders.append(Decoder(driver, video, max_width=1920, max_height=1088))
        creating.append(1e3 * (time.perf_counter() - started))
    used = (free - driver.free_memory) / 5
    for decoder in decoders:
        started = time.perf_counter()
        decoder.reconfigure(1280, 720)
        changing.append(1e3 * (time.perf_counter() - started))
        decoder.close()
    return Answer(
        f"create {median(creating):.1f} ms, reconfigure {median(changing):.1f} ms, {used / 1e6:.1f} MB each",
        f"create {min(creating):.1f} to {max(creating):.1f} ms, reconfigure {min(changing):.1f} to {max(changing):.1f} ms",
    )


@question("What does NVDEC decode, and with how many engines?", "cuvidGetDecoderCaps for 4:2:0")
def capabilities(driver: Driver, streams: Streams) -> Answer:
    engines, rows = 0, []
    for codec in filter(None, CODECS):
        for bits in (8, 10, 12):
            caps = driver.caps(codec, bits=bits)
            if caps.is_supported:
                engines = max(engines, caps.num_engines)
                sizes = f"{caps.min_width}x{caps.min_height} to {caps.max_width}x{caps.max_height}"
                rows.append(f"{codec} {bits} bits {sizes} formats {caps.output_format_mask:#x}")
    return Answer(f"{engines} engines", "; ".join(rows))
