"""decord's levels, so that `decord.logging.set_level(...)` works; frametap itself logs nothing."""

QUIET = -8
PANIC = 0
FATAL = CRITICAL = 8
ERROR = 16
WARNING = 24
INFO = 32
VERBOSE = 40
DEBUG = 48
TRACE = 56


def set_level(lvl: int = ERROR) -> None:
    """Accept any level: there is nothing to silence, what goes wrong is raised."""
