"""The commands of `frametap`: each parses, calls the library, prints."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer

import frametap as ft
from frametap import demo as demonstration
from frametap import doctor as doctoring
from frametap.cli.measure import measure, time_all_frames, time_samples
from frametap.cli.names import VIDEO_SUFFIXES, file_name, index_path, videos_below
from frametap.cli.options import SamplerOptions, TransformOptions, with_options
from frametap.cli.output import (
    busy,
    info_facts,
    plan_facts,
    print_costs,
    print_diagnosis,
    print_facts,
    print_json,
    print_plan,
    progress,
)
from frametap.cli.save import WRITERS, writing
from frametap.cli.sheet import contact_sheet, format_time, tile_size
from frametap.engines.base import OnError
from frametap.sampler import Sampler
from frametap.source import is_url

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Not a Path, which makes one slash of two: a URL would be none any more.
Source = Annotated[
    str, typer.Argument(metavar="VIDEO", help="A video file, or its URL.", show_default=False)
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of text.")]


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    """Take from a video exactly the frames a model will see.

    Start with [bold]frametap demo[/], then [bold]frametap sheet VIDEO[/].
    Every command explains itself: frametap plan --help.
    """
    if version:
        print(ft.__version__)
        raise typer.Exit


# --- commands -------------------------------------------------------------------------------------------------------


@app.command()
def demo(
    video: Annotated[
        str | None, typer.Argument(metavar="[VIDEO]", help="Your own clip.", show_default=False)
    ] = None,
    sheet: Annotated[Path, typer.Option(help="Where the contact sheet goes.")] = Path(
        "frametap_demo.png"
    ),
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps the synthesised clip.", show_default="~/.cache/frametap"
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Sample a clip end to end, print what it cost, write a contact sheet.

    Without VIDEO it first makes one: 24 s of 1080p H.264 with B-frames and a dozen keyframe intervals.
    """
    video = video or str(_demo_clip(cache or Path.home() / ".cache" / "frametap"))
    sampler, transform = ft.Uniform(32), ft.Transform(size=(224, 224))
    with busy("sampling in a fresh process"):
        measured = measure(video, sampler, transform, device)
    _draw_sheet(video, ft.Uniform(20), sheet, device=device)
    print_costs(file_name(video), sampler, measured)
    print(f"contact sheet: {sheet}")


@app.command()
def probe(video: Source, as_json: AsJson = False) -> None:
    """Say what a file holds, from its headers: codec, size, rate, colour, rotation.

    Example: [bold]frametap probe talk.mp4 --json | jq .average_fps[/]
    """
    info = ft.probe(video)
    if as_json:
        print_json(info)
    else:
        print_facts(video, info_facts(info))


@app.command()
@with_options
def sample(
    video: Source,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Ends in .npy, .npz, .safetensors or .png."
        ),
    ],
    sampling: SamplerOptions,
    transforming: TransformOptions,
    on_error: Annotated[
        OnError,
        typer.Option(help="What to do about a frame that cannot be decoded."),
    ] = "raise",
    device: Device = "auto",
) -> None:
    """Sample frames into a file that a model or a notebook can load.

    [bold].npy[/] holds the frames, [bold].npz[/] and [bold].safetensors[/] also their numbers and times;
    [bold].png[/] writes a picture per frame, its number in the name. Without a choice of frames: 32, evenly spread.

    Examples:

        frametap sample talk.mp4 -o talk.npz --rate 2 --size 224x224

        frametap sample talk.mp4 -o clip.safetensors -n 16 --size 256 --crop 224x224 --dtype bfloat16

        frametap sample talk.mp4 -o still.png --at 1.5
    """
    suffix = output.suffix.lower()
    save = WRITERS.get(suffix)
    if save is None:
        raise typer.BadParameter(
            f"cannot write '{output.suffix}': end --output in {', '.join(WRITERS)}"
        )
    if suffix == ".png" and (transforming.dtype != "uint8" or transforming.color == "bgr"):
        raise typer.BadParameter(
            "PNG holds uint8 RGB or gray; drop --dtype and --color bgr, or write .npz"
        )
    if suffix in (".npy", ".npz") and transforming.dtype == "bfloat16":
        raise typer.BadParameter(
            "numpy files have no bfloat16: write .safetensors, or use --dtype float16"
        )
    transform = transforming.build(**({"layout": "NHWC"} if suffix == ".png" else {}))
    sampler = sampling.build(default=32)
    with busy("sampling"):
        batch = ft.sample(
            video,
            sampler,
            transform,
            device=device,
            on_error=on_error,
            snap_seconds=sampling.snap,
        )
    with writing(output):
        names = save(output, batch)
    report = batch.report
    print(
        f"{names}: {batch.dtype} {tuple(batch.shape)}, {report.decoded} pictures decoded by {report.engine}"
    )


@app.command()
@with_options
def sheet(
    video: Source,
    sampling: SamplerOptions,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="PNG to write.", show_default="VIDEO.sheet.png"
        ),
    ] = None,
    tile: Annotated[
        int, typer.Option(min=32, max=2048, help="Longer side of a tile, in pixels.")
    ] = 320,
    columns: Annotated[
        int | None, typer.Option(min=1, help="Tiles per row.", show_default="chosen")
    ] = None,
    device: Device = "auto",
) -> None:
    """Draw a contact sheet: the sampled frames on one picture, each with its time.

    Without a choice of frames: 20, evenly spread.

    Examples:

        frametap sheet talk.mp4

        frametap sheet talk.mp4 -o cuts.png --keyframes --tile 240
    """
    output = output or Path(f"{file_name(video)}.sheet.png")
    _draw_sheet(video, sampling.build(default=20), output, tile, columns, device, sampling.snap)
    print(output)


@app.command()
@with_options
def plan(
    video: Source, sampling: SamplerOptions, device: Device = "auto", as_json: AsJson = False
) -> None:
    """Show what sampling would decode and what it saves, without decoding anything.

    The strip is the file from beginning to end. Without a choice of frames: 32, evenly spread.

    Example: [bold]frametap plan talk.mp4 --rate 0.5[/]
    """
    sampler = sampling.build(default=32)
    with busy("indexing"), ft.open(video, device=device) as reader:
        planned = reader.plan(sampler, snap_seconds=sampling.snap)
    if as_json:
        print_json(plan_facts(planned))
    else:
        print_plan(planned)


@app.command()
def index(
    path: Annotated[
        str,
        typer.Argument(
            metavar="VIDEO|DIR", help="One file or URL, or a folder of files.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Where the index of one file goes.", show_default="VIDEO.ftidx"
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Files scanned at a time.")] = 4,
    as_json: AsJson = False,
) -> None:
    """Write the frame index of a file, or of every video below a folder, beside it as VIDEO.ftidx (of a URL: here).

    The index knows each frame's time, place and keyframe, so that later opens need not scan:
    frametap.open("talk.mp4", index="talk.mp4.ftidx").
    """
    folder = Path(path) if not is_url(path) and Path(path).is_dir() else None
    if output is not None and folder is not None:
        raise typer.BadParameter("--output names the index of one file, but a folder was given")
    videos = [path] if folder is None else videos_below(folder)
    if not videos:
        raise ft.SourceError(
            f"no video files below '{path}'; known endings: {' '.join(sorted(VIDEO_SUFFIXES))}"
        )
    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(workers) as pool, progress("indexing", len(videos)) as advance:
        for row in pool.map(lambda video: _index_one(video, output or index_path(video)), videos):
            rows.append(row)
            advance()
    failed = [row for row in rows if "error" in row]
    if as_json:
        print_json(rows)
    elif not failed or len(rows) > 1:
        frames = sum(row.get("frames", 0) for row in rows)
        print(f"{len(rows) - len(failed)} indexed, {frames:,} frames, {len(failed)} failed")
    for row in failed:
        print(f"error: {row['error']}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


@app.command()
def bench(
    video: Source,
    size: Annotated[int, typer.Option(min=1, help="Shorter side of the frames.")] = 224,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time per measurement, about.")] = 5.0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Decoder threads.", show_default="all cores")
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure on this machine: every frame in order, and 32 frames from all over the file.

    The clock starts after the index is built, which reads the file: the page cache is warm.
    """
    transform = ft.Transform(size=size)
    facts: dict[str, Any] = {"video": video, "threads": threads, "size": size}
    opened = ft.open(video, device=device, transform=transform, threads=threads)
    with busy("measuring"), opened as reader:
        facts |= time_all_frames(reader, seconds)
        facts |= time_samples(reader, seconds)
    if as_json:
        print_json(facts)
    else:
        print_facts(f"{video} on this machine", facts)


@app.command()
def doctor(
    device: Annotated[
        str, typer.Option(help="Exit with 1 when this device cannot be used.")
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Say what this machine can do: versions, instruction set, decoders, CUDA.

    Example: [bold]frametap doctor --device cuda || echo "no GPU decoding here"[/]
    """
    diagnosis = doctoring.diagnose()
    if as_json:
        print_json(diagnosis)
    else:
        print_diagnosis(diagnosis)
    if device.startswith("cuda") and not diagnosis.cuda.usable:
        print(
            f"error: CUDA was asked for and cannot be used: {diagnosis.cuda.why}", file=sys.stderr
        )
        raise typer.Exit(1)


# --- what commands are made of --------------------------------------------------------------------------------------


def _demo_clip(folder: Path) -> Path:
    path = folder / demonstration.CLIP_NAME
    if not path.exists():
        with progress("making a clip (once)", demonstration.FRAMES) as advance:
            demonstration.synthesize(path, advance)
    return path


def _draw_sheet(
    video: str,
    sampler: Sampler,
    output: Path,
    tile: int = 320,
    columns: int | None = None,
    device: str = "auto",
    snap_seconds: float = 0.0,
) -> None:
    with busy("indexing"), ft.open(video, device=device) as reader:
        info, count = reader.info, len(reader)
    # Stored pixels may not be square; on the sheet they are.
    shown_width = round(info.width * info.sample_aspect_ratio)
    size = tile_size(shown_width, info.height, tile)
    transform = ft.Transform(size=size, layout="NHWC")
    with busy("sampling"):
        batch = ft.sample(
            video,
            sampler,
            transform,
            device=device,
            index=reader.index,
            on_error="black",
            snap_seconds=snap_seconds,
        )
    if batch.error is not None:
        print(f"{(~batch.ok).sum()} frames are black: {batch.error}", file=sys.stderr)
    sheet = contact_sheet(
        batch.numpy(),
        batch.pts_seconds,
        title=file_name(video),
        subtitle=f"{info.width}x{info.height} {info.codec}  ·  {info.average_fps:.4g} fps"
        f"  ·  {format_time(info.duration_seconds)}  ·  {count:,} frames",
        columns=columns,
    )
    with writing(output):
        sheet.save(output, format="PNG")


def _index_one(video: str, output: Path) -> dict[str, Any]:
    """Index one file; an error becomes a row, so that one bad file does not stop a folder."""
    try:
        made = ft.FrameIndex.build(video)
        made.save(output)
    except ft.FrametapError as error:
        return {"video": video, "error": str(error)}
    return {"video": video, "index": str(output), "frames": len(made)}
