"""How the CoTrackers are trained: windows that follow one another, losses on every iteration."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tapkit import coords
from tapkit.errors import UsageError
from tapkit.models.cotracker.card import COTRACKER2, COTRACKER3_OFFLINE, COTRACKER3_ONLINE
from tapkit.models.cotracker.network2 import TOKEN, CoTracker2Network
from tapkit.models.cotracker.network3 import CoTracker3Network
from tapkit.models.cotracker.support import grid_points
from tapkit.models.cotracker.tracker2 import WINDOWS, CoTracker2
from tapkit.models.cotracker.tracker3 import OFFLINE_TIMES, ONLINE_TIMES, CoTracker3Offline, CoTracker3Online
from tapkit.models.cotracker.transformer import STRIDE, SpaceTimeTransformer
from tapkit.models.cotracker.weights import load_published
from tapkit.train.batch import Batch, Predictions, Queries
from tapkit.train.config import Stage, TrainConfig
from tapkit.train.cotracker.losses import Truth, cotracker2_loss, cotracker3_loss
from tapkit.train.cotracker.networks import Unrollable2, Unrollable3
from tapkit.train.cotracker.presets import PRESETS2, PRESETS_OFFLINE, PRESETS_ONLINE
from tapkit.train.cotracker.settings import CoTrackerSettings, read_settings
from tapkit.train.cotracker.unroll import Points, Track, Unrollable, Unrolled
from tapkit.train.predict import predict_with
from tapkit.train.recipe import Loss, Recipe, inherited

LOSSES = {"cotracker2": cotracker2_loss, "cotracker3": cotracker3_loss}
PARTS = {
    "cotracker2": ("position", "visibility"),
    "cotracker3": ("visible_position", "occluded_position", "visibility", "confidence"),
}
JUDGES = ("updateformer.vis_conf_head.", "vis_predictor.")
"""Beginnings of the names of the parameters that say visibility and confidence alone."""


class CoTrackerTraining:
    """`Trainable` of a CoTracker."""

    def __init__(self, network: CoTracker2Network | CoTracker3Network, settings: CoTrackerSettings, model: str) -> None:
        self.network, self.settings, self.model = network, settings, model

    @property
    def reported(self) -> tuple[str, ...]:
        """See `Trainable.reported`."""
        return PARTS[self.settings.loss]

    def shown(self, stage: Stage) -> tuple[str, ...]:
        """See `Trainable.shown`."""
        return self.reported

    def prepare(self, stage: Stage) -> None:
        """See `Trainable.prepare`. There are no modes: nothing is dropped or normalised over batches."""
        self.network.train()
        for name, parameter in self.network.named_parameters():
            frozen = (name.startswith("fnet.") and not stage.train_encoder) or (
                name.startswith(JUDGES) and not self.settings.judge
            )
            parameter.requires_grad_(not frozen)

    def statistics(self, stage: Stage) -> list[Tensor]:
        """See `Trainable.statistics`: there are none."""
        return []

    def losses(self, batch: Batch, stage: Stage, seed: int) -> Iterator[Loss]:
        """See `Trainable.losses`: one for each window of each clip (or, carrying gradients, one for each clip)."""
        queries = self.settings.queries.draw(batch, torch.Generator().manual_seed(seed))
        for clip, frame in zip(zip(*batch, strict=True), queries.frame, strict=True):
            yield from self._clip_losses(Batch(*clip), frame, stage, 1 / len(batch.video))

    def _clip_losses(self, clip: Batch, frame: Tensor, stage: Stage, share: float) -> Iterator[Loss]:
        """The losses of a clip (a batch without its first axis) whose points begin on `frame` [N]."""
        length = len(clip.video)
        rows = (frame < length).nonzero()[:, 0]
        if not len(rows):
            return
        truth = Truth(
            coords.to_centers(clip.xy[rows]), clip.visible[rows], clip.known[rows], self._asked(frame[rows], length)
        )
        start = truth.xy[torch.arange(len(rows), device=rows.device), frame[rows]] / STRIDE
        points = self._with_support(Points(frame[rows], start), clip)
        unrolled = Unrolled(self.unrollable(), clip.video, points, stage.train_encoder, self.settings.carry_gradients)
        if self.settings.loss == "cotracker3":
            share /= len(unrolled.firsts)
        losses = []
        for window in unrolled.windows():
            span = slice(window.frames.start, window.frames.stop)
            some = Truth(*(part[:, span] for part in truth))
            tracks = [_in_pixels(track, len(rows), len(window.frames)) for track in window.tracks]
            parts = LOSSES[self.settings.loss](
                tracks, some, self.settings.gamma, self.settings.judge, self.settings.occluded
            )
            loss = Loss(
                share * torch.stack(list(parts.values())).sum(), {n: share * p.detach() for n, p in parts.items()}
            )
            if not self.settings.carry_gradients:
                yield loss
            losses.append(loss._replace(total=loss.total if self.settings.carry_gradients else loss.total.detach()))
        if self.settings.carry_gradients and losses:
            names = losses[0].parts
            summed = {name: torch.stack([loss.parts[name] for loss in losses]).sum() for name in names}
            yield Loss(torch.stack([loss.total for loss in losses]).sum(), summed)
        unrolled.finish()

    def _asked(self, frame: Tensor, length: int) -> Tensor:
        """Where positions of points that begin on `frame` [n] count: [n,length]."""
        return (torch.arange(length, device=frame.device) >= frame[:, None]) | self.settings.before_query

    def _with_support(self, points: Points, clip: Batch) -> Points:
        """The points, and a grid of others on the first frame."""
        side = self.settings.queries.support
        if not side:
            return points
        grid = grid_points(side, (clip.video.shape[-2], clip.video.shape[-1])).to(points.xy) / STRIDE
        return Points(torch.cat([points.t, points.t.new_zeros(len(grid))]), torch.cat([points.xy, grid]))

    def unrollable(self) -> Unrollable:
        """The network, in windows or over the whole clip."""
        if isinstance(self.network, CoTracker2Network):
            return Unrollable2(self.network, self.settings.iterations)
        window = ONLINE_TIMES if self.model == COTRACKER3_ONLINE.id else None
        return Unrollable3(self.network, window, self.settings.iterations)

    def predict(self, batch: Batch, queries: Queries) -> Predictions:
        """See `Trainable.predict`: the tracker itself on frames as they are, without support points."""
        kind: Any = {COTRACKER2.id: CoTracker2, COTRACKER3_ONLINE.id: CoTracker3Online}.get(
            self.model, CoTracker3Offline
        )
        options = {"input_size": None, "support": "none", "iterations": self.settings.iterations}
        return predict_with(kind(copy.deepcopy(self.network), precision="float32", **options), batch, queries)


def _in_pixels(track: Track, count: int, frames: int) -> Track:
    """The track of the first `count` points on the first `frames` frames, positions in pixels."""
    xy, visible, confidence = (part[:count, :frames] for part in track)
    return Track(xy * STRIDE, visible, confidence)


def initialise(network: CoTracker2Network | CoTracker3Network) -> None:
    """Random weights: convolutions keep the size of what passes, virtual tracks differ, the first updates are small."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            if name.endswith("_head"):
                nn.init.trunc_normal_(module.weight, std=0.001)
            else:
                nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, SpaceTimeTransformer):
            nn.init.normal_(module.virual_tracks)


def _settings(config: TrainConfig) -> CoTrackerSettings:
    settings = CoTrackerSettings() if config.settings is None else config.settings
    if not isinstance(settings, CoTrackerSettings):
        raise UsageError(f"the settings of {config.model} are CoTrackerSettings, not {type(settings).__name__}")
    if any(stage.task != "tracking" for stage in config.stages):
        raise UsageError(f"{config.model} has stages of task tracking alone")
    return settings


def build(config: TrainConfig, device: torch.device) -> CoTrackerTraining:
    """See `Recipe.build`. Raises `UsageError` for settings of another recipe."""
    settings = _settings(config)
    torch.manual_seed(config.seed)
    network: CoTracker2Network | CoTracker3Network
    with torch.device(device):
        if config.model == COTRACKER2.id:
            network = CoTracker2Network(settings.window or WINDOWS[0])
        else:
            times = ONLINE_TIMES if config.model == COTRACKER3_ONLINE.id else OFFLINE_TIMES
            network = CoTracker3Network(times, settings.sizes)
        initialise(network)
    return CoTrackerTraining(network, settings, config.model)


def load(network: nn.Module, weights: Mapping[str, Tensor], model: str) -> None:
    """See `Recipe.load`: checkpoints as they are published."""
    tables: dict[str, int] = {}
    if isinstance(network, CoTracker2Network):
        tables = {"time_emb": len(network.time_table), "pos_emb": TOKEN}
    elif isinstance(network, CoTracker3Network):
        tables = {"time_emb": len(network.time_table)}
    load_published(network, weights, model, tables)


_LICENCE = inherited(COTRACKER2)  # one for all of them
ONLINE = Recipe(COTRACKER3_ONLINE.id, _LICENCE, PRESETS_ONLINE, build, read_settings, load=load)
OFFLINE = Recipe(COTRACKER3_OFFLINE.id, _LICENCE, PRESETS_OFFLINE, build, read_settings, load=load)
COTRACKER2_RECIPE = Recipe(COTRACKER2.id, _LICENCE, PRESETS2, build, read_settings, float32=True, load=load)
