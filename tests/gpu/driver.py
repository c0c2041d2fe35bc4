"""What tests of device="cuda" share: the driver underneath, real or emulated, and clips that NVDEC decodes."""

from __future__ import annotations

import ctypes
import gc
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import clips as recipes
import frametap as ft
from emulator_control import Emulator
from frametap import _core
from frametap.engines.cuda_target import forget_converters
from frametap.engines.nvdec_caps import forget_caps

EMULATED = os.environ.get("FRAMETAP_EMULATED") == "1"
# NVDEC decodes nothing below 128 or 144 pixels but H.264.
SIZE = (192, 160)


class Library:
    """The suite's clips at a size that NVDEC decodes, made on first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> Path:
        path = self._folder / name
        if name in recipes.OTHERS:
            make, suffix = recipes.OTHERS[name]
            path = path.with_suffix(suffix)
            if not path.exists():
                make(path)
            return path
        clip = recipes.CLIPS[name]
        path = path.with_suffix(clip.suffix)
        if not path.exists():
            size = clip.size if clip.size[0] % 2 else SIZE  # odd ones stay as they are
            recipes.encode(path, replace(clip, size=size))
        return path


class Gpu:
    """The driver as tests need it: reading device memory, and, where it is emulated, its counters and controls."""

    def __init__(self) -> None:
        self.lib = ctypes.CDLL("libcuda.so.1")
        self.emulator = Emulator.load() if EMULATED else None

    def host(self, batch: ft.FrameBatch | ft.Frame) -> NDArray[Any]:
        """Copy a batch to host memory, after all work on the GPU."""
        data: Any = batch._data
        out = np.empty(data.shape, data.dtype)
        context, device = ctypes.c_void_p(), ctypes.c_int()
        assert self.lib.cuDeviceGet(ctypes.byref(device), data.device.ordinal) == 0
        assert self.lib.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) == 0
        assert self.lib.cuCtxPushCurrent_v2(context) == 0
        try:
            # On the batch's own stream and no other: whoever reads there must see it complete.
            pointer, stream = out.ctypes.data_as(ctypes.c_void_p), ctypes.c_void_p(data.stream)
            size = ctypes.c_size_t(out.nbytes)
            address = ctypes.c_uint64(data.address)
            assert self.lib.cuMemcpyDtoHAsync_v2(pointer, address, size, stream) == 0
            assert self.lib.cuStreamSynchronize(stream) == 0
        finally:
            self.lib.cuCtxPopCurrent_v2(ctypes.byref(context))
            self.lib.cuDevicePrimaryCtxRelease_v2(device)
        return out


def forget() -> None:
    """Let go of what is kept between readers: idle decoders, filter tables, capabilities, devices."""
    gc.collect()
    forget_converters()
    forget_caps()
    _core.CudaDevice.shutdown()


def busy(torch: Any) -> None:
    """Give the current stream work for some milliseconds."""
    matrix = torch.ones(4096, 4096, device="cuda")
    for _ in range(8):
        matrix = matrix @ matrix * 1e-4
