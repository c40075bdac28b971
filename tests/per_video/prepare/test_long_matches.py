"""Matches of frames far apart: what is kept, and the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tapkit.nn.dinov2 import token_grid
from tapkit.per_video.prepare import long_matches, tokens
from tapkit.per_video.prepare.store import Prepared

SHAPE = (12, 14)


def unit(values: Tensor) -> Tensor:
    return torch.nn.functional.normalize(values, dim=-1)


def smooth(seed: int) -> Tensor:
    """Tokens that resemble those around them (as those of pictures do): [S,C]."""
    noise = torch.randn(1, 64, SHAPE[0] + 8, SHAPE[1] + 8, generator=torch.Generator().manual_seed(seed))
    return unit(torch.nn.functional.avg_pool2d(noise, 9, 1).flatten(2)[0].T)


def test_a_token_says_where_it_is_if_it_is_like_its_surroundings_only() -> None:
    textured = smooth(0)
    assert long_matches.distinct(textured, SHAPE).float().mean() > 0.5
    flat = textured.clone()
    flat[: SHAPE[1] * 8] = textured[0]  # more than 100 tokens alike
    assert not long_matches.distinct(flat, SHAPE)[: SHAPE[1] * 8].any()
    unlike = unit(torch.randn(SHAPE[0] * SHAPE[1], 64, generator=torch.Generator().manual_seed(1)))
    assert not long_matches.distinct(unlike, SHAPE).any()


def test_matches_that_stand_alone_or_are_unlike_are_left_out() -> None:
    first = unit(torch.eye(168))
    second = unit(0.05 * torch.ones(168, 168))  # like nothing
    y, x = torch.meshgrid(*((torch.arange(side) + 0.5) * 14 for side in SHAPE), indexing="ij")
    centres = torch.stack([x, y], -1).flatten(0, 1)
    together, alone, poor = [0, 1, 2, 14, 15, 16], 167, 100
    second[[*together, alone]] = first[[*together, alone]]
    second[poor] = unit(first[poor] + 0.9 * first[101])  # cosine .743
    every = torch.ones(168, dtype=torch.bool)
    here, there, cosine = long_matches.matches(first, second, every, every, centres)
    assert here.tolist() == there.tolist() == together and (cosine > 0.99).all()
    some = every.clone()
    some[0] = False
    assert 0 not in long_matches.matches(first, second, every, some, centres)[0].tolist()


def test_the_table_has_matches_of_frames_far_apart_in_pixels_of_the_clip(tmp_path: Path, monkeypatch) -> None:
    """A picture that moves by one patch in ten frames; the backbone is one that reads colours."""
    rng = np.random.default_rng(0)
    canvas = np.repeat(np.repeat(rng.integers(0, 255, (12, 16, 3)).astype(np.uint8), 14, 0), 14, 1)
    frames = np.stack([canvas[:, 14:210] if t < 10 else canvas[:, :196] for t in range(12)])

    def colours(self, images: Tensor, stride: int, blocks: tuple[None]) -> list[Tensor]:
        small = torch.nn.functional.avg_pool2d(images, stride, stride)
        around = torch.nn.functional.unfold(small, 3, padding=1)
        return [around.unflatten(2, token_grid(tuple(images.shape[-2:]), stride))]

    monkeypatch.setattr(tokens.DinoV2, "layers", colours)
    monkeypatch.setattr(long_matches, "distinct", lambda found, shape: torch.ones(len(found), dtype=torch.bool))
    clip = Prepared(tmp_path, frames)
    said: list[str] = []
    table = long_matches.long_matches(
        clip, torch.device("cpu"), lambda what, done, total: said.append(what), backbone="untrained"
    )
    assert [len(table[frame]) > 0 for frame in range(12)] == [True, True, *[False] * 10]
    assert set(table[0]["frame"]) == {10, 11} and set(table[1]["frame"]) == {11}
    rows = table[0]
    assert len(rows) > 150
    assert np.median(rows["to_x"] - rows["x"]) == 14 and np.median(rows["to_y"] - rows["y"]) == 0
    assert set(said) == {"tokens", "long-matches"}
    again = long_matches.long_matches(clip, torch.device("cpu"), lambda *_: said.append("again"), backbone="untrained")
    assert np.array_equal(again[0], rows) and "again" not in said
