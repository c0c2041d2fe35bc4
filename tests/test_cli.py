"""The frametap command as people and scripts use it: what it prints, writes, and exits with."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import frametap as ft
from clips import ClipLibrary
from frametap import doctor
from frametap.cli import main
from http_server import serve


@pytest.fixture
def talk(tmp_path: Path, clips: ClipLibrary, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An H.264 clip of 48 frames in an otherwise empty current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return Path(shutil.copy(clips["h264"], tmp_path / "talk.mp4"))


def picture(path: Path | str) -> Image.Image:
    with Image.open(path) as opened:
        return opened.copy()


def run(*arguments: object) -> int:
    """Run the command in this process and return its exit code."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    code = stopped.value.code
    if isinstance(code, str):  # sys.exit(message): Python prints it on stderr and exits with 1
        print(code, file=sys.stderr)
        return 1
    return code or 0


def test_probe(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("probe", talk) == 0
    assert "160 × 120" in capsys.readouterr().out
    assert run("probe", talk, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["codec"], facts["width"], facts["height"]) == ("h264", 160, 120)
    assert facts["time_base"] == pytest.approx(1 / 12288)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_sample_writes_arrays(talk: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    output = talk.with_name(f"out{suffix}")
    assert run("sample", talk, "-o", output, "-n", 5, "--size", "32x48", "--dtype", "float32") == 0
    assert f"{output.name}: float32 (5, 3, 32, 48)" in capsys.readouterr().out
    expected = ft.sample(talk, ft.Uniform(5), ft.Transform(size=(32, 48), dtype="float32"))
    if suffix == ".npy":
        np.testing.assert_array_equal(np.load(output), expected.numpy())
        return
    arrays = dict(np.load(output)) if suffix == ".npz" else read_safetensors(output)
    np.testing.assert_array_equal(arrays["frames"], expected.numpy())
    np.testing.assert_array_equal(arrays["indices"], expected.indices)
    np.testing.assert_array_equal(arrays["pts_seconds"], expected.pts_seconds)
    np.testing.assert_array_equal(arrays["duration_seconds"], expected.duration_seconds)


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read safetensors by the text of its specification."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    dtypes = {"U8": "u1", "F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8", "I64": "<i8"}
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            arrays[name] = np.frombuffer(data[begin:end], dtypes[entry["dtype"]]).reshape(
                entry["shape"]
            )
    assert end == len(data)
    return arrays


@pytest.mark.parametrize("suffix", [".NPY", ".Npz", ".SAFETENSORS", ".PNG"])
def test_sample_keeps_the_name_as_written(talk: Path, suffix: str) -> None:
    assert run("sample", talk, "-o", f"X{suffix}", "-n", 1) == 0
    assert sorted(path.name for path in talk.parent.iterdir()) == [f"X{suffix}", "talk.mp4"]
    if suffix == ".PNG":
        exact = ft.sample(talk, ft.Uniform(1), ft.Transform(layout="NHWC")).numpy()[0]
        np.testing.assert_array_equal(np.asarray(picture("X.PNG")), exact)


@pytest.mark.parametrize("suffix", [".NPY", ".NPZ"])
def test_capitals_are_refused_alike(
    talk: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("sample", talk, "-o", f"x{suffix}", "--dtype", "bfloat16") == 2
    assert "no bfloat16" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".png"])
def test_full_disk(talk: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(f"x{suffix}").symlink_to("/dev/full")
    assert run("sample", talk, "-o", f"x{suffix}", "-n", 1) == 1
    assert capsys.readouterr().err.startswith(f"error: x{suffix}: ")
    if suffix == ".png":
        assert run("sheet", talk, "-o", "x.png") == 1
        assert capsys.readouterr().err == "error: x.png: No space left on device\n"


def test_sample_bfloat16(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sample", talk, "-o", "x.safetensors", "--at", "0.5", "--dtype", "bfloat16") == 0
    halves = read_safetensors(Path("x.safetensors"))["frames"]
    values = (halves.astype(np.uint32) << 16).view(np.float32)
    exact = ft.sample(talk, ft.At([0.5]), ft.Transform(dtype="float32")).numpy()
    np.testing.assert_allclose(values, exact, rtol=1 / 256)
    capsys.readouterr()
    assert run("sample", talk, "-o", "x.npy", "--dtype", "bfloat16") == 2
    assert "no bfloat16" in capsys.readouterr().err


def test_safetensors_package_reads_ours(talk: Path) -> None:
    numpy_reader = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    assert run("sample", talk, "-o", "x.safetensors", "-n", 3) == 0
    arrays = numpy_reader.load_file("x.safetensors")
    assert arrays["frames"].shape == (3, 3, 120, 160)
    assert arrays["indices"].tolist() == [0, 24, 47]


def test_sample_writes_pictures(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sample", talk, "-o", "still.png", "--at", "1.0") == 0
    exact = ft.sample(talk, ft.At([1.0]), ft.Transform(layout="NHWC")).numpy()[0]
    np.testing.assert_array_equal(np.asarray(picture("still.png")), exact)
    assert run("sample", talk, "-o", "f.png", "--indices", "3,7", "--color", "gray") == 0
    assert picture("f_000003.png").mode == picture("f_000007.png").mode == "L"
    capsys.readouterr()
    assert run("sample", talk, "-o", "f.png", "--dtype", "float32") == 2
    assert "PNG holds uint8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        (["--uniform", 3], [0, 24, 47]),
        (["--rate", 2], [0, 12, 24, 36]),
        (["--rate", 2, "--max-frames", 2], [0, 24]),
        (["--every", 20], [0, 20, 40]),
        (["--at", "0.5,1"], [12, 24]),
        (["--indices", "5,-1,5"], [5, 47, 5]),
        (["--keyframes"], [0, 12, 24, 36]),
        (["--every", 10, "--start", 1, "--end", 1.5], [24, 34]),
    ],
)
def test_sampler_options(talk: Path, options: list[object], frames: list[int]) -> None:
    assert run("sample", talk, "-o", "x.npz", "--size", 32, *options) == 0
    assert np.load("x.npz")["indices"].tolist() == frames


def test_transform_options(talk: Path) -> None:
    options = ["--size", "64", "--crop", "48x48", "--filter", "bicubic", "--dtype", "float16"]
    options += [
        "--layout",
        "NHWC",
        "--color",
        "bgr",
        "--mean",
        "0.5,0.5,0.5",
        "--std",
        "0.2,0.2,0.2",
    ]
    assert run("sample", talk, "-o", "x.npy", "-n", 2, *options) == 0
    transform = ft.Transform(
        size=64,
        window=ft.CenterCrop(48),
        filter="bicubic",
        dtype="float16",
        layout="NHWC",
        color="bgr",
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
    )
    np.testing.assert_array_equal(
        np.load("x.npy"), ft.sample(talk, ft.Uniform(2), transform).numpy()
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sample", "talk.mp4", "-o", "x.jpg"], "cannot write '.jpg'"),
        (["sample", "talk.mp4", "-o", "x.npy", "--uniform", 3, "--every", 2], "exclude each other"),
        (["sample", "talk.mp4", "-o", "x.npy", "--uniform", 0], "n must be"),
        (["sample", "talk.mp4", "-o", "x.npy", "--size", "big"], "is not a size"),
        (["sample", "talk.mp4", "-o", "x.npy", "--at", "1;2"], "comma-separated list of floats"),
        (["sample", "talk.mp4", "-o", "x.npy", "--filter", "sinc"], "filter must be"),
        (["sample", "talk.mp4", "-o", "x.npy", "--max-frames", 3], "goes with --rate"),
        (["sample", "talk.mp4"], "--output"),
        (["sheet", "talk.mp4", "--tile", 2], "--tile"),
        (["index", ".", "-o", "x.ftidx"], "one file"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_use_exits_2(
    talk: Path, arguments: list[object], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert says in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["probe", "missing.mp4"], "missing.mp4: no such file"),
        (["sample", "talk.mp4", "-o", "x.npy", "--at", "99"], "99"),
        (["sample", "talk.mp4", "-o", "x.npy", "--indices", "48"], "48"),
        (["plan", "notes.txt"], "notes.txt"),
        (["index", "empty"], "no video files below"),
        (["sheet", "talk.mp4", "--device", "cuda"], "error: "),
        (["sample", "talk.mp4", "-o", "notes.txt/x.npy"], "notes.txt"),
        (["sample", "talk.mp4", "-o", "x.npy", "--start", 50], "widen the window"),
    ],
)
def test_refusals_are_one_line(
    talk: Path, arguments: list[object], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    talk.with_name("notes.txt").write_text("no video")
    talk.with_name("empty").mkdir()
    assert run(*arguments) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert says in printed


def test_sheet(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sheet", talk, "-n", 6, "--tile", 120, "--columns", 3) == 0
    assert capsys.readouterr().out.strip() == "talk.mp4.sheet.png"
    sheet = picture("talk.mp4.sheet.png")
    assert sheet.mode == "RGB"
    assert sheet.width == 2 * 24 + 3 * 120 + 2 * 10
    middle = np.asarray(sheet)[sheet.height // 2 :, sheet.width // 2]
    assert middle.std() > 5  # there are pictures on it


def test_sheet_turns_rotated_video(talk: Path, clips: ClipLibrary) -> None:
    assert run("sheet", clips["rotate90"], "-o", "turned.png", "-n", 1, "--tile", 160) == 0
    assert picture("turned.png").width == 120 + 2 * 24


def test_plan(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", talk, "--at", "0.5") == 0
    printed = capsys.readouterr().out
    assert "▼" in printed
    assert "1 frames wanted" in printed
    assert run("plan", talk, "--keyframes", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["frames"] == [0, 12, 24, 36]
    assert facts["packets_fed"] == sum(run["stop"] - run["start"] for run in facts["runs"]) == 4
    assert facts["packets_dropped"] == 0
    assert facts["packets_in_video"] == 48
    assert 0 < facts["bytes_fed"] < facts["bytes_in_video"]


def test_snap(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", talk, "--at", "0.55", "--snap", 0.1, "--json") == 0
    assert json.loads(capsys.readouterr().out)["frames"] == [12]
    assert run("sample", talk, "-o", "x.npz", "--at", "0.55", "--snap", 0.1) == 0
    assert np.load("x.npz")["indices"].tolist() == [12]


def test_index_of_a_file(talk: Path) -> None:
    assert run("index", talk) == 0
    index = ft.FrameIndex.load("talk.mp4.ftidx")
    assert len(index) == 48
    with ft.open(talk, index=index) as video:
        assert len(video) == 48


def test_index_of_a_folder(
    talk: Path, clips: ClipLibrary, capsys: pytest.CaptureFixture[str]
) -> None:
    (talk.parent / "more").mkdir()
    shutil.copy(clips["vp9"], talk.parent / "more" / "b.webm")
    (talk.parent / "broken.mp4").write_bytes(b"no video at all" * 100)
    long_name = "x" * 251 + ".mp4"
    shutil.copy(talk, talk.parent / long_name)  # whose index has no name
    assert run("index", talk.parent, "--json") == 1
    printed = capsys.readouterr()
    rows = {Path(row["video"]).name: row for row in json.loads(printed.out)}
    assert rows["talk.mp4"]["frames"] == rows["b.webm"]["frames"] == 48
    assert "broken.mp4" in rows["broken.mp4"]["error"]
    assert "cannot be written" in rows[long_name]["error"]
    assert (talk.parent / "more" / "b.webm.ftidx").exists()
    assert printed.err.startswith("error: ")


def test_index_of_a_folder_with_a_folder_named_like_a_video(
    talk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (talk.parent / "frames.mp4").mkdir()
    assert run("index", talk.parent) == 0
    assert "1 indexed, 48 frames, 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "makes"),
    [
        (["probe"], None),
        (["plan"], None),
        (["sample", "-o", "x.npy", "-n", 2], "x.npy"),
        (["sheet", "-n", 2], "talk.mp4.sheet.png"),
        (["index"], "talk.mp4.ftidx"),
        (["bench", "--seconds", 0.1, "--size", 32], None),
        (["demo", "--sheet", "demo.png"], "demo.png"),
    ],
    ids=str,
)
def test_url(
    talk: Path,
    command: list[object],
    makes: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("aiohttp", reason="the extra `remote` is not installed")
    with serve(talk.parent) as server:
        assert run(command[0], server.url("talk.mp4?key=a/b"), *command[1:]) == 0
    assert capsys.readouterr().out
    assert makes is None or Path(makes).stat().st_size > 0


def test_bench(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", talk, "--seconds", 0.1, "--size", 64, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["frames_per_second"] > 0
    assert facts["sample_of_32_milliseconds"] > 0


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor") == 0
    printed = capsys.readouterr().out
    assert ft.__version__ in printed
    assert 'device="cuda"' in printed
    assert run("doctor", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["decoders"]["h264"] == "h264"
    assert facts["cpu_isa"] in ("base", "avx2", "avx512")


def test_doctor_fails_when_cuda_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    if doctor.cuda_state().usable:
        assert run("doctor", "--device", "cuda") == 0
        return
    assert run("doctor", "--device", "cuda:0") == 1
    assert "cannot be used" in capsys.readouterr().err


def test_demo_with_a_clip_of_ones_own(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("demo", talk, "--sheet", "sheets/demo.png") == 0
    printed = capsys.readouterr().out
    for row in (
        "compressed clip",
        "every frame as RGB",
        "growth of peak host memory",
        "pictures decoded",
    ):
        assert row in printed
    assert picture("sheets/demo.png").width > 320


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == ft.__version__
    for command in ("demo", "probe", "sample", "sheet", "plan", "index", "bench", "doctor"):
        assert run(command, "--help") == 0
        assert "Usage: frametap" in capsys.readouterr().out


@pytest.mark.parametrize("package", ["typer", "rich", "PIL"])
def test_missing_extra_says_what_to_install(package: str) -> None:
    code = f"import sys; sys.modules['{package}'] = None; from frametap.cli import main; main(['doctor'])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert (
        result.stderr.strip()
        == f"error: the frametap command needs {package}: pip install 'frametap[cli]'"
    )
