"""Where batches come from: the generator of synthetic clips, or a folder of the user's own annotated clips."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tapkit import coords
from tapkit.coords import Size
from tapkit.datasets.base import Clip, Dataset
from tapkit.datasets.find import open_dataset
from tapkit.datasets.folder import FolderDataset
from tapkit.datasets.frames import lanczos, shrink
from tapkit.errors import UsageError
from tapkit.train.augment import augment_clip
from tapkit.train.batch import VALIDATION_SEEDS, Batch, BatchSource
from tapkit.train.chains import FewTracks, FlowChains, is_chains
from tapkit.train.config import Stage
from tapkit.train.pseudo.dataset import is_pseudo_labelled, taught_by

CLIPS_KEPT = 256
"""Clips whose annotation is kept in memory."""


class SyntheticSource:
    """Clips of `tapkit.synth`, rendered on `device`.

    `photos` is a folder of photographs, None: procedural textures; `models` one of GLB models, None: built-in bodies.
    """

    def __init__(self, photos: Path | None, device: torch.device, models: Path | None = None) -> None:
        from tapkit.synth.bodies import body_bank
        from tapkit.synth.photos import PhotoBank

        self.device = device
        self.bodies = body_bank(models, device)
        bank = PhotoBank.procedural(device=device) if photos is None else PhotoBank.load(photos, device=device)
        self.bank = bank
        procedural = len(bank) - bank.photographs
        self.description = (
            f"synthetic clips of {bank.photographs} photographs, {procedural} procedural textures and "
            f"{len(self.bodies)} {'built-in bodies' if models is None else 'models'} (tapkit.synth)"
        )
        self._makers: dict[Any, Any] = {}
        """Clip makers by their configuration."""

    def batch(self, stage: Stage, seed: int) -> Batch:
        """See `BatchSource.batch`."""
        from tapkit.synth.batch import ClipMaker
        from tapkit.synth.config import SynthConfig

        plain = SynthConfig(
            frames=stage.frames,
            size=stage.shape,
            points=stage.points,
            speed=stage.speed,
            solids=stage.solids,
        )
        kinds = (plain, plain.crowded())
        kind = kinds[int(np.random.default_rng([seed, 3]).random() < stage.crowded)]
        if kind not in self._makers:
            # The buffers of makers for other stages are released.
            self._makers = {key: maker for key, maker in self._makers.items() if key in kinds}
            self._makers[kind] = ClipMaker(kind, self.bank, self.device, self.bodies)
        clips = self._makers[kind].batch(stage.batch, torch.Generator().manual_seed(seed))
        return Batch(clips.video, clips.xy, clips.visible, torch.ones_like(clips.visible))


class FolderSource:
    """Random crops of annotated clips on disk: a folder in tapkit's format (docs/benchmarks/folder_format.md), or any
    other set that `datasets.find` knows (MOVi, Kubric, PointOdyssey, chains of flow, ...).

    Cropped in time and space; by default also mirrored and reversed (see `Stage.native`) and, with `augment`, augmented
    as cached clips are. Small clips are kept decoded, up to `keep` bytes; of large ones only what is used is decoded.
    """

    def __init__(self, root: Path, device: torch.device, keep: int = 1 << 30, augment: bool = False) -> None:
        """Raises `StorageError` for what is no set of annotated clips."""
        self.dataset: Dataset = FlowChains(root) if is_chains(root) else open_dataset(root)
        self.names = list(self.dataset.names())
        if not self.names:
            raise UsageError(f"{root} holds no clip to train on (folders with tracks.npz and frames/ or a video file)")
        self.device, self.keep, self.augment = device, keep, augment
        plain = isinstance(self.dataset, FolderDataset)
        of = "the folder " if plain else f"{self.dataset.name} in "
        self.description = f"{len(self.names)} clips of {of}{Path(root).resolve().name}"
        if is_pseudo_labelled(root):
            self.description += f", pseudo-labels of {taught_by(root)}"
        self._clips: OrderedDict[str, Clip] = OrderedDict()
        self._kept: OrderedDict[tuple[str, Size], np.ndarray] = OrderedDict()

    def batch(self, stage: Stage, seed: int) -> Batch:
        """See `BatchSource.batch`. A clip shorter than the stage is played forwards and backwards."""
        random = np.random.default_rng(seed)
        parts = [self._crop(stage, random) for _ in range(stage.batch)]
        if self.augment:
            parts = [augment_clip(part, lambda: self._crop(stage, random).video, random) for part in parts]
        return Batch(*(torch.stack(field).to(self.device) for field in zip(*parts, strict=True)))

    def _crop(self, stage: Stage, random: np.random.Generator) -> Batch:
        """One clip: video [T,3,H,W], xy [N,T,2], visible and known [N,T]."""
        clip = self._usable(int(random.integers(len(self.names))))
        height, width = stage.shape
        whole = working_size(clip.size, stage)
        pace = _pace(clip.frames, stage, random)
        first = int(random.integers(max(clip.frames - pace * (stage.frames - 1), 1)))
        times = bounce(np.arange(first, first + pace * (stage.frames - 1) + 1, pace), clip.frames)
        turned = random.random() < 0.5
        if turned and not stage.native:
            times = times[::-1]
        left, top = (int(random.integers(room + 1)) for room in (whole[1] - width, whole[0] - height))
        crop = self._frames(clip, times, whole)[:, top : top + height, left : left + width]
        xy = coords.resize(clip.xy[:, times], clip.size, whole) - np.array([left, top], np.float32)
        visible = clip.visible[:, times] & coords.inside(np.nan_to_num(xy, nan=-1.0), (height, width))
        known = np.ones_like(visible) if clip.counted is None else clip.counted[:, times]
        if clip.valid is None:  # where occluded positions are not annotated, there is none to learn from
            xy = np.where(clip.visible[:, times, None], xy, np.nan)
        else:
            xy = np.where(clip.valid[:, times, None], xy, np.nan)
        mirrored = random.random() < 0.5
        if mirrored and not stage.native:
            crop, xy = crop[:, :, ::-1], np.stack([width - xy[..., 0], xy[..., 1]], -1)
        rows = _choose(visible & known, stage.points, random)
        return Batch(
            torch.from_numpy(np.ascontiguousarray(crop.transpose(0, 3, 1, 2))),
            torch.from_numpy(np.ascontiguousarray(xy[rows], np.float32)),
            torch.from_numpy(visible[rows] & known[rows]),
            torch.from_numpy(known[rows]),
        )

    def _usable(self, number: int) -> Clip:
        """The clip of that number, or the next one that has enough tracks. Raises `FewTracks` if none has."""
        for name in self.names[number:] + self.names[:number]:
            try:
                return self._clip(name)
            except FewTracks:
                continue
        return self._clip(self.names[number])

    def _clip(self, name: str) -> Clip:
        """A clip's annotation, kept for a while."""
        if name not in self._clips:
            self._clips[name] = self.dataset.clip(name)
            if len(self._clips) > CLIPS_KEPT:
                self._clips.popitem(last=False)
        self._clips.move_to_end(name)
        return self._clips[name]

    def _frames(self, clip: Clip, times: np.ndarray, size: Size) -> np.ndarray:
        """Frames `times` of a clip at `size`: uint8 [T,H,W,3]."""
        if clip.frames * size[0] * size[1] * 3 > self.keep // 8:
            low = int(times.min())
            some: np.ndarray = _decoded(clip, low, int(times.max()) + 1, size)[times - low]
            return some
        key = (clip.name, size)
        if key not in self._kept:
            self._kept[key] = _decoded(clip, 0, clip.frames, size)
            while sum(frames.nbytes for frames in self._kept.values()) > self.keep and len(self._kept) > 1:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        kept: np.ndarray = self._kept[key][times]
        return kept


def working_size(size: Size, stage: Stage) -> Size:
    """(height, width) at which the crops of a stage are cut from clips of `size`."""
    height, width = stage.shape
    if not stage.native:
        return height * 5 // 4, width * 5 // 4
    scale = max(height / size[0], width / size[1], 1.0)
    return max(round(scale * size[0]), height), max(round(scale * size[1]), width)


def _pace(frames: int, stage: Stage, random: np.random.Generator) -> int:
    """Every so many frames one is taken: a pace for which the clip is long enough, or 1."""
    if stage.paces == (1,):
        return 1
    return int(random.choice([pace for pace in stage.paces if pace * (stage.frames - 1) < frames] or [1]))


def _decoded(clip: Clip, first: int, stop: int, size: Size) -> np.ndarray:
    fit = shrink if size[0] <= clip.size[0] and size[1] <= clip.size[1] else lanczos
    with clip.open() as source:
        return np.stack([fit(frame.image, size) for frame in source.frames(first, stop)])


class MixedSource:
    """Two sources: a `share` of the clips from `second`, the others, and all matching batches, from `first`."""

    def __init__(self, first: BatchSource, second: BatchSource, share: float) -> None:
        if not 0 < share < 1:
            raise UsageError(f"a share is between 0 and 1, got {share}")
        self.first, self.second, self.share = first, second, share
        self.description = f"{first.description}; {100 * share:.0f} % of the clips are of {second.description}"

    def batch(self, stage: Stage, seed: int) -> Batch:
        """See `BatchSource.batch`. How many clips of a batch come from which source is drawn from the seed."""
        random = np.random.default_rng([seed, 1])
        others = 0
        if stage.task == "tracking" and seed < VALIDATION_SEEDS:
            others = int((random.random(stage.batch) < self.share).sum())
        parts = [
            source.batch(replace(stage, batch=count), seed)
            for source, count in ((self.first, stage.batch - others), (self.second, others))
            if count
        ]
        return Batch(*(torch.cat(field) for field in zip(*parts, strict=True)))


def bounce(times: np.ndarray, frames: int) -> np.ndarray:
    """Frame numbers beyond the end, running back instead."""
    period = max(2 * frames - 2, 1)
    folded = times % period
    result: np.ndarray = np.minimum(folded, period - folded)
    return result


def _choose(visible: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """`count` rows of [N,T], those that are ever visible first; repeated if there are fewer."""
    order = random.permutation(len(visible))
    order = order[np.argsort(~visible[order].any(1), kind="stable")]
    useful = max(int(visible.any(1).sum()), 1)
    return np.resize(order[:useful], count) if useful < count else order[:count]


def whole_clip(clip: Clip, size: int, device: torch.device) -> tuple[Batch, Tensor]:
    """An evaluation clip at size x size as a batch of one (the TAP-Vid protocol), and which entries count [N,T]."""
    with clip.open() as source:
        video = np.stack([lanczos(frame.image, (size, size)) for frame in source.frames(0, clip.frames)])
    xy = torch.from_numpy(coords.resize(clip.xy, clip.size, (size, size)).astype(np.float32))
    visible = torch.from_numpy(clip.visible.copy())
    counted = torch.ones_like(visible) if clip.counted is None else torch.from_numpy(clip.counted.copy())
    frames = torch.from_numpy(video).permute(0, 3, 1, 2).contiguous()
    batch = Batch(*(x[None].to(device) for x in (frames, xy, visible, counted)))
    return batch, counted
