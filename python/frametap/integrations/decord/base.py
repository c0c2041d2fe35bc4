"""Where decord's users import its errors from."""

from frametap.integrations.decord.reader import DECORDError, DECORDLimitReachedError

__all__ = ["DECORDError", "DECORDLimitReachedError"]
