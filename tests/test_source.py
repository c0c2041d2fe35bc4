"""Where bytes may come from, and that they are read where they are, and only those that are needed."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import frametap as ft
from clips import ClipLibrary

SMALL = ft.Transform(size=32)
SAMPLER = ft.Indices([1, 20, 46])


class CountingFile(io.RawIOBase):
    """A file object that says how much of it was read, and how much at once."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.bytes_read = 0
        self.largest = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.bytes_read += len(data)
        self.largest = max(self.largest, len(data))
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()


KINDS: dict[str, Callable[[Path], Any]] = {
    "str": str,
    "Path": Path,
    "DirEntry": lambda path: next(e for e in list(os.scandir(path.parent)) if e.name == path.name),
    "DirEntry of bytes": lambda path: next(
        e for e in list(os.scandir(bytes(path.parent))) if e.name == os.fsencode(path.name)
    ),
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "slice of a memoryview": lambda path: memoryview(b"xx" + path.read_bytes() + b"yy")[2:-2],
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "array": lambda path: memoryview(np.frombuffer(path.read_bytes(), np.int8)),
}


@pytest.mark.parametrize("name", ["h264", "h264_ts", "vp9", "h264_raw"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_frames(clips: ClipLibrary, kind: str, name: str) -> None:
    expected = ft.sample(clips[name], SAMPLER, SMALL).numpy()
    for threads in (1, 2):
        source = KINDS[kind](clips[name])
        assert_array_equal(ft.sample(source, SAMPLER, SMALL, threads=threads).numpy(), expected)


@pytest.mark.parametrize("buffering", [0, -1])
def test_open_file(clips: ClipLibrary, buffering: int) -> None:
    expected = ft.sample(clips["h264"], SAMPLER, SMALL).numpy()
    with Path(clips["h264"]).open("rb", buffering=buffering) as file:
        file.seek(1000)  # where it stands does not matter
        with ft.open(file, transform=SMALL, threads=2) as video:
            assert_array_equal(video.sample(SAMPLER).numpy(), expected)
            assert file.name in repr(video)
        assert not file.closed, "the file is its owner's to close"


def test_one_object_serves_twice(clips: ClipLibrary) -> None:
    file = io.BytesIO(Path(clips["h264"]).read_bytes())
    first, second = ft.sample(file, SAMPLER, SMALL), ft.sample(file, SAMPLER, SMALL)
    assert_array_equal(first.numpy(), second.numpy())


def test_file_object_is_never_slurped(clips: ClipLibrary, tmp_path: Path) -> None:
    """With a large `mdat` that nothing points to behind the clip, an index from `moov` and few frames read little."""
    path = tmp_path / "padded.mp4"
    clip = Path(clips["h264_faststart"]).read_bytes()
    junk = 16 << 20
    path.write_bytes(clip + (junk + 8).to_bytes(4) + b"free" + bytes(junk))
    file = CountingFile(path)
    index = ft.FrameIndex.build(file)
    batch = ft.sample(file, ft.Indices([0, 1]), SMALL, index=index, threads=1)
    assert len(batch) == 2
    assert file.largest <= 1 << 20
    assert file.bytes_read < 2 << 20
    file.close()


def test_only_the_runs_are_read(clips: ClipLibrary) -> None:
    """With the index at hand, sampling a long clip reads the header and the runs, not the rest."""
    path = clips["long"]
    index = ft.FrameIndex.build(path)
    file = CountingFile(path)
    with ft.open(file, index=index, transform=SMALL, threads=1) as video:
        plan = video.plan(ft.Indices([3, 700, 1490]))
        video.sample(ft.Indices([3, 700, 1490]))
    assert file.bytes_read < plan.bytes + (400 << 10)
    file.close()


class TestRefused:
    def refused(self, source: Any, words: str, what: type[Exception] = ft.SourceError) -> None:
        for use in (ft.open, ft.probe, ft.sample, ft.FrameIndex.build):
            with pytest.raises(what, match=words):
                use(source)

    def test_missing(self, tmp_path: Path) -> None:
        self.refused(tmp_path / "nowhere.mp4", r"nowhere\.mp4: no such file; check the path")

    def test_name_that_no_file_can_have(self) -> None:
        self.refused("x" * 5000, "xxx: cannot be read: File name too long")

    def test_folder_that_may_not_be_searched(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: Path, **_: Any) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

        monkeypatch.setattr(Path, "stat", refuse)  # root may search any
        self.refused(tmp_path / "a.mp4", r"a\.mp4: cannot be read: Permission denied")

    def test_directory(self, tmp_path: Path) -> None:
        self.refused(tmp_path, "is a directory, not a video")

    @pytest.mark.parametrize(
        "data", [b"", b"hello, I am no video\n" * 100, bytes(5000), b"\xff" * 5000]
    )
    def test_no_video(self, data: bytes, tmp_path: Path) -> None:
        path = tmp_path / "notes.mp4"
        path.write_bytes(data)
        self.refused(
            path,
            r"notes\.mp4: (cannot be opened as a video|no video stream|.*can be decoded)",
            ft.FrametapError,
        )
        self.refused(data, f"<{len(data)} bytes>: ", ft.FrametapError)
        self.refused(io.BytesIO(data), "<BytesIO>: ", ft.FrametapError)

    def test_text_file(self, clips: ClipLibrary) -> None:
        with Path(clips["h264"]).open(encoding="latin-1") as file:
            self.refused(file, "returns text; open the file in binary mode")

    def test_closed_file(self, clips: ClipLibrary) -> None:
        with Path(clips["h264"]).open("rb") as file:
            pass
        self.refused(file, "not a seekable open file")

    def test_pipe(self) -> None:
        read, write = os.pipe()
        with os.fdopen(read, "rb") as file, os.fdopen(write, "wb"):
            self.refused(file, "not a seekable open file")

    @pytest.mark.parametrize(
        "source", [None, 7, 3.5, ["a.mp4"], {"path": "a.mp4"}, object()], ids=type
    )
    def test_no_source(self, source: Any) -> None:
        self.refused(source, "pass a path, a URL, bytes, or a seekable binary file object")

    def test_strided_memory(self) -> None:
        self.refused(memoryview(bytes(100))[::2], "contiguous")

    def test_audio_only(self, clips: ClipLibrary) -> None:
        self.refused(clips["audio_only"], r"no video stream \(found: audio\)")

    def test_cover_art_is_no_video(self, clips: ClipLibrary) -> None:
        self.refused(clips["cover"], "no video stream")

    def test_deleted_meanwhile(self, clips: ClipLibrary, tmp_path: Path) -> None:
        path = tmp_path / "gone.mp4"
        path.write_bytes(Path(clips["h264"]).read_bytes())
        with ft.open(path, index=ft.FrameIndex.build(path)) as video:
            path.unlink()
            with pytest.raises(ft.SourceError, match=r"gone\.mp4: cannot be opened"):
                video[0]

    def test_closed_meanwhile(self, clips: ClipLibrary) -> None:
        file = io.BytesIO(Path(clips["h264"]).read_bytes())
        with ft.open(file, index=ft.FrameIndex.build(file)) as video:
            file.close()
            with pytest.raises(ft.SourceError, match="closed"):
                video[0]


def test_two_video_tracks_give_the_first(clips: ClipLibrary) -> None:
    with ft.open(clips["two_tracks"]) as video:
        assert (len(video), video.info.width, video.info.codec) == (48, 160, "h264")


def alone(path: Path, stream_index: int, folder: Path) -> Path:
    """Return a copy of a file with only one of its streams."""
    copy = folder / f"{stream_index}{path.suffix}"
    with av.open(str(path)) as source, av.open(str(copy), "w") as output:
        stream = source.streams[stream_index]
        only = output.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.stream = only
                output.mux(packet)
    return copy


@pytest.mark.parametrize("tables", [True, False])
@pytest.mark.parametrize("stream_index", [0, 1])
def test_any_video_stream(
    clips: ClipLibrary, tmp_path: Path, stream_index: int, tables: bool
) -> None:
    path = clips["two_tracks"]
    expected = ft.sample(alone(path, stream_index, tmp_path), ft.Every(1), SMALL)
    index = ft.FrameIndex.build(path, tables=tables, stream_index=stream_index)
    index.save(tmp_path / "saved.ftidx")
    assert index.stream_index == ft.probe(path, stream_index=stream_index).stream_index
    chosen = [
        ft.sample(path, ft.Every(1), SMALL, stream_index=stream_index),
        ft.sample(path, ft.Every(1), SMALL, index=index),
        ft.sample(
            path, ft.Every(1), SMALL, index=tmp_path / "saved.ftidx", stream_index=stream_index
        ),
        *ft.sample_many([path], ft.Every(1), SMALL, stream_index=stream_index),
    ]
    for batch in chosen:
        assert_array_equal(batch.numpy(), expected.numpy())
    with ft.open(path, index=index, threads=2) as video:
        size = [(3, 120, 160), (3, 64, 96)][stream_index]
        assert [video[number].numpy().shape for number in (20, 1, 20)] == [size] * 3
        assert video.info.stream_index == stream_index


def test_the_best_stream(clips: ClipLibrary) -> None:
    path = clips["best_track_last"]
    with av.open(str(path)) as container:
        best = container.streams.best("video")
        assert best is not None
        assert best.index == 1
    assert [ft.probe(path, stream_index=n).stream_index for n in (None, -1)] == [0, 1]


def test_streams_that_are_no_video(clips: ClipLibrary, tmp_path: Path) -> None:
    path = clips["two_tracks"]
    for stream_index in (2, -2):
        with pytest.raises(ft.SourceError, match=r"is not a valid stream; .* one of 0, 1"):
            ft.open(path, stream_index=stream_index)
    with pytest.raises(
        ft.SourceError, match=r"stream 0 is not a video stream \(audio\); .* one of 1"
    ):
        ft.probe(clips["cover"], stream_index=0)
    assert len(ft.sample(clips["cover"], ft.Every(1), stream_index=1)) == 1
    with pytest.raises(TypeError):
        ft.probe(path, stream_index="1")  # type: ignore[arg-type]
    index = ft.FrameIndex.build(path)
    with pytest.raises(ft.SourceError, match="stream 1 and cannot be read as stream 0 too"):
        ft.open(path, index=index, stream_index=1)


def test_odd_names(clips: ClipLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg would take the first for a protocol, and the second for a sequence of pictures."""
    monkeypatch.chdir(tmp_path)
    for name in ("http:talk.mp4", "talk%03d.mp4", "täl k#1?.mp4", "-talk.mp4"):
        Path(name).write_bytes(Path(clips["h264"]).read_bytes())
        assert ft.probe(name).codec == "h264"
        assert len(ft.sample(name, ft.Uniform(2), SMALL)) == 2
