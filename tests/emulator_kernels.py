"""frametap's kernels on the emulated driver: a conversion from planes in device memory, step by step, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from cuda_client import Cuda
from frametap import _core
from native import make_planes
from reference import Conversion, Plane, simple

JOB = simple("nv12", 64, 48, (24, 40))


@dataclass
class Kernels:
    """The loaded module, and device memory for one conversion."""

    cuda: Cuda
    job: Conversion
    module: int
    functions: tuple[int, int]
    tables: int
    scratch: int
    planes: list[tuple[int, int]]  # address, pitch
    out: int
    out_bytes: int

    @classmethod
    def load(
        cls, cuda: Cuda, planes: Sequence[Plane] | None = None, job: Conversion = JOB
    ) -> Kernels:
        """Upload tables and planes (random ones without `planes`) and allocate the rest."""
        host = _core.CudaTables(**asdict(job))
        module = cuda.get("cuModuleLoadData", _core.cuda_fatbin())
        vertical = cuda.get("cuModuleGetFunction", module, b"frametap_vertical")
        horizontal = cuda.get("cuModuleGetFunction", module, b"frametap_horizontal")
        out_bytes = int(np.prod(job.out_shape)) * np.dtype(job.dtype).itemsize
        kernels = cls(
            cuda, job, module, (vertical, horizontal),
            _upload(cuda, host.table_bytes()), cuda.alloc(host.scratch_bytes(1)), [],
            cuda.alloc(out_bytes), out_bytes,
        )  # fmt: skip
        for plane in planes or make_planes(job.pixel_format, job.width, job.height, "random"):
            whole = plane.base if plane.base is not None else plane
            assert isinstance(whole, np.ndarray)
            kernels.planes.append((_upload(cuda, whole.tobytes()), plane.strides[0]))
        return kernels

    def launch(self, stream: int | None = None, **other: int) -> list[int]:
        """Launch both kernels, with some addresses replaced: tables, scratch, out, plane. The two results."""
        host = _core.CudaTables(**asdict(self.job))
        planes = [(other.get("plane", address), pitch) for address, pitch in self.planes]
        params = host.params(
            other.get("tables", self.tables),
            [(planes, other.get("out", self.out))],
            other.get("scratch", self.scratch),
        )
        grids = (host.vertical_grid(1), host.horizontal_grid(1))
        return [
            self.cuda.launch(function, grid, host.block, stream, params)
            for function, grid in zip(self.functions, grids, strict=True)
        ]

    def result(self) -> NDArray[np.generic]:
        data = self.cuda.read(self.out, self.out_bytes)
        return np.frombuffer(data, self.job.dtype).reshape(self.job.out_shape)

    def close(self) -> None:
        self.cuda.free(self.tables, self.scratch, self.out, *(plane for plane, _ in self.planes))
        self.cuda.must("cuModuleUnload", self.module)


def _upload(cuda: Cuda, data: bytes) -> int:
    address = cuda.alloc(len(data))
    cuda.write(address, data)
    return address
