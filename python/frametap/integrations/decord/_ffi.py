"""decord's tracebacks say `decord._ffi.base.DECORDError`, so that is what many `except` clauses say."""

from frametap.integrations.decord import base

__all__ = ["base"]
