"""The `frametap` command. Only its `main` imports typer, rich and Pillow; `import frametap` never does."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import frametap as ft


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what frametap itself refuses becomes one line on stderr and exit code 1."""
    try:
        from frametap.cli.commands import app
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("frametap"):
            raise
        sys.exit(f"error: the frametap command needs {missing.name}: pip install 'frametap[cli]'")
    try:
        app(args=None if arguments is None else list(arguments), prog_name="frametap")
    except (ft.FrametapError, IndexError, ValueError, MemoryError) as error:
        sys.exit(f"error: {error}")
    except (
        OSError
    ) as error:  # a file that cannot be written; one that cannot be read is a SourceError
        sys.exit(f"error: {error.filename}: {error.strerror}")
