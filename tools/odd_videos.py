"""Opens every video in a folder and says what it gave, as a Markdown page.

    python tools/odd_videos.py [FOLDER] > docs/reference/odd_videos.md

Each clip is opened, read forwards, backwards, and by index in an order fixed by a seed, at 96 x 96; the three must
agree in every pixel and timestamp. The default folder is ../shared/assets/videos.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tapkit.errors import VideoError
from tapkit.video import Source, open_video
from tapkit.video.index import index_file

ROOT = Path(__file__).parents[1]
SIZE = (96, 96)
HEAD = """# Odd and broken videos

What each of the shared test clips gives (`{folder}`). Made by
`python tools/odd_videos.py > docs/reference/odd_videos.md`; nothing here is typed by hand. "Same both ways" means:
read forwards, backwards and by index in random order, every pixel and every time agree. Sizes are as shown
(rotation applied).

| file | size | fps | frames | variable rate | turned | pixel aspect | gave | same both ways | opened in |
|---|---|---|---|---|---|---|---|---|---|"""


class Row(NamedTuple):
    """What one clip gave."""

    file: str
    size: str = ""
    fps: str = ""
    frames: str = ""
    variable: str = ""
    turned: str = ""
    aspect: str = ""
    gave: str = ""
    same: str = ""
    seconds: str = ""


def examine(path: Path) -> Row:
    """Open and read one file in all ways."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        began = time.perf_counter()
        try:
            source = open_video(path)
        except VideoError as error:
            return Row(path.name, gave=f"error: {tell(error, path)}")
        opened = time.perf_counter() - began
        with source:
            same = reads_alike(source)
    info = source.info
    orientation = index_file(str(path))[1].orientation if not caught else None
    gave = "; ".join(f"warning: {tell(w.message, path)}" for w in caught) or "ok"
    return Row(
        path.name, f"{info.width} x {info.height}", str(info.fps), str(info.frames),
        "yes" if info.variable_rate else "no", turned(orientation), str(info.pixel_aspect), gave,
        "yes" if same else "**NO**", f"{1000 * opened:.0f} ms",
    )  # fmt: skip


def reads_alike(source: Source) -> bool:
    """Whether reading forwards, backwards and by index gives the same frames, as many as stated."""
    forwards = list(source.frames(size=SIZE))
    backwards = list(source.frames(len(forwards) - 1, step=-1, size=SIZE))[::-1]
    order = np.random.default_rng(0).permutation(len(forwards))[:12]
    picked = all(equal(source.read(int(index), SIZE), forwards[index]) for index in order)
    numbered = [frame.index for frame in forwards] == list(range(source.info.frames or 0))
    return numbered and picked and len(backwards) == len(forwards) and all(map(equal, forwards, backwards))


def equal(one, other) -> bool:
    """Whether two frames are the same in number, time and every pixel."""
    return one.index == other.index and one.time == other.time and np.array_equal(one.image, other.image)


def turned(orientation) -> str:
    """How the picture is turned for showing, in words."""
    if orientation is None or (not orientation.transpose and not orientation.mirror_x and not orientation.mirror_y):
        return ""
    known = {
        (True, True, False): "90 right",
        (True, False, True): "90 left",
        (False, True, True): "180",
    }
    return known.get((orientation.transpose, orientation.mirror_x, orientation.mirror_y), "mirrored")


def tell(message: object, path: Path) -> str:
    """A message without the folder's name, fit for a table."""
    return str(message).replace(f"{path.parent}/", "").replace("|", "/")


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "assets" / "videos"
    rows = [examine(path) for path in sorted(folder.iterdir()) if path.is_file()]
    print(HEAD.format(folder="/".join(folder.parts[-2:])))
    for row in rows:
        print("|", " | ".join(row), "|")
    bad = [row.file for row in rows if "NO" in row.same]
    errors = sum(row.gave.startswith("error") for row in rows)
    warned = sum(row.gave.startswith("warning") for row in rows)
    print(f"\n{len(rows)} files: {len(rows) - errors - warned} ok, {warned} with a warning, {errors} with an error;")
    print(f"{len(bad)} read differently in different directions{': ' + ', '.join(bad) if bad else ''}.")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
