"""The hybrid engine: FFmpeg decodes on the CPU, the wanted pictures' planes go to the GPU and are converted there."""

from __future__ import annotations

from av.video.frame import VideoFrame

from frametap._core import CudaConverter, PlaneUploader
from frametap.container import Container
from frametap.engines.base import Report
from frametap.engines.cpu import CpuEngine
from frametap.engines.cuda_target import CudaTarget
from frametap.engines.run_decoder import RunDecoder
from frametap.source import Source


class UploadingDecoder(RunDecoder):
    """Decodes runs with FFmpeg and converts on a GPU. Not thread-safe.

    Args:
        source, threads, container: as for RunDecoder.
        target: the GPU memory that is written.
    """

    def __init__(
        self, source: Source, threads: int, container: Container | None, target: CudaTarget
    ) -> None:
        super().__init__(source, threads, container)
        self._target = target
        self._uploader: PlaneUploader | None = None

    def _write(self, picture: VideoFrame, converter: CudaConverter, address: int) -> None:
        """Copy the picture's planes to the GPU and have them converted there."""
        if self._uploader is None:
            self._uploader = PlaneUploader(self._target.cuda)
        self._uploader.order_before(self._target.own_stream)  # on which the slot was allocated
        planes = [
            (plane.buffer_ptr, plane.line_size, _row_bytes(picture, i), plane.height)
            for i, plane in enumerate(picture.planes)
        ]
        self._uploader.convert(converter, planes, address)

    def settle(self, report: Report) -> None:
        """Order the caller's stream after everything converted, and note what staging that took."""
        if self._uploader is not None:
            self._uploader.order_after(self._target.stream)
            staging = max(report.peak_staging_bytes, self._uploader.staging_bytes)
            report.peak_staging_bytes = staging

    def close(self) -> None:
        """Free the demuxer, the decoder and the staging memory."""
        super().close()
        self._uploader = None


def _row_bytes(picture: VideoFrame, plane: int) -> int:
    """Return the bytes of one row of a plane, without the padding behind it."""
    components = [c for c in picture.format.components if c.plane == plane]
    width = picture.planes[plane].width
    if len(picture.planes) == 1 and len(components) > 1:  # packed: all components in turn
        return -(-width * picture.format.padded_bits_per_pixel // 8)
    return width * len(components) * (2 if components[0].bits > 8 else 1)


class HybridEngine(CpuEngine):
    """Decodes like the CPU engine, into GPU memory.

    Args:
        source, threads, why, container: as for CpuEngine.
        target: the GPU memory to write.
    """

    name = "hybrid"
    target: CudaTarget

    def __init__(
        self,
        source: Source,
        threads: int,
        why: str,
        target: CudaTarget,
        container: Container | None = None,
    ) -> None:
        super().__init__(source, threads, why, container)
        self.target = target

    def _new_decoder(self, threads: int, container: Container | None) -> RunDecoder:
        return UploadingDecoder(self.source, threads, container, self.target)
