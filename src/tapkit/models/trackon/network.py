"""Track-On2: points as queries that find their patch in every frame anew and remember what they have found.

Aydemir et al., "Track-On2: Enhancing Online Point Tracking with Memory" (arXiv:2509.19115). On each frame a point
starts from the feature of its query and attends to the frame, to the other points, and to what it wrote on earlier
frames (a first-in, first-out memory); it is compared with all patches, looks closer at the 16 best, is compared again,
and the best patch with an offset inside it is the answer. Nothing else goes from frame to frame.

What does not depend on points is worked out once for a frame: keys and values of its cells, and the sum of the four
similarity maps' unit features, enlarged and weighted, so that a comparison is one product of matrices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.constants import constant_like
from tapkit.coords import Size
from tapkit.models.trackon.backbone import STRIDES, Backbone, Pyramid, map_sizes
from tapkit.models.trackon.decoder import CHUNK, AttentionBlock, Prediction, Reranking
from tapkit.models.trackon.deformable import as_maps, as_tokens, cells
from tapkit.nn.exporting import exporting
from tapkit.nn.sampling import sample
from tapkit.nn.vit import VitConfig

STRIDE = STRIDES[0]
"""Side of a patch, pixels of the network's input."""
CANDIDATES = 16
"""Patches that a point looks at more closely."""
TRAINED_MEMORY = 24
"""Frames that the memory was trained with."""


@dataclass(frozen=True)
class TrackOnConfig:
    """Sizes of the network; the defaults are the published ones."""

    width: int = 256
    hidden: int = 1024
    layers: int = 3
    """Blocks of every kind that points go through."""
    size: Size = (384, 512)
    """(height, width) of the images that the position codes were trained with."""
    vit: VitConfig = field(default_factory=VitConfig)
    interactions: int = 4
    """Of the image transformer with its adapter."""


class FrameMaps(NamedTuple):
    """What a frame gives, P = h*w patches row by row, S tokens of all four strides; all float32."""

    fused: Tensor
    """[P,C]: points begin with it, and attend to it."""
    tokens: Tensor
    """[S,C]: what is looked at around candidates."""
    match: Tensor
    """[P,C]: its product with a unit query is the similarity of each patch (without the bias)."""


class Points(NamedTuple):
    """N points between two frames."""

    query: Tensor
    """float32 [N,C]: the fused feature at the query; never changes."""
    memory: Tensor
    """float32 [N,M,C]: what was written on the last M frames, oldest first."""
    age: Tensor
    """int64 [N]: frames written, at most M; the slots before those are empty."""

    def add(self, query: Tensor) -> Points:
        """With points that begin, behind the others; their features [n,C]."""
        memory = query.new_zeros(len(query), *self.memory.shape[1:])
        age = torch.zeros(len(query), dtype=torch.long, device=query.device)
        return Points(*(torch.cat(pair) for pair in zip(self, (query, memory, age), strict=True)))

    def select(self, rows: Tensor) -> Points:
        """Only these, in this order."""
        return Points(*(part[rows] for part in self))


class Found(NamedTuple):
    """Answers for N points."""

    xy: Tensor
    """float32 [N,2], pixels of the network's input, corner origin."""
    visible: Tensor
    """Logits [N]."""
    uncertain: Tensor
    """Logits [N] of being occluded or more than 12 pixels off."""


class TrackOnNetwork(nn.Module):
    """The network on tensors; frames are normalised images of a size with sides that are multiples of 32."""

    def __init__(self, config: TrackOnConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TrackOnConfig()
        width, hidden = config.width, config.hidden
        grid = (config.size[0] // STRIDE, config.size[1] // STRIDE)
        self.backbone, self.fpn = Backbone(config.vit, config.interactions, width, grid), Pyramid(width)
        self.feature_attention, self.query_attention, self.memory_attention = (
            nn.ModuleList([AttentionBlock(width, hidden) for _ in range(config.layers)]) for _ in range(3)
        )
        self.t_embedding = nn.Parameter(torch.randn(1, TRAINED_MEMORY + 1, width) * 0.02)
        self.projection1, self.projection2 = nn.Linear(width, width), nn.Linear(width, width)
        self.ms_corr_proj = nn.Conv2d(len(STRIDES), 1, 1)
        self.reranking_head = Reranking(width, hidden, config.layers)
        self.prediction_head = Prediction(width, hidden, config.layers, float(STRIDE))

    # -- frames -----------------------------------------------------------------------------------

    def encode(self, image: Tensor, positions: Tensor) -> FrameMaps:
        """image [1,3,H,W], normalised; `positions` of its size, from `backbone.positions`."""
        sizes = map_sizes((image.shape[-2], image.shape[-1]))
        tokens = self.backbone(image, positions)
        maps = as_maps(tokens, sizes)
        fused = as_tokens(self.fpn(maps)).contiguous()
        factors = self.ms_corr_proj.weight.flatten()
        units = as_maps(F.normalize(tokens, dim=-1, eps=1e-12), sizes)
        match = units[0] * factors[0]
        for level, factor in zip(units[1:], factors[1:], strict=True):
            match = match + F.interpolate(level * factor, sizes[0], mode="bilinear", align_corners=False)
        return FrameMaps(fused, tokens, as_tokens(match).contiguous())

    def begin(self, maps: FrameMaps, xy: Tensor, size: Size) -> Tensor:
        """Features [n,C] of points that begin on this frame, xy [n,2] in pixels of `size`, corner origin."""
        fused = as_maps(maps.fused, map_sizes(size)[:1])[0]
        return sample(fused, xy[None] / STRIDE - 0.5)[0]

    # -- points -----------------------------------------------------------------------------------

    def memory_codes(self, frames: int) -> Tensor:
        """Codes [M+1,C] of a memory of `frames` slots, oldest first, and of the present."""
        past, now = self.t_embedding[:, :-1], self.t_embedding[0, -1:]
        if frames != past.shape[1]:
            past = F.interpolate(past.transpose(1, 2), frames, mode="linear", align_corners=True).transpose(1, 2)
        return torch.cat([past[0], now])

    def step(
        self, maps: FrameMaps, points: Points, size: Size, codes: Tensor, held: Tensor | None = None
    ) -> tuple[Points, Found]:
        """Points on the next frame; `codes` from `memory_codes`. There must be at least one point.

        `held` bool [N]: the points that the others see; None: all.
        """
        sizes = map_sizes(size)
        query = self.projection1(self.recall(maps, points, codes, held))
        best = self.similarity(query, maps).topk(min(CANDIDATES, cells(sizes)[0]), sorted=False).indices
        query = self.reranking_head(query, self._centres(best, size), maps.tokens, sizes)
        query = self.projection2(query)
        patch = self._centres(self.similarity(query, maps).argmax(-1), size)
        heads = self.prediction_head(query, patch, maps.tokens, sizes)
        xy = patch * constant_like([size[1], size[0]], patch) + heads.offset
        memory = torch.cat([points.memory[:, 1:], query[:, None]], 1)
        age = (points.age + 1).clamp(max=memory.shape[1])
        return Points(points.query, memory, age), Found(xy, heads.visible, heads.uncertain)

    def recall(self, maps: FrameMaps, points: Points, codes: Tensor, held: Tensor | None = None) -> Tensor:
        """Queries [N,C] that know the frame, one another, and their past."""
        slots = points.memory.shape[1]
        # Empty slots change nothing: only as many as the oldest point has filled are looked at.
        # (Elsewhere than on a CPU to ask would be to wait; and with all of them, shapes stay as they are.)
        fixed = exporting() or points.age.device.type != "cpu"
        used = slots if fixed else int(points.age.max())
        memory, codes = points.memory[:, slots - used :], codes[slots - used :]
        filled = torch.arange(used + 1, device=codes.device) >= used - points.age[:, None]  # the present always is
        whole = not fixed and bool(filled.all())
        seen = None if held is None else held[None]
        query, fused = points.query, maps.fused[None]
        for layer in range(self.config.layers):
            block = _block(self.feature_attention, layer)
            query = block(query[None], block.mha.keys_values(fused, fused))
            block = _block(self.query_attention, layer)
            query = block(query, block.mha.keys_values(query, query), seen)[0]
            tokens = self._remember(layer, torch.cat([memory, query[:, None]], 1), codes, None if whole else filled)
            memory, query = tokens[:, :-1], tokens[:, -1]
        return query

    def _remember(self, layer: int, tokens: Tensor, codes: Tensor, filled: Tensor | None) -> Tensor:
        """Each point's memory and present [N,L,C] attend to one another; of the last layer only the present returns."""
        block = _block(self.memory_attention, layer)
        last = layer == self.config.layers - 1

        def some(tokens: Tensor, filled: Tensor | None) -> Tensor:
            coded = tokens + codes  # the codes stay in what is added up
            mask = None if filled is None else filled[:, None, None]
            out: Tensor = block(coded[:, -1:] if last else coded, block.mha.keys_values(coded, tokens), mask)
            return out

        if exporting():  # the number of points is a symbol then
            return some(tokens, filled)
        parts = torch.split(tokens, CHUNK)
        masks = [None] * len(parts) if filled is None else torch.split(filled, CHUNK)
        return torch.cat([some(part, mask) for part, mask in zip(parts, masks, strict=True)])

    def similarity(self, query: Tensor, maps: FrameMaps) -> Tensor:
        """How similar points [N,C] are to each patch [N,P]: weighted cosines at four strides."""
        bias = self.ms_corr_proj.bias
        assert bias is not None
        return F.normalize(query, dim=-1, eps=1e-12) @ maps.match.T + bias

    def _centres(self, patch: Tensor, size: Size) -> Tensor:
        """Centres (x, y) in [0,1] of patches [...] by their numbers -> [...,2]."""
        height, width = size[0] // STRIDE, size[1] // STRIDE
        column, row = patch % width, patch.div(width, rounding_mode="floor")
        return torch.stack([(column + 0.5) / width, (row + 0.5) / height], -1)


def _block(blocks: nn.ModuleList, layer: int) -> AttentionBlock:
    block = blocks[layer]
    assert isinstance(block, AttentionBlock)
    return block
