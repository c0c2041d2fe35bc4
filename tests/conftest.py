"""Shared fixtures: clips made for the session, and the optional corpus of third-party files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import emulator_control
from clips import ClipLibrary

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let other libraries warn as they like in the tests of integrations; elsewhere a warning is an error."""
    for item in items:
        if ROOT / "tests" / "integrations" in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipLibrary:
    """Paths of small clips by name (see clips.CLIPS), encoded on first use."""
    return ClipLibrary(tmp_path_factory.mktemp("clips"))


def find_corpus() -> Path | None:
    """Return the folder of the corpus: $FRAMETAP_CORPUS, else ../shared/corpus beside the checkout, else None."""
    named = os.environ.get("FRAMETAP_CORPUS")
    folder = Path(named) if named else ROOT.parent / "shared" / "corpus"
    return folder if (folder / "CATALOG.tsv").is_file() else None


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Folder of the corpus; a test that needs it is skipped, and counted, where it is absent."""
    folder = find_corpus()
    if folder is None:
        pytest.skip("corpus absent (set FRAMETAP_CORPUS to a folder with CATALOG.tsv)")
    return folder


@pytest.fixture
def playground(tmp_path: Path, clips: ClipLibrary, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds the files which documents talk about; it is the current folder during the test."""
    for name in ("talk.mp4", "clips/a.mp4", "clips/b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(clips["talk"], tmp_path / name)
    shutil.copy(clips["vfr_mkv"], tmp_path / "screen.mkv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.fixture(scope="session")
def emulator_libraries() -> Path:
    """Folder of the emulated driver; a test that needs it is skipped where it is not built.

    FRAMETAP_REQUIRE_EMULATOR=1 makes that a failure.
    """
    return _emulated("libcuda.so.1")


@pytest.fixture(scope="session")
def emulated_nvdec() -> Path:
    """The same with the video decoder, which needs FFmpeg's headers to be built."""
    return _emulated("libnvcuvid.so.1")


def _emulated(library: str) -> Path:
    problem = emulator_control.missing(library)
    if problem and os.environ.get("FRAMETAP_REQUIRE_EMULATOR") == "1":
        pytest.fail(problem)
    if problem:
        pytest.skip(problem)
    return emulator_control.LIBRARIES


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of two CPUs, which is told of a GPU, for all tests that need one: starting it takes longer than most of them."""
    from integrations.real import real

    ray, ray_data = real("ray"), real("ray.data")
    ray.init(
        num_cpus=2,
        num_gpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=100 * 2**20,
    )
    context = ray_data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    yield
    ray.shutdown()
