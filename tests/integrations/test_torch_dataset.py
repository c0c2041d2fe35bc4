"""VideoDataset, collate and prefetch with torch's own DataLoader, samplers and worker processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import frametap as ft
from clips import ClipLibrary
from integrations.real import real

torch = real("torch")

from torch.utils.data import DataLoader, DistributedSampler  # noqa: E402

from frametap.integrations.torch import Skipped, VideoDataset, collate, prefetch  # noqa: E402

SMALL = ft.Transform(size=(32, 48))


@pytest.fixture(scope="module")
def videos(clips: ClipLibrary) -> list[str]:
    return [str(clips[name]) for name in ("h264", "vfr", "hevc", "h264_mkv", "mpeg4_avi", "ntsc")]


def test_sample_is_what_frametap_samples(videos: list[str]) -> None:
    sample = VideoDataset(videos, ft.Uniform(5), SMALL)[1]
    expected = ft.sample(videos[1], ft.Uniform(5), SMALL)
    assert set(sample) == {"video", "pts_seconds", "indices", "ok", "row"}
    assert sample["video"].dtype == torch.uint8
    np.testing.assert_array_equal(sample["video"].numpy(), expected.numpy())
    np.testing.assert_array_equal(sample["pts_seconds"].numpy(), expected.pts_seconds)
    np.testing.assert_array_equal(sample["indices"].numpy(), expected.indices)
    assert sample["ok"].all()
    assert sample["row"] == 1


def test_row_numbers_that_are_tensors_stay_what_they_are(videos: list[str]) -> None:
    dataset, number = VideoDataset(videos, ft.Uniform(1), SMALL), torch.tensor(-1)
    assert dataset[number]["row"] == len(videos) - 1
    assert type(dataset[number]["row"]) is int
    assert number.item() == -1
    with pytest.raises(TypeError, match="integer"):
        dataset[1.0]


def tables(videos: list[str]) -> Iterator[tuple[str, Any]]:
    rows = [{"path": video, "label": 10 + i, "text": f"clip {i}"} for i, video in enumerate(videos)]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    yield "list of dicts", rows
    yield "dict of columns", columns
    yield "pandas", real("pandas").DataFrame(columns)
    yield "arrow", real("pyarrow").table(columns)
    yield "hugging face", real("datasets").Dataset.from_dict(columns)


def test_tables_of_every_kind_give_the_same_samples(videos: list[str]) -> None:
    for kind, table in tables(videos):
        dataset = VideoDataset(table, ft.Uniform(2), SMALL, video_key="path")
        assert len(dataset) == len(videos), kind
        batch = collate([dataset[0], dataset[-1]])
        assert batch["label"].tolist() == [10, 9 + len(videos)], kind
        assert batch["text"] == ["clip 0", f"clip {len(videos) - 1}"], kind
        assert batch["path"].shape == (2, 2, 3, 32, 48), kind


@pytest.mark.parametrize("name", ["pts_seconds", "indices", "ok", "row", "num_frames", "skipped"])
def test_columns_that_have_the_name_of_something_else(videos: list[str], name: str) -> None:
    with pytest.raises(ValueError, match=f"column '{name}'"):
        VideoDataset([{"video": videos[0], name: 77}], ft.Uniform(1), SMALL)[0]


def test_columns_of_videos(videos: list[str]) -> None:
    """A pandas series, an Arrow column, and the cells of a Hugging Face `Video(decode=False)` column."""
    expected = VideoDataset(videos, ft.Uniform(2), SMALL)[2]["video"]
    pandas, arrow, datasets = real("pandas"), real("pyarrow"), real("datasets")
    cells = [{"path": None, "bytes": Path(video).read_bytes()} for video in videos]
    table = datasets.Dataset.from_dict({"video": videos})
    for rows in (
        pandas.Series(videos, index=range(5, 5 + len(videos))),
        arrow.table({"video": videos})["video"],
        {"video": cells},
        table.cast_column("video", datasets.Video(decode=False)),
    ):
        assert torch.equal(VideoDataset(rows, ft.Uniform(2), SMALL)[2]["video"], expected)


def test_rows_choose_their_sampler(videos: list[str]) -> None:
    rows = [{"video": videos[0], "from": start} for start in (0.0, 0.5, 1.0)]
    dataset = VideoDataset(
        rows, sampler_for=lambda row: ft.Indices([0], start_seconds=row["from"]), transform=SMALL
    )
    assert [float(dataset[i]["pts_seconds"][0]) for i in range(3)] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("rows", "arguments", "error", "words"),
    [
        (iter(()), {}, TypeError, "VideoStream"),
        ("one.mp4", {}, TypeError, "a list of videos"),
        ([{"clip": "a.mp4"}], {}, ValueError, "video_key"),
        ([{"video": "a.mp4", "ok": 1}], {}, ValueError, "rename"),
        (["a.mp4"], {"device": "auto"}, ValueError, "device"),
        (["a.mp4"], {"on_error": "ignore"}, ValueError, "on_error"),
    ],
)
def test_mistakes_are_named(
    rows: Any, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        VideoDataset(rows, **arguments)[0]


def test_row_outside(videos: list[str]) -> None:
    with pytest.raises(IndexError, match="row 6"):
        VideoDataset(videos)[6]


# --- workers ----------------------------------------------------------------------------------------------------------


def drawn(videos: list[str]) -> VideoDataset:
    transform = ft.Transform(size=(64, 64), window=ft.RandomCrop(32))
    return VideoDataset(videos, ft.Clips(1, 4, random=True), transform, seed=3)


def contents(dataset: VideoDataset, **loader: Any) -> list[Any]:
    batches = DataLoader(dataset, batch_size=2, collate_fn=collate, **loader)
    return [(batch["indices"].tolist(), batch["video"].numpy().tobytes()) for batch in batches]


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_change_nothing(videos: list[str], context: str) -> None:
    expected = contents(drawn(videos))
    assert contents(drawn(videos), num_workers=2, multiprocessing_context=context) == expected


def test_draws_follow_seed_and_epoch(videos: list[str]) -> None:
    dataset = drawn(videos)
    first = contents(dataset)
    assert contents(dataset) == first
    dataset.set_epoch(1)
    second = contents(dataset)
    assert second != first
    dataset.set_epoch(0)
    assert contents(dataset) == first


def test_without_a_seed_draws_are_new(videos: list[str]) -> None:
    dataset = VideoDataset(videos[:1], ft.Clips(8, 2, random=True), SMALL)
    assert len({tuple(dataset[0]["indices"].tolist()) for _ in range(4)}) > 1


def test_set_epoch_reaches_persistent_workers(videos: list[str]) -> None:
    dataset = drawn(videos)
    loader = DataLoader(
        dataset,
        batch_size=2,
        collate_fn=collate,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    first = [batch["indices"].tolist() for batch in loader]
    dataset.set_epoch(5)
    second = [batch["indices"].tolist() for batch in loader]
    assert first != second
    assert second == [indices for indices, _ in contents(dataset)]


def test_distributed_sampler_splits_the_rows(videos: list[str]) -> None:
    dataset = VideoDataset(videos, ft.Uniform(1), SMALL)
    rows = []
    for rank in range(2):
        share = DistributedSampler(dataset, num_replicas=2, rank=rank, shuffle=True, seed=1)
        rows += [
            row
            for batch in DataLoader(dataset, sampler=share, collate_fn=collate)
            for row in batch["row"].tolist()
        ]
    assert sorted(rows) == list(range(len(videos)))


def test_cuda_in_a_worker_is_refused(videos: list[str]) -> None:
    dataset = VideoDataset(videos, ft.Uniform(1), SMALL, device="cuda")
    with pytest.raises(RuntimeError, match="num_workers=0"):
        next(
            iter(
                DataLoader(
                    dataset, num_workers=1, collate_fn=collate, multiprocessing_context="fork"
                )
            )
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_driver_is_a_device_error(videos: list[str]) -> None:
    with pytest.raises(ft.DeviceError):
        VideoDataset(videos, ft.Uniform(1), SMALL, device="cuda", on_error="skip")[0]


# --- errors -----------------------------------------------------------------------------------------------------------


def damage(clip: Path, path: Path) -> str:
    """Copy a clip, with the second half of its frames overwritten."""
    index, data = ft.FrameIndex.build(clip), bytearray(clip.read_bytes())
    for start, size in zip(index.position[24:].tolist(), index.size[24:].tolist(), strict=True):
        data[start : start + size] = bytes(size)
    path.write_bytes(data)
    return str(path)


def test_errors_are_raised_or_counted(
    videos: list[str], clips: ClipLibrary, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    damaged = damage(clips["h264"], tmp_path / "damaged.mp4")
    rows = [videos[0], damaged, str(bad), str(tmp_path / "absent.mp4"), videos[1]]
    with pytest.raises(ft.DecodeError):
        VideoDataset(rows, ft.Uniform(4), SMALL)[1]
    with pytest.raises(ft.SourceError):
        next(
            iter(
                DataLoader(
                    VideoDataset(rows[2:], ft.Uniform(4), SMALL), num_workers=1, collate_fn=collate
                )
            )
        )

    skipping = VideoDataset(rows, ft.Uniform(4), SMALL, on_error="skip")
    batch = next(iter(DataLoader(skipping, batch_size=5, num_workers=1, collate_fn=collate)))
    assert batch["row"].tolist() == [0, 4]
    assert batch["video"].shape == (2, 4, 3, 32, 48)
    assert [skipped.row for skipped in batch["skipped"]] == [1, 2, 3]
    assert batch["skipped"][1].source == str(bad)
    assert batch["skipped"][2].error.startswith("SourceError")

    filled = VideoDataset(rows, ft.Uniform(4), SMALL, on_error="black")
    batch = next(iter(DataLoader(filled, batch_size=5, collate_fn=collate)))
    assert batch["row"].tolist() == [0, 1, 4]
    assert batch["ok"][1].tolist().count(False) > 0
    assert not batch["video"][1][~batch["ok"][1]].any()


def test_collate_of_nothing_but_failures() -> None:
    batch = collate([Skipped(0, "a.mp4", "SourceError: a.mp4")])
    assert len(batch["row"]) == len(batch["num_frames"]) == 0
    assert len(batch["skipped"]) == 1


def test_ragged_samples_are_filled_up(videos: list[str]) -> None:
    dataset = VideoDataset(videos[:2], ft.Rate(4), SMALL)
    samples = [dataset[0], dataset[1]]
    lengths = [len(sample["video"]) for sample in samples]
    batch = collate(samples)
    assert lengths[0] != lengths[1]
    assert batch["num_frames"].tolist() == lengths
    short = lengths.index(min(lengths))
    real_frames = batch["video"][short, : min(lengths)]
    np.testing.assert_array_equal(real_frames, samples[short]["video"])
    assert not batch["video"][short, min(lengths) :].any()
    assert batch["ok"][short].sum() == min(lengths)


def test_pictures_of_different_sizes_stay_a_list(clips: ClipLibrary) -> None:
    dataset = VideoDataset([str(clips["h264"]), str(clips["talk"])], ft.Uniform(3))
    batch = next(iter(DataLoader(dataset, batch_size=2, collate_fn=collate)))
    assert [tuple(video.shape) for video in batch["video"]] == [(3, 3, 120, 160), (3, 3, 240, 320)]
    assert batch["indices"].shape == (2, 3)


# --- prefetch ---------------------------------------------------------------------------------------------------------


def test_prefetch_keeps_order_and_depth() -> None:
    made: list[int] = []

    def batches() -> Iterator[dict[str, Any]]:
        for i in range(10):
            made.append(i)
            yield {"x": torch.full((2,), i), "names": ["a"], "pair": (torch.zeros(1), 1)}

    got = []
    for batch in prefetch(batches(), "cpu", depth=2):
        time.sleep(0.01)  # let the thread run as far ahead as it may
        assert len(made) <= len(got) + 1 + 2 + 1  # handed out, waiting, and the one in the making
        got.append(int(batch["x"][0]))
        assert batch["names"] == ["a"]
        assert isinstance(batch["pair"], tuple)
    assert got == list(range(10))


class Pair(NamedTuple):
    x: torch.Tensor
    y: list[int]


def test_prefetch_keeps_named_tuples() -> None:
    (batch,) = prefetch([Pair(torch.ones(2), [3])], "cpu")
    assert isinstance(batch, Pair)
    assert batch.x.tolist() == [1, 1]
    assert batch.y == [3]


def test_prefetch_hands_errors_on_at_their_turn() -> None:
    def batches() -> Iterator[Any]:
        yield torch.zeros(1)
        raise ft.DecodeError("frame 7 of a.mp4")

    ahead = prefetch(batches(), "cpu")
    assert next(ahead).shape == (1,)
    with pytest.raises(ft.DecodeError, match="frame 7"):
        next(ahead)


def test_prefetch_ends_its_thread_when_left_early() -> None:
    before = threading.active_count()
    ahead = prefetch((torch.zeros(1) for _ in range(1000)), "cpu", depth=3)
    next(ahead)
    ahead.close()
    assert threading.active_count() == before
    with pytest.raises(ValueError, match="depth"):
        prefetch([], "cpu", depth=0)


def test_prefetch_over_workers(videos: list[str]) -> None:
    dataset = VideoDataset(videos, ft.Uniform(2), SMALL)
    loader = DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=collate)
    assert [batch["row"].tolist() for batch in prefetch(loader, "cpu")] == [[0, 1], [2, 3], [4, 5]]
