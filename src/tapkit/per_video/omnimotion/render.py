"""Rays through OmniMotion's volume: depths, weights, correspondences, occlusion. Pixels are index coordinates."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tapkit.coords import Size
from tapkit.per_video.omnimotion.network import FAR, NEAR, Codes, OmniMotion

OCCLUDED = 0.99
"""A point is hidden if more than this of the light is stopped before it."""
MARGIN = 1.1
"""Of the mean distance of two samples, by which something must lie in front to hide a point."""


class Rays(NamedTuple):
    """What P x K rays meet, S samples each."""

    local: Tensor
    """[P,K,S,3]."""
    canonical: Tensor
    """[P,K,S,3]."""
    rgb: Tensor
    """[P,K,S,3]."""
    weights: Tensor
    """[P,K,S]: how much of what is seen each sample is."""


def normalise(pixels: Tensor, size: Size) -> Tensor:
    """Pixels [...,2] to [-1, 1]."""
    return 2 * pixels / pixels.new_tensor([size[1] - 1, size[0] - 1]) - 1


def to_pixels(local: Tensor, size: Size) -> Tensor:
    """(u, v) of local points [...,2+] in pixels [...,2]."""
    return (local[..., :2] + 1) / 2 * local.new_tensor([size[1] - 1, size[0] - 1])


def depths(samples: int, like: Tensor, jitter: Tensor | None = None) -> Tensor:
    """Depths of the samples of a ray: [S], or with `jitter` [...,S] (uniform in 0..1) [...,S], each anywhere between
    the mid-points to its neighbours."""
    even = torch.linspace(NEAR, FAR, samples, device=like.device, dtype=like.dtype)
    if jitter is None:
        return even
    middle = (even[1:] + even[:-1]) / 2
    low, high = torch.cat([even[:1], middle]), torch.cat([middle, even[-1:]])
    return low + (high - low) * jitter


def weights_of(density: Tensor) -> Tensor:
    """How much each sample [...,S] of a ray shows: opaque itself, and nothing opaque before it."""
    alpha = 1 - torch.exp(-density)
    through = torch.cumprod(1 - alpha + 1e-10, -1)
    return alpha * torch.cat([torch.ones_like(through[..., :1]), through[..., :-1]], -1)


def cast(network: OmniMotion, pixels: Tensor, codes: Codes, size: Size, z: Tensor, transparent: int = 0) -> Rays:
    """The rays through pixels [P,K,2] of P frames at depths `z` ([S] or [P,K,S]); the first `transparent` samples show
    nothing."""
    count = z.shape[-1]
    uv = normalise(pixels, size)[..., None, :].expand(*pixels.shape[:2], count, 2)
    local = torch.cat([uv, z.expand(*pixels.shape[:2], count)[..., None]], -1)
    canonical = network.to_canonical(local.flatten(1, 2), codes).view_as(local)
    rgb, density = network.field(canonical)
    if transparent:
        density = torch.cat([torch.zeros_like(density[..., :transparent]), density[..., transparent:]], -1)
    return Rays(local, canonical, rgb, weights_of(density))


def to_frame(network: OmniMotion, canonical: Tensor, codes: Codes) -> Tensor:
    """Canonical samples [P,K,S,3] in the local volumes of P frames."""
    return network.to_local(canonical.flatten(1, 2), codes).view_as(canonical)


def heaviest(weights: Tensor, mapped: Tensor) -> Tensor:
    """Of samples [P,K,S,3] the one with the largest weight: [P,K,3]."""
    best = weights.argmax(-1)[..., None, None].expand(*weights.shape[:-1], 1, 3)
    return mapped.gather(-2, best)[..., 0, :]


def hidden(network: OmniMotion, pixels: Tensor, depth: Tensor, codes: Codes, size: Size, samples: int) -> Tensor:
    """How much light is stopped before `depth` [P,K] on the rays through `pixels` [P,K,2]: [P,K], 0..1."""
    rays = cast(network, pixels, codes, size, depths(samples, pixels))
    before = rays.local[..., 2] < depth[..., None] - MARGIN * (FAR - NEAR) / samples
    return (rays.weights * before).sum(-1)
