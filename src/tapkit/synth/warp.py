"""Where each pixel comes from, and where each texture point goes: one map, read both ways.

For every layer and frame the map from screen to texture is known at the vertices of a mesh (cells of a few pixels):
homography, then bending, at the moment at which that row is exposed. Between vertices it IS the bilinear
interpolation. Rendering interpolates it at all pixels, tracks solve the same interpolation for the position at which
it meets their texture point (Newton), so pictures and truth agree by construction. Outside of the frame, where
nothing is drawn, the map passes over into the formula itself within the mesh's margin.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tapkit.synth.motion import WAVES, Motion, bent

MARGIN = 2
_LEAST_DEPTH = 0.2
ALL = slice(None)


class Mesh(NamedTuple):
    """Vertices of screen -> texture for B clips, L layers, T frames and K moments of the exposure of each."""

    texture: Tensor
    """[B,L,T,K,R,C,2] texture positions at the vertices."""
    size: tuple[int, int]
    """(height, width) of the frame in pixels."""

    @property
    def cell(self) -> tuple[float, float]:
        """(height, width) of a cell in pixels."""
        rows, columns = self.texture.shape[4:6]
        return self.size[0] / (rows - 1 - 2 * MARGIN), self.size[1] / (columns - 1 - 2 * MARGIN)

    def part(self, clips: Tensor, frames: slice) -> Mesh:
        """Of some clips and frames only."""
        return Mesh(self.texture[clips][:, :, frames], self.size)

    def at(self, xy: Tensor, frame: Tensor) -> Tensor:
        """Texture positions of all layers at screen positions xy [B,n,2] (pixels, in the frame) in frames [B,n].

        Returns:
            float [B,L,n,2], at the first moment.
        """
        batch, layers, _, _, rows, columns = self.texture.shape[:6]
        cell_height, cell_width = self.cell
        u, v = xy[..., 0] / cell_width + MARGIN, xy[..., 1] / cell_height + MARGIN
        column, row = u.floor().clamp(0, columns - 2), v.floor().clamp(0, rows - 2)
        fx, fy = (u - column).clamp(0, 1)[:, None, :, None], (v - row).clamp(0, 1)[:, None, :, None]
        vertices = self.texture[:, :, :, 0].reshape(batch, layers, -1, 2)
        first = frame * (rows * columns) + (row * columns + column).long()
        first = first[:, None, :, None].expand(-1, layers, -1, 2)
        top = torch.lerp(vertices.gather(2, first), vertices.gather(2, first + 1), fx)
        first = first + columns
        return torch.lerp(top, torch.lerp(vertices.gather(2, first), vertices.gather(2, first + 1), fx), fy)


def make_mesh(
    motion: Motion, size: tuple[int, int], frames: Tensor, pitch: int, lag: Tensor, moments: Tensor | None = None
) -> Mesh:
    """Evaluate the motion at the vertices.

    Args:
        motion: of B clips.
        size: (height, width).
        frames: float [T], times of the middles of the exposures, in frames.
        pitch: aimed-at size of a cell, pixels.
        lag: [B], by how many frames the last row is exposed later than the first (rolling shutter).
        moments: [B,K], moments of the exposure relative to its middle, in frames; None: the middle alone.
    """
    height, width = size
    device = lag.device
    rows, columns = math.ceil(height / pitch), math.ceil(width / pitch)
    y = (torch.arange(rows + 1 + 2 * MARGIN, device=device) - MARGIN) * (height / rows)
    x = (torch.arange(columns + 1 + 2 * MARGIN, device=device) - MARGIN) * (width / columns)
    moments = lag.new_zeros(len(lag), 1) if moments is None else moments
    times = frames[:, None, None]
    late = lag[:, None] * (y / height - 0.5)
    times = times + moments[:, None, :, None] + late[:, None, None, :]
    flat = times.flatten(1)
    back = inverse(motion.matrices(flat)) @ pixel_matrix(size, device)
    x_, y_ = x[None, :], y.repeat(len(frames) * moments.shape[1])[:, None]
    g = back[..., None, :, :]
    w = (g[..., 2, 0] * x_ + g[..., 2, 1] * y_ + g[..., 2, 2]).clamp_min(_LEAST_DEPTH)
    v = torch.stack([(g[..., i, 0] * x_ + g[..., i, 1] * y_ + g[..., i, 2]) / w for i in range(2)], -1)
    texture = v + motion.bend(v, flat)
    batch, layers = texture.shape[:2]
    return Mesh(texture.view(batch, layers, len(frames), moments.shape[1], len(y), len(x), 2), size)


def pixel_matrix(size: tuple[int, int], device: torch.device | str) -> Tensor:
    """Pixels to screen units, [3,3]."""
    height, width = size
    scale = 2 / max(height, width)
    return torch.tensor([[scale, 0, -width / 2 * scale], [0, scale, -height / 2 * scale], [0, 0, 1]], device=device)


def inverse(matrix: Tensor) -> Tensor:
    """Inverse of 3x3 matrices [...,3,3] by their cross products."""
    a, b, c = matrix.unbind(-1)
    rows = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], -2)
    return rows / (rows[..., 0, :] * a).sum(-1)[..., None, None]


class Upsampler:
    """Bilinear interpolation of meshes at pixel centres, as two matrix products."""

    def __init__(self, mesh: Mesh) -> None:
        height, width = mesh.size
        rows, columns = (n - 2 * MARGIN for n in mesh.texture.shape[4:6])
        device = mesh.texture.device
        self._down = _hat(height, rows, device)
        self._across = torch.kron(_hat(width, columns, device).T.contiguous(), torch.eye(2, device=device))
        self._inner = (slice(MARGIN, MARGIN + rows), slice(MARGIN, MARGIN + columns))
        self._cell = mesh.cell
        self._size = mesh.size

    def __call__(self, vertices: Tensor, rows: slice = ALL, columns: slice = ALL) -> Tensor:
        """Vertices [...,R,C,2] -> texture positions of all pixels, or those in `rows` and `columns` [...,h,w,2]."""
        inner = vertices[..., self._inner[0], self._inner[1], :].flatten(-2)
        start, stop, _ = columns.indices(self._size[1])
        flat = self._down[rows] @ inner @ self._across[:, 2 * start : 2 * stop]
        return flat.view(*flat.shape[:-1], -1, 2)

    def extent(self, vertices: Tensor) -> tuple[slice, slice] | None:
        """Rows and columns of pixels within which some vertices [n,R,C,2] fall on a texture (-1..1); None: none do."""
        inner = vertices[:, self._inner[0], self._inner[1]]
        corners = torch.stack([inner[:, :-1, :-1], inner[:, 1:, :-1], inner[:, :-1, 1:], inner[:, 1:, 1:]])
        hit = ((corners.amin(0) < 1) & (corners.amax(0) > -1)).all(-1).any(0)
        rows, columns = hit.any(1).nonzero()[:, 0].tolist(), hit.any(0).nonzero()[:, 0].tolist()
        if not rows:
            return None
        return (
            _pixels(rows[0], rows[-1] + 1, self._cell[0], self._size[0]),
            _pixels(columns[0], columns[-1] + 1, self._cell[1], self._size[1]),
        )


def _pixels(first: int, last: int, cell: float, length: int) -> slice:
    """The pixels of the cells from vertex `first` to vertex `last`."""
    return slice(max(0, math.floor(first * cell)), min(length, math.ceil(last * cell)))


def _hat(pixels: int, vertices: int, device: torch.device) -> Tensor:
    """Weights [pixels,vertices] of linear interpolation at pixel centres."""
    place = (torch.arange(pixels, device=device) + 0.5) * ((vertices - 1) / pixels)
    return (1 - (place[:, None] - torch.arange(vertices, device=device)).abs()).clamp_min(0)


class Places:
    """The map of chosen layers and frames, n per clip: evaluated at any screen positions."""

    def __init__(self, motion: Motion, mesh: Mesh, layer: Tensor, frame: Tensor) -> None:
        """layer, frame: int64 [B,n]. `mesh` must have the one moment of mid-exposure."""
        batch, _, frames = mesh.texture.shape[:3]
        self.mesh = mesh
        times = torch.arange(frames, device=layer.device, dtype=torch.float32).expand(batch, -1)
        matrices = motion.matrices(times)
        which = layer * frames + frame
        self._forward = _take(matrices.flatten(3), which)
        back = inverse(matrices) @ pixel_matrix(mesh.size, layer.device)
        self._back = _take(back.flatten(3), which)
        self._waves = _take(motion.waves.flatten(2)[:, :, None], layer).view(*layer.shape, WAVES, 6)
        self._time = frame * motion.speed[:, None]
        rows, columns = mesh.texture.shape[4:6]
        self._base = which * (rows * columns)
        self._vertices = mesh.texture.reshape(batch, -1, 2)

    def texture(self, xy: Tensor) -> Tensor:
        """Texture positions seen at screen positions xy [B,n,2] (pixels) -> [B,n,2]."""
        height, width = self.mesh.size
        x, y = xy.unbind(-1)
        outside = torch.stack([-x, x - width, -y, y - height], -1).amax(-1)
        room = MARGIN * min(self.mesh.cell)
        share = (1 - outside / room).clamp(0, 1)[..., None]
        return torch.lerp(self._formula(xy), self._interpolated(xy), share)

    def _formula(self, xy: Tensor) -> Tensor:
        x, y = xy.unbind(-1)
        g = self._back
        w = (g[..., 6] * x + g[..., 7] * y + g[..., 8]).clamp_min(_LEAST_DEPTH)
        v = torch.stack(
            [(g[..., 0] * x + g[..., 1] * y + g[..., 2]) / w, (g[..., 3] * x + g[..., 4] * y + g[..., 5]) / w], -1
        )
        return v + bent(v, self._waves, self._time)

    def _interpolated(self, xy: Tensor) -> Tensor:
        rows, columns = self.mesh.texture.shape[4:6]
        cell_height, cell_width = self.mesh.cell
        u = xy[..., 0] / cell_width + MARGIN
        v = xy[..., 1] / cell_height + MARGIN
        column, row = u.floor().clamp(0, columns - 2), v.floor().clamp(0, rows - 2)
        # Beyond the mesh the formula alone counts; the cell is clamped so that no wild number enters.
        fx, fy = (u - column).clamp(0, 1)[..., None], (v - row).clamp(0, 1)[..., None]
        first = self._base + (row * columns + column).long()

        def corner(offset: int) -> Tensor:
            return self._vertices.gather(1, (first + offset)[..., None].expand(-1, -1, 2))

        top = torch.lerp(corner(0), corner(1), fx)
        return torch.lerp(top, torch.lerp(corner(columns), corner(columns + 1), fx), fy)

    def screen(self, texture: Tensor, steps: int = 4) -> tuple[Tensor, Tensor]:
        """Solve for the screen positions at which texture points [B,n,2] are seen.

        Returns:
            xy [B,n,2] in pixels, and the distance [B,n] in pixels by which the last step still moved.
        """
        v = texture
        for _ in range(6):
            v = texture - bent(v, self._waves, self._time)
        x, y = v.unbind(-1)
        p = self._forward
        w = (p[..., 6] * x + p[..., 7] * y + p[..., 8]).clamp_min(_LEAST_DEPTH / 2)
        seen = [(p[..., 3 * i] * x + p[..., 3 * i + 1] * y + p[..., 3 * i + 2]) / w for i in (0, 1)]
        height, width = self.mesh.size
        xy = torch.stack(seen, -1) * (max(height, width) / 2) + x.new_tensor([width / 2, height / 2])
        moved, jacobian = torch.zeros_like(x), torch.empty(0)
        for step in range(steps):
            here = self.texture(xy)
            if step < 2:
                jacobian = self._jacobian(xy, here)
            change = _solve(jacobian, texture - here).clamp(-24, 24)
            xy, moved = xy + change, torch.linalg.vector_norm(change, dim=-1)
        return xy, moved

    def _jacobian(self, xy: Tensor, here: Tensor, step: float = 0.25) -> Tensor:
        """Derivative of texture by screen position [B,n,2,2], from differences to the values `here` at xy."""
        right, down = (self.texture(xy + xy.new_tensor(shift)) for shift in ([step, 0.0], [0.0, step]))
        return torch.stack([right - here, down - here], -1) / step


def _take(values: Tensor, index: Tensor) -> Tensor:
    """values [B,L,T,k] at index [B,n] of the flattened L*T -> [B,n,k]."""
    flat = values.flatten(1, 2)
    return flat.gather(1, index[..., None].expand(-1, -1, flat.shape[-1]))


def _solve(jacobian: Tensor, error: Tensor) -> Tensor:
    """Solve the 2x2 systems jacobian [...,2,2] @ change = error [...,2]."""
    a, b, c, d = jacobian.flatten(-2).unbind(-1)
    determinant = a * d - b * c
    determinant = torch.where(determinant.abs() < 1e-12, 1e-12, determinant)
    x, y = error.unbind(-1)
    return torch.stack([(d * x - b * y) / determinant, (a * y - c * x) / determinant], -1)
