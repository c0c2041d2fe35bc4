"""Mistakes of a CUDA client, each with the words by which the emulated driver has to report it.

test_emulator_cuda.py runs every function in a process of its own, under the strict profile, eagerly and with seeds. What
depends on the order in which streams run has to be found with one seed at least.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from cuda_client import (
    CONTEXT_IS_DESTROYED,
    ILLEGAL_ADDRESS,
    INVALID_CONTEXT,
    INVALID_HANDLE,
    INVALID_VALUE,
    MISALIGNED_ADDRESS,
    NOT_INITIALIZED,
    NOT_PERMITTED,
    SUCCESS,
    Cuda,
)

DEVICES = {"memory_of_another_device": "h100,h100"}


@dataclass
class Bug:
    """What a planted mistake must be reported with."""

    words: str
    seeds_only: bool = False  # an order of streams that shows it has to come up: not eagerly
    lenient: bool = False  # the real driver tolerates it: no violation under the driver profile
    dies: bool = False


BUGS: dict[str, Bug] = {}


def reported(
    words: str, **rest: bool
) -> Callable[[Callable[[Cuda], None]], Callable[[Cuda], None]]:
    def register(function: Callable[[Cuda], None]) -> Callable[[Cuda], None]:
        BUGS[function.__name__] = Bug(words, **rest)
        return function

    return register


# ------------------------------------------------------------------------------------------------------------- contexts


@reported("cuDeviceGetCount before cuInit")
def call_before_init(cuda: Cuda) -> None:
    assert cuda.call("cuDeviceGetCount", ctypes.byref(ctypes.c_int())) == NOT_INITIALIZED


@reported("cuMemAlloc without a current context")
def no_current_context(cuda: Cuda) -> None:
    cuda.start()
    results = []
    out = ctypes.c_uint64()
    thread = threading.Thread(
        target=lambda: results.append(cuda.call("cuMemAlloc_v2", ctypes.byref(out), 16))
    )
    thread.start()
    thread.join()
    assert results == [INVALID_CONTEXT]


@reported("in a context that was destroyed")
def context_destroyed_elsewhere(cuda: Cuda) -> None:
    cuda.must("cuInit", 0)
    context = cuda.get("cuCtxCreate_v2", 0, 0)
    thread = threading.Thread(target=lambda: cuda.must("cuCtxDestroy_v2", context))
    thread.start()
    thread.join()
    assert cuda.call("cuCtxSynchronize") == CONTEXT_IS_DESTROYED


@reported("cuCtxPushCurrent")
def push_of_a_released_context(cuda: Cuda) -> None:
    context = cuda.start()
    cuda.stop()
    assert cuda.call("cuCtxPushCurrent_v2", context) == INVALID_CONTEXT


@reported("nothing pushed")
def one_pop_too_many(cuda: Cuda) -> None:
    cuda.start()
    cuda.stop()
    assert cuda.call("cuCtxPopCurrent_v2", None) == INVALID_CONTEXT


@reported("released more often than retained")
def one_release_too_many(cuda: Cuda) -> None:
    cuda.start()
    cuda.stop()
    assert cuda.call("cuDevicePrimaryCtxRelease_v2", 0) == INVALID_CONTEXT


@reported("belongs to another context")
def stream_of_another_context(cuda: Cuda) -> None:
    cuda.start()
    stream, address = cuda.stream(), cuda.alloc(16)
    cuda.get("cuCtxCreate_v2", 0, 0)
    assert cuda.call("cuMemsetD8Async", address, 0, 16, stream) == INVALID_HANDLE


@reported("are of different contexts")
def event_of_another_context(cuda: Cuda) -> None:
    cuda.start()
    event = cuda.event()
    cuda.get("cuCtxCreate_v2", 0, 0)
    assert cuda.call("cuEventRecord", event, None) == INVALID_HANDLE


@reported("memory of device 0 in a context of device 1", lenient=True)
def memory_of_another_device(cuda: Cuda) -> None:
    cuda.start(0)
    address = cuda.alloc(16)
    cuda.start(1)
    cuda.read(address, 16)


@reported("after the driver was shut down")
def call_at_exit(cuda: Cuda) -> None:
    """As the destructor of a static object would, where that was made before the driver was loaded."""
    libc = ctypes.CDLL(None)
    assert libc.__cxa_atexit(cuda.emulator.lib.cuCtxSynchronize, None, None) == 0
    cuda.start()


@reported("in a child of fork")
def call_after_fork(cuda: Cuda) -> None:
    cuda.start()
    child = os.fork()
    if child == 0:
        result = cuda.call("cuCtxSynchronize")
        os._exit(0 if result == NOT_INITIALIZED else 1)
    assert os.waitpid(child, 0)[1] == 0


# --------------------------------------------------------------------------------------------------------------- memory


@reported("that were freed")
def copy_from_freed_memory(cuda: Cuda) -> None:
    cuda.start()
    address = cuda.alloc(64)
    cuda.free(address)
    out = ctypes.create_string_buffer(64)
    assert cuda.call("cuMemcpyDtoH_v2", out, address, 64) == INVALID_VALUE


@reported("cuMemcpyHtoD: 65 bytes from")
def copy_past_the_end(cuda: Cuda) -> None:
    cuda.start()
    address = cuda.alloc(64)
    assert cuda.call("cuMemcpyHtoD_v2", address, bytes(65), 65) == INVALID_VALUE


@reported("which was never allocated")
def copy_to_a_wild_address(cuda: Cuda) -> None:
    cuda.start()
    address = cuda.alloc(64)
    assert cuda.call("cuMemsetD8_v2", address - 4096, 0, 64) == INVALID_VALUE


@reported("cuMemFree of")
def free_twice(cuda: Cuda) -> None:
    cuda.start()
    address = cuda.alloc(64)
    cuda.free(address)
    assert cuda.call("cuMemFree_v2", address) == INVALID_VALUE


@reported("a second time")
def free_twice_asynchronously(cuda: Cuda) -> None:
    cuda.start()
    cuda.emulator.set(seed=5)  # the first is still to come
    stream = cuda.stream()
    address = cuda.alloc_async(64, stream)
    cuda.must("cuMemFreeAsync", address, stream)
    if cuda.call("cuMemFreeAsync", address, stream) == SUCCESS:
        raise AssertionError("a second cuMemFreeAsync was accepted")


@reported("8 bytes into 64 bytes")
def free_in_the_middle(cuda: Cuda) -> None:
    cuda.start()
    assert cuda.call("cuMemFree_v2", cuda.alloc(64) + 8) == INVALID_VALUE


@reported("cuMemsetD8Async: ")
def use_after_asynchronous_free(cuda: Cuda) -> None:
    cuda.start()
    stream = cuda.stream()
    address = cuda.alloc_async(64, stream)
    cuda.must("cuMemFreeAsync", address, stream)
    cuda.call("cuMemsetD8Async", address, 0, 64, stream)


@reported("1 allocations not freed", lenient=True)
def memory_leak(cuda: Cuda) -> None:
    cuda.start()
    cuda.alloc(64)
    cuda.stop()


@reported("with 1 streams not destroyed", lenient=True)
def stream_leak(cuda: Cuda) -> None:
    cuda.start()
    cuda.stream()
    cuda.stop()


@reported("the process ended with 1 pinned host ranges not destroyed", lenient=True)
def pinned_memory_leak(cuda: Cuda) -> None:
    cuda.start()
    cuda.pinned(64)


@reported("host code touched device memory", dies=True)
def dereference_on_the_host(cuda: Cuda) -> None:
    cuda.start()
    ctypes.c_uint8.from_address(cuda.alloc(64)).value = 1


@reported("passed as host memory")
def device_address_as_host_memory(cuda: Cuda) -> None:
    cuda.start()
    one, other = cuda.alloc(64), cuda.alloc(64)
    assert cuda.call("cuMemcpyHtoD_v2", one, other, 64) == INVALID_VALUE


@reported("cuMemFreeHost of")
def free_of_pinned_memory_twice(cuda: Cuda) -> None:
    cuda.start()
    address = ctypes.c_void_p(ctypes.addressof(cuda.pinned(64)))
    cuda.must("cuMemFreeHost", address)
    assert cuda.call("cuMemFreeHost", address) == INVALID_VALUE


# ---------------------------------------------------------------------------------------------- streams, events, order


@reported("is a destroyed stream")
def use_of_a_destroyed_stream(cuda: Cuda) -> None:
    cuda.start()
    stream = cuda.stream()
    cuda.must("cuStreamDestroy_v2", stream)
    assert cuda.call("cuStreamSynchronize", stream) == INVALID_HANDLE


@reported("is a destroyed event")
def use_of_a_destroyed_event(cuda: Cuda) -> None:
    cuda.start()
    event = cuda.event()
    cuda.must("cuEventDestroy_v2", event)
    assert cuda.call("cuStreamWaitEvent", None, event, 0) == INVALID_HANDLE


@reported("is no event")
def stream_in_place_of_an_event(cuda: Cuda) -> None:
    cuda.start()
    assert cuda.call("cuEventSynchronize", cuda.stream()) == INVALID_HANDLE


@reported("called by a host function")
def cuda_in_a_host_function(cuda: Cuda) -> None:
    cuda.start()
    results: list[int] = []
    cuda.host_function(lambda: results.append(cuda.call("cuCtxSynchronize")), None)
    cuda.sync()
    assert results == [NOT_PERMITTED]


@reported("an event is missing", seeds_only=True)
def no_event_after_asynchronous_allocation(cuda: Cuda) -> None:
    cuda.start()
    one, other = cuda.stream(), cuda.stream()
    cuda.fill(cuda.alloc_async(64, one), 0, 64, other)
    cuda.must("cuCtxSynchronize")


@reported("ran on 64 bytes from", seeds_only=True)
def no_event_before_asynchronous_free(cuda: Cuda) -> None:
    cuda.start()
    one, other = cuda.stream(), cuda.stream()
    for _ in range(5):
        address = cuda.alloc_async(64, one)
        cuda.sync(one)
        cuda.fill(address, 0, 64, other)
        cuda.must("cuMemFreeAsync", address, one)
    cuda.must("cuCtxSynchronize")


@reported("old bytes", seeds_only=True)
def no_event_between_streams(cuda: Cuda) -> None:
    cuda.start()
    writer, reader = cuda.stream(), cuda.stream()
    address, copy = cuda.alloc(64), cuda.alloc(64)
    for value in range(10):
        cuda.fill(address, value, 64, writer)
        cuda.must("cuMemcpyDtoDAsync_v2", copy, address, 64, reader)
        cuda.must("cuCtxSynchronize")
        _check(cuda.read(copy, 64) == bytes([value]) * 64)


@reported("old bytes", seeds_only=True)
def pinned_memory_read_too_early(cuda: Cuda) -> None:
    cuda.start()
    stream, host, address = cuda.stream(), cuda.pinned(64), cuda.alloc(64)
    for value in range(10):
        cuda.fill(address, value, 64, stream)
        cuda.must("cuMemcpyDtoHAsync_v2", host, address, 64, stream)
        _check(host[:] == bytes([value]) * 64)
    cuda.sync(stream)


@reported("old bytes", seeds_only=True)
def pinned_memory_reused_too_early(cuda: Cuda) -> None:
    cuda.start()
    stream, host, address = cuda.stream(), cuda.pinned(64), cuda.alloc(64)
    for value in range(10):
        host[:] = bytes([value]) * 64
        cuda.must("cuMemcpyHtoDAsync_v2", address, host, 64, stream)
        host[:] = b"\xff" * 64
        cuda.sync(stream)
        _check(cuda.read(address, 64) == bytes([value]) * 64)


@reported("after its page-locked host memory was freed", seeds_only=True)
def pinned_memory_freed_too_early(cuda: Cuda) -> None:
    cuda.start()
    stream, address = cuda.stream(), cuda.alloc(64)
    for _ in range(5):
        host = cuda.pinned(64)
        cuda.must("cuMemcpyHtoDAsync_v2", address, host, 64, stream)
        cuda.must("cuMemFreeHost", ctypes.c_void_p(ctypes.addressof(host)))
    cuda.sync(stream)


def _check(good: bool) -> None:
    """What a test of the client would see: wrong bytes are no violation, they are a wrong result."""
    if not good:
        print("client: old bytes", file=sys.stderr)


# -------------------------------------------------------------------------------------------------------------- kernels


@reported("argument of kernel frametap_horizontal is host memory")
def host_address_for_a_kernel(cuda: Cuda) -> None:
    from emulator_kernels import Kernels

    cuda.start()
    kernels = Kernels.load(cuda)
    host = ctypes.create_string_buffer(kernels.out_bytes)
    kernels.launch(out=ctypes.addressof(host))
    cuda.sync()


@reported("the argument of kernel frametap_vertical: 1 bytes from")
def freed_address_for_a_kernel(cuda: Cuda) -> None:
    from emulator_kernels import Kernels

    cuda.start()
    kernels = Kernels.load(cuda)
    gone = cuda.alloc(64 * 48)
    cuda.free(gone)
    kernels.launch(plane=gone)
    assert cuda.call("cuCtxSynchronize") == ILLEGAL_ADDRESS
    assert cuda.call("cuStreamCreate", ctypes.byref(ctypes.c_uint64()), 0) == ILLEGAL_ADDRESS


@reported("kernel frametap_horizontal touched")
def kernel_far_past_the_end(cuda: Cuda) -> None:
    from emulator_kernels import Kernels

    cuda.start()
    kernels = Kernels.load(cuda)
    kernels.launch(out=cuda.alloc(kernels.out_bytes // 2))
    assert cuda.call("cuCtxSynchronize") == ILLEGAL_ADDRESS


@reported("the bytes after an allocation of")
def kernel_just_past_the_end(cuda: Cuda) -> None:
    from emulator_kernels import Kernels

    cuda.start()
    kernels = Kernels.load(cuda)
    assert kernels.out_bytes % 256 > 8
    kernels.launch(out=cuda.alloc(kernels.out_bytes - 8))
    cuda.sync()


@reported("kernel frametap_vertical touched a misaligned address")
def misaligned_address_for_a_kernel(cuda: Cuda) -> None:
    from emulator_kernels import Kernels

    cuda.start()
    kernels = Kernels.load(cuda)
    kernels.launch(scratch=cuda.alloc(1 << 16) + 1)
    assert cuda.call("cuCtxSynchronize") == MISALIGNED_ADDRESS


@reported("whose module was unloaded")
def kernel_of_an_unloaded_module(cuda: Cuda) -> None:
    from emulator_kernels import Kernels

    cuda.start()
    kernels = Kernels.load(cuda)
    cuda.must("cuModuleUnload", kernels.module)
    assert kernels.launch() == [INVALID_HANDLE, INVALID_HANDLE]


@reported("old bytes", seeds_only=True)
def no_event_between_a_write_and_a_kernel(cuda: Cuda) -> None:
    from emulator_kernels import Kernels

    cuda.start()
    kernels = Kernels.load(cuda)
    writer, reader = cuda.stream(), cuda.stream()
    plane, pitch = kernels.planes[0]
    size = pitch * kernels.job.height
    results = set()
    for _ in range(5):
        cuda.fill(plane, 16, size, None)
        cuda.sync()
        cuda.fill(plane, 235, size, writer)
        kernels.launch(reader)
        cuda.must("cuCtxSynchronize")
        results.add(kernels.result().tobytes())
    _check(len(results) == 1)
