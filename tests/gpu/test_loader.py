"""VideoDataset and prefetch of frametap.integrations.torch on a GPU: PyTorch's CUDA half needs a real driver."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import frametap as ft
from gpu.driver import Library, busy

pytestmark = pytest.mark.gpu

SMALL = ft.Transform(size=(56, 72))
NAMES = ("h264", "hevc", "vfr", "h264_pyramid")


@pytest.fixture
def loaders(torch: Any) -> Any:
    """The integration, which imports torch."""
    from frametap.integrations import torch as integration

    return integration


def dataset_on(device: str, videos: Library, loaders: Any) -> Any:
    return loaders.VideoDataset(
        [str(videos[name]) for name in NAMES] * 3, ft.Uniform(4), SMALL, device=device
    )


def assert_right(batches: Iterator[dict[str, Any]], videos: Library, torch: Any) -> None:
    """Every batch is on the GPU and complete for the stream that it is handed out on."""
    count = 0
    for number, batch in enumerate(batches):
        assert batch["video"].device.type == "cuda"
        copy = batch["video"].clone()  # on the consumer's stream
        del batch
        busy(
            torch
        )  # the next batches are made meanwhile, and must not get the memory that is still read
        for row, name in enumerate((NAMES[number * 2 % 4], NAMES[number * 2 % 4 + 1])):
            expected = ft.sample(videos[name], ft.Uniform(4), SMALL, device="cpu").numpy()
            np.testing.assert_array_equal(copy[row].cpu().numpy(), expected)
        count += 1
    assert count == 6


@pytest.mark.parametrize("own_stream", [False, True])
def test_prefetch_of_a_dataset_on_the_gpu(
    videos: Library, torch: Any, loaders: Any, own_stream: bool
) -> None:
    loader = torch.utils.data.DataLoader(
        dataset_on("cuda", videos, loaders), batch_size=2, collate_fn=loaders.collate
    )
    stream = torch.cuda.Stream() if own_stream else torch.cuda.default_stream()
    with torch.cuda.stream(stream):
        assert_right(loaders.prefetch(loader, "cuda"), videos, torch)


def test_prefetch_of_pinned_batches_from_workers(videos: Library, torch: Any, loaders: Any) -> None:
    loader = torch.utils.data.DataLoader(
        dataset_on("cpu", videos, loaders),
        batch_size=2,
        num_workers=2,
        multiprocessing_context="spawn",  # this process has used CUDA
        pin_memory=True,
        collate_fn=loaders.collate,
    )
    assert_right(loaders.prefetch(loader, "cuda"), videos, torch)


def test_a_consumer_that_stops_leaves_nothing(videos: Library, torch: Any, loaders: Any) -> None:
    dataset = dataset_on("cuda", videos, loaders)
    for _ in range(2):  # what is kept for good is there after the first time
        torch.cuda.synchronize()
        free = torch.cuda.mem_get_info()[0]
        ahead = loaders.prefetch((dataset[i] for i in range(12)), "cuda", depth=3)
        next(ahead)
        ahead.close()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    assert torch.cuda.mem_get_info()[0] >= free


def test_errors_come_at_their_turn(videos: Library, loaders: Any) -> None:
    paths = [str(videos["h264"]), str(videos["audio_only"])]
    dataset = loaders.VideoDataset(paths, ft.Uniform(4), SMALL, device="cuda")
    ahead = loaders.prefetch((dataset[i] for i in range(2)), "cuda")
    assert next(ahead)["video"].shape == (4, 3, 56, 72)
    with pytest.raises(ft.SourceError, match="no video stream"):
        next(ahead)
