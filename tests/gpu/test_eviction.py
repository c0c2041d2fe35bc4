"""Filter tables that are let go while kernels still read them: nobody waits for it, and nobody reads what is free."""

from __future__ import annotations

import numpy as np
import pytest

import frametap as ft
from frametap.engines.cuda_target import forget_converters
from gpu.driver import Gpu, Library

pytestmark = pytest.mark.emulated


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["h264", "h264_10bit"])
def test_tables_go_in_the_order_of_their_readers(
    videos: Library, driver: Gpu, name: str, seed: int
) -> None:
    emulator = driver.emulator
    assert emulator is not None
    emulator.set(seed=seed)
    before = emulator["calls.cuCtxSynchronize"]
    made = []
    for width in range(24, 56, 4):
        transform = ft.Transform(size=(40, width))
        batch = ft.sample(videos[name], ft.Indices([20, 3, 21]), transform, device="cuda")
        forget_converters()
        made.append((transform, batch))
    assert emulator["calls.cuCtxSynchronize"] == before
    for transform, batch in made:
        expected = ft.sample(videos[name], ft.Indices([20, 3, 21]), transform, device="cpu")
        np.testing.assert_array_equal(driver.host(batch), expected.numpy())
