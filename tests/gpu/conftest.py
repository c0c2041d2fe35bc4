"""Tests of device="cuda": on a GPU where there is one, else on the emulated driver (`make test-cuda`).

FRAMETAP_EMULATED=1 says that libcuda.so.1 is the emulated one; FRAMETAP_REQUIRE_CUDA=1 turns a missing GPU into a failure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import frametap as ft
from frametap import doctor
from gpu.driver import EMULATED, Gpu, Library, forget


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, and count, what cannot run here."""
    here = Path(__file__).parent
    state = doctor.cuda_state()
    for item in items:
        if here not in item.path.parents:
            continue
        if not state.usable:
            reason = f"no usable GPU ({state.why}); `make test-cuda` takes the emulated driver"
            if os.environ.get("FRAMETAP_REQUIRE_CUDA") == "1" or EMULATED:
                pytest.exit(reason, returncode=1)
            item.add_marker(pytest.mark.skip(reason=reason))
        elif item.get_closest_marker("emulated") and not EMULATED:
            item.add_marker(
                pytest.mark.skip(reason="needs the emulated driver's counters and faults")
            )
        elif item.get_closest_marker("gpu") and EMULATED:
            item.add_marker(pytest.mark.skip(reason="needs real hardware"))


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="session")
def driver() -> Gpu:
    return Gpu()


@pytest.fixture(autouse=True)
def strict(driver: Gpu) -> Iterator[None]:
    """Every test ends without having broken a rule of the driver's API, as far as the emulated one can see."""
    if driver.emulator is None:
        yield
        return
    driver.emulator.set(profile="strict", seed=0)
    driver.emulator.reset()
    yield
    driver.emulator.check_memory()
    broken = driver.emulator.violations()
    driver.emulator.reset()
    assert not broken, "\n".join(broken)


@pytest.fixture
def fresh_pool() -> Iterator[None]:
    """Without anything kept from before, so that every entry point is called."""
    forget()
    yield
    forget()


@pytest.fixture
def check(driver: Gpu) -> Callable[..., ft.FrameBatch]:
    """Sample a video on the GPU and on the CPU, compare every byte, and return the GPU's batch.

    tolerance: how far values may be apart, where a codec leaves that to the decoder.
    """

    def run(
        path: Any, sampler: Any, transform: ft.Transform, *, tolerance: int = 0, **options: Any
    ) -> ft.FrameBatch:
        expected = ft.sample(path, sampler, transform, device="cpu")
        batch = ft.sample(path, sampler, transform, device="cuda", **options)
        found, wanted = driver.host(batch), np.asarray(expected._data)
        if tolerance:
            np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)
        else:
            np.testing.assert_array_equal(found, wanted)
        assert batch.indices.tolist() == expected.indices.tolist()
        return batch

    return run


@pytest.fixture
def torch() -> Any:
    module = pytest.importorskip("torch", reason="torch is not installed")
    if not module.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    return module
