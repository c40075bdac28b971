"""Answers for queries: the particles around a point carry it, and hand it on when they end."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tapkit.errors import require
from tapkit.flow.particle_video.channels import at, bell, channels
from tapkit.flow.particle_video.options import ParticleOptions
from tapkit.flow.particle_video.particles import Particles

SIGMA_COLOUR = 20.0
LEAST_WEIGHT = 0.3
"""A point is handed on when less than this part of its carriers' weight still lives."""

NOBODY = 20
"""What it counts for when nobody is there to hand a point to, as over a scene cut."""


class Answer(NamedTuple):
    """Tracks of N queries."""

    xy: np.ndarray
    """[N,T,2] float32."""
    alive: np.ndarray
    """[N,T] float32: part of the weight of the first carriers that still lives."""
    handed: np.ndarray
    """[N,T] float32: how often the point was handed on."""
    similar: np.ndarray
    """[N,T] float32, 0..1: similarity of the colour there with that of the query."""


class Carriers(NamedTuple):
    """Particles that carry N points."""

    ids: np.ndarray
    """[N,K] int64."""
    weight: np.ndarray
    """[N,K] float32, sums to 1 (0 where there is none)."""


def carry(particles: Particles, frames: np.ndarray, queries: np.ndarray, options: ParticleOptions) -> Answer:
    """Tracks of queries [N,3] (t, x, y) over all frames [T,3,h,w]; points do not influence each other."""
    count, length = len(queries), len(frames)
    answer = Answer(
        np.repeat(queries[:, None, 1:], length, 1).astype(np.float32),
        np.zeros((count, length), np.float32),
        np.zeros((count, length), np.float32),
        np.zeros((count, length), np.float32),
    )
    start = queries[:, 0].astype(np.int64)
    look = np.zeros((count, 5), np.float32)
    for frame in np.unique(start):
        here = start == frame
        look[here] = at(channels(frames[frame]), queries[here, 1:])
    for direction in (1, -1):
        _sweep(particles, frames, start, look, direction, answer, options)
    return answer


def _sweep(
    particles: Particles, frames: np.ndarray, start: np.ndarray, look: np.ndarray, direction: int, answer: Answer,
    options: ParticleOptions,
) -> None:  # fmt: skip
    """Fill in the frames on one side of the queries."""
    count, length = answer.alive.shape
    k = options.carriers
    ids, weight = np.full((count, k), -1, np.int64), np.zeros((count, k), np.float32)
    first, first_weight = ids.copy(), weight.copy()
    handed = np.zeros(count, np.float32)
    order = range(length) if direction > 0 else range(length - 1, -1, -1)
    for frame in order:
        going = np.flatnonzero((start - frame) * direction <= 0)
        if not len(going):
            continue
        five = channels(frames[frame])
        before = frame - direction
        old = going[start[going] != frame]
        if len(old):
            lost = old[_living(particles, frame, ids[old], weight[old]) < LEAST_WEIGHT]
            if len(lost):
                ids[lost], weight[lost] = _nearest(
                    particles, before, frame, answer.xy[lost, before], look[lost], options.carriers
                )
                handed[lost] += np.where(weight[lost].any(1), 1, NOBODY)
            answer.xy[old, frame] = answer.xy[old, before] + _step(particles, before, frame, ids[old], weight[old])
            answer.alive[old, frame] = _living(particles, frame, first[old], first_weight[old])
            answer.handed[old, frame] = handed[old]
        new = going[start[going] == frame]
        if len(new):
            ids[new], weight[new] = _nearest(particles, frame, frame, answer.xy[new, frame], look[new], k)
            first[new], first_weight[new] = ids[new], weight[new]
            answer.alive[new, frame] = 1
        colour = at(five, answer.xy[going, frame])[:, [0, 3, 4]] - look[going][:, [0, 3, 4]]
        size = np.array(five.shape[:0:-1], np.float32)
        inside = ((answer.xy[going, frame] >= 0) & (answer.xy[going, frame] <= size)).all(1)
        answer.similar[going, frame] = bell(np.sqrt((colour**2).sum(1)), SIGMA_COLOUR) * inside


def _nearest(
    particles: Particles, frame: int, other: int, xy: np.ndarray, look: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k particles nearest to points [n,2] in `frame` that also live in `other`: ids and weights [n,k]."""
    spatial: Any = require("scipy.spatial", "particles")
    living = np.isin(particles.ids[frame], particles.ids[other], assume_unique=True)
    ids, places, looks = particles.ids[frame][living], particles.xy[frame][living], particles.look[frame][living]
    if not len(ids):
        return np.full((len(xy), k), -1), np.zeros((len(xy), k), np.float32)
    distance, rows = spatial.cKDTree(places).query(xy, k=min(k, len(ids)))
    distance, rows = distance.reshape(len(xy), -1), rows.reshape(len(xy), -1)
    unlike = np.sqrt(((looks[rows][..., [0, 3, 4]] - look[:, None, [0, 3, 4]]) ** 2).sum(-1))
    sigma = np.maximum(distance[:, : min(3, distance.shape[1])].mean(1, keepdims=True), 1.0)
    weight = bell(distance, sigma) * (bell(unlike, SIGMA_COLOUR) + 1e-3)
    weight /= weight.sum(1, keepdims=True)
    short = ((0, 0), (0, k - rows.shape[1]))
    return np.pad(ids[rows], short, constant_values=-1), np.pad(weight, short).astype(np.float32)


def _living(particles: Particles, frame: int, ids: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """[n] which part of the weight lives in a frame."""
    _, known = particles.rows(frame, ids.ravel())
    part: np.ndarray = (weight * known.reshape(ids.shape)).sum(1)
    return part


def _step(particles: Particles, before: int, frame: int, ids: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """[n,2] mean motion of the carriers that live in both frames; 0 where none does."""
    old, had = particles.rows(before, ids.ravel())
    new, has = particles.rows(frame, ids.ravel())
    both = had & has
    motion = np.zeros((ids.size, 2), np.float32)
    motion[both] = particles.xy[frame][new[both]] - particles.xy[before][old[both]]
    weight = weight * both.reshape(ids.shape)
    total = np.maximum(weight.sum(1, keepdims=True), 1e-6)
    mean: np.ndarray = (motion.reshape(*ids.shape, 2) * weight[..., None]).sum(1) / total
    return mean
