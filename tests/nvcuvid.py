"""A client of libnvcuvid in Python, small enough to see each callback: for tests of the emulated parser and decoder."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import c_int, c_longlong, c_short, c_ubyte, c_uint, c_ulong, c_ulonglong, c_void_p
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from emulator_control import LIBRARIES, Emulator

CODECS = {"mpeg1": 0, "mpeg2": 1, "mpeg4": 2, "h264": 4, "hevc": 8, "vp8": 9, "vp9": 10, "av1": 11}
END_OF_STREAM, TIMESTAMP, DISCONTINUITY, END_OF_PICTURE, NOTIFY_EOS = 1, 2, 4, 8, 16


class Format(ctypes.Structure):
    _fields_: ClassVar = [
        ("codec", c_int),
        ("frame_rate", c_uint * 2),
        ("progressive_sequence", c_ubyte),
        ("bit_depth_luma_minus8", c_ubyte),
        ("bit_depth_chroma_minus8", c_ubyte),
        ("min_num_decode_surfaces", c_ubyte),
        ("coded_width", c_uint),
        ("coded_height", c_uint),
        ("display_area", c_int * 4),
        ("chroma_format", c_int),
        ("rest", c_uint * 5),
    ]


class Packet(ctypes.Structure):
    _fields_: ClassVar = [
        ("flags", c_ulong),
        ("size", c_ulong),
        ("payload", c_void_p),
        ("timestamp", c_longlong),
    ]


class Picture(ctypes.Structure):
    _fields_: ClassVar = [
        ("size_in_macroblocks", c_int * 2),
        ("index", c_int),
        ("field_pic_flag", c_int),
        ("bottom_field_flag", c_int),
        ("second_field", c_int),
        ("length", c_uint),
        ("bitstream", c_void_p),
        ("slices", c_uint),
        ("offsets", ctypes.POINTER(c_uint)),
        ("ref_pic_flag", c_int),
        ("intra_pic_flag", c_int),
        ("rest", c_ubyte * (4280 - 64)),
    ]


class Display(ctypes.Structure):
    _fields_: ClassVar = [
        ("index", c_int),
        ("progressive_frame", c_int),
        ("top_field_first", c_int),
        ("repeat_first_field", c_int),
        ("timestamp", c_longlong),
    ]


_ON_SEQUENCE = ctypes.CFUNCTYPE(c_int, c_void_p, ctypes.POINTER(Format))
_ON_DECODE = ctypes.CFUNCTYPE(c_int, c_void_p, ctypes.POINTER(Picture))
_ON_DISPLAY = ctypes.CFUNCTYPE(c_int, c_void_p, ctypes.POINTER(Display))


class ParserParams(ctypes.Structure):
    _fields_: ClassVar = [
        ("codec", c_int),
        ("surfaces", c_uint),
        ("clock_rate", c_uint),
        ("error_threshold", c_uint),
        ("display_delay", c_uint),
        ("bits", c_uint * 5),
        ("user_data", c_void_p),
        ("on_sequence", _ON_SEQUENCE),
        ("on_decode", _ON_DECODE),
        ("on_display", _ON_DISPLAY),
        ("pointers", c_void_p * 8),
    ]


class CreateInfo(ctypes.Structure):
    _fields_: ClassVar = [
        ("width", c_ulong),
        ("height", c_ulong),
        ("surfaces", c_ulong),
        ("codec", c_int),
        ("chroma_format", c_int),
        ("flags", c_ulong),
        ("bit_depth_minus8", c_ulong),
        ("intra_only", c_ulong),
        ("max_width", c_ulong),
        ("max_height", c_ulong),
        ("reserved1", c_ulong),
        ("display_area", c_short * 4),
        ("output_format", c_int),
        ("deinterlace_mode", c_int),
        ("target_width", c_ulong),
        ("target_height", c_ulong),
        ("outputs", c_ulong),
        ("lock", c_void_p),
        ("target_rect", c_short * 4),
        ("reserved2", c_ulong * 5),
    ]


class MapParams(ctypes.Structure):
    _fields_: ClassVar = [
        ("progressive_frame", c_int),
        ("second_field", c_int),
        ("top_field_first", c_int),
        ("unpaired_field", c_int),
        ("rest", c_ubyte * (264 - 16)),
    ]


class Status(ctypes.Structure):
    _fields_: ClassVar = [("status", c_int), ("rest", c_ubyte * 188)]


assert ctypes.sizeof(Format) == 64
assert ctypes.sizeof(Picture) == 4280
assert ctypes.sizeof(ParserParams) == 136
assert ctypes.sizeof(CreateInfo) == 176
assert ctypes.sizeof(MapParams) == 264
assert ctypes.sizeof(Status) == 192


@dataclass
class Event:
    """One callback: kind "sequence", "decode", "display" or "end"; the packet that was being parsed."""

    kind: str
    packet: int
    index: int = -1
    timestamp: int = 0
    second_field: bool = False
    reference: bool = True
    intra: bool = False
    format: Format | None = None


@dataclass
class Client:
    """A parser, and a decoder where `decodes`. Callbacks are noted in `events`; answers can be replaced."""

    codec: str
    display_delay: int = 0
    decodes: bool = False
    clock_rate: int = 0
    device: int = 0
    create: dict[str, object] = field(default_factory=dict)  # fields of CreateInfo
    answer_sequence: Callable[[Format], int] = lambda f: f.min_num_decode_surfaces or 20
    answer_decode: Callable[[Event], int] = lambda _: 1
    answer_display: Callable[[Event], int] = lambda _: 1
    events: list[Event] = field(default_factory=list)
    frames: list[NDArray[np.uint8]] = field(
        default_factory=list
    )  # mapped at display: rows of all planes, as laid out

    def __post_init__(self) -> None:
        self.driver = Emulator.load()
        self.lib = ctypes.CDLL(str(LIBRARIES / "libnvcuvid.so.1"))
        self.packets, self.decoder, self.info = 0, c_void_p(), CreateInfo()
        self.context = c_void_p()
        self._cu("cuInit", 0)
        self._cu("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), self.device)
        self._cu("cuCtxPushCurrent_v2", self.context)
        self._callbacks = (
            _ON_SEQUENCE(self._sequence),
            _ON_DECODE(self._decode),
            _ON_DISPLAY(self._display),
        )
        params = ParserParams(CODECS[self.codec], 1, self.clock_rate, 0, self.display_delay)
        params.on_sequence, params.on_decode, params.on_display = self._callbacks
        self.parser = c_void_p()
        assert self.lib.cuvidCreateVideoParser(ctypes.byref(self.parser), ctypes.byref(params)) == 0

    def close(self) -> None:
        assert self.lib.cuvidDestroyVideoParser(self.parser) == 0
        if self.decoder:
            assert self.lib.cuvidDestroyDecoder(self.decoder) == 0
        self._cu("cuCtxPopCurrent_v2", None)
        self._cu("cuDevicePrimaryCtxRelease_v2", self.device)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def parse(self, data: bytes = b"", flags: int = 0, timestamp: int | None = None) -> int:
        if timestamp is not None:
            flags |= TIMESTAMP
        buffer = ctypes.create_string_buffer(data, max(len(data), 1))
        packet = Packet(
            flags, len(data), ctypes.addressof(buffer) if data else None, timestamp or 0
        )
        result = self.lib.cuvidParseVideoData(self.parser, ctypes.byref(packet))
        self.packets += 1
        return int(result)

    def end(self) -> int:
        return self.parse(flags=END_OF_STREAM)

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]

    def status(self, index: int) -> int:
        status = Status()
        assert self.lib.cuvidGetDecodeStatus(self.decoder, index, ctypes.byref(status)) == 0
        return int(status.status)

    def map(self, index: int, **params: int) -> NDArray[np.uint8]:
        """Bytes of the mapped surface, (rows of all planes, pitch)."""
        address, pitch = c_ulonglong(), c_uint()
        given = MapParams(**{"progressive_frame": 1, **params})
        code = self.lib.cuvidMapVideoFrame64(
            self.decoder, index, ctypes.byref(address), ctypes.byref(pitch), ctypes.byref(given)
        )
        assert code == 0, code
        rows = self._rows()
        surface = np.zeros((rows, pitch.value), np.uint8)
        self._cu(
            "cuMemcpyDtoH_v2",
            c_void_p(surface.ctypes.data),
            address,
            ctypes.c_size_t(surface.nbytes),
        )
        assert self.lib.cuvidUnmapVideoFrame64(self.decoder, address) == 0
        return surface

    def _rows(self) -> int:
        luma = (self.info.target_height + 1) // 2 * 2
        return int(luma * {0: 3, 1: 3, 2: 6, 3: 6, 4: 4, 5: 4}[self.info.output_format] // 2)

    def _cu(self, name: str, *arguments: object) -> None:
        code = getattr(self.driver.lib, name)(*arguments)
        assert code == 0, f"{name} returned {code}"

    def _sequence(self, _: object, format: Sequence[Format]) -> int:
        told = Format.from_buffer_copy(format[0])
        self.events.append(Event("sequence", self.packets, format=told))
        surfaces = self.answer_sequence(told)
        if self.decodes and not self.decoder:
            info = CreateInfo(
                told.coded_width,
                told.coded_height,
                max(surfaces, 1),
                told.codec,
                told.chroma_format,
            )
            info.bit_depth_minus8 = told.bit_depth_luma_minus8
            info.display_area = (c_short * 4)(*told.display_area)
            left, top, right, bottom = told.display_area
            info.target_width, info.target_height, info.outputs = right - left, bottom - top, 1
            info.output_format = 1 if told.bit_depth_luma_minus8 else 0
            for name, value in self.create.items():
                setattr(info, name, value)
            self.info = info
            assert self.lib.cuvidCreateDecoder(ctypes.byref(self.decoder), ctypes.byref(info)) == 0
        return surfaces

    def _decode(self, _: object, picture: Sequence[Picture]) -> int:
        p = picture[0]
        flags = bool(p.second_field), bool(p.ref_pic_flag), bool(p.intra_pic_flag)
        self.events.append(Event("decode", self.packets, p.index, 0, *flags))
        answer = self.answer_decode(self.events[-1])
        if answer > 0 and self.decodes:
            assert self.lib.cuvidDecodePicture(self.decoder, picture) == 0
        return answer

    def _display(self, _: object, info: Sequence[Display]) -> int:
        if not info:
            self.events.append(Event("end", self.packets))
            return 1
        self.events.append(Event("display", self.packets, info[0].index, info[0].timestamp))
        answer = self.answer_display(self.events[-1])
        if answer > 0 and self.decodes:
            self.frames.append(self.map(info[0].index))
        return answer
