"""Batches: queries at visible frames, the user's clips cropped consistently, synthetic clips of the size wanted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tapkit.datasets.base import Clip
from tapkit.datasets.folder import FolderDataset, write_clip
from tapkit.datasets.frames import ArrayFrames
from tapkit.errors import StorageError, UsageError
from tapkit.train import sources
from tapkit.train.batch import VALIDATION_SEEDS, Batch, sample_queries
from tapkit.train.config import Stage
from tapkit.train.sources import FolderSource, MixedSource, SyntheticSource, whole_clip
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


def test_crops_of_a_users_clip_keep_points_on_what_they_mark(folder):
    source = FolderSource(folder, CPU)
    stage = Stage(1, 64, 6, 4, 1)
    checked = 0
    for seed in range(6):
        batch = source.batch(stage, seed)
        assert batch.video.shape == (4, 6, 3, 64, 64) and batch.video.dtype == torch.uint8
        bright = batch.video.float().mean(2)
        for b, _, t in batch.visible.nonzero().tolist():
            x, y = batch.xy[b, 0, t].tolist()
            if 6 <= x < 58 and 6 <= y < 58:  # the whole square is in the crop
                rows, columns = bright[b, t].sum(1), bright[b, t].sum(0)
                place = torch.arange(64) + 0.5
                assert ((columns * place).sum() / columns.sum()).item() == pytest.approx(x, abs=0.7)
                assert ((rows * place).sum() / rows.sum()).item() == pytest.approx(y, abs=0.7)
                checked += 1
    assert checked > 30


def test_the_same_seed_gives_the_same_batch_and_another_another(folder):
    source, stage = FolderSource(folder, CPU), Stage(1, 64, 6, 2, 3)
    first, again, other = (source.batch(stage, seed) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first[2:], again[2:], strict=True))
    assert torch.equal(first.video, again.video)
    assert not torch.equal(first.video, other.video)
    assert first.xy.shape == (2, 3, 6, 2), "one track, repeated to the number of points"


def test_clips_shorter_than_the_stage_go_back_and_forth(folder):
    batch = FolderSource(folder, CPU).batch(Stage(1, 64, 25, 1, 1), 0)
    assert batch.video.shape[1] == 25


def test_a_folder_without_clips_is_refused(tmp_path):
    with pytest.raises(StorageError, match=r"tracks\.npz"):
        FolderSource(tmp_path, CPU)
    (tmp_path / "bare").mkdir()
    np.savez(tmp_path / "bare" / "tracks.npz", xy=np.zeros((1, 2, 2)), visible=np.zeros((1, 2)))
    with pytest.raises(UsageError, match="no clip to train on"):
        FolderSource(tmp_path, CPU)
    with pytest.raises(StorageError, match="does not exist"):
        FolderSource(tmp_path / "missing", CPU)


def test_a_clip_for_measuring_is_whole_and_scaled_with_its_points(folder):
    clip = FolderDataset(folder).clip("square")
    batch, counted = whole_clip(clip, 128, CPU)
    assert batch.video.shape == (1, 10, 3, 128, 128) and counted.all()
    np.testing.assert_allclose(batch.xy[0].numpy(), clip.xy * [128 / 120, 128 / 80], rtol=1e-6)


def test_synthetic_clips_have_the_stages_shape_and_come_from_the_seed_alone():
    synthetic, stage = SyntheticSource(None, CPU), Stage(1, 64, 5, 2, 16)
    batch, again = synthetic.batch(stage, 3), synthetic.batch(stage, 3)
    assert batch.video.shape == (2, 5, 3, 64, 64) and batch.xy.shape == (2, 16, 5, 2)
    assert batch.known.all() and batch.visible.any(-1).all()
    assert torch.equal(batch.video, again.video) and torch.equal(batch.xy, again.xy)
    assert not torch.equal(batch.xy, synthetic.batch(stage, 4).xy)


class Plain:
    """Clips of one grey level."""

    def __init__(self, level: int) -> None:
        self.level, self.description = level, f"level {level}"

    def batch(self, stage: Stage, seed: int) -> Batch:
        seen = torch.ones(stage.batch, stage.points, stage.frames, dtype=torch.bool)
        video = torch.full((stage.batch, stage.frames, 3, stage.size, stage.size), self.level, dtype=torch.uint8)
        return Batch(video, torch.zeros(*seen.shape, 2), seen, seen)


def test_a_share_of_the_clips_is_of_the_second_source_and_none_in_matching_or_validation():
    mixed, stage = MixedSource(Plain(1), Plain(2), 0.3), Stage(1, 64, 5, 4, 16)
    levels = torch.cat([mixed.batch(stage, seed).video[:, 0, 0, 0, 0] for seed in range(50)])
    assert len(levels) == 200 and 0.2 < (levels == 2).float().mean() < 0.4
    assert torch.equal(mixed.batch(stage, 3).video, mixed.batch(stage, 3).video)
    for other, seed in ((replace(stage, task="matching"), 0), (stage, VALIDATION_SEEDS)):
        assert (mixed.batch(other, seed).video == 1).all()
    with pytest.raises(UsageError, match="between 0 and 1"):
        MixedSource(Plain(1), Plain(2), 1.0)


def test_clips_are_only_augmented_where_that_is_asked_for(folder):
    stage = Stage(1, 64, 5, 6, 3)
    plain, hard = (FolderSource(folder, CPU, augment=augment).batch(stage, 3) for augment in (False, True))
    assert not torch.equal(plain.video, hard.video)
    assert torch.equal(plain.video, FolderSource(folder, CPU).batch(stage, 3).video)


def test_models_of_a_folder_take_the_place_of_built_in_bodies(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    trimesh.creation.icosphere(subdivisions=2).export(tmp_path / "ball.glb")
    synthetic, plain = SyntheticSource(None, CPU, tmp_path), SyntheticSource(None, CPU)
    assert "1 models" in synthetic.description and "built-in" in plain.description
    stage = Stage(1, 64, 3, 4, 16, solids=1.0)
    assert not torch.equal(synthetic.batch(stage, 3).video, plain.batch(stage, 3).video)


def test_a_share_of_the_batches_has_several_large_bodies():
    stage = Stage(1, 64, 3, 1, 8, solids=0.0)
    some, none, all_ = (SyntheticSource(None, CPU) for _ in range(3))
    kinds = []
    for seed in range(8):
        video = some.batch(replace(stage, crowded=0.5), seed).video
        plain, crowded = none.batch(stage, seed).video, all_.batch(replace(stage, crowded=1.0), seed).video
        kinds.append(torch.equal(video, crowded))
        assert kinds[-1] != torch.equal(video, plain)
    assert 0 < sum(kinds) < 8


def test_points_are_queried_where_they_are_visible_or_never():
    generator = torch.Generator().manual_seed(0)
    visible = torch.rand(3, 40, 9, generator=generator) < 0.4
    for _ in range(20):
        queries = sample_queries(visible, generator)
        asked = queries.frame < 9
        assert set(queries.frame[asked].tolist()) <= set(queries.frames) and len(queries.frames) <= 2
        assert visible.gather(2, queries.frame.clamp(max=8)[..., None])[..., 0][asked].all()
        assert (queries.frame[visible[..., 0]] == 0).all()
        assert not asked[~visible[..., : 9 // 2 + 1].any(-1)].any()


@pytest.fixture
def odyssey(tmp_path):
    """A PointOdyssey sequence of 24 frames of 96x128, whose 300 points move by a pixel a frame."""
    place = tmp_path / "train" / "cubes"
    (place / "rgbs").mkdir(parents=True)
    random = np.random.default_rng(0)
    for t in range(24):
        Image.fromarray(random.integers(0, 255, (96, 128, 3), np.uint8)).save(place / "rgbs" / f"rgb_{t:05d}.jpg")
    xy = random.uniform((5, 5), (90, 80), (1, 300, 2)) + np.arange(24)[:, None, None] * (1.0, 0.2)
    seen = random.random((24, 300)) < 0.8
    seen[0] = True
    np.savez(place / "anno.npz", trajs_2d=xy.astype(np.float32), visibs=seen, valids=np.ones_like(seen))
    return tmp_path / "train"


def test_other_annotated_sets_are_trained_on_as_they_are(odyssey):
    source = FolderSource(odyssey, CPU)
    assert source.description == "1 clips of PointOdyssey in train"
    stage = Stage(1, 96, 8, 2, 64, height=64, native=True, paces=(1, 2, 3))
    batches = [source.batch(stage, seed) for seed in range(12)]
    assert all(batch.video.shape == (2, 8, 3, 64, 96) for batch in batches)
    steps = torch.cat([(batch.xy[:, :, 1:] - batch.xy[:, :, :-1]).flatten(0, 2) for batch in batches])
    assert set(steps[:, 0].round().unique().tolist()) == {1.0, 2.0, 3.0}, "native: neither shrunk nor turned"
    torch.testing.assert_close(steps[:, 1], steps[:, 0] / 5, atol=1e-3, rtol=0)


def test_only_the_frames_of_a_piece_are_decoded_of_a_large_clip(odyssey, monkeypatch):
    asked = []
    decode = sources._decoded

    def decoded(clip, first, stop, size):
        asked.append(stop - first)
        return decode(clip, first, stop, size)

    monkeypatch.setattr(sources, "_decoded", decoded)
    stage = Stage(1, 64, 6, 1, 8, native=True)
    small = FolderSource(odyssey, CPU, keep=1000).batch(stage, 4)
    whole = FolderSource(odyssey, CPU).batch(stage, 4)
    assert asked == [6, 24]
    assert torch.equal(small.video, whole.video) and torch.equal(small.xy, whole.xy)
