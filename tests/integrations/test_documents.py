"""What the integrations' pages, docstrings and examples show, run beside the libraries they show."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from integrations.real import real

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "python" / "frametap" / "integrations").glob("[!_]*.py"))
PAGES = sorted((ROOT / "docs" / "integrations").glob("*.md"))
PACKAGES = "torch|torchvision|torchcodec|decord|transformers|qwen_vl_utils|ray|webdataset|datasets|cupy|jax|tensorflow"


def snippets(*pages: Path) -> list[object]:
    """Fenced Python blocks of the pages that import one of PACKAGES or frametap.integrations."""
    found = []
    for path in pages:
        text = path.read_text()
        for block in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text[: block.start()].count("\n") + 2
            if packages(block.group(1)) or "frametap.integrations" in block.group(1):
                found.append(pytest.param(block.group(1), id=f"{path.name}:{line}"))
    return found


def packages(code: str) -> list[str]:
    return re.findall(rf"^\s*(?:import|from) ({PACKAGES})\b", code, re.MULTILINE)


@pytest.mark.usefixtures("playground")
@pytest.mark.parametrize(
    "code", snippets(ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *PAGES)
)
def test_python_snippet(code: str) -> None:
    for package in packages(code):
        real(package)
    exec(compile(code, "snippet", "exec"), {"__name__": "snippet"})


@pytest.mark.usefixtures("playground")
@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_docstring_examples(path: Path) -> None:
    module = real(f"frametap.integrations.{path.stem}")
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert failed == 0, "see the captured output"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_every_integration_has_a_page(path: Path) -> None:
    if any(path.stem.startswith(f"{whole.stem}_") for whole in MODULES):
        return  # torch_prefetch is part of torch
    text = "".join(page.read_text() for page in PAGES)
    assert f"frametap.integrations.{path.stem}" in text or (
        f"from frametap.integrations import {path.stem}" in text
    ), f"docs/integrations/ does not show {path.stem}"
