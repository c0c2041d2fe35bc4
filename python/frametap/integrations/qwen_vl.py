"""Qwen-VL: the frames of a video message, at the size the model sees, from one opening of the file.

`fetch_video` and `process_vision_info` take the place of qwen-vl-utils' functions of the same names. `register` instead
makes frametap one of the readers of qwen-vl-utils itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from qwen_vl_utils import vision_process

from frametap.reader import VideoReader
from frametap.sampler import QwenVL
from frametap.source import BEST_STREAM
from frametap.transform import PixelBudget, Transform

NAME = "frametap"

# Keys of a video message and what QwenVL calls them.
_SAMPLER_KEYS = {
    "fps": "fps",
    "nframes": "nframes",
    "min_frames": "min_frames",
    "max_frames": "max_frames",
    "video_start": "start_seconds",
    "video_end": "end_seconds",
}

# Numbers of frames may be floats, as JSON has them; this is how qwen-vl-utils makes them whole.
_ROUNDED = {
    "nframes": vision_process.round_by_factor,
    "min_frames": vision_process.ceil_by_factor,
    "max_frames": vision_process.floor_by_factor,
}


# Windows that begin before or end after every video.
_NO_LIMIT = {"start_seconds": -math.inf, "end_seconds": math.inf}


def message_sampler(message: Mapping[str, Any]) -> QwenVL:
    """Return the sampler for a video message: its `fps`, `nframes`, `min_frames`, `max_frames`, `video_start`, `video_end`.

    What it does not say is as `vision_process` has it now: `FPS`, `FPS_MIN_FRAMES`, `FPS_MAX_FRAMES`, `FRAME_FACTOR`.

    Example:
        >>> from frametap.integrations.qwen_vl import message_sampler
        >>> message_sampler({"type": "video", "video": "talk.mp4", "fps": 1.0, "video_end": 3.0})
        QwenVL(fps=1.0, min_frames=4, max_frames=768, end_seconds=3.0)
    """
    given = {
        ours: message[key] for key, ours in _SAMPLER_KEYS.items() if message.get(key) is not None
    }
    if "nframes" not in given:
        defaults = {
            "fps": vision_process.FPS,
            "min_frames": vision_process.FPS_MIN_FRAMES,
            "max_frames": vision_process.FPS_MAX_FRAMES,
        }
        given = {**defaults, **given}
    for name, to_factor in _ROUNDED.items():
        if isinstance(given.get(name), float):
            given[name] = to_factor(given[name], vision_process.FRAME_FACTOR)
    if "min_frames" in given:
        given["min_frames"] = max(0, given["min_frames"])
    given = {name: value for name, value in given.items() if _NO_LIMIT.get(name) != value}
    return QwenVL(**given, frame_factor=vision_process.FRAME_FACTOR)


def message_transform(message: Mapping[str, Any], image_patch_size: int = 14) -> Transform:
    """Return the transform for a video message: bicubic to the size that qwen-vl-utils would choose.

    What it does not say is as `vision_process` has it now: `VIDEO_MIN_TOKEN_NUM`, `VIDEO_MAX_TOKEN_NUM`, `MODEL_SEQ_LEN`,
    `FRAME_FACTOR`.

    Args:
        message: its `min_pixels`, `max_pixels`, `total_pixels`, or `resized_height` and `resized_width`.
        image_patch_size: 14 for Qwen2-VL and Qwen2.5-VL, 16 for Qwen3-VL.

    Example:
        >>> from frametap.integrations.qwen_vl import message_transform
        >>> message_transform({"resized_height": 300, "resized_width": 500}).size
        (308, 504)
    """
    factor = image_patch_size * vision_process.SPATIAL_MERGE_SIZE
    size: PixelBudget | tuple[int, int]
    if "resized_height" in message and "resized_width" in message:
        budget = PixelBudget(
            min_pixels=vision_process.IMAGE_MIN_TOKEN_NUM * factor**2,
            max_pixels=vision_process.IMAGE_MAX_TOKEN_NUM * factor**2,
            multiple_of=factor,
        )
        size = budget.size_for(message["resized_height"], message["resized_width"])
    else:
        told = {key: value for key, value in message.items() if value is not None}
        least = max(1, told.get("min_pixels", vision_process.VIDEO_MIN_TOKEN_NUM * factor**2))
        most = max(vision_process.VIDEO_MAX_TOKEN_NUM * factor**2, int(least * 1.05))
        size = PixelBudget(
            min_pixels=least,
            max_pixels=min(told.get("max_pixels", most), most),
            multiple_of=factor,
            total_pixels=told.get("total_pixels", vision_process.MODEL_SEQ_LEN * factor**2 * 0.9),
            frame_factor=vision_process.FRAME_FACTOR,
        )
    return Transform(size=size, filter="bicubic")


def fetch_video(
    ele: Mapping[str, Any],
    image_patch_size: int = 14,
    return_video_sample_fps: bool = False,
    return_video_metadata: bool = False,
    *,
    device: str = "auto",
    threads: int | None = None,
) -> Any:
    """Do what `qwen_vl_utils.fetch_video` does, with the frames decoded straight to their final size.

    Same frames, same size, same results; pixels differ by what resizing before or after the colour conversion makes.
    No picture is held at the source's size, and an error is raised as it is, where qwen-vl-utils logs it and tries
    torchvision.

    Args:
        ele: the video message. `video` may be a path, "file://" or other URL, and here also bytes or an open file.
        image_patch_size: 14 for Qwen2-VL and Qwen2.5-VL, 16 for Qwen3-VL.
        return_video_sample_fps: also return the frames per second after sampling.
        return_video_metadata: return (video, metadata) in place of the video.
        device: where frames are decoded, as in `frametap.open`; the tensor is there.
        threads: cores to use, as in `frametap.open`.

    Returns:
        float32 tensor (T, 3, H, W), values 0 to 255; with metadata and sample fps as asked for.

    Raises:
        SourceError: the video cannot be opened.
        DecodeError: a wanted frame is damaged.
        ValueError: the message asks for a number of frames, a window or a size that the video does not have.

    Example:
        >>> from frametap.integrations.qwen_vl import fetch_video
        >>> video, metadata = fetch_video(
        ...     {"video": "talk.mp4", "fps": 2.0, "max_pixels": 128 * 28 * 28}, return_video_metadata=True
        ... )
        >>> video.shape, metadata["frames_indices"]
        (torch.Size([8, 3, 280, 392]), [0, 14, 27, 41, 54, 68, 81, 95])
    """
    if isinstance(ele["video"], (list, tuple)):  # frames, already decoded
        return vision_process.fetch_video(
            ele, image_patch_size, return_video_sample_fps, return_video_metadata
        )
    with _open(ele, device, threads) as reader:
        reader.transform = message_transform(ele, image_patch_size)
        frames, metadata, sample_fps = _sample(reader, ele)
    video = frames.float()
    result = (video, metadata) if return_video_metadata else video
    return (result, sample_fps) if return_video_sample_fps else result


def process_vision_info(
    conversations: Any,
    return_video_kwargs: bool = False,
    return_video_metadata: bool = False,
    image_patch_size: int = 14,
    *,
    device: str = "auto",
    threads: int | None = None,
) -> Any:
    """Do what `qwen_vl_utils.process_vision_info` does, with videos read by `fetch_video` of this module.

    Args:
        conversations: one conversation or a list of them.
        return_video_kwargs: also return what the processor has to be told.
        return_video_metadata: as in `fetch_video`; Qwen3-VL's processor wants it.
        image_patch_size: 14 for Qwen2-VL and Qwen2.5-VL, 16 for Qwen3-VL.
        device: where videos are decoded.
        threads: cores per video.

    Returns:
        (images, videos) or (images, videos, video_kwargs); None where there are no images or no videos.

    Example:
        >>> from frametap.integrations.qwen_vl import process_vision_info
        >>> message = {"role": "user", "content": [{"type": "video", "video": "talk.mp4"}]}
        >>> images, videos = process_vision_info([message])
        >>> images, videos[0].shape
        (None, torch.Size([8, 3, 280, 392]))
    """
    images, videos, rates = [], [], []
    for element in vision_process.extract_vision_info(conversations):
        if "image" in element or "image_url" in element:
            images.append(vision_process.fetch_image(element, image_patch_size))
        elif "video" in element:
            video, rate = fetch_video(
                element,
                image_patch_size,
                True,
                return_video_metadata,
                device=device,
                threads=threads,
            )
            videos.append(video)
            rates.append(rate)
        else:
            raise ValueError(f"{element!r} holds no image, image_url or video")
    found = (images or None, videos or None)
    if not return_video_kwargs:
        return found
    rate_of_each = {} if return_video_metadata else {"fps": rates}
    return *found, {"do_sample_frames": False, **rate_of_each}


def register(
    *,
    image_patch_size: int | None = None,
    select: bool = True,
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Make "frametap" one of the video readers of qwen-vl-utils, and the one that it uses.

    Args:
        image_patch_size: what `qwen_vl_utils.fetch_video` will be called with (it does not tell its readers). When given,
            frames are decoded straight to their final size, and its own resize finds nothing to do. None: frames come
            at the source's size, and qwen-vl-utils resizes them.
        select: use it from now on, as the environment variable `FORCE_QWENVL_VIDEO_READER=frametap` would; False only
            adds it to `VIDEO_READER_BACKENDS`.
        device: where frames are decoded, as in `frametap.open`.
        threads: cores to use, as in `frametap.open`.

    Note:
        qwen-vl-utils logs what a reader raises as a warning and then tries torchvision, which can no longer read videos:
        the error you see is torchvision's. `fetch_video` and `process_vision_info` of this module raise the real one.

    Example:
        >>> from frametap.integrations import qwen_vl
        >>> from qwen_vl_utils import fetch_video
        >>> qwen_vl.register(image_patch_size=14)
        >>> fetch_video({"video": "talk.mp4", "nframes": 4}).shape
        torch.Size([4, 3, 280, 392])
    """
    vision_process.VIDEO_READER_BACKENDS[NAME] = partial(
        read_video, image_patch_size=image_patch_size, device=device, threads=threads
    )
    if select:
        vision_process.FORCE_QWENVL_VIDEO_READER = NAME
        vision_process.get_video_reader_backend.cache_clear()


def read_video(
    ele: Mapping[str, Any],
    image_patch_size: int | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> tuple[torch.Tensor, dict[str, Any], float]:
    """Read a video message as the functions in `VIDEO_READER_BACKENDS` do; see `register`.

    Returns:
        uint8 tensor (T, 3, H, W), metadata, frames per second after sampling.
    """
    with _open(ele, device, threads) as reader:
        if image_patch_size is not None:
            transform = message_transform(ele, image_patch_size)
            # qwen-vl-utils applies its rule to what it is given. In tight budgets the rule changes its own result, and
            # then the size has to be found from the source's.
            if _keeps_its_result(transform, reader, ele):
                reader.transform = transform
        return _sample(reader, ele)


def _open(ele: Mapping[str, Any], device: str, threads: int | None) -> VideoReader:
    source = ele["video"]
    if isinstance(source, str):
        source = source.removeprefix("file://")
    return VideoReader(source, device=device, threads=threads, stream_index=BEST_STREAM)


def _sample(
    reader: VideoReader, ele: Mapping[str, Any]
) -> tuple[torch.Tensor, dict[str, Any], float]:
    """Decode what the message wants; the metadata are those of the readers of qwen-vl-utils."""
    sampler, fps = message_sampler(ele), reader.index.average_fps
    total = len(sampler.window(reader.index))
    batch = reader.sample(sampler)
    metadata = {
        "fps": fps,
        "frames_indices": batch.indices.tolist(),
        "total_num_frames": total,
        "video_backend": NAME,
    }
    return batch.torch(), metadata, len(batch) / total * fps


def _keeps_its_result(transform: Transform, reader: VideoReader, ele: Mapping[str, Any]) -> bool:
    """Return whether the size rule, applied to the size it gives for this video, gives that size again."""
    budget = transform.size
    if not isinstance(budget, PixelBudget):
        return True
    count = len(message_sampler(ele)(reader.index))
    # The rule treats both sides alike, so rotation does not matter.
    size = budget.size_for(reader.index.height, reader.index.width, count)
    return budget.size_for(*size, count) == size
