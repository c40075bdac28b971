"""strand: how a frame as a whole moves."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

import tapkit
from tapkit.models.strand import frame_motion
from tapkit.models.strand.frame_motion import Grid, between, inverse, moved
from tapkit.nn.alignment import grey_pyramid
from tapkit.video.samples import sample

SIZE = (64, 96)
CORNERS = torch.tensor([[10.0, 10.0], [90.0, 10.0], [50.0, 58.0]])
TRUE = torch.tensor([[1.02, 0.05, 0.1], [-0.04, 0.97, -0.2], [0.03, -0.02, 1.0]], dtype=torch.float64)


def shifted(step: tuple[int, int]) -> torch.Tensor:
    """Two frames of a smooth random picture, which moves by `step` (x, y) pixels to the left and up."""
    coarse = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(1))
    picture = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bicubic")[0].clamp(0, 1) * 255
    starts = [(16, 16), (16 + step[1], 16 + step[0])]
    return torch.stack([picture[:, y : y + SIZE[0], x : x + SIZE[1]] for y, x in starts]).round().to(torch.uint8)


def of(frames: torch.Tensor) -> torch.Tensor:
    return between(grey_pyramid(frames[:1])[1:], grey_pyramid(frames[1:2])[1:])[0]


def test_the_motion_of_the_frame_is_found_in_spite_of_a_body_that_moves_otherwise() -> None:
    frames = shifted((3, 1))
    frames[1, :, 20:40, 30:60] = frames[0, :, 20:40, 25:55]
    torch.testing.assert_close(moved(of(frames), CORNERS), CORNERS - torch.tensor([3.0, 1.0]), atol=0.15, rtol=0)


def test_several_frames_at_once_move_as_each_alone() -> None:
    pairs = [shifted(step) for step in ((3, 1), (0, 0), (-2, 2))]
    before, after = (grey_pyramid(torch.stack([pair[n] for pair in pairs]))[1:] for n in range(2))
    alone = torch.stack([of(pair) for pair in pairs])
    torch.testing.assert_close(between(before, after), alone, atol=1e-5, rtol=0)


def test_a_frame_without_anything_to_hold_on_to_stands_still() -> None:
    flat = torch.full((2, 3, *SIZE), 90, dtype=torch.uint8)
    motion = of(flat)
    assert motion.isfinite().all()
    torch.testing.assert_close(moved(motion, CORNERS), CORNERS)


def test_of_two_frames_that_have_nothing_in_common_none_is_turned_inside_out() -> None:
    random = torch.Generator().manual_seed(0)
    motion = of(torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8, generator=random))
    assert motion.isfinite().all()
    assert 0.1 < float(torch.linalg.det(motion)) < 10


GRID = Grid((64, 64), torch.device("cpu"))
STARTS = GRID.table(frame_motion._starts)


def weighted(end: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """What `_homography` takes of points that went to `end` [K,2]."""
    return (torch.cat([torch.ones(len(end), 1), end, end.square().sum(1, keepdim=True)], 1) * weights[:, None])[None]


def test_the_grid_is_counted_from_the_middle_of_the_frame_and_motions_back_in_pixels() -> None:
    wide = Grid((40, 80), torch.device("cpu"))
    halves = wide.table(frame_motion._halves, torch.float32)
    torch.testing.assert_close(wide.ends(halves), wide.table(frame_motion._starts)[:, :2])
    assert wide.table(frame_motion._starts)[:, 0].abs().max() < 1
    turned = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    found = moved(wide.in_pixels(turned[None])[0], torch.tensor([[40.0, 20.0], [50.0, 20.0]]))
    torch.testing.assert_close(found, torch.tensor([[40.0, 20.0], [40.0, 30.0]]))


def test_a_homography_is_recovered_whatever_the_outliers_weigh_nothing_for() -> None:
    end, weights = moved(TRUE, STARTS[:, :2]), torch.ones(len(STARTS), dtype=torch.float64)
    end[:10], weights[:10] = 0.5, 0.0
    torch.testing.assert_close(frame_motion._homography(GRID, weighted(end, weights))[0], TRUE, atol=1e-4, rtol=0)


def test_a_homography_is_the_least_squares_of_its_entries() -> None:
    random = torch.Generator().manual_seed(3)
    end = moved(TRUE, STARTS[:, :2]) + 0.1 * torch.randn(len(STARTS), 2, generator=random, dtype=torch.float64)
    weights, zero = torch.rand(len(STARTS), generator=random, dtype=torch.float64), torch.zeros_like(STARTS)
    rows = torch.cat([torch.cat([STARTS, zero], 0), torch.cat([zero, STARTS], 0)], 1)
    rows = torch.cat([rows, -end.T.reshape(-1, 1) * STARTS[:, :2].repeat(2, 1)], 1) * weights.sqrt().repeat(2)[:, None]
    entries = torch.linalg.lstsq(rows, (end.T * weights.sqrt()).reshape(-1, 1)).solution[:, 0]
    wanted = torch.cat([entries, torch.ones(1)]).view(3, 3)
    found = frame_motion._homography(GRID, weighted(end, weights))[0]
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_points_that_do_not_fix_a_homography_leave_the_rest_of_it_still() -> None:
    weights = torch.zeros(len(STARTS), dtype=torch.float64)
    weights[7] = 1.0  # it alone went on
    motion = frame_motion._homography(GRID, weighted(STARTS[:, :2] + 0.1, weights))[0]
    assert motion.isfinite().all()
    torch.testing.assert_close(moved(motion, STARTS[7:8, :2]), STARTS[7:8, :2] + 0.1, atol=1e-3, rtol=0)


def test_most_of_the_grid_decides_also_where_two_fifths_go_elsewhere() -> None:
    start = GRID.table(frame_motion._halves, torch.float32)
    true = GRID.in_pixels(TRUE[None])[0]
    there = moved(true, 2 * start) / 2
    there[:38] += 16 * torch.rand(38, 2, generator=torch.Generator().manual_seed(4))
    found = frame_motion._fitted(GRID, there[None], torch.ones(1, len(start), dtype=torch.bool))[0]
    torch.testing.assert_close(moved(found, 2 * start), moved(true, 2 * start), atol=0.05, rtol=0)


def test_a_motion_that_few_were_followed_by_is_none() -> None:
    there = GRID.table(frame_motion._halves, torch.float32) + 2.0
    followed = torch.zeros(len(there), dtype=torch.bool)
    followed[7 * torch.arange(frame_motion.LEAST)] = True
    found = moved(frame_motion._fitted(GRID, there[None], followed[None])[0], there)
    torch.testing.assert_close(found, there + 4.0, atol=1e-3, rtol=0)
    followed[0] = False
    assert torch.equal(frame_motion._fitted(GRID, there[None], followed[None])[0], torch.eye(3, dtype=torch.float64))


def test_what_lies_behind_a_motion_is_moved_far_away() -> None:
    beyond = torch.tensor([[1.0, 0, 0], [0, 1, 0], [-0.02, 0, 1]])
    assert float(moved(beyond, torch.tensor([[60.0, 1.0]]))[0, 0]) > 1e4


def test_the_way_back_leads_back() -> None:
    torch.testing.assert_close(moved(inverse(TRUE), moved(TRUE, CORNERS / 100)), CORNERS / 100)
    assert inverse(torch.zeros(2, 3, 3)).isfinite().all()


def test_what_is_carried_on_stays_near_the_frame() -> None:
    far = torch.tensor([[1e9, -1e9], [30.0, 20.0]])
    expected = torch.tensor([[192.0, -64.0], [30.0, 20.0]])
    torch.testing.assert_close(frame_motion.near_frame(far, SIZE), expected)


def test_the_camera_of_the_sample_clip_stands_still_whatever_the_hands_do() -> None:
    """On `blocks`, whose camera stands on a tripod."""
    with tapkit.open_video(sample("blocks")) as source:
        frames = np.stack([np.asarray(frame.image) for frame in source.frames(size=(352, 640))])[:48:4]
    greys = [grey_pyramid(frame[None]) for frame in torch.from_numpy(frames).permute(0, 3, 1, 2)]
    corners = torch.tensor([[40.0, 40.0], [600.0, 40.0], [320.0, 320.0]])
    for before, after in pairwise(greys):
        torch.testing.assert_close(moved(between(before[1:], after[1:])[0], corners), corners, atol=0.3, rtol=0)
