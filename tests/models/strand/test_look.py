"""A look is the same whether weights are packed, products are used again, or rows go in parts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tapkit.models.strand.correlation import correlate, correlate_again
from tapkit.models.strand.encoder import Maps, StrandConfig
from tapkit.models.strand.intake import Enter, Intake
from tapkit.models.strand.look import SEEN, Look
from tapkit.models.strand.network import Network
from tapkit.models.strand.patches import cut
from tapkit.models.strand.rows import filled, rows_at_once
from tapkit.models.strand.tracker import build
from tapkit.nn.packed import pack

CONFIG = StrandConfig()


def random_maps(seed: int = 3) -> Maps:
    generator = torch.Generator().manual_seed(seed)
    levels = (
        F.normalize(torch.randn(1, 96 // s, 128 // s, c, generator=generator), dim=-1)
        for s, c in zip((4, 8, 16, 16), (*CONFIG.features, 0), strict=True)
    )
    return Maps(*levels)


def sought(count: int) -> tuple[Maps, tuple[torch.Tensor, ...], torch.Tensor, torch.Tensor]:
    """Maps, templates, owners and places [count,1,2], some of these beyond the border."""
    maps, owner = random_maps(), torch.zeros(count, dtype=torch.long)
    generator = torch.Generator().manual_seed(count)
    xy = torch.rand(count, 2, generator=generator) * torch.tensor([150.0, 110.0]) - 10
    patches = cut(maps, owner, torch.rand(count, 2, generator=generator) * 96, CONFIG.patches)
    return maps, tuple(torch.cat([patch, patch.roll(1, 0)], 1) for patch in patches), owner, xy[:, None]


@pytest.mark.parametrize("far", [0.0, 0.4, 30.0])
def test_products_that_are_used_again_are_those_that_would_have_been_made(far):
    maps, templates, owner, xy = sought(40)
    moved = xy + far * torch.randn(xy.shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        before = correlate(maps, templates, owner, xy, 3)
        again = correlate_again(before, maps, templates, owner, moved, 3)
        anew = correlate(maps, templates, owner, moved, 3)
        for ours, expected in zip(again.blended(), anew.blended(), strict=True):
            torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [Enter, Intake])
def test_a_packed_first_layer_answers_as_the_plain_one_and_gives_its_weights_back(kind):
    torch.manual_seed(0)
    others = 11 if kind is Enter else 0
    layer = kind((50, 18, 18), 49, 32, others).eval().requires_grad_(False)
    products, more = [torch.randn(5, 49, patch) for patch in (50, 18, 18)], torch.randn(5, others)
    weight = layer.weight.clone()
    by_patch = torch.cat([*(part.transpose(1, 2).flatten(1) for part in products), more], 1)
    expected = F.gelu(F.linear(by_patch, weight, layer.bias))
    for ready in (False, True):
        if ready:
            pack(layer)
        ordered = torch.cat([layer.in_order(part) for part in products], 1)
        answer = layer(ordered, more if kind is Enter else "gelu")
        torch.testing.assert_close(answer, expected, atol=1e-5, rtol=0)
    assert torch.equal(layer.state_dict()["weight"], weight)
    layer.unpack()
    assert torch.equal(layer.weight, weight)


def test_many_points_are_seen_as_few_are():
    maps, templates, owner, xy = sought(600)
    look = Look(CONFIG).eval().requires_grad_(False)
    hidden, near = torch.randn(600, CONFIG.hidden), torch.zeros(600, 1, 2)
    elsewhere = torch.zeros(600, 1, dtype=torch.long)
    own = (templates, hidden, owner, xy, near, near, elsewhere)
    with torch.inference_mode():
        whole = look(maps, *own, 0)
        some = [tuple(x[450:460] for x in part) if isinstance(part, tuple) else part[450:460] for part in own]
        few = look(maps, *some, 0)
    assert len(whole.readings) == 2
    for all_of_them, expected in zip(whole[:3], few[:3], strict=True):
        torch.testing.assert_close(all_of_them[450:460], expected, atol=1e-4, rtol=0)


def test_a_second_look_reads_anew_where_it_is_elsewhere_and_only_there():
    maps, templates, owner, xy = sought(40)
    look = Look(CONFIG).eval().requires_grad_(False)
    hidden, near = torch.randn(40, CONFIG.hidden), torch.zeros(40, 1, 2)
    own = (hidden, owner, near, near, torch.zeros(40, 1, dtype=torch.long))

    def seen(places: torch.Tensor, stage: int, before=None):
        state, frame, *rest = own
        return look(maps, templates, state, frame, places, *rest, stage, before)

    moved = xy.clone()
    moved[:10] += 0.9 * SEEN
    moved[10:20] += 1.1 * SEEN
    moved[20:30] += 20.0
    moved[39] = float("nan")
    with torch.inference_mode():
        first = seen(xy, 0).readings
        again, anew, there = seen(moved, 1, first), seen(moved, 1), seen(xy, 1)
    elsewhere = [*range(10, 30)]
    for ours, fresh, old in zip(again[:3], anew[:3], there[:3], strict=True):
        torch.testing.assert_close(ours[elsewhere], fresh[elsewhere], atol=1e-4, rtol=0)
        torch.testing.assert_close(ours[30:39], old[30:39], atol=1e-4, rtol=0)
    torch.testing.assert_close(again.token[:10], there.token[:10], atol=1e-4, rtol=0)
    torch.testing.assert_close(again.xy[:10], anew.xy[:10], atol=2 * SEEN, rtol=0)
    assert again.around[39].isfinite().all() and not again.xy[39].isfinite().any()


@pytest.mark.parametrize(("count", "apart"), [(40, 9), (40, 0), (600, 9), (600, 0), (500, 30)])
def test_second_candidates_are_judged_as_all_of_them_would_be(count, apart):
    """Together with the first ones if they are few, and apart if they are many."""
    torch.manual_seed(0)
    network = Network().eval().requires_grad_(False)
    maps, templates, owner, first = sought(count)
    second = first + 1.0  # as good as the same
    second[:apart] = first[:apart].flip(1) + 9.0
    hidden, sure = torch.randn(count, CONFIG.hidden), torch.rand(count, 2, 2)
    own = (maps, templates, hidden, owner, torch.cat([first, second], 1), sure)
    with torch.inference_mode():
        refined, scores, readings = network._compare(*own)
    with torch.enable_grad():  # all are looked at
        wanted, judged, _ = network._compare(*own)
    torch.testing.assert_close(refined[:, 0], wanted[:, 0], atol=1e-3, rtol=0)
    torch.testing.assert_close(scores[:, 0], judged[:, 0], atol=1e-3, rtol=0)
    torch.testing.assert_close(refined[:apart], wanted[:apart], atol=1e-3, rtol=0)
    torch.testing.assert_close(scores[:apart], judged[:apart], atol=1e-3, rtol=0)
    assert (scores[apart:, 1] == float("-inf")).all()
    assert readings is not None and sum(len(reading.xy) for reading in readings) == count
    assert torch.equal(torch.cat([reading.xy for reading in readings]), first[:, 0])


def test_parts_cover_all_rows_in_turn_and_gradients_want_one_part():
    with torch.inference_mode():
        for count, most in ((0, 4), (4, 4), (5, 4), (13, 4)):
            parts = rows_at_once(count, torch.device("cpu"), most)
            assert [row for part in parts for row in range(count)[part]] == list(range(count))
            assert max(part.stop - part.start for part in parts) <= most
    assert rows_at_once(1000, torch.device("cpu")) == [slice(0, 1000)]


@pytest.mark.parametrize(("count", "rows"), [(1, 8), (8, 8), (9, 16), (64, 64), (65, 80), (80, 80)])
def test_rows_are_filled_up_with_the_last_of_them(count, rows):
    full = filled(torch.arange(count) + 5)
    assert full.tolist() == [*range(5, count + 5), *[count + 4] * (rows - count)]


def test_layers_of_a_few_outputs_stay_float32_in_a_network_that_does_not():
    model = build(None, precision="bfloat16", resolution=64)
    network = model.network
    assert network.look.mix.weight.dtype == torch.bfloat16
    assert {layer.weight.dtype for layer in (network.answer, network.belief, network.look.gain)} == {torch.float32}
    x = torch.randn(3, 128).bfloat16()
    expected = F.linear(x.float(), network.answer.weight, network.answer.bias)
    torch.testing.assert_close(network.answer(x), expected)
