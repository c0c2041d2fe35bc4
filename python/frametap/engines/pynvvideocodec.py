"""The pynvvideocodec engine: NVIDIA's decoder through its own Python binding, our kernels on its frames.

A second opinion on the NVDEC engine for tests, its baseline in benchmarks, and a way out for users. It is slower by
design: PyNvVideoCodec copies every picture out of the decoder, wanted or not.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from frametap._core import CudaConverter, CudaConvertStream, CudaDevice, ElementaryStream
from frametap.container import Container, VideoPacket
from frametap.engines.cuda_target import CudaTarget
from frametap.engines.nvdec import NvdecDecoder, NvdecEngine
from frametap.engines.run_decoder import RunDecoder
from frametap.errors import DecodeError, DeviceError, UnsupportedError
from frametap.index import FrameIndex
from frametap.source import Source

_CODEC_NAMES = {
    "h264": "H264", "hevc": "HEVC", "av1": "AV1", "vp9": "VP9", "vp8": "VP8",
    "mpeg1video": "MPEG1", "mpeg2video": "MPEG2", "mpeg4": "MPEG4",
}  # fmt: skip
# PyNvVideoCodec's formats, and FFmpeg's names of their layouts by bits; P016 does not say how many it holds.
_LAYOUTS = {
    "NV12": {8: "nv12"},
    "P016": {10: "p010le", 12: "p012le"},
    "YUV444": {8: "yuv444p"},
    "YUV444_16Bit": {10: "yuv444p10msble", 12: "yuv444p12msble"},
    "NV16": {8: "nv16"},
    "P216": {10: "p210le", 12: "p212le"},
}
# CUDA_ERROR_INVALID_VALUE, which is what parameters of damaged headers lead to.
_INVALID_PICTURE = "cuvidDecodePicture(m_hDecoder, pPicParams) returned error 1\n"


def load() -> ModuleType:
    """Import PyNvVideoCodec.

    Raises:
        DeviceError: it is not installed, or finds no driver.
    """
    try:
        import PyNvVideoCodec
    except ImportError as error:
        raise DeviceError(
            f'engine="pynvvideocodec" needs PyNvVideoCodec (pip install PyNvVideoCodec) and a driver: {error}'
        ) from error
    module: ModuleType = PyNvVideoCodec
    return module


@dataclass(frozen=True, slots=True)
class _Surface:
    """What `_core.SurfaceFormat` says."""

    width: int
    height: int
    pixel_format: str


class PynvSession:
    """`_core.NvdecSession` over PyNvVideoCodec's decoder: the same calls, the same meaning. Not thread-safe.

    Args:
        device: the GPU.
        codec: FFmpeg's name.
        extradata: the stream's.
        bit_depth: of its samples.
    """

    damaged = False  # PyNvVideoCodec does not hand on what the driver says of a picture

    def __init__(self, device: CudaDevice, codec: str, extradata: bytes, bit_depth: int) -> None:
        self._nvc = load()
        if codec not in _CODEC_NAMES:
            raise UnsupportedError(f"PyNvVideoCodec has no decoder for {codec}")
        self._device, self._bit_depth = device, bit_depth
        self._codec = getattr(self._nvc.cudaVideoCodec, _CODEC_NAMES[codec])
        self._elementary = ElementaryStream(codec, extradata)
        self._stream = CudaConvertStream(device)
        self._decoder: Any = None
        self.decoded = self.mapped = 0
        self._converted: list[int] = []
        self._wanted: dict[int, tuple[CudaConverter, int]] = {}

    def begin(self, on_format: Callable[[Any], None], judge_all: bool) -> None:
        """Start a run."""
        del judge_all
        if self._decoder is None:
            self._decoder = self._call(
                self._nvc.CreateDecoder,
                gpuid=self._device.ordinal,
                codec=self._codec,
                cudacontext=self._device.context,
                cudastream=self._stream.handle,
                usedevicememory=True,
            )
        self._on_format: Callable[[Any], None] | None = on_format
        self._surface: _Surface | None = None
        self._wanted.clear()
        self._converted.clear()
        self._first = True

    def want(self, timestamp: int, converter: CudaConverter, out: int) -> None:
        """Ask for the picture with this timestamp."""
        self._wanted[timestamp] = converter, out

    def feed(self, packets: Sequence[tuple[VideoPacket, int]]) -> None:
        """Feed (packet, timestamp) pairs."""
        for packet, timestamp in packets:
            self._decode(self._elementary.packet(bytes(packet), self._first), timestamp)
            self._first = False

    def pause(self) -> None:
        """Nothing to do: PyNvVideoCodec does not limit how many decode at once."""

    def resume(self) -> None:
        """Nothing to do."""

    def finish(self) -> None:
        """Drain."""
        self._decode(b"", 0)
        self._forget()

    def abandon(self) -> None:
        """End a run without draining; the decoder is not used again."""
        self._decoder = None
        self._forget()

    def _forget(self) -> None:
        # What these refer to refers to this session.
        self._on_format = None
        self._wanted.clear()

    def take_converted(self) -> list[int]:
        """Return the timestamps converted since the last call."""
        converted, self._converted = self._converted, []
        return converted

    def order_before(self, stream: int) -> None:
        """Do what comes from now on after what a stream was given so far."""
        self._stream.order_before(stream)

    def order_after(self, stream: int) -> None:
        """Let a stream wait for what was done so far."""
        self._stream.order_after(stream)

    def _call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except (
            Exception
        ) as error:  # its own exception type and RuntimeError, with the driver's words in them
            raise DeviceError(f"PyNvVideoCodec.{function.__name__} failed: {error}") from error

    def _decode(self, data: bytes, timestamp: int) -> None:
        packet = self._nvc.PacketData()
        held = ctypes.create_string_buffer(data, len(data))
        packet.bsl_data, packet.bsl = ctypes.addressof(held), len(data)
        packet.pts = packet.dts = timestamp
        try:
            frames = self._call(self._decoder.Decode, packet)
        except DeviceError as error:
            if _INVALID_PICTURE in str(error):
                raise DecodeError(str(error)) from error
            raise
        for frame in frames:
            self.decoded += 1
            self._convert(frame)

    def _convert(self, frame: Any) -> None:
        views = [view.__cuda_array_interface__ for view in frame.cuda()]
        self._note_format(frame, views)
        slot = self._wanted.pop(frame.getPTS(), None)
        if slot is None:
            return
        converter, out = slot
        # PyNvVideoCodec copied the picture on our stream, and overwrites it on our stream, at the earliest in the next call.
        self._stream.convert(converter, [(v["data"][0], v["strides"][0]) for v in views], out)
        self._converted.append(frame.getPTS())
        self.mapped += 1

    def _note_format(self, frame: Any, views: list[dict[str, Any]]) -> None:
        height, width = views[0]["shape"][:2]
        layouts = _LAYOUTS.get(frame.format.name, {})
        if self._bit_depth not in layouts:
            raise UnsupportedError(
                f"PyNvVideoCodec gave {frame.format.name} for {self._bit_depth} bits"
            )
        surface = _Surface(width, height, layouts[self._bit_depth])
        if surface != self._surface:
            self._surface = surface
            assert self._on_format is not None
            self._on_format(surface)


class PynvDecoder(NvdecDecoder):
    """Decodes runs with PyNvVideoCodec; those it cannot, with FFmpeg."""

    def _new_session(self, index: FrameIndex, bit_depth: int) -> Any:
        return PynvSession(self._target.cuda, index.codec, self._container.extradata, bit_depth)


class PynvEngine(NvdecEngine):
    """The NVDEC engine with NVIDIA's Python binding in place of our sessions.

    Args:
        source, threads, why, target, container: as for NvdecEngine.
    """

    name = "pynvvideocodec"

    def __init__(
        self,
        source: Source,
        threads: int,
        why: str,
        target: CudaTarget,
        container: Container | None = None,
    ) -> None:
        load()
        super().__init__(source, threads, why, target, container)

    def _new_decoder(self, threads: int, container: Container | None) -> RunDecoder:
        return PynvDecoder(self.source, threads, container, self.target)
