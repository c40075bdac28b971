"""What is foreground: by tokens, by pictures, and at positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tapkit import coords
from tapkit.errors import UsageError, VideoError
from tapkit.per_video.prepare.foreground import foreground_at, given_masks, principal_masks
from tapkit.per_video.prepare.store import Prepared, Table, save


@pytest.mark.parametrize("sign", [1, -1])
def test_the_object_is_foreground_whatever_the_sign_of_the_direction(tmp_path: Path, sign: int) -> None:
    rng = np.random.default_rng(0)
    object_at, ground_at = (sign * rng.normal(size=8) for _ in range(2))
    table, shape = Table(tmp_path, 3), (9, 12)
    expected = np.zeros((3, *shape), bool)
    for frame in range(3):
        expected[frame, 3:7, 2 + frame : 7 + frame] = True
        maps = np.where(expected[frame][None], object_at[:, None, None], ground_at[:, None, None])
        save(table.path(frame), (maps + rng.normal(0, 0.05, (8, *shape))).astype(np.float16))
    assert np.array_equal(principal_masks(table, shape), expected)


def prepared(tmp_path: Path) -> Prepared:
    return Prepared(tmp_path, np.zeros((2, 10, 16, 3), np.uint8))


def test_pictures_are_masks_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    grey = np.zeros((20, 32), np.uint8)
    grey[:10], grey[10:] = 128, 127
    Image.fromarray(grey).save(folder / "a.png")
    numbered = Image.fromarray(np.repeat(np.uint8([[0, 1]]), 16, 1).repeat(20, 0), mode="P")
    numbered.putpalette([0, 0, 0, 9, 0, 0])  # as DAVIS has them: what is object is dark red
    numbered.save(folder / "b.png")
    (folder / "notes.txt").write_text("no picture")
    masks = given_masks(folder, prepared(tmp_path))
    assert masks.shape == (2, 10, 16)
    assert masks[0, :5].all() and not masks[0, 5:].any()
    assert not masks[1, :, :8].any() and masks[1, :, 8:].all()


def test_wrong_masks_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        given_masks(tmp_path / "none", prepared(tmp_path))
    folder = tmp_path / "masks"
    folder.mkdir()
    (folder / "0.png").write_bytes(b"not a picture")
    with pytest.raises(UsageError, match="has 1 pictures, but the video has 2 frames"):
        given_masks(folder, prepared(tmp_path))
    (folder / "1.png").write_bytes(b"not a picture")
    with pytest.raises(VideoError, match="cannot be read as a picture"):
        given_masks(folder, prepared(tmp_path))


def test_positions_touch_what_bilinear_reading_sees() -> None:
    rng = np.random.default_rng(1)
    mask = torch.from_numpy(rng.random((11, 17)) < 0.3)
    xy = torch.from_numpy(rng.uniform(0, (17, 11), (400, 2)).astype(np.float32))
    xy = torch.cat([xy, torch.tensor([[7.0, 7.0], [6.5, 6.5], [16.5, 10.5], [0.5, 3.0]])])
    grid = coords.to_grid_sample(xy, (11, 17))[None, None]
    theirs = F.grid_sample(mask[None, None].float(), grid, align_corners=False)[0, 0, 0] > 0
    assert torch.equal(foreground_at(mask, xy, (11, 17)), theirs)
    enlarged = mask.repeat_interleave(3, 0).repeat_interleave(3, 1)
    assert torch.equal(foreground_at(mask, 3 * xy, (33, 51)), foreground_at(enlarged, 3 * xy, (33, 51)))
