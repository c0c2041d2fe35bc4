"""libcuda and libnvcuvid as they are: a client without a rule of its own, for asking a driver what it does.

Needs the standard library alone. It neither checks nor repairs: every call's CUresult is returned or raised as `Refused`, and
what the parser calls back is noted. The structs are those of csrc/nvdec/nvcuvid.h.

    driver = Driver()
    parser = Parser(driver, "h264")
    parser.parse(packet, timestamp=0)
    parser.sequences, parser.decodes, parser.displays
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_int16,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_ulong,
    c_void_p,
)
from typing import Any, NamedTuple

CODECS = (
    "mpeg1video",
    "mpeg2video",
    "mpeg4",
    "vc1",
    "h264",
    "mjpeg",
    "",
    "",
    "hevc",
    "vp8",
    "vp9",
    "av1",
)
NV12, P016 = 0, 1
CHROMA_420 = 1
END_OF_STREAM, TIMESTAMP, DISCONTINUITY, END_OF_PICTURE = 1, 2, 4, 8
# What a stream gets whose parser does not say how many decode surfaces it needs.
SURFACES_UNSTATED = 20


class _Fields(Structure):
    """A struct that can be built from keywords and copied."""

    def copy(self) -> Any:
        return type(self).from_buffer_copy(self)


class Rect32(_Fields):
    _fields_ = [(name, c_int32) for name in ("left", "top", "right", "bottom")]


class Rect16(_Fields):
    _fields_ = [(name, c_int16) for name in ("left", "top", "right", "bottom")]


class VideoFormat(_Fields):
    _fields_ = [
        ("codec", c_int32), ("frame_rate_numerator", c_uint32), ("frame_rate_denominator", c_uint32),
        ("progressive_sequence", c_uint8), ("bit_depth_luma_minus8", c_uint8), ("bit_depth_chroma_minus8", c_uint8),
        ("min_num_decode_surfaces", c_uint8), ("coded_width", c_uint32), ("coded_height", c_uint32),
        ("display_area", Rect32), ("chroma_format", c_int32), ("bitrate", c_uint32), ("aspect_x", c_int32),
        ("aspect_y", c_int32), ("signal_bits", c_uint8), ("color_primaries", c_uint8),
        ("transfer_characteristics", c_uint8), ("matrix_coefficients", c_uint8), ("seqhdr_data_length", c_uint32),
    ]  # fmt: skip

    @property
    def surfaces(self) -> int:
        """How many decode surfaces the stream gets."""
        return self.min_num_decode_surfaces or SURFACES_UNSTATED


class PictureParams(_Fields):
    _fields_ = [
        ("width_in_macroblocks", c_int32), ("height_in_macroblocks", c_int32), ("picture_index", c_int32),
        ("field_pic_flag", c_int32), ("bottom_field_flag", c_int32), ("second_field", c_int32),
        ("bitstream_length", c_uint32), ("bitstream", c_void_p), ("slices", c_uint32), ("slice_offsets", c_void_p),
        ("ref_pic_flag", c_int32), ("intra_pic_flag", c_int32), ("reserved", c_uint32 * 30),
        ("codec_specific", c_uint32 * 1024),
    ]  # fmt: skip


class DisplayInfo(_Fields):
    _fields_ = [
        ("picture_index", c_int32), ("progressive_frame", c_int32), ("top_field_first", c_int32),
        ("repeat_first_field", c_int32), ("timestamp", c_int64),
    ]  # fmt: skip


class SourcePacket(_Fields):
    _fields_ = [
        ("flags", c_ulong),
        ("payload_size", c_ulong),
        ("payload", c_char_p),
        ("timestamp", c_int64),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, c_void_p, c_void_p)


class ParserParams(_Fields):
    _fields_ = [
        ("codec", c_int32), ("max_num_decode_surfaces", c_uint32), ("clock_rate", c_uint32), ("error_threshold", c_uint32),
        ("max_display_delay", c_uint32), ("bits", c_uint32), ("reserved", c_uint32 * 4), ("user_data", c_void_p),
        ("on_sequence", _Callback), ("on_decode", _Callback), ("on_display", _Callback),
        ("on_operating_point", c_void_p), ("on_sei", c_void_p), ("reserved_pointers", c_void_p * 5),
        ("ext_video_info", c_void_p),
    ]  # fmt: skip


class DecoderCreateInfo(_Fields):
    _fields_ = [
        ("width", c_ulong), ("height", c_ulong), ("num_decode_surfaces", c_ulong), ("codec", c_int32),
        ("chroma_format", c_int32), ("creation_flags", c_ulong), ("bit_depth_minus8", c_ulong),
        ("intra_decode_only", c_ulong), ("max_width", c_ulong), ("max_height", c_ulong), ("reserved1", c_ulong),
        ("display_area", Rect16), ("output_format", c_int32), ("deinterlace_mode", c_int32), ("target_width", c_ulong),
        ("target_height", c_ulong), ("num_output_surfaces", c_ulong), ("lock", c_void_p), ("target_rect", Rect16),
        ("enable_histogram", c_ulong), ("reserved2", c_ulong * 4),
    ]  # fmt: skip


class ReconfigureInfo(_Fields):
    _fields_ = [
        ("width", c_uint32), ("height", c_uint32), ("target_width", c_uint32), ("target_height", c_uint32),
        ("num_decode_surfaces", c_uint32), ("reserved1", c_uint32 * 12), ("display_area", Rect16),
        ("target_rect", Rect16), ("reserved2", c_uint32 * 11),
    ]  # fmt: skip


class MapParams(_Fields):
    _fields_ = [
        ("progressive_frame", c_int32), ("second_field", c_int32), ("top_field_first", c_int32),
        ("unpaired_field", c_int32), ("reserved_flags", c_uint32), ("reserved_zero", c_uint32), ("raw_input", c_uint64),
        ("raw_input_pitch", c_uint32), ("raw_input_format", c_uint32), ("raw_output", c_uint64),
        ("raw_output_pitch", c_uint32), ("reserved1", c_uint32), ("output_stream", c_void_p),
        ("reserved", c_uint32 * 46), ("histogram", c_void_p), ("reserved2", c_void_p),
    ]  # fmt: skip


class DecodeCaps(_Fields):
    _fields_ = [
        ("codec", c_int32), ("chroma_format", c_int32), ("bit_depth_minus8", c_uint32), ("reserved1", c_uint32 * 3),
        ("is_supported", c_uint8), ("num_engines", c_uint8), ("output_format_mask", c_uint16), ("max_width", c_uint32),
        ("max_height", c_uint32), ("max_macroblocks", c_uint32), ("min_width", c_uint16), ("min_height", c_uint16),
        ("is_histogram_supported", c_uint8), ("counter_bit_depth", c_uint8), ("max_histogram_bins", c_uint16),
        ("reserved3", c_uint32 * 10),
    ]  # fmt: skip


SIZES = {
    VideoFormat: 64, PictureParams: 4280, DisplayInfo: 24, SourcePacket: 32, ParserParams: 136, DecoderCreateInfo: 176,
    ReconfigureInfo: 128, MapParams: 264, DecodeCaps: 88,
}  # fmt: skip
"""What sizeof gives in C on LP64, which is where this client works."""


class Refused(Exception):
    """A call of the driver failed.

    Args:
        call: its name.
        code: the CUresult.
    """

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call} returned {code}")
        self.call, self.code = call, code


class Driver:
    """The two libraries and the primary context of the first GPU, current on this thread."""

    def __init__(self) -> None:
        for struct, size in SIZES.items():
            assert ctypes.sizeof(struct) == size, struct
        self.cuda = ctypes.CDLL("libcuda.so.1")
        self.cuvid = ctypes.CDLL("libnvcuvid.so.1")
        self.call("cuInit", 0)
        self._device, self.context = c_int32(), c_void_p()
        self.call("cuDeviceGet", byref(self._device), 0)
        self.call("cuDevicePrimaryCtxRetain", byref(self.context), self._device)
        self.push()

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of either library; raise Refused unless it succeeds."""
        library = self.cuvid if name.startswith("cuvid") else self.cuda
        code = getattr(library, name)(*arguments)
        if code:
            raise Refused(name, code)

    def push(self) -> None:
        """Make the context current."""
        self.call("cuCtxPushCurrent_v2", self.context)

    def pop(self) -> None:
        """Leave this thread without a context."""
        self.call("cuCtxPopCurrent_v2", byref(c_void_p()))

    @property
    def name(self) -> str:
        """Of the GPU, as the driver calls it."""
        buffer = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", buffer, len(buffer), self._device)
        return buffer.value.decode()

    @property
    def free_memory(self) -> int:
        """Bytes that the GPU has left."""
        free, total = c_size_t(), c_size_t()
        self.call("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value

    def caps(self, codec: str, chroma: int = CHROMA_420, bits: int = 8) -> DecodeCaps:
        """What NVDEC says of a codec; all zero where it has none."""
        caps = DecodeCaps(
            codec=CODECS.index(codec), chroma_format=chroma, bit_depth_minus8=bits - 8
        )
        self.call("cuvidGetDecoderCaps", byref(caps))
        return caps

    def read(self, address: int, size: int) -> bytes:
        """Copy device memory to the host, after all work."""
        self.call("cuCtxSynchronize")
        buffer = ctypes.create_string_buffer(size)
        self.call("cuMemcpyDtoH_v2", buffer, c_uint64(address), c_size_t(size))
        return buffer.raw


class Decode(NamedTuple):
    """What a decode callback said."""

    index: int
    reference: bool
    intra: bool


class Display(NamedTuple):
    """What a display callback said, and how many decode callbacks came before it."""

    index: int
    timestamp: int
    decodes_before: int


class Parser:
    """A cuvid parser that notes what it calls back.

    Args:
        driver: the libraries.
        codec: FFmpeg's name.
        delay: how many pictures may wait for display beyond what the stream asks for.
        on_sequence, on_decode, on_display: get the driver's struct and return what the callback returns; an exception in
            one is raised again by `parse`. By default decoding succeeds without having been done.
    """

    def __init__(
        self,
        driver: Driver,
        codec: str,
        *,
        delay: int = 0,
        on_sequence: Callable[[VideoFormat], int] = lambda video: video.surfaces,
        on_decode: Callable[[PictureParams], int] = lambda _: 1,
        on_display: Callable[[DisplayInfo], int] = lambda _: 1,
    ) -> None:
        self._driver, self._handle = driver, c_void_p()
        self.sequences: list[VideoFormat] = []
        self.decodes: list[Decode] = []
        self.displays: list[Display] = []
        self._error: BaseException | None = None
        self._callbacks = (
            self._noting(VideoFormat, on_sequence, self._note_sequence),
            self._noting(PictureParams, on_decode, self._note_decode),
            self._noting(DisplayInfo, on_display, self._note_display),
        )
        params = ParserParams(
            codec=CODECS.index(codec), max_num_decode_surfaces=1, max_display_delay=delay
        )
        params.on_sequence, params.on_decode, params.on_display = self._callbacks
        driver.call("cuvidCreateVideoParser", byref(self._handle), byref(params))

    def _note_sequence(self, video: VideoFormat) -> None:
        self.sequences.append(video.copy())

    def _note_decode(self, picture: PictureParams) -> None:
        self.decodes.append(
            Decode(picture.picture_index, bool(picture.ref_pic_flag), bool(picture.intra_pic_flag))
        )

    def _note_display(self, info: DisplayInfo) -> None:
        self.displays.append(Display(info.picture_index, info.timestamp, len(self.decodes)))

    def _noting(
        self, struct: Any, answer: Callable[[Any], int], note: Callable[[Any], None]
    ) -> Any:
        def called(_: Any, address: Any) -> int:
            if not address:  # the end of the stream, for those who ask for it
                return 1
            try:
                info = ctypes.cast(address, POINTER(struct)).contents
                note(info)
                return int(answer(info))
            except BaseException as error:
                self._error = error
                return 0

        return _Callback(called)

    def parse(self, payload: bytes = b"", timestamp: int | None = None, flags: int = 0) -> int:
        """Hand over a packet and return the CUresult."""
        packet = SourcePacket(flags=flags, payload_size=len(payload), payload=payload or None)
        if timestamp is not None:
            packet.flags |= TIMESTAMP
            packet.timestamp = timestamp
        code = self._driver.cuvid.cuvidParseVideoData(self._handle, byref(packet))
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return int(code)

    def finish(self) -> int:
        """Say that the stream ends."""
        return self.parse(flags=END_OF_STREAM)

    def close(self) -> None:
        """Destroy it."""
        self._driver.call("cuvidDestroyVideoParser", self._handle)


class Decoder:
    """A decoder for a sequence. `fields` replace what the create info says by default: the whole coded picture, as it is."""

    def __init__(self, driver: Driver, video: VideoFormat, **fields: Any) -> None:
        self.driver, self._handle = driver, c_void_p()
        self.info = DecoderCreateInfo(
            width=video.coded_width, height=video.coded_height, num_decode_surfaces=video.surfaces,
            codec=video.codec, chroma_format=video.chroma_format, bit_depth_minus8=video.bit_depth_luma_minus8,
            target_width=video.coded_width, target_height=video.coded_height, num_output_surfaces=2,
            output_format=P016 if video.bit_depth_luma_minus8 else NV12, creation_flags=4,
        )  # fmt: skip
        for name, value in fields.items():
            setattr(self.info, name, value)
        driver.call("cuvidCreateDecoder", byref(self._handle), byref(self.info))

    def decode(self, picture: PictureParams) -> int:
        """Decode a picture; return 1, for a callback to return."""
        self.driver.call("cuvidDecodePicture", self._handle, byref(picture))
        return 1

    def map(self, index: int) -> tuple[int, int]:
        """Return the address and the pitch of a picture."""
        address, pitch = c_uint64(), c_uint32()
        params = MapParams(progressive_frame=1)
        self.driver.call(
            "cuvidMapVideoFrame64", self._handle, index, byref(address), byref(pitch), byref(params)
        )
        return address.value, pitch.value

    def unmap(self, address: int) -> None:
        """Give a mapped picture back."""
        self.driver.call("cuvidUnmapVideoFrame64", self._handle, c_uint64(address))

    def rows(self, index: int) -> tuple[list[bytes], int]:
        """Map a picture of two planes, copy its rows, luma then chroma, cut to the target's width, and unmap; also the pitch."""
        address, pitch = self.map(index)
        height = self.info.target_height + self.info.target_height % 2
        width = self.info.target_width * (2 if self.info.output_format == P016 else 1)
        data = self.driver.read(address, pitch * height * 3 // 2)
        self.unmap(address)
        return [data[at : at + width] for at in range(0, len(data), pitch)], pitch

    def reconfigure(self, width: int, height: int) -> None:
        """Change the size of the coded picture."""
        info = ReconfigureInfo(
            width=width, height=height, target_width=width, target_height=height,
            num_decode_surfaces=self.info.num_decode_surfaces,
        )  # fmt: skip
        self.driver.call("cuvidReconfigureDecoder", self._handle, byref(info))

    def close(self) -> None:
        """Destroy it."""
        self.driver.call("cuvidDestroyDecoder", self._handle)
