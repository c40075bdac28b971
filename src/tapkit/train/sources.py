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
from tapkit.datasets.base import Clip
from tapkit.datasets.folder import FolderDataset
from tapkit.datasets.frames import shrink
from tapkit.errors import UsageError
from tapkit.train.augment import augment_clip
from tapkit.train.batch import VALIDATION_SEEDS, Batch, BatchSource
from tapkit.train.config import Stage
from tapkit.train.pseudo.dataset import is_pseudo_labelled, taught_by


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
        self._makers: dict[Stage, Any] = {}

    def batch(self, stage: Stage, seed: int) -> Batch:
        """See `BatchSource.batch`."""
        kind = replace(stage, batch=1)  # whatever the number of clips
        if kind not in self._makers:
            from tapkit.synth.batch import ClipMaker
            from tapkit.synth.config import SynthConfig

            config = SynthConfig(
                frames=stage.frames,
                size=(stage.size, stage.size),
                points=stage.points,
                speed=stage.speed,
                solids=stage.solids,
            )
            # The buffers of the maker before are released.
            self._makers = {kind: ClipMaker(config, self.bank, self.device, self.bodies)}
        clips = self._makers[kind].batch(stage.batch, torch.Generator().manual_seed(seed))
        return Batch(clips.video, clips.xy, clips.visible, torch.ones_like(clips.visible))


class FolderSource:
    """Random crops of the clips of a folder in tapkit's format (docs/benchmarks/folder_format.md).

    Cropped in time and space, mirrored, reversed and, with `augment`, augmented as cached clips are. Decoded frames
    are kept, small, up to `keep` bytes.
    """

    def __init__(self, root: Path, device: torch.device, keep: int = 1 << 30, augment: bool = False) -> None:
        self.dataset = FolderDataset(root)
        self.names = list(self.dataset.names())
        if not self.names:
            raise UsageError(f"{root} holds no clip to train on (folders with tracks.npz and frames/ or a video file)")
        self.device, self.keep, self.augment = device, keep, augment
        self.description = f"{len(self.names)} clips of the folder {Path(root).resolve().name}"
        if is_pseudo_labelled(root):
            self.description += f", pseudo-labels of {taught_by(root)}"
        self._kept: OrderedDict[tuple[str, int], tuple[Clip, np.ndarray]] = OrderedDict()

    def batch(self, stage: Stage, seed: int) -> Batch:
        """See `BatchSource.batch`. A clip shorter than the stage is played forwards and backwards."""
        random = np.random.default_rng(seed)
        parts = [self._crop(stage, random) for _ in range(stage.batch)]
        if self.augment:
            parts = [augment_clip(part, lambda: self._crop(stage, random).video, random) for part in parts]
        return Batch(*(torch.stack(field).to(self.device) for field in zip(*parts, strict=True)))

    def _crop(self, stage: Stage, random: np.random.Generator) -> Batch:
        """One clip: video [T,3,S,S], xy [N,T,2], visible and known [N,T]."""
        clip, video = self._open(self.names[random.integers(len(self.names))], stage.size)
        side, size = video.shape[1], stage.size
        first = int(random.integers(max(clip.frames - stage.frames, 0) + 1))
        times = bounce(np.arange(first, first + stage.frames), clip.frames)
        if random.random() < 0.5:
            times = times[::-1]
        left, top = (int(n) for n in random.integers(side - size + 1, size=2))
        crop = video[times, top : top + size, left : left + size]
        xy = coords.resize(clip.xy[:, times], clip.size, (side, side)) - np.array([left, top], np.float32)
        visible = clip.visible[:, times] & coords.inside(np.nan_to_num(xy, nan=-1.0), (size, size))
        known = np.ones_like(visible) if clip.counted is None else clip.counted[:, times]
        if clip.valid is None:  # where occluded positions are not annotated, there is none to learn from
            xy = np.where(clip.visible[:, times, None], xy, np.nan)
        if random.random() < 0.5:
            crop, xy = crop[:, :, ::-1], np.stack([size - xy[..., 0], xy[..., 1]], -1)
        rows = _choose(visible & known, stage.points, random)
        return Batch(
            torch.from_numpy(np.ascontiguousarray(crop.transpose(0, 3, 1, 2))),
            torch.from_numpy(np.ascontiguousarray(xy[rows], np.float32)),
            torch.from_numpy(visible[rows] & known[rows]),
            torch.from_numpy(known[rows]),
        )

    def _open(self, name: str, size: int) -> tuple[Clip, np.ndarray]:
        """A clip and its frames [T,S',S',3] uint8, S' a quarter more than `size` so that crops differ."""
        key = (name, size)
        if key not in self._kept:
            clip = self.dataset.clip(name)
            side = size * 5 // 4
            with clip.open() as source:
                video = np.stack([shrink(frame.image, (side, side)) for frame in source.frames(0, clip.frames)])
            self._kept[key] = clip, video
            while sum(frames.nbytes for _, frames in self._kept.values()) > self.keep and len(self._kept) > 1:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


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
    from tapkit.datasets.frames import lanczos

    with clip.open() as source:
        video = np.stack([lanczos(frame.image, (size, size)) for frame in source.frames(0, clip.frames)])
    xy = torch.from_numpy(coords.resize(clip.xy, clip.size, (size, size)).astype(np.float32))
    visible = torch.from_numpy(clip.visible.copy())
    counted = torch.ones_like(visible) if clip.counted is None else torch.from_numpy(clip.counted.copy())
    frames = torch.from_numpy(video).permute(0, 3, 1, 2).contiguous()
    batch = Batch(*(x[None].to(device) for x in (frames, xy, visible, counted)))
    return batch, counted
