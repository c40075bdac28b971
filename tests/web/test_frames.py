"""Frames by number: the right picture under every number, kept, read ahead, and refused with a sentence."""

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numbered_clips as clips
import numpy as np
import pytest
from PIL import Image

from tapkit.errors import UsageError, VideoError
from tapkit.video import open_video
from tapkit.web.frames import Frames


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", clips.pictures())


@pytest.fixture
def frames() -> Iterator[Frames]:
    made = Frames(busy=lambda: True)
    yield made
    made.close()


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("height", [None, 32, 48, 64])
def test_every_number_has_its_own_picture_in_any_order(frames: Frames, clip: Path, height: int | None) -> None:
    order = [5, 4, 3, 20, 21, 0, 23, 22, 7, 7, 1, 12, 11]
    said = [clips.number_in(decoded(frames.picture(str(clip), "a", t, height).data)) for t in order]
    assert said == order


def test_threads_that_ask_at_once_get_what_they_asked_for(frames: Frames, clip: Path) -> None:
    wrong: list[int] = []

    def ask(seed: int) -> None:
        for t in np.random.default_rng(seed).integers(0, clips.FRAMES, 12):
            if clips.number_in(decoded(frames.picture(str(clip), "a", int(t), 32 + seed).data)) != t:
                wrong.append(int(t))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_full_pictures_are_exact(frames: Frames, clip: Path) -> None:
    with open_video(clip) as source:
        for t in (9, 2):
            picture = frames.picture(str(clip), "a", t, full=True)
            assert picture.kind == "image/png"
            assert np.array_equal(decoded(picture.data), source.read(t).image)


def test_neighbours_are_read_ahead_in_the_direction_of_travel(frames: Frames, clip: Path) -> None:
    def kept(*numbers: int) -> bool:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            if all(frames.kept.has(("a", t, 64)) for t in numbers):
                return True
            time.sleep(0.01)
        return False

    frames.picture(str(clip), "a", 12)
    assert kept(13, 14, 23) and not frames.kept.has(("a", 11, 64))
    frames.picture(str(clip), "a", 11)
    assert kept(10, 9, 0)


def test_what_is_kept_is_bounded(clip: Path) -> None:
    frames = Frames(capacity=6000)
    for t in range(clips.FRAMES):
        frames.picture(str(clip), "a", t, 32)
    assert 0 < frames.kept.bytes <= 6000
    frames.close()


def test_a_folder_of_pictures_is_a_clip(frames: Frames, tmp_path: Path) -> None:
    for t, picture in enumerate(clips.pictures(3)):
        Image.fromarray(picture).save(tmp_path / f"{t:03d}.png")
    assert [clips.number_in(decoded(frames.picture(str(tmp_path), "b", t).data)) for t in (2, 0, 1)] == [2, 0, 1]


def test_what_cannot_be_shown_is_said(frames: Frames, tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "clip.mp4", clips.pictures(4))
    with pytest.raises(UsageError, match="frame 4 is not in the video"):
        frames.picture(str(clip), "a", 4)
    with pytest.raises(UsageError, match="height"):
        frames.picture(str(clip), "a", 0, 0)
    clips.write_clip(clip, clips.pictures(6))
    with pytest.raises(VideoError, match=r"clip\.mp4 was changed"):
        frames.picture(str(clip), "a", 0)
    assert clips.number_in(decoded(frames.picture(str(clip), "its new hash", 5).data)) == 5
    clip.unlink()
    with pytest.raises(VideoError, match="moved or deleted"):
        frames.picture(str(clip), "a", 1)
