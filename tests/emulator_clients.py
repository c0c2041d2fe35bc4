"""Independent clients of NVDEC, each run on the emulated driver in a process of its own.

    python emulator_clients.py CLIENT FILE [SEEDS]

prints one JSON object per seed: the frames that the client got, [pts, digest of the NV12 or P016 bytes], and what the
emulator has to say about the client. `frames_of` is the same for software decoding, to compare with.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from emulator_control import Emulator, environment

Frame = tuple[int | None, str]  # pts, digest


def digest(*planes: NDArray[np.uint8] | NDArray[np.uint16]) -> str:
    return hashlib.sha256(
        b"".join(np.ascontiguousarray(plane).tobytes() for plane in planes)
    ).hexdigest()[:16]


def planes_of(frame: av.VideoFrame) -> list[NDArray[np.uint8] | NDArray[np.uint16]]:
    """Samples of each plane, without padding; interleaved chroma stays interleaved."""
    deep = frame.format.components[0].bits > 8 or frame.format.name in {"p010le", "p016le"}
    planes = []
    for number, plane in enumerate(frame.planes):
        samples = np.frombuffer(plane, np.uint16 if deep else np.uint8).reshape(plane.height, -1)
        interleaved = number == 1 and len(frame.planes) == 2
        planes.append(samples[:, : plane.width * (2 if interleaved else 1)])
    return planes


def surface_digest(frame: av.VideoFrame) -> str:
    """Digest of the frame as NVDEC lays it out: luma, interleaved chroma, samples above 8 bits in the high bits."""
    planes = planes_of(frame)
    if len(planes) == 3:
        luma, u, v = planes
        planes = [luma, np.stack([u, v], axis=-1).reshape(u.shape[0], -1)]
        bits = frame.format.components[0].bits
        if bits > 8:
            planes = [plane << (16 - bits) for plane in planes]
    return digest(*planes)


def frames_of(path: Path) -> list[Frame]:
    """Decode in software with PyAV's FFmpeg."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        return [(frame.pts, surface_digest(frame)) for frame in container.decode(video=0)]


def cuvid(path: Path) -> Iterator[Frame]:
    """FFmpeg's *_cuvid decoder: the cuvid parser, mapping, copies to the host."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        name = stream.codec_context.codec.canonical_name.replace("video", "")
        decoder = av.CodecContext.create(f"{name}_cuvid", "r")
        decoder.extradata = stream.codec_context.extradata
        decoder.width, decoder.height = stream.codec_context.width, stream.codec_context.height
        for packet in container.demux(stream):
            for frame in decoder.decode(packet if packet.size else None):
                yield frame.pts, surface_digest(frame)


def hwaccel(path: Path) -> Iterator[Frame]:
    """FFmpeg's nvdec hwaccel: FFmpeg parses and fills CUVIDPICPARAMS itself."""
    from av.codec.hwaccel import HWAccel

    with av.open(str(path), hwaccel=HWAccel("cuda", allow_software_fallback=False)) as container:
        for frame in container.decode(video=0):
            yield frame.pts, surface_digest(frame)


def _device_frame(frame: object) -> str:
    """Digest of a frame of PyNvVideoCodec in device memory, copied here with the driver API."""
    luma, chroma = (view.__cuda_array_interface__ for view in frame.cuda())  # type: ignore[attr-defined]
    driver = ctypes.CDLL("libcuda.so.1")
    context = ctypes.c_void_p()
    assert driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
    assert driver.cuCtxPushCurrent_v2(context) == 0
    planes = []
    for view in (luma, chroma):
        plane = np.zeros(int(np.prod(view["shape"])), np.dtype(view["typestr"]))
        address = ctypes.c_ulonglong(view["data"][0])
        assert (
            driver.cuMemcpyDtoH_v2(
                ctypes.c_void_p(plane.ctypes.data), address, ctypes.c_size_t(plane.nbytes)
            )
            == 0
        )
        planes.append(plane)
    driver.cuCtxPopCurrent_v2(None)
    driver.cuDevicePrimaryCtxRelease_v2(0)
    return digest(*planes)


def pynv_decoder(path: Path) -> Iterator[Frame]:
    """PyNvVideoCodec's CreateDemuxer and CreateDecoder, frames in device memory."""
    import PyNvVideoCodec as nvc

    demuxer = nvc.CreateDemuxer(str(path))
    decoder = nvc.CreateDecoder(
        gpuid=0, codec=demuxer.GetNvCodecId(), cudacontext=0, cudastream=0, usedevicememory=True
    )
    for packet in demuxer:
        for frame in decoder.Decode(packet):
            yield None, _device_frame(frame)


def pynv_host(path: Path) -> Iterator[Frame]:
    """The same, frames in host memory."""
    import PyNvVideoCodec as nvc

    demuxer = nvc.CreateDemuxer(str(path))
    decoder = nvc.CreateDecoder(
        gpuid=0, codec=demuxer.GetNvCodecId(), cudacontext=0, cudastream=0, usedevicememory=False
    )
    for packet in demuxer:
        for frame in decoder.Decode(packet):
            size, address = frame.framesize(), frame.GetPtrToPlane(0)
            yield None, digest(np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address)))


def pynv_threaded(path: Path) -> Iterator[Frame]:
    """PyNvVideoCodec's ThreadedDecoder: parses and decodes on a thread of its own."""
    import PyNvVideoCodec as nvc

    decoder = nvc.ThreadedDecoder(str(path), buffer_size=8, gpu_id=0, use_device_memory=True)
    while batch := decoder.get_batch_frames(5):
        for frame in batch:
            yield None, _device_frame(frame)


def pynv_simple(path: Path) -> Iterator[Frame]:
    """PyNvVideoCodec's SimpleDecoder: frames by number, out of order, which makes it seek; given in order."""
    import PyNvVideoCodec as nvc

    decoder = nvc.SimpleDecoder(str(path), gpu_id=0, use_device_memory=True)
    order = np.random.default_rng(1).permutation(len(decoder))
    digests = {int(number): _device_frame(decoder[int(number)]) for number in order}
    for number in sorted(digests):
        yield None, digests[number]


CLIENTS: dict[str, Callable[[Path], Iterator[Frame]]] = {
    "cuvid": cuvid,
    "hwaccel": hwaccel,
    "pynv_decoder": pynv_decoder,
    "pynv_host": pynv_host,
    "pynv_threaded": pynv_threaded,
    "pynv_simple": pynv_simple,
}


def run_client(
    client: str, path: Path, seeds: tuple[int, ...] = (0,), **settings: object
) -> list[dict[str, object]]:
    """Run a client in a process of its own, once per seed; `settings` as of `emulator_control.environment`."""
    command = [sys.executable, __file__, client, str(path), ",".join(map(str, seeds))]
    variables = environment(**{"devices": "l4", **settings})
    done = subprocess.run(
        command, env=variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def main() -> None:
    client, path, seeds = sys.argv[1:]
    driver = Emulator.load()
    for seed in seeds.split(","):
        driver.reset()
        driver.set(seed=seed)
        frames = list(CLIENTS[client](Path(path)))
        counters = {name: driver[name] for name in driver if name.startswith("nvcuvid.")}
        print(
            json.dumps(
                {
                    "seed": seed,
                    "frames": frames,
                    "violations": driver.violations(),
                    "counters": counters,
                }
            )
        )


if __name__ == "__main__":
    main()
