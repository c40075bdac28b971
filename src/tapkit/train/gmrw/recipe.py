"""How GMRW is trained: pairs of frames, no labels (Shrivastava and Owens, arXiv:2409.16288, section 3)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tapkit.constants import constant_like
from tapkit.errors import UsageError
from tapkit.flow.gmrw.card import GMRW
from tapkit.flow.gmrw.matching import Matching, displacements
from tapkit.flow.gmrw.network import STRIDE, GmrwNetwork
from tapkit.flow.gmrw.tracker import DEVIATION, MEAN, Gmrw, GmrwOptions
from tapkit.train.batch import Batch, Predictions, Queries
from tapkit.train.config import Stage, TrainConfig
from tapkit.train.gmrw.crops import cut, random_box, warped_cells
from tapkit.train.gmrw.losses import return_probability, smoothness_loss, walk_loss
from tapkit.train.gmrw.presets import PRESETS
from tapkit.train.gmrw.settings import GmrwSettings, read_settings
from tapkit.train.predict import predict_with
from tapkit.train.recipe import Loss, Recipe
from tapkit.train.schedule import step_of
from tapkit.train.workers import Workers

_ROWS = 2048
"""Cells whose motion is worked out at once for the smoothness."""


class GmrwTraining:
    """`Trainable` of GMRW. Positions in the batches are used to measure, never to learn."""

    reported = ("walk", "smoothness", "return_probability")

    def __init__(self, network: GmrwNetwork, config: TrainConfig, settings: GmrwSettings, workers: int) -> None:
        """workers: how many batches a step takes, in all processes."""
        self.network, self.config, self.settings, self.workers = network, config, settings, workers

    def shown(self, stage: Stage) -> tuple[str, ...]:
        """See `Trainable.shown`."""
        return self.reported

    def prepare(self, stage: Stage) -> None:
        """See `Trainable.prepare`: everything learns."""
        self.network.train().requires_grad_(True)

    def statistics(self, stage: Stage) -> list[Tensor]:
        """See `Trainable.statistics`: there are none."""
        return []

    def losses(self, batch: Batch, stage: Stage, seed: int) -> Iterator[Loss]:
        """See `Trainable.losses`: one for each clip, of its first two frames."""
        generator = torch.Generator().manual_seed(seed)
        weight = self.settings.smoothness_at(step_of(self.config, seed, self.workers))
        share = 1 / len(batch.video)
        for clip in batch.video:
            loss = self._clip_loss(clip[:2].float() / 255, weight, generator)
            yield Loss(loss.total * share, {name: value * share for name, value in loss.parts.items()})

    def _clip_loss(self, frames: Tensor, weight: float, generator: torch.Generator) -> Loss:
        """The loss of two frames [2,3,S,S] in [0,1]."""
        side = self.settings.crop
        start, end = (random_box(self.settings, generator) for _ in range(2))
        images = torch.cat([cut(frames, start, side), cut(frames[:1], end, side)])
        first, second, returned = self._features(images)
        one, other = self.network.relate(torch.stack([first, second]), torch.stack([second, returned]))
        with torch.autocast(images.device.type, enabled=False):
            ends, counted = (x.to(images.device) for x in warped_cells(start, end, side // STRIDE))
            window = self.settings.window_threshold
            found = return_probability((one[0], other[0]), (one[1], other[1]), ends, window)
            walk = walk_loss(found, counted)
            smoothness = walk.new_zeros(())
            if weight > 0:
                smoothness = smoothness_loss(_flow(one[0].float(), other[0].float(), side), images[0])
        arrived = found.detach()[counted].exp().mean() if counted.any() else walk.new_zeros(())
        parts = {"walk": walk.detach(), "smoothness": smoothness.detach(), "return_probability": arrived}
        return Loss(walk + weight * smoothness, parts)

    def _features(self, images: Tensor) -> Tensor:
        mean, deviation = (constant_like(values, images)[:, None, None] for values in (MEAN, DEVIATION))
        return self.network.encode((images - mean) / deviation)

    @torch.no_grad()
    def predict(self, batch: Batch, queries: Queries) -> Predictions:
        """See `Trainable.predict`: the tracker itself, frames not enlarged, points tracked forwards."""
        network = copy.deepcopy(self.network)
        model: Any = Gmrw(network, GMRW, GmrwOptions(resolution=None, upsample=1, pixel_range="0..1"))
        return predict_with(model, batch, queries)


def _flow(first: Tensor, second: Tensor, side: int) -> Tensor:
    """As `matching.dense_flow` for square crops, [2,side,side]; the matrix is made anew for its gradients."""
    cells = first.shape[0]
    parts = [
        checkpoint(displacements, first, second, some, Matching(), use_reentrant=False)
        for some in torch.split(torch.arange(cells * cells, device=first.device), _ROWS)
    ]
    grid = torch.cat(parts).T.reshape(1, 2, cells, cells)
    return F.interpolate(grid, (side, side), mode="bilinear", align_corners=True)[0] * (side / cells)


def build(config: TrainConfig, device: torch.device) -> GmrwTraining:
    """See `Recipe.build`. Raises `UsageError` for settings of another recipe, or clips that are not pairs."""
    settings = GmrwSettings() if config.settings is None else config.settings
    if not isinstance(settings, GmrwSettings):
        raise UsageError(f"the settings of gmrw are GmrwSettings, not {type(settings).__name__}")
    if any(stage.frames != 2 or stage.task != "tracking" for stage in config.stages):
        raise UsageError("gmrw learns from pairs: stages of task tracking with 2 frames")
    torch.manual_seed(config.seed)
    network = initialise(GmrwNetwork()).to(device)
    return GmrwTraining(network, config, settings, Workers.from_environment(device).count * config.accumulate)


def initialise(network: GmrwNetwork) -> GmrwNetwork:
    """Random weights with which matching begins from what the pictures show.

    Convolutions keep the size of what passes through them, so that the position codes do not outweigh the features;
    layers begin with a tenth of their messages.
    """
    for module in network.backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for name, parameter in network.transformer.named_parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
        elif "norm" in name:
            nn.init.constant_(parameter, 0.1 if name.endswith("weight") else 0.0)
    return network


RECIPE = Recipe("gmrw", "as the videos allow", PRESETS, build, read_settings, unlabelled=True)
