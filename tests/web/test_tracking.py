"""What the process that tracks says: positions as they come, through anchors, and how far it is."""

from pathlib import Path
from typing import Any

import numbered_clips as clips
import numpy as np
import pytest

import tapkit
from tapkit.engine.control import Cancelled
from tapkit.video import open_video
from tapkit.web import tracking
from tapkit.web.regions import Anchor, Direction, Group
from tapkit.web.tracking import JobControl, track


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", clips.pictures())


def found(clip: Path, *groups: Group, control: JobControl | None = None) -> tuple[dict[int, np.ndarray], list[Any]]:
    """Positions [T,2] by point after the last message about each frame, and all messages."""
    said: list[dict[str, Any]] = []
    with open_video(clip) as source:
        track(tapkit.load("lucas-kanade", device="cpu"), source, groups, control or JobControl(), said.append)
    xy: dict[int, np.ndarray] = {}
    for message in said:
        for point in message.get("points", []):
            values = xy.setdefault(point["id"], np.full((clips.FRAMES, 2), np.nan))
            new = np.array([point["x"], point["y"]], float).T
            known = np.isfinite(new).all(1)
            values[message["start"] : message["stop"]][known] = new[known]
    return xy, said


def truth(t0: int, x: float, y: float) -> np.ndarray:
    t = np.arange(clips.FRAMES)[:, None]
    return np.array([x, y]) + (t - t0) * np.array(clips.STEP)


@pytest.mark.parametrize(("direction", "span"), [("both", (2, 14)), ("forward", (8, 14)), ("backward", (2, 8))])
def test_points_are_followed_over_the_frames_asked_for(clip: Path, direction: Direction, span: tuple[int, int]) -> None:
    xy, said = found(clip, Group(2, 14, direction, ((7, (Anchor(8, 40, 30),)), (9, (Anchor(8, 50, 20),)))))
    known = np.flatnonzero(np.isfinite(xy[7][:, 0]))
    assert (known[0], known[-1]) == span
    for id, start in ((7, (40, 30)), (9, (50, 20))):
        assert np.abs(xy[id] - truth(8, *start))[span[0] : span[1] + 1].max() < 0.5
    last = [message for message in said if message["said"] == "progress"][-1]
    assert last["done"] == last["total"] > 0 and last["rate"] > 0 and last["seconds_left"] == 0


def test_the_path_passes_through_all_anchors(clip: Path) -> None:
    anchors = (Anchor(4, 40, 30), Anchor(16, 63.0, 44.0))  # (-1, 2) off what the picture does
    alone = (Anchor(9, 50, 20),)
    xy, said = found(clip, Group(0, 23, "both", ((1, anchors), (2, alone))))
    assert xy[1][4] == pytest.approx([40, 30]) and xy[1][16] == pytest.approx([63, 44])
    off = (xy[1] - truth(4, 40, 30))[5:16]
    assert (np.diff(off[:, 0]) < 0.3).all() and abs(off[0, 0]) < 0.5  # cross-faded, not jumping
    (point,) = said[-2]["points"]  # the last but how far it is: that of several anchors alone
    apart = np.array(point["disagreement"], float)
    assert point["id"] == 1 and (said[-2]["start"], said[-2]["stop"]) == (4, 17)
    assert np.isnan(apart[[0, -1]]).all() and apart[1:-1] == pytest.approx(5**0.5, abs=0.5)


def test_groups_are_one_job(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "EVERY", 0.0)
    monkeypatch.setattr(tracking, "A_POINT", 0.0)
    one, other = (
        Group(0, 5, "forward", ((1, (Anchor(0, 40, 30),)),)),
        Group(9, 13, "both", ((2, (Anchor(11, 40, 30),)),)),
    )
    xy, said = found(clip, one, other)
    done = [message["done"] for message in said if message["said"] == "progress"]
    assert done == sorted(done) and done[-1] == said[-1]["total"]
    assert np.isfinite(xy[1][:, 0]).sum() == 6 and np.isfinite(xy[2][:, 0]).sum() == 5
    frames = [message for message in said if message["said"] == "positions"]
    assert len(frames) >= 10  # told frame by frame


def test_what_was_found_before_a_cancel_is_told(clip: Path) -> None:
    control = JobControl()
    said: list[dict[str, Any]] = []

    def tell(message: dict[str, Any]) -> None:
        said.append(message)
        if message["said"] == "progress":
            control.cancel()

    group = Group(0, 23, "forward", ((1, (Anchor(0, 40, 30),)),))
    with open_video(clip) as source, pytest.raises(Cancelled):
        track(tapkit.load("lucas-kanade", device="cpu"), source, [group], control, tell)
    told = [message for message in said if message["said"] == "positions"]
    assert told and told[0]["start"] == 0 and told[-1]["stop"] < 23
