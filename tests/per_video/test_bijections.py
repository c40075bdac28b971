"""The bijections of both methods lead back to where they came from, and a fit's state is a checkpoint's."""

from __future__ import annotations

import pytest
import torch

from tapkit.errors import WeightsError
from tapkit.per_video.cadexpp import answer as cadex_answer
from tapkit.per_video.cadexpp.network import CadexPP, Knots
from tapkit.per_video.omnimotion.network import NetworkConfig, OmniMotion
from tapkit.per_video.omnimotion.render import depths, weights_of
from tapkit.per_video.omnimotion.weights import flattened, load_network

SMALL = NetworkConfig(code=8, time_hidden=16, coupling_hidden=16, projection=16, color_hidden=16, affine_hidden=8)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_omnimotion_maps_back_to_where_it_came_from() -> None:
    network = OmniMotion(5, SMALL).double()
    points = torch.rand(3, 40, 3, dtype=torch.float64) * 2 - 0.5
    codes = network.codes(torch.tensor([0, 2, 4]))
    there = network.to_canonical(points, codes)
    assert (there - points).abs().max() > 0.01
    torch.testing.assert_close(network.to_local(there, codes), points, atol=1e-9, rtol=0)


def test_cadex_maps_back_to_where_it_came_from() -> None:
    network = CadexPP(7, torch.tensor([[-1.0, -1, 1], [1.0, 1, 3]]), torch.ones(7, 4, 5)).double()
    for parameter in network.deform_mlp.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    points = torch.rand(2, 60, 3, dtype=torch.float64) * 6 - 3  # far beyond the knots, too
    index = torch.tensor([1, 6])
    bijection = network.deform_mlp
    there = bijection(points, bijection.time_features(index))
    assert (there - points).abs().max() > 0.1
    torch.testing.assert_close(bijection(there, bijection.time_features(index), True), points, atol=1e-9, rtol=0)


def test_equal_numbers_make_the_identity() -> None:
    at = torch.linspace(-4, 4, 33)
    torch.testing.assert_close(Knots.of(torch.full((33, 10), 0.5))(at), at)


def test_functions_rise_everywhere() -> None:
    knots = Knots.of(torch.rand(1, 10).expand(400, 10))
    values = knots(torch.linspace(-5, 5, 400))
    assert (values[1:] > values[:-1]).all()


def test_an_opaque_sample_hides_those_behind_it() -> None:
    weights = weights_of(torch.tensor([0.0, 50.0, 50.0]))
    torch.testing.assert_close(weights, torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0)


def test_jittered_depths_stay_in_their_order() -> None:
    z = depths(8, torch.zeros(1), torch.rand(5, 8))
    assert (z[:, 1:] >= z[:, :-1]).all() and z.min() >= 0 and z.max() <= 2


def test_a_published_checkpoint_is_taken_as_it_is() -> None:
    network = OmniMotion(5, SMALL)
    parts = {name: getattr(network, name).state_dict() for name in ("feature_mlp", "deform_mlp", "color_mlp")}
    again = load_network(flattened({**parts, "num_imgs": 5}), 5, SMALL)
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )
    with pytest.raises(WeightsError, match="not weights of OmniMotion"):
        flattened({"state_dict": {}})
    with pytest.raises(WeightsError, match="lacks"):
        load_network({k: v for k, v in network.state_dict().items() if "color" not in k}, 5, SMALL)


def test_weights_of_another_length_are_refused() -> None:
    network = CadexPP(40, torch.tensor([[-1.0] * 3, [1.0] * 3]), torch.ones(40, 4, 5))
    with pytest.raises(WeightsError, match="t_embeddings"):
        cadex_answer.load_network(network.state_dict(), 20)
