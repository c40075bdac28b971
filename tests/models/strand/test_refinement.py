"""The refinement: answers go to where the query's patches are, as far as that is known; hidden ones stay."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tapkit.models.strand import refinement
from tapkit.models.strand.correlation import correlate
from tapkit.models.strand.encoder import Maps, StrandConfig, config_of
from tapkit.models.strand.look import SEEN as NEAR
from tapkit.models.strand.look import Reading
from tapkit.models.strand.network import Network
from tapkit.models.strand.patches import cut
from tapkit.models.strand.refinement import Refine
from tapkit.models.strand.tracker import build

CONFIG = StrandConfig(refine=True)
OWNER = torch.zeros(3, dtype=torch.long)
PLACES = torch.tensor([[42.0, 38.0], [66.0, 50.0], [30.0, 70.0]])
"""The middles of cells of stride 4."""
SEEN = torch.full((3,), 5.0)


@pytest.fixture(scope="module")
def maps() -> Maps:
    """One frame of 96x112 whose cells each have a direction of their own."""
    generator = torch.Generator().manual_seed(4)
    levels = [
        F.normalize(torch.randn(1, 96 // s, 112 // s, c, generator=generator), dim=-1)
        for s, c in ((4, 64), (8, 128), (16, 128))
    ]
    return Maps(*levels, levels[2][..., :0])


@pytest.fixture
def refine() -> Refine:
    torch.manual_seed(1)
    return Refine(CONFIG)


def read(maps: Maps, query: tuple[torch.Tensor, ...], xy: torch.Tensor) -> list[Reading]:
    """What a look around xy [3,2] has read of the queries' patches."""
    products = correlate(maps, query[:3], OWNER, xy[:, None], CONFIG.radius)
    nothing = torch.zeros(3, 0)
    return [Reading(xy, products, nothing, nothing, tuple(products.blended()))]


def taught(refine: Refine) -> Refine:
    """With numbers in all layers."""
    for parameter in refine.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return refine


def test_untrained_it_finds_the_cell_that_the_query_is_like(refine, maps):
    query = cut(maps, OWNER, PLACES, CONFIG.patches)
    off = torch.tensor([[4.0, -8.0], [0.0, 4.0], [-8.0, 0.0]])
    found = refine.around(maps, query, OWNER, PLACES + off)
    torch.testing.assert_close(found.xy, PLACES, atol=0.05, rtol=0)


def test_an_answer_moves_by_the_share_that_the_width_leaves(refine, maps):
    query = cut(maps, OWNER, PLACES, CONFIG.patches)
    off = PLACES + torch.tensor([4.0, 0.0])
    for width in (0.3, 3.0, 30.0):
        with torch.no_grad():
            refine.place.bias[2] = torch.tensor(width).log()
            moved = refine.held(off, SEEN, read(maps, query, off))
        share = 1 / (1 + (width / refinement.HALF) ** 2)
        torch.testing.assert_close(moved, off + share * (PLACES - off), atol=0.05, rtol=0)


def test_hidden_points_stay(refine, maps):
    query = cut(maps, OWNER, PLACES, CONFIG.patches)
    off = PLACES + 4
    moved = refine.held(off, torch.tensor([5.0, -0.1, -5.0]), read(maps, query, off))
    assert torch.equal(moved[1:], off[1:]) and not torch.equal(moved[:1], off[:1])


def test_an_answer_is_moved_to_what_was_found_from_where_its_look_was(refine, maps):
    query = cut(maps, OWNER, PLACES, CONFIG.patches)
    looked, answer = PLACES + 4.0, PLACES - 1.5
    with torch.no_grad():
        refine.place.bias[2] = -2.0  # sure
        moved = refine.held(answer, SEEN, read(maps, query, looked))
    torch.testing.assert_close(moved, PLACES, atol=0.1, rtol=0)


def test_what_was_read_in_parts_is_joined(refine, maps):
    taught(refine)
    query = cut(maps, OWNER, PLACES, CONFIG.patches)
    (whole,) = read(maps, query, PLACES + 1)
    parts = [
        whole._replace(xy=whole.xy[some], own=tuple(x[some] for x in whole.own)) for some in (slice(0, 1), slice(1, 3))
    ]
    with torch.inference_mode():
        for one, other in zip(refine.held(PLACES, SEEN, parts), refine.held(PLACES, SEEN, [whole]), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_what_a_look_has_read_is_what_is_there(maps):
    """Of a first look, and of a second one that reads some of it anew."""
    torch.manual_seed(6)
    network = Network(StrandConfig(encoder="lite0", evidence=True, refine=True)).eval().requires_grad_(False)
    refine = taught(network.refine)
    points = network.begin(maps, OWNER, PLACES)
    templates = tuple(torch.cat([patch, patch + 0.1], 1) for patch in points.query[:3])
    zeros, first = torch.zeros(3, 1, 2), torch.zeros(3, 1, dtype=torch.long)
    there = PLACES + torch.tensor([[0.5, 0.5], [9.0, -3.0], [0.9 * NEAR, 0.0]])
    before = None
    with torch.inference_mode():
        for stage, places in enumerate((PLACES, there)):
            where = (maps, templates, points.hidden, OWNER, places[:, None], zeros, zeros, first, stage)
            (reading,) = before = network.look(*where, before).readings
            found, anew = refine(reading.own, reading.xy), refine.around(maps, points.query, OWNER, reading.xy)
            for ours, expected in zip(found, anew, strict=True):
                torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)
    assert torch.equal(reading.xy[:2], there[:2]) and torch.equal(reading.xy[2], PLACES[2])


def test_the_gradient_goes_to_the_answer_and_to_where_it_is_moved(refine, maps):
    taught(refine)
    query = cut(maps, OWNER, PLACES, CONFIG.patches)
    xy = PLACES.clone().requires_grad_()
    refine.held(xy, SEEN, read(maps, query, PLACES)).sum().backward()
    assert xy.grad is not None and torch.equal(xy.grad, torch.ones_like(xy))
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in refine.parameters())


def test_weights_tell_whether_they_have_it_and_those_without_are_tracked_without():
    torch.manual_seed(2)
    network = Network(StrandConfig(encoder="lite0", evidence=True, refine=True))
    weights = network.state_dict()
    assert config_of(weights).refine
    without = {name: tensor for name, tensor in weights.items() if not name.startswith("refine.")}
    assert not config_of(without).refine
    assert build(without).network.refine is None and build(weights).network.refine is not None


def test_it_is_asked_for_by_a_step_of_the_network(maps):
    torch.manual_seed(3)
    network = Network(StrandConfig(encoder="lite0", evidence=True, refine=True)).eval().requires_grad_(False)
    points = network.begin(maps, OWNER, PLACES)
    asked = []
    held = network.refine.held

    def listening(*arguments):
        asked.append(held(*arguments))
        return asked[-1]

    network.refine.held = listening
    after, step = network.step(maps, points, PLACES, torch.ones(3, 2))
    assert len(asked) == 1 and torch.equal(step.xy, asked[0]) and torch.equal(after.xy, step.xy)
