"""The options that commands share: which frames, and what to make of them.

A command takes one parameter per group, `sampling: SamplerOptions`; `@with_options` shows typer
the group's fields instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

import frametap as ft
from frametap.sampler import Sampler

R = TypeVar("R")
T = TypeVar("T")
Number = TypeVar("Number", int, float)

_FRAMES = "Which frames (one of)"
_PIXELS = "What to make of them"


def _which(*names: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(
        *names, help=help, metavar=metavar, rich_help_panel=_FRAMES, show_default=False
    )


def _what(*names: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=_PIXELS)


@dataclass(frozen=True, slots=True)
class SamplerOptions:
    """Options that name a temporal sampler; `build` makes it."""

    uniform: Annotated[
        int | None, _which("--uniform", "-n", metavar="N", help="N frames, evenly spread.")
    ] = None
    rate: Annotated[
        float | None, _which("--rate", "-r", metavar="FPS", help="FPS frames per second of video.")
    ] = None
    every: Annotated[int | None, _which("--every", metavar="K", help="Every K-th frame.")] = None
    at: Annotated[
        str | None, _which("--at", metavar="S,S,...", help="The frames on screen at these seconds.")
    ] = None
    indices: Annotated[
        str | None,
        _which("--indices", metavar="I,I,...", help="These frame numbers; negative from the end."),
    ] = None
    keyframes: Annotated[bool, _which("--keyframes", help="All keyframes.")] = False
    max_frames: Annotated[
        int | None,
        _which("--max-frames", metavar="N", help="With --rate or --keyframes: N frames at most."),
    ] = None
    start: Annotated[
        float | None, _which("--start", metavar="S", help="Only frames from this second on.")
    ] = None
    end: Annotated[
        float | None, _which("--end", metavar="S", help="Only frames before this second.")
    ] = None

    snap: Annotated[
        float,
        _which("--snap", metavar="S", help="Let frames move this far to one cheaper to decode."),
    ] = 0.0

    def build(self, default: int) -> Sampler:
        """Return the sampler that was asked for, `Uniform(default)` when none was; wrong use exits with 2."""
        named = [
            name
            for name in _BUILDERS
            if (value := getattr(self, name)) is not None and value is not False
        ]
        if len(named) > 1:
            raise typer.BadParameter(
                f"--{named[0]} and --{named[1]} exclude each other: name one way to choose frames"
            )
        if self.max_frames is not None and named not in (["rate"], ["keyframes"]):
            raise typer.BadParameter("--max-frames goes with --rate or --keyframes")
        window = {"start_seconds": self.start, "end_seconds": self.end}
        try:
            return _BUILDERS[named[0]](self, window) if named else ft.Uniform(default, **window)
        except (ValueError, TypeError) as error:
            raise typer.BadParameter(str(error)) from None


_BUILDERS: dict[str, Callable[[SamplerOptions, dict[str, Any]], Sampler]] = {
    "uniform": lambda o, window: ft.Uniform(_some(o.uniform), **window),
    "rate": lambda o, window: ft.Rate(_some(o.rate), max_frames=o.max_frames, **window),
    "every": lambda o, window: ft.Every(_some(o.every), **window),
    "at": lambda o, window: ft.At(numbers(_some(o.at), float), **window),
    "indices": lambda o, window: ft.Indices(numbers(_some(o.indices), int), **window),
    "keyframes": lambda o, window: ft.Keyframes(max_frames=o.max_frames, **window),
}


@dataclass(frozen=True, slots=True)
class TransformOptions:
    """Options that name a spatial and numeric transform; `build` makes it."""

    size: Annotated[
        str | None, _what("--size", "-s", metavar="N|HxW", help="Shorter side, or height x width.")
    ] = None
    crop: Annotated[
        str | None,
        _what("--crop", metavar="HxW", help="Keep this much of the middle, after --size."),
    ] = None
    letterbox: Annotated[
        bool, _what("--letterbox", help="Keep proportions, pad to --size HxW.")
    ] = False
    filter: Annotated[
        str, _what("--filter", help="bilinear, bicubic, lanczos, area or nearest.")
    ] = "bilinear"
    dtype: Annotated[str, _what("--dtype", help="uint8, float16, bfloat16 or float32.")] = "uint8"
    layout: Annotated[str, _what("--layout", help="NCHW or NHWC.")] = "NCHW"
    color: Annotated[str, _what("--color", help="rgb, bgr or gray.")] = "rgb"
    mean: Annotated[
        str | None, _what("--mean", metavar="R,G,B", help="Subtract, in 0..1; float dtypes.")
    ] = None
    std: Annotated[
        str | None, _what("--std", metavar="R,G,B", help="Divide by, in 0..1; float dtypes.")
    ] = None

    def build(self, **changes: Any) -> ft.Transform:
        """Return the transform that was asked for, with `changes` on top; wrong use exits with 2."""
        wanted: dict[str, Any] = {
            "size": None if self.size is None else parse_size(self.size),
            "window": None if self.crop is None else ft.CenterCrop(_pair(self.crop)),
            "pad": ft.Letterbox() if self.letterbox else None,
            "filter": self.filter,
            "dtype": self.dtype,
            "layout": self.layout,
            "color": self.color,
            "mean": None if self.mean is None else tuple(numbers(self.mean, float)),
            "std": None if self.std is None else tuple(numbers(self.std, float)),
        }
        try:
            return ft.Transform(**{**wanted, **changes})
        except (ValueError, TypeError) as error:
            raise typer.BadParameter(str(error)) from None


def numbers(text: str, kind: type[Number]) -> list[Number]:
    """Return the numbers of a comma-separated list."""
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is not a comma-separated list of {kind.__name__}s, like 1,2,3"
        ) from None


def parse_size(text: str) -> int | tuple[int, int]:
    """Return the size that `224` or `224x336` (height x width) means."""
    return int(text) if text.isdecimal() else _pair(text)


def _pair(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise typer.BadParameter(
            f"'{text}' is not a size: write 224, or 224x336 for height x width"
        )
    return int(height), int(width)


def _some(value: T | None) -> T:
    assert value is not None
    return value


def with_options(command: Callable[..., R]) -> Callable[..., R]:
    """Let typer see the fields of SamplerOptions and TransformOptions parameters as options of the command."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {
        name: kind for name, kind in hints.items() if kind in (SamplerOptions, TransformOptions)
    }
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name not in groups:
            parameters.append(parameter.replace(annotation=hints[parameter.name]))
            continue
        kind = groups[parameter.name]
        kinds = get_type_hints(kind, include_extras=True)
        for field in fields(kind):
            parameters.append(
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=field.default,
                    annotation=kinds[field.name],
                )
            )

    @wraps(command)
    def run(**arguments: Any) -> R:
        for name, kind in groups.items():
            arguments[name] = kind(
                **{field.name: arguments.pop(field.name) for field in fields(kind)}
            )
        return command(**arguments)

    by_kind = sorted(parameters, key=lambda parameter: parameter.kind)
    run.__signature__ = inspect.Signature(by_kind)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in by_kind}
    return run
