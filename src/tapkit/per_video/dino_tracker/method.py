"""DINO-Tracker as a `Method`: what it prepares, fits and answers with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tapkit.coords import resize
from tapkit.errors import UsageError
from tapkit.models.base import ClipModel
from tapkit.per_video.dino_tracker.card import CARD
from tapkit.per_video.dino_tracker.fit import DinoTrackerFit
from tapkit.per_video.dino_tracker.grid import STRIDE, TokenGrid, model_size
from tapkit.per_video.dino_tracker.model import FittedDinoTracker
from tapkit.per_video.dino_tracker.options import PRESETS, DinoTrackerOptions
from tapkit.per_video.dino_tracker.sampling import Material
from tapkit.per_video.dino_tracker.weights import network_from
from tapkit.per_video.method import Fit, FitOptions, Place, Report
from tapkit.per_video.prepare import buddies, foreground, trajectories
from tapkit.per_video.prepare.flows import FlowRequest, pair_flows
from tapkit.per_video.prepare.store import Prepared, Table
from tapkit.per_video.prepare.tokens import Reading, backbone, held_tokens, token_tables
from tapkit.types import ModelCard


def _quiet(what: str, done: int, total: int) -> None:
    """Everything is there already: nothing to report."""


class DinoTrackerMethod:
    """A `Method`."""

    card: ModelCard = CARD
    presets: Mapping[str, FitOptions] = PRESETS

    def prepare(self, prepared: Prepared, options: DinoTrackerOptions, device: torch.device, report: Report) -> None:
        """See `Method.prepare`: flows, trajectories, tokens, foreground, best buddies."""
        _tokens(prepared, options, device, report)  # first: what lacks a file says so at once
        chains = _chains(prepared, options, device, report)
        lasting = sum(
            int((trajectories.found(chains[t], chains[t - 1]["id"]) >= 0).sum()) for t in range(1, len(chains))
        )
        if not lasting:
            raise UsageError(
                "no two neighbouring frames agree by flow (there and back misses by 1.5 px everywhere): there is "
                "nothing to learn from"
            )
        _masks(prepared, options, device, report)
        if options.buddies:
            _buddies(prepared, options, device, report)

    def build(self, prepared: Prepared, options: DinoTrackerOptions, seed: int, device: torch.device) -> Fit:
        """See `Method.build`."""
        tokens = _tokens(prepared, options, device, _quiet)[0]
        chains = _chains(prepared, options, device, _quiet)
        found = _buddies(prepared, options, device, _quiet) if options.buddies else None
        masks = _masks(prepared, options, device, _quiet)
        nothing = [np.empty(0, buddies.ROW)] * len(prepared)
        material = Material(chains, nothing if found is None else found, masks, prepared.size, _grid(prepared))
        return DinoTrackerFit(prepared, tokens, material, options, seed, device)

    def answer(self, model: Mapping[str, Tensor], place: Place, options: Any) -> ClipModel:
        """See `Method.answer`."""
        chosen = options if isinstance(options, DinoTrackerOptions) else DinoTrackerOptions.of(CARD.id, options)
        return FittedDinoTracker(network_from(model), place, chosen)


def _grid(prepared: Prepared) -> TokenGrid:
    return TokenGrid(model_size(prepared.size))


def _reading(prepared: Prepared, options: DinoTrackerOptions) -> Reading:
    return Reading(options.backbone, _grid(prepared).size, STRIDE, options.backbone_weights)


def _tokens(prepared: Prepared, options: DinoTrackerOptions, device: torch.device, report: Report) -> list[Table]:
    """Tables of the tokens to refine and, where no masks are given, of the last block's."""
    chosen = backbone(options.backbone)
    blocks: tuple[int, ...] = (chosen.track_block,)
    if options.masks is None:
        blocks += (chosen.config.depth - 1,)
    return token_tables(prepared, _reading(prepared, options), blocks, device, report)


def _chains(prepared: Prepared, options: DinoTrackerOptions, device: torch.device, report: Report) -> Table:
    """The table of trajectories."""
    request = FlowRequest(options.flow, options.flow_weights, options.reach)
    facts: dict[str, Any] = {
        "flow": request.flow,
        "weights": request.weights,
        "reach": request.reach,
        "every": options.every,
    }
    if prepared.flow_frames is not prepared.frames:
        facts["computed_at"] = list(prepared.flow_frames.shape[1:3])
    table = prepared.table("trajectories", facts)
    if not table.missing:
        return table
    pairs = pair_flows(prepared, request, device, report)

    def flow(first: int, second: int) -> np.ndarray | None:
        return pairs.flow(first, second) if abs(first - second) <= pairs.reach else None

    chains = trajectories.Chains(table.__getitem__, flow, options.every)
    return prepared.fill(table, lambda frame: chains.entry(frame, prepared.size), report)


def _masks(prepared: Prepared, options: DinoTrackerOptions, device: torch.device, report: Report) -> np.ndarray:
    """What is foreground, bool [T,h,w]."""
    if options.masks is not None:
        return foreground.given_masks(options.masks, prepared)
    last = _tokens(prepared, options, device, report)[1]
    table = prepared.table("foreground", {"tokens": last.folder.name})
    if table.missing:
        masks = foreground.principal_masks(last, _grid(prepared).shape, device)
        prepared.fill(table, lambda frame: masks[frame], report)
    return np.stack([table[frame] for frame in range(len(table))])


def _buddies(prepared: Prepared, options: DinoTrackerOptions, device: torch.device, report: Report) -> Table:
    """The table of best buddies where trajectories say nothing."""
    tokens, chains = _tokens(prepared, options, device, report)[0], _chains(prepared, options, device, report)
    table = prepared.table("buddies", {"tokens": tokens.folder.name, "trajectories": chains.folder.name})
    if not table.missing:
        return table
    centres = _grid(prepared).centres()
    ours = resize(centres, _grid(prepared).size, prepared.size).numpy()
    continuity = buddies.Continuity(chains.__getitem__, len(prepared), ours)
    of_frame, centres = held_tokens(tokens, device), centres.to(device)

    def of(frame: int) -> np.ndarray:
        return buddies.buddies_of(frame, of_frame, len(prepared), centres, continuity)

    return prepared.fill(table, of, report)


METHOD = DinoTrackerMethod()
