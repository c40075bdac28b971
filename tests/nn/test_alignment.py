"""Lucas-Kanade in torch: exact on pictures that move, deaf to light, still where there is nothing to hold on to."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tapkit.nn.alignment import KEPT, align, around, find, grey_pyramid, template

SIZE = 128


def picture(shift: tuple[float, float] = (0.0, 0.0)) -> torch.Tensor:
    """A sum of waves [1,3,128,128] that has moved by `shift` (x, y): known between pixels too."""
    y, x = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    x, y = x - shift[0], y - shift[1]
    waves = sum(
        torch.sin(x * fx + y * fy + phase)
        for fx, fy, phase in ((0.21, 0.13, 0.3), (-0.17, 0.29, 1.1), (0.39, -0.05, 2.0), (0.06, 0.08, 0.5))
    )
    return (128 + 25 * waves).expand(1, 3, -1, -1)


def queries() -> torch.Tensor:
    return 30 + 68 * torch.rand(1, 40, 2, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.4, -0.3), (3.2, 1.7), (-6.5, 5.25)])
def test_points_are_followed_to_a_tenth_of_a_pixel(shift):
    moved, similarity, _ = align(grey_pyramid(picture()), grey_pyramid(picture(shift)), queries())
    torch.testing.assert_close(moved - queries(), torch.tensor(shift).expand(1, 40, 2), atol=0.1, rtol=0)
    assert (similarity > 0.95).all()


def test_darker_and_flatter_pictures_change_little():
    darker = 0.7 * picture((1.5, -0.5)) - 20
    moved, similarity, _ = align(grey_pyramid(picture()), grey_pyramid(darker), queries())
    torch.testing.assert_close(moved - queries(), torch.tensor([1.5, -0.5]).expand(1, 40, 2), atol=0.08, rtol=0)
    assert (similarity > 0.9).all()


def test_where_all_is_flat_a_point_stays_and_is_like_nothing():
    flat = torch.full((1, 3, SIZE, SIZE), 90.0)
    moved, similarity, _ = align(grey_pyramid(flat), grey_pyramid(flat), queries())
    torch.testing.assert_close(moved, queries(), atol=1e-3, rtol=0)
    assert (similarity.abs() < 0.1).all()


def test_another_picture_is_not_alike():
    noise = F.interpolate(torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(4)), (SIZE, SIZE)) * 255
    _, similarity, _ = align(grey_pyramid(picture()), grey_pyramid(noise), queries())
    assert similarity.median() < 0.6


def test_each_frame_of_a_batch_has_its_own_points():
    before = torch.cat([picture(), picture()])
    after = torch.cat([picture((1.0, 0.0)), picture((0.0, 2.0))])
    moved, _, _ = align(grey_pyramid(before), grey_pyramid(after), queries().repeat(2, 1, 1))
    motion = (moved - queries()).median(1).values
    torch.testing.assert_close(motion, torch.tensor([[1.0, 0.0], [0.0, 2.0]]), atol=0.05, rtol=0)


def test_the_way_back_tells_who_went_further_than_can_be_followed():
    before, near, far = (grey_pyramid(picture(shift)) for shift in ((0.0, 0.0), (-6.5, 5.25), (9.0, -7.0)))
    assert (align(before, near, queries()).missed < 0.1).all()
    lost, _, missed = align(before[:1], far[:1], queries())  # without smaller sizes
    assert ((lost - queries() - torch.tensor([9.0, -7.0])).norm(dim=-1) > 1).all()
    assert missed.median() > 3


def test_what_was_taken_of_a_picture_is_found_again_nearby_at_any_shape_of_it():
    image, other = picture()[:, :1, :96], picture((0.7, -0.4))[:, :1, :96]
    xy = queries() * torch.tensor([1.0, 0.75])
    wide = around(image, xy)
    assert wide.shape == (1, 40, 121)
    kept = template(wide, image)
    assert kept.shape == (1, 40, KEPT)
    found, similarity = find(kept, other, xy + torch.tensor([1.2, 0.2]))
    off = (found - xy - torch.tensor([0.7, -0.4])).norm(dim=-1)
    assert off.median() < 0.05 and off.max() < 0.3
    assert similarity.median() > 0.99
