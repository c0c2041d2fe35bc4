"""The emulated NVDEC under clients that know nothing of it: they run unchanged and give the bytes of software decoding.

Where a client and the emulator disagree, one of them is wrong about NVDEC; the clients work on real hardware.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from pathlib import Path

import pytest

from clips import CLIPS, encode
from emulator_clients import frames_of, run_client

SEEDS = (0, 1, 2, 3)  # 0: streams run at once; others: late, in random order
SIZE = (192, 144)  # the smallest that NVDEC decodes of every codec

pytestmark = pytest.mark.usefixtures("emulated_nvdec")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nvdec_clips")


def clip(folder: Path, name: str, size: tuple[int, int] = SIZE) -> Path:
    """A clip of the suite in a size that NVDEC decodes."""
    recipe = dataclasses.replace(CLIPS[name], size=size)
    path = folder / f"{name}_{size[0]}x{size[1]}{recipe.suffix}"
    if not path.exists():
        encode(path, recipe)
    return path


def assert_same(
    path: Path, client: str, *, with_pts: bool, seeds: tuple[int, ...] = SEEDS, **settings: object
) -> None:
    expected = frames_of(path)
    for run in run_client(client, path, seeds, **settings):
        assert run["violations"] == []
        frames = [(pts if with_pts else None, digest) for pts, digest in run["frames"]]
        assert frames == [(pts if with_pts else None, digest) for pts, digest in expected], (
            f"seed {run['seed']}"
        )
        assert run["counters"]["nvcuvid.maps"] == run["counters"]["nvcuvid.unmaps"]


@pytest.mark.parametrize(
    "name",
    [
        "h264",
        "h264_open_gop_ts",
        "h264_slices",
        "h264_intra_refresh",
        "interlaced",
        "vfr",
        "hevc",
        "hevc_10bit",
        "hevc_layers",
        "vp8",
        "vp8_hidden",
        "vp9",
        "av1",
        "av1_10bit",
        "mpeg1",
        "mpeg2",
        "mpeg2_interlaced",
        "mpeg4",
    ],
)
def test_ffmpeg_cuvid(folder: Path, name: str) -> None:
    assert_same(clip(folder, name), "cuvid", with_pts=True)


@pytest.mark.parametrize("name", ["h264", "hevc"])
def test_ffmpeg_cuvid_with_size_rounded_up(folder: Path, name: str) -> None:
    """168 rows are coded as 176, and as 168 by HEVC: the crop comes from the display area."""
    assert_same(clip(folder, name, (178, 168)), "cuvid", with_pts=True)


@pytest.mark.parametrize(
    "name", ["h264", "h264_open_gop_ts", "h264_slices", "interlaced", "vp8_hidden", "vp9"]
)
def test_ffmpeg_hwaccel(folder: Path, name: str) -> None:
    """FFmpeg parses, and CUVIDPICPARAMS is all that the decoder gets."""
    assert_same(clip(folder, name), "hwaccel", with_pts=True)


@pytest.mark.parametrize("client", ["pynv_decoder", "pynv_host", "pynv_threaded"])
@pytest.mark.parametrize("name", ["h264", "hevc", "vp9", "av1"])
def test_pynvvideocodec(folder: Path, name: str, client: str, pynvvideocodec: None) -> None:
    assert_same(clip(folder, name), client, with_pts=False, seeds=(0, 2))


@pytest.mark.parametrize("discontinuity", ["nvp", "drain"])
def test_pynvvideocodec_seeks(folder: Path, discontinuity: str, pynvvideocodec: None) -> None:
    """SimpleDecoder marks each seek with an empty packet that says DISCONTINUITY."""
    path = clip(folder, "h264")
    assert_same(
        path, "pynv_simple", with_pts=False, seeds=(0,), switches=f"discontinuity={discontinuity}"
    )


@pytest.fixture
def pynvvideocodec() -> None:
    if importlib.util.find_spec("PyNvVideoCodec"):
        return
    why = "PyNvVideoCodec is not installed: pip install PyNvVideoCodec"
    if os.environ.get("FRAMETAP_REQUIRE_EMULATOR") == "1":
        pytest.fail(why)
    pytest.skip(why)
