"""The refinement: answers go to where the query's patches are, as far as that is known; hidden ones stay."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tapkit.models.strand import refinement
from tapkit.models.strand.encoder import Maps, StrandConfig, config_of
from tapkit.models.strand.look import cut
from tapkit.models.strand.network import Network
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


def taught(refine: Refine) -> Refine:
    """With numbers in all layers."""
    for parameter in refine.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return refine


def test_untrained_it_finds_the_cell_that_the_query_is_like(refine, maps):
    query = cut(maps, OWNER, PLACES, CONFIG.patches)
    off = torch.tensor([[4.0, -8.0], [0.0, 4.0], [-8.0, 0.0]])
    found = refine(maps, query, OWNER, PLACES + off)
    torch.testing.assert_close(found.xy, PLACES, atol=0.05, rtol=0)


def test_an_answer_moves_by_the_share_that_the_width_leaves(refine, maps):
    query = cut(maps, OWNER, PLACES, CONFIG.patches)
    off = PLACES + torch.tensor([4.0, 0.0])
    for width in (0.3, 3.0, 30.0):
        with torch.no_grad():
            refine.place.bias[2] = torch.tensor(width).log()
            moved = refine.held(maps, query, OWNER, off, SEEN)
        share = 1 / (1 + (width / refinement.HALF) ** 2)
        torch.testing.assert_close(moved, off + share * (PLACES - off), atol=0.05, rtol=0)


def test_hidden_points_stay(refine, maps):
    query = cut(maps, OWNER, PLACES, CONFIG.patches)
    off = PLACES + 4
    moved = refine.held(maps, query, OWNER, off, torch.tensor([5.0, -0.1, -5.0]))
    assert torch.equal(moved[1:], off[1:]) and not torch.equal(moved[:1], off[:1])


def test_points_do_not_depend_on_how_many_there_are(refine, maps, monkeypatch):
    taught(refine)
    query = cut(maps, OWNER, PLACES, CONFIG.patches)
    with torch.inference_mode():
        whole = refine(maps, query, OWNER, PLACES)
        monkeypatch.setattr(refinement, "LOOKS", 2)
        parts = refine(maps, query, OWNER, PLACES)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_what_a_look_has_read_nearby_serves_again(maps):
    torch.manual_seed(6)
    network = Network(StrandConfig(encoder="lite0", evidence=True, refine=True)).eval().requires_grad_(False)
    refine = taught(network.refine)
    points = network.begin(maps, OWNER, PLACES)
    templates = tuple(torch.cat([patch, patch + 0.1], 1) for patch in points.query[:3])
    zeros = torch.zeros(3, 1, 2)
    with torch.inference_mode():
        look = (maps, templates, points.hidden, OWNER, PLACES[:, None], zeros, zeros, torch.zeros(3, 1).long(), 0)
        read = network.look(*look).readings
        there = PLACES + torch.tensor([[0.5, 0.5], [9.0, -3.0], [0.0, 0.0]])  # one of them in other cells
        again = refine.held(maps, points.query, OWNER, there, SEEN, read)
        anew = refine.held(maps, points.query, OWNER, there, SEEN)
    torch.testing.assert_close(again, anew, atol=1e-4, rtol=0)


def test_the_gradient_goes_to_the_answer_and_to_where_it_is_moved(refine, maps):
    taught(refine)
    query = cut(maps, OWNER, PLACES, CONFIG.patches)
    xy = PLACES.clone().requires_grad_()
    refine.held(maps, query, OWNER, xy, SEEN).sum().backward()
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
