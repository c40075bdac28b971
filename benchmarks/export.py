"""Exports, measured: exactness on a small clip with every reader there is; size and time for 5,000 x 1,000 positions.

    python benchmarks/export.py                      # prints both tables
    python benchmarks/export.py --docs               # also writes them into docs/export/index.md

Times are CPU seconds of one thread, as multiples of the fixed workload of parity/calibrate.py measured in the same
process where the shared folder is there, since machines differ and are shared.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/export"), str(ROOT)]

from example_clip import three_tracks  # noqa: E402
from oracles import BLENDER, ORACLES  # noqa: E402

from tapkit.errors import UsageError  # noqa: E402
from tapkit.export import ExportWarning, formats  # noqa: E402
from tapkit.types import Queries, Tracks, VideoInfo  # noqa: E402

PAGE = ROOT / "docs/export/index.md"
GRID = (9, 16)
OPTIONS: dict[str, dict[str, Any]] = {"dlc": {"frames": "all"}}
LARGE_OPTIONS: dict[str, dict[str, Any]] = {"dlc": {"images": False, "frames": "all"}}
NO_FILE = {
    "nuke-cornerpin": "four points only", "tapvid": "holds the pictures: their size decides",
    "stmap": "for grids of points: the picture's size decides",
    "motion": "for grids of points: the picture's size decides",
}  # fmt: skip


def shot(folder: Path) -> str:
    """Twelve pictures of 320 x 180."""
    from PIL import Image

    folder.mkdir()
    for number in range(12):
        Image.new("RGB", (320, 180), (number * 20, 0, 0)).save(folder / f"{number:03d}.png")
    return str(folder)


def four_tracks(tracks: Tracks) -> Tracks:
    """Visible corners of a rectangle that moves, for corner pins."""
    t = np.arange(tracks.frames)[None, :, None]
    xy = np.array([[20, 20], [300, 25], [290, 160], [30, 150]])[:, None] + t * np.array([0.5, 1.25])
    every = np.ones(xy.shape[:2])
    return Tracks(xy, every, every, every > 0, Queries.at(0, xy[:, 0]), tracks.video)


def dense_tracks(tracks: Tracks) -> Tracks:
    """A grid of points over a picture that turns and grows."""
    queries = Queries.grid(tracks.video.size, GRID)
    t = np.arange(tracks.frames)
    turn = np.eye(2) + t[:, None, None] * np.array([[0.01, -0.02], [0.02, 0.01]])
    xy = np.einsum("tij,nj->nti", turn, queries.xy - 100) + 100
    every = np.ones(xy.shape[:2])
    return Tracks(xy, every, every, every > 0, queries, tracks.video)


def pictures_error(path: Path, name: str, tracks: Tracks) -> float:
    """Worst difference [pixels] at the pixels nearest to the points, read by OpenEXR."""
    import OpenEXR

    height, width = tracks.video.size
    worst = 0.0
    for t in range(tracks.frames):
        channels = OpenEXR.File(str(path.with_name(f"{path.stem}.{t + 1:04d}.exr"))).channels()
        pixels = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1)
        if name == "stmap":
            plane = channels["RGBA"].pixels
            found = np.stack([plane[..., 0] * width, (1 - plane[..., 1]) * height], -1) - pixels
        else:
            found = np.stack([channels["forward.u"].pixels, -channels["forward.v"].pixels], -1)
        turn = np.eye(2) + t * np.array([[0.01, -0.02], [0.02, 0.01]])
        expected = (pixels - 100) @ turn.T + 100 - pixels
        inner = (slice(height // 9, -height // 9), slice(width // 16, -width // 16))
        worst = max(worst, float(np.abs(found - expected)[inner].max()))
    return worst


def error(found: np.ndarray, tracks: Tracks) -> float:
    """Worst difference [pixels]; infinite if nothing was found or something where there is nothing."""
    here = np.isfinite(found).all(-1)
    if not here.any() or (here & ~tracks.valid).any():
        return float("inf")
    return float(np.abs(found - tracks.xy)[here].max())


def exactness(folder: Path) -> Iterator[str]:
    """Rows of the first table: format, ending, export, import, oracle, its worst error, that of our own reader."""
    yield "| format | file | export | import | independent reader | its worst error, px | round trip, px |"
    yield "|---|---|---|---|---|---|---|"
    footage = shot(folder / "shot")
    for name, entry in formats().items():
        tracks = three_tracks(path=footage + ("/000.png" if name == "blender" else ""))
        form: Any = entry
        if name == "nuke-cornerpin":
            tracks = four_tracks(tracks)
        if name in ("stmap", "motion"):
            tracks = dense_tracks(tracks)
        path = folder / f"{name}{form.suffix.strip('/')}"
        form.write(tracks, path, **OPTIONS.get(name, {}))
        oracle, theirs = ORACLES[name][0] if name in ORACLES else "golden file, layout by hand", ""
        if name in ("stmap", "motion"):
            oracle, theirs = "OpenEXR", f"{pictures_error(path, name, tracks):.1e}"
        elif name in ORACLES and not (name == "blender" and not BLENDER.exists()):
            theirs = f"{error(ORACLES[name][1](path, tracks), tracks):.1e}"
        ours = ""
        if name == "tapvid":
            oracle, read = "restricted unpickler", Tracks.read(path, name)
            ours = f"{np.abs(read.xy - tracks.xy)[tracks.valid].max():.1e}"
        elif form.reader:
            source = path.with_name("saved.json") if name == "blender" else path
            read = Tracks.read(source, name, video=tracks.video) if source.exists() else None
            keep = np.ones(tracks.frames, bool)
            keep[3] = name != "blender"  # the marker that the oracle moved
            ours = "" if read is None else f"{error(read.xy[:, keep], tracks_at(tracks, keep)):.1e}"
        yield f"| {name} | {form.suffix} | yes | {'yes' if form.reader else '-'} | {oracle} | {theirs} | {ours} |"


def tracks_at(tracks: Tracks, keep: np.ndarray) -> Tracks:
    """Some of the frames, only to compare positions."""
    changes = {name: getattr(tracks, name)[:, keep] for name in ("xy", "visible", "confidence", "valid", "keyframe")}
    queries = Queries.at(0, tracks.queries.xy, tracks.ids.tolist())
    video = VideoInfo(tracks.video.width, tracks.video.height)
    return tracks.with_(**changes, queries=queries, video=video)


def many(points: int, frames: int) -> Tracks:
    """Random walks over a 1080p clip, one position in ten occluded."""
    generator = np.random.default_rng(0)
    start = generator.uniform((100, 100), (1820, 980), (points, 1, 2))
    xy = start + generator.normal(0, 1, (points, frames, 2)).cumsum(1)
    visible = np.where(generator.random((points, frames)) < 0.1, 0.1, 0.95)
    valid = np.ones((points, frames), bool)
    return Tracks(xy, visible, valid, valid, Queries.at(0, xy[:, 0]), VideoInfo(1920, 1080))


def unit() -> tuple[float, str]:
    """CPU seconds of the calibration workload and how to call a multiple of it."""
    shared = Path(os.environ.get("TAPKIT_SHARED", ROOT.parent / "shared")) / "parity/calibrate.py"
    if not shared.exists():
        return 1.0, "CPU seconds"
    import torch

    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("calibrate", shared)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.calibrate(clock=time.process_time), "x calibrate()"


def speed(folder: Path, points: int, frames: int, read: bool) -> Iterator[str]:
    """Rows of the second table: format, size, time to write, time to read."""
    tracks = many(points, frames)
    one, word = unit()
    yield f"| format | MB | write, CPU s | write, {word} | read, CPU s | what tapkit says |"
    yield "|---|---|---|---|---|---|"
    for name, entry in formats().items():
        form: Any = entry
        place = folder / f"large-{name}"
        place.mkdir()
        path = place / f"out{form.suffix.strip('/')}"
        if name in NO_FILE:
            yield f"| {name} | - | - | - | - | {NO_FILE[name]} |"
            continue
        began = time.process_time()
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ExportWarning)
                form.write(tracks, path, **LARGE_OPTIONS.get(name, {}))
        except UsageError as refused:
            yield f"| {name} | - | - | - | - | {refused} |"
            continue
        took = time.process_time() - began
        size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) / 1e6
        reading = ""
        if read and form.reader and name != "blender":
            began = time.process_time()
            Tracks.read(path, name, video=tracks.video)
            reading = f"{time.process_time() - began:.1f}"
        said = "; ".join(dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, ExportWarning)))
        yield f"| {name} | {size:.0f} | {took:.1f} | {took / one:.0f} | {reading} | {said} |"
        shutil.rmtree(place)


def replaced(page: str, mark: str, rows: list[str]) -> str:
    """The page with the lines between <!-- mark --> and <!-- /mark --> changed."""
    head, rest = page.split(f"<!-- {mark} -->\n")
    _, tail = rest.split(f"<!-- /{mark} -->")
    return head + f"<!-- {mark} -->\n" + "\n".join(rows) + f"\n<!-- /{mark} -->" + tail


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", action="store_true", help="write the tables into docs/export/index.md")
    parser.add_argument("--points", type=int, default=5000)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--skip-large", action="store_true", help="only the first table")
    parser.add_argument("--no-read", action="store_true", help="do not time reading, which takes longest")
    arguments = parser.parse_args()
    tables: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExportWarning)
            tables["exactness"] = shown(exactness(Path(name)))
        if not arguments.skip_large:
            tables["speed"] = shown(speed(Path(name), arguments.points, arguments.frames, not arguments.no_read))
    if arguments.docs:
        page = PAGE.read_text("utf-8")
        for mark, rows in tables.items():
            page = replaced(page, mark, rows)
        PAGE.write_text(page, "utf-8")


def shown(rows: Iterator[str]) -> list[str]:
    """The rows, printed as they come."""
    lines = []
    for row in rows:
        print(row, flush=True)
        lines.append(row)
    return lines


if __name__ == "__main__":
    main()
