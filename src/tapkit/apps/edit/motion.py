"""How a region moves: one transform for each frame, from a reference frame, out of the tracks of its points.

Every frame is fitted from the reference directly, so nothing drifts. Where too few points are common to both, the way
leads over the best frame between them (`chained`); where there are none, the last transform is held, with a confidence
of 0, and `presence` fades.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tapkit.apps.edit.corrections import Pin, offsets
from tapkit.apps.edit.models import DEGREES, KINDS, LEAST, Kind, apply, through
from tapkit.apps.edit.prepare import Prepared, spikes
from tapkit.apps.edit.region import in_polygon
from tapkit.apps.edit.robust import LEAST_SUPPORT, Fit, robust_fit
from tapkit.errors import UsageError

Follow = Kind | str
CLOSE = 1.2
"""A simpler model is taken if its residuals are at most this much larger than those of the next one."""
LEAST_RMS = 0.1
"""Pixels: residuals are never taken to be smaller, so that a model is not chosen for what nobody sees."""
LOOKED_AT = 12
"""Frames from which the model is chosen."""
FADE = 4
"""Frames in which what is lost fades."""
BLEND = 5
"""Frames over which a change of the model is blended."""
ZOOM = 4.0
"""Beyond this scale a frame is fitted from a nearer one."""
LOYALTY = 0.8
"""How slowly a point's record changes, from frame to frame."""
DISLOYAL = 0.1
"""What a point counts at least that does not agree."""
CUT_INLIERS = 0.2
"""Share of points that agree between neighbouring frames below which there may be a cut."""
CUT_COLOURS = 0.5
"""Chi-square distance of their colours from which on there is one."""

Picture = Callable[[int], np.ndarray]
"""The frame of that number, [H,W,3] uint8, of any size."""


@dataclass(frozen=True, eq=False)
class Motion:
    """Transforms of a region, from the reference frame to every frame."""

    matrices: np.ndarray
    """[T,3,3] float64: positions on the reference frame to positions on frame t."""
    confidence: np.ndarray
    """[T], 0..1: the share of the points that agree, less where they are few; 0 where the transform is held."""
    kinds: tuple[str, ...]
    """[T]: the model that was used."""
    state: tuple[str, ...]
    """[T]: fitted, chained, re-anchored, held, cut."""
    presence: np.ndarray
    """[T], 0..1: how much of an edit is to be seen, which fades where the region is lost."""
    reference: int
    corners: np.ndarray
    """[4,2] of the region, on the reference frame."""
    rows: np.ndarray
    """[n] rows of the tracks that it was fitted to."""
    inlier: np.ndarray
    """[n,T], 0..1: how far each agrees."""
    rms: np.ndarray
    """[T] pixels, of the residuals; 0 where held."""
    notes: tuple[str, ...] = ()
    """What the user should know, in sentences."""

    @property
    def frames(self) -> int:
        """T."""
        return len(self.matrices)

    def path(self, xy: np.ndarray) -> np.ndarray:
        """Where positions [k,2] of the reference frame are on every frame: [T,k,2]."""
        return np.stack([apply(matrix, xy) for matrix in self.matrices])

    def from_frame(self, reference: int) -> np.ndarray:
        """The transforms from another frame instead, [T,3,3]: nothing is tracked or fitted again."""
        if not 0 <= reference < self.frames:
            raise UsageError(f"there is no frame {reference}: the frames are 0..{self.frames - 1}")
        out = self.matrices @ np.linalg.inv(self.matrices[reference])
        return np.asarray(out / out[:, 2:, 2:])

    @property
    def bad_frames(self) -> np.ndarray:
        """Frames that should be looked at: held, or with a confidence below one half; int64."""
        return np.flatnonzero(self.confidence < 0.5)

    def with_corners(self, corners: np.ndarray, rows: np.ndarray | None = None) -> Motion:
        """The motion that carries the region's corners along `corners` [T,4,2] (on the frames `rows`, if given).

        Frames on which they cannot be carried so (three on a line) keep their transform.
        """
        matrices = self.matrices.copy()
        for t in range(self.frames) if rows is None else rows:
            found = through(self.corners, corners[t])
            if found is not None and np.isfinite(found).all():
                matrices[t] = found
        return replace(self, matrices=matrices)


def fit_motion(
    prepared: Prepared,
    rows: np.ndarray,
    corners: np.ndarray,
    reference: int,
    kind: str = "auto",
    *,
    smooth: float = 0.0,
    pins: Sequence[Pin] = (),
    picture: Picture | None = None,
    seed: int = 0,
) -> Motion:
    """Fit the motion of a region.

    Args:
        prepared: tracks.
        rows: [n] rows of the region's points.
        corners: [4,2] of the region on the reference frame.
        kind: a model (`KINDS`), or "auto": the simplest whose residuals are within 20 % of the next one's, over the
            whole clip.
        smooth: sigma of a Gaussian over the paths of the corners, frames; 0: none.
        pins: where corners (0..3) really are on some frames.
        picture: to confirm scene cuts; None: cuts are not looked for.
        seed: of the samples.

    Raises `UsageError` where no point is visible on the reference frame, or for an unknown model.
    """
    if kind != "auto" and kind not in KINDS:
        raise UsageError(f"a motion model is one of auto, {', '.join(KINDS)}, not {kind!r}")
    if not 0 <= reference < prepared.frames:
        raise UsageError(f"there is no frame {reference}: the frames are 0..{prepared.frames - 1}")
    fitter = _Fitter(prepared, rows, np.asarray(corners, np.float64), reference, seed)
    if not (fitter.weight[:, reference] > 0).any():
        raise UsageError(
            f"no point of the region is visible on frame {reference}: choose another frame, or track points there"
        )
    first, last = cuts_around(prepared, rows, reference, picture) if picture is not None else (0, prepared.frames)
    chosen = fitter.choose(range(first, last)) if kind == "auto" else KINDS[KINDS.index(kind)]
    motion = fitter.run(chosen, range(first, last))
    if fitter.drop_spikes(motion):
        motion = fitter.run(chosen, range(first, last))
    motion = _blended(motion, chosen)
    if smooth > 0:
        motion = motion.with_corners(smoothed(motion.path(motion.corners), smooth))
    if pins:
        moved = motion.path(motion.corners)
        motion = motion.with_corners(moved + offsets(pins, moved, reference, range(4)))
    return motion


class _Fitter:
    """Fits frames one after the other, away from the reference on both sides."""

    def __init__(self, prepared: Prepared, rows: np.ndarray, corners: np.ndarray, reference: int, seed: int) -> None:
        self.rows, self.corners, self.reference, self.seed = rows, corners, reference, seed
        self.xy, self.weight = prepared.xy[rows], prepared.weight[rows].copy()
        self.all_xy, self.all_weight = prepared.xy, prepared.weight
        self.notes: list[str] = []
        self.loyal = np.ones(len(rows))
        """[n]: how far each point has agreed lately; one that something took along counts less when it comes back."""

    def between(self, kind: Kind, t: int, near: np.ndarray | None = None) -> Fit | None:
        """The model from the reference to a frame; `near`: that of the frame before."""
        weight = self.weight[:, self.reference] * self.weight[:, t] * (1 if near is None else self.loyal)
        return robust_fit(kind, self.xy[:, self.reference], self.xy[:, t], weight, self.corners, self.seed, near)

    def choose(self, frames: range) -> Kind:
        """The simplest model that is nearly as good as the next one, over frames spread through the clip."""
        looked = [frames[int(i)] for i in np.linspace(0, len(frames) - 1, min(LOOKED_AT, len(frames)))]
        found = [own for t in looked if t != self.reference and (own := self._all_rms(t)) is not None]
        if not found:
            return "homography"
        rms = dict(zip(KINDS, np.median(found, 0).tolist(), strict=True))
        chosen: Kind = "homography"
        for simple, rich in zip(KINDS[-2::-1], KINDS[:0:-1], strict=True):
            if rms[simple] > CLOSE * max(rms[rich], LEAST_RMS):
                break
            chosen = simple
        return chosen

    def _all_rms(self, t: int) -> list[float] | None:
        """Residuals of all models on one frame, on the same points: those that the richest one calls inliers.

        Each is what it would be for other points of the surface: more parameters follow more of the noise.
        """
        fits = [self.between(kind, t) for kind in KINDS]
        best = next((each for each in reversed(fits) if each is not None), None)
        if best is None or best.support < LEAST_SUPPORT:
            return None
        share = best.inlier * self.weight[:, t] * self.weight[:, self.reference]
        count = float(share.sum() ** 2 / max((share**2).sum(), 1e-12))
        out = []
        for kind, found in zip(KINDS, fits, strict=True):
            if found is None or count <= DEGREES[kind] / 2 + 1:
                return None
            gap = apply(found.matrix, self.xy[:, self.reference]) - self.xy[:, t]
            square = np.where(share > 0, np.nan_to_num((gap * gap).sum(1), posinf=1e6), 0)
            own = DEGREES[kind] / 2
            out.append(float(np.sqrt(share @ square / share.sum() * (count + own) / (count - own))))
        return out

    def run(self, kind: Kind, frames: range) -> Motion:
        """All frames of a span; those outside it are past a cut."""
        total = self.xy.shape[1]
        matrices = np.tile(np.eye(3), (total, 1, 1))
        confidence, rms = np.zeros(total), np.zeros(total)
        kinds, state = [kind] * total, ["cut"] * total
        inlier = np.zeros(self.weight.shape)
        self.notes = []
        done: list[int] = [self.reference]
        matrices[self.reference], state[self.reference] = np.eye(3), "fitted"
        inlier[:, self.reference] = self.weight[:, self.reference] > 0
        confidence[self.reference] = _trust(1.0, int((self.weight[:, self.reference] > 0).sum()), kind)
        for t in _outwards(self.reference, frames):
            before = t - 1 if t > self.reference else t + 1
            if before == self.reference:
                self.loyal = np.ones(len(self.rows))
            found, how = self.one(kind, t, done, matrices)
            if found is None:
                matrices[t], kinds[t], state[t] = matrices[before], kinds[before], "held"
                continue
            matrices[t], kinds[t], state[t] = found.matrix, found.kind, how
            agreeing = int((found.inlier > 0).sum())
            confidence[t], rms[t] = _trust(found.support, agreeing, found.kind), found.rms
            inlier[:, t] = found.inlier
            there = self.weight[:, t] > 0
            agrees = np.clip(2 * found.inlier[there], 0, 1)
            self.loyal[there] = LOYALTY * self.loyal[there] + (1 - LOYALTY) * np.maximum(agrees, DISLOYAL)
            done.append(t)
        for t in range(frames.start):
            matrices[t] = matrices[frames.start]
        for t in range(frames.stop, total):
            matrices[t] = matrices[frames.stop - 1]
        self._report(kind, kinds, state, confidence)
        return Motion(
            matrices, confidence, tuple(kinds), tuple(state), presence(state, self.reference), self.reference,
            self.corners, self.rows, inlier, rms, tuple(self.notes),
        )  # fmt: skip

    def one(self, kind: Kind, t: int, done: list[int], matrices: np.ndarray) -> tuple[Fit | None, str]:
        """The fit of one frame, and how it came about."""
        common = int((self.weight[:, self.reference] * self.weight[:, t] > 0).sum())
        direct = self.between(kind, t, self._expected(t, done, matrices)) if common else None
        if direct is not None and direct.kind == kind:
            scale = float(np.sqrt(abs(np.linalg.det(direct.matrix[:2, :2]))))
            if 1 / ZOOM < scale < ZOOM:
                return direct, "fitted"
            nearer = self._over(kind, t, [m for m in done if m != self.reference], matrices)
            better = nearer is not None and nearer.support >= LEAST_SUPPORT and nearer.kind == kind
            return (nearer, "re-anchored") if better else (direct, "fitted")
        if common < LEAST[kind]:
            chained = self._over(kind, t, done, matrices)
            if chained is not None and chained.support >= LEAST_SUPPORT:
                return chained, "chained"
        return direct, "fitted"

    def _expected(self, t: int, done: list[int], matrices: np.ndarray) -> np.ndarray:
        """The motion of the frame before, gone on with if the one before that is known too."""
        way = 1 if t > self.reference else -1
        one, two = t - way, t - 2 * way
        if one not in done[-1:] or two not in done[-2:] or one == self.reference:
            return np.asarray(matrices[one])
        further = matrices[one] @ np.linalg.inv(matrices[two]) @ matrices[one]
        return np.asarray(further / further[2, 2])

    def _over(self, kind: Kind, t: int, done: list[int], matrices: np.ndarray) -> Fit | None:
        """By way of the frame that shares most points with this one, of all tracks that lie in the region there."""
        best, most = None, 0.0
        for m in done:
            shared = float(np.minimum(self.all_weight[:, m], self.all_weight[:, t]).sum())
            if shared > most + (0.0 if best is None or abs(m - t) < abs(best - t) else 1e-9):
                best, most = m, shared
        if best is None:
            return None
        outline = apply(matrices[best], self.corners)
        if not np.isfinite(outline).all():
            return None
        inside = in_polygon(self.all_xy[:, best], outline.mean(0) + 1.3 * (outline - outline.mean(0)))
        weight = self.all_weight[:, best] * self.all_weight[:, t] * inside
        found = robust_fit(kind, self.all_xy[:, best], self.all_xy[:, t], weight, None, self.seed)
        if found is None:
            return None
        matrix = found.matrix @ matrices[best]
        return replace(found, matrix=matrix / matrix[2, 2], inlier=found.inlier[self.rows])

    def drop_spikes(self, motion: Motion) -> bool:
        """Take the weight of positions that jump against the region's motion; whether there were any."""
        predicted = np.stack([apply(matrix, self.xy[:, self.reference]) for matrix in motion.matrices], 1)
        usable = self.weight[:, [self.reference]] > 0
        residual = np.nan_to_num(np.where(usable[..., None], self.xy - predicted, 0), posinf=0, neginf=0)
        found = spikes(residual, np.where(usable, self.weight, 0))
        found[:, self.reference] = False
        self.weight[found] = 0
        return bool(found.any())

    def _report(self, kind: Kind, kinds: list[Kind], state: list[str], confidence: np.ndarray) -> None:
        others = sum(k != kind for k in kinds)
        for count, text in (
            (others, f"on {{}} frames a simpler model than {kind} was used: their points do not support it"),
            (state.count("chained"), "{} frames share too few points with the reference and were reached over others"),
            (state.count("re-anchored"), "{} frames are scaled more than 4 times and were fitted from nearer ones"),
            (state.count("held"), "on {} frames no point was visible: the last transform is held, the edit fades"),
            (state.count("cut"), "{} frames lie beyond a scene cut and are left as they are"),
        ):
            if count:
                self.notes.append(text.format(count))
        doubtful = int(((confidence < LEAST_SUPPORT) & (np.array(state) != "held") & (np.array(state) != "cut")).sum())
        if doubtful:
            self.notes.append(
                f"on {doubtful} frames fewer than half of the points agree (a reflection, another surface?): look there"
            )


def _trust(support: float, agreeing: int, kind: Kind) -> float:
    """Confidence of a fit: the share that agrees, less where they hardly outnumber what the model needs."""
    return support * min(1.0, agreeing / (2.0 * LEAST[kind]))


def _outwards(reference: int, frames: range) -> list[int]:
    return [*range(reference + 1, frames.stop), *range(reference - 1, frames.start - 1, -1)]


def presence(state: Sequence[str], reference: int = 0) -> np.ndarray:
    """How much of an edit is shown on each frame: away from the reference frame it fades out in `FADE` frames once the
    motion is held, and in again once it is known."""
    out = np.ones(len(state))
    for order in (range(reference + 1, len(state)), range(reference - 1, -1, -1)):
        shown = 1.0
        for t in order:
            there = state[t] not in ("held", "cut")
            shown = min(shown + 1 / FADE, 1.0) if there else max(shown - 1 / FADE, 0.0)
            out[t] = 0.0 if state[t] == "cut" else shown
    return out


def _blended(motion: Motion, chosen: Kind) -> Motion:
    """Changes of the model from frame to frame, spread over `BLEND` frames of the corners' paths."""
    own = np.array([kind == chosen for kind in motion.kinds])
    changes = np.flatnonzero(own[1:] != own[:-1]) + 1
    if not len(changes) or motion.frames < 3:
        return motion
    path = motion.path(motion.corners)
    if not np.isfinite(path).all():
        return motion
    near = np.unique(np.clip(changes[:, None] + np.arange(-(BLEND // 2) - 1, BLEND // 2 + 1), 0, motion.frames - 1))
    near = near[near != motion.reference]
    return motion.with_corners(smoothed(path, BLEND / 4), near)


def smoothed(path: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian over time [T,...]; beyond both ends the path goes on point-symmetrically, so that they stay."""
    reach = min(int(np.ceil(3 * sigma)), len(path) - 1)
    if reach < 1:
        return path
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    before, after = 2 * path[:1] - path[reach:0:-1], 2 * path[-1:] - path[-2 : -reach - 2 : -1]
    padded = np.concatenate([before, path, after])
    return np.asarray(sum(share * padded[k : k + len(path)] for k, share in enumerate(kernel)))


def cuts_around(prepared: Prepared, rows: np.ndarray, reference: int, picture: Picture) -> tuple[int, int]:
    """The frames [first, last) around the reference that no scene cut separates from it.

    A cut is looked for where hardly any point agrees between two neighbours, and confirmed by their colours.
    """
    first, last = 0, prepared.frames
    for t in range(reference, prepared.frames - 1):
        if _breaks(prepared, rows, t) and chi_square(picture(t), picture(t + 1)) > CUT_COLOURS:
            last = t + 1
            break
    for t in range(reference, 0, -1):
        if _breaks(prepared, rows, t - 1) and chi_square(picture(t - 1), picture(t)) > CUT_COLOURS:
            first = t
            break
    return first, last


def _breaks(prepared: Prepared, rows: np.ndarray, t: int) -> bool:
    """Whether the points do not move from frame t to the next as anything does."""
    before, after = prepared.weight[rows, t] > 0, prepared.weight[rows, t + 1] > 0
    both = before & after
    if not before.any():
        return False
    if both.sum() < max(CUT_INLIERS * before.sum(), 3):
        return True
    step = (prepared.xy[rows, t + 1] - prepared.xy[rows, t])[both]
    found = robust_fit(
        "similarity", prepared.xy[rows, t][both], prepared.xy[rows, t + 1][both], np.ones(int(both.sum()))
    )
    return found is None or found.support < CUT_INLIERS or bool(np.median(np.hypot(*step.T)) > 0.5 * max(prepared.size))


def chi_square(first: np.ndarray, second: np.ndarray) -> float:
    """Distance of the colour histograms of two pictures [H,W,3] uint8, 0 (alike) to 1."""
    one, two = (_histogram(image) for image in (first, second))
    return float(0.5 * ((one - two) ** 2 / np.maximum(one + two, 1e-12)).sum())


def _histogram(image: np.ndarray) -> np.ndarray:
    """Shares of 8 x 8 x 8 colours, of every fourth pixel."""
    part = image[::4, ::4].astype(np.int64) >> 5
    counts = np.bincount((part[..., 0] * 64 + part[..., 1] * 8 + part[..., 2]).ravel(), minlength=512)
    return np.asarray(counts / max(counts.sum(), 1))
