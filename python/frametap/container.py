"""One opened video file: its stream, its packets in decode order, its headers. The only module that opens files with PyAV."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, TypeAlias

import av
import av.error
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from frametap.errors import DecodeError, SourceError, UnsupportedError
from frametap.geometry import PictureFormat
from frametap.info import (
    Orientation,
    VideoInfo,
    matrix_name,
    primaries_name,
    transfer_name,
)
from frametap.source import BEST_STREAM, Source

# A file is not worse for a title in an unknown encoding. PyAV 19 no longer decodes titles on opening.
_OPEN_OPTIONS: dict[str, Any] = (
    {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
)

# AVColorRange.
_FULL_RANGE = 2
# Headers are worth reading a little further when the first packets are damaged, but not the whole file.
_PROBE_PACKETS = 256

VideoPacket: TypeAlias = "Packet[VideoStream]"

# Decoders that go by another name than the codec they decode.
_CODEC_OF_DECODER = {"libdav1d": "av1", "libaom-av1": "av1", "libvpx": "vp8", "libvpx-vp9": "vp9"}


_open_here: weakref.WeakSet[Container] = weakref.WeakSet()


def _leave_to_the_parent() -> None:
    # The threads of its decoders stayed with the parent: freeing one would wait for them for ever, even when Python ends.
    for container in list(_open_here):
        container.is_of_parent = True
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(container))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)


class Container:
    """A demuxer and a decoder over one source. Not thread-safe: each worker opens its own.

    A forked child inherits those of its parent, shares their file positions, and can neither use nor free them.

    Args:
        source: the video.

    Raises:
        SourceError: not a video FFmpeg can open, or no such video stream in it.
        UnsupportedError: a codec that this FFmpeg cannot decode.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.is_of_parent = False  # and this a forked child
        try:
            self._container = av.open(source.av_input(), **_OPEN_OPTIONS)
        except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
            raise SourceError(
                f"{source.name}: cannot be opened as a video: {_reason(error)}"
            ) from error
        try:
            self.stream = self._select_stream()
            self._decoder = self.stream.codec_context
            if self._decoder is None:
                raise UnsupportedError(
                    f"{source.name}: FFmpeg {av.library_versions['libavcodec']} has no decoder for it"
                )
            self.codec = _CODEC_OF_DECODER.get(self._decoder.name, self._decoder.name)
            self.configure()
            self.extradata = bytes(self._decoder.extradata or b"")
            # From the probe: how many pictures FFmpeg holds back to put them into output order.
            self.reorder_depth = int(self._decoder.reorder_depth)
        except BaseException:
            self._container.close()
            raise
        _open_here.add(self)

    def configure(
        self, *, threads: int = 1, strict_output: bool = False, conceal: bool = True
    ) -> None:
        """Set up the decoder; before its first picture only.

        Args:
            threads: more than one means frame threading (FFmpeg's words).
            conceal: whether damage is patched up from pictures before, as FFmpeg does it, or is an error.
            strict_output: hold back as many H.264 pictures as the level allows, instead of guessing the reorder depth.
        """
        self._decoder.thread_count = threads
        self._decoder.thread_type = "FRAME" if threads > 1 else "NONE"
        # Of TIFF that would refuse every tag that FFmpeg does not know, such as the unit of the resolution.
        options = {} if conceal or self.codec == "tiff" else {"err_detect": "explode"}
        if strict_output and self.codec == "h264":
            options["strict"] = "1"
        self._decoder.options = {**self._decoder.options, **options}

    def _select_stream(self) -> VideoStream:
        streams = self._container.streams
        wanted = self.source.stream_index
        chosen: VideoStream | None
        if wanted in (None, BEST_STREAM):
            chosen = self._default_stream(best=wanted == BEST_STREAM)
        else:
            chosen = next((stream for stream in streams.video if stream.index == wanted), None)
        if chosen is None:
            kind = {s.index: s.type for s in streams}.get(wanted)
            videos = ", ".join(str(s.index) for s in streams.video)
            raise SourceError(
                f"{self.source.name}: stream {wanted} is not a {f'video stream ({kind})' if kind else 'valid stream'}; "
                + (f"set stream_index to one of {videos}" if videos else "nor is any other")
            )
        for stream in streams:
            stream.discard = Discard.default if stream is chosen else Discard.all
        self.source.stream_index = chosen.index
        return chosen

    def _default_stream(self, *, best: bool) -> VideoStream:
        streams = self._container.streams
        videos = [stream for stream in streams.video if not _is_cover(stream)]
        if not videos:
            found = ", ".join(sorted({s.type for s in streams})) or "no streams at all"
            raise SourceError(f"{self.source.name}: no video stream (found: {found})")
        favourite: Any = streams.best("video") if best else None
        chosen: VideoStream = favourite if favourite in videos else videos[0]
        return chosen

    def close(self) -> None:
        """Free the demuxer, the decoder and the file."""
        if self.is_of_parent:
            return
        # Its threads stop here, without the GIL. PyAV frees a decoder with it, and a thread that has something to log
        # while its user has PyAV's logging on waits for the GIL: for ever.
        self.reset()
        self._container.close()

    def packets(self) -> Iterator[VideoPacket]:
        """Yield the stream's packets from the current position in decode order.

        Raises:
            DecodeError: the container is damaged here; what came before is good.
        """
        packets = self._container.demux(self.stream)
        try:
            while (packet := self._next_packet(packets)) is not None:
                if packet.size > 0:
                    yield packet
        finally:
            packets.close()  # PyAV 18 loses memory with every iterator that is only dropped

    def _next_packet(self, packets: Iterator[VideoPacket]) -> VideoPacket | None:
        try:
            return next(packets, None)
        except (av.error.FFmpegError, MemoryError, ValueError, IndexError) as error:
            # IndexError: a damaged packet belongs to a stream that appeared on the way, which PyAV does not know.
            raise DecodeError(
                f"{self.source.name}: the container is damaged: {_reason(error)}"
            ) from error

    def seek(self, pts: int) -> None:
        """Move to the keyframe at or before `pts` (stream time base), as well as the container can.

        Raises:
            OSError, ValueError: FFmpeg cannot seek in this container.
        """
        self._container.seek(pts, stream=self.stream, backward=True, any_frame=False)

    def decode(self, packet: VideoPacket | None) -> list[VideoFrame]:
        """Feed one packet (None drains) and return the pictures that come out.

        Raises:
            av.error.FFmpegError: the packet is damaged.
        """
        return self._decoder.decode(packet)

    def reset(self) -> None:
        """Forget all decoder state, as after a seek or a drain."""
        if self._decoder.is_open:
            self._decoder.flush_buffers()

    @property
    def time_base(self) -> Fraction:
        """Seconds per pts unit."""
        return Fraction(self.stream.time_base or Fraction(1, 90000))

    @property
    def format_name(self) -> str:
        """FFmpeg's name of the container, e.g. "mov,mp4,m4a,3gp,3g2,mj2"."""
        return str(self._container.format.name)

    @property
    def average_rate(self) -> Fraction:
        """Frames per second as the container announces or FFmpeg guesses them, or 0."""
        return Fraction(self.stream.average_rate or self.stream.guessed_rate or 0)

    def first_picture(self) -> VideoFrame:
        """Decode from the start of the file until a first picture comes out; moves the position.

        Raises:
            DecodeError: none comes.
        """
        error: Exception | None = None
        for count, packet in enumerate(self.packets()):
            try:
                for picture in self.decode(packet):
                    return picture
            except av.error.FFmpegError as damaged:
                error = damaged
            if count >= _PROBE_PACKETS:
                break
        try:
            for picture in self.decode(None):
                return picture
        except av.error.FFmpegError as damaged:
            error = damaged
        reason = _reason(error) if error else "it holds no complete picture"
        raise DecodeError(f"{self.source.name}: no frame of it can be decoded: {reason}") from error


def video_info(container: Container, picture: VideoFrame) -> VideoInfo:
    """Put together what the headers and a first decoded picture say."""
    stream = container.stream
    orientation = orientation_of(picture)
    width, height = picture.width, picture.height
    if orientation.transpose:
        width, height = height, width
    duration = stream.duration
    av_container: Any = stream.container
    start = stream.start_time
    return VideoInfo(
        source=container.source.name,
        container=container.format_name,
        codec=container.codec,
        profile=stream.codec_context.profile,
        width=width,
        height=height,
        pixel_format=picture.format.name,
        bit_depth=max(component.bits for component in picture.format.components),
        num_frames=stream.frames or None,
        average_fps=float(container.average_rate),
        start_seconds=float(start * container.time_base) if start is not None else 0.0,
        duration_seconds=float(duration * container.time_base)
        if duration
        else (av_container.duration or 0) / av.time_base,
        bit_rate=stream.codec_context.bit_rate or av_container.bit_rate or None,
        rotation=orientation.degrees,
        mirrored=orientation.mirrored,
        sample_aspect_ratio=float(stream.sample_aspect_ratio or 1),
        matrix=matrix_name(int(picture.colorspace)),
        full_range=is_full_range(picture),
        primaries=primaries_name(int(picture.color_primaries)),
        transfer=transfer_name(int(picture.color_trc)),
        time_base=container.time_base,
        stream_index=stream.index,
    )


def orientation_of(picture: VideoFrame) -> Orientation:
    """Return how the picture is turned for display, from the display matrix FFmpeg attached to it."""
    try:
        matrix: Any = picture.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV 18 reads no side data where FFmpeg attached a kind that it does not know, EXIF among them.
        return Orientation.of_rotation(-picture.rotation)
    return Orientation.of_display_matrix(bytes(matrix) if matrix is not None else None)


def picture_format(
    picture: VideoFrame, orientation: Orientation, chroma_location: str
) -> PictureFormat:
    """Describe a decoded picture for the converter.

    Raises:
        UnsupportedError: a colour matrix that has no place in the conversion.
    """
    return PictureFormat(
        pixel_format=picture.format.name,
        width=picture.width,
        height=picture.height,
        matrix=matrix_name(int(picture.colorspace)),
        full_range=is_full_range(picture),
        chroma_location=chroma_location,
        transpose=orientation.transpose,
        flip_x=orientation.flip_x,
        flip_y=orientation.flip_y,
        transfer=transfer_name(int(picture.color_trc)),
        primaries=primaries_name(int(picture.color_primaries)),
    )


def is_full_range(picture: VideoFrame) -> bool:
    """Whether samples use their whole range; a stream that does not say is limited, but for what FFmpeg takes as full.

    Those are the old yuvj formats and gray ones.
    """
    name, stated = picture.format.name, int(picture.color_range)
    unsaid_is_full = name.startswith(("gray", "ya"))
    return name.startswith("yuvj") or stated == _FULL_RANGE or (not stated and unsaid_is_full)


def _is_cover(stream: VideoStream) -> bool:
    # An MP3 or M4A with cover art is audio, not a one-frame video.
    return bool(stream.disposition & Disposition.attached_pic)


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
