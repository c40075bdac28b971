"""CoTracker2 (and 2.1): sliding windows of 8 (16) frames, iterative updates of positions and of track features.

Karaev et al., "CoTracker: It is Better to Track Together", ECCV 2024, arXiv:2307.07635, sections 3.1 to 3.3. Inside,
positions are "cells": pixels of the network's input (centres at integers) divided by the stride of 4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.models.cotracker.transformer import STRIDE, SpaceTimeTransformer, in_parts, tokens_at_once
from tapkit.nn.correlation import track_correlation
from tapkit.nn.encoder import FEATURES, PointEncoder
from tapkit.nn.packed import Linear
from tapkit.nn.posenc import linear_sincos, sincos_table
from tapkit.nn.sampling import sample

LEVELS = 4
RADIUS = 3
FLOW = 2 + 2 * 64
"""Numbers that encode the displacement since the window's first frame."""
TOKEN = FLOW + LEVELS * (2 * RADIUS + 1) ** 2 + FEATURES + 2
"""Displacement, correlations, track feature, mask, visibility."""
POSITIONS = (96, 128)
"""(rows, columns) of the table of position codes: cells of a 384x512 frame, whatever the size of the frames."""


class Maps(NamedTuple):
    """Feature maps of frames at four scales, each [B,h,w,128]."""

    level0: Tensor
    level1: Tensor
    level2: Tensor
    level3: Tensor


class CoTracker2Network(nn.Module):
    """The network for windows of `window` frames."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.fnet = PointEncoder(STRIDE)
        self.updateformer = SpaceTimeTransformer(TOKEN, 6, {"flow_head": 2 + FEATURES})
        self.norm = nn.GroupNorm(1, FEATURES)
        # Sequentials of one, because the checkpoints call them "...updater.0" and "...predictor.0".
        self.track_feat_updater = nn.Sequential(Linear(FEATURES, FEATURES))
        self.vis_predictor = nn.Sequential(Linear(FEATURES, 1))
        rows, columns = (torch.arange(side) for side in POSITIONS)
        half = TOKEN // 2
        table = torch.cat(
            [
                sincos_table(columns, half).expand(len(rows), -1, -1),
                sincos_table(rows, half)[:, None].expand(-1, len(columns), -1),
            ],
            -1,
        )
        self.register_buffer("position_table", table.permute(2, 0, 1)[None].contiguous(), persistent=False)
        self.register_buffer("time_table", sincos_table(torch.arange(window), TOKEN), persistent=False)

    position_table: Tensor
    time_table: Tensor

    def encode(self, frames: Tensor) -> Maps:
        """Feature pyramid of frames [B,3,H,W] (0..255, float), each for itself; H, W at least 32."""
        maps = self.fnet((2 * (frames / 255) - 1).to(self.fnet.conv1.weight.dtype))
        levels = [maps]
        for _ in range(LEVELS - 1):
            levels.append(F.avg_pool2d(levels[-1], 2, 2))
        return Maps(*(level.permute(0, 2, 3, 1).contiguous() for level in levels))

    def query_feature(self, maps: Maps, index: Tensor, xy: Tensor) -> Tensor:
        """Features at xy [P,2] (cells) on frames `index` [P] -> [P,128]."""
        values = xy.new_zeros(len(xy), FEATURES)
        for frame in sorted(set(index.tolist())):
            here = index == frame
            level = maps.level0[frame : frame + 1].permute(0, 3, 1, 2).float()
            values[here] = sample(level, xy[here][None])[0]
        return values

    def forward(
        self,
        maps: Maps,
        xy: Tensor,
        visible: Tensor,
        mask: Tensor,
        active: Tensor,
        feature: Tensor,
        iterations: int,
        all_active: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """One window.

        Args:
            maps: features of the S frames.
            xy: [B,N,S,2] where each of N points starts, cells; B groups do not see one another.
            visible: [B,N,S] visibility logits it starts with.
            mask: [B,N,S] 1 on the frames that are new and not before the query, else 0.
            active: bool [B,N]: the query lies in this window or before it.
            feature: [B,N,128] at the queries.
            iterations: how often to update.
            all_active: known to the caller: there is nothing to mask then, and attention is faster without.

        Returns:
            Positions [B,N,S,2] and visibility logits [B,N,S].
        """
        steps = self.refine(maps, xy, visible, mask, active, feature, iterations, all_active)
        ((xy, features),) = deque(steps, maxlen=1)
        return xy, self.visibility(features)

    def visibility(self, features: Tensor) -> Tensor:
        """Visibility logits [...] of track features [...,128]."""
        logits: Tensor = self.vis_predictor(features)
        return logits[..., 0]

    def refine(
        self,
        maps: Maps,
        xy: Tensor,
        visible: Tensor,
        mask: Tensor,
        active: Tensor,
        feature: Tensor,
        iterations: int,
        all_active: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Positions [B,N,S,2] and track features [B,N,S,128] after each update; see `forward`.

        Each update is trained for its own step: positions are detached.
        """
        frames = xy.shape[2]
        features = (feature * active[..., None])[:, :, None].expand(-1, -1, frames, -1)
        codes = self._position_codes(xy[:, :, 0])
        for _ in range(iterations):
            xy = xy.detach()
            tokens = self._embed(maps, xy, features, mask, visible, codes)
            delta = self.updateformer(tokens, None if all_active else active)
            xy = xy + delta[..., :2]
            features = features + self._feature_update(delta[..., 2:])
            yield xy, features

    def _feature_update(self, delta: Tensor) -> Tensor:
        # A group norm with one group on single vectors is a layer norm.
        normed = F.layer_norm(delta, (FEATURES,), self.norm.weight, self.norm.bias, self.norm.eps)
        update: Tensor = self.track_feat_updater[0](normed, activation="gelu")
        return update

    def _position_codes(self, xy: Tensor) -> Tensor:
        """Position codes of xy [B,N,2] cells -> [B,N,456]."""
        return sample(self.position_table, xy.flatten(0, 1)[None]).view(*xy.shape[:2], TOKEN)

    def _embed(self, maps: Maps, xy: Tensor, features: Tensor, mask: Tensor, visible: Tensor, codes: Tensor) -> Tensor:
        """Embedded tokens [B,N,S,384], built for a few points at a time."""
        batch, count, frames, _ = xy.shape
        step = max(tokens_at_once(xy.device) // 4 // frames, 1)
        flat = [part.flatten(0, 1) for part in (xy, features, mask, visible, codes)]

        def embedded(rows: slice) -> Tensor:
            some_xy, some_features, some_mask, some_visible, some_codes = (part[rows] for part in flat)
            pieces = [
                flow_codes(some_xy),
                self._correlations(maps, some_xy, some_features),
                some_features,
                some_mask[..., None].float(),
                some_visible[..., None],
            ]
            token = torch.cat(pieces, -1).add_(some_codes[:, None]).add_(self.time_table)
            result: Tensor = self.updateformer.input_transform(token)
            return result

        return in_parts(embedded, batch * count, step).view(batch, count, frames, -1)

    def _correlations(self, maps: Maps, xy: Tensor, features: Tensor) -> Tensor:
        """Correlations of features [P,S,128] around xy [P,S,2] -> [P,S,196]."""
        scaled = features * FEATURES**-0.5
        levels = [track_correlation(level, xy / 2**number, scaled, RADIUS) for number, level in enumerate(maps)]
        return torch.cat(levels, -1)


def flow_codes(xy: Tensor) -> Tensor:
    """Displacement since the window's first frame, xy [P,S,2] cells -> [P,S,130]: raw, then codes of x and of y.

    Float32 throughout: the highest frequency turns a rounding of 1e-4 cells into 0.1 rad.
    """
    flow = xy - xy[:, :1]
    return torch.cat([flow, linear_sincos(flow[..., 0]), linear_sincos(flow[..., 1])], -1)
