"""The libraries that frametap stands in for or plugs into, or a skip that says how to get them."""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from typing import Any

import pytest

# Read when the libraries are imported: no test asks a hub, and Ray neither counts its users nor serves a dashboard.
os.environ.update(HF_HUB_OFFLINE="1", RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0")


def real(name: str) -> Any:
    """Return the module `name`; where it does not load, skip the test (at module level: the file), counted.

    Not only ImportError: torchcodec without FFmpeg's libraries is a RuntimeError, a missing CUDA library an OSError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except (ImportError, RuntimeError, OSError) as error:
        missing = str(getattr(error, "name", None) or name)
        if isinstance(error, ImportError) and missing.startswith("frametap"):
            raise  # our own mistake, not an absent library
        first_line = str(error).strip().partition("\n")[0]
        pytest.skip(f"needs {name} (make test-integrations): {first_line}", allow_module_level=True)


def installed(name: str) -> None:
    """Skip the test, counted, where there is no module `name`; unlike `real` this does not import it."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs {name}, which is not installed")
