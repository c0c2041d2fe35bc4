"""Where decord's users import its loader from."""

from frametap.integrations.decord.loader import VideoLoader

__all__ = ["VideoLoader"]
