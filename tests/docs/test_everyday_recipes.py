"""What the recipes of the how-to pages come to, not only that they run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapkit import registry
from tapkit.video import open_video
from tapkit.video.samples import sample
from tapkit.video.writer import VideoWriter

PAGES = Path(__file__).parents[2] / "docs/how-to"


def shot(path: Path, *parts: tuple[str, int, int]) -> Path:
    """A clip of frames start..stop of sample clips, one after another."""
    with open_video(sample(parts[0][0])) as source:
        info = source.info
    with VideoWriter(path, info) as writer:
        for name, start, stop in parts:
            with open_video(sample(name)) as source:
                for frame in source.frames(start, stop, size=info.size):
                    writer.write(frame.image)
    return path


def run(page: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    """The names that a page leaves behind."""
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "page"}
    for block in re.findall(r"<!-- run -->\n```python\n(.*?)\n```", (PAGES / page).read_text(encoding="utf-8"), re.S):
        exec(compile(block, page, "exec"), names)
    return names


def test_the_camera_loop_keeps_its_points_through_lost_frames_and_a_cut(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shot(tmp_path / "clip.mp4", ("blocks", 0, 12), ("rabbit", 0, 8))
    names = run("camera-loop.md", monkeypatch, tmp_path)
    session, counts = names["session"], names["counts"]
    assert session.dropped == 2 and [tuple(gap) for gap in session.gaps] == [(4, 2)]
    assert session.cuts == (10,) and session.number_of(10) == 12
    assert len(counts) == 18 and min(counts) >= 30 and max(counts) <= 40
    assert len(session.names) > 60, "points of the second scene are new ones"


def test_training_through_the_network_lowers_its_loss_and_gives_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shot(tmp_path / "clip.mp4", ("blocks", 0, 9))
    names = run("train-through.md", monkeypatch, tmp_path)
    losses = names["losses"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert len(names["tracks"]) == 1 and (tmp_path / "mine.pt").is_file()


def test_a_registered_function_tracks_and_a_batch_is_tracked_one_by_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shot(tmp_path / "clip.mp4", ("blocks", 0, 9))
    names = run("register.md", monkeypatch, tmp_path)
    assert "drift" not in registry.cards() and registry.card("still").streaming == "offline"
    np.testing.assert_allclose(names["tracks"].xy[0], np.tile([[100, 41]], (9, 1)))
