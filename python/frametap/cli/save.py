"""Write a batch to a file, in the format that its name ends in."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import frametap as ft

# numpy's name of a dtype -> safetensors' name.
_SAFETENSORS_DTYPES = {
    "uint8": "U8",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "int64": "I64",
}


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Make the folder of a file to be written, and name the file where an error does not, as of a full disk."""
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno, reason, error.filename or str(output)) from error


def save_npy(path: Path, batch: ft.FrameBatch) -> str:
    """Write the frames alone; return what to call the result."""
    # To a name that does not end in .npy numpy adds that, to one that ends in .NPY, too.
    with path.open("wb") as file:
        np.save(file, batch.numpy())
    return str(path)


def save_npz(path: Path, batch: ft.FrameBatch) -> str:
    """Write `frames`, `indices`, `pts_seconds` and `duration_seconds`; return what to call the result."""
    with path.open("wb") as file:
        np.savez(file, frames=batch.numpy(), **_facts(batch))
    return str(path)


def save_safetensors(path: Path, batch: ft.FrameBatch) -> str:
    """Write what `save_npz` writes, as safetensors; return what to call the result.

    The format is eight bytes of header length, JSON, then the arrays back to back. Written here because the package's
    numpy interface has no bfloat16.
    """
    # The batch itself keeps bfloat16 as its bits, which numpy() refuses to pass off as numbers.
    frames = batch._data if batch.dtype == "bfloat16" else batch.numpy()
    arrays = {"frames": frames, **_facts(batch)}
    dtypes = {
        "frames": batch.dtype,
        **{name: str(array.dtype) for name, array in _facts(batch).items()},
    }
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": _SAFETENSORS_DTYPES[dtypes[name]],
            "shape": array.shape,
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the arrays start aligned
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            array.tofile(file)
    return str(path)


def save_png(path: Path, batch: ft.FrameBatch) -> str:
    """Write a picture per frame, its number in the name when there are several; return what to call the result."""
    frames = batch.numpy()
    if frames.shape[-1] == 1:
        frames = frames[..., 0]
    if len(frames) == 1:
        Image.fromarray(frames[0]).save(path)
        return str(path)
    names = [path.with_stem(f"{path.stem}_{number:06}") for number in batch.indices]
    for name, frame in zip(names, frames, strict=True):
        Image.fromarray(frame).save(name)
    return f"{names[0]} .. {names[-1].name}"


def _facts(batch: ft.FrameBatch) -> dict[str, Any]:
    return {
        "indices": np.asarray(batch.indices, np.int64),
        "pts_seconds": np.asarray(batch.pts_seconds, np.float64),
        "duration_seconds": np.asarray(batch.duration_seconds, np.float64),
    }


WRITERS: dict[str, Callable[[Path, ft.FrameBatch], str]] = {
    ".npy": save_npy,
    ".npz": save_npz,
    ".safetensors": save_safetensors,
    ".png": save_png,
}
