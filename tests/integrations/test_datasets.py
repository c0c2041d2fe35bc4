"""Hugging Face datasets: Video columns of paths and of bytes become frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import frametap as ft
from clips import ClipLibrary
from frametap.integrations.datasets import SampleVideos
from integrations.real import real

datasets = real("datasets")
SMALL = ft.Transform(size=(32, 48))
NAMES = ("talk", "vfr")


@pytest.fixture(params=["path", "bytes", "parquet"])
def rows(clips: ClipLibrary, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Videos as a column of paths, of bytes, and embedded in Parquet as datasets on the hub are."""
    video = datasets.Video(decode=False)
    cells: list[Any] = [str(clips[name]) for name in NAMES]
    if request.param != "path":
        cells = [{"path": None, "bytes": Path(cell).read_bytes()} for cell in cells]
    features = datasets.Features({"video": video, "label": datasets.Value("int64")})
    made = datasets.Dataset.from_dict({"video": cells, "label": [0, 1]}, features=features)
    if request.param == "parquet":
        made.to_parquet(str(tmp_path / "rows.parquet"))
        made = datasets.Dataset.from_parquet(
            str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache")
        )
        made = made.cast_column("video", video)
    return made


def check(row: dict[str, Any], clips: ClipLibrary) -> None:
    expected = ft.sample(clips[NAMES[row["label"]]], ft.Uniform(4), SMALL)
    np.testing.assert_array_equal(row["video"], expected.numpy())
    np.testing.assert_array_equal(row["video_pts_seconds"], expected.pts_seconds)
    np.testing.assert_array_equal(row["video_frame_index"], expected.indices)


def test_with_transform(rows: Any, clips: ClipLibrary) -> None:
    sampled = rows.with_transform(SampleVideos(ft.Uniform(4), SMALL))
    check(sampled[1], clips)
    batch = sampled[:2]
    for number in range(2):
        check({name: column[number] for name, column in batch.items()}, clips)


def test_streamed(rows: Any, clips: ClipLibrary) -> None:
    streamed = rows.to_iterable_dataset()
    for row in streamed.map(SampleVideos(ft.Uniform(4), SMALL), features=None):
        check(row, clips)


def test_in_a_loader(rows: Any) -> None:
    data = real("torch.utils.data")
    sampled = rows.with_transform(SampleVideos(ft.Uniform(4), SMALL, output=ft.FrameBatch.torch))
    (batch,) = data.DataLoader(sampled, batch_size=2, num_workers=1)
    assert batch["video"].shape == (2, 4, 3, 32, 48)
    assert batch["label"].tolist() == [0, 1]


def test_errors(clips: ClipLibrary, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    cells = {"clip": [str(clips["talk"]), str(tmp_path / "text.mp4"), str(tmp_path / "none.mp4")]}
    made = datasets.Dataset.from_dict(cells)
    with pytest.raises(ft.SourceError, match=r"text\.mp4"):
        made.with_transform(SampleVideos(ft.Uniform(4), column="clip"))[:]
    batch = made.with_transform(SampleVideos(ft.Uniform(4), SMALL, column="clip", errors="column"))[
        :
    ]
    assert [frames.shape for frames in batch["clip"]] == [
        (4, 3, 32, 48),
        (0, 3, 0, 0),
        (0, 3, 0, 0),
    ]
    assert [error.partition(":")[0] for error in batch["clip_error"]] == [
        "",
        "SourceError",
        "SourceError",
    ]
    with pytest.raises(KeyError, match="no column 'video' among 'clip'"):
        made.with_transform(SampleVideos())[0]


def test_a_column_of_decoders_says_what_to_do(clips: ClipLibrary) -> None:
    """What a `Video` column holds unless it is told not to decode."""
    rows = datasets.Dataset.from_dict({"video": [str(clips["talk"])]})
    rows = rows.cast_column("video", datasets.Video())
    with pytest.raises(ft.SourceError, match=r"Video\(decode=False\)"):
        rows.with_transform(SampleVideos(ft.Uniform(2), SMALL))[0]
    kept = rows.with_transform(SampleVideos(ft.Uniform(2), SMALL, errors="column"))[0]
    assert "decode=False" in kept["video_error"]


def test_nonsense_and_a_missing_device_are_no_rows(clips: ClipLibrary) -> None:
    for wrong in ({"threads": 0}, {"device": "gpu"}, {"on_error": "maybe"}):
        with pytest.raises(ValueError, match="must be"):
            SampleVideos(ft.Uniform(2), SMALL, errors="column", **wrong)
    with pytest.raises(TypeError, match="sampler must be callable"):
        SampleVideos("uniform")
    sample = SampleVideos(ft.Uniform(2), SMALL, errors="column", device="cuda:7")
    with pytest.raises(ft.DeviceError):
        sample({"video": str(clips["talk"])})


def test_map_with_features(rows: Any, clips: ClipLibrary) -> None:
    """`map` writes frames to the cache, for which the type of a Video column is none: it has to be told another."""
    features = rows.features.copy()
    features["video"] = datasets.Array4D(shape=(4, 3, 32, 48), dtype="uint8")
    features["video_pts_seconds"] = datasets.List(datasets.Value("float64"))
    features["video_frame_index"] = datasets.List(datasets.Value("int64"))
    sample = SampleVideos(ft.Uniform(4), SMALL)
    for batched in (False, True):
        mapped = rows.with_format("numpy").map(sample, features=features, batched=batched)
        for row in mapped.with_format(None):
            check(row, clips)


def test_failed_videos_have_the_type_of_the_others(clips: ClipLibrary) -> None:
    torch = real("torch")
    sample = SampleVideos(
        ft.Uniform(4),
        ft.Transform(size=(32, 48), dtype="bfloat16"),
        output=ft.FrameBatch.torch,
        errors="column",
    )
    found = sample({"video": [str(clips["talk"]), "none.mp4"]})
    assert [frames.dtype for frames in found["video"]] == [torch.bfloat16] * 2
    assert [tuple(frames.shape) for frames in found["video"]] == [(4, 3, 32, 48), (0, 3, 0, 0)]
    for name in ("video_pts_seconds", "video_frame_index"):
        assert [len(values) for values in found[name]] == [4, 0]
        assert found[name][0].dtype == found[name][1].dtype
