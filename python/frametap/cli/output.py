"""How commands print: text for people, JSON for scripts, progress on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, is_dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import frametap as ft
from frametap.cli.measure import Measured
from frametap.cli.sheet import format_time
from frametap.doctor import Diagnosis
from frametap.sampler import Sampler

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
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def busy(what: str) -> AbstractContextManager[object]:
    """Show a spinner on stderr while inside, where there is no telling how far it has got."""
    return stderr.status(what) if stderr.is_terminal else nullcontext()


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


def print_costs(name: str, sampler: Sampler, measured: Measured) -> None:
    """Print what a job took in, gave out and cost."""
    stdout.print(f"[bold]{name}[/]: {sampler} as {measured.shape} uint8, {measured.engine} engine")
    table = Table(box=box.ROUNDED, show_header=False)
    saving = measured.rgb_bytes / measured.batch_bytes
    table.add_column()
    table.add_column(justify="right", style="bold")
    table.add_column(style="dim")
    table.add_row(
        "compressed clip", format_bytes(measured.clip_bytes), f"{measured.frames:,} frames"
    )
    table.add_row(
        "every frame as RGB", format_bytes(measured.rgb_bytes), "what decoding it all would hold"
    )
    table.add_row("the batch", format_bytes(measured.batch_bytes), f"{saving:,.0f} times less")
    table.add_row(
        "growth of peak host memory",
        format_bytes(measured.peak_growth),
        f"fresh process, {measured.how}",
    )
    table.add_row("time", f"{measured.seconds:.2f} s", "open, index, decode, convert")
    table.add_row("pictures decoded", f"{measured.decoded:,}", f"of {measured.frames:,}")
    stdout.print(table)


def info_facts(info: ft.VideoInfo) -> dict[str, object]:
    """Return what `probe` prints: the facts people ask for, in reading order."""
    turned = f", shown turned by {info.rotation}°" if info.rotation else ""
    shape = "" if info.sample_aspect_ratio == 1 else f", pixels {info.sample_aspect_ratio:.4g} wide"
    stated = {"matrix": info.matrix, "primaries": info.primaries, "transfer": info.transfer}
    colors = [f"{name} {value}" for name, value in stated.items() if value != "unspecified"]
    color = ", ".join([*colors, f"{'full' if info.full_range else 'limited'} range"])
    return {
        "video": f"{info.codec} {info.profile or ''}".strip(),
        "picture": f"{info.width} × {info.height}{turned}{', mirrored' if info.mirrored else ''}{shape}",
        "pixels": f"{info.pixel_format}, {info.bit_depth} bits",
        "colour": color if colors else f"not stated, {color}",
        "rate": f"{info.average_fps:.6g} frames per second",
        "frames": f"{info.num_frames:,} announced" if info.num_frames else "not announced",
        "duration": f"{format_time(info.duration_seconds)} from {format_time(info.start_seconds)}",
        "bit_rate": f"{info.bit_rate / 1000:,.0f} kb/s" if info.bit_rate else "not announced",
        "container": info.container,
        "stream": f"number {info.stream_index}, time base {info.time_base}",
    }


def plan_facts(plan: ft.Plan) -> dict[str, Any]:
    """Return what a script wants to know of a plan: counts, bytes, and each run in packets."""
    index = plan.index
    return {
        "frames": plan.frames,
        "frames_in_video": len(index),
        "packets_fed": plan.packets,
        "packets_dropped": plan.dropped,
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
        fed[run.start : run.stop] = run.feed
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
    decodes = (_codec(codec, decoder) for codec, decoder in diagnosis.decoders.items())
    table.add_row("decodes", "  ".join(decodes))
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
    for codec in cuda.nvdec_codecs:
        table.add_row("", f"  {codec}")
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
    named = codec if decoder in (codec, None) else f"{codec} ({decoder})"
    return f"{_mark(decoder is not None)} {named}"
