"""What the integrations' pages, docstrings and examples show, run beside the libraries they show."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from integrations.real import installed, real

# Stands for the environment of `make test-integrations`; elsewhere this file is one skip.
real("torch")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "python" / "frametap" / "integrations"
# Dotted names below frametap.integrations, e.g. "torch" and "torchcodec.samplers".
MODULES = sorted(
    ".".join(path.relative_to(FOLDER).with_suffix("").parts).removesuffix(".__init__")
    for path in FOLDER.rglob("*.py")
    if path.parent != FOLDER or not path.stem.startswith("_")
)
PAGES = sorted((ROOT / "docs" / "integrations").glob("*.md"))
PACKAGES = "torch|torchvision|torchcodec|decord|transformers|qwen_vl_utils|ray|webdataset|datasets|cupy|jax|tensorflow"


def snippets(*pages: Path) -> list[object]:
    """Fenced Python blocks of the integrations' pages, and those of other pages that import one of their libraries."""
    found = []
    for path in pages:
        text = path.read_text()
        for block in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text[: block.start()].count("\n") + 2
            if path in PAGES or needed(block.group(1)):
                found.append(pytest.param(block.group(1), id=f"{path.name}:{line}"))
    return found


def needed(code: str) -> list[str]:
    """Modules without which a snippet is skipped: libraries, and the integrations, each of which imports its library."""
    found = re.findall(rf"^\s*(?:import|from) ({PACKAGES})\b", code, re.MULTILINE)
    found += re.findall(r"^\s*from (frametap\.integrations\.\w+) import", code, re.MULTILINE)
    for names in re.findall(r"^\s*from frametap\.integrations import (.+)$", code, re.MULTILINE):
        found += [f"frametap.integrations.{name.split()[0]}" for name in names.split(",")]
    return found


@pytest.mark.usefixtures("playground")
@pytest.mark.parametrize(
    "code", snippets(ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *PAGES)
)
def test_python_snippet(code: str, request: pytest.FixtureRequest) -> None:
    # TensorFlow crashes in one process with torch, and JAX's threads do not survive the forks of other tests.
    if apart := {"tensorflow", "jax"} & set(needed(code)):
        installed(*apart)
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        return
    for module in needed(code):
        real(module)
        if module.endswith("ray"):
            request.getfixturevalue("local_ray")
    exec(compile(code, "snippet", "exec"), {"__name__": "snippet"})


@pytest.mark.usefixtures("playground")
@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str, request: pytest.FixtureRequest) -> None:
    module = real(f"frametap.integrations.{name}")
    if name == "ray":
        request.getfixturevalue("local_ray")
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert failed == 0, "see the captured output"


@pytest.mark.parametrize("name", MODULES)
def test_every_integration_has_a_page(name: str) -> None:
    if any(name.startswith((f"{whole}_", f"{whole}.")) for whole in MODULES):
        return  # torch_prefetch is part of torch, torchcodec.samplers of torchcodec
    text = "".join(page.read_text() for page in PAGES)
    assert f"frametap.integrations.{name}" in text or (
        f"from frametap.integrations import {name}" in text
    ), f"docs/integrations/ does not show {name}"
