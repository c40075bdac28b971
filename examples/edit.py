"""Put a picture onto a surface, behind what passes in front of it, and write the corner pin for Nuke.

    python examples/edit.py CLIP POSTER OUT.mp4 X,Y X,Y X,Y X,Y

The four corners, from the upper left clockwise, are pixels of the first frame. Frames to look at are printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tapkit.apps.edit import Look, Settings, attach_sticker, corner_pin


def corner(text: str) -> tuple[float, float]:
    """X,Y as two numbers."""
    x, y = (float(part) for part in text.split(","))
    return x, y


def main() -> None:
    """Follow the surface once, and use what was tracked twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("poster", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("corners", type=corner, nargs=4)
    asked = parser.parse_args()
    found = attach_sticker(
        asked.clip, asked.poster, asked.out, quad=asked.corners, look=Look(adapt=True), settings=Settings(refine=True)
    )
    pin = corner_pin(asked.clip, asked.corners, tracks=found.prepared.tracks)
    target = asked.out.with_suffix(".nk")
    pin.write(target, "nuke-cornerpin", corners="ul,ur,lr,ll", when="valid")
    print(f"{asked.out}, {target}; look at frames {found.motion.bad_frames.tolist() or 'none'}")
    for note in found.motion.notes:
        print(note)


if __name__ == "__main__":
    main()
