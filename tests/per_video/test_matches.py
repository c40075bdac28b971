"""CaDeX++ with matches between frames far apart: what is drawn, and that it is learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tapkit.errors import UsageError
from tapkit.per_video.cadexpp.losses import match_weight
from tapkit.per_video.cadexpp.matches import MatchSampler
from tapkit.per_video.cadexpp.method import METHOD
from tapkit.per_video.cadexpp.options import CPU, PRESETS, CadexOptions
from tapkit.per_video.prepare.long_matches import ROW
from tapkit.per_video.prepare.store import Prepared


def rows(*counts: tuple[int, int]) -> np.ndarray:
    """So many matches with each of the frames; a point moves by (1, 2) a frame number."""
    parts = [np.empty(0, ROW)]
    for frame, count in counts:
        part = np.empty(count, ROW)
        part["frame"], part["cosine"] = frame, 0.9
        part["x"], part["y"] = np.arange(count) + 5.5, np.arange(count) + 10.5
        part["to_x"], part["to_y"] = part["x"] + frame, part["y"] + 2 * frame
        parts.append(part)
    return np.concatenate(parts)


def test_pairs_are_drawn_both_ways_with_as_many_matches_as_the_fewest() -> None:
    sampler = MatchSampler([rows((10, 9), (11, 3), (12, 6)), rows((11, 3)), rows()], 20, 0)
    assert sampler.found and {(pair.first, pair.second) for pair in sampler.pairs} == {(0, 10), (0, 12)}
    batch = sampler.draw(7)
    assert batch.pixels.shape == batch.targets.shape == (20, 6, 2)
    moved = batch.targets - batch.pixels
    frames = (batch.second - batch.first).float()
    assert torch.equal(moved, torch.stack([frames, 2 * frames], 1)[:, None].expand(20, 6, 2))
    assert (frames > 0).any() and (frames < 0).any()
    begin = torch.where(frames[:, None] > 0, batch.pixels[..., 0], batch.targets[..., 0])
    assert torch.equal(begin, begin.round())  # index coordinates
    assert len(set(begin[0].tolist())) == 6
    assert all(torch.equal(a, b) for a, b in zip(batch, sampler.draw(7), strict=True))
    assert not torch.equal(batch.pixels, sampler.draw(8).pixels)
    assert not MatchSampler([rows((10, 3))], 4, 0).found


def test_matches_are_learned_from_with_a_weight_that_falls(tmp_path: Path, moving_clip, monkeypatch) -> None:
    table = [rows((10, 8)), rows((11, 8)), *[rows()] * 10]
    monkeypatch.setattr("tapkit.per_video.cadexpp.method.long_matches", lambda *_, **__: table)
    options = {"steps": 100, "max_side": None, "flow": "dis", "pairs": 2, "points": 16, "reach": 3, "interval": 3}
    clip, quiet = Prepared(tmp_path, moving_clip[0]), lambda *_: None
    with_matches = CadexOptions.of("cadex++", {**options, "matches": "untrained"})
    without = CadexOptions.of("cadex++", options)
    METHOD.prepare(clip, with_matches, torch.device("cpu"), quiet)
    for index in (0, 50):  # steps 0 and 11 000 of the published schedule
        both, plain = (METHOD.build(clip, o, 0, torch.device("cpu")).step(index, 100) for o in (with_matches, without))
        assert "match" not in plain and both["match"] > 0
        weight = match_weight(index * 220)
        assert both["total"] == pytest.approx(plain["total"] + weight * both["match"], rel=1e-5)


def test_matches_are_of_a_known_backbone_and_as_published_in_the_preset_paper() -> None:
    assert PRESETS["paper"].matches == "dinov2-vits14" and CPU.matches == "none"
    with pytest.raises(UsageError, match="no backbone 'dino'"):
        CadexOptions.of("cadex++", {"matches": "dino"})
