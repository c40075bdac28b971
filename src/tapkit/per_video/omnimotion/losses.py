"""OmniMotion's losses over a batch of pairs of frames. Pixels are index coordinates; q, the weight of a point."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.coords import Size
from tapkit.per_video.omnimotion.network import FAR, NEAR, OmniMotion
from tapkit.per_video.omnimotion.render import cast, depths, to_frame, to_pixels


class Batch(NamedTuple):
    """P pairs of frames, K points in each."""

    first: Tensor
    """[P] int64: frames that the points lie in."""
    second: Tensor
    """[P] int64: frames they go to."""
    pixels: Tensor
    """[P,K,2] in the first frames."""
    targets: Tensor
    """[P,K,2] where the flow takes them."""
    rgb: Tensor
    """[P,K,3] colours at `pixels`, 0..1."""
    weights: Tensor
    """[P,K]."""


class Schedule(NamedTuple):
    """Weights of the losses at a step of the published schedule of 100 000."""

    rgb: float
    flow_grad: float
    distortion: float

    @classmethod
    def at(cls, step: float) -> Schedule:
        """At that step."""
        return cls(min(step / 5000, 10.0), min(step / 500_000, 0.1), min(max((step - 40_000) / 2000, 0.0), 10.0))


DEPTH_RANGE, SMOOTH = 10.0, 20.0
"""Constant weights."""


class Outcome(NamedTuple):
    """Losses, and what they come from."""

    terms: dict[str, Tensor]
    """By name; "total" is what is minimised."""
    predicted: Tensor
    """[P,K,2]: where the points are predicted."""
    inside: Tensor
    """[P,K] bool: whether that is in the frame."""


def losses(
    network: OmniMotion, batch: Batch, size: Size, schedule: Schedule, jitter: Tensor, transparent: int = 0
) -> Outcome:
    """All losses of a batch; `jitter` [P,K,S] in 0..1 places the samples."""
    first, second = network.codes(batch.first), network.codes(batch.second)
    rays = cast(network, batch.pixels, first, size, depths(jitter.shape[-1], batch.pixels, jitter), transparent)
    mapped = to_frame(network, rays.canonical, second)
    z = mapped[..., 2]
    weights = rays.weights * ((z >= NEAR) & (z <= FAR))
    predicted = to_pixels((weights[..., None] * mapped).sum(-2), size)
    inside = _in_image(predicted, size)
    flow, flow_grad = _flow(predicted, batch, inside)
    rgb, rgb_grad = _colour((rays.weights[..., None] * rays.rgb).sum(-2), batch, _in_image(batch.pixels, size))
    square = rays.canonical.square().sum(-1)
    beyond = square[square >= 1]
    terms = {
        "flow": flow,
        "rgb": rgb,
        "rgb_grad": rgb_grad,
        "depth_range": ((z - FAR).clamp(min=0).square() + (NEAR - z).clamp(min=0).square()).sum() / z.numel(),
        "distortion": distortion(weights, rays.local[..., 2]),
        "smooth": _smooth(network, batch, rays.local, rays.canonical),
        "sphere": (beyond - 1).square().mean() if len(beyond) else square.new_zeros(()),
        "flow_grad": flow_grad,
    }
    total = (
        terms["flow"]
        + schedule.rgb * (terms["rgb"] + terms["rgb_grad"])
        + DEPTH_RANGE * terms["depth_range"]
        + schedule.distortion * terms["distortion"]
        + SMOOTH * terms["smooth"]
        + schedule.flow_grad * terms["flow_grad"]
    )
    return Outcome({"total": total, **terms}, predicted, inside)


def _in_image(pixels: Tensor, size: Size) -> Tensor:
    x, y = pixels[..., 0], pixels[..., 1]
    return (x >= 0) & (x <= size[1] - 1) & (y >= 0) & (y <= size[0] - 1)


def without_worst(error: Tensor) -> Tensor:
    """Mask that leaves out the largest of the errors [M] (all that are equal to it), as the original does."""
    return error < error.max() if len(error) else torch.zeros_like(error, dtype=torch.bool)


def _mean(values: Tensor) -> Tensor:
    """The mean; 0 where there is nothing (the original's is not a number then, and ends the fit)."""
    return values.mean() if values.numel() else values.sum()


def _flow(predicted: Tensor, batch: Batch, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Error of positions, and of the differences of points that follow each other in the list of those in the image."""
    ours, target, weights = predicted[inside], batch.targets[inside], batch.weights[inside]
    error = (ours - target).abs().mean(-1)
    keep = without_worst(error)
    return _mean((error * weights)[keep]), gradient_loss(ours, target, weights)


def gradient_loss(ours: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """L1 of the differences of consecutive rows [M,2], weighted, the largest left out."""
    error = ((ours[1:] - ours[:-1]) - (target[1:] - target[:-1])).abs().mean(-1)
    both = weights[1:] * weights[:-1]
    keep = without_worst(error)
    return (error * both)[keep].sum() / (both[keep].sum() + 1e-8)


def _colour(ours: Tensor, batch: Batch, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error of colours, and L1 of their differences from point to point."""
    ours, target = ours[inside], batch.rgb[inside]
    error = ((ours[1:] - ours[:-1]) - (target[1:] - target[:-1])).abs().mean(-1)
    return F.mse_loss(ours, target) if len(ours) else ours.sum(), _mean(error[without_worst(error)])


def distortion(weights: Tensor, z: Tensor) -> Tensor:
    """How far the weights [...,S] of a ray are spread over its depths `z`: Barron et al., Mip-NeRF 360, CVPR 2022."""
    edges = torch.cat([z, z[..., -1:]], -1)
    width, middle = edges[..., 1:] - edges[..., :-1], (edges[..., 1:] + edges[..., :-1]) / 2
    between = (middle[..., :, None] - middle[..., None, :]).abs()
    pairs = torch.einsum("...i,...ij,...j->...", weights, between, weights)
    return (pairs + (weights.square() * width).sum(-1) / 3).mean()


def _smooth(network: OmniMotion, batch: Batch, local: Tensor, canonical: Tensor) -> Tensor:
    """Acceleration from the frame before over the frame to the next, of the first quarter of the points."""
    between = (batch.first > 0) & (batch.first < network.frames - 1)
    if not bool(between.any()):
        return local.new_zeros(())
    count = local.shape[1] // 4
    here, shared, index = local[between, :count], canonical[between, :count], batch.first[between]
    before = to_frame(network, shared, network.codes(index - 1))
    after = to_frame(network, shared, network.codes(index + 1))
    error = ((here - before) - (after - here)).abs().mean(-1).flatten()
    return _mean(error[without_worst(error)])
