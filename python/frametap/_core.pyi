"""
Native core of frametap: pixel conversion, DLPack export, the CUDA kernels as bytes.
"""
from __future__ import annotations
import collections.abc
import typing
import typing_extensions
__all__: list[str] = ['Converter', 'CudaConvertStream', 'CudaConverter', 'CudaDevice', 'CudaStream', 'CudaTables', 'DeviceMemory', 'DlpackView', 'ElementaryStream', 'IRREGULAR', 'NvdecSession', 'PARSED', 'PacketParser', 'PlaneUploader', 'REFERENCE', 'REFS_KNOWN', 'RESET', 'SECOND_FIELD', 'SHOWN', 'START', 'SurfaceFormat', 'UNKNOWN_ORDER', 'cpu_isa', 'cpu_isas', 'cuda_fatbin', 'export_dlpack', 'pixel_formats', 'view_dlpack']
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
    def without_broken_units(self, packet: typing_extensions.Buffer) -> bytes:
        """
        The packet without units that are broken and that its pictures do not need; empty where there are none.
        """
    @property
    def chroma_sample_loc_type(self) -> int:
        ...
    @property
    def colour(self) -> int:
        """
        What the sequence of the packet parsed last states of its colour: equal numbers mean equal statements, 0 none.
        """
    @property
    def needs_first_packet(self) -> bool:
        ...
    @property
    def parameter_sets_changed(self) -> bool:
        ...
class ElementaryStream:
    """
    Packets in the form that decoders without a container take them, such as NVDEC's parser.
    """
    def __init__(self, codec: str, extradata: bytes) -> None:
        ...
    def packet(self, packet: typing_extensions.Buffer, first: bool) -> bytes:
        """
        One packet of the container; the first that a decoder gets carries the parameter sets too.
        """
class Converter:
    """
    Turns one decoded picture into one slot of a batch: crop, resample, colour, normalise, store.
    
    Built once per set of numbers (frametap.transform.ConvertParams) and reused for every frame. convert() may run in any
    number of threads at once: each call borrows its own scratch rows, and none of them holds the GIL.
    """
    def __init__(self, *, pixel_format: str, width: int, height: int, matrix: str, full_range: bool, chroma_location: str, crop: tuple[int, int, int, int], grid: tuple[int, int], window: tuple[int, int, int, int], filter: str, antialias: bool, transpose: bool, flip_x: bool, flip_y: bool, canvas: tuple[int, int], offset: tuple[int, int], fill: tuple[int, int, int], color: str, layout: str, dtype: str, mean: tuple[typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex], std: tuple[typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex], tone_map: str = 'none', primaries: str = 'bt2020') -> None:
        ...
    def convert(self, planes: list[tuple[int, int]], out: int, threads: typing.SupportsInt | typing.SupportsIndex = 1) -> None:
        """
        Converts one picture.
        
        planes: (address, pitch in bytes, negative when stored bottom-up) of each plane, in FFmpeg's order.
        out: address of one C-contiguous slot of out_shape. Both must stay valid until the call returns.
        threads: how many a large slot may be split over, by rows; the caller's own is one of them.
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
class DlpackView:
    """
    What a DLPack capsule says of its tensor.
    """
    @property
    def address(self) -> int:
        ...
    @property
    def contiguous(self) -> bool:
        ...
    @property
    def device(self) -> tuple[int, int]:
        ...
    @property
    def dtype(self) -> str:
        ...
    @property
    def read_only(self) -> bool:
        ...
    @property
    def shape(self) -> list[int]:
        ...
class CudaDevice:
    """
    One GPU: its primary context and conversion kernels.
    """
    @staticmethod
    def count() -> int:
        """
        How many GPUs the driver shows; DeviceError without a driver.
        """
    @staticmethod
    def get(ordinal: typing.SupportsInt | typing.SupportsIndex) -> CudaDevice:
        """
        The device of an ordinal, shared by all who ask. DeviceError says why it cannot be used.
        """
    @staticmethod
    def shutdown() -> None:
        """
        Destroys idle decoders; for the end of the process.
        """
    def caps(self, codec: str, chroma: typing.SupportsInt | typing.SupportsIndex, bit_depth: typing.SupportsInt | typing.SupportsIndex) -> dict[str, typing.Any]:
        """
        What NVDEC decodes. codec: FFmpeg's name. chroma: 0 gray, 1 4:2:0, 2 4:2:2, 3 4:4:4.
        """
    def copy(self, to: typing.SupportsInt | typing.SupportsIndex, source: typing.SupportsInt | typing.SupportsIndex, bytes: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Copies between device addresses in the order of a stream.
        """
    def order(self, earlier: typing.SupportsInt | typing.SupportsIndex, later: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        What stream `later` is given from now on waits for all that `earlier` was given so far.
        """
    def owner_of(self, address: typing.SupportsInt | typing.SupportsIndex) -> int:
        """
        The ordinal of the GPU that memory is on; -1 for an address that is no memory of a GPU.
        """
    def upload(self, to: typing.SupportsInt | typing.SupportsIndex, source: typing_extensions.Buffer, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Copies host bytes to a device address in the order of a stream.
        """
    @property
    def context(self) -> int:
        """
        CUcontext: the primary one.
        """
    @property
    def name(self) -> str:
        """
        As the driver calls it.
        """
    @property
    def ordinal(self) -> int:
        """
        Its number among those the driver shows.
        """
class DeviceMemory:
    """
    Memory of the driver's stream-ordered pool.
    """
    def __init__(self, device: CudaDevice, bytes: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def free_on(self, stream: typing.SupportsInt | typing.SupportsIndex, keep: typing.Any) -> None:
        """
        Gives it back in the order of another stream, which was made to wait for its allocation; `keep` lives as long.
        """
    def shared_with_other_streams(self) -> None:
        """
        Other streams may still read it when it is let go: wait for them then.
        """
    @property
    def address(self) -> int:
        """
        Device address.
        """
class CudaConverter:
    """
    What Converter is, on a GPU.
    """
    def __init__(self, device: CudaDevice, tables: CudaTables) -> None:
        ...
class CudaStream:
    """
    A stream that does not wait for the legacy default stream.
    """
    def __init__(self, device: CudaDevice) -> None:
        ...
    @property
    def handle(self) -> int:
        """
        CUstream.
        """
class CudaConvertStream:
    """
    A stream on which pictures in device memory are converted.
    """
    def __init__(self, device: CudaDevice) -> None:
        ...
    def convert(self, converter: CudaConverter, planes: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]], out: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Enqueues a conversion. planes: (device address, pitch) of each. out: device address of one slot.
        """
    def order_after(self, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        What the stream is given from now on comes after what it did so far.
        """
    def order_before(self, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        What it does from now on comes after what the stream was given so far.
        """
    @property
    def handle(self) -> int:
        """
        CUstream.
        """
class SurfaceFormat:
    """
    What the pictures of a sequence are, as the stream's headers say.
    """
    @property
    def height(self) -> int:
        ...
    @property
    def pixel_format(self) -> str:
        ...
    @property
    def width(self) -> int:
        ...
class NvdecSession:
    """
    Decodes runs of a stream with NVDEC and converts the wanted pictures.
    """
    def __init__(self, device: CudaDevice, codec: str, extradata: bytes) -> None:
        ...
    def abandon(self) -> None:
        """
        Ends a run without draining.
        """
    def begin(self, on_format: collections.abc.Callable[[SurfaceFormat], None], judge_all: bool) -> None:
        """
        Starts a run. on_format(SurfaceFormat) is called when a sequence begins; slots are asked for from then on.
        """
    def feed(self, packets: collections.abc.Sequence[tuple[typing_extensions.Buffer, typing.SupportsInt | typing.SupportsIndex]]) -> None:
        """
        Feeds (packet, timestamp) pairs; timestamps rise in display order.
        """
    def finish(self) -> None:
        """
        Drains. The run is over.
        """
    def order_after(self, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        What the stream is given from now on comes after what it did so far.
        """
    def order_before(self, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        What it does from now on comes after what the stream was given so far.
        """
    def pause(self) -> None:
        """
        Lets others use the engine while the caller does something else.
        """
    def resume(self) -> None:
        """
        Goes on; waits until it may.
        """
    def take_converted(self) -> list[int]:
        """
        Timestamps of the pictures converted since the last call.
        """
    def want(self, timestamp: typing.SupportsInt | typing.SupportsIndex, converter: CudaConverter, out: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Asks for the picture with this timestamp.
        """
    @property
    def damaged(self) -> bool:
        """
        Whether NVDEC reported an error in the run.
        """
    @property
    def decoded(self) -> int:
        """
        Pictures decoded so far.
        """
    @property
    def mapped(self) -> int:
        """
        Pictures mapped so far.
        """
class PlaneUploader:
    """
    Converts pictures in host memory on a GPU.
    """
    def __init__(self, device: CudaDevice) -> None:
        ...
    def convert(self, converter: CudaConverter, planes: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]], out: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        planes: (address, pitch, bytes of a row, rows) of each. out: device address of one slot.
        """
    def order_after(self, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        What the stream is given from now on comes after what it did so far.
        """
    def order_before(self, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        What it does from now on comes after what the stream was given so far.
        """
    @property
    def staging_bytes(self) -> int:
        """
        Page-locked bytes in use.
        """
    @property
    def uploaded_bytes(self) -> int:
        """
        Bytes copied to the GPU so far.
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
def view_dlpack(capsule: typing_extensions.CapsuleType) -> DlpackView:
    """
    Looks into a DLPack capsule without consuming it; valid as long as the capsule's producer keeps the tensor.
    """
IRREGULAR: int = 32
PARSED: int = 1
REFERENCE: int = 8
REFS_KNOWN: int = 64
RESET: int = 4
SECOND_FIELD: int = 128
SHOWN: int = 16
START: int = 2
UNKNOWN_ORDER: int = -2147483648
__version__: str = '0.1.0'
