"""Trouble changes pictures and views; points stay on their pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapkit.train.lesson import Lesson
from tapkit.train.trouble import another_picture, another_view, moving_view, occluded
from tapkit.train.unroll import Straying

SIDE = 64


def ramps(frames: int = 6, points: int = 40) -> Lesson:
    """Red is 3 x, green is 3 y: every pixel says where it was."""
    line = 3.0 * (torch.arange(SIDE) + 0.5)
    picture = torch.stack([line.expand(SIDE, SIDE), line[:, None].expand(SIDE, SIDE), torch.full((SIDE, SIDE), 9.0)])
    xy = torch.rand(points, frames, 2, generator=torch.Generator().manual_seed(0)) * SIDE
    seen = torch.ones(points, frames, dtype=torch.bool)
    return Lesson(picture.expand(frames, -1, -1, -1).byte(), xy, seen, seen)


@pytest.mark.parametrize("view", [another_view, moving_view])
def test_points_go_where_their_pixels_go_in_another_view(view):
    plain = ramps()
    lesson = view(plain, np.random.default_rng(3))
    assert not torch.equal(lesson.video[0], lesson.video[1]), "each frame has a view of its own"
    assert 0.5 < lesson.visible.float().mean() < 1, "some leave the frame"
    for n, t in lesson.visible.nonzero().tolist():
        x, y = lesson.xy[n, t].tolist()
        colour = lesson.video[t, :2, int(y), int(x)].float() / 3
        inner = ((plain.xy[n, t] > 2) & (plain.xy[n, t] < SIDE - 2)).all()
        if inner:
            assert (colour - plain.xy[n, t]).abs().max() < 2.0


def test_positions_that_are_not_known_stay_unknown_and_unseen():
    plain = ramps()
    plain.xy[:3] = torch.nan
    lesson = another_view(plain, np.random.default_rng(0))
    assert torch.isnan(lesson.xy[:3]).all() and not lesson.visible[:3].any()
    assert torch.isfinite(lesson.xy[3:]).all()


def test_another_picture_is_drawn_from_its_seed_and_keeps_shape_and_most_of_what_is_to_be_seen():
    frame = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(1)).repeat_interleave(16, 1)
    frame = 255 * frame.repeat_interleave(16, 2)
    changed = [another_picture(frame, np.random.default_rng(seed)) for seed in range(20)]
    again = another_picture(frame, np.random.default_rng(7))
    assert torch.equal(again, changed[7])
    assert all(one.shape == frame.shape and torch.isfinite(one).all() for one in changed)
    assert sum((one - frame).abs().mean() > 2 for one in changed) > 10
    likeness = [torch.corrcoef(torch.stack([one.flatten(), frame.flatten()]))[0, 1] for one in changed]
    assert min(likeness) > 0.6


def test_points_under_what_passes_in_front_are_hidden_and_no_others():
    plain = ramps(points=400)
    other = torch.full_like(plain.video, 255)
    hidden = 0
    for seed in range(10):
        lesson = occluded(plain, other, np.random.default_rng(seed))
        column, row = lesson.xy.long().clamp(0, SIDE - 1).unbind(-1)
        frame = torch.arange(lesson.xy.shape[1]).expand_as(row)
        under = lesson.video[frame, 2, row, column] == 255
        # Along its edge the pixel's centre may lie on the other side than the point.
        assert (under == ~lesson.visible).float().mean() > 0.98
        hidden += int((~lesson.visible).sum())
        assert torch.equal(lesson.xy, plain.xy)
    assert hidden > 500


def test_pixels_lead_some_points_astray_by_a_slip_that_goes_on_and_few_by_a_jump():
    moved, alike = torch.zeros(400, 2), torch.ones(400, 2)
    straying = Straying(0.5, 400, ramps(), seed=0)
    frames = [straying(moved, alike) for _ in range(30)]
    lengths = torch.stack([xy.norm(dim=-1) for xy, _ in frames])
    jumped = torch.stack([sure.lt(1).any(-1) for _, sure in frames])
    assert 0.01 < jumped.float().mean() < 0.03
    assert (lengths[~jumped] < 0.21).all(), "slips are short, in pixels of this frame"
    assert (lengths[jumped] > 0.49).all() and (lengths[jumped] < 6.01).all()
    still = (lengths.masked_fill(jumped, 0) == 0).all(0)
    assert 0.4 < still.float().mean() < 0.6, "half of the points are never led astray"
    # A slip keeps its direction for a while: it adds up.
    total = torch.stack([xy for xy, _ in frames]).masked_fill(jumped[..., None], 0).sum(0).norm(dim=-1)
    alone = lengths.masked_fill(jumped, 0).square().sum(0).sqrt()
    assert total[~still].mean() > 1.5 * alone[~still].mean()


def test_nothing_is_astray_where_no_share_is():
    moved, alike = torch.rand(5, 2), torch.rand(5, 2)
    assert all(a is b for a, b in zip(Straying(0.0, 5, ramps(), 0)(moved, alike), (moved, alike), strict=True))


def test_matches_are_misled_on_a_share_of_the_frames_and_never_where_nothing_is_known():
    truth = torch.rand(500, 2)
    truth[:100] = torch.nan
    avoided = torch.stack([Straying(0.5, 500, ramps(), seed, mislead=0.3).avoided(truth) for seed in range(4)])
    misled = (avoided == truth).all(-1)
    assert not misled[:, :100].any() and 0.25 < misled[:, 100:].float().mean() < 0.35
    assert (avoided[~misled] < -1e5).all()
