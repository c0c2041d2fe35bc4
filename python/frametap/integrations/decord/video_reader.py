"""Where decord's users import its reader from."""

from frametap.integrations.decord.reader import VideoReader

__all__ = ["VideoReader"]
