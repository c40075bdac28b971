"""The sample clip, tracked: tracks, an overlay video and pictures of it. What `make demo` runs.

python examples/demo.py [FOLDER]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from PIL import Image

import tapkit
from tapkit.video.samples import sample
from tapkit.viz.contact_sheet import contact_sheet


def animate(video: Path, target: Path, width: int = 480, every: int = 2) -> None:
    """A small animated picture of a video, for a page."""
    with tapkit.open_video(video) as source:
        size = (round(source.info.height * width / source.info.width), width)
        pictures = [Image.fromarray(frame.image) for frame in source.frames(step=every, size=size)]
        duration = round(1000 * every / source.info.fps)
    pictures[0].save(target, save_all=True, append_images=pictures[1:], duration=duration, loop=0, quality=70, method=4)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    clip = sample()
    started = time.perf_counter()
    tracks = tapkit.track(clip, grid=20)
    seconds = time.perf_counter() - started
    print(f"{tracks!r}: {tracks.frames / seconds:.0f} frames/s")
    tracks.save(folder / "tracks.npz")
    tracks.save(folder / "tracks.csv")
    tapkit.draw(clip, tracks, folder / "overlay.mp4")
    with tapkit.open_video(clip) as source:
        Image.fromarray(contact_sheet(source, tracks)).save(folder / "overlay.png")
    animate(folder / "overlay.mp4", folder / "overlay.webp")
    for path in sorted(folder.iterdir()):
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out"))
