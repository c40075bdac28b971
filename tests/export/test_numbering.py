"""Rates, first frames and file names: what the file, the footage and the caller say, each where it counts."""

from __future__ import annotations

import json
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from example_clip import three_tracks
from PIL import Image

from tapkit.cli.import_ import import_tracks
from tapkit.errors import UsageError, VideoWarning
from tapkit.export import ExportWarning
from tapkit.export.context import ReadWarning
from tapkit.types import Queries, Tracks, VideoInfo
from tapkit.video import open_video


def sequence(folder: Path, first: int = 0, count: int = 12, name: str = "{:04d}.png") -> Path:
    folder.mkdir()
    for number in range(first, first + count):
        Image.new("RGB", (320, 180), (number % 200, 0, 0)).save(folder / name.format(number))
    return folder


def imported(file: Path, **options: object) -> Tracks:
    """What `tapkit import` makes of it."""
    target = file.with_name("back.npz")
    import_tracks(file, target, **{"force": True, "quiet": True, **options})  # type: ignore[arg-type]
    return Tracks.load(target)


def test_the_rate_is_the_callers_else_the_videos_else_the_files(tmp_path: Path) -> None:
    shot = sequence(tmp_path / "shot")  # which has no rate: 25 is assumed
    file = three_tracks(path=str(shot)).to_ae(tmp_path / "a.txt")  # which says 23.976
    assert imported(file, form="ae", video=str(shot)).video.fps == Fraction(24000, 1001)
    assert imported(file, form="ae", video=str(shot), fps="30").video.fps == 30
    assert imported(file, form="ae", size="320x180", frames=12).video.fps == Fraction(24000, 1001)
    words = three_tracks().to_3de(tmp_path / "b.txt")  # which says nothing
    assert imported(words, form="3de", video=str(shot)).video.fps == 25
    assert imported(words, form="3de", video=str(shot), fps="24000/1001").video.fps == Fraction(24000, 1001)


def test_the_rate_of_a_video_file_counts(tmp_path: Path) -> None:
    from tapkit.video.writer import VideoWriter

    info = VideoInfo(320, 180, Fraction(30), 12)
    with VideoWriter(tmp_path / "v.mp4", info) as writer:
        for _ in range(12):
            writer.write(np.zeros((180, 320, 3), np.uint8))
    file = three_tracks().to_ae(tmp_path / "a.txt")
    assert imported(file, form="ae", video=str(tmp_path / "v.mp4")).video.fps == 30


@pytest.mark.parametrize("options", [{"frames": 5}, {"size": "10x10"}])
def test_options_that_say_the_same_thing_twice_are_refused(options: dict, tmp_path: Path) -> None:
    file, shot = three_tracks().to_3de(tmp_path / "a.txt"), sequence(tmp_path / "shot")
    with pytest.raises(UsageError, match="--video"):
        imported(file, form="3de", video=str(shot), **options)
    three_tracks().save(tmp_path / "t.npz")
    with pytest.raises(UsageError, match="--original"):
        imported(file, form="3de", original=tmp_path / "t.npz", **options)


@pytest.mark.parametrize(("first", "start"), [(1001, 1001), (1005, 1001), (993, 993), (1, 1)])
def test_a_shot_numbered_as_in_film_is_as_long_as_its_keys(first: int, start: int, tmp_path: Path) -> None:
    tracks = three_tracks()
    path = tracks.write(tmp_path / "a.nk", "nuke", start_frame=first)  # a node alone: it says no first frame
    if first == 1:
        back = Tracks.read(path, "nuke")
    else:
        with pytest.warns(ReadWarning, match=f"begin at {first}.*{start} was taken"):
            back = Tracks.read(path, "nuke")
        assert back.video.start_frame == start
    assert back.frames == 12 + first - start
    shown = tracks.visible_at()
    np.testing.assert_allclose(back.xy[:, first - start :][shown], tracks.xy[shown], atol=1e-3)
    assert Tracks.read(path, "nuke", start_frame=first).frames == 12
    if first != 1:
        again = back.write(tmp_path / "b.nk", "nuke").read_text()
        assert f"x{first} " in again, "exported again, the numbers are those of the shot"


def test_a_late_first_key_is_said_where_it_may_be_the_clips_beginning(tmp_path: Path) -> None:
    path = three_tracks().write(tmp_path / "a.nk", "nuke", start_frame=86_401)
    with pytest.warns(ReadWarning, match="begin at 86401.*--start-frame"):
        assert Tracks.read(path, "nuke").frames == 86_412


def test_occluded_positions_are_in_sleaps_analysis_if_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("sleap_io")
    h5py = pytest.importorskip("h5py")
    tracks = three_tracks()
    for when, expected in ((None, tracks.visible_at()), ("valid", tracks.valid)):
        path = tracks.write(tmp_path / f"{when}.analysis.h5", "sleap-analysis", when=when)
        with h5py.File(path) as file:
            found = file["tracks"][0].transpose(1, 2, 0) + 0.5
        assert np.array_equal(np.isfinite(found[..., 0]), expected)
        np.testing.assert_allclose(found[expected], tracks.xy[expected], atol=1e-3)


def names_of_images(path: Path) -> list[str]:
    """Column 10 of every other line of images.txt."""
    return [line.split(maxsplit=9)[9] for line in (path / "images.txt").read_text().splitlines()[2::2]]


def test_colmaps_images_are_called_as_the_files_of_the_sequence(tmp_path: Path) -> None:
    shot = sequence(tmp_path / "shot", 1001, 24, "plate_v2.{:05d}.png")
    whole = np.full((1, 24, 2), 9.5)

    def tracks(start: int, frames: int, fps: Fraction) -> Tracks:
        xy = whole[:, :frames]
        every = np.ones((1, frames))
        video = VideoInfo(320, 180, fps, frames, start_frame=1001 + start, path=str(shot))
        return Tracks(xy, every, every, every > 0, Queries.at(0, xy[:, 0]), video)

    for start, step, count in ((0, 1, 24), (4, 1, 6), (3, 2, 5)):
        path = tracks(start, count, Fraction(25, step)).to_colmap(tmp_path / f"model{start}{step}")
        expected = [f"plate_v2.{1001 + start + k * step:05d}.png" for k in range(count)]
        assert names_of_images(path) == expected
    named = tracks(0, 24, Fraction(25)).to_colmap(tmp_path / "named", image="f{:03d}.jpg")
    assert names_of_images(named)[:2] == ["f000.jpg", "f001.jpg"]
    gone = three_tracks(path=str(tmp_path / "gone")).to_colmap(tmp_path / "gone_model")
    assert names_of_images(gone)[0] == "000000.png"


def test_blanks_in_names_do_not_break_colmaps_lines(tmp_path: Path) -> None:
    shot = sequence(tmp_path / "shot", name="a shot {:04d}.png")
    with pytest.warns(UserWarning, match="no blanks"):
        path = three_tracks(path=str(shot)).to_colmap(tmp_path / "model")
    assert names_of_images(path)[0] == "a_shot_0000.png"
    import sqlite3

    database = three_tracks(path=str(shot)).write(tmp_path / "a.db", "colmap-database", version="3")
    with sqlite3.connect(database) as opened:
        assert next(opened.execute("SELECT name FROM images ORDER BY image_id"))[0] == "a shot 0000.png"


def test_frames_that_lie_apart_in_the_footage_are_told_of(tmp_path: Path) -> None:
    shot = tmp_path / "shot"
    shot.mkdir()
    for number in range(1001, 1013, 2):
        Image.new("RGB", (320, 180)).save(shot / f"sh.{number}.png")
    with pytest.warns(VideoWarning, match="steps of 2"):
        apart = open_video(str(shot))
    every = sequence(tmp_path / "every")
    for source, step in ((apart, 2), (open_video(every, step=3), 3), (open_video(every, start=2), 1)):
        xy = np.full((1, source.info.frames or 0, 2), 9.5)
        full = np.ones(xy.shape[:2])
        tracks = Tracks(xy, full, full, full > 0, Queries.at(0, xy[:, 0]), source.info)
        tracks.save(tmp_path / f"{step}.npz")
        stored = Tracks.load(tmp_path / f"{step}.npz")
        assert stored.video.frame_step == stored.time(1, 3).video.frame_step == step
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            stored.to_nuke(tmp_path / f"{step}.nk")
        assert [str(w.message) for w in said if f"lie {step} numbers apart" in str(w.message)] != [] or step == 1
        assert said == [] or step > 1
        with warnings.catch_warnings():
            warnings.simplefilter("error", ExportWarning)
            stored.to_coco(tmp_path / f"{step}.json")  # which names the files: nothing can be mistaken


def test_cocos_images_are_called_as_the_files_of_the_sequence(tmp_path: Path) -> None:
    shot = sequence(tmp_path / "shot", 1001, 12, "a plate_v2.{:05d}.png")

    def names(file: Path) -> list[str]:
        return [image["file_name"] for image in json.loads(file.read_text())["images"]]

    tracks = three_tracks(path=str(shot), start_frame=1001)
    path = tracks.to_coco(tmp_path / "a.json")
    assert names(path) == [f"a plate_v2.{n:05d}.png" for n in range(1001, 1013)]
    back = Tracks.read(path, "coco")
    assert back.video.start_frame == json.loads(path.read_text())["images"][0]["frame"]
    np.testing.assert_allclose(back.xy[back.valid], tracks.xy[tracks.valid], atol=1e-3)
    assert names(tracks.to_coco(tmp_path / "b.json", image="f{:03d}.jpg"))[0].endswith(".jpg")
    gone = three_tracks(path=str(tmp_path / "gone")).to_coco(tmp_path / "c.json")
    assert names(gone)[:2] == ["000000.png", "000001.png"]
