"""Ray Data on a local Ray of two CPUs: the same frames, failures as rows, bounded memory, actors."""

from __future__ import annotations

import io
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emulator_control
import frametap as ft
from clips import ClipLibrary
from integrations.real import real

ray = real("ray")
ray_data = real("ray.data")
ours = real("frametap.integrations.ray")

pytestmark = [
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, of other versions of Ray and Python
]
SMALL = ft.Transform(size=(32, 48))


@pytest.fixture
def folder(clips: ClipLibrary, tmp_path: Path) -> Path:
    for name in ("talk", "vfr", "h264_mkv"):
        shutil.copy(clips[name], tmp_path)
    (tmp_path / "text.mp4").write_text("this is no video")
    return tmp_path


def by_name(dataset: Any) -> dict[str, dict[str, Any]]:
    return {Path(row["path"]).name: row for row in dataset.take_all()}


def test_a_row_per_video(folder: Path) -> None:
    rows = by_name(ours.read_videos(str(folder), ft.Uniform(4), SMALL))
    assert set(rows) == {"talk.mp4", "vfr.mp4", "h264_mkv.mkv", "text.mp4"}
    bad = rows.pop("text.mp4")
    assert bad["error"].startswith("SourceError: ")
    assert "text.mp4" in bad["error"]
    assert bad["frames"].shape == (0, 3, 0, 0)
    for name, row in rows.items():
        expected = ft.sample(folder / name, ft.Uniform(4), SMALL)
        assert row["error"] == ""
        np.testing.assert_array_equal(row["frames"], expected.numpy())
        np.testing.assert_array_equal(row["frame_index"], expected.indices)
        np.testing.assert_array_equal(row["pts_seconds"], expected.pts_seconds)
        assert row["ok"].all()


def test_good_rows_are_dense_batches(folder: Path) -> None:
    dataset = ours.read_videos(str(folder), ft.Uniform(4), SMALL).filter(
        lambda row: not row["error"]
    )
    (batch,) = dataset.iter_batches(batch_size=3)
    assert (batch["frames"].shape, batch["frames"].dtype) == ((3, 4, 3, 32, 48), np.uint8)


def test_a_row_per_frame(folder: Path) -> None:
    dataset = ours.read_videos(
        str(folder), ft.Every(10), SMALL, rows="frames", file_extensions=["mp4"]
    )
    rows = dataset.take_all()
    talk = [row for row in rows if row["path"].endswith("talk.mp4")]
    assert [row["frame_index"] for row in talk] == list(range(0, 96, 10))
    expected = ft.sample(folder / "talk.mp4", ft.Every(10), SMALL).numpy()
    np.testing.assert_array_equal(np.stack([row["frame"] for row in talk]), expected)
    (bad,) = [row for row in rows if row["error"]]
    assert bad["frame_index"] == -1
    assert "text.mp4" in bad["path"]


def test_damaged_frames_and_raising(clips: ClipLibrary, folder: Path) -> None:
    path = str(clips["truncated_ts"])
    (row,) = ours.read_videos(path, ft.Every(1), SMALL, on_error="skip").take_all()
    assert len(row["frames"]) == len(row["frame_index"]) > 5
    with pytest.raises(ray.exceptions.RayTaskError, match=r"text\.mp4"):
        ours.read_videos(str(folder / "text.mp4"), errors="raise").take_all()


@pytest.fixture
def damaged(clips: ClipLibrary, tmp_path: Path) -> Path:
    """Frames 24 to 95 of 96 are zeros."""
    index = ft.FrameIndex.build(clips["talk"])
    data = bytearray(clips["talk"].read_bytes())
    for start, size in zip(index.position[24:], index.size[24:], strict=True):
        data[start + 4 : start + size] = bytes(size - 4)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("on_error", ["black", "repeat", "skip", "raise"])
def test_a_row_per_frame_says_which_are_damaged(damaged: Path, on_error: Any) -> None:
    """Every row that is no picture of the video says so; with "skip" and "raise" one row stands for those left out."""
    rows = ours.read_videos(
        str(damaged), ft.Every(8), SMALL, rows="frames", on_error=on_error
    ).take_all()
    good = [row for row in rows if row["ok"]]
    assert [row["frame_index"] for row in good] == ([0, 8, 16] if on_error != "raise" else [])
    assert {row["error"] for row in good} <= {""}
    bad = [row for row in rows if not row["ok"]]
    numbers = list(range(24, 96, 8)) if on_error in ("black", "repeat") else [-1]
    assert [row["frame_index"] for row in bad] == numbers
    for row in bad:
        assert row["error"].startswith("DecodeError: ")
        assert "damaged.mp4" in row["error"]


def test_another_file_system(folder: Path) -> None:
    """Read through pyarrow's file object, as from an object store: by byte range, without a path."""
    fs = real("pyarrow.fs")
    inside = fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem())
    (row,) = ours.read_videos("talk.mp4", ft.Uniform(4), SMALL, filesystem=inside).take_all()
    np.testing.assert_array_equal(
        row["frames"], ft.sample(folder / "talk.mp4", ft.Uniform(4), SMALL).numpy()
    )


def failing(marks: Path, failures: int) -> Any:
    """Return a file system whose first reads fail with what Ray tries again; it leaves a mark for each."""
    arrow, fs = real("pyarrow"), real("pyarrow.fs")
    local = real("fsspec.implementations.local").LocalFileSystem()

    class File(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            if len(list(marks.iterdir())) < failures:
                (marks / str(time.monotonic_ns())).touch()
                raise OSError("AWS Error SLOW_DOWN during GetObject operation")
            return super().read(size)

    class Failing(fs.FSSpecHandler):
        def open_input_file(self, path: str) -> Any:
            return arrow.PythonFile(File(path), mode="r")

    marks.mkdir()
    return fs.PyFileSystem(Failing(local))


@pytest.mark.parametrize("shape", ["videos", "frames"])
def test_ray_tries_again_what_passes(clips: ClipLibrary, tmp_path: Path, shape: Any) -> None:
    path = str(clips["talk"])
    rows = ours.read_videos(
        path, ft.Uniform(4), SMALL, rows=shape, filesystem=failing(tmp_path / "marks", 2)
    ).take_all()
    assert {row["error"] for row in rows} == {""}
    expected = ft.sample(path, ft.Uniform(4), SMALL).numpy()
    frames = rows[0]["frames"] if shape == "videos" else [row["frame"] for row in rows]
    np.testing.assert_array_equal(frames, expected)


def test_what_does_not_pass_becomes_a_row(clips: ClipLibrary, tmp_path: Path) -> None:
    filesystem = failing(tmp_path / "marks", 10**6)
    (row,) = ours.read_videos(
        str(clips["talk"]), ft.Uniform(4), SMALL, filesystem=filesystem
    ).take_all()
    assert row["error"].startswith("SourceError: ")
    assert "talk.mp4" in row["error"]
    assert "AWS Error SLOW_DOWN" in row["error"]
    assert "NativeFile" not in row["error"]
    assert len(list((tmp_path / "marks").iterdir())) == 3


def test_back_pressure(clips: ClipLibrary, tmp_path: Path) -> None:
    """A consumer that stops after one video keeps the rest from being decoded: memory is bounded, not the dataset."""
    marks, total = tmp_path / "marks", 60
    marks.mkdir()
    for number in range(total):
        (tmp_path / f"{number:02}.mp4").symlink_to(clips["talk"])

    def marking(video: Any) -> Any:
        (marks / str(time.monotonic_ns())).touch()
        return ft.Uniform(8)(video)

    big = ft.Transform(size=(480, 640))  # 7 MB a video, 440 MB in all; the object store holds 100
    context = ray_data.DataContext.get_current().copy()
    context.target_max_block_size = 8 * 2**20
    with ray_data.DataContext.current(context):
        dataset = ours.read_videos(
            str(tmp_path), marking, big, file_extensions=["mp4"], override_num_blocks=total
        )
        rows = iter(dataset.iter_batches(batch_size=1, prefetch_batches=0))
        next(rows)
        time.sleep(4)
        assert len(list(marks.iterdir())) < total / 2
        assert sum(1 for _ in rows) == total - 1


# A lambda goes to workers by value; they know no module of these tests.
BRIGHTNESS: Any = {
    "consume": lambda batch: {"brightness": float(batch.numpy().mean())},
    "consume_columns": ["brightness"],
}


def test_a_batch_of_failures_has_the_consumed_columns(folder: Path) -> None:
    """What follows selects columns and writes files, for which all blocks must have them."""
    cells = [str(folder / name) for name in ("text.mp4", "none.mp4", "talk.mp4", "vfr.mp4")]
    sampled = ray_data.from_items([{"path": cell} for cell in cells]).map_batches(
        ours.VideoSampler,
        fn_constructor_kwargs={"sampler": ft.Uniform(4), "transform": SMALL, **BRIGHTNESS},
        batch_size=2,
        compute=ray_data.ActorPoolStrategy(size=1),
    )
    sampled.select_columns(["path", "brightness", "error"]).write_parquet(str(folder / "out"))
    written = ray_data.read_parquet(str(folder / "out")).take_all()
    found = {Path(row["path"]).name: row["brightness"] for row in written}
    assert found.pop("talk.mp4") > 0
    assert found.pop("vfr.mp4") > 0
    assert [*found] == ["text.mp4", "none.mp4"]
    assert all(value is None or np.isnan(value) for value in found.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"consume": BRIGHTNESS["consume"]}, "consume_columns"),
        ({"consume_columns": ["brightness"]}, "consume_columns"),
        ({**BRIGHTNESS, "consume_columns": ["darkness"]}, r"\['brightness'\]"),
    ],
)
def test_consumed_columns_are_declared(
    folder: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ours.VideoSampler(ft.Uniform(4), SMALL, device="cpu", workers=1, **arguments)(
            {"path": [str(folder / "talk.mp4")]}
        )


def test_actors(folder: Path, clips: ClipLibrary) -> None:
    data = clips["vfr"].read_bytes()
    cells = [str(folder / "talk.mp4"), str(folder / "text.mp4"), str(folder / "none.mp4")]
    videos = ray_data.from_items([{"path": cell, "label": i} for i, cell in enumerate(cells)])
    arguments = {"sampler": ft.Uniform(4), "transform": SMALL}
    pool = ray_data.ActorPoolStrategy(size=1)
    sampled = videos.map_batches(
        ours.VideoSampler, fn_constructor_kwargs=arguments, batch_size=3, compute=pool
    )
    good, text, missing = sorted(sampled.take_all(), key=lambda row: row["label"])
    np.testing.assert_array_equal(good["frames"], ft.sample(cells[0], ft.Uniform(4), SMALL).numpy())
    assert good["path"] == cells[0]
    assert good["error"] == ""
    assert text["error"].startswith("SourceError")
    assert "no such file" in missing["error"]
    embedded = ray_data.from_items(
        [{"video": {"path": None, "bytes": data}}, {"video": {"path": cells[1], "bytes": None}}]
    )
    arguments |= {"column": "video", **BRIGHTNESS}
    sampled = embedded.map_batches(
        ours.VideoSampler, fn_constructor_kwargs=arguments, batch_size=2, compute=pool
    )
    first, second = sampled.take_all()
    assert first["brightness"] == pytest.approx(
        ft.sample(data, ft.Uniform(4), SMALL).numpy().mean()
    )
    assert "frames" not in first
    assert "video" not in first
    assert second["error"].startswith("SourceError")


def on_its_gpu(batch: ft.FrameBatch) -> dict[str, Any]:
    """What an actor does with a batch that stays on its GPU: here it says how it came there."""
    from gpu.driver import Gpu

    driver = Gpu()
    assert driver.emulator is not None
    return {
        "pixels": driver.host(batch),
        "device": batch.device,
        "engine": batch.report.engine,
        "actor": os.getpid(),
        "decoders": driver.emulator["calls.cuvidCreateDecoder"],
        "broken": driver.emulator.violations(),
    }


@pytest.mark.usefixtures("emulated_nvdec")
def test_actors_that_share_a_gpu(clips: ClipLibrary) -> None:
    """Two actors with half a GPU each, as Ray counts; NVDEC is emulated in both."""
    names = ["h264", "audio_only", "h264"] * 4
    paths = [str(clips[name]) for name in names]
    videos = ray_data.from_items([{"path": path, "row": i} for i, path in enumerate(paths)])
    arguments = {"sampler": ft.Uniform(4), "transform": SMALL, "consume": on_its_gpu}
    arguments["consume_columns"] = ["pixels", "device", "engine", "actor", "decoders", "broken"]
    folders = ":".join(str(folder) for folder in Path(__file__).parents[:2])
    variables = emulator_control.environment(profile="strict", devices="tiny")
    passed_on = ("LD_LIBRARY_PATH", "FRAMETAP_EMU_PROFILE", "FRAMETAP_EMU_DEVICES")
    needed = {name: variables[name] for name in passed_on}
    rows = videos.map_batches(
        ours.VideoSampler,
        fn_constructor_kwargs=arguments,
        batch_size=3,
        compute=ray_data.ActorPoolStrategy(size=2),
        num_gpus=0.5,
        num_cpus=0.5,
        runtime_env={"env_vars": {**needed, "FRAMETAP_EMULATED": "1", "PYTHONPATH": folders}},
    ).take_all()
    decoders: dict[int, int] = {}
    for row in rows:
        name = names[row["row"]]
        if name == "audio_only":
            assert row["error"].startswith("SourceError")
            assert row["pixels"] is None
            continue
        assert row["error"] == ""
        assert (row["device"], row["engine"]) == ("cuda:0", "nvdec")
        assert list(row["broken"]) == []
        expected = ft.sample(clips[name], ft.Uniform(4), SMALL, device="cpu")
        np.testing.assert_array_equal(row["pixels"], expected.numpy())
        decoders[row["actor"]] = max(decoders.get(row["actor"], 0), row["decoders"])
    assert len(rows) == len(names)
    assert 1 <= len(decoders) <= 2
    # One pool for all batches of an actor: one decoder for the one engine, not one per video.
    assert set(decoders.values()) == {1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": "clips"}, 'rows must be "videos" or "frames"'),
        ({"errors": "ignore"}, 'errors must be "column" or "raise"'),
        ({"on_error": "maybe"}, "on_error must be one of"),
        ({"transform": ft.Transform(dtype="bfloat16")}, "numpy has no bfloat16"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"device": "gpu"}, 'device must be "auto", "cpu"'),
        ({"sampler": "uniform"}, "sampler must be callable"),
        ({"on_eror": "skip"}, "'on_eror'.*on_error.*num_gpus.*concurrency"),
        ({"fps": 2}, "'fps'.*sampler"),
        ({"include_paths": True, "resize": (8, 8)}, "'include_paths', 'resize'"),
        ({"partitioning": None}, "'partitioning'"),
    ],
)
def test_nonsense_is_refused_on_the_driver(
    clips: ClipLibrary, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, TypeError, NotImplementedError), match=message):
        ours.read_videos(str(clips["talk"]), **arguments)


def test_what_ray_takes_is_passed_on(clips: ClipLibrary) -> None:
    dataset = ours.read_videos(
        str(clips["talk"]), ft.Uniform(2), SMALL, num_cpus=0.5, concurrency=1, override_num_blocks=1
    )
    assert dataset.count() == 1


def test_a_device_that_is_not_there_ends_the_job(clips: ClipLibrary) -> None:
    """It is no fault of a video: without this, every row of the dataset would be an error."""
    with pytest.raises(ray.exceptions.RayTaskError, match="DeviceError"):
        ours.read_videos(str(clips["talk"]), ft.Uniform(2), SMALL, device="cuda:7").take_all()


@pytest.mark.parametrize("arguments", [{"workers": 0}, {"device": "gpu"}])
def test_actors_refuse_nonsense_when_they_are_made(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        ours.VideoSampler(ft.Uniform(2), SMALL, **{"device": "cpu", "workers": 1, **arguments})
