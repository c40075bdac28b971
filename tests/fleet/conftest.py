"""Makes `copying` importable, here and in the processes that are started; and videos for the tests that need some."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))


def write_videos(folder: Path, count: int, frames: int = 5) -> Path:
    """Small videos of noise that moves, clip000.mp4 and so on."""
    from tapkit.types import VideoInfo
    from tapkit.video.writer import VideoWriter

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        cells = np.random.default_rng(number).integers(0, 256, (20, 26, 3))
        picture = np.kron(cells, np.ones((4, 4, 1))).astype(np.uint8)
        with VideoWriter(folder / f"clip{number:03d}.mp4", VideoInfo(64, 48, frames=frames)) as writer:
            for t in range(frames):
                writer.write(picture[4 + t : 52 + t, 20 - 2 * t : 84 - 2 * t].copy())
    return folder


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four videos, one of them below, a broken one, and other things."""
    folder = write_videos(tmp_path_factory.mktemp("fleet") / "takes", 4)
    (folder / "monday").mkdir()
    (folder / "clip003.mp4").rename(folder / "monday" / "clip000.mp4")
    (folder / "broken.mp4").write_text("no video")
    (folder / "notes.txt").write_text("nothing")
    (folder / ".hidden.mp4").write_text("none of the footage")
    return folder
