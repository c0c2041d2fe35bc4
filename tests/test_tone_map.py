"""tone_map="sdr": PQ and HLG to SDR BT.709 against the float64 gold, known colours, and what must stay as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

import frametap as ft
from cuda_twin import run_twin
from frametap import _core
from frametap.transform import PictureFormat, Transform
from native import constant_planes, make_planes, run
from reference import CHROMATICITIES, gold, pq_inverse_eotf, rgb_to_xyz, simple
from test_isa import run_as

HDR = PictureFormat(
    "p010le", 96, 64, "bt2020nc", False, transfer="pq", primaries="bt2020"
)  # what an HEVC decoder says
SOURCES = ("pq", "hlg")


@pytest.mark.parametrize("tone_map", SOURCES)
@pytest.mark.parametrize("primaries", CHROMATICITIES)
@pytest.mark.parametrize(
    "pixel_format", ["gbrp10le", "yuv444p10le", "p010le", "yuv420p", "gray12le"]
)
@pytest.mark.parametrize("content", ["random", "smooth"])
def test_close_to_gold(tone_map: str, primaries: str, pixel_format: str, content: str) -> None:
    """Where BT.2020 colours leave BT.709, light near black is a difference of large numbers: there the 14 bits between
    the passes show as up to 3 LSB, in one value of a thousand; everything else is within 1."""
    job = simple(
        pixel_format, 120, 90, (61, 40), matrix="bt2020nc", tone_map=tone_map, primaries=primaries
    )
    planes = make_planes(pixel_format, 120, 90, content)
    error = run(planes, job).astype(float) - gold(planes, job)
    assert abs(error).max() <= (1 if primaries == "bt709" else 3)
    assert (abs(error) > 1).mean() <= 1e-3
    assert abs(error.mean()) <= 0.03  # no bias


@pytest.mark.parametrize("tone_map", SOURCES)
def test_float_output_keeps_what_bytes_round_away(tone_map: str) -> None:
    job = simple("yuv444p10le", 90, 70, matrix="bt2020nc", tone_map=tone_map, dtype="float32")
    planes = make_planes("yuv444p10le", 90, 70, "smooth")
    error = run(planes, job) * 255.0 - gold(planes, job)
    assert np.quantile(abs(error), 0.99) < 0.25


@pytest.mark.parametrize("tone_map", SOURCES)
@pytest.mark.parametrize("color", ["rgb", "bgr", "gray"])
def test_every_instruction_set_and_cuda_agree(tone_map: str, color: str) -> None:
    job = simple("p010le", 111, 70, (57, 33), matrix="bt2020nc", tone_map=tone_map, color=color)
    planes = make_planes("p010le", 111, 70, "extreme")
    expected = run_as("base", planes, job)
    for isa in _core.cpu_isas()[1:]:
        assert (run_as(isa, planes, job) == expected).all(), isa
    assert (run_twin(planes, job) == expected).all()


def code_of(cd_m2: float) -> int:
    """The nearest 10-bit full-range PQ code."""
    return round(float(pq_inverse_eotf(np.array(cd_m2))) * 1023)


def gray_level(code: int, tone_map: str = "pq") -> int:
    planes = constant_planes("gbrp10le", 4, 4, dict.fromkeys("rgb", code))
    out = run(planes, simple("gbrp10le", 4, 4, tone_map=tone_map))
    assert np.ptp(out) == 0, "gray in, gray out"
    return int(out[0, 0, 0])


@pytest.mark.parametrize("tone_map", SOURCES)
def test_black_white_and_order_in_between(tone_map: str) -> None:
    levels = [gray_level(code, tone_map) for code in range(0, 1024, 11)]
    assert levels[0] == 0
    assert gray_level(1023, tone_map) == 255
    assert levels == sorted(levels)


def test_the_peak_of_the_source_is_white_and_shadows_keep_their_light() -> None:
    assert gray_level(code_of(1000)) == 255
    assert gray_level(code_of(4000)) == 255
    # Below the knee of the EETF light stays light, but for the lift that meets the display's own black.
    black = 0.001 ** (1 / 2.4)
    shown = (0.2 ** (1 / 2.4) - black) / (1 - black)
    assert abs(gray_level(code_of(20)) - 255 * shown) < 4


def test_reference_white_of_both_systems_looks_the_same() -> None:
    """BT.2408: diffuse white is 58 % of PQ and 75 % of HLG, both 203 cd/m2."""
    assert abs(gray_level(round(0.58 * 1023)) - gray_level(round(0.75 * 1023), "hlg")) <= 2


def test_gold_has_the_gamut_matrix_of_bt2407() -> None:
    """So that gold and converter cannot share a mistake in the primaries: the matrix as the report prints it."""
    printed = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    derived = np.linalg.solve(rgb_to_xyz("bt709"), rgb_to_xyz("bt2020"))
    assert abs(derived - printed).max() < 1e-4


def test_sdr_is_not_touched() -> None:
    for transfer in ("bt709", "unspecified", "srgb", "bt2020-10"):
        picture = replace(HDR, transfer=transfer)
        assert Transform(tone_map="sdr").resolve(picture) == Transform().resolve(picture)
    assert Transform().resolve(HDR).tone_map == "none"


def test_what_the_stream_says_reaches_the_converter() -> None:
    resolve = Transform(tone_map="sdr").resolve
    assert (resolve(HDR).tone_map, resolve(HDR).primaries) == ("pq", "bt2020")
    assert resolve(replace(HDR, transfer="hlg", primaries="unspecified")).primaries == "bt2020"
    assert resolve(replace(HDR, primaries="display-p3")).primaries == "display-p3"
    with pytest.raises(ft.UnsupportedError, match=r"primaries bt2020.*not 'bt470bg'"):
        resolve(replace(HDR, primaries="bt470bg"))


@pytest.mark.parametrize(
    "nonsense", [{"tone_map": "dolby"}, {"tone_map": "pq", "primaries": "xyz"}]
)
def test_nonsense_is_refused(nonsense: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"tone map|primaries"):
        run(make_planes("yuv420p", 8, 8, "random"), simple("yuv420p", 8, 8, **nonsense))


def encode_hdr(path: Path, transfer: int) -> None:
    """Twelve frames of a 10-bit ramp, tagged BT.2020 and PQ (16) or HLG (18)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx265", rate=24, options={"x265-params": "log-level=none:lossless=1"}
        )
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p10le"
        context = stream.codec_context
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = (
            1,
            9,
            9,
            transfer,
        )
        for number in range(12):
            frame = av.VideoFrame(96, 64, "yuv420p10le")
            for plane, level in zip(frame.planes, (64 + 60 * number, 512, 512), strict=True):
                plane.update(np.full(plane.buffer_size // 2, level, np.uint16).tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(("tone_map", "transfer"), [("pq", 16), ("hlg", 18)])
def test_of_a_file(tmp_path: Path, tone_map: str, transfer: int) -> None:
    path = tmp_path / "hdr.mp4"
    encode_hdr(path, transfer)
    assert ft.probe(path).transfer == tone_map
    frames = ft.sample(path, ft.Every(1), ft.Transform(tone_map="sdr"), device="cpu").numpy()
    for number, frame in enumerate(frames):
        values = {"y": 64 + 60 * number, "u": 512, "v": 512}
        planes = constant_planes("yuv420p10le", 96, 64, values)
        job = simple("yuv420p10le", 96, 64, matrix="bt2020nc", tone_map=tone_map)
        assert (frame == run(planes, job)).all()
    assert frames[0].max() == 0
    assert frames[-1].min() > 200
