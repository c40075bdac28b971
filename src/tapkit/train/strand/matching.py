"""Matching pre-training: features from pairs of frames, each point to be found in the other one, on every map.

The cheap beginning of a curriculum. Nothing is tracked: one matrix product compares hundreds of points with all cells
of another frame, so that nearly all the time goes into the encoder. Dense features from warped photographs: DeTone et
al., SuperPoint (CVPR Workshops 2018); cross-entropy over all cells: Sun et al., LoFTR (CVPR 2021), section 3.5.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.constants import constant_like
from tapkit.models.strand.encoder import LEVEL_STRIDES, STRIDES, Maps
from tapkit.models.strand.network import Network
from tapkit.models.strand.patches import to_cells
from tapkit.nn.sampling import blend, integer_patch
from tapkit.train.batch import Batch
from tapkit.train.strand.losses import cell_entropy

APART = (1, 2)
"""A frame's points are looked for in the frames so many places further on in the clip, cyclically."""
ENTROPY = (0.5, 1.0, 0.5)
"""Weights of the cross-entropy on the three maps."""
SUBCELL = (0.6, 0.4, 0.32)
"""Weights of the distance, in cells, after a soft-argmax."""
FARTHEST = 1.5
"""Cells by which the soft-argmax's window is off the truth at most."""
JOINT = 11.0
"""Temperature of the three maps' products together; where it went when it was learned."""
JOINT_ROWS = 1200
"""Of so many points these are made: all cells of the fine map for each."""


def matching_losses(network: Network, maps: Maps, batch: Batch, seed: int) -> dict[str, Tensor]:
    """Losses of clips whose frames are in any order: "matching" (cross-entropies), "position" (sub-cell distances).

    `maps` are those of all frames, clip after clip.

    Cross-entropies are those of each map, and of their sum, by which points are found (`models.strand.matching`).
    Both are weighted already, and zero where no point is visible in two frames. A third, "matching_accuracy", is no
    loss: the share of points whose best cell of the coarse map is the right one or beside it.
    """
    frames = batch.video.shape[1]
    random = torch.Generator().manual_seed(seed)
    apart = [n for n in APART if n < frames]
    # [B,T,J,N]: whether point n of frame t is seen there and in the frame it is looked for in.
    seen = (batch.visible & batch.known).transpose(1, 2)
    xy = torch.nan_to_num(batch.xy).transpose(1, 2)
    keep = torch.stack([seen.roll(n, 1) & seen for n in apart], 2)
    target = xy[:, :, None].expand(-1, -1, len(apart), -1, -1)[keep]
    offset = (2 * torch.rand(target.shape, generator=random) - 1).to(target) * FARTHEST
    zero = torch.stack([level.float().sum() * 0 for level in maps]).sum()
    sums = {"matching": zero, "position": zero, "matching_accuracy": zero}
    if not len(target):
        return sums
    temperatures, sharpness = network.temperature.float().exp(), network.look.sharpness.float().exp()
    costs = []
    for number, (level, stride) in enumerate(zip(maps.learned, STRIDES, strict=True)):
        height, width = level.shape[1:3]
        cost = _compared(level, xy, stride, apart)[keep.flatten()]
        costs.append(cost.view(-1, height, width))
        cells = _held_cells(target, stride, (height, width))
        entropy, _ = cell_entropy(cost * temperatures[number], cells, (height, width), x_slow=False)
        centre = cells + offset
        logits = _window(cost, centre, (height, width), network.config.radius) * sharpness[number]
        moved = (logits.softmax(-1)[..., None] * network.look.offsets).sum(1)
        distance = ((centre + moved - cells).square().sum(-1) + 1e-4 / stride).sqrt().clamp(max=6)
        sums["matching"] = sums["matching"] + ENTROPY[number] * entropy.mean()
        sums["position"] = sums["position"] + SUBCELL[number] * distance.mean()
        if number == 1:
            best = cost.detach().argmax(-1)
            place = torch.stack([best % width, best // width], -1)
            sums["matching_accuracy"] = ((place - cells).abs().amax(-1) < 1.5).float().mean()
    if maps.known.shape[-1]:
        costs.append(
            _compared(maps.known, xy, LEVEL_STRIDES[-1], apart)[keep.flatten()].view(-1, *maps.known.shape[1:3])
        )
    rows = torch.randperm(len(target), generator=random)[:JOINT_ROWS].to(target.device)
    sums["matching"] = sums["matching"] + _joint_entropy([cost[rows] for cost in costs], target[rows]).mean()
    return sums


def _compared(level: Tensor, xy: Tensor, stride: int, apart: list[int]) -> Tensor:
    """Products of the features at xy [B,T,N,2] pixels of maps [B*T,h,w,C] with all cells of frames that are so far
    `apart`: [B*T*J*N,h*w], rows as those of `matching_losses`' places."""
    clips, frames = xy.shape[:2]
    height, width = level.shape[1:3]
    size = constant_like([width * stride, height * stride], xy)
    grid = (2 * xy / size - 1).flatten(0, 1)[:, :, None].to(level.dtype)
    found = F.grid_sample(level.permute(0, 3, 1, 2), grid, padding_mode="border", align_corners=False)
    features = found[..., 0].transpose(1, 2).float()
    features = features.view(clips, frames, *features.shape[1:])
    asked = torch.stack([features.roll(n, 1) for n in apart], 2).flatten(0, 1).flatten(1, 2)
    with torch.autocast(level.device.type, enabled=False):
        cost = torch.bmm(asked, level.float().flatten(1, 2).transpose(1, 2))
    return cost.flatten(0, 1)


def _joint_entropy(costs: list[Tensor], target: Tensor) -> Tensor:
    """Cross-entropy [M] of products with all maps [M,h,w] together, on the cells of the first; target [M,2] pixels."""
    shape = (costs[0].shape[1], costs[0].shape[2])
    total = costs[0]
    for cost in costs[1:]:
        total = total + F.interpolate(cost[:, None], shape, mode="bilinear", align_corners=False)[:, 0]
    cells = _held_cells(target, STRIDES[0], shape)
    entropy, _ = cell_entropy(JOINT * total.flatten(1), cells, shape, x_slow=False)
    return entropy


def _held_cells(xy: Tensor, stride: int, shape: tuple[int, int]) -> Tensor:
    """Pixels [M,2] in cells of a map of shape (h, w), those at its border held to the middles of its last cells."""
    height, width = shape
    return torch.minimum(to_cells(xy, stride).clamp(min=0), constant_like([width - 1.0, height - 1.0], xy))


def _window(cost: Tensor, centre: Tensor, shape: tuple[int, int], radius: int) -> Tensor:
    """Bilinear samples of cost maps [M,h*w] at centre [M,2] cells + (-r..r, -r..r) -> [M,(2r+1)^2], x slow."""
    rows = torch.arange(len(cost), device=cost.device)
    patch, fraction = integer_patch(cost.view(-1, *shape, 1), rows, centre, radius)
    return blend(patch, fraction).flatten(1)
