"""Give the boxes of your own detector identities, and draw them.

    python examples/objects.py CLIP OUT.mp4

Here the "detector" finds what is more colourful than its surroundings; put yours in its place.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from tapkit.apps.objects import Detections, track_objects, write_objects
from tapkit.apps.objects.drawing import draw_objects
from tapkit.video import open_video


def detect(image: np.ndarray) -> Detections:
    """Boxes of colourful regions, found on a picture of a quarter of the size."""
    small = Image.fromarray(image).reduce(4).filter(ImageFilter.BoxBlur(1))
    colour = np.asarray(small, np.int64)
    found = regions(np.ptp(colour, axis=2) > 70)
    boxes = [(4 * x, 4 * y, 4 * (x + w), 4 * (y + h)) for x, y, w, h in found if w >= 5 and h >= 5]
    return Detections.of(boxes, 0.9, "block")


def regions(mask: np.ndarray) -> list[tuple[int, int, int, int]]:
    """x, y, width and height of the connected regions of a mask [h,w]."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    found = []
    while left:
        open_, own = [left.pop()], []
        while open_:
            y, x = open_.pop()
            own.append((y, x))
            for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if near in left:
                    left.remove(near)
                    open_.append(near)
        ys, xs = zip(*own, strict=True)
        found.append((min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1))
    return found


def main() -> None:
    """Detect, follow, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    with open_video(asked.clip) as video:
        found = track_objects(video, detect)
        write_objects(asked.out.with_suffix(".txt"), found)
        draw_objects(video, found, asked.out)
    print(f"{len(found.ids)} objects, {len(found)} boxes: {asked.out}, {asked.out.with_suffix('.txt')}")


if __name__ == "__main__":
    main()
