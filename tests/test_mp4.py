"""The sample-table index must be what the packet scan finds, packet for packet, or refuse; and never read a sample."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import clips as recipes
from clips import CLIPS, Clip, ClipLibrary
from frametap.container import Container
from frametap.index_scan import scan_packets
from frametap.mp4 import NotRepresentableError, SampleTables, parse_tables, read_tables
from frametap.source import BytesSource, Source
from mp4_maker import Track, box, full_box, movie, table, u32

PER_PACKET = ("pts", "duration", "position", "size", "keyframe", "discarded")


def differences(tables: SampleTables, source: Source) -> list[str]:
    """Return what FFmpeg delivers otherwise than `tables` say, by name."""
    container = Container(source)
    try:
        scan, stream = scan_packets(container), container.stream
        wrong = [n for n in PER_PACKET if not np.array_equal(getattr(tables, n), getattr(scan, n))]
        told = (tables.stream_index, tables.time_base, tables.num_samples, tables.stream_duration)
        if told != (stream.index, stream.time_base, stream.frames, stream.duration):
            wrong.append("stream")
        return wrong
    finally:
        container.close()


def assert_exact(source: Source) -> SampleTables:
    tables = parse_tables(source)
    assert differences(tables, source) == []
    return tables


def reason(data: bytes) -> str:
    assert read_tables(BytesSource(data)) is None
    with pytest.raises(NotRepresentableError) as refusal:
        parse_tables(BytesSource(data))
    return str(refusal.value)


# ----------------------------------------------------------------------------------------- what FFmpeg's muxers write

_X264 = {"g": "12", "bf": "3", "sc_threshold": "0", "preset": "ultrafast"}
MUXED = {
    "timescale": Clip("libx264", options=_X264, muxer={"video_track_timescale": "90000"}),
    "negative_offsets": Clip(
        "libx264", options=_X264, muxer={"movflags": "negative_cts_offsets"}, fps=Fraction(30)
    ),
    "no_edit_list": Clip("libx264", options=_X264, muxer={"use_editlist": "0"}),
    "faststart_mov": Clip("libx264", ".mov", options=_X264, muxer={"movflags": "faststart"}),
    "late_vfr": Clip("libx264", options=_X264, start_seconds=2.5, durations=(1, 4, 2)),
    "hidden_head": Clip("libx264", options=_X264, hide_seconds=0.9),
    "hidden_past_keyframe": Clip("libx264", options=_X264, hide_seconds=1.2),
    "hidden_without_b": Clip("libx264", options={**_X264, "bf": "0"}, hide_seconds=0.6),
    "hidden_negative_offsets": Clip(
        "libx264",
        options=_X264,
        muxer={"movflags": "negative_cts_offsets"},
        hide_seconds=0.7,
    ),
    "3gp": Clip("h263", ".3gp", size=(176, 144), options={"g": "12"}),
}
REFUSED = {
    "h264_fragmented": "fragments (moof)",
    "h264_intra": "keyframes not listed",
    "truncated": "samples beyond the end of the file",
    "audio_only": "no video track",
}


@pytest.mark.parametrize("name", sorted(MUXED))
def test_muxer_options(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"clip{MUXED[name].suffix}"
    recipes.encode(path, replace(MUXED[name], size=(176, 144)))
    tables = assert_exact(Source.of(path))
    assert tables.discarded.any() == name.startswith("hidden")


@pytest.mark.parametrize("name", [n for n, c in CLIPS.items() if c.suffix in (".mp4", ".mov")])
def test_clips(clips: ClipLibrary, name: str) -> None:
    source = Source.of(clips[name])
    if name in REFUSED:
        assert reason(clips[name].read_bytes()) == REFUSED[name]
    else:
        assert_exact(source)


@pytest.mark.parametrize("name", [n for n, c in CLIPS.items() if c.suffix not in (".mp4", ".mov")])
def test_other_containers_are_refused(clips: ClipLibrary, name: str) -> None:
    assert read_tables(Source.of(clips[name])) is None


@pytest.mark.parametrize("video_first", [True, False])
def test_audio_and_second_video_track(tmp_path: Path, video_first: bool) -> None:
    path = tmp_path / "tracks.mov"
    with av.open(str(path), "w") as output:
        order = ["libx264", "aac", "mpeg4"] if video_first else ["aac", "libx264", "mpeg4"]
        streams = {
            name: output.add_stream(name, rate=48_000 if name == "aac" else 24) for name in order
        }
        for name in ("libx264", "mpeg4"):
            streams[name].width, streams[name].height, streams[name].pix_fmt = 64, 48, "yuv420p"
        for number in range(30):
            picture = av.VideoFrame.from_ndarray(recipes.picture(number, 64, 48), format="rgb24")
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 2000), np.float32), format="fltp")
            silence.sample_rate, silence.pts, picture.pts = 48_000, number * 2000, number
            for name, stream in streams.items():
                output.mux(stream.encode(silence if name == "aac" else picture))
        for stream in streams.values():
            output.mux(stream.encode(None))
    tables = assert_exact(Source.of(path))
    assert (tables.stream_index, tables.codec_tag) == (0 if video_first else 1, "avc1")
    assert (tables.width, tables.height) == (64, 48)


# ------------------------------------------------------------------------------------------------ what no muxer writes

PLAIN = Track([5, 6, 7, 8, 9, 4, 3], [(7, 20)], stss=[1, 4], chunks=[3, 4])
REORDERED = replace(PLAIN, ctts=[(1, 40), (1, 60), (1, 20), (2, 40), (2, 40)])
NEGATIVE = replace(PLAIN, ctts=[(1, 0), (1, 20), (1, -20), (2, 0), (1, 20), (1, -20)])
SOUND = Track([2] * 9, [(9, 1024)], handler="soun", entry="sowt", timescale=48_000, track_id=2)
TEXT = Track([3], [(1, 140)], handler="text", entry="tx3g", track_id=3)
HAND_MADE = {
    "plain": movie(PLAIN),
    "wide": movie(replace(REORDERED, wide=True, edits=[(220, 40)]), mdat="large"),
    "mdat_to_end": movie(REORDERED, mdat="to_end"),
    "moov_first": movie(REORDERED, fast_start=True),
    "stz2_4": movie(replace(PLAIN, compact_bits=4)),
    "stz2_8": movie(replace(PLAIN, compact_bits=8)),
    "stz2_16": movie(replace(PLAIN, compact_bits=16)),
    "constant_size": movie(replace(PLAIN, sizes=[7] * 7, constant_size=True)),
    "empty_samples": movie(replace(PLAIN, sizes=[5, 0, 7, 8, 0, 4, 3])),
    "all_sync": movie(replace(PLAIN, stss=None)),
    "no_sync": movie(replace(PLAIN, stss=[])),
    "partial_sync": movie(replace(PLAIN, extra=[table("stps", [(3,), (6,)])])),
    "rap_group": movie(replace(PLAIN, extra=[full_box("sbgp", b"rap ", u32(2, 2, 0, 1, 1))])),
    "negative": movie(NEGATIVE),
    "negative_with_edit": movie(replace(NEGATIVE, edits=[(140, 20)]), timescale=600),
    "delayed": movie(replace(REORDERED, edits=[(500, -1), (234, 40)])),
    "delayed_twice": movie(replace(REORDERED, edits=[(100, -1), (50, -1), (234, 40)])),
    "head_trimmed": movie(replace(REORDERED, edits=[(150, 95)])),
    "head_trimmed_past_keyframe": movie(replace(REORDERED, edits=[(90, 130)])),
    "tail_trimmed": movie(replace(REORDERED, edits=[(60, 40)])),
    "edit_list_without_offsets": movie(replace(PLAIN, edits=[(100, 45)])),
    "edit_beyond_the_end": movie(replace(REORDERED, edits=[(9000, 40)])),
    "two_edits": movie(replace(REORDERED, edits=[(100, 100), (60, 40)])),
    "pause_in_the_middle": movie(replace(REORDERED, edits=[(60, 40), (100, -1), (100, 100)])),
    "edit_that_shows_nothing": movie(replace(REORDERED, edits=[(60, 40), (100, 5000)])),
    "offsets_for_some": movie(replace(PLAIN, ctts=[(2, 40), (1, 20)])),
    "offsets_for_more": movie(replace(PLAIN, ctts=[(2, 40), (30, 20)])),
    "sound_first": movie(SOUND, REORDERED),
    "text_first": movie(TEXT, REORDERED),
    "vfr": movie(replace(PLAIN, stts=[(2, 20), (1, 90), (4, 10)])),
}
REFUSALS = {
    "no samples": movie(replace(PLAIN, sizes=[], stts=[], chunks=[])),
    "sample counts differ": movie(replace(PLAIN, stts=[(8, 20)])),
    "inconsistent stsc": movie(replace(PLAIN, chunks=[7, 0])),
    "timescale 0": movie(replace(PLAIN, timescale=0)),
    "no movie timescale": movie(PLAIN, timescale=0),
    "encrypted": movie(replace(PLAIN, entry="encv")),
    "samples in another file": movie(replace(PLAIN, dref_flags=0)),
    "several sample descriptions": movie(PLAIN).replace(b"stsd" + u32(0, 1), b"stsd" + u32(0, 2)),
    "samples without duration": movie(replace(PLAIN, stts=[(6, 20), (1, 0)])),
    "edit list over samples without duration": movie(
        replace(PLAIN, stts=[(6, 0), (1, 20)], edits=[(100, 0)])
    ),
    "edit list over samples of varying duration without ctts": movie(
        replace(PLAIN, stts=[(3, 20), (4, 30)], edits=[(100, 70)])
    ),
    "nothing but empty edits": movie(replace(PLAIN, edits=[(100, -1)])),
    "absurd edit list": movie(replace(PLAIN, edits=[(-1, 0)], wide=True)),
    "too many edits": movie(replace(PLAIN, edits=[(10, 0)] * 300)),
    "odd stss": movie(replace(PLAIN, stss=[4, 1])),
    "odd stts": movie(replace(PLAIN, stts=[(7, 0x80000001)])),
    "odd ctts": movie(replace(PLAIN, ctts=[(7, 1 << 29)])),
    "keyframes not listed": movie(replace(PLAIN, entry="avc1", stss=None)),
    "sync samples contradict the codec": movie(replace(PLAIN, entry="jpeg")),
    "FFmpeg makes other packets of this codec's samples": movie(replace(PLAIN, entry="vc-1")),
    "an empty track turns edit lists off": movie(
        replace(SOUND, sizes=[], stts=[], chunks=[]), replace(PLAIN, edits=[(100, 0)])
    ),
    "a track of unknown kind comes before the video": movie(replace(TEXT, entry="jpeg"), PLAIN),
    "no video track": movie(SOUND),
    "compressed moov": movie(PLAIN, head=box("cmov", bytes(8))),
    "cover pictures before the tracks": movie(PLAIN, head=box("udta", box("covr", bytes(8)))),
    "fragments (moof)": movie(PLAIN, tail=box("moof", bytes(8))),
    "picture items (meta)": movie(PLAIN, tail=box("meta", bytes(8))),
    "picture items (brand)": movie(PLAIN).replace(b"isommp41", b"mif1mp41"),
    "samples beyond the end of the file": movie(PLAIN, fast_start=True)[:-1],
    "moov is cut off or absurdly large": movie(PLAIN)[:-1],
    "no moov box": movie(PLAIN).replace(b"moov", b"free"),
    "several stts boxes": movie(replace(PLAIN, extra=[table("stts", PLAIN.stts)])),
    "no stsz box": movie(PLAIN).replace(b"stsz", b"free"),
    "both stsz and stz2": movie(replace(PLAIN, extra=[full_box("stz2", u32(8, 0))])),
    "both stco and co64": movie(replace(PLAIN, extra=[full_box("co64", u32(0))])),
    "a table is larger than its box": movie(replace(PLAIN, compact_bits=4)).replace(
        b"stz2\0\0\0\0\0\0\0\4", b"stz2\0\0\0\0\0\0\0\x20"
    ),
    "absurd sizes": movie(replace(PLAIN, constant_size=True)).replace(
        b"stsz" + u32(0, 5, 7), b"stsz" + u32(0, 5, 0xFFFFFFFF)
    ),
    "not an MP4 or QuickTime file": b"RIFF" + bytes(100),
    "the video track is chapter thumbnails": movie(
        PLAIN, replace(SOUND, extra=[box("tref", box("chap", u32(1)))])
    ),
}


@pytest.mark.parametrize("name", sorted(HAND_MADE))
def test_hand_made(name: str) -> None:
    assert_exact(BytesSource(HAND_MADE[name]))


@pytest.mark.parametrize("why", sorted(REFUSALS))
def test_refusals(why: str) -> None:
    assert reason(REFUSALS[why]) == why


def test_other_sample_descriptions_are_refused() -> None:
    second = movie(PLAIN).replace(b"stsc" + u32(0, 2, 1, 3, 1), b"stsc" + u32(0, 2, 1, 3, 2))
    assert reason(second) == "several sample descriptions"


def test_mpeg1_in_mp4_is_refused(tmp_path: Path) -> None:
    """Its sample entry is that of MPEG-4 and MPEG-2, which FFmpeg delivers as they are stored."""
    for encoder in ("mpeg1video", "mpeg2video", "mpeg4"):
        path = tmp_path / f"{encoder}.mp4"
        recipes.encode(path, Clip(encoder, fps=Fraction(25), options={"g": "12", "bf": "2"}))
        if encoder == "mpeg1video":
            assert reason(path.read_bytes()).startswith("FFmpeg makes other packets")
        else:
            assert_exact(Source.of(path))


def test_disposable_samples() -> None:
    values = [1, 2, 0, 2, 1, 2, 2]
    sdtp = full_box("sdtp", bytes(value << 2 for value in values))
    tables = parse_tables(BytesSource(movie(replace(PLAIN, extra=[sdtp], edits=[(100, 65)]))))
    assert tables.is_depended_on is not None
    assert tables.is_depended_on.tolist() == values[3:]
    assert parse_tables(BytesSource(movie(PLAIN))).is_depended_on is None


def test_display_matrix(clips: ClipLibrary) -> None:
    matrix = parse_tables(Source.of(clips["rotate90"])).display_matrix
    assert (matrix[[0, 1, 3, 4]] >> 16).tolist() == [0, 1, -1, 0]


# ------------------------------------------------------------------------------------------------- what it reads, takes


class CountingSource(BytesSource):
    """Remembers what was read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads: list[tuple[int, int]] = []

    def read_at(self, offset: int, size: int) -> bytes:
        self.reads.append((offset, min(size, self.size - offset)))
        return super().read_at(offset, size)


@pytest.fixture(scope="module")
def hour() -> bytes:
    """One hour at 30 fps with sound: as many samples as such a file has, of a few bytes each."""
    gop = [(1, 1024), (1, 2560), (1, 1024), (1, 0), (1, 512)]
    video = Track(
        sizes=[9, 4, 3, 2, 2] * 21_600,
        stts=[(108_000, 512)],
        ctts=gop * 21_600,
        stss=range(1, 108_001, 250),
        chunks=[15] * 7200,
        edits=[(3_600_000, 1024)],
        timescale=15_360,
    )
    sound = replace(SOUND, sizes=[2] * 168_750, stts=[(168_750, 1024)], chunks=[25] * 6750)
    return movie(video, sound)


@pytest.mark.parametrize("mdat", ["plain", "large", "to_end"])
def test_reads_no_sample_and_reads_seldom(mdat: str) -> None:
    source = CountingSource(movie(PLAIN, mdat=mdat, tail=box("free", bytes(100))))
    tables = parse_tables(source)
    first, last = int(tables.position[0]), int(tables.position[-1] + tables.size[-1])
    assert all(offset + size <= first or offset >= last for offset, size in source.reads)
    assert len(source.reads) <= 6


def test_one_hour(hour: bytes, benchmark) -> None:  # type: ignore[no-untyped-def]
    source = CountingSource(hour)
    tables = benchmark(parse_tables, source)
    assert len(tables) == 108_000
    assert tables.keyframe.sum() == 432
    moov = len(hour) - hour.rindex(b"moov")
    assert sum(size for _, size in set(source.reads)) < moov + 100


# ------------------------------------------------------------------------------------------------------- random tables


@st.composite
def tracks(draw: st.DrawFn) -> Track:
    """Tracks with every table at odds with the others in small ways."""
    count = draw(st.integers(1, 12))
    tick = draw(st.sampled_from([1, 20, 512]))

    def runs(values: list[int], total: int) -> list[tuple[int, int]]:
        cuts = sorted(draw(st.sets(st.integers(1, max(1, total - 1)), max_size=4)) | {total})
        lengths = np.diff([0, *cuts]).tolist()
        return [(length, draw(st.sampled_from(values))) for length in lengths]

    offsets = st.sampled_from([[0, tick], [tick, 2 * tick, 3 * tick], [-tick, 0, 2 * tick]])
    times = st.integers(-1, tick * 3 * count)
    return Track(
        sizes=draw(st.lists(st.integers(0, 9), min_size=count, max_size=count)),
        stts=runs([tick, tick, 2 * tick], count + draw(st.sampled_from([0] * 6 + [1]))),
        ctts=draw(st.none() | offsets.map(lambda values: runs(values, count + 1))),
        stss=draw(st.none() | st.sets(st.integers(1, count), max_size=4).map(sorted)),
        chunks=[length for length, _ in runs([0], count)],
        edits=draw(st.none() | st.lists(st.tuples(times.map(abs), times), max_size=3)),
        timescale=draw(st.sampled_from([10, 600, 12_800])),
        wide=draw(st.booleans()),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(tracks(), st.sampled_from([10, 600, 1000]))
def test_random_tables_are_exact_or_refused(track: Track, timescale: int) -> None:
    source = BytesSource(movie(track, timescale=timescale))
    tables = read_tables(source)
    if tables is not None:
        assert differences(tables, source) == []


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(HAND_MADE)),
    st.lists(
        st.tuples(
            st.integers(0, 2000),
            st.sampled_from([0, 1, 2, 4, 0x7F, 0x80, 0xFF]) | st.integers(0, 255),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_damage_is_refused_or_consistent(name: str, damage: list[tuple[int, int]]) -> None:
    data = bytearray(HAND_MADE[name])
    start = data.index(b"moov") - 4
    for offset, value in damage:
        data[start + offset % (len(data) - start)] = value
    tables = read_tables(BytesSource(bytes(data)))
    if tables is not None:
        assert len({len(getattr(tables, field)) for field in PER_PACKET}) == 1
        assert (tables.size > 0).all()
        assert (tables.duration > 0).all()
        assert (tables.position >= 0).all()
        assert (tables.position + tables.size <= len(data)).all()


# -------------------------------------------------------------------------------------------------------------- corpus


def test_corpus(corpus: Path) -> None:
    with (corpus / "CATALOG.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    wrong: dict[str, list[str]] = {}
    outcomes: Counter[str] = Counter()
    for row in rows:
        source = Source.of(corpus / row["file"])
        tables = read_tables(source)
        outcomes["refused" if tables is None else "accepted"] += 1
        if tables is not None and row["container"]:
            wrong[row["file"]] = differences(tables, source)
    # Muxers that do not list every keyframe: FFmpeg finds the others in the packets.
    unlisted = [name for name, names in wrong.items() if names == ["keyframe"]]
    assert all("Tiny_Sample" in name for name in unlisted)
    assert {name: names for name, names in wrong.items() if names and name not in unlisted} == {}
    assert outcomes["accepted"] >= 89
