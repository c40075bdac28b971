"""A clip cache: synthesised once, cropped exactly, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapkit.errors import StorageError, UsageError
from tapkit.train.batch import VALIDATION_SEEDS, Batch
from tapkit.train.cache import CachedClip, CachedSource, beside_others
from tapkit.train.config import ClipCache, Stage

CPU = torch.device("cpu")
CACHE = ClipCache(clips=3, size=96, frames=9, points=20, speeds=(1.0, 2.0))
MATCHING = Stage(1, 64, 4, 3, 10, task="matching")
TRACKING = Stage(1, 64, 5, 2, 10)


class Ramps:
    """Red is x, green is y, blue is 20 t: every pixel says where in the clip it is from, exposure aside."""

    description = "ramps"

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def batch(self, stage: Stage, seed: int) -> Batch:
        self.stages.append(stage)
        size, frames = stage.size, stage.frames
        line = torch.arange(size)
        red, green = line.expand(frames, size, size), line[:, None].expand(frames, size, size)
        blue = (20 * torch.arange(frames))[:, None, None].expand(frames, size, size)
        video = torch.stack([red, green, blue], 1).byte()[None]
        random = torch.Generator().manual_seed(seed % 1000)
        xy = torch.rand(1, stage.points, frames, 2, generator=random) * (size + 20) - 10
        inside = ((xy >= 0) & (xy < size)).all(-1)
        return Batch(video, xy, inside, torch.ones_like(inside))


@pytest.fixture
def constant_exposure(monkeypatch):
    monkeypatch.setattr("tapkit.train.cache.random_exposure", lambda random: (np.ones(3, np.float32), 0.0))
    monkeypatch.setattr("tapkit.train.cache._augment_frames", lambda part, random: part)
    monkeypatch.setattr(CachedSource, "_augment_clip", lambda self, part, random: part)


@pytest.mark.parametrize("stage", [MATCHING, TRACKING])
@pytest.mark.usefixtures("constant_exposure")
def test_positions_go_with_the_pixels_through_every_crop_and_flip(tmp_path, stage):
    cache = CachedSource(Ramps(), CACHE, tmp_path, CPU)
    for seed in range(6):
        batch = cache.batch(stage, seed)
        assert batch.video.shape == (stage.batch, stage.frames, 3, 64, 64)
        for b, video in enumerate(batch.video.int()):
            seen = batch.visible[b].nonzero()
            assert len(seen) > 3
            for n, t in seen.tolist():
                x, y = batch.xy[b, n, t].tolist()
                red, green, blue = video[t, :, int(y), int(x)].tolist()
                original = (
                    cache.clip(0).xy[:, blue // 20],
                    cache.clip(1).xy[:, blue // 20],
                    cache.clip(2).xy[:, blue // 20],
                )
                near = [np.abs(np.floor(xy) - [red, green]).max(-1).min() for xy in original]
                assert min(near) <= 1, "the pixel under the point was under a point of the clip"


def test_the_same_seed_gives_the_same_batch_from_a_new_cache_too(tmp_path):
    first = CachedSource(Ramps(), CACHE, tmp_path / "a", CPU).batch(TRACKING, 3)
    second = CachedSource(Ramps(), CACHE, tmp_path / "b", CPU).batch(TRACKING, 3)
    other = CachedSource(Ramps(), CACHE, tmp_path / "b", CPU).batch(TRACKING, 4)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first.video, other.video)


def test_augmentation_changes_frames_in_the_course_of_a_clip_and_at_most_occludes_points(tmp_path):
    cache = CachedSource(Ramps(), CACHE, tmp_path, CPU)
    batch = cache.source.batch(TRACKING, 3)
    plain = Batch(*(field[0] for field in batch))
    changed = [cache._augment_clip(plain, np.random.default_rng(seed)) for seed in range(60)]
    assert all(torch.equal(one.known, plain.known) for one in changed)
    assert not any((one.visible & ~plain.visible).any() for one in changed)
    assert any((plain.visible & ~one.visible).any() for one in changed)
    differences = torch.stack([(one.video.float() - plain.video.float()).abs().mean((1, 2, 3)) for one in changed])
    assert (differences.amax(1) > 1).sum() >= 20, "often"
    assert (differences.amax(1) == 0).any(), "not always"
    assert (differences.amax(1) - differences.amin(1) > 1).sum() >= 3, "more on some frames than on others"


def test_frames_of_matching_batches_have_different_views(tmp_path):
    batch = CachedSource(Ramps(), CACHE, tmp_path, CPU).batch(MATCHING, 0)
    red = batch.video[:, :, 0].float()
    slopes = (red[:, :, :, -1] - red[:, :, :, 0]).mean(-1)
    assert slopes.std(1).min() > 1, "of another size and turn on each frame"


def test_clips_are_synthesised_once_at_the_speeds_of_the_cache_and_kept(tmp_path):
    source = Ramps()
    cache = CachedSource(source, CACHE, tmp_path, CPU)
    for number in (0, 1, 0, 1):
        cache.clip(number)
    assert [stage.speed for stage in source.stages] == [1.0, 2.0]
    CachedSource(source, CACHE, tmp_path, CPU).clip(1)
    assert len(source.stages) == 2


def test_validation_clips_are_never_of_the_cache(tmp_path):
    source = Ramps()
    CachedSource(source, CACHE, tmp_path, CPU).batch(TRACKING, VALIDATION_SEEDS)
    assert source.stages == [TRACKING] and not list(tmp_path.iterdir())


def test_more_frames_than_a_clip_has_are_played_forwards_and_backwards(tmp_path):
    batch = CachedSource(Ramps(), CACHE, tmp_path, CPU).batch(Stage(1, 64, 14, 1, 5), 0)
    assert batch.video.shape[1] == 14 and batch.xy.shape == (1, 5, 14, 2)


def test_stages_longer_than_its_clips_have_the_long_ones_if_there_are_any(tmp_path):
    ramps, cache = Ramps(), ClipCache(3, 96, 9, 20, (1.0, 2.0), crowded=0.5, long=2, long_frames=12)
    source = CachedSource(ramps, cache, tmp_path, CPU)
    for seed in range(8):
        source.batch(TRACKING, seed)
    assert {stage.frames for stage in ramps.stages} == {9} and len(ramps.stages) == 3
    for seed in range(8):
        batch = source.batch(Stage(1, 64, 11, 1, 5), seed)
        assert batch.video.shape[1] == 11
    long = ramps.stages[3:]
    assert {stage.frames for stage in long} == {12}
    assert sorted(path.stem for path in tmp_path.glob("*.npy")) == [f"{number:05d}" for number in range(5)]
    assert len(source.clip(4).video) == 12 and source.clip(4).xy.shape == (20, 12, 2)
    assert len(ramps.stages) == 5, "each once"


@pytest.mark.usefixtures("constant_exposure")
def test_pieces_of_long_clips_are_successive_frames(tmp_path):
    source = CachedSource(Ramps(), ClipCache(3, 96, 9, 20, long=1, long_frames=12), tmp_path, CPU)
    for seed in range(4):
        blue = source.batch(Stage(1, 64, 11, 1, 5), seed).video[0, :, 2, 0, 0].int()
        assert (blue.diff() == 20).all() or (blue.diff() == -20).all(), "not forwards and backwards"


def test_a_broken_file_and_impossible_settings_are_said(tmp_path):
    cache = CachedSource(Ramps(), CACHE, tmp_path, CPU)
    cache.clip(0)
    (tmp_path / "00000.npy").write_bytes(b"")
    with pytest.raises(StorageError, match="cache"):
        cache.clip(0)
    with pytest.raises(UsageError, match="cache"):
        ClipCache(clips=0)
    for impossible in ({"long": -1}, {"long": 1, "long_frames": 20}):
        with pytest.raises(UsageError, match="long clips"):
            ClipCache(clips=1, **impossible)


def test_points_at_the_border_of_what_moves_are_told_from_the_others():
    still = np.array([[20.0, 20.0], [28.0, 20.0], [100.0, 100.0], [60.0, 60.0]])
    xy = np.repeat(still[:, None], 4, 1)
    xy[1, :, 0] += [0, 8, 16, 24]  # goes away from its neighbour
    xy[3] += [0, 40]  # has no neighbour at any time
    visible = np.ones((4, 4), bool)
    clip = CachedClip(np.zeros((4, 128, 128, 3), np.uint8), xy.astype(np.float32), visible)
    assert beside_others(clip, 0, 3).tolist() == [True, True, False, False]
    assert not beside_others(clip, 0, 0).any()
    visible[1, 3] = False
    assert not beside_others(clip, 0, 3).any(), "what is not seen on both frames is not compared"


def test_the_share_of_crowded_clips_is_spread_over_the_cache(tmp_path):
    cache = ClipCache(clips=20, size=64, frames=4, points=4, speeds=(1.0,), crowded=0.4)
    ramps = Ramps()
    source = CachedSource(ramps, cache, tmp_path, CPU)
    for number in range(20):
        source.clip(number)
    crowded = [stage.crowded for stage in ramps.stages]
    assert sum(crowded) == 8 and sum(crowded[:10]) == 4
    with pytest.raises(UsageError, match="crowded"):
        ClipCache(clips=2, crowded=1.2)
