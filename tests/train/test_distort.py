"""Augmentation of whole batches: points stay on what they mark, and what is covered or gone is not visible."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapkit.errors import UsageError
from tapkit.train.augmentation import Augmentation
from tapkit.train.batch import VALIDATION_SEEDS, Batch
from tapkit.train.config import Stage
from tapkit.train.cotracker.presets import KUBRIC_LOOK
from tapkit.train.distort import AugmentedSource, augmented

SPOTS = torch.tensor([[20.5, 12.5], [60.5, 40.5], [90.5, 20.5]])


def clip(frames: int = 6, height: int = 64, width: int = 112) -> Batch:
    """Squares of 7 pixels around points that stand still, each in a colour of its own, on black."""
    video = torch.zeros(frames, 3, height, width, dtype=torch.uint8)
    for number, (x, y) in enumerate(SPOTS.int().tolist()):
        video[:, number, y - 3 : y + 4, x - 3 : x + 4] = 255
    xy = SPOTS[:, None].repeat(1, frames, 1)
    seen = torch.ones(3, frames, dtype=torch.bool)
    return Batch(video, xy, seen, seen.clone())


def centre(channel: torch.Tensor) -> list[float]:
    """The centre of mass of a picture, corner origin."""
    weight = channel.float()
    rows, columns = (torch.arange(side) + 0.5 for side in weight.shape)
    return [float((weight.sum(0) * columns).sum() / weight.sum()), float((weight.sum(1) * rows).sum() / weight.sum())]


@pytest.mark.parametrize(
    "chosen",
    [
        Augmentation(flip=1.0),
        Augmentation(scale=(0.8, 1.25), scale_drift=0.05),
        Augmentation(crop_drift=6.0),
        Augmentation(pad=25, scale=(0.75, 1.25), scale_drift=0.05, crop_drift=5.0, flip=0.5),
    ],
)
def test_views_move_points_with_the_picture(chosen):
    checked = 0
    for seed in range(8):
        seen = augmented(clip(), chosen, np.random.default_rng(seed))
        for n in range(3):
            for t in range(6):
                x, y = seen.xy[n, t].tolist()
                if seen.visible[n, t] and 6 < x < 106 and 6 < y < 58:  # the whole square is there
                    assert centre(seen.video[t, n]) == pytest.approx([x, y], abs=0.35)
                    checked += 1
        inside = ((seen.xy >= 0) & (seen.xy < torch.tensor([112.0, 64.0]))).all(-1)
        assert torch.equal(seen.visible, inside)
    assert checked > 60


@pytest.mark.parametrize("kind", ["erase", "replace"])
def test_what_is_painted_over_is_hidden_and_never_on_the_first_frame(kind):
    before = clip()
    hidden = 0
    for seed in range(10):
        after = augmented(before, Augmentation(**{kind: 1.0}), np.random.default_rng(seed))
        assert after.visible[:, 0].all() and torch.equal(after.video[0], before.video[0])
        for n, t in (after.visible & (torch.arange(6) > 0)).nonzero().tolist():
            x, y = (int(v) for v in SPOTS[n])
            assert torch.equal(after.video[t, :, y, x], before.video[t, :, y, x]), "still seen: its pixel is its own"
        hidden += int((~after.visible).sum())
        assert torch.equal(after.xy, before.xy)
    assert hidden > 30


def test_colours_change_frame_by_frame_or_for_the_whole_clip():
    grey = clip()._replace(video=torch.full((6, 3, 64, 64), 100, dtype=torch.uint8))
    whole = Augmentation(colours=1.0, per_clip=True, brightness=0.2)
    each = Augmentation(colours=1.0, brightness=0.2)
    for chosen, levels in ((whole, 1), (each, 6)):
        video = augmented(grey, chosen, np.random.default_rng(1)).video
        assert len({int(frame[0, 0, 0]) for frame in video}) == levels
        assert int(video[0, 0, 0, 0]) != 100 and 49 <= int(video.min()) <= int(video.max()) <= 151
    turned = augmented(clip(), Augmentation(colours=1.0, per_clip=True, hue=0.5), np.random.default_rng(0)).video
    assert int(turned[0].float().sum()) == pytest.approx(int(clip().video[0].float().sum()), rel=0.35)
    lost = augmented(clip(), Augmentation(grey=1.0), np.random.default_rng(0)).video
    assert torch.equal(lost[:, 0], lost[:, 1]) and torch.equal(lost[:, 1], lost[:, 2])


class Still:
    description = "still"

    def batch(self, stage: Stage, seed: int) -> Batch:
        return Batch(*(torch.stack([part] * stage.batch) for part in clip()))


def test_batches_are_augmented_by_their_seed_and_those_of_validation_are_not():
    source, stage = AugmentedSource(Still(), KUBRIC_LOOK), Stage(1, 112, 6, 2, 3, height=64)
    first, again, other = (source.batch(stage, seed) for seed in (1, 1, 2))
    assert torch.equal(first.video, again.video) and torch.equal(first.xy, again.xy)
    assert not torch.equal(first.video, other.video) and not torch.equal(first.video[0], first.video[1])
    assert first.video.shape == (2, 6, 3, 64, 112) and first.video.dtype == torch.uint8
    assert torch.equal(source.batch(stage, VALIDATION_SEEDS).video[0], clip().video)


def test_impossible_augmentations_are_refused():
    with pytest.raises(UsageError, match="flip is a probability"):
        Augmentation(flip=2.0)
    with pytest.raises(UsageError, match="least and a largest"):
        Augmentation(scale=(2.0, 1.0))
