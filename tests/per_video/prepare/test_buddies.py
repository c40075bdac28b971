"""Best buddies: the second peak against a plain suppression of all that is not a maximum, and the flow's filter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tapkit.per_video.dino_tracker.grid import TokenGrid
from tapkit.per_video.prepare.buddies import Continuity, buddies_of, mutual_nearest, peaks, second_peak
from tapkit.per_video.prepare.trajectories import ROW

GRID = TokenGrid((70, 112))


def tokens(seed: int, width: int = 6) -> Tensor:
    found = torch.randn(GRID.count, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(found, dim=1)


def overlap(a: np.ndarray, b: np.ndarray, half: float) -> float:
    sides = np.maximum(np.minimum(a, b) + half - (np.maximum(a, b) - half), 0)
    return float(sides.prod() / (2 * (2 * half) ** 2 - sides.prod()))


@pytest.mark.parametrize("candidates", [400, 30])
def test_the_second_peak_is_the_second_that_suppression_leaves(candidates: int) -> None:
    first, second, centres = tokens(0), tokens(1), GRID.centres()
    pairs = peaks(first, second, centres, candidates=candidates)
    assert len(pairs.source) > 20
    similarity = (first @ second.T).numpy()
    for row, best, ours in zip(pairs.source.tolist(), pairs.target.tolist(), pairs.second.tolist(), strict=True):
        order = np.argsort(-similarity[row])[:candidates]
        kept: list[int] = []
        for candidate in order.tolist():
            if all(overlap(centres[candidate].numpy(), centres[k].numpy(), 30.0) <= 0.2 for k in kept):
                kept.append(candidate)
        assert kept[0] == best
        assert ours == pytest.approx(similarity[row, kept[1]] if len(kept) > 1 else 0.0, abs=1e-6)


def test_a_peak_alone_is_not_ambiguous() -> None:
    near = torch.tensor([[7.0, 7.0], [14.0, 7.0]])
    assert second_peak(torch.tensor([[0.9, 0.8]]), torch.tensor([0]), near, 30.0, 0.2, 400).tolist() == [0.0]


def test_both_ways_give_the_same_pairs_and_ambiguity() -> None:
    there, back = peaks(tokens(2), tokens(3), GRID.centres()), peaks(tokens(3), tokens(2), GRID.centres())
    mirrored = {
        (t, s): r
        for s, t, r in zip(*(part.tolist() for part in (back.source, back.target, back.ambiguity)), strict=True)
    }
    assert (there.source.diff() > 0).all()
    for s, t, r in zip(there.source.tolist(), there.target.tolist(), there.ambiguity.tolist(), strict=True):
        assert mirrored[s, t] == pytest.approx(r, abs=1e-6)


def chains_at(frame: int) -> np.ndarray:
    """A chain through every token; from frame 2 on, other ones in the left half, whose first ones have ended."""
    centres = GRID.centres().numpy()
    left = centres[:, 0] <= 56
    rows = np.empty(len(centres), ROW)
    rows["id"], rows["agrees"] = np.arange(len(centres)), True
    rows["id"][left] += len(centres) if frame > 1 else 0
    rows["x"], rows["y"] = centres.T + 0.3
    return rows[np.argsort(rows["id"])]


def test_buddies_are_kept_only_where_trajectories_are_lost_both_ways() -> None:
    frames, centres = [tokens(number) for number in range(4)], GRID.centres()
    continuity = Continuity(chains_at, 4, centres.numpy())
    kept = buddies_of(0, frames.__getitem__, 4, centres, continuity)
    free = buddies_of(0, frames.__getitem__, 4, centres, None)
    left = centres[:, 0].numpy() <= 56
    assert continuity.lost(0, 2, np.arange(GRID.count)).tolist() == left.tolist()
    assert continuity.lost(2, 0, np.arange(GRID.count)).tolist() == left.tolist()
    assert not continuity.lost(0, 1, np.arange(GRID.count)).any()
    wanted = (free["frame"] > 1) & left[free["source"]] & left[free["target"]]
    assert 0 < wanted.sum() < (free["frame"] > 1).sum()
    assert np.array_equal(kept, free[wanted])
    for other in (1, 2, 3):
        mine = free[free["frame"] == other]
        here, there, cosine = mutual_nearest(frames[0], frames[other])
        assert mine["source"].tolist() == here.tolist() and mine["target"].tolist() == there.tolist()
        assert mine["cosine"] == pytest.approx(cosine.numpy(), abs=1e-6)


def test_chains_of_one_frame_follow_nothing() -> None:
    """The nearest one that lives on counts, however near another is."""

    def entries(frame: int) -> np.ndarray:
        rows = np.zeros(2, ROW)
        rows["id"], rows["x"], rows["y"] = (0, 1 + frame), (70, 7), (7, 7)
        return rows

    assert Continuity(entries, 2, GRID.centres().numpy()).nearest(0).tolist() == [0] * GRID.count
    alone = Continuity(lambda frame: entries(frame)[1:], 2, GRID.centres().numpy())
    assert alone.nearest(0).tolist() == [-1] * GRID.count
    assert alone.lost(0, 1, np.arange(3)).all()
