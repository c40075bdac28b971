"""CaDeX++'s network: a bijection between every frame's space and a canonical one, of monotone piecewise linear
functions whose parameters are looked up in planes of features.

Y. Song et al., Track Everything Everywhere Fast and Robustly, ECCV 2024. Modules are called as in the published
checkpoints (`deform_mlp`, `depth_mem`). Points here are normalised: the box that `bound` gives becomes [-1, 1].
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.01
"""Of LeakyReLU."""
TABLES = (1, 5, 13)
"""Entries of the three time tables for every 20 frames."""
FEWEST_FRAMES = 20
"""Shorter clips are treated as if they had so many."""
PLANES = (12, 96)
"""Sides of a layer's two planes."""
PLANE_CHANNELS, TIME_CHANNELS = 32, 16


class Knots(NamedTuple):
    """A monotone function of four inner knots, straight beyond them."""

    x: Tensor
    """[...,4] rising."""
    y: Tensor
    """[...,4] rising."""
    slopes: Tensor
    """[...,5], from left to right."""

    @classmethod
    def of(cls, parameters: Tensor) -> Knots:
        """From the ten numbers [...,10] in (0, 1) of a layer."""
        xl2, xl1, xr1, xr2, yl2, yl1, yr1, yr2, left, right = parameters.unbind(-1)
        x = torch.stack([-xl1 - xl2, -xl1, xr1, xr1 + xr2], -1)
        y = torch.stack([-yl1 - yl2, -yl1, yr1, yr1 + yr2], -1)
        inner = [yl2 / xl2, (yl1 + yr1) / (xl1 + xr1), yr2 / xr2]
        return cls(x, y, torch.stack([2 * left, *inner, 2 * right], -1))

    def inverse(self) -> Knots:
        """The function that undoes it."""
        return Knots(self.y, self.x, 1 / self.slopes)

    def segment(self, at: Tensor) -> Tensor:
        """Which of the five segments the values [...] lie in."""
        return (at[..., None] >= self.x).sum(-1)

    def __call__(self, at: Tensor) -> Tensor:
        """The function of values [...]. Beyond the knots it is anchored at the outermost one; the original anchors it
        10^4 away, which costs it three digits of single precision there."""
        segment = self.segment(at)
        anchor = (segment - 1).clamp(min=0)[..., None]
        x, y = self.x.gather(-1, anchor)[..., 0], self.y.gather(-1, anchor)[..., 0]
        return y + self.slopes.gather(-1, segment[..., None])[..., 0] * (at - x)


class PlaneLookup(nn.Module):
    """The ten numbers of a layer for the two coordinates that it keeps, and a frame."""

    def __init__(self) -> None:
        super().__init__()
        shapes = [(1, PLANE_CHANNELS, side, side) for side in PLANES]
        self.xy_embeddings = nn.ParameterList(nn.Parameter(1e-4 * torch.randn(shape)) for shape in shapes)
        inputs = PLANE_CHANNELS * len(PLANES) + TIME_CHANNELS * len(TABLES)
        sizes = [inputs, inputs // 2, inputs // 4, 10]
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b), nn.LeakyReLU(SLOPE)]
        self.net = nn.Sequential(*layers[:-1])

    def forward(self, kept: Tensor, time: Tensor) -> Tensor:
        """Kept coordinates [P,M,2] and time features [P,C] -> [P,M,10] in (0, 1)."""
        grid = torch.tanh(kept).reshape(1, -1, 1, 2)
        found = [F.grid_sample(plane, grid, align_corners=True)[0, :, :, 0] for plane in self.xy_embeddings]
        features = torch.cat(found).T.reshape(*kept.shape[:2], -1)
        begin, *rest = self.net
        split = features.shape[-1]
        of_time = F.linear(time, begin.weight[:, split:], begin.bias)  # type: ignore[index,arg-type]
        out = F.linear(features, begin.weight[:, :split]) + of_time[:, None]  # type: ignore[index]
        for layer in rest:
            out = layer(out)
        return torch.sigmoid(out)


class Coupling(nn.Module):
    """Bends one coordinate by what the two others and the frame say."""

    mask: Tensor

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.map_st = PlaneLookup()
        self.register_buffer("mask", (torch.arange(3) != axis).float())

    def forward(self, points: Tensor, time: Tensor, inverse: bool = False) -> Tensor:
        """Points [P,M,3], time features [P,C]; towards the canonical space or back."""
        axis = int(self.mask.argmin())
        first, second = (points[..., k] for k in range(3) if k != axis)
        knots = Knots.of(self.map_st(torch.stack([first, second], -1), time))
        new = (knots.inverse() if inverse else knots)(points[..., axis])
        return torch.stack([new if k == axis else points[..., k] for k in range(3)], -1)


class Bijection(nn.Module):
    """Six couplings, and the time tables."""

    bound: Tensor

    def __init__(self, frames: int, axes: tuple[int, ...], bound: Tensor) -> None:
        """`bound` [2,3]: the lower and the upper corner of the box that is normalised."""
        super().__init__()
        shapes = [(1, TIME_CHANNELS, 1, count * (table_frames(frames) // 20)) for count in TABLES]
        self.t_embeddings = nn.ParameterList(nn.Parameter(1e-3 * torch.randn(shape)) for shape in shapes)
        self.layers1 = nn.ModuleList(Coupling(axis) for axis in axes)
        self.register_buffer("bound", bound)
        self.frames = table_frames(frames)

    def time_features(self, index: Tensor) -> Tensor:
        """Of frames `index` [P] (int64): [P,48]."""
        x = 2 * (index + 1).to(self.bound.dtype) / self.frames - 1
        grid = torch.stack([x, torch.zeros_like(x)], -1)[None, :, None]
        found = [F.grid_sample(table, grid, align_corners=True)[0, :, :, 0] for table in self.t_embeddings]
        return torch.cat(found).T

    def normalise(self, points: Tensor) -> Tensor:
        """Local or canonical points [...,3] with the box at [-1, 1]."""
        return (points - self.bound.mean(0)) / self._half()

    def restore(self, points: Tensor) -> Tensor:
        """What `normalise` undoes."""
        return points * self._half() + self.bound.mean(0)

    def _half(self) -> Tensor:
        return (self.bound[1] - self.bound[0]) / 2

    def forward(self, points: Tensor, time: Tensor, inverse: bool = False) -> Tensor:
        """Normalised points [P,M,3] of P frames, towards the canonical space or back."""
        for layer in reversed(list(self.layers1)) if inverse else self.layers1:
            points = layer(points, time, inverse)
        return points


class DepthMaps(nn.Module):
    """A depth for every cell of every frame."""

    def __init__(self, maps: Tensor) -> None:
        """`maps` [N,h,w]: those to start from."""
        super().__init__()
        self.depthmaps = nn.Parameter(maps.clone())


class CadexPP(nn.Module):
    """Everything of one video that is fitted."""

    def __init__(self, frames: int, bound: Tensor, maps: Tensor, axes: tuple[int, ...] | None = None) -> None:
        super().__init__()
        if axes is None:
            axes = tuple(int(a) for _ in range(2) for a in torch.randperm(3))
        self.deform_mlp = Bijection(frames, axes, bound)
        self.depth_mem = DepthMaps(maps)

    def map(self, points: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Local points [P,M,3] of frames `first` [P] in the local spaces of frames `second` [P]."""
        bijection = self.deform_mlp
        canonical = bijection(bijection.normalise(points), bijection.time_features(first))
        back = bijection(canonical, bijection.time_features(second), inverse=True)
        return bijection.restore(back)


def table_frames(frames: int) -> int:
    """How many frames the time tables are made for."""
    return max(frames, FEWEST_FRAMES)
