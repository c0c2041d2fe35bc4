"""The project keeps its own rules: layers, budgets, versions, the stub, and documents whose snippets run."""

from __future__ import annotations

import ast
import difflib
import doctest
import importlib
import os
import re
import subprocess
import sys
import tomllib
import warnings
from importlib import metadata
from pathlib import Path

import pytest

import frametap as ft
from frametap import _core

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "frametap"
CSRC = ROOT / "csrc"

# Python, bottom to top: a module imports from layers below its own, or from its own. Whatever stands in a folder
# (engines/, cli/, integrations/) has the layer of that folder.
LAYERS = [
    {"errors"},
    {"info", "timeline", "geometry", "source", "remote"},
    {"transform", "sampler", "sampler_models", "output"},
    {"container"},
    {
        "index",
        "index_build",
        "index_file",
        "index_scan",
        "mp4",
        "mp4_boxes",
        "mp4_entries",
        "mp4_tracks",
        "packet_headers",
    },
    {"plan", "planner"},
    {"engines"},
    {"batch", "many", "reader"},
    {"__init__"},
    {"doctor", "demo", "integrations"},
    {"cli"},
    {"__main__"},
]
# csrc: the folders that files of a folder may include.
INCLUDES = {
    "core": {"core"},
    "kernels": {"core", "kernels"},
    "bitstream": {"core", "bitstream"},
    "nvdec": {"core", "kernels", "nvdec"},
    "bindings": {"core", "kernels", "bitstream", "nvdec", "bindings"},
}
# Who may use the native core, and who may open files and decoders with PyAV.
USES_CORE = {
    "engines",
    "batch",
    "index",
    "index_build",
    "index_scan",
    "packet_headers",
    "doctor",
    "__init__",
}
HEAVY = {
    "torch",
    "cupy",
    "jax",
    "typer",
    "rich",
    "PIL",
    "click",
    "fsspec",
    "ray",
    "torchvision",
    "torchcodec",
    "decord",
    "transformers",
    "datasets",
    "webdataset",
    "matplotlib",
    "hypothesis",
}
LINES_WANTED, LINES_ALLOWED = 400, 500


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def native_sources() -> list[Path]:
    return sorted(p for p in CSRC.rglob("*") if p.suffix in {".h", ".cpp", ".cu", ".cuh"})


def imports_of(path: Path) -> set[str]:
    """Full names of what a file imports, inside functions too; "from a import b" counts as a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write frametap...."
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part_of(path: Path) -> str:
    """Name of the layer entry a file belongs to: its folder below the package, or its own name."""
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def own_imports(path: Path) -> set[str]:
    """Layer entries of frametap that a file imports; "import frametap" counts as "__init__"."""
    parts = set()
    for name in imports_of(path):
        package, _, rest = name.partition(".")
        if package != "frametap":
            continue
        first = rest.split(".")[0]
        if not first:
            parts.add("__init__")
            continue
        is_module = (
            (PACKAGE / f"{first}.py").exists() or (PACKAGE / first).is_dir() or first == "_core"
        )
        parts.add(first if is_module else "__init__")
    return parts


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_python_imports_point_down(path: Path) -> None:
    height = {name: level for level, names in enumerate(LAYERS) for name in names}
    me = part_of(path)
    assert me in height, f"{path.name} is in no layer: give it one in LAYERS"
    for other in own_imports(path) - {"_core"}:
        # Names under TYPE_CHECKING count too: what a type needs, a reader has to know.
        assert other in height, f"{path.name} imports {other}, which is in no layer"
        assert height[other] <= height[me], (
            f"{path.name} (layer of {me}) imports {other} from above"
        )


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_core_and_codecs_stay_in_engines(path: Path) -> None:
    me, imported = part_of(path), imports_of(path)
    if any(name.startswith("frametap._core") for name in imported):
        assert me in USES_CORE, f"{path.name} must not import frametap._core"
    if any(name.startswith("av.codec") for name in imported):
        assert me == "engines", (
            f"{path.name} must not import av.codec: decoding is the engines' business"
        )


@pytest.mark.parametrize("path", native_sources(), ids=lambda p: str(p.relative_to(CSRC)))
def test_native_includes_point_down(path: Path) -> None:
    folder = path.relative_to(CSRC).parts[0]
    text = path.read_text()
    for include in re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.MULTILINE):
        assert "/" in include, f'{path.name}: write "{folder}/{include}"'
        assert include.split("/")[0] in INCLUDES[folder], f"{folder}/ must not include {include}"
    if folder != "bindings":
        assert not re.search(r"pybind11|Python\.h|py::", text), (
            f"{path.name}: only bindings/ knows Python"
        )
    if path.suffix == ".h":
        assert "#pragma once" in text


def test_import_is_light() -> None:
    code = "import sys, frametap; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(loaded.stdout.split())


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_on_use(path: Path) -> None:
    if part_of(path) in {"cli", "integrations"}:
        return
    top_level = ast.parse(path.read_text()).body
    names = {
        a.name.split(".")[0]
        for node in top_level
        if isinstance(node, ast.Import)
        for a in node.names
    }
    names |= {
        (node.module or "").split(".")[0] for node in top_level if isinstance(node, ast.ImportFrom)
    }
    assert not HEAVY & names


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert ft.__version__ == _core.__version__ == metadata.version("frametap") == project["version"]
    assert (
        f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text()
        or "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()
    )


def test_stub_is_up_to_date(tmp_path: Path) -> None:
    # What `make stubs` runs; a difference means that somebody changed the bindings and not the stub.
    command = [
        sys.executable,
        "-m",
        "pybind11_stubgen",
        "frametap._core",
        "--output-dir",
        str(tmp_path),
        "--exit-code",
    ]
    subprocess.run(command, check=True, capture_output=True)
    made = (tmp_path / "frametap" / "_core.pyi").read_text().splitlines()
    kept = (PACKAGE / "_core.pyi").read_text().splitlines()
    assert not list(difflib.unified_diff(kept, made, "_core.pyi", "generated", lineterm="")), (
        "run `make stubs`"
    )


def source_files() -> list[Path]:
    others = [
        path
        for top in ("tests", "benchmarks", "examples")
        for path in (ROOT / top).rglob("*")
        if path.suffix in {".py", ".h", ".cpp"}
    ]
    return [*modules(), *native_sources(), *others]


@pytest.mark.parametrize("path", source_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_file_budget(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= LINES_ALLOWED, (
        f"{path.relative_to(ROOT)} has {lines} lines: split it by subject"
    )
    if lines > LINES_WANTED:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(
                f"{path.relative_to(ROOT)} has {lines} lines, more than {LINES_WANTED}",
                stacklevel=1,
            )


def tracked_files() -> list[Path]:
    """What git keeps or would add; without git (an unpacked sdist), all but environments and builds."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.splitlines()]
    else:
        tops = [
            top
            for top in ROOT.iterdir()
            if top.name not in {".venv", ".venv-integrations", ".hypothesis", "build", "dist"}
        ]
        paths = [path for top in tops for path in [top, *top.rglob("*")]]
    return [path for path in paths if path.is_file() and "cache" not in str(path.relative_to(ROOT))]


def test_no_machine_paths() -> None:
    # Assembled so that this file does not find itself.
    forbidden = re.compile(rb"/" + rb"work/|/" + rb"root/|(?<![\w.])/" + rb"tmp/")
    for path in tracked_files():
        if path.relative_to(ROOT).parts[0] != "tests":
            found = forbidden.search(path.read_bytes())
            assert not found, (
                f"{path.relative_to(ROOT)} names a path of one machine: {found and found.group()}"
            )


def test_no_media_in_the_tree() -> None:
    media = {
        ".mp4",
        ".mkv",
        ".mov",
        ".webm",
        ".avi",
        ".ts",
        ".h264",
        ".hevc",
        ".ivf",
        ".obu",
        ".so",
        ".whl",
    }
    assert not [path for path in tracked_files() if path.suffix.lower() in media]


# --- documents: every snippet runs ------------------------------------------------------------------------------------


def snippets(language: str) -> list[object]:
    """All fenced blocks of one language in README.md and docs/*.md, in order."""
    found = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.finditer(
            rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL
        ):
            line = path.read_text()[: block.start()].count("\n") + 2
            found.append(pytest.param(block.group(1), id=f"{path.name}:{line}"))
    return found


@pytest.mark.usefixtures("playground")
@pytest.mark.parametrize("code", snippets("python"))
def test_python_snippet(code: str) -> None:
    for package in re.findall(r"^\s*(?:import|from) (torch|cupy|jax|ray)\b", code, re.MULTILINE):
        pytest.importorskip(package, reason=f"{package} is not installed")
    exec(compile(code, "snippet", "exec"), {"__name__": "snippet"})


@pytest.mark.usefixtures("playground")
@pytest.mark.parametrize("code", snippets("(?:console|sh|bash)"))
def test_shell_snippet(code: str) -> None:
    """Run the lines that start with `frametap`; those with make, pip and git are run by people and by CI."""
    commands = [line.removeprefix("$ ").partition("  #")[0].strip() for line in code.splitlines()]
    for command in commands:
        if command.startswith("frametap "):
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            result = subprocess.run(
                command,
                shell=True,
                capture_output=True,
                text=True,
                env={**os.environ, "PATH": path},
            )
            assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"


def documented_modules() -> list[str]:
    """All but __main__, and but frametap.integrations, whose examples run beside the libraries they need."""
    names = [
        ".".join(path.relative_to(ROOT / "python").with_suffix("").parts) for path in modules()
    ]
    names = [name for name in names if not name.startswith("frametap.integrations.")]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


@pytest.mark.usefixtures("playground")
@pytest.mark.parametrize("name", documented_modules())
def test_docstring_examples(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert failed == 0, "see the captured output"
