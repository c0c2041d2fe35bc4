"""How commands print: text for people, JSON for scripts, progress on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import frametap as ft
from frametap.doctor import Diagnosis

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)


def format_bytes(count: float) -> str:
    """Return a size as people say it, in powers of 1000.

    Example:
        >>> format_bytes(54_935_636)
        '54.9 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on stderr while inside; call what is yielded after each of `total` steps."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def print_json(value: object) -> None:
    """Print as JSON: dataclasses as objects, fractions as numbers, arrays as lists."""
    print(json.dumps(value, indent=2, default=_plain))


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return float(value) if isinstance(value, Fraction) else str(value)


def facts_table(title: str = "") -> Table:
    """Return an empty table of two columns: name and value."""
    table = Table(
        title=title or None, title_justify="left", show_header=False, box=None, pad_edge=False
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    return table


def print_facts(title: str, facts: Mapping[str, Any]) -> None:
    """Print one line per fact, names in the words of the dataclass they come from."""
    table = facts_table(f"[bold]{title}[/]")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), "-" if value is None else str(value))
    stdout.print(table)


def plan_facts(plan: ft.Plan) -> dict[str, Any]:
    """Return what a script wants to know of a plan: counts, bytes, and each run in packets."""
    index = plan.index
    return {
        "frames": plan.frames,
        "frames_in_video": len(index),
        "packets_fed": plan.packets,
        "packets_in_video": len(index.packet_size),
        "bytes_fed": plan.bytes,
        "bytes_in_video": int(index.packet_size.sum()),
        "runs": [{"start": run.start, "stop": run.stop, "frames": run.frames} for run in plan.runs],
    }


def print_plan(plan: ft.Plan) -> None:
    """Print the plan's own account under a strip of the file: what is wanted, where decoding can start, what is fed."""
    index, total = plan.index, len(plan.index.packet_size)
    columns = min(total, stdout.width - 10, 100)
    fed = np.zeros(total)
    for run in plan.runs:
        fed[run.start : run.stop] = 1
    column_of = np.arange(total) * columns // max(1, total)
    share = np.bincount(column_of, fed, columns) / np.bincount(column_of, minlength=columns)
    wanted = np.bincount(column_of[index.decode_order[plan.frames]], minlength=columns)
    keys = np.bincount(column_of[index.decode_order[index.keyframes]], minlength=columns)
    strip = facts_table()
    strip.add_row("wanted", "".join("▼" if count else " " for count in wanted), style="cyan")
    strip.add_row(
        "fed", "".join(" ░▒▓█"[round(float(part) * 4 + 0.49)] for part in share), style="green"
    )
    strip.add_row("keys", "".join("▲" if count else " " for count in keys), style="dim")
    stdout.print(strip)
    stdout.print()
    print(plan)


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Print what `frametap doctor` found, most useful things first."""
    cuda = diagnosis.cuda
    table = facts_table()
    table.add_row("frametap", f"{diagnosis.frametap}  (Python {diagnosis.python})")
    table.add_row("CPU", f"{diagnosis.cpu}, {diagnosis.cpu_threads} threads")
    table.add_row("", f"{_mark(True)} conversion code for [bold]{diagnosis.cpu_isa}[/]")
    table.add_section()
    for codec, decoder in diagnosis.decoders.items():
        table.add_row(
            "decodes" if codec == "h264" else "",
            f"{_mark(decoder is not None)} {_codec(codec, decoder)}",
        )
    table.add_row(
        "FFmpeg", "  ".join(f"{name[3:]} {version}" for name, version in diagnosis.ffmpeg.items())
    )
    kernels = (
        f"{format_bytes(cuda.kernel_bytes)} built in"
        if cuda.kernel_bytes
        else "not built: no nvcc at build time"
    )
    table.add_row("CUDA", f"{_mark(cuda.driver is not None)} driver {cuda.driver or 'not found'}")
    table.add_row("", f"{_mark(cuda.nvdec)} NVDEC library {'found' if cuda.nvdec else 'not found'}")
    table.add_row("", f"{_mark(cuda.kernel_bytes > 0)} conversion kernels {kernels}")
    for device in cuda.devices:
        table.add_row("", f"{_mark(True)} {device}")
    usable = "usable" if cuda.usable else f"not usable: {cuda.why}"
    table.add_row("", f'{_mark(cuda.usable)} [bold]device="cuda"[/] {usable}')
    installed = (f"{name} {version}" for name, version in diagnosis.packages.items() if version)
    missing = (name for name, version in diagnosis.packages.items() if not version)
    table.add_row("packages", ", ".join(installed))
    table.add_row("", f"[dim]not installed: {', '.join(missing)}[/]")
    stdout.print(table)


def _mark(good: bool) -> str:
    return "[green]✓[/]" if good else "[red]✗[/]"


def _codec(codec: str, decoder: str | None) -> str:
    if decoder is None:
        return f"{codec}: no decoder in this FFmpeg"
    return codec if decoder == codec else f"{codec} with {decoder}"
