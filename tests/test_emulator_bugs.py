"""The emulated NVDEC notices bugs of its client: tests/emulator/nvcuvid/planted_bugs.cpp is one with many to choose from."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest

from clips import CLIPS, encode
from emulator_control import LIBRARIES, environment

CLIENT = LIBRARIES.parent / "nvcuvid" / "planted_bugs"

# What the emulator reports, or the beginning of it.
REPORTED = {
    "33_decode_surfaces": "cuvidCreateDecoder: 33 decode surfaces; 1 to 32 are allowed",
    "another_context": "cuvidMapVideoFrame64: another context is current than the decoder's",
    "bitstream_kept": "cuvidDecodePicture: pBitstreamData belongs to a decode callback that has returned",
    "create_reserved_written": "CUVIDDECODECREATEINFO::Reserved2 is not zero",
    "decoder_destroyed_twice": "cuvidDestroyDecoder: no such decoder (destroyed already?)",
    "decoder_used_after_destroy": "cuvidMapVideoFrame64: no such decoder (destroyed already?)",
    "fewer_surfaces_than_the_parser_uses": "cuvidDecodePicture: CurrPicIdx 2 of a decoder with 2 surfaces",
    "foreign_pointer_unmapped": "cuvidUnmapVideoFrame: ",
    "index_changed": "cuvidDecodePicture: CurrPicIdx was changed by the client",
    "index_out_of_range": "cuvidMapVideoFrame: picture index 7 of a decoder with 7 surfaces",
    "map_reserved_written": "CUVIDPROCPARAMS::Reserved is not zero",
    "mapped_before_display": "cuvidMapVideoFrame: picture index 0 was not announced by a display callback",
    "mapped_late": "cuvidMapVideoFrame: surface 0 holds another picture than the one announced: it was decoded over",
    "mapped_memory_freed": "cuMemFree of ",
    "mapped_memory_read_after_unmap": "cuMemcpyDtoH: memory that is the driver's own",
    "never_unmapped": "cuvidDestroyDecoder with 1 mapped frames",
    "no_context": "cuvidMapVideoFrame64 without a current context",
    "no_output_surfaces": "cuvidCreateDecoder: 0 output surfaces; 1 to 64 are allowed",
    "parser_reentered": "cuvidParseVideoData entered while another call works on the same parser",
    "parser_used_after_destroy": "cuvidParseVideoData: no such video parser (destroyed already?)",
    "picture_reserved_written": "CUVIDPICPARAMS::Reserved is not zero",
    "reconfigured_while_mapped": "cuvidReconfigureDecoder with 1 mapped frames",
    "reference_not_decoded": "cuvidDecodePicture: an earlier reference picture was not decoded by this decoder",
    "shown_picture_not_decoded": "cuvidMapVideoFrame: surface 0 does not hold the picture announced: it was not decoded",
    "surface_count_not_returned": "the parser may cycle through 1 surfaces, but the stream needs 7",
    "too_many_mapped": "cuvidMapVideoFrame: all 2 output surfaces are mapped",
    "unmapped_twice": "cuvidUnmapVideoFrame: ",
}
# The real driver is not known to mind; the strict profile does.
TOLERATED = {
    "decoder_leaked": "a context was destroyed with 1 decoders not destroyed",
    "discontinuity": "CUVID_PKT_DISCONTINUITY: what it does is not documented",
    "headers_missing_after_end_of_stream": "cuvidParseVideoData: 1 slices are ignored",
    "odd_target": "cuvidCreateDecoder: target 191x144 is odd",
    "unmap_without_context": "cuvidUnmapVideoFrame64 without a current context",
}


@pytest.fixture(scope="module")
def stream(emulated_nvdec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bugs") / "clip.h264"
    encode(path, dataclasses.replace(CLIPS["h264"], suffix=".h264", size=(192, 144)))
    return path


def output_of(bug: str, stream: Path, **settings: object) -> list[str]:
    done = subprocess.run(
        [CLIENT, bug, stream],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if line]


def test_all_are_listed(stream: Path) -> None:
    names = subprocess.run(
        [CLIENT, "--list"], env=environment(), capture_output=True, text=True, check=True
    )
    others = {"none", "next_map_not_ordered_after_copy"}
    assert set(names.stdout.split()) == REPORTED.keys() | TOLERATED.keys() | others


def test_correct_client(stream: Path) -> None:
    for seed in range(4):
        assert output_of("none", stream, profile="strict", seed=seed) == []


@pytest.mark.parametrize("bug", sorted(REPORTED))
def test_reported(stream: Path, bug: str) -> None:
    assert any(line.startswith(REPORTED[bug]) for line in output_of(bug, stream))


@pytest.mark.parametrize("bug", sorted(TOLERATED))
def test_reported_by_the_strict_profile(stream: Path, bug: str) -> None:
    assert output_of(bug, stream, profile="driver") == []
    assert any(line.startswith(TOLERATED[bug]) for line in output_of(bug, stream, profile="strict"))


def test_missing_event_shows_in_some_order(stream: Path) -> None:
    """A race is no call that could be reported: what was copied changes, or not, with the order of the streams."""
    outputs = [output_of("next_map_not_ordered_after_copy", stream, seed=seed) for seed in range(9)]
    assert outputs[0] == []  # seed 0: everything runs at once
    assert ["the copied frame changed"] in outputs


def test_switches_are_documented() -> None:
    root = Path(__file__).parents[1]
    source = (root / "tests" / "emulator" / "nvcuvid" / "switches.cpp").read_text()
    switches = set(re.findall(r'(?:choose|number)\("(\w+)"', source))
    documented = (root / "docs" / "emulator.md").read_text()
    assert len(switches) > 20
    assert {name for name in switches if f"`{name}`" not in documented} == set()
