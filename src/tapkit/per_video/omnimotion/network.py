"""OmniMotion's networks: a bijection between every frame and one canonical volume, and the volume's colour and density.

Q. Wang et al., Tracking Everything Everywhere All at Once, ICCV 2023. Modules are called as in the published
checkpoints, so that a state dict is one (`feature_mlp`, `deform_mlp` with the masks as buffers, `color_mlp`).

Local points are (u, v, z): u, v in [-1, 1] over the centres of the frame's outermost pixels, z in [0, 2] the depth of
an orthographic camera. What depends on the frame alone is computed once for each frame (`codes`), not for each sample:
the first layer of a coupling is split into the part of the code and the part of the point, which are added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NEAR, FAR = 0.0, 2.0
"""Depths between which a ray is sampled."""
SLOPE = 0.01
"""Of LeakyReLU, everywhere."""
OCTAVES = 4
"""Frequencies pi, 2 pi, 4 pi, 8 pi of the encodings."""
SCALE_LIMIT = 8.0
"""Largest logarithm of a coupling's scale."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes; the defaults are those of the published checkpoints."""

    code: int = 128
    """Channels of a frame's code."""
    time_hidden: int = 256
    coupling_hidden: int = 256
    projection: int = 256
    """Channels of an encoded point."""
    color_hidden: int = 512
    affine: bool = True
    affine_hidden: int = 256
    couplings: int = 6
    time_detail: float = 256.0
    """Frequencies that the codes' network begins with: how fast codes change from frame to frame."""
    detail: float = 256.0
    """And those of the canonical field."""


class Codes(NamedTuple):
    """Of P frames."""

    time: Tensor
    """[P]: (index + 1) / number of frames."""
    layers: Tensor
    """[L,P,C]: the code as each coupling has it."""


class GaborFilter(nn.Module):
    """sin(W x + b) exp(-gamma/2 |x - mu|^2), a unit with a place and a frequency."""

    def __init__(self, inputs: int, units: int, scale: float, alpha: float) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, units)
        self.mu = nn.Parameter(2 * torch.rand(units, inputs) - 1)
        self.gamma = nn.Parameter(torch.distributions.Gamma(alpha, 1.0).sample((units,)))
        with torch.no_grad():
            self.linear.weight.mul_(scale * self.gamma.sqrt()[:, None])
            self.linear.bias.uniform_(-math.pi, math.pi)

    def forward(self, x: Tensor) -> Tensor:
        """[...,I] -> [...,U]."""
        square = (x * x).sum(-1, keepdim=True) + (self.mu * self.mu).sum(-1) - 2 * F.linear(x, self.mu)
        return torch.sin(self.linear(x)) * torch.exp(-0.5 * square * self.gamma)


class GaborNet(nn.Module):
    """A multiplicative filter network: Fathony et al., ICLR 2021."""

    def __init__(self, inputs: int, hidden: int, outputs: int, layers: int, alpha: float, scale: float) -> None:
        super().__init__()
        count = layers + 1
        filters = (GaborFilter(inputs, hidden, scale / math.sqrt(count), alpha / count) for _ in range(count))
        self.filters = nn.ModuleList(filters)
        self.linear = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))
        self.output_linear = nn.Linear(hidden, outputs)
        for layer in self.linear:
            assert isinstance(layer, nn.Linear)
            nn.init.uniform_(layer.weight, -math.sqrt(1 / hidden), math.sqrt(1 / hidden))

    def forward(self, x: Tensor) -> Tensor:
        """[...,I] -> [...,O]."""
        out = self.filters[0](x)
        for layer, gabor in zip(self.linear, list(self.filters)[1:], strict=True):
            out = gabor(x) * layer(out)
        return self.output_linear(out)  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Linear layers with LeakyReLU between them."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(SLOPE)]
        self.mlp = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """[...,I] -> [...,O]."""
        return self.mlp(x)  # type: ignore[no-any-return]


class Projection(nn.Module):
    """Encodes the two coordinates that a coupling keeps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.Linear(2 + 4 * OCTAVES, channels), nn.LeakyReLU(SLOPE))

    def forward(self, kept: Tensor) -> Tensor:
        """[...,2] -> [...,C]."""
        angles = kept[..., None] * _frequencies(kept)
        waves = torch.cat([angles.sin(), angles.cos()], -1).flatten(-2)
        return self.proj(torch.cat([kept, waves], -1))  # type: ignore[no-any-return]


class Coupling(nn.Module):
    """Scales and shifts one coordinate by what the two others and the code say."""

    mask: Tensor

    def __init__(self, axis: int, config: NetworkConfig) -> None:
        super().__init__()
        hidden = config.coupling_hidden
        self.projection = Projection(config.projection)
        self.map_st = nn.ModuleList([Mlp(config.code + config.projection, hidden, hidden, hidden, 2)])
        self.register_buffer("mask", (torch.arange(3) != axis).float().reshape(1, 1, 1, 3))
        self._code = config.code

    @property
    def axis(self) -> int:
        """The coordinate that is changed."""
        return int(self.mask.reshape(3).argmin())

    def forward(self, points: Tensor, code: Tensor, inverse: bool = False) -> Tensor:
        """Points [P,M,3] with the code [P,C] of each P, towards the canonical volume or back."""
        axis = self.axis
        changed, (first, second) = points[..., axis], (points[..., other] for other in range(3) if other != axis)
        log_scale, shift = self._scale_and_shift(torch.stack([first, second], -1), code)
        new = changed * log_scale.exp() + shift if inverse else (changed - shift) * (-log_scale).exp()
        return torch.stack([new if k == axis else points[..., k] for k in range(3)], -1)

    def _scale_and_shift(self, kept: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        begin, *rest = self.map_st[0].mlp  # type: ignore[misc]
        weight, bias = begin.weight, begin.bias
        of_code = F.linear(code, weight[:, : self._code], bias)
        out = F.linear(self.projection(kept), weight[:, self._code :]) + of_code[:, None]
        for layer in rest:
            out = layer(out)
        return out[..., 0].clamp(-SCALE_LIMIT, SCALE_LIMIT), out[..., 1]


class Affine(nn.Module):
    """Turns, stretches and moves (u, v) by what time and depth say, before the couplings."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        sizes = [2 * OCTAVES + 2, *[hidden] * 7]
        body = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(sizes)]
        self.hidden = nn.ModuleList([*body, nn.Linear(hidden, 5)])

    def _parameters_at(self, z: Tensor, time: Tensor) -> tuple[Tensor, ...]:
        """cosine, sine, two stretches, two shifts, each [P,M], of depths [P,M] at times [P]."""
        angles = z[..., None] * _frequencies(z)
        waves = torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)
        out = torch.cat([waves, time[:, None, None].expand(*z.shape, 1), z[..., None]], -1)
        for layer in self.hidden:
            out = layer(out)
        angle, stretch_u, move_u, stretch_v, move_v = out.unbind(-1)
        return angle.cos(), angle.sin(), stretch_u.exp(), stretch_v.exp(), move_u, move_v

    def forward(self, points: Tensor, time: Tensor, inverse: bool = False) -> Tensor:
        """Points [P,M,3] at times [P]; depths stay. (The original divides by a third homogeneous component + 1e-8,
        which is 1 in single precision.)"""
        u, v, z = points.unbind(-1)
        cos, sin, stretch_u, stretch_v, move_u, move_v = self._parameters_at(z, time)
        if inverse:
            u, v = (u - move_u) / stretch_u, (v - move_v) / stretch_v
            return torch.stack([cos * u + sin * v, cos * v - sin * u, z], -1)
        u, v = stretch_u * (cos * u - sin * v) + move_u, stretch_v * (sin * u + cos * v) + move_v
        return torch.stack([u, v, z], -1)


class Bijection(nn.Module):
    """The map between the local volume of a frame and the canonical one."""

    def __init__(self, config: NetworkConfig, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.layers1 = nn.ModuleList(Coupling(axis, config) for axis in axes)
        self.code_projectors = nn.ModuleList(Mlp(config.code, config.code, config.code) for _ in axes)
        if config.affine:
            self.affine_mlp = Affine(config.affine_hidden)
        self._affine = config.affine

    def forward(self, points: Tensor, codes: Codes, inverse: bool = False) -> Tensor:
        """Points [P,M,3] of P frames towards the canonical volume, or back."""
        if inverse:
            for layer, code in zip(reversed(list(self.layers1)), codes.layers.flip(0), strict=True):
                points = layer(points, code, inverse=True)
            return self.affine_mlp(points, codes.time, inverse=True) if self._affine else points
        if self._affine:
            points = self.affine_mlp(points, codes.time)
        for layer, code in zip(self.layers1, codes.layers, strict=True):
            points = layer(points, code)
        return points


class OmniMotion(nn.Module):
    """The three networks of one video."""

    def __init__(
        self, frames: int, config: NetworkConfig = NetworkConfig(), axes: tuple[int, ...] | None = None
    ) -> None:
        """`axes`: the coordinate that each coupling changes; None: two random orders of the three."""
        super().__init__()
        if axes is None:
            rounds = -(-config.couplings // 3)
            axes = tuple(int(a) for _ in range(rounds) for a in torch.randperm(3))[: config.couplings]
        self.frames, self.config = frames, config
        self.feature_mlp = GaborNet(1, config.time_hidden, config.code, 2, 4.5, config.time_detail)
        self.deform_mlp = Bijection(config, axes)
        self.color_mlp = GaborNet(3, config.color_hidden, 4, 3, 3.0, config.detail)

    def codes(self, index: Tensor) -> Codes:
        """Of frames `index` [P] (int64)."""
        time = (index + 1).to(self.feature_mlp.output_linear.weight.dtype) / self.frames
        feature = self.feature_mlp(time[:, None])
        return Codes(time, torch.stack([project(feature) for project in self.deform_mlp.code_projectors]))

    def to_canonical(self, points: Tensor, codes: Codes) -> Tensor:
        """Local points [P,M,3] of P frames in the canonical volume."""
        return self.deform_mlp(points, codes)  # type: ignore[no-any-return]

    def to_local(self, points: Tensor, codes: Codes) -> Tensor:
        """Canonical points [P,M,3] in the local volumes of P frames."""
        return self.deform_mlp(points, codes, inverse=True)  # type: ignore[no-any-return]

    def field(self, canonical: Tensor) -> tuple[Tensor, Tensor]:
        """Colour [...,3] in 0..1 and density [...] of canonical points [...,3]."""
        length = canonical.norm(dim=-1, keepdim=True)
        outside = length.clamp(min=1.0)
        contracted = torch.where(length <= 1, canonical, (2 - 1 / outside) * canonical / outside)
        out = self.color_mlp(contracted)
        return torch.sigmoid(out[..., :3]), F.softplus(out[..., 3] - 1)


def _frequencies(like: Tensor) -> Tensor:
    return math.pi * 2.0 ** torch.arange(OCTAVES, device=like.device, dtype=like.dtype)
