"""The two sweeps over a clip that make its particles: propagate, link, optimise, prune, add."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tapkit.flow.particle_video.channels import at, channels, gradient
from tapkit.flow.particle_video.density import gaps, scale_map
from tapkit.flow.particle_video.links import triangulated, weights
from tapkit.flow.particle_video.objective import Outcome, optimise
from tapkit.flow.particle_video.options import ParticleOptions
from tapkit.flow.particle_video.particles import Particles
from tapkit.flow.particle_video.variational import motion

Report = Callable[[int, int], object]
LEAST_VISIBLE = 0.5
CUT = 0.6
"""Part of the picture that must be seen in the other frame: less is a scene cut, over which nothing is carried. Between
frames of one shot it is above 0.8 even in quick motion, over cuts below 0.3."""
REACH = 3
"""The temporal filter of appearance looks so many sigmas far."""


class Sweeps:
    """Makes the particles of one clip.

    Args:
        frames: [T,3,h,w] uint8 RGB.
        options: see there.
        report: called with (frames processed, frames to process) over both sweeps.
    """

    def __init__(self, frames: np.ndarray, options: ParticleOptions, report: Report | None = None) -> None:
        self.frames, self.options = frames, options
        self.particles = Particles(len(frames))
        self.energies: dict[int, list[float]] = {}
        """Per frame, energies over the outer iterations of the last sweep."""
        self._report = report
        self._images: dict[int, np.ndarray] = {}

    def run(self) -> Particles:
        """Forward, then backward."""
        count = len(self.frames)
        for done, frame in enumerate(range(count)):
            self._process(frame, 1)
            if self._report is not None:
                self._report(done + 1, 2 * count)
        self._images.clear()
        for done, frame in enumerate(reversed(range(count))):
            self._process(frame, -1)
            if self._report is not None:
                self._report(count + done + 1, 2 * count)
        self._images.clear()
        return self.particles

    def image(self, frame: int) -> np.ndarray:
        """[15,h,w]: channels of a frame and their derivatives; the last few frames are kept."""
        if frame not in self._images:
            while len(self._images) > self.options.together:
                self._images.pop(next(iter(self._images)))
            five = channels(self.frames[frame])
            self._images[frame] = np.concatenate([five, *gradient(five)])
        return self._images[frame]

    def _process(self, frame: int, direction: int) -> None:
        if 0 <= frame - direction < len(self.frames):
            moved = self._propagate(frame - direction, frame)
            self._settle(frame, direction, moved)
        spacing = scale_map(self.frames[frame], self.options.least_spacing)
        new = gaps(spacing, self.particles.xy[frame])
        self.particles.add(frame, new, at(self.image(frame)[:5], new))

    def _propagate(self, source: int, frame: int) -> np.ndarray:
        """Particles that end (or begin) in `source` carried into `frame` by flow; their ids."""
        particles = self.particles
        ids = np.setdiff1d(particles.ids[source], particles.ids[frame], assume_unique=True)
        rows, _ = particles.rows(source, ids)
        xy = particles.xy[source][rows]
        flow, visible = motion(self.image(source)[:5], self.image(frame)[:5], self.options)
        sampled = at(np.concatenate([flow, visible[None]]), xy)
        there = xy + sampled[:, :2]
        size = np.array(visible.shape[::-1], np.float32)
        seen = (sampled[:, 2] >= LEAST_VISIBLE) & ((there >= 0) & (there <= size)).all(1)
        if (visible >= LEAST_VISIBLE).mean() < CUT:
            seen[:] = False
        ids, there = ids[seen], there[seen]
        return particles.add(frame, there, at(self.image(frame)[:5], there), ids)

    def _settle(self, frame: int, direction: int, moved: np.ndarray) -> None:
        """Link, optimise and prune the particles of a frame."""
        particles, options = self.particles, self.options
        ids = particles.ids[frame]
        if not len(ids):
            return
        reach = int(REACH * options.sigma_time)
        frames = range(max(frame - reach, 0), min(frame + reach + 1, len(particles)))
        near = frame - direction * (options.together - 1)
        together = range(max(min(frame, near), 0), min(max(frame, near) + 1, len(particles)))
        piece = particles.piece(frames, ids)
        edges = triangulated(particles.xy[frame])
        outcome = optimise(
            piece, frames, together, edges, weights(piece, edges, options.sigma_link),
            {f: self.image(f) for f in together}, frame, options,
        )  # fmt: skip
        self.energies[frame] = outcome.energies
        for f in together:
            column = f - frames.start
            particles.put(f, ids, outcome.piece.xy[:, column], outcome.piece.look[:, column])
        self._prune(frame, ids, moved, outcome)

    def _prune(self, frame: int, ids: np.ndarray, moved: np.ndarray, outcome: Outcome) -> None:
        """End particles just carried here whose motion or appearance does not fit, or that left the frame."""
        options = self.options
        bad = (outcome.distortion > options.most_distortion) | (outcome.change > options.most_change)
        rows, _ = self.particles.rows(frame, ids)
        xy = self.particles.xy[frame][rows]
        size = np.array(self.frames.shape[:1:-1], np.float32)
        bad |= ((xy < 0) | (xy > size)).any(1)
        self.particles.drop(frame, np.intersect1d(ids[bad], moved))
