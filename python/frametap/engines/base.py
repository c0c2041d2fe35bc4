"""What all engines share: where converted frames go, what happens to those that fail, and what was done."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from math import prod
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from frametap import output
from frametap._core import Converter
from frametap.errors import DecodeError
from frametap.geometry import ConvertParams, PictureFormat
from frametap.plan import Plan
from frametap.transform import Transform

OnError: TypeAlias = Literal["raise", "skip", "repeat", "black"]
Shape: TypeAlias = tuple[int, int, int]

_ITEM_BYTES = {"uint8": 1, "float16": 2, "bfloat16": 2, "float32": 4}


def check_on_error(on_error: str) -> None:
    """Refuse an error policy that does not exist with a ValueError."""
    if on_error not in get_args(OnError):
        raise ValueError(
            f"on_error must be one of {', '.join(get_args(OnError))}, got {on_error!r}"
        )


@dataclass
class Report:
    """What it took to make a batch.

    Attributes:
        engine: "cpu", "nvdec", ...
        why: one sentence on why this engine was used.
        decoded: pictures that came out of the decoder.
        skipped: packets of the video that were not fed to a decoder.
        mapped: pictures that were converted: each wanted frame once.
        bytes_read: compressed bytes fed.
        peak_staging_bytes: bytes of intermediate copies of pictures (0 on the CPU engine, which reads them in place).
        moved_seconds: float64[N], how far `snap_seconds` moved each frame (positive: later); empty without it.
        milliseconds: time per stage, summed over threads ("index", "decode", "convert"), and "total" of the wall clock.
    """

    engine: str
    why: str
    decoded: int = 0
    skipped: int = 0
    mapped: int = 0
    bytes_read: int = 0
    peak_staging_bytes: int = 0
    moved_seconds: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    milliseconds: dict[str, float] = field(default_factory=dict)

    def add(
        self, *, decoded: int = 0, mapped: int = 0, bytes_read: int = 0, **milliseconds: float
    ) -> None:
        """Add what one worker did; call it under the destination's lock."""
        self.decoded += decoded
        self.mapped += mapped
        self.bytes_read += bytes_read
        for stage, spent in milliseconds.items():
            self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + spent


class Target(Protocol):
    """The memory that an engine writes batches to, and what converts pictures into it."""

    device: str

    def claim(self, out: Any) -> Any:
        """Return the caller's tensor as `allocate` takes it; to be called on the caller's thread."""
        ...

    def allocate(self, shape: tuple[int, ...], dtype: str, out: Any) -> Any:
        """Return an array of this shape in that memory: the claimed `out` if it is not None, after checking that it fits."""
        ...

    def converter(self, params: ConvertParams) -> Any:
        """Return the converter of these numbers."""
        ...

    def address(self, array: Any) -> int:
        """Return where an array begins."""
        ...


class HostTarget:
    """Batches in host memory."""

    device = "cpu"

    def claim(self, out: Any) -> Any:
        """Return the tensor itself: host memory is ordered by nothing."""
        return out

    def allocate(self, shape: tuple[int, ...], dtype: str, out: Any) -> NDArray[np.generic]:
        """Return fresh memory, or the caller's."""
        return output.allocate(shape, dtype) if out is None else output.adopt(out, shape, dtype)

    def converter(self, params: ConvertParams) -> Converter:
        """Return the CPU converter."""
        return _converter(params)

    def address(self, array: NDArray[np.generic]) -> int:
        """Return the address of the first element."""
        return int(array.ctypes.data)


class Destination:
    """The slots that a batch's frames are converted into; made when the first picture tells their shape.

    Every wanted frame is converted once, into the first slot that asks for it; duplicates are copied at the end.

    Args:
        frames: int64[N], frame number of each slot.
        nominal_size: (width, height) of the video's pictures by its headers: the shape of a batch follows from it, whichever
            picture comes first, and pictures of another size are resized to fit.
        transform: what to make of the pictures.
        target: the memory they are in.
        out: the caller's tensor to use as that memory.
    """

    def __init__(
        self,
        frames: NDArray[np.int64],
        nominal_size: tuple[int, int],
        transform: Transform,
        target: Target,
        out: Any = None,
    ) -> None:
        self.frames = frames
        self.nominal_size = nominal_size
        self.transform = transform
        self.lock = threading.Lock()
        self.data: Any = None  # an array of the target
        self.params: ConvertParams | None = None
        self.failures: dict[int, DecodeError] = {}
        self._target = target
        self._out = None if out is None else target.claim(out)
        self._rng = np.random.default_rng()
        self._converters: dict[PictureFormat, Any] = {}
        unique, first = np.unique(frames, return_index=True)
        self._slot = dict(zip(unique.tolist(), first.tolist(), strict=True))
        self._filled = np.zeros(len(frames), dtype=bool)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame as the video's headers let expect them, 0 where its pictures must be other than they say."""
        width, height = self.nominal_size
        nominal = PictureFormat("gray", width or 1, height or 1, "unspecified", True)
        for transpose in (False, True):  # only pictures themselves tell how they are turned
            with contextlib.suppress(ValueError):
                turned = replace(nominal, transpose=transpose)
                params = self.transform.resolve(turned, num_frames=len(self.frames))
                return prod(params.out_shape) * _ITEM_BYTES[params.dtype]
        return 0

    def slot(self, frame: int, picture: PictureFormat) -> tuple[Any, int]:
        """Return what converts a picture of this format, and the address that it is to write a wanted frame to."""
        converter = self.converter(picture)
        stride = self.data.nbytes // len(self.data)
        return converter, self._target.address(self.data) + self._slot[frame] * stride

    def converter(self, picture: PictureFormat) -> Any:
        """Return the converter for pictures of this format, all of which fill slots of one shape."""
        converter = self._converters.get(picture)
        if converter is not None:
            return converter
        with self.lock:
            if picture not in self._converters:
                self._converters[picture] = self._target.converter(self._resolve(picture))
            return self._converters[picture]

    def _resolve(self, picture: PictureFormat) -> ConvertParams:
        if self.params is None:
            width, height = (
                self.nominal_size if all(self.nominal_size) else (picture.width, picture.height)
            )
            nominal = replace(picture, width=width, height=height)
            params = self.transform.resolve(nominal, rng=self._rng, num_frames=len(self.frames))
            # The memory first: where it is refused, no other thread must find a shape without slots.
            shape = (len(self.frames), *params.out_shape)
            self.data = self._target.allocate(shape, params.dtype, self._out)
            self.params = params
        # The same place in every picture, also where a random crop chose it. Where the stream changes its size, that is the
        # place in the picture once it is stretched to the size of the others, as a player would.
        x, width = _scaled(*self.params.crop[::2], picture.width, self.params.width)
        y, height = _scaled(*self.params.crop[1::2], picture.height, self.params.height)
        return replace(
            self.params,
            width=picture.width,
            height=picture.height,
            crop=(x, y, width, height),
            **self.transform.color_params(picture),
        )

    def is_open(self, frame: int) -> bool:
        """Whether a frame's slot may still be written: always, until the batch is handed on."""
        return frame in self._slot

    def done(self, frame: int) -> None:
        """Note that the slot of a frame is filled."""
        self._filled[self._slot[frame]] = True

    def fail(self, frames: Iterable[int], error: DecodeError) -> None:
        """Note that frames could not be decoded."""
        with self.lock:
            for frame in frames:
                self.failures.setdefault(int(frame), error)

    @property
    def failure(self) -> DecodeError | None:
        """What the first frame that could not be decoded failed of."""
        return self.failures[min(self.failures)] if self.failures else None

    def finish(self, on_error: OnError, previous: Any = None) -> NDArray[np.bool_]:
        """Copy duplicates, apply the error policy, and return bool[N]: which frames were decoded.

        Args:
            on_error: what to do about frames that failed.
            previous: for "repeat": the last good slot of the batch before, if there is one.

        Raises:
            DecodeError: a frame failed and `on_error` is "raise", or no frame at all could be decoded.
        """
        if self.failure and (on_error == "raise" or self.data is None):
            raise self.failure
        if self.data is None:
            return np.ones(0, dtype=bool)
        first = np.array([self._slot[frame] for frame in self.frames.tolist()], dtype=np.int64)
        copies = np.flatnonzero(first != np.arange(len(first)))
        if len(copies):
            self.data[copies] = self.data[first[copies]]
        ok: NDArray[np.bool_] = self._filled[first]
        if on_error in ("repeat", "black"):
            self._fill_failed(ok, on_error, previous)
        return ok

    def _fill_failed(self, ok: NDArray[np.bool_], on_error: OnError, previous: Any) -> None:
        good = np.flatnonzero(ok)
        for slot in np.flatnonzero(~ok):
            before = good[good < slot]
            if on_error == "black" or (previous is None and not len(good)):
                self.data[slot] = self._black()
            elif len(before):
                self.data[slot] = self.data[before[-1]]
            else:
                self.data[slot] = self.data[good[0]] if previous is None else previous

    def _black(self) -> NDArray[np.generic]:
        """Return one slot of black, by way of the converter itself: a black gray picture of one pixel."""
        assert self.params is not None
        width, height = self.params.canvas
        black = replace(
            self.params, pixel_format="gray", width=1, height=1, full_range=True, crop=(0, 0, 1, 1), grid=(width, height),
            window=(0, 0, width, height), transpose=False, flip_x=False, flip_y=False, offset=(0, 0),
        )  # fmt: skip
        slot = np.empty(self.data.shape[1:], self.data.dtype)
        pixel = np.zeros(1, dtype=np.uint8)
        _converter(black).convert([(pixel.ctypes.data, 1)], slot.ctypes.data)
        return slot


def _scaled(begin: int, length: int, size: int, former: int) -> tuple[int, int]:
    """Return where a stretch of a picture lies, and how long it is, in a picture of another size."""
    first, last = begin * size // former, -(-(begin + length) * size // former)
    return first, last - first


@lru_cache(maxsize=64)
def _converter(params: ConvertParams) -> Converter:
    # Its filter weights take longer to compute than a small picture takes to convert; it may serve many threads at once.
    return Converter(**asdict(params))


class Slots(Protocol):
    """Where an engine puts wanted frames: one destination, or several that follow on each other."""

    lock: threading.Lock

    def slot(self, frame: int, picture: PictureFormat) -> tuple[Any, int]:
        """Return the converter of such pictures and the address that the frame goes to."""
        ...

    def is_open(self, frame: int) -> bool:
        """Whether a frame's slot may still be written."""
        ...

    def done(self, frame: int) -> None:
        """Note that the slot of a frame is filled."""
        ...

    def fail(self, frames: Iterable[int], error: DecodeError) -> None:
        """Note that frames could not be decoded."""
        ...


class Engine(Protocol):
    """One way of decoding a source on one device."""

    name: str
    why: str
    idle_cores: threading.Semaphore | None

    @property
    def target(self) -> Target:
        """The memory it writes to."""
        ...

    def run(self, plan: Plan, destination: Destination, report: Report) -> None:
        """Decode the plan's runs and fill the destination's slots; failures go to `destination.fail`."""
        ...

    def stream(
        self, plan: Plan, batches: Iterable[tuple[Destination, Report]]
    ) -> Iterator[tuple[Destination, Report]]:
        """Yield each batch once it is filled, decoding the plan's ascending frames in one go, in bounded memory."""
        ...

    def close(self) -> None:
        """Free every decoder and file."""
        ...
