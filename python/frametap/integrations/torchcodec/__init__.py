"""torchcodec's video decoding API on frametap: replace `torchcodec` by `frametap.integrations.torchcodec` in imports.

`decoders.VideoDecoder`, the four clip samplers of `samplers` and the transforms of `transforms`; torchcodec itself and its FFmpeg
libraries need not be installed.

Example:
    >>> from frametap.integrations.torchcodec.decoders import VideoDecoder
    >>> from frametap.integrations.torchcodec.samplers import clips_at_regular_indices
    >>> decoder = VideoDecoder("talk.mp4")
    >>> clips_at_regular_indices(decoder, num_clips=2, num_frames_per_clip=4).data.shape
    torch.Size([2, 4, 3, 240, 320])
"""

from frametap.integrations.torchcodec.frames import Frame, FrameBatch

__all__ = ["Frame", "FrameBatch"]
