"""The axes along which device="cuda" must give the bytes of device="cpu": samplers, transforms, orders, switches."""

from __future__ import annotations

import random
from dataclasses import replace

import frametap as ft
from test_corpus import corpus_files

SAMPLERS = {
    "uniform": ft.Uniform(16),
    "rate": ft.Rate(2),
    "clips": ft.Clips(2, 4, 3),
    "all": ft.Every(1),
    "random with duplicates": ft.Indices([31, 3, 3, 17, 0, 31, 8]),
}
TRANSFORMS = {
    "as it is": ft.Transform(),
    "normalised halves": ft.Transform(
        size=(64, 64), filter="bicubic", dtype="float16", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)
    ),
    "letterboxed NHWC": ft.Transform(size=(96, 96), pad=ft.Letterbox((10, 20, 30)), layout="NHWC"),
    "cropped floats": ft.Transform(
        crop=ft.Box(8, 6, 100, 90), size=48, filter="lanczos", dtype="float32", color="bgr"
    ),
    "bfloat16 gray": ft.Transform(size=40, filter="area", dtype="bfloat16", color="gray"),
}
# Orders of work on streams: 0 runs it at once, the others late and in some order.
SEEDS = (0, 1, 2, 3, 4, 5)

# Profiles of the emulator, cuda:0 and so on: the one decodes neither AV1 nor H.264 beyond 8 bits 4:2:0, the other both.
GPUS = ("h100", "b200")

# The switches of the emulated NVDEC (docs/emulator.md) and their values, the default first. These the engine can notice:
SWITCHES = {
    "discontinuity": ("nvp", "drain", "none"),
    "callback_failure": ("propagate", "skip"),
    "rasl": ("drop", "show"),
    "h264_start": ("any", "idr"),  # where an open GOP begins, "idr" leaves nothing to NVDEC
    "index_policy": ("least_recently_freed", "round_robin", "lowest", "most_recently_freed"),
    "min_surfaces": ("exact", "0"),
    "h264_extra_surfaces": ("3", "8"),  # with fewer libavcodec runs out of surfaces, not NVDEC
    "timestamp_resorting": ("1", "0"),
    "eos_forgets_headers": ("1", "0"),
    "hevc_size_multiple": ("16", "8", "32", "64"),
    "vp9_size_multiple": ("8", "1", "2", "16", "64"),
    "pitch_alignment": ("512", "1", "16", "256"),
    "unmap_needs_context": ("0", "1"),
    "destroy_needs_context": ("0", "1"),
    "odd_targets": ("1", "0"),
    "engines": ("-1", "0", "1"),
    "min_size": ("-1", "0", "200"),  # which videos NVDEC decodes, and which go the hybrid way
}
# And these not: it maps one surface at a time and only what was displayed, sets no target rectangle, scales nothing, and
# reads 10 bits as P016. The walk (matrix.py) turns them too, so that this stays true.
UNNOTICED = {
    "over_map_error": ("1", "205"),
    "undecoded_map_error": ("1", "0"),
    "cleared_luma": ("0", "77"),
    "cleared_chroma": ("128", "3"),
    "round_10_to_8": ("0", "1"),
    "scaling": ("nearest", "bilinear"),
}
# No questions, and no axes: damage is a matter of test_switches.py, and how long a call takes changes no order of ours.
TOOLS = (
    "damaged_picture",
    "damaged_status",
    "in_progress",
    "decode_microseconds",
    "create_milliseconds",
)


def corpus_clips() -> list[str]:
    """The corpus but for its damaged part: what a decoder makes of damage is its own affair."""
    return [name for name in corpus_files() if not name.startswith("corrupt/")]


def sampler_for(name: str, clip: str, index: ft.FrameIndex) -> ft.Sampler:
    """The sampler of that name, or, of the random one, the same numbers whenever the same clip asks."""
    if name != "random with duplicates":
        return SAMPLERS[name]
    draw = random.Random(clip)
    numbers = [draw.randrange(len(index)) for _ in range(5)]
    numbers += draw.sample(numbers, 2)
    draw.shuffle(numbers)
    return ft.Indices(numbers)


def transform_for(name: str, index: ft.FrameIndex) -> ft.Transform:
    """The transform of that name, with a smaller crop for a video that is too small for it."""
    transform, side = TRANSFORMS[name], min(index.width, index.height)
    if isinstance(transform.crop, ft.Box) and side < 108:
        return replace(transform, crop=ft.Box(1, 1, max(1, side - 2), max(1, side - 2)))
    return transform


def tolerance_of(index: ft.FrameIndex) -> int:
    """How far values may differ: these standards' inverse transform is not exact, so two correct decoders may differ a little."""
    return 4 if index.codec in ("mpeg1video", "mpeg2video", "mpeg4") else 0
