"""The objective of particles and its minimisation: appearance along tracks, and motion relative to linked particles.

Several frames are optimised together. Pictures are linearised (outer), robust weights fixed (inner), and the linear
system, which is never assembled, is solved by conjugate gradients with its own 2x2 blocks as the preconditioner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tapkit.errors import require
from tapkit.flow.particle_video.channels import EPSILON, at, bell, robust_weight
from tapkit.flow.particle_video.options import ParticleOptions
from tapkit.flow.particle_video.particles import Piece

INNER = 2
ITERATIONS = 12
MOST_UPDATE = 2.0
BORDER = 3.0
CONDITION = 1e-3
WEAK_LINKS = 0.4
"""Mean link weight below which a particle is taken to sit at a flow boundary: its gradient channels are left out."""


class Outcome(NamedTuple):
    """What the optimisation leaves."""

    piece: Piece
    energies: list[float]
    """Energy before each outer iteration and at the end."""
    distortion: np.ndarray
    """[n] weighted mean of the distortion over the links, pixels per frame, in the frame that was processed."""
    change: np.ndarray
    """[n] mean difference from the filtered appearance, 0..255, in that frame."""


class Problem(NamedTuple):
    """What stays the same over all iterations."""

    first: int
    """Column of the first optimised frame within the piece."""
    last: int
    """Column behind the last."""
    incidence: Any
    """[l,n] sparse: +1 and -1 at the ends of each link."""
    links: np.ndarray
    """[l] weights times alpha."""
    both: np.ndarray
    """[l,f+1] whether both ends have the motion into frames first..last."""
    keep: np.ndarray
    """[n,5] which channels count."""


def filtered_look(piece: Piece, first: int, last: int, sigma: float) -> np.ndarray:
    """[n,last-first,5] appearance filtered by a Gaussian in time over the frames each particle lives in."""
    columns = np.arange(piece.alive.shape[1])
    kernel = bell(columns[first:last, None] - columns, sigma).astype(np.float32)
    total = piece.alive.astype(np.float32) @ kernel.T
    weighted = np.einsum("ntc,ft->nfc", piece.look * piece.alive[..., None], kernel, optimize=True)
    filtered: np.ndarray = weighted / np.maximum(total, 1e-6)[..., None]
    return filtered


def optimise(
    piece: Piece,
    frames: range,
    together: range,
    edges: np.ndarray,
    weights: np.ndarray,
    images: Mapping[int, np.ndarray],
    now: int,
    options: ParticleOptions,
) -> Outcome:
    """Move particles within the frames `together`; everything else stays.

    Args:
        piece: the particles over `frames`.
        edges, weights: links [l,2] (rows of the piece) and their weights.
        images: per frame of `together` [15,h,w]: channels, their x and their y derivatives.
        now: the frame that is being processed, one of `together`.
    """
    problem = _problem(piece, frames, together, edges, weights, options)
    piece = Piece(piece.xy.copy(), piece.look.copy(), piece.alive)
    energies = []
    for _ in range(options.outer):
        sampled, usable = _look(piece, problem, together, images)
        target = filtered_look(piece, problem.first, problem.last, options.sigma_time)
        energies.append(_energy(piece, problem, target, usable))
        step = _step(piece, problem, sampled, target, usable)
        piece.xy[:, problem.first : problem.last] += step
    _, usable = _look(piece, problem, together, images)
    target = filtered_look(piece, problem.first, problem.last, options.sigma_time)
    energies.append(_energy(piece, problem, target, usable))
    column = now - together.start
    change = np.abs(piece.look[:, problem.first + column] - target[:, column]).mean(1)
    return Outcome(piece, energies, _distortion(piece, problem, now - frames.start, options), change)


def _problem(
    piece: Piece, frames: range, together: range, edges: np.ndarray, weights: np.ndarray, options: ParticleOptions
) -> Problem:
    sparse: Any = require("scipy.sparse", "particles")
    first, last = together.start - frames.start, together.stop - frames.start
    n, count = len(piece.xy), len(edges)
    ends = (np.tile(np.arange(count), 2), edges.T.ravel())
    signs = np.repeat(np.array([1, -1], np.float32), count)
    incidence = sparse.csr_matrix((signs, ends), shape=(count, n))
    alive = np.pad(piece.alive, ((0, 0), (1, 1)))
    moves = alive[:, first : last + 1] & alive[:, first + 1 : last + 2]
    i, j = edges.T
    strength = abs(incidence).T @ weights
    degree = np.bincount(edges.ravel(), minlength=n)
    boundary = (degree > 0) & (strength < WEAK_LINKS * degree)
    keep = np.ones((n, 5), np.float32)
    keep[boundary, 1:3] = 0
    return Problem(first, last, incidence, options.alpha_distortion * weights, moves[i] & moves[j], keep)


def _look(
    piece: Piece, problem: Problem, together: range, images: Mapping[int, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Samples [n,f,15] at the present places (also put into the piece), and where they count [n,f]."""
    sampled = np.zeros((*piece.alive[:, problem.first : problem.last].shape, 15), np.float32)
    usable = piece.alive[:, problem.first : problem.last].copy()
    for column, frame in enumerate(together):
        alive = piece.alive[:, problem.first + column]
        xy = piece.xy[:, problem.first + column]
        sampled[alive, column] = at(images[frame], xy[alive])
        size = np.array(images[frame].shape[:0:-1], np.float32)
        usable[:, column] &= ((xy >= BORDER) & (xy <= size - BORDER)).all(1)
    piece.look[:, problem.first : problem.last] = sampled[..., :5]
    return sampled, usable


def _relative(piece: Piece, problem: Problem) -> np.ndarray:
    """[l,f+1,2] difference of the motions of linked particles into frames first..last (0 where there is none)."""
    xy = np.pad(piece.xy, ((0, 0), (1, 1), (0, 0)))
    motion = np.diff(xy[:, problem.first : problem.last + 2], axis=1)
    answer: np.ndarray = _across(problem.incidence, motion) * problem.both[..., None]
    return answer


def _across(matrix: Any, values: np.ndarray) -> np.ndarray:
    """Sparse [r,n] times [n,...]."""
    rest = values.shape[1:]
    product: np.ndarray = (matrix @ values.reshape(len(values), math.prod(rest))).reshape(matrix.shape[0], *rest)
    return product


def _energy(piece: Piece, problem: Problem, target: np.ndarray, usable: np.ndarray) -> float:
    residual = piece.look[:, problem.first : problem.last] - target
    data = (np.sqrt(residual**2 + EPSILON**2) * problem.keep[:, None] * usable[..., None]).sum()
    apart = (_relative(piece, problem) ** 2).sum(-1)
    distortion = (np.sqrt(apart + EPSILON**2) * problem.both * problem.links[:, None]).sum()
    return float(data + 2 * distortion)  # the sum over particles meets each link twice


def _step(piece: Piece, problem: Problem, sampled: np.ndarray, target: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Increments [n,f,2] from one linearisation."""
    ix, iy = sampled[..., 5:10], sampled[..., 10:15]
    iz = sampled[..., :5] - target
    relative = _relative(piece, problem)
    step = np.zeros((*usable.shape, 2), np.float32)
    free = piece.alive[:, problem.first : problem.last, None]
    for _ in range(INNER):
        weight = (
            problem.keep[:, None]
            * usable[..., None]
            * robust_weight((iz + ix * step[..., :1] + iy * step[..., 1:]) ** 2)
        )
        blocks = ((weight * ix * ix).sum(-1), (weight * ix * iy).sum(-1), (weight * iy * iy).sum(-1))
        right = -np.stack([(weight * ix * iz).sum(-1), (weight * iy * iz).sum(-1)], -1)
        apart = relative + _across(problem.incidence, _motions(step))
        links = 2 * problem.links[:, None] * problem.both * robust_weight((apart**2).sum(-1))
        right -= _motions_back(_across(problem.incidence.T, links[..., None] * relative))
        step = _solve(blocks, links, problem, right * free, step, free)
    answer: np.ndarray = np.clip(step, -MOST_UPDATE, MOST_UPDATE) * free
    return answer


def _motions(step: np.ndarray) -> np.ndarray:
    """Increments [n,f,2] -> increments of the motions into first..last [n,f+1,2]; frames around do not move."""
    return np.diff(np.pad(step, ((0, 0), (1, 1), (0, 0))), axis=1)


def _motions_back(values: np.ndarray) -> np.ndarray:
    """The transpose of `_motions`: [n,f+1,2] -> [n,f,2]."""
    back: np.ndarray = values[:, :-1] - values[:, 1:]
    return back


def _solve(
    blocks: tuple[np.ndarray, np.ndarray, np.ndarray],
    links: np.ndarray,
    problem: Problem,
    right: np.ndarray,
    start: np.ndarray,
    free: np.ndarray,
) -> np.ndarray:
    """Preconditioned conjugate gradients from `start` for the system of data blocks and links."""
    a11, a12, a22 = (block.astype(np.float64) for block in blocks)
    incidence, back = problem.incidence, problem.incidence.T.tocsr()

    def product(z: np.ndarray) -> np.ndarray:
        data = np.stack([a11 * z[..., 0] + a12 * z[..., 1], a12 * z[..., 0] + a22 * z[..., 1]], -1)
        relative = links[..., None] * _across(incidence, _motions(z))
        answer: np.ndarray = (data + CONDITION * z + _motions_back(_across(back, relative))) * free
        return answer

    own = _across(abs(back), links)
    own = own[:, :-1] + own[:, 1:] + CONDITION
    d11, d22 = a11 + own, a22 + own
    # The determinant, written so that rounding cannot make it negative: a11 a22 - a12^2 is 0 along an edge.
    inverse = 1 / (np.maximum(a11 * a22 - a12 * a12, 0) + own * (a11 + a22 + own))

    def preconditioned(r: np.ndarray) -> np.ndarray:
        answer: np.ndarray = (
            np.stack([d22 * r[..., 0] - a12 * r[..., 1], d11 * r[..., 1] - a12 * r[..., 0]], -1) * inverse[..., None]
        )
        return answer

    z = start.astype(np.float64)
    rest = right - product(z)
    direction = preconditioned(rest)
    size = float((rest * direction).sum())
    for _ in range(ITERATIONS):
        along = product(direction)
        curvature = float((direction * along).sum())
        if size <= 1e-9 or curvature <= 0:
            break
        length = size / curvature
        z += length * direction
        rest -= length * along
        better = preconditioned(rest)
        after = float((rest * better).sum())
        direction = better + after / size * direction
        size = after
    return z.astype(np.float32)


def _distortion(piece: Piece, problem: Problem, column: int, options: ParticleOptions) -> np.ndarray:
    """[n] weighted mean of |relative motion| over the links, smoothed by a Gaussian of one frame in time."""
    apart = np.sqrt((_relative(piece, problem) ** 2).sum(-1))
    weight = problem.links[:, None] * problem.both / options.alpha_distortion
    ends = abs(problem.incidence.T)
    time = bell(np.arange(apart.shape[1]) - (column - problem.first), 1.0) + bell(
        np.arange(apart.shape[1]) - (column - problem.first) - 1, 1.0
    )
    total = ends @ (weight @ time)
    mean: np.ndarray = (ends @ ((weight * apart) @ time)) / np.maximum(total, 1e-6)
    return mean
