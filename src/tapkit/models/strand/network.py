"""The network of strand: a light encoder, global matching, local 4D correlation, a recurrent state for each point.

Ours; what it is made of comes from published work, each named where it is used. Per frame:

1. `encoder`: one map at stride 4 and two at strides 8 and 16, channel vectors of length 1.
2. `matching`: the point's features against the cells of the maps, and a soft-argmax around the best cell (per-frame
   initialisation: Doersch et al., TAPIR, ICCV 2023, section 3.1). That is how lost points come back.
3. `Look` from two candidates, where motion says the point is and where matching says it is: products of patches of
   features with neighbourhoods on all three maps (local 4D correlation: Cho et al., LocoTrack, ECCV 2024, section 3.2),
   once with the patch seen at the query and once with a memory of how the point looked lately.
4. The better candidate wins (re-ranking: Aydemir et al., Track-On2, 2025), is looked at once more, and a gated
   recurrent unit takes in what was seen (Cho et al., EMNLP 2014). Visibility, confidence, how much of the present
   look goes into the memory, and how much momentum the point has are read from that.
5. Where it is seen, it is moved to where the query's patches are exactly (`refinement`), and held to the query's pixels
   while these fit (`anchor`).

Points are independent. Rows: M = B*N points, frame after frame of the batch. Positions are pixels of the frames given
to the network, corner origin; cell (i, j) of a map of stride s is centred at (s (i + 0.5), s (j + 0.5)).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.constants import constant_like
from tapkit.errors import ShapeError
from tapkit.models.base import Size
from tapkit.models.strand.anchor import SIZE, Asked, Fit, anchored, fit, fit_at_both, kept_pixels
from tapkit.models.strand.encoder import STRIDES, ConvNorm, Maps, StrandConfig, encoder
from tapkit.models.strand.evidence import Course, Verify, agreement, coarse_agreement, gathered, rival, unless_jumped
from tapkit.models.strand.look import Look, Reading
from tapkit.models.strand.matching import Everywhere, Matching, Sought, coarse_to_fine, everywhere
from tapkit.models.strand.narrow import Narrow
from tapkit.models.strand.patches import cut, middles
from tapkit.models.strand.refinement import Refine
from tapkit.models.strand.rows import LOOKS, filled, picked
from tapkit.nn.alignment import align
from tapkit.nn.packed import Linear

REACH = 16.0
"""Pixels: how far a point may have gone from where it is expected, before anything is learned about it."""
SAME = 2.0
"""Pixels: two places that are no further apart are one."""


class Points(NamedTuple):
    """State of M points; float32. A patch [M,K,C] is of K cells, x being the slow index."""

    query: tuple[Tensor, ...]
    """Patch of each map around the query."""
    memory: tuple[Tensor, ...]
    """The same of what the point looked like lately."""
    hidden: Tensor
    """[M,hidden]."""
    xy: Tensor
    """[M,2] position on the frame before."""
    motion: Tensor
    """[M,2] by how much it is expected to move on, unseen, pixels."""
    seen: Tensor
    """[M] P(visible) on the frame before."""
    template: Tensor
    """[M,SIZE] of the pixels around the query (`anchor`)."""


class Step(NamedTuple):
    """What is found on one frame, M points, K candidates."""

    xy: Tensor
    """[M,2] float32."""
    visible: Tensor
    """[M] logit."""
    confidence: Tensor
    """[M] logit of P(error < radius)."""
    candidates: Tensor
    """[M,K,2] where the candidates were before they were looked at."""
    refined: Tensor
    """[M,K,2] and after."""
    scores: Tensor
    """[M,K] logit of each candidate being right."""
    cost: Tensor
    """[M,h*w] logits of global matching, cells of the fine map row by row; [M,0] where not all were looked at."""
    around: Tensor
    """[M,(2r+1)^2] logits of the last look on the fine map, x being the slow index."""
    looked: Tensor
    """[M,2] the centre of `around`."""
    like: Tensor
    """[M] how much what is seen there looks like the query: the products of their features on the two coarser maps,
    1 where they are the same; 0 without evidence."""
    fits: Tensor
    """[M] how well the query's pixels fit there, correlation -1..1; 0 without a picture."""
    here: Tensor
    """[M,C] the features of all maps there, side by side."""
    also: Fit | None = None
    """Where they fit around the other places that were asked for, [K]."""


def follow(before: tuple[Tensor, ...], after: tuple[Tensor, ...], xy: Tensor) -> tuple[Tensor, Tensor]:
    """Where the pixels around points went, from the `grey_pyramid`s of two frames: `step`'s last arguments.

    xy [M,2] -> positions [M,2], and [M,2] how sure that is: the patches' correlation, and exp(-d) where the way back
    misses by d pixels (Kalal et al., Forward-Backward Error, ICPR 2010).
    """
    moved, similarity, missed = align(before, after, xy.view(len(before[0]), -1, 2))
    return moved.flatten(0, 1), torch.stack([similarity, torch.exp(-missed)], -1).flatten(0, 1)


def _sides(maps: Maps) -> Size:
    """(height, width) in pixels of the frames that the maps are of."""
    return maps.fine.shape[1] * STRIDES[0], maps.fine.shape[2] * STRIDES[0]


def _size(maps: Maps, points: Points) -> Tensor:
    """The same as (width, height) [2]."""
    return constant_like(reversed(_sides(maps)), points.xy)


class Recurrent(nn.Module):
    """A gated recurrent unit, of layers that can be packed."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.of_input, self.of_state = Linear(inputs, 3 * hidden), Linear(hidden, 3 * hidden)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """x [M,inputs], state [M,hidden] -> the next state, float32."""
        dtype = self.of_input.weight.dtype
        reset, update, new = self.of_input(x.to(dtype)).float().chunk(3, -1)
        reset_state, update_state, new_state = self.of_state(state.to(dtype)).float().chunk(3, -1)
        keep = torch.sigmoid(update + update_state)
        fresh = torch.tanh(new + torch.sigmoid(reset + reset_state) * new_state)
        return torch.lerp(fresh, state, keep)


class Network(nn.Module):
    """See the module."""

    def __init__(self, config: StrandConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or StrandConfig()
        self.encoder = encoder(config)
        self.temperature = nn.Parameter(torch.full((3,), 2.5))
        if any(config.known):
            self.known_temperature = nn.Parameter(torch.full((), 2.5))
        self.start = Linear(config.features[1], config.hidden)
        self.belief = Narrow(config.hidden, 5)
        nn.init.zeros_(self.belief.weight)
        nn.init.zeros_(self.belief.bias)
        self.look = Look(config)
        self.prefer = nn.Parameter(torch.ones(()))
        """Added to the score of where the pixels went: a jump elsewhere must be worth it."""
        self.score = nn.Sequential(Linear(2 * config.hidden + 3, 64), nn.ReLU(), Narrow(64, 1))
        self.recurrent = Recurrent(config.hidden + 3, config.hidden)
        self.read = Linear(2 * config.hidden, 128)
        self.answer = Narrow(128, 4)
        self.verify = Verify(config.hidden) if config.evidence else None
        self.refine = Refine(config) if config.refine else None
        with torch.no_grad():
            self.answer.bias[2] = 4.0  # a memory that is hardly ever renewed is never learned to be of use

    def fold(self) -> None:
        """Make the encoder's norms part of its convolutions, for inference."""
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.fold()

    def encode(self, frames: Tensor) -> Maps:
        """Frames uint8 [B,3,H,W], sides multiples of 16 -> maps in the dtype of the weights (or of autocast)."""
        if frames.ndim != 4 or frames.shape[1] != 3 or frames.shape[2] % 16 or frames.shape[3] % 16:
            raise ShapeError(f"strand needs frames [B,3,H,W] with sides that 16 divides, got {list(frames.shape)}")
        maps: Maps = self.encoder(frames.to(self.look.enter.weight.dtype) / 127.5 - 1)
        return maps

    def begin(self, maps: Maps, owner: Tensor, xy: Tensor, image: Tensor | None = None) -> Points:
        """Points that are asked for at xy float32 [M,2] on frames `owner` int64 [M].

        `image` [B,1,H,W] are the frames in grey; without them no pixels are kept, and `step` must not get any either.
        """
        templates = cut(maps, owner, xy, self.config.patches)
        centre = templates[1][:, templates[1].shape[1] // 2]
        hidden = torch.tanh(self.start(centre.to(self.start.weight.dtype)).float())
        xy = xy.float()
        pixels = xy.new_zeros(len(xy), SIZE) if image is None else kept_pixels(image, xy)
        return Points(templates, templates, hidden, xy, torch.zeros_like(xy), torch.ones_like(xy[:, 0]), pixels)

    def seek(self, points: Points, expected: Tensor) -> Sought:
        """What points are looked for by in a whole frame, from where they are `expected` [M,2].

        How much of the feature is the memory's, and how far the point may have gone, is read from its state: a point
        that was just seen is looked for nearby, one that is lost anywhere.
        """
        belief = self.belief(points.hidden)
        shares, lengths = torch.sigmoid(belief[:, :3])[:, :, None], [*self.temperature.float().exp()]
        if any(self.config.known):
            lengths.append(self.known_temperature.float().exp())
        features = []
        for number, (query, memory) in enumerate(zip(points.query, points.memory, strict=True)):
            middle = query.shape[1] // 2
            # What the backbone knew is remembered as the map in whose cells it is.
            feature = torch.lerp(query[:, middle], memory[:, middle], shares[:, min(number, len(STRIDES) - 1)])
            features.append(feature * lengths[number])
        scale = REACH * torch.exp(belief[:, 3].clamp(-4, 4))
        return Sought(tuple(features), expected, scale, F.softplus(belief[:, 4] + 0.5))

    def match(self, maps: Maps, points: Points, expected: Tensor) -> Everywhere:
        """Global matching (`matching`) with all cells of the frames, for training."""
        return everywhere(maps, self.seek(points, expected))

    def step(
        self,
        maps: Maps,
        points: Points,
        moved: Tensor,
        similarity: Tensor,
        image: Tensor | None = None,
        also: Asked | None = None,
    ) -> tuple[Points, Step]:
        """One frame for points that began before it: `expect`, `coarse_to_fine`, `update`.

        moved [M,2] and similarity [M,2] are what `follow` found: where the pixels around each point went. `image`
        [B,1,H,W] is the frame in grey, to hold points to the query's pixels (`anchor`); None: they are not held. `also`
        are other places around which these are looked for at the same time, B being 1.
        """
        expected, similarity = self.expect(maps, points, moved, similarity)
        matching = coarse_to_fine(maps, self.seek(points, expected))
        return self.update(maps, points, expected, similarity, matching, image, also)

    def expect(self, maps: Maps, points: Points, moved: Tensor, similarity: Tensor) -> tuple[Tensor, Tensor]:
        """Where points are expected [M,2]: with the pixels if they were seen, else by their own motion.

        The second answer [M,2] is how sure that is; 0 for points that were hidden.
        """
        size = _size(maps, points)
        # What hides a point moves otherwise than the point.
        visible = points.seen > 0.5
        expected = torch.where(visible[:, None], moved, points.xy + points.motion)
        expected = torch.minimum(expected.clamp(min=-32), size + 32)
        return expected, torch.where(visible[:, None], similarity, torch.zeros_like(similarity))

    def update(
        self,
        maps: Maps,
        points: Points,
        expected: Tensor,
        similarity: Tensor,
        matching: Matching,
        image: Tensor | None = None,
        also: Asked | None = None,
    ) -> tuple[Points, Step]:
        """Look where points are `expected` [M,2] and where `matching` found them, and take in what was seen.

        `similarity` [M,2] belongs to `expected`. Coordinates pass no gradient from stage to stage.
        """
        batch, count = len(maps.fine), len(points.xy)
        size = _size(maps, points)
        owner = torch.arange(batch, device=points.xy.device).repeat_interleave(count // batch)
        similarity = torch.stack([similarity, torch.zeros_like(similarity)], 1)
        both = zip(points.query[:3], points.memory[:3], strict=True)
        templates = tuple(torch.cat([part.to(maps.fine.dtype) for part in pair], 1) for pair in both)
        candidates = torch.stack([expected, matching.xy.detach()], 1)
        refined, scores, readings = self._compare(maps, templates, points.hidden, owner, candidates, similarity)
        choice = scores.argmax(-1)
        chosen = refined[torch.arange(count, device=choice.device), choice].detach()
        away = (chosen - expected)[:, None]
        similarity = similarity[torch.arange(count, device=choice.device), choice][:, None]
        token, xy, around, read = self.look(
            maps, templates, points.hidden, owner, chosen[:, None], away, similarity, choice[:, None], 1, readings
        )
        moved = torch.tanh((xy.detach() - expected) / 8)
        best = scores.detach().amax(-1, keepdim=True)
        hidden = self.recurrent(torch.cat([token, moved, torch.tanh(best / 4)], -1), points.hidden)
        answer = self.answer(self.read(torch.cat([hidden, token], -1).to(self.read.weight.dtype), "gelu"))
        visible, confidence, rate, momentum = answer.unbind(-1)
        if self.refine is not None:
            xy = self.refine.held(xy, visible, read)
        here, fits, other = _held(points, image, xy.detach(), similarity[:, 0, 0], visible.detach(), also)
        xy = xy + (here - xy.detach())
        seen = cut(maps, owner, here, self.config.patches)
        went, like = distance(here, points.xy), torch.zeros_like(visible)
        if self.verify is not None:
            course = Course(went, distance(here, expected), choice.float(), points.seen)
            better = rival(matching, here)
            fitting = agreement(points.query, seen), agreement(points.memory, seen)
            like = coarse_agreement(fitting[0])
            more = self.verify(gathered(*fitting, better, similarity[:, 0], fits, course).detach(), hidden)
            visible = unless_jumped(visible + more[:, 0], went, _sides(maps))
            confidence = confidence + more[:, 1]
        after = Points(
            points.query,
            _remember(points.memory, seen, visible, confidence, rate),
            hidden,
            # Not further from the frame than a look reaches: a lost point must be able to come back.
            torch.minimum(here.clamp(min=-32), size + 32),
            # Nor is a jump to where a lost point was found again a motion that would go on.
            (here - points.xy).clamp(-24, 24) * (torch.sigmoid(momentum) * torch.sigmoid(visible.detach()))[:, None],
            torch.sigmoid(visible.detach()),
            points.template,
        )
        cost = matching.cost if isinstance(matching, Everywhere) else xy.new_zeros(count, 0)
        looks = (candidates, refined, scores, cost, around, chosen)
        return after, Step(xy, visible, confidence, *looks, like, fits, middles(seen), other)

    def _compare(
        self,
        maps: Maps,
        templates: tuple[Tensor, ...],
        hidden: Tensor,
        owner: Tensor,
        candidates: Tensor,
        similarity: Tensor,
    ) -> tuple[Tensor, Tensor, list[Reading] | None]:
        """A look from each of candidates [M,2,2] (the first is the expected one): refined [M,2,2], scores [M,2].

        On a processor, where time goes with the rows, a match that is where the point was expected anyway (most are)
        is not looked at again, unless there is something to be learned from it; and what was read around the first
        candidate is handed on to the last look, which is mostly of the same place.
        """
        count = len(candidates)
        away = candidates - candidates[:, :1]
        elsewhere = torch.arange(2, device=hidden.device).expand(count, -1)
        both = (candidates, away, similarity, elsewhere)
        if torch.is_grad_enabled() or candidates.device.type != "cpu":
            refined, scores, _ = self._judge(maps, templates, hidden, owner, *both)
            return refined, scores, None
        rows = (away[:, 1].square().sum(-1) > SAME**2).nonzero()[:, 0]
        rows = filled(rows) if len(rows) else rows
        own = [*templates, hidden, owner]
        first, second = [part[:, :1] for part in both], [picked(part, rows)[:, 1:] for part in both]

        def judge(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor, list[Reading]]:
            fine, coarse, wide, *others = parts
            return self._judge(maps, (fine, coarse, wide), *others)

        if len(rows) and count + len(rows) <= LOOKS:  # both at once: few rows take as many operations as many do
            every = torch.cat([torch.arange(count, device=rows.device), rows])
            places = [torch.cat(pair) for pair in zip(first, second, strict=True)]
            found, judged, readings = judge([*(picked(part, every) for part in own), *places])
            readings = [readings[0].first(count)]
        else:
            found, judged, readings = judge([*own, *first])
            if len(rows):
                more = judge([*(picked(part, rows) for part in own), *second])
                found, judged = torch.cat([found, more[0]]), torch.cat([judged, more[1]])
        refined, scores = found[:count].repeat(1, 2, 1), F.pad(judged[:count], (0, 1), value=float("-inf"))
        refined[rows, 1], scores[rows, 1] = found[count:, 0], judged[count:, 0]
        return refined, scores, readings

    def _judge(
        self,
        maps: Maps,
        templates: tuple[Tensor, ...],
        hidden: Tensor,
        owner: Tensor,
        places: Tensor,
        away: Tensor,
        similarity: Tensor,
        elsewhere: Tensor,
    ) -> tuple[Tensor, Tensor, list[Reading]]:
        """A first look around places [M,K,2], the other arguments as `Look.forward` has them: refined [M,K,2], the
        scores [M,K], and what they were read from."""
        count = places.shape[1]
        look = self.look(maps, templates, hidden, owner, places, away, similarity, elsewhere, 0)
        first = 1 - elsewhere.reshape(-1, 1)
        state = hidden[:, None].expand(-1, count, -1).flatten(0, 1)
        seen = torch.cat([look.token, state, first.float(), similarity.flatten(0, 1)], -1)
        scores: Tensor = self.score(seen.to(self.look.mix.weight.dtype))
        scores = scores.view(-1, count) + self.prefer * (1 - elsewhere)
        return look.xy.unflatten(0, (-1, count)), scores, look.readings


def _held(
    points: Points, image: Tensor | None, xy: Tensor, similarity: Tensor, visible: Tensor, also: Asked | None
) -> tuple[Tensor, Tensor, Fit | None]:
    """Answers [M,2] held to the query's pixels, and how well these fit [M]: `anchor`; xy and 0 without an image.

    `similarity` [M] as in `anchored`, `visible` [M] logits. The third is how they fit around `also`.
    """
    if image is None:
        return xy, torch.zeros_like(visible), None
    if also is None:
        found, other = fit(points.template, image, xy), None
    else:
        found, other = fit_at_both(points.template, image, xy, also)
    return anchored(xy, found, similarity, torch.sigmoid(visible)), found.similarity, other


def distance(first: Tensor, second: Tensor) -> Tensor:
    """Between places [M,2]: [M]."""
    length: Tensor = torch.linalg.vector_norm(first - second, dim=-1)
    return length


def _remember(
    memory: tuple[Tensor, ...], seen: tuple[Tensor, ...], visible: Tensor, confidence: Tensor, rate: Tensor
) -> tuple[Tensor, ...]:
    """The memory after patches were seen: taken over the faster the surer the answer is, at a learned rate."""
    sure = torch.sigmoid(visible.detach()) * torch.sigmoid(confidence.detach())
    share = (sure * torch.sigmoid(rate))[:, None, None]
    return tuple(torch.lerp(old, new, share) for old, new in zip(memory, seen, strict=True))
