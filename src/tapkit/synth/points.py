"""Which points of a scene are tracked, where they are in every frame, and when they are seen."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tapkit.synth.dice import Dice
from tapkit.synth.render import opacity
from tapkit.synth.scene import Scene
from tapkit.synth.solids import SurfacePoints, covers, follow, touched
from tapkit.synth.warp import Places

CANDIDATES, TRACED = 4.0, 1.5
"""Points tried, and points followed, per point wanted."""
FAVOUR = 10.0
"""How much likelier a point that is hidden in some frame is chosen than one that is not."""
CLEAR, HIDDEN = 0.95, 0.5
"""Opacity from which a point is surely of a layer; opacity from which a layer hides what lies behind it."""
TOGETHER = 32
"""Frames solved together, to bound memory."""
UNSOLVED = 0.01
"""Pixels: a track whose position in the frame was not found to this is not used."""


class Points(NamedTuple):
    """n points of each of B clips."""

    rank: Tensor
    """float [B,n]: the number of its layer; of a body, half above the layer that it is right above of."""
    texture: Tensor
    """float [B,n,2]: place on its layer, texture units."""
    face: Tensor
    """int64 [B,n]: triangle of the body."""
    weights: Tensor
    """float [B,n,3]: place on the triangle."""

    def pick(self, index: Tensor) -> Points:
        """Those at index [B,k]."""
        return Points(*(_pick(value, index) for value in self))


def tracks(dice: Dice, scene: Scene) -> tuple[Tensor, Tensor]:
    """Choose `config.points` points that are seen at least once, and follow them.

    Returns:
        xy float [B,N,T,2] in pixels, visible bool [B,N,T].
    """
    wanted = scene.config.points
    points = seen_points(dice, scene, round(TRACED * wanted) + 1)
    xy, solved = positions(scene, points)
    seen = visibility(scene, points, xy)
    comes_and_goes = (inside(xy, scene.config.size) & ~seen).any(-1)
    weight = torch.where(comes_and_goes, FAVOUR, 1.0) * solved + 1e-9
    best = _weighted(dice, weight, wanted)
    return _pick(xy, best), _pick(seen, best)


def inside(xy: Tensor, size: tuple[int, int]) -> Tensor:
    """Whether positions [...,2] lie on a pixel of the frame -> bool [...]."""
    return (xy >= 0).all(-1) & (xy[..., 0] < size[1]) & (xy[..., 1] < size[0])


def seen_points(dice: Dice, scene: Scene, number: int) -> Points:
    """`number` random points of each clip, each seen in a random frame.

    What is seen little of is preferred, so that small and thin things get their share.
    """
    config = scene.config
    batch = len(scene.lag)
    tried = round(CANDIDATES / TRACED * number)
    height, width = config.size
    frame = dice.integers(0, config.frames, batch, tried)
    xy = dice.uniform(0, 1, batch, tried, 2) * torch.tensor([width, height], device=dice.device)
    points, clear = _touched(scene, xy, frame)
    # Weighted by how often things of the same rank were met; ranks are halves.
    bins = (points.rank * 2).long()
    met = clear.new_zeros(batch, 2 * scene.pictures.shape[1] + 3, dtype=torch.float32)
    met.scatter_add_(1, bins, clear.float())
    weight = met.gather(1, bins).clamp_min(1).pow(-0.6) * clear + 1e-9
    return points.pick(_weighted(dice, weight, number))


def _touched(scene: Scene, xy: Tensor, frame: Tensor) -> tuple[Points, Tensor]:
    """What is seen at xy [B,n,2] in frames [B,n] -> points, and whether each is surely of what it is given to."""
    above = _opacities(scene, xy, frame)
    order = torch.arange(1, above.shape[1] + 1, device=xy.device)[:, None]
    layer = torch.zeros_like(frame)
    clear = torch.ones_like(frame, dtype=torch.bool)
    if above.shape[1]:
        layer = ((above > HIDDEN) * order).amax(1)
        own = above.gather(1, (layer - 1).clamp_min(0)[:, None])[:, 0]
        clear = (layer == 0) | (own > CLEAR)
    texture = Places(scene.motion, scene.mesh, layer, frame).texture(xy)
    rank = layer.float()
    face = torch.zeros_like(layer)
    weights = xy.new_zeros(*layer.shape, 3)
    for placed in scene.solids:
        clip = placed.clip
        hit, surface = touched(placed.solid, placed.view, xy[clip], frame[clip])
        hit &= rank[clip] < placed.rank
        rank[clip] = torch.where(hit, placed.rank, rank[clip])
        clear[clip] |= hit
        face[clip] = torch.where(hit, surface.face, face[clip])
        weights[clip] = torch.where(hit[:, None], surface.weights, weights[clip])
    return Points(rank, texture, face, weights), clear


def positions(scene: Scene, points: Points) -> tuple[Tensor, Tensor]:
    """Where points are in every frame -> xy [B,n,T,2] in pixels, and whether each was solved exactly, bool [B,n]."""
    frames = scene.config.frames
    batch, number = points.rank.shape
    found, errors = [], []
    for some in torch.split(torch.arange(frames, device=points.rank.device), TOGETHER):
        frame = some.repeat(number).expand(batch, -1)
        layer = points.rank.long().repeat_interleave(len(some), 1)
        places = Places(scene.motion, scene.mesh, layer, frame)
        there, moved = places.screen(points.texture.repeat_interleave(len(some), 1))
        found.append(there.view(batch, number, -1, 2))
        errors.append(moved.view(batch, number, -1))
    xy = torch.cat(found, 2)
    wrong = (torch.cat(errors, 2) > UNSOLVED) & inside(xy, scene.config.size)
    solved = ~wrong.any(-1)
    times = torch.arange(frames, device=xy.device, dtype=torch.float32)
    for placed in scene.solids:
        clip = placed.clip
        own = (points.rank[clip] == placed.rank).nonzero()[:, 0]
        surface = SurfacePoints(points.face[clip, own], points.weights[clip, own])
        xy[clip, own] = follow(placed.solid, placed.view, surface, times)[0]
        solved[clip, own] = True
    return xy, solved


def visibility(scene: Scene, points: Points, xy: Tensor) -> Tensor:
    """Whether points at xy [B,n,T,2] are in the frame and not hidden -> bool [B,n,T]."""
    frames = scene.config.frames
    batch, number = points.rank.shape
    frame = torch.arange(frames, device=xy.device).repeat(number).expand(batch, -1)
    above = _opacities(scene, xy.flatten(1, 2), frame).view(batch, -1, number, frames)
    order = torch.arange(1, above.shape[1] + 1, device=xy.device)[:, None, None]
    hidden = ((above > HIDDEN) & (order > points.rank[:, None, :, None])).any(1)
    times = torch.arange(frames, device=xy.device, dtype=torch.float32)
    for placed in scene.solids:
        clip, seen = placed.clip, placed.view
        hidden[clip] |= covers(seen, xy[clip]) & (points.rank[clip, :, None] < placed.rank)
        own = (points.rank[clip] == placed.rank).nonzero()[:, 0]
        surface = SurfacePoints(points.face[clip, own], points.weights[clip, own])
        hidden[clip, own] |= ~follow(placed.solid, seen, surface, times)[1]
    return inside(xy, scene.config.size) & ~hidden


def _opacities(scene: Scene, xy: Tensor, frame: Tensor) -> Tensor:
    """Opacity of the layers 1 to L-1 at screen positions [B,n,2] in frames [B,n] -> [B,L-1,n]."""
    if scene.pictures.shape[1] == 0:
        return xy.new_zeros(xy.shape[0], 0, xy.shape[1])
    return opacity(scene.pictures, scene.mesh.at(xy, frame)[:, 1:])


def _weighted(dice: Dice, weight: Tensor, number: int) -> Tensor:
    """Choose `number` of each row of weights [B,n] without replacement -> indices [B,number]."""
    # The largest of log weight + Gumbel noise are such a choice.
    gumbel = -(-dice.uniform(1e-6, 1, *weight.shape).log()).log()
    return (weight.log() + gumbel).topk(number, 1).indices


def _pick(values: Tensor, index: Tensor) -> Tensor:
    """values [B,n,...] at index [B,k] -> [B,k,...]."""
    shape = (*index.shape, *([1] * (values.dim() - 2)))
    return values.gather(1, index.view(shape).expand(*index.shape, *values.shape[2:]))
