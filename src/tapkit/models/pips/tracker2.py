"""PIPs++ as a tracker of whole clips. The network is in `network2`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tapkit import coords
from tapkit.models.base import Prediction, Size
from tapkit.models.pips.card import PIPS2
from tapkit.models.pips.network import Features
from tapkit.models.pips.network2 import STRIDE, TOKEN, WIDTHS, Pips2, Pips2Options, chain
from tapkit.models.pips.tracker import PipsBase
from tapkit.models.pips.weights import load_weights


class Pips2Model(PipsBase):
    """PIPs++ for the engine."""

    network: Pips2

    @torch.inference_mode()
    def track(self, features: Features, size: Size, queries: Tensor) -> Prediction:
        """See `ClipModel.track`: from each query's frame to the clip's end; earlier frames repeat the query.

        visible and confidence are 1 where the position lies in the frame, else 0: the network says nothing of them.
        """
        inner = self._input_size(size)
        start = coords.to_centers(coords.resize(queries[:, 1:].float(), size, inner)) / STRIDE
        cells = chain(self.network, features, queries[:, 0].long(), start)
        xy = coords.resize(coords.from_centers(cells * STRIDE), inner, size)
        visible = coords.inside(xy, size).float()
        return Prediction(xy, visible, visible)

    def point_bytes(self, frames: int, size: Size) -> int:
        """See `ClipModel.point_bytes`: a window's tokens (only a block's points at a time), and the tracks."""
        return min(frames, self.network.config.window) * 4 * (3 * TOKEN + 8 * WIDTHS[-1]) + 64 * frames


def build(weights: Mapping[str, Tensor] | None = None, **options: Any) -> Pips2Model:
    """PIPs++ with the published weights (None: untrained). Options: `Pips2Options`."""
    chosen = Pips2Options.of(PIPS2.id, options)
    with torch.device("cpu" if weights is None else "meta"):  # nothing is drawn that the weights replace
        network = Pips2(chosen)
    if weights is not None:
        load_weights(network, weights, PIPS2.id)
    return Pips2Model(network.requires_grad_(False), PIPS2, chosen)
