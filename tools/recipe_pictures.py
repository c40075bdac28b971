"""Pictures of the recipes in docs/how-to, into docs/assets/recipes.

python tools/recipe_pictures.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import tapkit
from tapkit import Keyframes, Queries, Tracks
from tapkit.video.samples import sample
from tapkit.viz import Style, draw_video

FOLDER = Path(__file__).parents[1] / "docs" / "assets" / "recipes"
QUERIES = Queries.at(0, [(157, 236), (364, 298)], ["yellow_block", "x_block"])
KEYS = Keyframes.of([("yellow_block", t, x, y) for t, x, y in ((50, 197, 285), (60, 196, 287), (70, 194, 288))])
FRAMES = (25, 40, 50, 60, 75, 98)
PART = (90, 120, 410, 360)
"""Left, top, right and bottom of what is shown, pixels."""


def nuke_shot() -> Path:
    """The first tracks above the corrected ones, as docs/how-to/nuke-shot.md makes them."""
    clip = sample("blocks")
    first = tapkit.track(clip, QUERIES)
    better = tapkit.retrack(clip, first, KEYS)
    rows = [drawn(tracks) for tracks in (first, better)]
    path = FOLDER / "nuke-shot.jpg"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(rows, 0)).save(path, quality=85)
    return path


def drawn(tracks: Tracks) -> np.ndarray:
    """`FRAMES` side by side, [h,w,3]."""
    with tempfile.TemporaryDirectory() as folder, tapkit.open_video(sample("blocks")) as source:
        pattern = Path(folder) / "%06d.png"
        draw_video(source, tracks, pattern, Style(radius=4, trail=30))
        pictures = sorted(Path(folder).glob("*.png"))
        cells = [np.asarray(Image.open(pictures[t]).convert("RGB").crop(PART)) for t in FRAMES]
    return np.concatenate(cells, 1)


if __name__ == "__main__":
    print(nuke_shot())
