"""Lessons: queries that can be asked, the user's clips cut consistently, made clips of the size that was asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tapkit.datasets.base import Clip
from tapkit.datasets.folder import FolderDataset, write_clip
from tapkit.datasets.frames import ArrayFrames
from tapkit.errors import StorageError, UsageError
from tapkit.train.config import Stage
from tapkit.train.data import FolderLessons, MadeLessons, MixedLessons, whole_clip
from tapkit.train.lesson import VALIDATION, Lesson, choose_queries
from tapkit.types import VideoInfo

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    """One clip, 80x120, 10 frames: a white square of 13 pixels on black that moves; its centre is the only track."""
    xy = np.stack([20.5 + 8 * np.arange(10), 20.5 + 4 * np.arange(10)], -1)[None].astype(np.float32)
    video = np.zeros((10, 80, 120, 3), np.uint8)
    for t, (x, y) in enumerate(xy[0].astype(int)):
        video[t, y - 6 : y + 7, x - 6 : x + 7] = 255
    visible = np.ones((1, 10), bool)
    visible[0, 4] = False
    clip = Clip("square", xy, visible, (80, 120), lambda: ArrayFrames(video, VideoInfo(120, 80, frames=10)))
    write_clip(tmp_path / "square", clip)
    return tmp_path


def test_cuts_of_a_users_clip_keep_points_on_what_they_mark(folder):
    lessons = FolderLessons(folder, CPU)
    stage = Stage(1, 64, 6, 4, 1)
    checked = 0
    for seed in range(6):
        lesson = lessons.lesson(stage, seed)
        assert lesson.video.shape == (4, 6, 3, 64, 64) and lesson.video.dtype == torch.uint8
        bright = lesson.video.float().mean(2)
        for b, _, t in lesson.visible.nonzero().tolist():
            x, y = lesson.xy[b, 0, t].tolist()
            if 6 <= x < 58 and 6 <= y < 58:  # the whole square is in the cut
                rows, columns = bright[b, t].sum(1), bright[b, t].sum(0)
                place = torch.arange(64) + 0.5
                assert ((columns * place).sum() / columns.sum()).item() == pytest.approx(x, abs=0.7)
                assert ((rows * place).sum() / rows.sum()).item() == pytest.approx(y, abs=0.7)
                checked += 1
    assert checked > 30


def test_the_same_seed_gives_the_same_lesson_and_another_another(folder):
    lessons, stage = FolderLessons(folder, CPU), Stage(1, 64, 6, 2, 3)
    first, again, other = (lessons.lesson(stage, seed) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first[2:], again[2:], strict=True))
    assert torch.equal(first.video, again.video)
    assert not torch.equal(first.video, other.video)
    assert first.xy.shape == (2, 3, 6, 2), "one track, repeated to the number of points"


def test_clips_shorter_than_the_stage_go_back_and_forth(folder):
    lesson = FolderLessons(folder, CPU).lesson(Stage(1, 64, 25, 1, 1), 0)
    assert lesson.video.shape[1] == 25


def test_a_folder_without_clips_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"tracks\.npz"):
        FolderLessons(tmp_path, CPU)
    with pytest.raises(StorageError, match="not a folder"):
        FolderLessons(tmp_path / "missing", CPU)


def test_a_clip_for_measuring_is_whole_and_scaled_with_its_points(folder):
    clip = FolderDataset(folder).clip("square")
    lesson, counted = whole_clip(clip, 128, CPU)
    assert lesson.video.shape == (1, 10, 3, 128, 128) and counted.all()
    np.testing.assert_allclose(lesson.xy[0].numpy(), clip.xy * [128 / 120, 128 / 80], rtol=1e-6)


def test_made_clips_have_the_stages_shape_and_come_from_the_seed_alone():
    made, stage = MadeLessons(None, CPU), Stage(1, 64, 5, 2, 16)
    lesson, again = made.lesson(stage, 3), made.lesson(stage, 3)
    assert lesson.video.shape == (2, 5, 3, 64, 64) and lesson.xy.shape == (2, 16, 5, 2)
    assert lesson.known.all() and lesson.visible.any(-1).all()
    assert torch.equal(lesson.video, again.video) and torch.equal(lesson.xy, again.xy)
    assert not torch.equal(lesson.xy, made.lesson(stage, 4).xy)


class Plain:
    """Clips of one grey level."""

    def __init__(self, level: int) -> None:
        self.level, self.description = level, f"level {level}"

    def lesson(self, stage: Stage, seed: int) -> Lesson:
        seen = torch.ones(stage.batch, stage.points, stage.frames, dtype=torch.bool)
        video = torch.full((stage.batch, stage.frames, 3, stage.size, stage.size), self.level, dtype=torch.uint8)
        return Lesson(video, torch.zeros(*seen.shape, 2), seen, seen)


def test_a_share_of_the_clips_is_of_the_second_kind_and_none_of_pairs_or_of_what_is_measured_on():
    mixed, stage = MixedLessons(Plain(1), Plain(2), 0.3), Stage(1, 64, 5, 4, 16)
    levels = torch.cat([mixed.lesson(stage, seed).video[:, 0, 0, 0, 0] for seed in range(50)])
    assert len(levels) == 200 and 0.2 < (levels == 2).float().mean() < 0.4
    assert torch.equal(mixed.lesson(stage, 3).video, mixed.lesson(stage, 3).video)
    for other, seed in ((replace(stage, task="pairs"), 0), (stage, VALIDATION)):
        assert (mixed.lesson(other, seed).video == 1).all()
    with pytest.raises(UsageError, match="between 0 and 1"):
        MixedLessons(Plain(1), Plain(2), 1.0)


def test_trouble_is_only_made_where_it_is_asked_for(folder):
    stage = Stage(1, 64, 5, 6, 3)
    plain, hard = (FolderLessons(folder, CPU, trouble=trouble).lesson(stage, 3) for trouble in (False, True))
    assert not torch.equal(plain.video, hard.video)
    assert torch.equal(plain.video, FolderLessons(folder, CPU).lesson(stage, 3).video)


def test_models_of_a_folder_take_the_place_of_built_in_bodies(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    trimesh.creation.icosphere(subdivisions=2).export(tmp_path / "ball.glb")
    made, plain = MadeLessons(None, CPU, tmp_path), MadeLessons(None, CPU)
    assert "1 models" in made.description and "built-in" in plain.description
    stage = Stage(1, 64, 3, 4, 16, solids=1.0)
    assert not torch.equal(made.lesson(stage, 3).video, plain.lesson(stage, 3).video)


def test_points_are_asked_for_where_they_are_visible_or_never():
    generator = torch.Generator().manual_seed(0)
    visible = torch.rand(3, 40, 9, generator=generator) < 0.4
    for _ in range(20):
        queries = choose_queries(visible, generator)
        asked = queries.frame < 9
        assert set(queries.frame[asked].tolist()) <= set(queries.frames) and len(queries.frames) <= 2
        assert visible.gather(2, queries.frame.clamp(max=8)[..., None])[..., 0][asked].all()
        assert (queries.frame[visible[..., 0]] == 0).all()
        assert not asked[~visible[..., : 9 // 2 + 1].any(-1)].any()
