"""strand-clip: strand for recorded clips. The whole clip is seen before anything is said.

Ours: strand's weights and nothing besides. The points are followed by strand from their queries on (`runs`), followed
back to see whether they come from there (`verified`), looked for where their surroundings carried them
(`surroundings`), and the best path through all of that is taken (`path`). Points are independent of one another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tapkit.models.base import Prediction, Size
from tapkit.models.strand.card import STRAND_CLIP
from tapkit.models.strand.clip.film import ClipFeatures, Film, kept
from tapkit.models.strand.clip.path import Seen, answers, best_paths
from tapkit.models.strand.clip.runs import onwards
from tapkit.models.strand.clip.surroundings import carried, dominant
from tapkit.models.strand.clip.verified import INSISTS, verdict
from tapkit.models.strand.encoder import LEVEL_STRIDES
from tapkit.models.strand.frame_motion import inverse
from tapkit.models.strand.network import Network
from tapkit.models.strand.tracker import Strand, StrandOptions, build
from tapkit.models.torch_model import TorchModel, check_frames, check_queries


class StrandClip(TorchModel):
    """strand as a `ClipModel`. One pass answers for all frames."""

    network: Network
    chosen: StrandOptions

    def __init__(self, strand: Strand) -> None:
        self.strand = strand
        super().__init__(strand.network, STRAND_CLIP, strand.chosen)

    @property
    def device(self) -> torch.device:
        """See `Model.device`."""
        return self.strand.device

    def _cast(self, dtype: torch.dtype) -> None:
        self.strand._cast(dtype)

    def frame_size(self, size: Size) -> Size | None:
        """See `Strand.frame_size`."""
        return self.strand.frame_size(size)

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> ClipFeatures:
        """See `ClipModel.encode`; frames uint8 [B,3,h,w]."""
        check_frames(frames)
        frames = frames.to(self.device)
        return kept(self.network.encode(frames), frames)

    @torch.inference_mode()
    def track(self, features: ClipFeatures, size: Size, queries: Tensor) -> Prediction:
        """See `ClipModel.track`: queries [N,3] (t, x, y); on their frame the answer is the query."""
        check_queries(queries, len(features.frames))
        queries = queries.to(self.device, torch.float32, copy=True)
        t, xy = queries[:, 0].round().long(), queries[:, 1:]
        film = Film(features)
        motions = dominant(film)
        found = self._one_way(film, size, motions, t, xy)
        rows = torch.nonzero(t > 0)[:, 0]
        if len(rows):
            last = len(film) - 1
            reverse = Film(features, backwards=True)
            before = self._one_way(reverse, size, inverse(motions).flip(0), last - t[rows], xy[rows])
            earlier = torch.arange(len(film), device=self.device) < t[rows, None]
            for whole, part in zip(found, before, strict=True):
                flipped = part.flip(1)
                mask = earlier.view(*earlier.shape, *(1,) * (whole.ndim - 2))
                whole[rows] = torch.where(mask, flipped, whole[rows])
        return found

    def _one_way(self, film: Film, size: Size, motions: Tensor, t: Tensor, xy: Tensor) -> Prediction:
        """The answers from the queries on."""
        first = onwards(self.strand, film, size, t, xy)
        verdicts = verdict(self.strand, film, size, t, xy, first)
        trusted = verdicts.confirmed & (first.run.sure > INSISTS)
        other = carried(film, size, motions, t, xy, first.run.xy, trusted)
        seen = Seen(
            torch.stack([first.run.xy, other.xy], 2).nan_to_num(0.0),
            first.run.sure,
            first.likely,
            *verdicts,
            other.fits_first,
            other.fits,
        )
        return answers(seen, best_paths(seen, motions, t, size), t, xy, size)

    def point_bytes(self, frames: int, size: Size) -> int:
        """See `ClipModel.point_bytes`: the two runs' state, and about 60 numbers for each frame."""
        return self.strand.point_bytes(size) + 4 * 60 * frames

    def frame_bytes(self, size: Size) -> int:
        """See `ClipModel.frame_bytes`."""
        height, width = size
        item = self.network.look.enter.weight.element_size()
        config = self.network.config
        cells = zip(LEVEL_STRIDES, (*config.features, sum(config.known)), strict=True)
        return height * width * 3 + sum(height * width // stride**2 * wide * item for stride, wide in cells)


def build_clip(weights: Mapping[str, Tensor] | None = None, **options: Any) -> StrandClip:
    """strand-clip with the weights of strand (None: untrained). Options: `StrandOptions`."""
    return StrandClip(build(weights, STRAND_CLIP.id, **options))
