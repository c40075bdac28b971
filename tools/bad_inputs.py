"""What the command line says to bad input, as a table.

    python tools/bad_inputs.py > docs/reference/bad_inputs.md

Every row is a real run of `tapkit` in a folder with a clip of twelve 128x96 frames called shot/.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

CASES: list[tuple[str, str]] = [
    ("a video that is not there", "track none.mp4"),
    ("a file that is no video", "track notes.txt"),
    ("an empty file", "track empty.mp4"),
    ("a folder without pictures", "track hollow"),
    ("a picture of another size among them", "track mixed"),
    ("a query outside the clip", "track shot --at 99,3,3"),
    ("a query outside the frame", "track shot --at 0,500,3"),
    ("x and y swapped", "track shot --at 0,20,110"),
    ("not a number", "track shot --at 0,nan,3"),
    ("a fraction of a frame", "track shot --at 0.5,3,3"),
    ("a point with two numbers", "track shot --at 0,3"),
    ("points without a header", "track shot --points bare.csv"),
    ("points with text in them", "track shot --points text.csv"),
    ("a mask of another size", "track shot --mask small.png"),
    ("a mask that is no picture", "track shot --mask notes.txt"),
    ("an unknown tracker", "track shot --model lucaskanade"),
    ("an unknown option of a tracker", "track shot --set windw=3"),
    ("weights that are not here", "track shot --model pips2"),
    ("weights of another model", "track shot --model pips2 --weights other.pth"),
    ("weights that are no weights", "track shot --model pips2 --weights notes.txt"),
    ("a device that is not there", "track shot --device cuda:7"),
    ("a budget too small for one point", "track shot --memory 1B"),
    ("a budget that is no size", "track shot --memory lots"),
    ("a place that cannot be written", "track shot -o /proc/none/a.npz"),
    ("an unknown kind of result", "track shot -o a.txt"),
    ("an unknown kind of video", "track shot --overlay a.xyz"),
    ("tracks that are not there", "draw shot none.npz a.mp4"),
    ("tracks that are damaged", "draw shot damaged.npz a.mp4"),
    ("tracks of another video", "draw other tracks.npz a.mp4"),
    ("a live run of an offline tracker", "live shot --model pips2"),
    ("an unknown command", "trak shot"),
]


def pictures(folder: Path) -> None:
    """Videos, points and masks that the cases name."""
    rng = np.random.default_rng(0)
    picture = np.asarray(Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize((200, 96)))
    for name, count in (("shot", 12), ("mixed", 3), ("other", 2)):
        (folder / name).mkdir()
        for t in range(count):
            Image.fromarray(picture[:, 2 * t : 2 * t + 128]).save(folder / name / f"{t:03}.png")
    Image.fromarray(picture[:50, :60]).save(folder / "mixed" / "003.png")
    Image.fromarray(picture[:, :100]).save(folder / "other" / "000.png")
    Image.fromarray(picture[:, :100]).save(folder / "other" / "001.png")
    (folder / "hollow").mkdir()
    (folder / "notes.txt").write_text("Nothing to see here.\n")
    (folder / "empty.mp4").touch()
    (folder / "bare.csv").write_text("0,3,3\n1,4,4\n")
    (folder / "text.csv").write_text("t,x,y\n0,three,3\n")
    Image.fromarray(np.full((10, 10), 255, np.uint8)).save(folder / "small.png")


def prepare(folder: Path) -> None:
    """All files that the cases name."""
    import torch

    pictures(folder)

    torch.save({"a.weight": torch.zeros(2, 2)}, folder / "other.pth")
    run(folder, "track shot --grid 3 -o tracks.npz -q")
    (folder / "damaged.npz").write_bytes((folder / "tracks.npz").read_bytes()[:2000])


def run(folder: Path, arguments: str) -> tuple[int, str]:
    """Exit code and what was said."""
    environment = {**os.environ, "TAPKIT_WEIGHTS": "weights", "TAPKIT_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "tapkit.cli.main", *arguments.split()]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr.strip()


def interrupted(folder: Path) -> tuple[int, str]:
    """Ctrl-C in the middle of a long run, and the same command again."""
    from tapkit.video.samples import sample

    command = [sys.executable, "-m", "tapkit.cli.main", "track", str(sample()), "--grid", "20", "-o", "long.npz"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while not (folder / "long.npz.partial" / "frames.bin").exists():
        time.sleep(0.05)
    time.sleep(0.6)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    again = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    end = "the same command then finished" if again.returncode == 0 else again.stderr
    return process.returncode, said.strip().replace("\n", " / ") + f" ({end})"


def main() -> None:
    print("# What bad input gives\n")
    print("Made by `python tools/bad_inputs.py`; every row is a real run.\n")
    print("| input | command | exit code | what it says |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        rows = [(what, f"`tapkit {arguments}`", *run(folder, arguments)) for what, arguments in CASES]
        rows.append(("Ctrl-C in the middle", "`tapkit track clip.mp4 --grid 20`", *interrupted(folder)))
        for what, command, code, said in rows:
            print(row(folder, what, command, code, said), flush=True)


def row(folder: Path, what: str, command: str, code: int, said: str) -> str:
    """A line of the table."""
    text = said.replace(str(folder), ".").replace("|", "/").splitlines()
    return f"| {what} | {command} | {code} | {' '.join(text).removeprefix('tapkit: ')} |"


if __name__ == "__main__":
    main()
