"""What a step looks at: pairs that are true, halves of the foreground, the same for the same number."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tapkit.coords import resize
from tapkit.per_video.dino_tracker import sampling
from tapkit.per_video.dino_tracker.losses import Pair

sys.path.insert(0, str(Path(__file__).parent))
from made_clip import BEGUN, GRID, SIZE, STEP, chains, material


def rng(step: int = 0) -> np.random.Generator:
    return np.random.default_rng([0, step])


def at(frames: np.ndarray, xy: torch.Tensor) -> np.ndarray:
    """Where points of frames were on frame 0, pixels of the clip."""
    return resize(xy.numpy(), GRID.size, SIZE) - frames[:, None] * STEP


def test_pairs_are_of_one_trajectory_half_of_them_foreground() -> None:
    drawn = sampling.correspondences(material(), rng(), each=3, pairs=120)
    assert drawn is not None
    assert len(drawn.begin) == len(drawn.end) == 120
    assert (np.diff(drawn.frames) > 0).all() and len(drawn.frames) <= 6
    source, target = drawn.frames[drawn.source.numpy()], drawn.frames[drawn.target.numpy()]
    assert (source != target).all()
    origin = at(source, drawn.begin)
    assert origin == pytest.approx(at(target, drawn.end), abs=1e-3)
    assert np.abs((origin - 2.5) / BEGUN - np.round((origin - 2.5) / BEGUN)).max() < 1e-3
    assert (origin[:, 0] < 24).sum() == 60
    wrong = (origin[:, 1] < 3) & (origin[:, 0] < 13)
    assert not wrong.any(), "of those three, only frame 0 agrees with the direct flow"


def test_the_number_of_a_step_says_what_is_drawn() -> None:
    clip = material()
    first, again, other = (sampling.correspondences(clip, rng(step), 2, 40) for step in (3, 3, 4))
    assert first is not None and again is not None and other is not None
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.begin, other.begin)


def test_where_there_is_no_foreground_the_rest_fills_up() -> None:
    clip = material()
    clip.masks[:] = False
    clip._foreground[:] = False
    drawn = sampling.correspondences(clip, rng(), 3, 100)
    assert drawn is not None and len(drawn.begin) == 100


def test_frames_that_nothing_connects_are_nothing_to_learn_from() -> None:
    apart = [entry.copy() for entry in chains(4)]
    for frame, entry in enumerate(apart):
        entry["id"] += 1000 * frame
    known = material(4)
    lone = sampling.Material.__new__(sampling.Material)
    lone.__dict__ = {**known.__dict__, "chains": apart, "_foreground": np.zeros(9000, bool)}
    assert sampling.correspondences(lone, rng(), 2, 10) is None


@pytest.mark.parametrize("pair", [Pair(0, 1), Pair(1, 0)])
def test_buddies_are_read_in_either_direction(pair: Pair) -> None:
    clip, frames = material(), np.array([1, 4])
    ((same, found),) = sampling.buddies(clip, frames, [pair], clip.limit(frames, rng(), 512))
    assert same == pair and 0 < len(found.source) < GRID.count
    source, target = (GRID.cells(xy) for xy in (found.source, found.target))
    numbers = [(cells @ torch.tensor([1.0, GRID.shape[1]])).round().long() for cells in (source, target)]
    assert (numbers[1] - numbers[0] == (1 if pair.source == 0 else -1)).all()
    assert found.cosine.unique().tolist() == pytest.approx(
        [0.6]
    ) and found.ambiguity.unique().tolist() == pytest.approx([0.4])


def test_points_are_limited_by_where_they_are() -> None:
    clip, frames = material(), np.array([0, 3])
    limit = clip.limit(frames, rng(), 32)
    xy = GRID.centres()
    rows = limit(1, xy)
    assert len(rows.unique()) == len(rows)
    x = resize(xy[rows].numpy(), GRID.size, SIZE)[:, 0]
    inside = (x > 5.5) & (x < 30.5)
    assert inside.sum() == round(32 * 179 / 512) and (~inside).sum() == round(32 * 77 / 512)


def test_points_that_go_round_are_centres_of_pixels_of_both_kinds() -> None:
    clip, frames = material(), np.array([0, 2, 5])
    source, target, xy = sampling.round_points(clip, frames, rng(), 64)
    assert len(xy) == 4 * (round(64 * 179 / 512) + round(64 * 77 / 512)) == len(source) == len(target)
    assert ((xy - 0.5) == (xy - 0.5).round()).all()
    assert (xy > 0).all() and (xy < torch.tensor([70.0, 56.0])).all()
    x = at(frames[source.numpy()], xy)[:, 0]
    assert ((x > -1) & (x < 25)).sum() == pytest.approx(4 * round(64 * 179 / 512), abs=6)  # whole pixels of two sizes
    assert xy.dtype == torch.float32 and len(xy.unique(dim=0)) > 50


def test_pairs_of_frames() -> None:
    assert all(
        pair.source != pair.target for step in range(20) for pair in sampling.frame_pairs(rng(step), 3, same=False)
    )
    assert any(
        pair.source == pair.target for step in range(20) for pair in sampling.frame_pairs(rng(step), 3, same=True)
    )
    assert sampling.frame_pairs(rng(), 1, same=False) == [] and len(sampling.frame_pairs(rng(), 1, same=True)) == 4
