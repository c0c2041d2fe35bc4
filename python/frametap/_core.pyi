"""
Native core of frametap: pixel conversion, DLPack export, the CUDA kernels as bytes.
"""
from __future__ import annotations
import typing
import typing_extensions
__all__: list[str] = ['Converter', 'CudaTables', 'IRREGULAR', 'PARSED', 'PacketParser', 'REFERENCE', 'REFS_KNOWN', 'RESET', 'SHOWN', 'START', 'UNKNOWN_ORDER', 'cpu_isa', 'cpu_isas', 'cuda_fatbin', 'export_dlpack', 'pixel_formats']
class PacketParser:
    """
    Reads the headers of a stream's packets, in decode order; decodes nothing.
    """
    def __init__(self, codec: str, extradata: bytes = b'') -> None:
        ...
    def parse(self, packet: typing_extensions.Buffer) -> tuple[int, int, list[int]]:
        """
        The packet's (flags, output order, how many packets back those lie that it needs); flags without PARSED say nothing.
        """
    @property
    def chroma_sample_loc_type(self) -> int:
        ...
    @property
    def needs_first_packet(self) -> bool:
        ...
    @property
    def parameter_sets_changed(self) -> bool:
        ...
class Converter:
    """
    Turns one decoded picture into one slot of a batch: crop, resample, colour, normalise, store.
    
    Built once per set of numbers (frametap.transform.ConvertParams) and reused for every frame. convert() may run in any
    number of threads at once: each call borrows its own scratch rows, and none of them holds the GIL.
    """
    def __init__(self, *, pixel_format: str, width: int, height: int, matrix: str, full_range: bool, chroma_location: str, crop: tuple[int, int, int, int], grid: tuple[int, int], window: tuple[int, int, int, int], filter: str, antialias: bool, transpose: bool, flip_x: bool, flip_y: bool, canvas: tuple[int, int], offset: tuple[int, int], fill: tuple[int, int, int], color: str, layout: str, dtype: str, mean: tuple[typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex], std: tuple[typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex], tone_map: str = 'none', primaries: str = 'bt2020') -> None:
        ...
    def convert(self, planes: list[tuple[int, int]], out: int) -> None:
        """
        Converts one picture.
        
        planes: (address, pitch in bytes, negative when stored bottom-up) of each plane, in FFmpeg's order.
        out: address of one C-contiguous slot of out_shape. Both must stay valid until the call returns.
        """
    @property
    def out_shape(self) -> tuple[int, int, int]:
        """
        (C, H, W), or (H, W, C) for NHWC.
        """
    @property
    def plane_count(self) -> int:
        """
        How many planes convert() expects at least.
        """
class CudaTables:
    """
    Converter's CUDA counterpart, up to the driver calls: what to upload, and what to launch the kernels of cuda_fatbin() with.
    
    Made from the same numbers as Converter and giving the same bytes. Calls no driver: addresses are the caller's.
    """
    def __init__(self, *, pixel_format: str, width: int, height: int, matrix: str, full_range: bool, chroma_location: str, crop: tuple[int, int, int, int], grid: tuple[int, int], window: tuple[int, int, int, int], filter: str, antialias: bool, transpose: bool, flip_x: bool, flip_y: bool, canvas: tuple[int, int], offset: tuple[int, int], fill: tuple[int, int, int], color: str, layout: str, dtype: str, mean: tuple[typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex], std: tuple[typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex], tone_map: str = 'none', primaries: str = 'bt2020') -> None:
        ...
    def horizontal_grid(self, pictures: typing.SupportsInt | typing.SupportsIndex = 1) -> tuple[int, int, int]:
        """
        Blocks of frametap_horizontal, the second kernel: (x, y, z).
        """
    def params(self, tables: typing.SupportsInt | typing.SupportsIndex, jobs: list[tuple[list[tuple[int, int]], int]], scratch: typing.SupportsInt | typing.SupportsIndex) -> bytes:
        """
        The one argument of both kernels, as bytes.
        
        All addresses are of device memory. tables: a copy of table_bytes(), 16-byte aligned. jobs: for each picture its
        planes, (address, pitch) as for Converter.convert, and the address of its slot; pitches are the same for all.
        scratch: 16-byte aligned memory of scratch_bytes() for the time from the first kernel to the end of the second.
        """
    def scratch_bytes(self, pictures: typing.SupportsInt | typing.SupportsIndex = 1) -> int:
        """
        Bytes of scratch that one launch for so many pictures needs.
        """
    def table_bytes(self) -> bytes:
        """
        What to copy to the device once.
        """
    def vertical_grid(self, pictures: typing.SupportsInt | typing.SupportsIndex = 1) -> tuple[int, int, int]:
        """
        Blocks of frametap_vertical, the first kernel: (x, y, z).
        """
    @property
    def block(self) -> tuple[int, int, int]:
        """
        Threads of a block of either kernel: (x, y, z).
        """
def cpu_isa() -> str:
    """
    Instruction set new converters use: the fastest this CPU has, or what FRAMETAP_CPU names.
    """
def cpu_isas() -> list[str]:
    """
    Instruction sets this CPU can run, slowest first.
    """
def cuda_fatbin() -> bytes:
    """
    The CUDA kernels as a fat binary for cuModuleLoadData; empty when built without nvcc.
    """
def export_dlpack(owner: typing.Any, address: int, shape: list[int], dtype: str, device: tuple[int, int], versioned: bool, read_only: bool) -> typing.Any:
    """
    Wraps C-contiguous memory that `owner` keeps alive in a DLPack capsule, without copying.
    
    address: of the first element. dtype: uint8, float16, bfloat16 or float32. device: DLPack's (type, id), (1, 0) for
    host memory. versioned: DLPack 1.x ("dltensor_versioned") instead of the legacy "dltensor". The owner is released
    when the consumer is done, or with the capsule if nobody consumes it.
    """
def pixel_formats() -> list[str]:
    """
    FFmpeg names of every pixel format Converter accepts.
    """
IRREGULAR: int = 32
PARSED: int = 1
REFERENCE: int = 8
REFS_KNOWN: int = 64
RESET: int = 4
SHOWN: int = 16
START: int = 2
UNKNOWN_ORDER: int = -2147483648
__version__: str = '0.1.0'
