"""Queries: on visible frames only, first or any, at corners; and the length of clips that is drawn."""

from __future__ import annotations

import pytest
import torch

from tapkit.errors import UsageError
from tapkit.train.batch import Batch
from tapkit.train.config import Stage
from tapkit.train.queries import QuerySampling, corner_strength
from tapkit.train.schedule import drawn_stage


def batch(count: int = 200, frames: int = 9) -> Batch:
    generator = torch.Generator().manual_seed(0)
    xy = 64 * torch.rand(2, count, frames, 2, generator=generator)
    visible = torch.rand(2, count, frames, generator=generator) < 0.4
    video = torch.randint(0, 255, (2, frames, 3, 64, 64), generator=generator, dtype=torch.uint8)
    return Batch(video, xy, visible, torch.ones_like(visible))


def test_points_are_queried_where_they_are_visible_first_or_on_any_frame():
    given = batch()
    seen, first = given.visible, given.visible.int().argmax(-1)
    for share in (0.0, 0.25, 1.0):
        frame = QuerySampling(any_frame=share).draw(given, torch.Generator().manual_seed(1)).frame
        assert ((frame < 9) == seen.any(-1)).all()
        asked = seen.any(-1)
        assert seen.gather(2, frame.clamp(max=8)[..., None])[..., 0][asked].all()
        later = (frame != first)[asked].float().mean()
        assert later == 0 if share == 0 else abs(later - share * 0.65) < 0.1
    only = QuerySampling(first_frame=True).draw(given, torch.Generator())
    assert ((only.frame == 0) == seen[..., 0]).all() and only.frames == (0,)


def test_what_is_not_known_is_not_queried():
    given = batch()
    given.xy[0, :50] = float("nan")
    given.known[1, :50] = False
    frame = QuerySampling(any_frame=1.0).draw(given, torch.Generator()).frame
    assert (frame[0, :50] == 9).all() and (frame[1, :50] == 9).all()


def test_the_best_corners_are_kept():
    frame = torch.zeros(3, 64, 64, dtype=torch.uint8)
    frame[:, 20:, 30:] = 255
    places = torch.tensor([[30.0, 20.0], [50.0, 20.0], [10.0, 50.0]])  # a corner, an edge, nothing
    strength = corner_strength(frame, places)
    assert strength[0] > 100 and strength[1] < 1e-2 * strength[0] and strength[2] == 0
    seen = torch.ones(1, 3, 2, dtype=torch.bool)
    given = Batch(torch.stack([frame] * 2)[None], places[None, :, None].expand(-1, -1, 2, -1), seen, seen)
    assert QuerySampling(corners=0.34).draw(given, torch.Generator()).frame.tolist() == [[0, 2, 2]]


def test_the_length_of_clips_is_drawn_from_the_seed():
    stage = Stage(1, 64, 20, 1, 1, least_frames=10)
    lengths = [drawn_stage(stage, seed).frames for seed in range(200)]
    assert set(lengths) == set(range(10, 21)) and drawn_stage(stage, 5) == drawn_stage(stage, 5)
    fixed = Stage(1, 64, 20, 1, 1)
    assert drawn_stage(fixed, 3) is fixed
    with pytest.raises(UsageError, match="least_frames"):
        Stage(1, 64, 20, 1, 1, least_frames=30)


def test_impossible_samplings_are_refused():
    with pytest.raises(UsageError, match="corners"):
        QuerySampling(corners=0.0)
