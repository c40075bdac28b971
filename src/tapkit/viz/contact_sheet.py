"""Pictures for README and docs: some frames of an overlay side by side, and what the colours mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tapkit.errors import UsageError
from tapkit.types import Tracks
from tapkit.video.base import Source
from tapkit.viz import palettes
from tapkit.viz.draw import Style, dot_radius, draw_frame

_PAPER = (250, 250, 248)
_INK = (45, 48, 54)
_ENLARGED = 1.6


def contact_sheet(
    source: Source,
    tracks: Tracks,
    count: int = 6,
    *,
    frames: Sequence[int] | None = None,
    columns: int = 3,
    width: int = 1200,
    style: Style | None = None,
    captions: bool = True,
    times: bool = True,
) -> np.ndarray:
    """`count` frames of the overlay in a grid -> [H,width,3] uint8 RGB.

    Args:
        source: the video that was tracked; it is read at these frames only.
        count: how many, evenly spread from the first frame to the last.
        frames: which ones instead, by index.
        columns: pictures in a row.
        width: of the whole sheet, pixels.
        captions: whether the number and the time of each frame stand below it.
        times: whether the time does; not where nobody knows it, as of a mere array of frames.

    Raises:
        UsageError: no frame, no column, or too narrow a sheet.
    """
    chosen = np.linspace(0, tracks.frames - 1, min(count, tracks.frames)).round().astype(int).tolist()
    chosen = list(frames) if frames is not None else chosen
    gap = max(4, width // 100)
    columns = min(columns, len(chosen))
    if columns < 1 or (width - gap) // columns - gap < 16:
        raise UsageError(f"no sheet of {len(chosen)} frames in {columns} columns fits into {width} pixels of width")
    cell = (width - gap) // columns - gap
    info = source.info
    shape = info.width * float(info.pixel_aspect) / info.height
    height = max(1, round(cell / shape))
    look = style or Style()
    # Dots must survive the shrinking: on the sheet they are larger than on a video of that size.
    least = _ENLARGED * dot_radius((height, cell), len(tracks)) * max(info.width / cell, 1.0)
    look = replace(look, radius=look.radius or max(least, dot_radius(info.size, len(tracks))))
    letters = max(10, cell // 26)
    line = round(1.7 * letters) if captions else 0
    rows = -(-len(chosen) // columns)
    sheet = Image.new("RGB", (width, gap + rows * (height + line + gap)), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(letters)
    for place, frame in enumerate(chosen):
        left = gap + place % columns * (cell + gap)
        top = gap + place // columns * (height + line + gap)
        drawn = draw_frame(source.read(frame).image, tracks, frame, look)
        sheet.paste(Image.fromarray(drawn).resize((cell, height), Image.Resampling.LANCZOS), (left, top))
        if captions:
            text = f"frame {frame}" + (f"   {info.time_of(frame):.2f} s" if times else "")
            pen.text((left, top + height + line / 2), text, fill=_INK, font=font, anchor="lm")
    return np.array(sheet)


def legend(style: Style | None = None, width: int = 420, size: tuple[int, int] = (9, 16)) -> np.ndarray:
    """What the colours of a style mean, as a picture [H,width,3] uint8 RGB.

    Args:
        style: its `color` decides: the colour of every place in the frame (also for "auto", which takes it for more
            than 12 points), of the ids or points 0 to 11, of confidence from 0 to 1, or the one colour.
        width: in pixels.
        size: (height, width) of the frame, for its shape.
    """
    mode = (style or Style()).color
    mode = "position" if mode == "auto" else mode
    gap = max(6, width // 40)
    letters = max(10, width // 30)
    inner = width - 2 * gap
    tall = round(inner * size[0] / size[1]) if mode == "position" else max(12, width // 10)
    x = np.broadcast_to(np.arange(inner) + 0.5, (tall, inner))
    if mode == "position":
        y = np.broadcast_to((np.arange(tall) + 0.5)[:, None], (tall, inner))
        colours, words = palettes.by_position(np.stack([x, y], -1), (tall, inner)), "by place of the query in the frame"
    elif mode in ("id", "point"):
        colours, words = palettes.by_number((x * 12 / inner).astype(int)), f"by {mode}, here 0 to 11"
    elif mode == "confidence":
        colours, words = palettes.by_confidence(x / inner), "by confidence, from 0 to 1"
    else:
        colours, words = np.broadcast_to(palettes.one_colour(mode), (tall, inner, 3)), f"all points: {mode}"
    sheet = Image.new("RGB", (width, tall + 3 * gap + letters), _PAPER)
    sheet.paste(Image.fromarray((colours * 255 + 0.5).astype(np.uint8)), (gap, gap))
    font = ImageFont.load_default(letters)
    ImageDraw.Draw(sheet).text((gap, tall + 2 * gap + letters / 2), words, fill=_INK, font=font, anchor="lm")
    return np.array(sheet)
