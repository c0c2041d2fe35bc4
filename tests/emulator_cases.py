"""What the emulated CUDA driver does for a client that keeps to the rules: test_emulator_cuda.py runs every function here
and in emulator_memory_cases.py.

Each runs in a process of its own, under the strict profile, eagerly and with several seeds, and must end without a
violation. Where a case needs other devices its name is in DEVICES.
"""

from __future__ import annotations

import ctypes
import struct
import threading

from cuda_client import (
    INVALID_CONTEXT,
    INVALID_DEVICE,
    INVALID_VALUE,
    NO_BINARY,
    NO_DEVICE,
    NON_BLOCKING,
    NOT_FOUND,
    NOT_SUPPORTED,
    OUT_OF_MEMORY,
    SUCCESS,
    Cuda,
)

DEVICES = {
    "two_devices": "h100,t4",
    "every_profile": "t4,a10,l4,h100,b200,tiny",
    "no_device": "none",
    "image_without_code_for_this_gpu": "t4",
}


def no_device(cuda: Cuda) -> None:
    assert cuda.call("cuInit", 0) == NO_DEVICE


def every_profile(cuda: Cuda) -> None:
    cuda.must("cuInit", 0)
    assert cuda.get("cuDeviceGetCount", kind=ctypes.c_int) == 6
    capabilities, names = [], []
    for device in range(6):
        assert cuda.get("cuDeviceGet", device, kind=ctypes.c_int) == device
        name = ctypes.create_string_buffer(64)
        cuda.must("cuDeviceGetName", name, 64, device)
        names.append(name.value.decode())
        capabilities.append(
            tuple(
                cuda.get("cuDeviceGetAttribute", attribute, device, kind=ctypes.c_int)
                for attribute in (75, 76)
            )
        )
    assert capabilities == [(7, 5), (8, 6), (8, 9), (9, 0), (10, 0), (9, 0)]
    assert all("emulated" in name for name in names)
    assert len(set(names)) == 6
    assert cuda.get("cuDeviceTotalMem_v2", 5) == 64 << 20
    assert cuda.call("cuDeviceGet", ctypes.byref(ctypes.c_int()), 6) == INVALID_DEVICE


def error_texts(cuda: Cuda) -> None:
    text = ctypes.c_char_p()
    cuda.must("cuGetErrorName", 2, ctypes.byref(text))
    assert text.value == b"CUDA_ERROR_OUT_OF_MEMORY"
    cuda.must("cuGetErrorString", 201, ctypes.byref(text))
    assert text.value == b"invalid device context"
    assert cuda.call("cuGetErrorName", 123456, ctypes.byref(text)) == INVALID_VALUE
    assert text.value is None


def proc_addresses(cuda: Cuda) -> None:
    found, status = ctypes.c_void_p(), ctypes.c_int()
    for name in (b"cuMemAlloc", b"cuCtxCreate", b"cuStreamSynchronize", b"cuEventElapsedTime"):
        cuda.must("cuGetProcAddress_v2", name, ctypes.byref(found), 13000, 0, ctypes.byref(status))
        assert found.value
        assert status.value == 0
    missing = cuda.call(
        "cuGetProcAddress_v2", b"cuNoSuch", ctypes.byref(found), 13000, 0, ctypes.byref(status)
    )
    assert missing == NOT_FOUND
    assert status.value == 1
    assert cuda.get("cuDriverGetVersion", kind=ctypes.c_int) == 13000


def unsupported_calls_are_counted(cuda: Cuda) -> None:
    assert cuda.call("cuTexObjectCreate") == NOT_SUPPORTED
    assert cuda.emulator["unsupported.cuTexObjectCreate"] == cuda.emulator["unsupported"] == 1


def contexts_nest(cuda: Cuda) -> None:
    cuda.must("cuInit", 0)
    assert cuda.get("cuCtxGetCurrent") == 0
    first = cuda.get("cuCtxCreate_v2", 0, 0)
    second = cuda.get("cuCtxCreate_v2", 0, 0)
    assert first != second
    assert cuda.get("cuCtxGetCurrent") == second
    cuda.must("cuCtxPopCurrent_v2", None)
    assert cuda.get("cuCtxGetCurrent") == first
    cuda.must("cuCtxDestroy_v2", second)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(cuda.get("cuCtxGetCurrent")))
    thread.start()
    thread.join()
    assert seen == [0], "a thread starts without a context"
    cuda.must("cuCtxDestroy_v2", first)
    assert cuda.get("cuCtxGetCurrent") == 0


def primary_context_is_shared(cuda: Cuda) -> None:
    cuda.must("cuInit", 0)
    one = cuda.get("cuDevicePrimaryCtxRetain", 0)
    assert cuda.get("cuDevicePrimaryCtxRetain", 0) == one
    flags, active = ctypes.c_uint(), ctypes.c_int()
    for expected in (1, 1, 0):
        cuda.must("cuDevicePrimaryCtxGetState", 0, ctypes.byref(flags), ctypes.byref(active))
        assert active.value == expected
        if expected:
            cuda.must("cuDevicePrimaryCtxRelease_v2", 0)


def two_devices(cuda: Cuda) -> None:
    cuda.start(0)
    first = cuda.alloc(100)
    second_context = cuda.start(1)
    assert cuda.get("cuCtxGetDevice", kind=ctypes.c_int) == 1
    second = cuda.alloc(100)
    assert cuda.get("cuPointerGetAttribute", 9, first, kind=ctypes.c_int) == 0
    assert cuda.get("cuPointerGetAttribute", 9, second, kind=ctypes.c_int) == 1
    assert cuda.get("cuPointerGetAttribute", 1, second) == second_context
    assert cuda.get("cuDeviceCanAccessPeer", 0, 1, kind=ctypes.c_int) == 0
    cuda.free(second)
    cuda.stop(1)
    cuda.free(first)
    cuda.stop(0)


def image_that_is_not_ours(cuda: Cuda) -> None:
    cuda.start()
    out = ctypes.c_uint64()
    for image in (b"\x7fELF" + bytes(100), b".version 8.0\n.target sm_75\n" + bytes(100)):
        assert cuda.call("cuModuleLoadData", ctypes.byref(out), image) == NO_BINARY
    from frametap import _core

    changed = bytearray(_core.cuda_fatbin())
    changed[len(changed) // 2] ^= 1
    assert cuda.call("cuModuleLoadData", ctypes.byref(out), bytes(changed)) == NO_BINARY
    assert cuda.emulator["modules.refused"] == 3


def functions_by_name(cuda: Cuda) -> None:
    from frametap import _core

    cuda.start()
    module = cuda.get("cuModuleLoadData", _core.cuda_fatbin())
    function = cuda.get("cuModuleGetFunction", module, b"frametap_vertical")
    out = ctypes.c_uint64()
    assert cuda.call("cuModuleGetFunction", ctypes.byref(out), module, b"nothing") == NOT_FOUND
    assert cuda.get("cuFuncGetAttribute", 0, function, kind=ctypes.c_int) == 1024
    too_large = cuda.launch(function, (1, 1, 1), (2048, 1, 1), None, bytes(4096))
    assert too_large == INVALID_VALUE
    cuda.must("cuModuleUnload", module)


def faults_strike_once(cuda: Cuda) -> None:
    cuda.start()
    out = ctypes.c_uint64()
    with cuda.emulator.fault("cuMemAlloc", OUT_OF_MEMORY, call=2):
        results = [cuda.call("cuMemAlloc_v2", ctypes.byref(out), 16) for _ in range(3)]
    assert results == [SUCCESS, OUT_OF_MEMORY, SUCCESS]
    assert cuda.emulator["faults"] == 1
    assert cuda.emulator["live.allocations"] == 2


def faults_of_free_come_after_the_work(cuda: Cuda) -> None:
    cuda.start()
    address = cuda.alloc(16)
    with cuda.emulator.fault("cuMemFree", 719):
        assert cuda.call("cuMemFree_v2", address) == 719
    assert cuda.emulator["live.allocations"] == 0


def lost_device_is_sticky(cuda: Cuda) -> None:
    cuda.start()
    address = cuda.alloc(16)
    with cuda.emulator.fault("lost", 719, call=3):
        results = [cuda.call("cuMemsetD8_v2", address, 0, 16) for _ in range(5)]
        assert results == [SUCCESS, SUCCESS, 719, 719, 719]
        assert cuda.call("cuCtxSynchronize") == 719
        assert cuda.call("cuMemFree_v2", address) == 719, "but it is free"
        cuda.must("cuCtxPopCurrent_v2", None)
    cuda.emulator.reset()
    cuda.must("cuDevicePrimaryCtxRelease_v2", 0)


def counters_and_reset(cuda: Cuda) -> None:
    cuda.start()
    address = cuda.alloc(100)
    cuda.write(address, bytes(100))
    assert cuda.emulator["calls.cuMemAlloc"] == 1
    assert cuda.emulator["calls"] == 5
    cuda.emulator.reset()
    assert cuda.emulator["calls"] == 0
    assert cuda.emulator["bytes.HtoD"] == 0
    assert cuda.emulator.alive() == {"allocations": 1, "bytes": 100, "primary contexts": 1}
    cuda.free(address)
    assert cuda.emulator["peak.bytes"] == 100


def contexts_of_their_own_need_handles_of_their_own(cuda: Cuda) -> None:
    cuda.must("cuInit", 0)
    context = cuda.get("cuCtxCreate_v2", 0, 0)
    stream = cuda.stream()
    owner, flags = ctypes.c_uint64(), ctypes.c_uint()
    cuda.must("cuStreamGetCtx", stream, ctypes.byref(owner))
    cuda.must("cuStreamGetFlags", stream, ctypes.byref(flags))
    assert (owner.value, flags.value) == (context, NON_BLOCKING)
    cuda.must("cuStreamDestroy_v2", stream)
    cuda.must("cuCtxDestroy_v2", context)
    out = ctypes.c_uint64()
    assert cuda.get("cuCtxGetCurrent") == 0
    assert cuda.call("cuCtxGetApiVersion", context, ctypes.byref(out)) == INVALID_CONTEXT


def kernels_give_the_bytes_of_the_converter(cuda: Cuda) -> None:
    import numpy as np

    import native
    from emulator_kernels import JOB, Kernels

    cuda.start()
    planes = native.make_planes(JOB.pixel_format, JOB.width, JOB.height, "random")
    expected = native.run(planes, JOB)
    kernels = Kernels.load(cuda, planes)
    stream = cuda.stream()
    cuda.sync()
    assert kernels.launch(stream) == [SUCCESS, SUCCESS]
    cuda.sync(stream)
    assert np.array_equal(kernels.result(), expected)
    assert cuda.emulator["launches"] == 2
    assert cuda.emulator["launches.frametap_vertical"] == 1
    kernels.close()
    assert cuda.emulator.alive() == {"primary contexts": 1, "streams": 1}


def image_without_code_for_this_gpu(cuda: Cuda) -> None:
    """A T4 cannot run code for 9.0; whether the built image has other code decides what is expected."""
    from frametap import _core

    image = _core.cuda_fatbin()
    entries, at = [], 16
    while at < len(image):
        kind, header, size = struct.unpack_from("<HxxIQ", image, at)
        entries.append((kind, struct.unpack_from("<I", image, at + 28)[0]))
        at += header + size
    has_code = any(arch <= 75 and (kind == 1 or arch // 10 == 7) for kind, arch in entries)
    cuda.start()
    result = cuda.call("cuModuleLoadData", ctypes.byref(ctypes.c_uint64()), image)
    assert result == (SUCCESS if has_code else NO_BINARY)
