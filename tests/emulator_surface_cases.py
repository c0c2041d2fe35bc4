"""What the emulated decoder hands out, and the runner of all cases of the emulated NVDEC.

python emulator_surface_cases.py FOLDER     prints {"case": null or what went wrong}, in a process with the emulator
"""

from __future__ import annotations

import ctypes
import json
import sys
import traceback
from pathlib import Path

import av
import numpy as np

from emulator_clients import planes_of
from emulator_control import Emulator
from emulator_nvdec_cases import CASES, case, decode_all, feed, packets_of, switch
from nvcuvid import Client, Event

NOT_SUPPORTED = 801


def reference(path: Path) -> list[list[np.ndarray]]:
    with av.open(str(path)) as container:
        return [planes_of(frame) for frame in container.decode(video=0)]


def nv12(surface: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Luma and interleaved chroma of a mapped surface."""
    chroma = (height + 1) // 2 * 2
    return surface[:height, :width], surface[
        chroma : chroma + (height + 1) // 2, : (width + 1) // 2 * 2
    ]


@case
def odd_size_has_an_even_number_of_luma_rows(folder: Path) -> None:
    path = folder / "odd.webm"
    client = decode_all(path, "vp9")
    for surface, (y, u, v) in zip(client.frames, reference(path), strict=True):
        luma, chroma = nv12(surface, 161, 145)
        assert (luma == y).all()
        assert (chroma[:, 0::2] == u).all()
        assert (chroma[:, 1::2] == v).all()


@case
def pitch_follows_the_switch(folder: Path) -> None:
    for alignment in (2, 256, 512, 768):
        switch(pitch_alignment=alignment)
        surface = decode_all(folder / "h264.mp4", "h264").frames[0]
        assert surface.shape[1] % alignment == 0
        assert surface.shape[1] - 192 < alignment


@case
def crop_and_target_rectangle(folder: Path) -> None:
    path = folder / "h264.mp4"
    switch(cleared_luma=16)
    area, rect = (ctypes.c_short * 4)(32, 16, 160, 112), (ctypes.c_short * 4)(8, 4, 136, 100)
    created = {"display_area": area, "target_rect": rect, "target_width": 144, "target_height": 104}
    client = decode_all(path, "h264", create=created)
    for surface, (y, u, _) in zip(client.frames, reference(path), strict=True):
        luma, chroma = nv12(surface, 144, 104)
        assert (luma[4:100, 8:136] == y[16:112, 32:160]).all()
        assert (chroma[2:50, 8:136:2] == u[8:56, 16:80]).all()
        luma = luma.copy()
        luma[4:100, 8:136] = 16
        assert (luma == 16).all()
        assert (chroma[50:] == 128).all()


@case
def scaling(folder: Path) -> None:
    path = folder / "h264.mp4"
    for filter_ in ("nearest", "bilinear"):
        switch(scaling=filter_)
        client = decode_all(path, "h264", create={"target_width": 96, "target_height": 72})
        luma, _ = nv12(client.frames[0], 96, 72)
        y = reference(path)[0][0].astype(int)
        if filter_ == "nearest":
            assert (luma == y[1::2, 1::2]).all()
        else:
            mean = (y[0::2, 0::2] + y[0::2, 1::2] + y[1::2, 0::2] + y[1::2, 1::2]) / 4
            assert np.abs(luma - mean).max() <= 0.5


@case
def deinterlacing_shows_one_field(folder: Path) -> None:
    y = reference(folder / "h264.mp4")[0][0]
    client = Client("h264", decodes=True, create={"deinterlace_mode": 1})
    fields = {}

    def look(event: Event) -> int:
        for second in (0, 1):
            surface = client.map(
                event.index, progressive_frame=0, top_field_first=1, second_field=second
            )
            fields[second] = nv12(surface, 192, 144)[0]
        client.answer_display = lambda _: 1
        return 1

    client.answer_display = look
    feed(client, packets_of(folder / "h264.mp4")[:6])
    client.close()
    assert (fields[0] == np.repeat(y[0::2], 2, axis=0)).all()
    assert (fields[1] == np.repeat(y[1::2], 2, axis=0)).all()


@case
def ten_bits_as_eight(folder: Path) -> None:
    path = folder / "hevc_10bit.mp4"
    y = reference(path)[0][0].astype(int)
    deep = decode_all(path, "hevc").frames[0].view(np.uint16)[:144, :192]
    assert (deep == y << 6).all()
    for rounds in (0, 1):
        switch(round_10_to_8=rounds)
        luma, _ = nv12(decode_all(path, "hevc", create={"output_format": 0}).frames[0], 192, 144)
        assert (luma == np.minimum(y + 2 * rounds >> 2, 255)).all()


@case
def three_full_planes(folder: Path) -> None:
    path = folder / "hevc_444.mp4"
    client = decode_all(path, "hevc", create={"output_format": 2})
    for surface, planes in zip(client.frames, reference(path), strict=True):
        for number, plane in enumerate(planes):
            assert (surface[number * 144 : number * 144 + 144, :192] == plane).all()


@case
def half_width_chroma(folder: Path) -> None:
    """4:2:2, which Blackwell decodes: interleaved chroma with a row for each luma row."""
    path = folder / "hevc_422.mp4"
    client = decode_all(path, "hevc", device=1, create={"output_format": 5})
    for surface, (y, u, v) in zip(client.frames, reference(path), strict=True):
        deep = surface.view(np.uint16)
        assert (deep[:144, :192] == y << 6).all()
        assert (deep[144:, 0:192:2] == u << 6).all()
        assert (deep[144:, 1:192:2] == v << 6).all()


@case
def damaged_picture(folder: Path) -> None:
    path = folder / "h264.mp4"
    whole = decode_all(path, "h264").frames
    for status in (8, 9):
        switch(damaged_picture=12 + status, damaged_status=status)  # another number, another count
        statuses = []
        client = Client("h264", decodes=True)
        client.answer_display = lambda event, client=client, statuses=statuses: (
            statuses.append(client.status(event.index)) or 1
        )
        feed(client, packets_of(path))
        client.end()
        client.close()
        different = [
            n for n, (a, b) in enumerate(zip(client.frames, whole, strict=True)) if (a != b).any()
        ]
        assert len(different) == 1
        assert [n for n, s in enumerate(statuses) if s == status] == different
        assert {s for n, s in enumerate(statuses) if n not in different} == {2}


@case
def status_is_for_some_codecs(folder: Path) -> None:
    with Client("vp9", decodes=True) as client:
        feed(client, packets_of(folder / "vp9.webm")[:3])
        status = (ctypes.c_ubyte * 192)()
        assert client.lib.cuvidGetDecodeStatus(client.decoder, 0, status) == NOT_SUPPORTED


@case
def capabilities(folder: Path) -> None:
    with Client("h264") as client:

        def ask(codec: int, chroma: int, bits: int) -> tuple[int, int, int]:
            caps = (ctypes.c_uint * 22)(codec, chroma, bits - 8)
            assert client.lib.cuvidGetDecoderCaps(caps) == 0
            supported, mask = caps[6] & 0xFF, caps[6] >> 16
            return supported, mask, caps[10] & 0xFFFF  # nMinWidth

        assert ask(4, 1, 8) == (1, 0b01, 48)  # H.264: NV12
        assert ask(4, 1, 10)[0] == 0
        assert ask(8, 1, 10) == (1, 0b11, 144)  # HEVC 10 bits: NV12 and P016
        assert ask(8, 3, 8)[1] == 0b100
        assert ask(11, 1, 10) == (1, 0b10, 128)  # AV1 10 bits: P016 only
        assert ask(3, 1, 8) == (0, 0, 0)


def main() -> None:
    driver = Emulator.load()
    driver.set(devices="l4,b200", report="")
    results: dict[str, str | None] = {}
    defaults = {
        "hevc_size_multiple": 16, "index_policy": "least_recently_freed", "h264_extra_surfaces": 3, "min_surfaces": "exact",
        "timestamp_resorting": 1, "eos_forgets_headers": 1, "rasl": "drop", "discontinuity": "nvp", "pitch_alignment": 512,
        "callback_failure": "propagate", "cleared_luma": 0, "scaling": "nearest", "round_10_to_8": 0, "damaged_picture": -1,
    }  # fmt: skip
    for name, function in CASES.items():
        driver.reset()
        switch(**defaults)
        try:
            function(Path(sys.argv[1]))
            results[name] = "\n".join(driver.violations()) or None
        except Exception:
            results[name] = traceback.format_exc()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
