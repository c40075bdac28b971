"""Compositing: every layer read through the warp mesh, from the back to the front, averaged over the exposure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from tapkit.synth.warp import Mesh, Upsampler


class Overlay(NamedTuple):
    """Pictures that were drawn elsewhere, laid between the layers of one clip."""

    clip: int
    above: int
    """The layer right above which they lie."""
    pictures: Tensor
    """float [F*K,4,H,W], colours and opacity of the frames' moments."""


def composite(back: Tensor, pictures: Tensor, mesh: Mesh, overlays: Sequence[Overlay] = ()) -> Tensor:
    """Draw F frames of B clips.

    Args:
        back: float [B,3,h,w], the background; mirrored beyond its borders.
        pictures: float [B,L-1,4,R,R], colours and opacity of the layers above it.
        mesh: warps of all L layers in the F frames; its K moments are averaged.
        overlays: of the same frames.

    Returns:
        float [B,3,F,H,W] in 0..1.
    """
    height, width = mesh.size
    upsample = Upsampler(mesh)
    batch, _, _, moments = mesh.texture.shape[:4]
    vertices = mesh.texture[:, 0]
    grid = upsample(vertices * background_scale(back)).reshape(batch, -1, width, 2)
    canvas = F.grid_sample(back, grid, padding_mode="reflection", align_corners=False)
    canvas = canvas.view(batch, 3, -1, height, width)
    _lay_over(canvas, overlays, 0)
    for layer in range(pictures.shape[1]):
        vertices = mesh.texture[:, layer + 1]
        extent = upsample.extent(vertices.flatten(0, 2))
        if extent is not None:
            grid = upsample(vertices, *extent)
            shape = grid.shape[3:5]
            drawn = F.grid_sample(
                pictures[:, layer], grid.reshape(batch, -1, shape[1], 2), padding_mode="zeros", align_corners=False
            ).view(batch, 4, -1, *shape)
            canvas[..., extent[0], extent[1]].lerp_(drawn[:, :3], drawn[:, 3:])
        _lay_over(canvas, overlays, layer + 1)
    canvas = canvas.view(batch, 3, -1, moments, height, width)
    return canvas.mean(3) if moments > 1 else canvas[:, :, :, 0]


def _lay_over(canvas: Tensor, overlays: Sequence[Overlay], layer: int) -> None:
    """Blend the overlays right above `layer` into canvas [B,3,F*K,H,W], in place."""
    for overlay in overlays:
        if overlay.above == layer:
            drawn = overlay.pictures.transpose(0, 1)
            canvas[overlay.clip].lerp_(drawn[:3], drawn[3:])


def background_scale(back: Tensor) -> Tensor:
    """From texture units of the background (1 is half of its height) to sampling coordinates, [2]."""
    return back.new_tensor([back.shape[2] / back.shape[3], 1.0])


def opacity(pictures: Tensor, texture: Tensor) -> Tensor:
    """Opacity of every layer above the background at texture positions [B,L-1,n,2] -> [B,L-1,n]."""
    flat = F.grid_sample(
        pictures[:, :, 3:].flatten(0, 1), texture.flatten(0, 1)[:, None], padding_mode="zeros", align_corners=False
    )
    return flat.view(texture.shape[:3])
