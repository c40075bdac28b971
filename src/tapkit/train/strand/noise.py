"""Noise on what strand sees in training, so that it learns what to trust: all of it is drawn from seeds.

Warped photographs look the same for ever, and on synthetic clips pixels can be followed nearly without error. Real
things change as they turn, pixels slide off them, and other places look more like the query than the point itself.
"""

from __future__ import annotations

from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.models.strand.encoder import STRIDES, Maps
from tapkit.models.strand.matching import around_best
from tapkit.models.strand.network import Points
from tapkit.train.batch import Batch

DRIFT = (0.02, 0.8)
"""Pixels of a 256x256 frame by which motion drifts from one frame to the next: shortest and longest."""
OUTLIER = (2.0, 24.0)
"""The same for outliers, which are `OUTLIERS` of the points on a frame."""
OUTLIERS = 0.02
EXCLUDED = 20.0
"""Pixels around the true position in which a hard negative is not looked for."""
NOWHERE = -1e6
"""Coordinate of an excluded place that excludes nothing."""


class TemplateDecay:
    """Makes the query's templates of half of the points less and less similar to the points, as if these had changed.

    What is remembered of the last frames must then count more than the query. From frame to frame a decaying template
    keeps at least the share `keep` of itself, the rest is noise of the same length: its similarity to what it was falls
    like keep^frames.

    And features of photographs are found again far more often than those of real videos (docs/models/strand.md), so
    that one would learn to trust them too much: all maps get noise (`noisy`), of a length of at most `feature_noise`
    beside vectors of length 1.
    """

    def __init__(self, keep: float, points: int, device: torch.device, seed: int, feature_noise: float = 0.0) -> None:
        self.random = torch.Generator(device).manual_seed(seed)
        self.feature_noise = feature_noise * float(torch.rand((), generator=self.random, device=device))
        share = torch.rand(points, 2, generator=self.random, device=device)
        decaying = torch.where(share[:, 0] < 0.5, keep + (1 - keep) * share[:, 1], 1.0)
        self.keep = None if keep == 1 else decaying[:, None, None]

    def __call__(self, points: Points) -> Points:
        """The points a frame later."""
        if self.keep is None:
            return points
        return points._replace(query=tuple(self._decay(patch, self.keep) for patch in points.query))

    def noisy(self, maps: Maps) -> Maps:
        """The maps [B,T,h,w,C] with noise, each vector of length 1 again."""
        if not self.feature_noise:
            return maps
        fine, coarse, wide = (self._noisy(level) for level in maps.learned)
        return Maps(fine, coarse, wide, maps.known)

    def _noisy(self, level: Tensor) -> Tensor:
        noise = torch.randn(level.shape, generator=self.random, device=level.device, dtype=level.dtype)
        return F.normalize(level + noise * (self.feature_noise / level.shape[-1] ** 0.5), dim=-1)

    def _decay(self, patch: Tensor, keep: Tensor) -> Tensor:
        noise = torch.randn(patch.shape, generator=self.random, device=patch.device) / patch.shape[-1] ** 0.5
        result: Tensor = keep * patch + (1 - keep.square()).sqrt() * noise
        return result


class DriftNoise:
    """Makes frame-to-frame motion wrong: a steady drift for `share` of the points, and now and then an outlier.

    While pixels slide off a point they look as similar as before. What is taken from features, and how much, is only
    learned where something is wrong.
    """

    def __init__(self, share: float, points: int, batch: Batch, seed: int, hard_negatives: float = 0.0) -> None:
        self.hard_negatives = hard_negatives
        device = batch.xy.device
        self.random = torch.Generator(device).manual_seed(seed + 1)
        self.share, self.scale = share, batch.video.shape[-1] / 256
        self.drifts = self._draw(points, device) < share
        self.drift = self._drift(points, device)

    def __call__(self, moved: Tensor, similarity: Tensor) -> tuple[Tensor, Tensor]:
        """What `follow` returned (positions [M,2] and how sure they are [M,2]), with noise."""
        if not self.share:
            return moved, similarity
        count, device = len(moved), moved.device
        turned = self._draw(count, device) < 0.1
        self.drift = torch.where(turned[:, None], self._drift(count, device), self.drift)
        far = self._direction(count, device) * self._length(count, device, OUTLIER)
        outlier = (self._draw(count, device) < OUTLIERS * self.share)[:, None]
        less = self._draw(count, device)[:, None]
        moved = moved + torch.where(outlier, far, self.drift * self.drifts[:, None])
        return moved, torch.where(outlier, similarity * less, similarity)

    def excluded(self, truth: Tensor) -> Tensor:
        """The places [M,2] around which matching is not to look on this frame: the truth, for some; else far away.

        The best match is then the most misleading place of the frame, as often as real ones are misleading.
        """
        chosen = self._draw(len(truth), truth.device) < self.hard_negatives
        return torch.where(chosen[:, None] & torch.isfinite(truth), truth, torch.full_like(truth, NOWHERE))

    def _drift(self, count: int, device: torch.device) -> Tensor:
        return self._direction(count, device) * self._length(count, device, DRIFT)

    def _direction(self, count: int, device: torch.device) -> Tensor:
        angle = 2 * pi * self._draw(count, device)
        return torch.stack([angle.cos(), angle.sin()], -1)

    def _length(self, count: int, device: torch.device, span: tuple[float, float]) -> Tensor:
        shortest, longest = span
        return (self.scale * shortest * (longest / shortest) ** self._draw(count, device))[:, None]

    def _draw(self, count: int, device: torch.device) -> Tensor:
        return torch.rand(count, generator=self.random, device=device)


def best_elsewhere(cost: Tensor, excluded: Tensor, shape: tuple[int, int]) -> Tensor:
    """The best places [M,2] of global matching that are not within `EXCLUDED` pixels of a place: hard negatives.

    cost [M,h*w] are `Network.match`'s logits on the fine map, `shape` its (h, w), excluded [M,2] pixels.
    """
    rows, columns = ((torch.arange(n, device=cost.device) + 0.5) * STRIDES[0] for n in shape)
    near_y = (rows - excluded[:, 1:]).abs() < EXCLUDED
    near_x = (columns - excluded[:, :1]).abs() < EXCLUDED
    allowed = cost.masked_fill((near_y[:, :, None] & near_x[:, None]).flatten(1), -1e4)
    return around_best(allowed, shape[1]) * STRIDES[0]
