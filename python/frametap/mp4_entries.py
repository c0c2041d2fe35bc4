"""Sample entries of MP4 and QuickTime: which codec, and what FFmpeg's demuxer does with the samples of that codec."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from frametap.mp4_boxes import Box, Leaves, NotRepresentableError, children, number


def _tags(text: str) -> frozenset[bytes]:
    """Return the tags in `text`, four characters each, spaces included, and one space between them."""
    return frozenset(text[i : i + 4].encode() for i in range(0, len(text), 5))


# Sample entries that are no video under any handler.
_NOT_VIDEO = _tags(
    "tmcd text tx3g wvtt stpp c608 c708 sbtl mett metx mebx urim gpmd fdsc camm rtmd CTMD mp4s mp4a enct rtp  RTP "
)
_ENCRYPTED = _tags("encv drmi resv")
# FFmpeg cuts the samples of these into packets of its own: VC-1, MPEG-1, EVC.
_REPACKETISED = _tags("vc-1 VC-1 m1v1 m1v  mp1v mpeg mpg1 evc1")
_MPEG1_OBJECT_TYPE = 0x6A
# FFmpeg finds the keyframes of these in the packets. Tracks without stss claim that every sample is one.
_KEYFRAMES_IN_PACKETS = _tags("avc1 avc2 avc3 avc4 dva1 dvav h264 H264 vp08 VP80 vp09 VP90 av01")
# Every packet of these is a keyframe to FFmpeg, whatever stss lists.
_ONLY_KEYFRAMES = _tags(
    "jpeg mjpa mjpb AVDJ dmb1 mjp2 apch apcn apcs apco ap4h ap4x AVdn AVdh icod raw  v210 v216 v308 v408 v410 2vuy yuvs "
    "yuv2 dvc  dvcp dvpp dv5p dv5n dvh5 dvh6 dvhp Hap1 Hap5 HapY HapM tiff tga  MAGY 8BPS qdrw b64a r210"
)
# Bytes of a video sample entry up to its width, and all that every one of them has.
_WIDTH, _FIXED_BYTES = 24, 78


def is_never_video(entry_type: bytes) -> bool:
    """Say whether a sample entry cannot be video to FFmpeg, whatever the handler of its track."""
    return entry_type in _NOT_VIDEO


def sample_entry(track: Leaves) -> tuple[str, int, int]:
    """Return (codec tag, width, height) of the one sample entry."""
    payload = track.one(b"stsd")
    count = number(payload, 4)
    if count != 1:
        raise NotRepresentableError(f"{'several' if count else 'no'} sample descriptions")
    entry = next(children(payload[8:]), None)
    if entry is None:
        raise NotRepresentableError("a box is too short")
    if entry.type in _ENCRYPTED:
        raise NotRepresentableError("encrypted")
    if len(entry.payload) < _FIXED_BYTES:
        raise NotRepresentableError("a box is too short")
    if entry.type in _REPACKETISED or _object_type(entry) == _MPEG1_OBJECT_TYPE:
        raise NotRepresentableError("FFmpeg makes other packets of this codec's samples")
    width = number(entry.payload, _WIDTH, 2)
    height = number(entry.payload, _WIDTH + 2, 2)
    return entry.type.decode("latin-1"), width, height


def check_keyframes(codec_tag: str, keyframe: NDArray[np.bool_]) -> None:
    """Refuse sync samples that cannot be FFmpeg's keyframes.

    Raises:
        NotRepresentableError: the codec decides, not the table.
    """
    tag = codec_tag.encode("latin-1")
    everything = bool(keyframe.all())
    if tag in _KEYFRAMES_IN_PACKETS and everything and len(keyframe) > 1:
        raise NotRepresentableError("keyframes not listed")
    if tag in _ONLY_KEYFRAMES and not everything:
        raise NotRepresentableError("sync samples contradict the codec")


def _object_type(entry: Box) -> int | None:
    """Return the MPEG-4 object type of an "mp4v" entry, which names the codec; None where there is none."""
    boxes = children(entry.payload[_FIXED_BYTES:], strict=False)
    payload = next((box.payload for box in boxes if box.type == b"esds"), None)
    if payload is None:
        return None
    # Version and flags, ES descriptor (3) of an id and flags, in it the decoder configuration (4) and its first byte.
    start = _descriptor(payload, 4, 3)
    flags = number(payload, start + 2, 1)
    start += 3 + 2 * (flags >> 7 & 1) + 2 * (flags >> 5 & 1)
    start += 1 + number(payload, start, 1) if flags & 0x40 else 0
    return number(payload, _descriptor(payload, start, 4), 1)


def _descriptor(payload: memoryview, position: int, tag: int) -> int:
    """Return where the contents of the descriptor at `position` begin."""
    if number(payload, position, 1) != tag:
        raise NotRepresentableError("odd esds")
    position += 1
    while number(payload, position, 1) & 0x80:  # the length, 7 bits a byte
        position += 1
    return position + 1
