"""Contact sheets: the sampled frames of one video on a single picture, each with its time.

Needs Pillow (`pip install 'frametap[cli]'`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BACKGROUND = (17, 18, 22)
_TITLE = (240, 241, 244)
_FAINT = (146, 150, 160)
_MARGIN, _GAP, _RADIUS = 24, 10, 6
_TITLE_SIZE, _TEXT_SIZE, _TIME_SIZE = 24, 17, 14


def tile_size(width: int, height: int, longer_side: int) -> tuple[int, int]:
    """Return (height, width) of a tile with the picture's proportions whose longer side is `longer_side`.

    Example:
        >>> tile_size(1920, 1080, 320)
        (180, 320)
    """
    scale = longer_side / max(width, height)
    return max(1, round(height * scale)), max(1, round(width * scale))


def format_time(seconds: float) -> str:
    """Return `m:ss.mmm`, or `h:mm:ss.mmm` from one hour on.

    Example:
        >>> format_time(83.4), format_time(3605)
        ('1:23.400', '1:00:05.000')
    """
    sign, milliseconds = "-" if seconds < 0 else "", round(abs(seconds) * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{sign}{clock}:{rest // 1000:02}.{rest % 1000:03}"


def contact_sheet(
    frames: NDArray[np.uint8],
    pts_seconds: Sequence[float] | NDArray[np.float64],
    *,
    title: str,
    subtitle: str = "",
    columns: int | None = None,
) -> Image.Image:
    """Lay frames out in a grid under a title, each with its time in the corner.

    Args:
        frames: (N, H, W, 3) uint8 RGB, N >= 1.
        pts_seconds: time of each frame.
        title: first line, usually the file's name.
        subtitle: second line, what the file is.
        columns: tiles per row; None picks one that makes the sheet about 16:10 and fills its last row.

    Returns:
        An RGB picture.
    """
    count, height, width, _ = frames.shape
    columns = min(count, columns or _columns(count, width, height))
    rows = -(-count // columns)
    head = _MARGIN + _TITLE_SIZE + (_TEXT_SIZE + 10 if subtitle else 0) + 18
    sheet = Image.new(
        "RGB",
        (
            2 * _MARGIN + columns * (width + _GAP) - _GAP,
            head + rows * (height + _GAP) - _GAP + _MARGIN,
        ),
        _BACKGROUND,
    )
    draw = ImageDraw.Draw(sheet)
    room = sheet.width - 2 * _MARGIN
    draw.text(
        (_MARGIN, _MARGIN - 4),
        _fit(draw, title, _TITLE_SIZE, room),
        _TITLE,
        _font(_TITLE_SIZE, title),
    )
    if subtitle:
        at = (_MARGIN, _MARGIN + _TITLE_SIZE + 6)
        draw.text(at, _fit(draw, subtitle, _TEXT_SIZE, room), _FAINT, _font(_TEXT_SIZE, subtitle))
    rounded = _rounded(width, height)
    for number, (pixels, seconds) in enumerate(zip(frames, pts_seconds, strict=True)):
        row, column = divmod(number, columns)
        tile = Image.fromarray(pixels)
        _stamp(tile, format_time(float(seconds)))
        sheet.paste(
            tile, (_MARGIN + column * (width + _GAP), head + row * (height + _GAP)), rounded
        )
    return sheet


def _columns(count: int, width: int, height: int) -> int:
    """Return the number of columns whose grid is closest to 16:10 while its last row is at least half full."""

    def cost(columns: int) -> float:
        rows = -(-count // columns)
        ratio = columns * width / (rows * height)
        empty = columns * rows - count
        return max(ratio / 1.6, 1.6 / ratio) + 2.0 * empty / columns

    return min(range(1, count + 1), key=cost)


def _rounded(width: int, height: int) -> Image.Image:
    """Mask of a tile with round corners, drawn four times as large so that its edge is smooth."""
    mask = Image.new("L", (width * 4, height * 4))
    ImageDraw.Draw(mask).rounded_rectangle(
        (0, 0, width * 4 - 1, height * 4 - 1), _RADIUS * 4, fill=255
    )
    return mask.resize((width, height), Image.Resampling.LANCZOS)


def _stamp(tile: Image.Image, text: str) -> None:
    """Write `text` on a dark plate in the lower left corner; too small a tile stays as it is."""
    draw = ImageDraw.Draw(tile, "RGBA")
    left, top, right, bottom = draw.textbbox((0, 0), text, _font(_TIME_SIZE))
    plate = (right - left + 12, bottom - top + 10)
    if plate[0] + 12 > tile.width or plate[1] + 12 > tile.height:
        return
    x, y = 6, tile.height - 6 - plate[1]
    draw.rounded_rectangle((x, y, x + plate[0], y + plate[1]), 4, fill=(0, 0, 0, 170))
    draw.text((x + 6 - left, y + 5 - top), text, (255, 255, 255, 255), _font(_TIME_SIZE))


def _fit(draw: ImageDraw.ImageDraw, text: str, size: int, room: int) -> str:
    """Shorten `text` in the middle until it fits into `room` pixels."""
    keep = len(text)
    shown = text
    while keep > 8 and draw.textlength(shown, _font(size, text)) > room:
        keep -= 1
        shown = f"{text[: keep // 2]}…{text[len(text) - keep // 2 :]}"
    return shown


def _font(size: int, text: str = "") -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    # Pillow's own font has Latin letters only; for other names take the usual wide one where the system has it.
    if max(text, default="") > "ÿ":
        with contextlib.suppress(OSError):
            return ImageFont.truetype("DejaVuSans.ttf", size)
    return ImageFont.load_default(size)
