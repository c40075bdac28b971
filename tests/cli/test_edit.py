"""`tapkit edit`, run as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from PIL import Image

from tapkit.types import Queries, Tracks, VideoInfo
from tapkit.video import open_video

SIZE = (72, 96)
QUAD = "30,24,66,24,66,48,30,48"


@pytest.fixture
def shot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight pictures of a texture that moves by (2, 1) pixels a frame, its tracks, a poster and a mask."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    picture = np.asarray(Image.fromarray(random.integers(0, 255, (40, 50, 3), dtype=np.uint8)).resize((200, 160)))
    (tmp_path / "shot").mkdir()
    for t in range(8):
        image = picture[40 - t : 112 - t, 50 - 2 * t : 146 - 2 * t]
        Image.fromarray(image).save(tmp_path / "shot" / f"{t:04d}.png")
    start = random.uniform((10, 10), (76, 60), (80, 2))
    xy = np.stack([start + (2 * t, t) for t in range(8)], 1)
    one = np.ones((80, 8))
    info = VideoInfo(96, 72, frames=8, path=str(tmp_path / "shot"))
    Tracks(xy, one, one, one > 0, Queries.at(0, start), info).save(tmp_path / "t.npz")
    Image.fromarray(np.full((20, 30, 3), (250, 10, 10), np.uint8)).save(tmp_path / "poster.png")
    mask = np.zeros(SIZE, np.uint8)
    mask[24:48, 30:66] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path


def picture(path: str) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_a_sticker_by_the_built_in_tracker(shot: Path) -> None:
    done = run("edit", "sticker", "shot", "poster.png", "out.mp4", "--quad", QUAD, "--end", "4")
    assert done.stdout.split() == ["out.mp4"]
    with open_video("out.mp4") as video:
        assert video.info.frames == 4
        red = video.read(3).image[39, 54].astype(int)  # the middle, moved by (6, 3)
    assert red[0] > 180 and red[1] < 90


def test_a_sticker_on_stored_tracks(shot: Path) -> None:
    run(
        "edit",
        "sticker",
        "shot",
        "poster.png",
        "o/%03d.png",
        "--at",
        "48,36",
        "--tracks",
        "t.npz",
        "--shutter",
        "180",
        "-q",
    )
    assert tuple(picture("o/005.png")[41, 58]) == (250, 10, 10)
    run("edit", "sticker", "shot", "poster.png", "o/%03d.png", "--mask", "mask.png", "--tracks", "t.npz", code=2)
    run(
        "edit", "sticker", "shot", "poster.png", "o/%03d.png", "--mask", "mask.png", "--tracks", "t.npz", "--force",
        "-q", "--follow", "mesh", "--refine", "--adapt", "--stored-light", "--occlusion", "soft", "--smooth", "1",
        "--resampling", "lanczos",
    )  # fmt: skip
    assert picture("o/000.png")[36, 48, 0] > 200


def test_corner_pins_for_other_programs(shot: Path) -> None:
    command = ["edit", "corner-pin", "shot"]
    run(*command, "pin.nk", "--quad", QUAD, "--tracks", "t.npz", "-q")
    assert "CornerPin2D" in (shot / "pin.nk").read_text()
    run(
        *command,
        "pin.txt",
        "--quad",
        QUAD,
        "--tracks",
        "t.npz",
        "-q",
        "--follow",
        "position",
        "--check",
        "-m",
        "lucas-kanade",
    )
    assert "Corner Pin" in (shot / "pin.txt").read_text()
    (shot / "pins.csv").write_text("t,x,y,id\n7,60,31,0\n")
    run(*command, "pin.npz", "--quad", QUAD, "--tracks", "t.npz", "-q", "--pins", "pins.csv")
    found = Tracks.load(shot / "pin.npz")
    assert found.ids.tolist() == ["ul", "ur", "lr", "ll"]
    np.testing.assert_allclose(found.xy[:, 7], [(60, 31), (80, 31), (80, 55), (44, 55)], atol=0.1)
    run(*command, "pin.mocha.txt", "--to", "mocha", "--quad", QUAD, "--tracks", "t.npz", "-q")
    assert "Keyframe Data" in (shot / "pin.mocha.txt").read_text()


def test_a_painted_frame(shot: Path) -> None:
    painted = picture("shot/0003.png").astype(np.uint8)
    painted[30:40, 40:60] = (0, 255, 0)
    Image.fromarray(painted).save("painted.png")
    run("edit", "propagate", "shot", "painted.png", "o/%03d.png", "--frame", "3", "--tracks", "t.npz", "-q")
    found = picture("o/007.png")
    assert tuple(found[40, 58]) == (0, 255, 0)
    assert (found[:20] == picture("shot/0007.png")[:20]).all()


def test_stabilising(shot: Path) -> None:
    command = ["edit", "stabilise", "shot", "o/%03d.png", "--mode", "lock", "--motion", "translation"]
    run(*command, "--crop", "none", "--tracks", "t.npz", "--box", "20,20,70,50")
    assert np.abs(picture("o/005.png")[25:60, 25:70] - picture("shot/0000.png")[25:60, 25:70]).mean() < 3
    done = run("edit", "stabilise", "shot", "steady.mp4", "--tracks", "t.npz")
    assert "enlarged by" in done.stderr


def test_removing(shot: Path) -> None:
    run(
        "edit", "remove", "shot", "removal", "--mask", "mask.png", "--fill", "without.mp4", "--tracks", "t.npz", "-q",
        "--model", "lucas-kanade",
    )  # fmt: skip
    assert len(list((shot / "removal" / "mask").iterdir())) == 8 and (shot / "removal" / "plate.png").exists()
    assert open_video("without.mp4").info.frames == 8


def test_trails(shot: Path) -> None:
    run("edit", "trails", "shot", "t.npz", "o/%03d.png", "--color", "flow", "--dim", "0.5", "--compensate", "-q")
    run("edit", "trails", "shot", "t.npz", "p.mp4", "--compensate", "--mask", "mask.png", "-q")
    assert picture("o/007.png").shape == (*SIZE, 3) and open_video("p.mp4").info.frames == 8


def test_regions(shot: Path) -> None:
    (shot / "v.csv").write_text("t,x,y,id\n4,44,30,0\n")
    run(
        "edit", "region", "shot", "r.json", "--polygon", "30,24,66,24,50,48", "--vertices", "v.csv", "--tracks",
        "t.npz", "--tracks-out", "v.npz", "--stmap", "st/a.####.exr", "-q",
    )  # fmt: skip
    frames = json.loads((shot / "r.json").read_text())["frames"]
    np.testing.assert_allclose(frames[4]["polygon"], [(44, 30), (74, 28), (58, 52)], atol=0.1)
    assert Tracks.load(shot / "v.npz").keyframe[0, 4]  # type: ignore[index]
    assert len(list((shot / "st").glob("a.*.exr"))) == 8
    run("edit", "region", "shot", "b.json", "--box", "30,24,66,48", "--tracks", "t.npz", "-q")


def test_masks(shot: Path) -> None:
    run("edit", "mask", "shot", "mask.png", "m/%03d.png", "--tracks", "t.npz", "-q")
    found = picture("m/006.png")[..., 0] > 127
    assert abs(int(found.sum()) - 24 * 36) < 90 and found[42, 60] and not found[20, 20]


def test_exports_are_refined_if_asked(shot: Path) -> None:
    stored = Tracks.load(shot / "t.npz")
    noisy = np.array(stored.xy)
    noisy[:, 1:] += np.random.default_rng(0).normal(0, 1, noisy[:, 1:].shape)
    stored.with_(xy=noisy).save(shot / "noisy.npz")
    run("export", "noisy.npz", "plain.csv", "--to", "csv", "-q")
    run("export", "noisy.npz", "fine.csv", "--to", "csv", "--refine", "-q")
    gap = {}
    for name in ("plain", "fine"):
        found = Tracks.load(shot / f"{name}.csv")
        inside = ((stored.xy > 14) & (stored.xy < (82, 58))).all(-1)
        gap[name] = np.hypot(*np.moveaxis(found.xy - stored.xy, -1, 0))[inside]
    assert np.median(gap["fine"]) < 0.25 * np.median(gap["plain"])


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("sticker shot poster.png o.mp4", 2, "say where the picture goes"),
        ("sticker shot poster.png o.mp4 --at 5,5 --at 6,6 --at 7,7", 2, "once or twice"),
        ("sticker shot poster.png o.mp4 --at 5", 2, "--at takes 2 numbers"),
        ("sticker shot poster.png o.mp4 --quad 1,2,3", 2, "--quad takes 8 numbers"),
        ("sticker none.mp4 poster.png o.mp4 --at 5,5", 3, "there is no file none.mp4"),
        ("sticker shot none.png o.mp4 --at 5,5", 6, "none.png does not exist"),
        ("sticker shot poster.png o.xyz --at 40,40 --tracks t.npz", 2, "not as .xyz"),
        ("sticker shot poster.png o.mp4 --at 40,40 --model stand", 2, "strand"),
        ("sticker shot poster.png o.mp4 --at 40,40 --frame 8 --tracks t.npz", 2, "there is no frame 8"),
        ("sticker camera:0 poster.png o.mp4 --at 40,40", 3, "camera"),
        ("corner-pin shot o.nk", 2, "say which surface"),
        ("corner-pin shot o.nk --to nothing --quad 1,1,9,1,9,9,1,9", 2, "no format"),
        ("propagate shot shot/0000.png o.mp4 --tracks t.npz", 2, "nothing was changed"),
        ("remove shot removal", 2, "--mask with a picture of it"),
        ("region shot o.json", 2, "a polygon, a box or a mask"),
        ("region shot o.json --polygon 1,2,3", 2, "three of them at least"),
        ("mask shot poster.png o.mp4 --tracks t.npz", 2, "the mask is 30x20, the video 96x72"),
        ("stabilise shot o.mp4 --box 1,2,3 --tracks t.npz", 2, "--box takes 4 numbers"),
        ("trails shot t.npz o.mp4 --length 0", 2, "--length"),
        ("sticker shot poster.png shot/%04d.png --at 40,40 --force", 2, "is a part of shot"),
    ],
)
def test_bad_usage_is_a_sentence(shot: Path, command: str, code: int, said: str) -> None:
    done = run("edit", *command.split(), code=code)
    assert said in " ".join(done.stderr.split())
    assert not any((shot / name).exists() for name in ("o.mp4", "o.nk", "o.json", "removal", "o.xyz"))
