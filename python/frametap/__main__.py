"""`python -m frametap` is the `frametap` command."""

from __future__ import annotations

from frametap.cli import main

if __name__ == "__main__":
    main()
