"""What callers of torchcodec pass, checked and turned into what frametap takes; refusals use torchcodec's words."""

from __future__ import annotations

import io
import json
import os
from typing import Any

import torch

import frametap as ft

DTYPES = {torch.uint8: "uint8", torch.float32: "float32", "auto": "auto"}
_MODES, _ORDERS = ("exact", "approximate"), ("NCHW", "NHWC")
_MAPPING_KEYS = (("pts", "pkt_pts"), ("duration", "pkt_duration"), ("key_frame",))


def check_arguments(
    dimension_order: str, threads: Any, seek_mode: str, dtype: Any, mappings: Any
) -> None:
    """Refuse what a decoder cannot be made with."""
    if seek_mode not in _MODES:
        raise ValueError(f"Invalid seek mode ({seek_mode}): set it to {' or '.join(_MODES)}")
    if dimension_order not in _ORDERS:
        raise ValueError(
            f"Invalid dimension order ({dimension_order}): set it to {' or '.join(_ORDERS)}"
        )
    if threads is None:
        raise ValueError("num_ffmpeg_threads = None should be an int; 0: all cores")
    if dtype not in DTYPES:
        raise ValueError(
            f"Invalid output_dtype ({dtype}): set it to torch.uint8, torch.float32 or 'auto'"
        )
    if mappings is not None:
        if seek_mode == "approximate":
            raise ValueError(
                "custom_frame_mappings is incompatible with seek_mode='approximate': leave one of them out"
            )
        _check_mappings(mappings)


def _check_mappings(mappings: Any) -> None:
    invalid, remedy = "Invalid custom frame mappings", "pass what ffprobe -show_frames writes"
    try:
        content = json.load(mappings) if hasattr(mappings, "read") else json.loads(mappings)
    except json.JSONDecodeError as error:
        raise ValueError(f"{invalid}: no JSON: {error}; {remedy} as JSON") from error
    frames = content.get("frames") if isinstance(content, dict) else None
    if not frames:
        raise ValueError(f"{invalid}: empty or missing the required 'frames' key; {remedy}")
    if not all(any(name in frames[0] for name in names) for names in _MAPPING_KEYS):
        raise ValueError(
            f"{invalid}: the 'pts'/'pkt_pts', 'duration'/'pkt_duration', and 'key_frame' keys are required in the frame "
            f"metadata; {remedy}"
        )


def device_name(device: str | torch.device | None) -> str:
    """Return what frametap calls a device; torch's default device for None.

    Raises:
        RuntimeError: torch knows no such device (torch says so), or there is no decoder for it.
    """
    named = torch.device(str(torch.get_default_device() if device is None else device))
    if named.type not in ("cpu", "cuda"):
        raise ft.DeviceError(f"Unknown device type: {named.type}; decode on 'cpu' or 'cuda'")
    return "cpu" if named.type == "cpu" else str(named)


def readable(source: Any) -> Any:
    """Return what `frametap.open` reads for anything that torchcodec reads."""
    if isinstance(source, torch.Tensor):
        if source.dtype != torch.uint8 or source.ndim != 1:
            raise ValueError(
                f"a tensor source is 1-D uint8, got {source.dtype} of shape {tuple(source.shape)}"
            )
        return memoryview(source.cpu().contiguous().numpy())
    if isinstance(source, (str, os.PathLike, bytes)):
        return source
    if isinstance(source, io.TextIOBase):
        raise TypeError("source is open for reading text: try with 'rb' for binary reading?")
    if hasattr(source, "read") and hasattr(source, "seek"):
        return source if hasattr(source, "tell") else _Telling(source)
    raise TypeError(
        f"Unknown source type: {type(source).__name__}; pass a path, a URL, bytes, a uint8 tensor, or a file object with "
        f"read and seek"
    )


def frame_numbers(indices: Any) -> list[int]:
    """Return plain numbers for a list, a tensor or one number; a tensor of fractions is rounded towards 0, as there.

    Raises:
        TypeError, ValueError, RuntimeError: they are no numbers, as torch says it, or not whole.
    """
    try:
        numbers = torch.as_tensor(indices)
    except (TypeError, ValueError, RuntimeError) as error:
        raise type(error)(f"frame numbers are integers, got {indices!r:.80}: {error}") from error
    if numbers.ndim > 1:
        raise TypeError(f"frame numbers are a list, got the shape {tuple(numbers.shape)}")
    if numbers.is_floating_point() and numbers.numel() and not isinstance(indices, torch.Tensor):
        raise TypeError(
            f"frame numbers are integers, got {indices!r:.80}; for times use get_frames_played_at"
        )
    plain: list[int] = numbers.to(torch.int64).reshape(-1).tolist()
    return plain


def times(seconds: Any) -> torch.Tensor:
    """Return float64[N] on the CPU for a list, a tensor or one time.

    Raises:
        ValueError: they are no times.
    """
    try:
        return torch.as_tensor(seconds, dtype=torch.float64).cpu().reshape(-1)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"Couldn't convert timestamps input to a tensor: {error}; pass seconds as numbers"
        ) from error


class _Telling:
    """A file object of which torchcodec asks no more than read(size) and seek(offset, whence), which returns the position."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int) -> Any:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return self.seek(0, os.SEEK_CUR)
