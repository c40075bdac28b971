"""Augmentation changes images and views; points stay on their pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapkit.train.augment import (
    add_carrier,
    add_occluder,
    affine_views,
    camera_motion,
    cut_away,
    moving_light,
    photometric_jitter,
    shaken,
)
from tapkit.train.batch import Batch

SIDE = 64


def ramps(frames: int = 6, points: int = 40) -> Batch:
    """Red is 3 x, green is 3 y: every pixel says where it was."""
    line = 3.0 * (torch.arange(SIDE) + 0.5)
    picture = torch.stack([line.expand(SIDE, SIDE), line[:, None].expand(SIDE, SIDE), torch.full((SIDE, SIDE), 9.0)])
    xy = torch.rand(points, frames, 2, generator=torch.Generator().manual_seed(0)) * SIDE
    seen = torch.ones(points, frames, dtype=torch.bool)
    return Batch(picture.expand(frames, -1, -1, -1).byte(), xy, seen, seen)


@pytest.mark.parametrize("view", [affine_views, camera_motion])
def test_points_go_where_their_pixels_go_in_another_view(view):
    plain = ramps()
    clip = view(plain, np.random.default_rng(3))
    assert not torch.equal(clip.video[0], clip.video[1]), "each frame has a view of its own"
    assert 0.5 < clip.visible.float().mean() < 1, "some leave the frame"
    for n, t in clip.visible.nonzero().tolist():
        x, y = clip.xy[n, t].tolist()
        colour = clip.video[t, :2, int(y), int(x)].float() / 3
        inner = ((plain.xy[n, t] > 2) & (plain.xy[n, t] < SIDE - 2)).all()
        if inner:
            assert (colour - plain.xy[n, t]).abs().max() < 2.0


def test_positions_that_are_not_known_stay_unknown_and_unseen():
    plain = ramps()
    plain.xy[:3] = torch.nan
    clip = affine_views(plain, np.random.default_rng(0))
    assert torch.isnan(clip.xy[:3]).all() and not clip.visible[:3].any()
    assert torch.isfinite(clip.xy[3:]).all()


def test_photometric_jitter_is_drawn_from_its_seed_and_keeps_shape_and_content():
    frame = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(1)).repeat_interleave(16, 1)
    frame = 255 * frame.repeat_interleave(16, 2)
    changed = [photometric_jitter(frame, np.random.default_rng(seed)) for seed in range(20)]
    again = photometric_jitter(frame, np.random.default_rng(7))
    assert torch.equal(again, changed[7])
    assert all(one.shape == frame.shape and torch.isfinite(one).all() for one in changed)
    assert sum((one - frame).abs().mean() > 2 for one in changed) > 10
    similarity = [torch.corrcoef(torch.stack([one.flatten(), frame.flatten()]))[0, 1] for one in changed]
    assert min(similarity) > 0.6


def test_points_under_an_occluder_are_hidden_and_no_others():
    plain = ramps(points=400)
    other = torch.full_like(plain.video, 255)
    hidden = 0
    for seed in range(10):
        clip = add_occluder(plain, other, np.random.default_rng(seed))
        column, row = clip.xy.long().clamp(0, SIDE - 1).unbind(-1)
        frame = torch.arange(clip.xy.shape[1]).expand_as(row)
        under = clip.video[frame, 2, row, column] == 255
        # Along its edge the pixel's centre may lie on the other side than the point.
        assert (under == ~clip.visible).float().mean() > 0.98
        hidden += int((~clip.visible).sum())
        assert torch.equal(clip.xy, plain.xy)
    assert hidden > 500


def test_points_under_a_body_that_passes_are_hidden_and_no_others():
    plain = ramps(frames=16, points=300)
    hidden = 0
    for seed in range(4):
        clip = add_carrier(plain, torch.full((3, SIDE, SIDE), 255, dtype=torch.uint8), np.random.default_rng(seed))
        x, y = plain.xy.long().clamp(max=SIDE - 1).unbind(-1)
        covered = clip.video[torch.arange(16), 2, y, x] == 255
        assert (clip.visible != covered).float().mean() > 0.97, "but for pixels that its edge crosses"
        assert torch.equal(clip.video[:, 2] == 9, clip.video[:, 0] != 255), "beside it nothing changes"
        hidden += int((~clip.visible).sum())
    assert hidden > 300


def test_a_body_takes_its_picture_along():
    frames = 12
    blank = Batch(torch.zeros(frames, 3, SIDE, SIDE, dtype=torch.uint8), *ramps(frames)[1:])
    line = 3 * (torch.arange(SIDE) + 0.5)
    picture = torch.stack([line.expand(SIDE, SIDE), torch.full((SIDE, SIDE), 9.0), torch.full((SIDE, SIDE), 255.0)])
    moved = 0.0
    for seed in range(6):
        clip = add_carrier(blank, picture.byte(), np.random.default_rng(seed))
        places = []
        for frame in clip.video.float():
            on = (frame[2] == 255).nonzero()
            if len(on) < 60:
                continue
            offsets = frame[0][on[:, 0], on[:, 1]] / 3 - on[:, 1]
            places.append(float(offsets.median()))
            # Turned by some degrees and mirrored at the picture's border, but one picture.
            assert (offsets - offsets.median()).abs().median() < 5
        moved = max(moved, max(places, default=0) - min(places, default=0))
    assert moved > 8


def test_nothing_is_visible_while_another_clip_is_shown():
    plain = ramps(frames=12)
    other = torch.full_like(plain.video, 255)
    clip = cut_away(plain, other, np.random.default_rng(1))
    away = (clip.video == 255).all(1).all(1).all(1)
    assert 1 <= away.sum() <= 4 and not away[:2].any() and not away[-1]
    assert not clip.visible[:, away].any() and clip.visible[:, ~away].all()
    assert torch.equal(clip.video[~away], plain.video[~away]) and torch.equal(clip.xy, plain.xy)
    short = ramps(frames=5)
    assert cut_away(short, other[:5], np.random.default_rng(1)) is short


def test_light_that_wanders_differs_from_place_to_place_and_from_frame_to_frame_smoothly():
    grey = torch.full((9, 3, SIDE, SIDE), 100.0)
    lit = torch.stack([moving_light(grey, np.random.default_rng(seed)) for seed in range(8)])
    assert torch.isfinite(lit).all() and lit.shape[1:] == grey.shape
    assert torch.allclose(lit[:, :, 0], lit[:, :, 1], atol=1e-3), "all colours alike"
    assert (lit[:, 4].std((-2, -1)) > 2).float().mean() > 0.7
    assert ((lit[:, 8] - lit[:, 0]).abs().mean((-3, -2, -1)) > 2).float().mean() > 0.7
    assert (lit[:, 1:] - lit[:, :-1]).abs().amax() < (lit[:, 8] - lit[:, 0]).abs().amax()


def test_shaken_frames_are_blurred_along_a_line_and_the_others_are_as_they_were():
    noise = 255 * torch.rand(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    for seed in range(6):
        video = shaken(noise, np.random.default_rng(seed))
        touched = (video - noise).abs().amax((1, 2, 3)) > 0
        first, count = int(touched.float().argmax()), int(touched.sum())
        assert 1 <= count <= 5 and bool(touched[first : first + count].all())
        assert (video[touched].std((1, 2, 3)) < 0.9 * noise[touched].std((1, 2, 3))).all()
        assert torch.allclose(video[touched].mean(), noise[touched].mean(), rtol=0.02)
