"""A pool: made once, cut exactly, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapkit.errors import StorageError, UsageError
from tapkit.train.config import Pool, Stage
from tapkit.train.lesson import VALIDATION, Lesson
from tapkit.train.pool import PooledLessons

CPU = torch.device("cpu")
POOL = Pool(clips=3, size=96, frames=9, points=20, speeds=(1.0, 2.0))
PAIRS = Stage(1, 64, 4, 3, 10, task="pairs")
CLIPS = Stage(1, 64, 5, 2, 10)


class Ramps:
    """Red is x, green is y, blue is 20 t: every pixel says where in the clip it was cut, light aside."""

    description = "ramps"

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def lesson(self, stage: Stage, seed: int) -> Lesson:
        self.stages.append(stage)
        size, frames = stage.size, stage.frames
        line = torch.arange(size)
        red, green = line.expand(frames, size, size), line[:, None].expand(frames, size, size)
        blue = (20 * torch.arange(frames))[:, None, None].expand(frames, size, size)
        video = torch.stack([red, green, blue], 1).byte()[None]
        random = torch.Generator().manual_seed(seed % 1000)
        xy = torch.rand(1, stage.points, frames, 2, generator=random) * (size + 20) - 10
        inside = ((xy >= 0) & (xy < size)).all(-1)
        return Lesson(video, xy, inside, torch.ones_like(inside))


@pytest.fixture
def plain_light(monkeypatch):
    monkeypatch.setattr("tapkit.train.pool.random_light", lambda random: (np.ones(3, np.float32), 0.0))
    monkeypatch.setattr("tapkit.train.pool._other_pictures", lambda lesson, random: lesson)
    monkeypatch.setattr(PooledLessons, "_troubled", lambda self, lesson, random: lesson)


@pytest.mark.parametrize("stage", [PAIRS, CLIPS])
@pytest.mark.usefixtures("plain_light")
def test_positions_go_with_the_pixels_through_every_cut_and_turn(tmp_path, stage):
    pool = PooledLessons(Ramps(), POOL, tmp_path, CPU)
    for seed in range(6):
        lesson = pool.lesson(stage, seed)
        assert lesson.video.shape == (stage.batch, stage.frames, 3, 64, 64)
        for b, video in enumerate(lesson.video.int()):
            seen = lesson.visible[b].nonzero()
            assert len(seen) > 3
            for n, t in seen.tolist():
                x, y = lesson.xy[b, n, t].tolist()
                red, green, blue = video[t, :, int(y), int(x)].tolist()
                original = (
                    pool.clip(0).xy[:, blue // 20],
                    pool.clip(1).xy[:, blue // 20],
                    pool.clip(2).xy[:, blue // 20],
                )
                near = [np.abs(np.floor(xy) - [red, green]).max(-1).min() for xy in original]
                assert min(near) <= 1, "the pixel under the point was under a point of the clip"


def test_the_same_seed_gives_the_same_lesson_from_a_new_pool_too(tmp_path):
    first = PooledLessons(Ramps(), POOL, tmp_path / "a", CPU).lesson(CLIPS, 3)
    second = PooledLessons(Ramps(), POOL, tmp_path / "b", CPU).lesson(CLIPS, 3)
    other = PooledLessons(Ramps(), POOL, tmp_path / "b", CPU).lesson(CLIPS, 4)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first.video, other.video)


def test_trouble_changes_the_pictures_in_the_course_of_a_clip_and_at_most_hides_points(tmp_path):
    pool = PooledLessons(Ramps(), POOL, tmp_path, CPU)
    lesson = pool.make.lesson(CLIPS, 3)
    plain = Lesson(*(field[0] for field in lesson))
    changed = [pool._troubled(plain, np.random.default_rng(seed)) for seed in range(60)]
    assert all(torch.equal(one.known, plain.known) for one in changed)
    assert not any((one.visible & ~plain.visible).any() for one in changed)
    assert any((plain.visible & ~one.visible).any() for one in changed)
    differences = torch.stack([(one.video.float() - plain.video.float()).abs().mean((1, 2, 3)) for one in changed])
    assert (differences.amax(1) > 1).sum() >= 20, "often"
    assert (differences.amax(1) == 0).any(), "not always"
    assert (differences.amax(1) - differences.amin(1) > 1).sum() >= 3, "more on some frames than on others"


def test_frames_of_pairs_are_of_different_views_and_pictures(tmp_path):
    lesson = PooledLessons(Ramps(), POOL, tmp_path, CPU).lesson(PAIRS, 0)
    red = lesson.video[:, :, 0].float()
    slopes = (red[:, :, :, -1] - red[:, :, :, 0]).mean(-1)
    assert slopes.std(1).min() > 1, "of another size and turn on each frame"


def test_clips_are_made_once_at_the_speeds_of_the_pool_and_kept(tmp_path):
    make = Ramps()
    pool = PooledLessons(make, POOL, tmp_path, CPU)
    for number in (0, 1, 0, 1):
        pool.clip(number)
    assert [stage.speed for stage in make.stages] == [1.0, 2.0]
    PooledLessons(make, POOL, tmp_path, CPU).clip(1)
    assert len(make.stages) == 2


def test_what_is_measured_on_is_never_of_the_pool(tmp_path):
    make = Ramps()
    PooledLessons(make, POOL, tmp_path, CPU).lesson(CLIPS, VALIDATION)
    assert make.stages == [CLIPS] and not list(tmp_path.iterdir())


def test_more_frames_than_a_clip_has_are_played_there_and_back(tmp_path):
    lesson = PooledLessons(Ramps(), POOL, tmp_path, CPU).lesson(Stage(1, 64, 14, 1, 5), 0)
    assert lesson.video.shape[1] == 14 and lesson.xy.shape == (1, 5, 14, 2)


def test_a_broken_file_and_impossible_settings_are_said(tmp_path):
    pool = PooledLessons(Ramps(), POOL, tmp_path, CPU)
    pool.clip(0)
    (tmp_path / "00000.npy").write_bytes(b"")
    with pytest.raises(StorageError, match="pool"):
        pool.clip(0)
    with pytest.raises(UsageError, match="pool"):
        Pool(clips=0)
