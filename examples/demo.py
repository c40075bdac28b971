"""The sample clip, tracked: tracks, an overlay video and a picture of it. What `make demo` runs.

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
    for path in sorted(folder.iterdir()):
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out"))
