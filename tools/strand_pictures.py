"""Where strand fails, as a picture for its page: points of the sample clip `blocks` that a hand covers.

    python tools/strand_pictures.py docs/assets/models/strand_blocks.jpg

The mat and the camera stand still, so that the right place of a point of the mat is where it was asked for
(`benchmarks/strand_bars.py` finds points that are covered and uncovered). Upper row strand, lower row strand-clip.
Green: right, seen. Blue: right, called hidden. Red: wrong, called visible. Pink: wrong, called hidden. Yellow lines
lead from a wrong answer to where the point is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import tapkit
from tapkit.types import Queries
from tapkit.video.samples import sample

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from strand_bars import NEAR, covered_points, frames_of

TIMES = (20, 50, 99)
EVERY = 7
"""Each so many of the points is drawn."""
COLOURS = {(True, True): "lime", (True, False): "deepskyblue", (False, True): "red", (False, False): "violet"}


def drawn(frame: np.ndarray, xy: np.ndarray, said: np.ndarray, places: np.ndarray) -> Image.Image:
    """One frame with the answers xy [N,2], said [N] visible, for points whose true places [N,2] are known."""
    picture = Image.fromarray(frame)
    draw = ImageDraw.Draw(picture)
    for answer, visible, place in zip(xy, said, places, strict=True):
        right = bool(np.linalg.norm(answer - place) < NEAR)
        if not right:
            draw.line((*place, *answer), fill="yellow")
        draw.ellipse((*(answer - 3), *(answer + 3)), outline=COLOURS[right, bool(visible)], width=2)
    return picture


def main() -> None:
    """Track, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    path = sample("blocks")
    frames = frames_of(path)
    places = covered_points(frames)[0][::EVERY]
    queries = Queries(np.zeros(len(places), int), places, np.arange(len(places)))
    rows = []
    for model in ("strand", "strand-clip"):
        tracks = tapkit.load(model, device="cpu").track(path, queries)
        said = tracks.visible_at()
        rows.append([drawn(frames[t], tracks.xy[:, t], said[:, t], places) for t in TIMES])
    width, height = rows[0][0].size
    sheet = Image.new("RGB", (width * len(TIMES), height * len(rows)))
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (column * width, row * height))
    sheet.resize((sheet.width * 2 // 3, sheet.height * 2 // 3)).save(arguments.out, quality=80)


if __name__ == "__main__":
    main()
