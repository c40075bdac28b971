"""Matching pre-training: a right answer costs little, features learn from them, and nothing to see is no error."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tapkit.models.strand.encoder import Maps
from tapkit.models.strand.network import Network
from tapkit.train.batch import Batch
from tapkit.train.config import Stage
from tapkit.train.strand.matching import JOINT, _joint_entropy, matching_losses

STAGE = Stage(1, 64, 3, 2, 12, task="matching")


def telling(network: Network, seed: int | None) -> Network:
    """The network with an encoder that gives each cell its own direction: the same on all frames, or other ones."""

    def encode(frames: torch.Tensor) -> Maps:
        levels = []
        for stride, channels in zip((4, 8, 16), (64, 128, 128), strict=True):
            side = frames.shape[-1] // stride
            generator = torch.Generator().manual_seed(0 if seed is None else seed)
            cells = torch.randn(1 if seed is None else len(frames), side, side, channels, generator=generator)
            levels.append(F.normalize(cells, dim=-1).expand(len(frames), -1, -1, -1).contiguous())
        return Maps(*levels, levels[2][..., :0])

    network.encode = encode  # type: ignore[method-assign]
    return network


def still(points: int = 12) -> Batch:
    """Points that stay where they are, at the centres of cells of stride 4."""
    xy = torch.randint(2, 14, (2, points, 1, 2), generator=torch.Generator().manual_seed(1)) * 4.0 + 2
    seen = torch.ones(2, points, 3, dtype=torch.bool)
    return Batch(torch.zeros(2, 3, 3, 64, 64, dtype=torch.uint8), xy.expand(-1, -1, 3, -1), seen, seen)


def losses(network: Network, batch: Batch) -> dict[str, torch.Tensor]:
    return matching_losses(network, network.encode(batch.video.flatten(0, 1)), batch, 0)


def test_features_that_tell_every_cell_from_every_other_cost_little_and_are_found():
    good = losses(telling(Network(), None), still())
    bad = losses(telling(Network(), 5), still())
    assert good["matching_accuracy"] == 1 and bad["matching_accuracy"] < 0.2
    assert good["matching"] < 0.5 * bad["matching"]
    assert good["position"] < 0.5 * bad["position"]


def test_a_batch_in_which_nothing_is_seen_twice_costs_nothing(drift):
    batch = drift().batch(STAGE, 0)
    parts = losses(Network().train(), batch._replace(visible=torch.zeros_like(batch.visible)))
    assert all(value == 0 for value in parts.values())
    (parts["matching"] + parts["position"]).backward()


def test_unknown_positions_of_hidden_points_do_no_harm(drift):
    batch = drift().batch(STAGE, 0)
    visible = batch.visible.clone()
    visible[:, ::2, 1] = False
    hidden = batch._replace(visible=visible, xy=torch.where(visible[..., None], batch.xy, torch.nan))
    parts = losses(Network().train(), hidden)
    assert all(torch.isfinite(value) for value in parts.values()) and parts["matching"] > 0


def test_maps_together_are_asked_for_what_none_of_them_knows_alone():
    fine, coarse = torch.zeros(1, 8, 8), torch.zeros(1, 4, 4)
    fine[0, 2, 1::4] = fine[0, 5, 3] = 1.0  # three places that look the same
    coarse[0, 1, 0] = 1.0
    target = torch.tensor([[6.0, 10.0]])  # the centre of cell (1, 2)
    alone = _joint_entropy([fine], target)
    both = _joint_entropy([fine, coarse], target)
    wrong = _joint_entropy([fine, coarse], torch.tensor([[14.0, 22.0]]))
    # Three places share all, but for what is left to the 61 others.
    expected = torch.log(3 * torch.tensor(JOINT).exp() + 61) - JOINT
    torch.testing.assert_close(alone, expected[None])
    assert both < 0.02 and wrong > 5
