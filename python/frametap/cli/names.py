"""Videos by name: what commands call a path or a URL, which files of a folder are meant, where an index goes."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from frametap.source import is_url

VIDEO_SUFFIXES = {
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".ts",
    ".mts",
    ".m2ts",
    ".mpg",
    ".mpeg",
    ".flv",
    ".3gp",
}


def file_name(video: str) -> str:
    """Return the last part of a path, or of a URL without its query."""
    return Path(urlsplit(video).path if is_url(video) else video).name


def videos_below(folder: Path) -> list[str]:
    """Return the files below a folder whose names end as those of videos do, sorted."""
    found = (p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
    return [str(path) for path in sorted(found)]


def index_path(video: str) -> Path:
    """Return where the index of a video goes: beside a file, and for a URL into the current folder."""
    return Path(f"{file_name(video) if is_url(video) else video}.ftidx")
