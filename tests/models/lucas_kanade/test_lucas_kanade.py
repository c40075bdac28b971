"""lucas-kanade: exact on known motion, honest about what it loses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("cv2")

import tapkit
from tapkit.errors import UsageError
from tapkit.models.lucas_kanade.patches import patches
from tapkit.types import Queries


def blobs(height: int, width: int, seed: int = 0, scales: tuple[int, ...] = (6, 14, 34)) -> np.ndarray:
    """A random picture [H,W,3] uint8 with texture at several scales."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(1, 3, height, width)
    for cells in scales:
        noise = torch.rand(1, 3, cells, cells, generator=generator)
        image += F.interpolate(noise, (height, width), mode="bicubic")
    image = (image - image.min()) / (image.max() - image.min())
    return (255 * image[0]).byte().permute(1, 2, 0).numpy()


def sampled(picture: np.ndarray, dx: float, dy: float, height: int, width: int, margin: int = 30) -> np.ndarray:
    """The picture moved by (dx, dy): its point (margin, margin) lands on (dx, dy)."""
    grid_y, grid_x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    full_height, full_width = picture.shape[:2]
    x = (grid_x + 0.5 + margin - dx) / full_width * 2 - 1
    y = (grid_y + 0.5 + margin - dy) / full_height * 2 - 1
    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    out = F.grid_sample(tensor, torch.stack([x, y], -1)[None].float(), mode="bicubic", align_corners=False)
    return out[0].clamp(0, 255).round().byte().permute(1, 2, 0).numpy()


PICTURE = blobs(180, 220)


def test_half_a_pixel_is_measured_as_half_a_pixel() -> None:
    frames = [sampled(PICTURE, 0.5 * t, -0.25 * t, 120, 160) for t in range(9)]
    queries = Queries.grid((120, 160), 6, margin=25)
    tracks = tapkit.track(np.stack(frames), queries, model="lucas-kanade")
    moved = tracks.xy - tracks.xy[:, :1]
    expected = np.stack([(0.5 * t, -0.25 * t) for t in range(9)])
    assert np.abs(moved - expected).max() < 0.08
    assert tracks.visible_at().all()


def test_it_works_at_the_resolution_it_was_told_and_answers_in_the_videos_own() -> None:
    frames = np.stack([sampled(PICTURE, 2.0 * t, 0, 120, 160) for t in range(5)])
    tracks = tapkit.track(frames, [(0, 80, 60)], model="lucas-kanade", max_side=80)
    np.testing.assert_allclose(tracks.xy[0, :, 0], 80 + 2.0 * np.arange(5), atol=0.3)


def test_an_occluded_point_is_said_to_be_occluded_and_taken_up_again() -> None:
    frames = np.stack([sampled(PICTURE, 0.5 * t, 0, 120, 160) for t in range(30)])
    curtain = blobs(120, 160, seed=5) // 2
    frames[10:18, 40:80, 60:110] = curtain[40:80, 60:110]
    tracks = tapkit.track(frames, [(0, 80, 60)], model="lucas-kanade", direction="forward")
    visible = tracks.visible_at()[0]
    assert visible[:10].all() and not visible[12:18].any() and visible[20:].all()
    np.testing.assert_allclose(tracks.xy[0, 20:, 0], 80 + 0.5 * np.arange(20, 30), atol=0.5)
    assert tracks.confidence[0, 12:18].max() < tracks.confidence[0, 1:10].min()


def test_a_point_that_leaves_the_frame_stays_inside_and_is_not_visible() -> None:
    unique = blobs(180, 220, scales=(8, 20, 50, 100))  # nothing else looks like what left
    frames = np.stack([sampled(unique, 30 - 4.0 * t, 0, 120, 160) for t in range(14)])
    tracks = tapkit.track(frames, [(0, 20, 60), (0, 120, 60)], model="lucas-kanade")
    assert tracks.visible_at()[1].all() and not tracks.visible_at()[0, 8:].any()
    assert (tracks.xy >= 0).all()


def test_backward_equals_forward_on_the_reversed_clip() -> None:
    frames = np.stack([sampled(PICTURE, 1.5 * t, 0.5 * t, 120, 160) for t in range(8)])
    back = tapkit.track(frames, [(7, 90, 60)], model="lucas-kanade", direction="backward")
    forth = tapkit.track(frames[::-1].copy(), [(0, 90, 60)], model="lucas-kanade", direction="forward")
    np.testing.assert_array_equal(back.xy[:, ::-1], forth.xy)


@pytest.mark.parametrize("shape", [(2, 1), (2, 5), (7, 300), (16, 16)])
def test_tiny_frames_do_not_break_it(shape: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (5, *shape, 3), dtype=np.uint8)
    tracks = tapkit.track(frames, [(0, shape[1] / 2, shape[0] / 2)], model="lucas-kanade")
    assert tracks.valid.all()


def test_a_flat_picture_gives_no_nonsense() -> None:
    tracks = tapkit.track(np.full((4, 40, 40, 3), 128, np.uint8), [(0, 20, 20)], model="lucas-kanade")
    assert np.isfinite(tracks.xy).all()


def test_options_are_checked() -> None:
    with pytest.raises(UsageError, match="no option 'windo'"):
        tapkit.load("lucas-kanade", windo=3)
    with pytest.raises(UsageError, match="no weights"):
        tapkit.load("lucas-kanade", weights={"a": torch.zeros(1)})


def test_patches_are_centred_on_their_points() -> None:
    gray = np.zeros((20, 20), np.uint8)
    gray[7, 11] = 100
    patch = patches(gray, np.array([[11.5, 7.5], [12.0, 7.5]]), 5)
    assert patch[0, 2, 2] == 100 and patch[0].sum() == 100
    assert patch[1, 2, 1] == 50 and patch[1, 2, 2] == 50
