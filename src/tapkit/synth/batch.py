"""Batches of synthetic clips with exact tracks: what a trainer asks for.

    maker = ClipMaker(SynthConfig(frames=24), PhotoBank.load("photos"), device="cuda")
    video, xy, visible = maker.batch(16, seed)

The kinds of content follow FlyingThings++ (Harley et al. 2022, section 4: flying things, moving occluders) and
PointOdyssey (Zheng et al. 2023); tracks are not chained from optical flow but solved, so they do not drift.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tapkit.errors import UsageError
from tapkit.synth.bodies import Body, body_bank
from tapkit.synth.config import SynthConfig
from tapkit.synth.dice import Dice
from tapkit.synth.photos import PhotoBank
from tapkit.synth.points import tracks
from tapkit.synth.scene import film, make_scene
from tapkit.synth.shapes import ShapeBank


class Batch(NamedTuple):
    """B clips of T frames with N tracks."""

    video: Tensor
    """uint8 [B,T,3,H,W]."""
    xy: Tensor
    """float32 [B,N,T,2], pixels of the clip, corner origin; true also where hidden or out of the frame."""
    visible: Tensor
    """bool [B,N,T], in the frame and not hidden. Nearly every track is visible in one frame at least."""


class ClipMaker:
    """Makes batches of clips on one device. The same seed gives the same clips; other devices differ in noise only."""

    def __init__(
        self,
        config: SynthConfig,
        photos: PhotoBank | None = None,
        device: str | torch.device = "cpu",
        bodies: Sequence[Body] | str | Path | None = None,
    ) -> None:
        """Load the banks once.

        Args:
            config: what clips look like.
            photos: None: procedural textures alone, which needs no files.
            device: where clips are rendered; the banks are moved there.
            bodies: for `config.solids`: bodies, a folder of GLB models, or None for built-in ones.

        Raises:
            StorageError: no usable model in the folder.
            MissingExtra: trimesh is needed to read models.
        """
        self.config = config
        self.device = torch.device(device)
        self.photos = (photos or PhotoBank.procedural()).to(self.device)
        self.shapes = ShapeBank(config.shapes, device=self.device)
        self.bodies = body_bank(bodies, self.device)

    @torch.no_grad()
    def batch(self, count: int, generator: torch.Generator | int) -> Batch:
        """Make `count` clips.

        Args:
            count: B.
            generator: a CPU generator, which is advanced, or a seed.

        Raises:
            UsageError: no clip asked for.
        """
        if count < 1:
            raise UsageError(f"a batch has one clip at least, got {count}")
        dice = Dice(generator, self.device)
        with _full_precision(self.device):
            scene = make_scene(dice, self.config, self.photos, self.shapes, self.bodies, count)
            xy, visible = tracks(dice, scene)
            return Batch(film(scene, dice.on_device()), xy, visible)


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Positions need float32 throughout: a trainer's autocast and its TF32 products would move them by a pixel."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
