"""Pictures of the recipes in docs/how-to, into docs/assets/recipes.

python tools/recipe_pictures.py
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import tapkit
from tapkit import Keyframes, Queries, Tracks
from tapkit.video.samples import sample
from tapkit.video.writer import VideoWriter
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


def camera_loop() -> Path:
    """Points of docs/how-to/camera-loop.md on four frames, two of them after a cut."""
    shown: dict[int, np.ndarray] = {}
    with (
        page("camera-loop.md", ("blocks", 0, 60), ("rabbit", 0, 20)) as names,
        names["tracker"].start(tapkit.VideoInfo(640, 360), colors="bgr", cuts="redetect") as session,
    ):
        keeper = names["Keeper"](session, names["tracker"].provenance(live=True))
        for number, image in names["grab"]():
            for result in session.step(image, number=number):
                keeper.take(result)
            keeper.tend(image)
            shown[number] = marked(image[..., ::-1], np.array(list(keeper.xy.values())))
        session.finish()
    return kept("camera-loop", np.concatenate([shown[number] for number in (3, 58, 62, 79)], 1))


def compare_trackers() -> Path:
    """A grid by strand (left) and by lucas-kanade (right), on the frame after a hand has passed."""
    cells = []
    for model in ("strand", "lucas-kanade"):
        tracks = tapkit.track(sample("blocks"), grid=14, model=model)
        with tempfile.TemporaryDirectory() as folder, tapkit.open_video(sample("blocks")) as source:
            pattern = Path(folder) / "%06d.png"
            draw_video(source, tracks, pattern, Style(trail=30))
            cells.append(
                np.asarray(Image.open(sorted(Path(folder).glob("*.png"))[80]).convert("RGB").resize((480, 270)))
            )
    return kept("compare-trackers", np.concatenate(cells, 1))


def train_through() -> Path:
    """The losses of docs/how-to/train-through.md."""
    from matplotlib.figure import Figure

    with page("train-through.md", ("blocks", 0, 9)) as names:
        losses = names["losses"]
    figure = Figure(figsize=(5, 2.4), layout="constrained", dpi=120)
    ax = figure.subplots()
    ax.plot(range(1, len(losses) + 1), losses, marker="o")
    ax.set_xlabel("step")
    ax.set_ylabel("cycle loss (px, Huber)")
    ax.set_ylim(0)
    path = FOLDER / "train-through.png"
    figure.savefig(path)
    return path


@contextlib.contextmanager
def page(name: str, *parts: tuple[str, int, int]):  # type: ignore[no-untyped-def]
    """What the Python blocks of a page leave behind, run in a folder with clip.mp4 made of parts of sample clips."""
    text = (FOLDER.parents[1] / "how-to" / name).read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- run -->\n```python\n(.*?)\n```", text, re.DOTALL)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        with tapkit.open_video(sample(parts[0][0])) as source:
            info = source.info
        with VideoWriter(Path("clip.mp4"), info) as writer:
            for clip, start, stop in parts:
                with tapkit.open_video(sample(clip)) as source:
                    for frame in source.frames(start, stop, size=info.size):
                        writer.write(frame.image)
        names: dict[str, Any] = {"__name__": "page"}
        for block in blocks:
            exec(compile(block, name, "exec"), names)
        yield names


def marked(image: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """The picture with a dot at each position, at half its size."""
    from PIL import ImageDraw

    picture = Image.fromarray(np.ascontiguousarray(image))
    pen = ImageDraw.Draw(picture)
    for x, y in xy.tolist():
        pen.ellipse([x - 5, y - 5, x + 5, y + 5], fill=(255, 190, 40), outline=(30, 30, 30))
    return np.asarray(picture.resize((picture.width // 2, picture.height // 2)))


def kept(name: str, picture: np.ndarray) -> Path:
    path = FOLDER / f"{name}.jpg"
    Image.fromarray(picture).save(path, quality=80)
    return path


if __name__ == "__main__":
    for make in (nuke_shot, camera_loop, compare_trackers, train_through):
        print(make())
