"""The pictures of the gallery, made by the commands that the gallery shows.

    python tools/gallery.py            # all of them, into docs/assets/gallery
    python tools/gallery.py styles     # those of this name

The documentation shows each picture with its commands from the list below, so they cannot differ.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs" / "assets" / "gallery"


@dataclass(frozen=True)
class Picture:
    """One picture: what the commands write to `result`, at `frame` (None: animated; of a picture: as it is)."""

    name: str
    caption: str
    commands: tuple[str, ...]
    result: str
    frame: int | None = None
    width: int = 640
    files: tuple[tuple[str, str], ...] = ()
    """Names and contents of small text files that the commands read."""


PARTS = """id,t,x,y
nose,0,124,106
eye,0,135,92
forehead,0,130,75
left_ear,0,137,34
right_ear,0,145,38
back,0,160,66
front_paw,0,139,119
hind_paw,0,151,109
"""

EDGES = "nose-eye,eye-forehead,forehead-left_ear,forehead-right_ear,forehead-back,back-hind_paw,nose-front_paw"

PICTURES = (
    Picture(
        "strand",
        "400 points of a grid on hands and letter blocks, by strand. Dots are visible points with their fading trail, "
        "hollow circles occluded ones, faint dots unsure ones; colours come from the place in the first frame.",
        ("tapkit track blocks.mp4 --grid 20 --overlay strand.mp4",),
        "strand.mp4",
        60,
    ),
    Picture(
        "lucas-kanade",
        "The same points on the same frame, by lucas-kanade.",
        ("tapkit track blocks.mp4 --grid 20 --model lucas-kanade -o lk.npz --overlay lucas-kanade.mp4",),
        "lucas-kanade.mp4",
        60,
    ),
    Picture(
        "rabbit",
        "A toy rabbit under a moving camera: 150 corners of the first frame, by strand.",
        ("tapkit track rabbit.mp4 --corners 150 --overlay rabbit-overlay.mp4",),
        "rabbit-overlay.mp4",
        None,
        320,
    ),
    Picture(
        "styles",
        "Stored tracks in another style: darkened footage, long trails, dashed where occluded, colour by confidence.",
        (
            "tapkit track blocks.mp4 --grid 10 --model lucas-kanade -o grid.npz",
            "tapkit draw blocks.mp4 grid.npz styles.mp4 --trail 60 --occluded dashed --dim 0.6 --color confidence",
        ),
        "styles.mp4",
        70,
    ),
    Picture(
        "labels",
        "A few named points with their ids, and coordinate lines every 80 pixels.",
        (
            "tapkit track blocks.mp4 --at 0,262,170 --at 0,403,164 --at 20,359,300 -o few.npz",
            "tapkit draw blocks.mp4 few.npz labels.mp4 --labels --grid-lines 80 --radius 6 --trail 50",
        ),
        "labels.mp4",
        50,
    ),
    Picture(
        "objects",
        "Blocks that were marked on the first frame by boxes, carried on by the points inside them (strand).",
        (
            "tapkit objects blocks.mp4 --box 270,230,312,274,W --box 163,191,211,237,D --box 384,147,421,190,T --box 121,201,167,246,I --box 196,130,238,174,E --box 337,274,385,320,X -o letters.csv --overlay objects.mp4 --end 61",  # noqa: E501
        ),
        "objects.mp4",
        60,
    ),
    Picture(
        "dense-grid",
        "Every second pixel of the first frame by flow-chain, drawn as a grid that was straight there.",
        (
            "tapkit dense rabbit.mp4 --model flow-chain --step 2 --end 41 -o rabbit.dense.zarr",
            "tapkit draw rabbit.mp4 rabbit.dense.zarr grid.mp4 --style grid --end 41",
        ),
        "grid.mp4",
        40,
        320,
    ),
    Picture(
        "dense-flow",
        "The same, in the flow wheel's colours of how far each pixel has come; what has not moved shows the footage.",
        (
            "tapkit dense rabbit.mp4 --model flow-chain --step 2 --end 41 -o rabbit.dense.zarr",
            "tapkit draw rabbit.mp4 rabbit.dense.zarr flow.mp4 --style flow --end 41",
        ),
        "flow.mp4",
        40,
        320,
    ),
    Picture(
        "speeds",
        "Speeds of eight named points over time, and their paths, by tapkit plot: what the camera does, in mm per "
        "second, if a pixel is 0.4 mm wide.",
        (
            "tapkit track rabbit.mp4 --points parts.csv -o parts.npz",
            'tapkit plot parts.npz speeds.png --what speed,paths --scale "0.4 mm" --smooth 9',
        ),
        "speeds.png",
        None,
        800,
        (("parts.csv", PARTS),),
    ),
    Picture(
        "skeleton",
        "Edges between named points: drawn, kept in the file and measured.",
        (
            f"tapkit track rabbit.mp4 --points parts.csv -o parts.npz --skeleton {EDGES}",
            "tapkit draw rabbit.mp4 parts.npz skeleton.mp4 --trail 0 --color id --radius 3 --dim 0.3",
        ),
        "skeleton.mp4",
        50,
        320,
        (("parts.csv", PARTS),),
    ),
    Picture(
        "synthetic",
        "Synthetic clips for training and tests, with exact tracks, rendered from procedural textures alone (with "
        "photographs they look far more like videos).",
        ("tapkit synth look -n 4 --frames 9 --size 128x128 --sheet synthetic.png",),
        "synthetic.png",
        None,
        800,
    ),
)


def make(picture: Picture) -> None:
    """Run the commands of one picture in a folder with the sample clips, and keep the picture."""
    from tapkit.cli.main import app
    from tapkit.video.samples import sample, sample_names

    with tempfile.TemporaryDirectory() as folder, working_in(Path(folder)):
        for name in sample_names():
            shutil.copy(sample(name), f"{name}.mp4")
        for file, content in picture.files:
            Path(file).write_text(content, encoding="utf-8")
        for command in picture.commands:
            app.main([*shlex.split(command)[1:], "--quiet"], prog_name="tapkit", standalone_mode=False)
        target = FOLDER / f"{picture.name}.webp"
        target.parent.mkdir(parents=True, exist_ok=True)
        keep(picture, Path(picture.result), target)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


def keep(picture: Picture, result: Path, target: Path) -> None:
    """The result as a WebP of at most the picture's width."""
    from PIL import Image

    from tapkit.video import open_video

    if result.suffix == ".png":
        with Image.open(result) as image:
            small(image.convert("RGB"), picture.width).save(target, quality=82, method=6)
        return
    with open_video(result) as source:
        if picture.frame is not None:
            small(Image.fromarray(source.read(picture.frame).image), picture.width).save(target, quality=82, method=6)
            return
        frames = [small(Image.fromarray(frame.image), picture.width) for frame in source.frames(step=3)]
        duration = round(3000 / source.info.fps)
    frames[0].save(target, save_all=True, append_images=frames[1:], duration=duration, loop=0, quality=60, method=6)


def small(image, width):  # type: ignore[no-untyped-def]
    """The picture, not wider than that."""
    return image if image.width <= width else image.resize((width, round(image.height * width / image.width)))


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """The commands write where they stand."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


if __name__ == "__main__":
    wanted = set(sys.argv[1:])
    for each in PICTURES:
        if not wanted or each.name in wanted:
            make(each)
