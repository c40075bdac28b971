"""strand: how a frame as a whole moves."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

import tapkit
from tapkit.models.strand import frame_motion
from tapkit.models.strand.frame_motion import between, inverse, moved
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
    return between(grey_pyramid(frames[:1]), grey_pyramid(frames[1:2]))


def test_the_motion_of_the_frame_is_found_in_spite_of_a_body_that_moves_otherwise() -> None:
    frames = shifted((3, 1))
    frames[1, :, 20:40, 30:60] = frames[0, :, 20:40, 25:55]
    torch.testing.assert_close(moved(of(frames), CORNERS), CORNERS - torch.tensor([3.0, 1.0]), atol=0.15, rtol=0)


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


def test_a_homography_is_recovered_whatever_the_outliers_weigh_nothing_for() -> None:
    start = torch.rand(40, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 2 - 1
    end, weights = moved(TRUE, start), torch.ones(40, dtype=torch.float64)
    end[:10], weights[:10] = 0.5, 0.0
    torch.testing.assert_close(frame_motion._homography(start, end, weights), TRUE, atol=1e-3, rtol=0)


def test_most_of_the_grid_decides_also_where_two_fifths_go_elsewhere() -> None:
    start = frame_motion._grid(2, 2, torch.device("cpu")).double() - 1
    end = moved(TRUE, start)
    end[:38] += torch.rand(38, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    found = frame_motion._fitted(start, end, torch.ones(len(start), dtype=torch.bool), 0.01)
    torch.testing.assert_close(found, TRUE, atol=5e-3, rtol=0)


def test_a_system_is_solved_without_pivots() -> None:
    half = torch.randn(8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    matrix, right = half @ half.T + torch.eye(8), torch.arange(8.0, dtype=torch.float64)
    torch.testing.assert_close(frame_motion._solved(matrix, right), torch.linalg.solve(matrix, right))


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
        torch.testing.assert_close(moved(between(before, after), corners), corners, atol=0.3, rtol=0)
