"""WebDataset: videos in tar shards, sampled from their bytes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import frametap as ft
from clips import ClipLibrary
from frametap.integrations.webdataset import VideoHandler
from integrations.real import real

wds = real("webdataset")
SMALL = ft.Transform(size=(32, 48))


@pytest.fixture
def shard(clips: ClipLibrary, tmp_path: Path) -> str:
    path = tmp_path / "clips-000.tar"
    with wds.TarWriter(str(path)) as tar:
        for number, name in enumerate(["talk", "vfr"]):
            data = Path(clips[name]).read_bytes()
            tar.write(
                {
                    "__key__": f"{number:03}",
                    "mp4": data,
                    "left.MP4": data,
                    "json": {"label": number},
                }
            )
        tar.write(
            {"__key__": "bad", "mp4": b"no video at all", "left.MP4": b"", "json": {"label": 9}}
        )
    return str(path)


def test_decode(shard: str, clips: ClipLibrary) -> None:
    handler = pickle.loads(pickle.dumps(VideoHandler(ft.Uniform(4), SMALL)))
    dataset = wds.WebDataset(shard, shardshuffle=False).decode(
        handler, handler=wds.ignore_and_continue
    )
    rows = list(dataset)
    assert [row["json"]["label"] for row in rows] == [0, 1]
    for row, name in zip(rows, ["talk", "vfr"], strict=True):
        expected = ft.sample(clips[name], ft.Uniform(4), SMALL)
        for key in ("mp4", "left.mp4"):
            np.testing.assert_array_equal(row[key].numpy(), expected.numpy())
            np.testing.assert_array_equal(row[key].pts_seconds, expected.pts_seconds)


def test_errors_name_the_sample(shard: str) -> None:
    dataset = wds.WebDataset(shard, shardshuffle=False).decode(VideoHandler(ft.Uniform(4)))
    with pytest.raises(wds.DecodingError) as raised:
        list(dataset)
    assert raised.value.key == "bad"
    assert raised.value.url == shard
    assert isinstance(raised.value.__cause__, ft.SourceError)


def test_batches_in_a_loader(shard: str) -> None:
    torch = real("torch")
    handler = VideoHandler(ft.Uniform(4), SMALL, output=ft.FrameBatch.torch, extensions="mp4")
    dataset = (
        wds.WebDataset(shard, shardshuffle=False)
        .select(lambda row: row["__key__"] != "bad")
        .decode(handler)
        .to_tuple("mp4", "json")
        .batched(2, collation_fn=_columns)
    )
    ((frames, labels),) = list(wds.WebLoader(dataset, batch_size=None, num_workers=1))
    assert torch.stack(frames).shape == (2, 4, 3, 32, 48)
    assert [label["label"] for label in labels] == [0, 1]


def _columns(rows: Any) -> Any:
    return tuple(map(list, zip(*rows, strict=True)))
