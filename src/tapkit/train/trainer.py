"""Optimisation of a network by its recipe: steps, gradient clipping, averaged weights, mixed precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor, nn

from tapkit.errors import TapkitError
from tapkit.nn.precision import feature_dtype
from tapkit.train import checkpoint
from tapkit.train.batch import Batch, BatchSource
from tapkit.train.config import Stage, TrainConfig
from tapkit.train.recipe import Trainable, recipe
from tapkit.train.schedule import batch_seed, drawn_stage, ema_decay, learning_rate, stage_at
from tapkit.train.workers import Workers

PATIENCE = 20
"""Steps in a row whose gradients may be not finite."""


class Diverged(TapkitError):
    """The loss is not a number any more."""


def _decays(name: str, parameter: Tensor, undecayed: tuple[str, ...] | None) -> bool:
    """Whether weight decay concerns a parameter; see `TrainConfig.undecayed`."""
    if undecayed is None:
        return parameter.ndim > 1
    return not any(fnmatchcase(name, pattern) for pattern in undecayed)


class Trainer:
    """A network, its optimiser and its averaged weights; `train_step` makes one step of the schedule."""

    def __init__(
        self,
        config: TrainConfig,
        trainable: Trainable,
        source: BatchSource,
        device: torch.device,
        precision: str = "auto",
    ) -> None:
        self.config, self.trainable, self.source, self.device = config, trainable, source, device
        if precision == "auto" and recipe(config.model).float32:
            precision = "float32"
        self.dtype = feature_dtype(precision, device)
        self.workers = Workers.from_environment(device)
        self.step = 0
        """Optimiser steps made."""
        self.clips = 0
        """Clips learned from, on all processes."""
        self.initial: str | None = None
        """Name of the weights that training started from; None: pseudo-random ones."""
        self._bad = 0
        self.optimizer = self._make_optimizer()
        self.average = {name: value.clone() for name, value in self.tensors().items()}

    @property
    def network(self) -> nn.Module:
        """What is trained."""
        return self.trainable.network

    @property
    def stage(self) -> Stage:
        """The stage of the next step."""
        return stage_at(self.config, self.step)[1]

    def tensors(self) -> dict[str, Tensor]:
        """Weights and statistics of the network, not copied."""
        return {name: value.detach() for name, value in self.network.state_dict(keep_vars=True).items()}

    def start_from(self, weights: Mapping[str, Tensor], name: str) -> None:
        """Start with these weights, of a file of that name. Raises `WeightsError` if they do not fit."""
        recipe(self.config.model).load(self.network, weights, self.config.model)
        self.average = {key: value.clone() for key, value in self.tensors().items()}
        self.initial = name

    def _make_optimizer(self) -> torch.optim.AdamW:
        named = [(p, _decays(name, p, self.config.undecayed)) for name, p in self.network.named_parameters()]
        groups = [
            {"params": [p for p, decays in named if decays], "weight_decay": self.config.weight_decay},
            {"params": [p for p, decays in named if not decays], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.config.learning_rate, betas=self.config.betas, eps=1e-8)

    # -- one step ---------------------------------------------------------------------------------

    def train_step(self) -> dict[str, float]:
        """One optimiser step. Returns the loss and its parts by name. Raises `Diverged`."""
        stage, parts = self.stage, self.config.accumulate
        self.trainable.prepare(stage)
        self.optimizer.zero_grad(set_to_none=True)
        sums = dict.fromkeys((*self.trainable.reported, "loss"), torch.zeros((), device=self.device))
        for part in range(parts):
            # As if each batch were that of a process of its own.
            rank = self.workers.rank * parts + part
            seed = batch_seed(self.config, self.step, rank, self.workers.count * parts)
            drawn = drawn_stage(stage, seed)
            self._backpropagate(self.source.batch(drawn, seed), drawn, seed, sums)
        self._apply_gradients(stage)
        self.step += 1
        self.clips += stage.batch * parts * self.workers.count
        values = torch.stack([value.float() for value in sums.values()]).tolist()  # the device is waited for once
        return dict(zip(sums, values, strict=True))

    def _backpropagate(self, batch: Batch, stage: Stage, seed: int, sums: dict[str, Tensor]) -> None:
        """Accumulate the gradients of a batch, and in `sums` the loss and its parts."""
        losses = self.trainable.losses(batch, stage, seed)
        half, share = self.dtype != torch.float32, 1 / self.config.accumulate
        while True:
            # Without its cache: what is cast while gradients are off would be used, without them, when they are on.
            with torch.autocast(self.device.type, dtype=self.dtype, enabled=half, cache_enabled=False):
                loss = next(losses, None)
            if loss is None:
                return
            if loss.total.requires_grad:
                (loss.total * share).backward()  # type: ignore[no-untyped-call]
            for name, value in loss.parts.items():
                sums[name] = sums[name] + share * value
            sums["loss"] = sums["loss"] + share * loss.total.detach()

    def _apply_gradients(self, stage: Stage) -> None:
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        shared: list[Tensor] = [p.grad for p in parameters if p.grad is not None]
        # Statistics of the norms too, so that all processes hold the same network.
        self.workers.average([*shared, *self.trainable.statistics(stage)])
        limit = inf if self.config.clip_norm is None else self.config.clip_norm
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        if not isfinite(float(norm)):
            # One bad batch must not end a long run; many in a row are a run that has gone wrong.
            self._bad += 1
            if self._bad > PATIENCE:
                raise Diverged(f"the gradients have not been finite for {PATIENCE} steps, up to step {self.step}")
            return
        self._bad = 0
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.step)
        self.optimizer.step()
        decay = ema_decay(self.config, self.step, self.initial is not None)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), list(self.tensors().values()), 1 - decay)

    # -- averaged weights -------------------------------------------------------------------------

    @contextmanager
    def averaged(self) -> Iterator[Trainable]:
        """The network with the averaged weights, inside the `with`."""
        own = {name: value.clone() for name, value in self.tensors().items()}
        self._set(self.average)
        try:
            yield self.trainable
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, tensors: Mapping[str, Tensor]) -> None:
        for name, value in self.tensors().items():
            value.copy_(tensors[name])

    # -- state ------------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """What `restore` takes: tensors by the names of `checkpoint.PARTS`, and plain facts for JSON."""
        first, second = checkpoint.named_moments(self.network, self.optimizer)
        tensors = {"model": self.tensors(), "average": self.average, "first": first, "second": second}
        facts = {
            "step": self.step,
            "clips": self.clips,
            "initial": self.initial,
            "config": self.config.to_dict(),
            "random": torch.get_rng_state().tolist(),
            "updates": checkpoint.updates(self.network, self.optimizer),
        }
        return tensors, facts

    def restore(self, tensors: Mapping[str, dict[str, Tensor]], facts: Mapping[str, Any]) -> None:
        """Continue from a `state`, also one that an older version wrote."""
        self._set(tensors["model"])
        self.average = {name: tensors["average"][name].to(self.device) for name in self.average}
        self.step, self.clips = int(facts["step"]), int(facts["clips"])
        self.initial = facts.get("initial")
        checkpoint.set_moments(self.network, self.optimizer, tensors["first"], tensors["second"], facts["updates"])
        torch.set_rng_state(torch.tensor(facts["random"], dtype=torch.uint8))
