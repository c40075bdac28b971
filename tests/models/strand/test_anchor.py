"""Holding points to the query's pixels, and what speaks for a point being where it is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tapkit.models.strand.anchor import FARTHEST, Fit, anchored, fit, kept_pixels
from tapkit.models.strand.encoder import StrandConfig
from tapkit.models.strand.evidence import COUNT, JUMP, UNVERIFIED, Course, agreement, gathered, rival, unless_jumped
from tapkit.models.strand.matching import Everywhere
from tapkit.models.strand.network import Network
from tapkit.models.strand.tracker import build


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    """[1,1,96,96] grey levels of smooth noise."""
    generator = torch.Generator().manual_seed(1)
    return F.interpolate(torch.rand(1, 1, 24, 24, generator=generator), (96, 96), mode="bicubic") * 255


def test_pixels_are_found_again_where_they_are(picture):
    xy = torch.tensor([[30.0, 40.0], [61.5, 50.25]])
    kept = kept_pixels(picture, xy)
    found = fit(kept, picture, xy + torch.tensor([[0.9, -0.7], [-1.2, 0.4]]))
    torch.testing.assert_close(found.xy, xy, atol=0.02, rtol=0)
    assert (found.similarity > 0.99).all()
    assert (fit(kept, picture.flip(-1), xy).similarity < 0.9).all()


def test_each_frame_of_a_batch_keeps_its_own_pixels(picture):
    both = torch.cat([picture, picture.flip(-1)])
    xy = torch.tensor([[30.0, 40.0], [66.0, 40.0]])  # the same place of the picture and of its mirror image
    kept = kept_pixels(both, xy)[:, :81].view(2, 9, 9)
    torch.testing.assert_close(kept[0], kept[1].flip(-1), atol=1e-3, rtol=0)


def test_an_answer_is_held_only_where_the_pixels_fit_as_well_as_from_frame_to_frame():
    xy, place = torch.zeros(6, 2), torch.tensor([[0.5, 0.0]]).repeat(6, 1)
    place[5] = torch.tensor([FARTHEST, 0.0])
    found = Fit(place, torch.tensor([0.97, 0.7, 0.7, 0.97, 0.97, 0.97]))
    similarity = torch.tensor([0.98, 0.98, 0.72, 0.98, 0.0, 0.98])  # 0: pixels did not lead here
    visible = torch.tensor([0.9, 0.9, 0.9, 0.1, 0.9, 0.9])
    held = anchored(xy, found, similarity, visible)[:, 0]
    # fits; fits worse than pixels do; as well as they do in this noise; hidden; not known, but surely; too far.
    torch.testing.assert_close(held, torch.tensor([0.5, 0.0, 0.5, 0.0, 0.5, 0.0]))


def test_on_a_still_picture_a_point_stays_where_it_was_asked_for():
    """The untrained network moves points about; the query's pixels bring them back."""
    generator = torch.Generator().manual_seed(4)
    image = (F.interpolate(torch.rand(1, 3, 20, 20, generator=generator), (64, 64), mode="bicubic")[0] * 255).byte()
    torch.manual_seed(0)
    weights = Network(StrandConfig(evidence=True)).state_dict()
    weights["answer.bias"][0] = 4.0  # visible
    model = build(weights, precision="float32", resolution=64)
    queries = torch.tensor([[20.0, 20.0], [40.5, 33.0], [30.0, 44.0]])
    state, _ = model.step(model.start((64, 64)), image, queries)
    for _ in range(12):
        state, answer = model.step(state, image, torch.zeros(0, 2))
    torch.testing.assert_close(answer.xy, queries, atol=0.03, rtol=0)


def test_agreement_is_that_of_the_same_cells():
    generator = torch.Generator().manual_seed(2)
    patch = F.normalize(torch.randn(3, 9, 16, generator=generator), dim=-1)
    numbers = agreement((patch,), (patch,))
    torch.testing.assert_close(numbers, torch.ones(3, 2))
    assert (agreement((patch,), (patch.flip(1),))[:, 1] < 0.5).all()


def test_a_better_place_elsewhere_speaks_against_a_point():
    cost = torch.zeros(2, 6 * 8)
    cost[:, 2 * 8 + 5] = 3.0
    cost[1, 0] = 5.0
    xy = torch.tensor([[5.5 * 4, 2.5 * 4], [5.5 * 4, 2.5 * 4]])
    found = Everywhere(cost, 8, xy)
    torch.testing.assert_close(rival(found, xy), torch.tensor([0.0, 2.0]))
    outside = torch.tensor([[-90.0, 500.0], [900.0, -3.0]])
    assert torch.isfinite(rival(found, outside)).all()


def test_there_are_as_many_numbers_as_are_said():
    ones = torch.ones(4)
    numbers = gathered(torch.ones(4, 6), torch.ones(4, 6), ones, torch.ones(4, 2), ones, Course(ones, ones, ones, ones))
    assert numbers.shape == (4, COUNT)


def test_after_a_jump_a_point_is_not_called_visible():
    logits = unless_jumped(torch.tensor([5.0, 5.0, -7.0]), torch.tensor([JUMP - 1, JUMP + 1, JUMP + 1]), (256, 256))
    assert logits[0] == 5 and torch.sigmoid(logits[1]) < 0.2 and logits[2] == -7
    half = unless_jumped(torch.tensor([5.0]), torch.tensor([JUMP * 0.6]), (128, 128))
    assert torch.sigmoid(half) < 0.2, "in a frame of half the size, half as far"


def test_fresh_evidence_changes_nothing_but_holds_points_to_their_pixels():
    torch.manual_seed(0)
    plain = Network().eval()
    judged = Network(StrandConfig(evidence=True)).eval()
    judged.load_state_dict(plain.state_dict(), strict=False)
    models = [build(network.state_dict(), precision="float32", resolution=64) for network in (plain, judged)]
    assert models[0].network.verify is None and models[1].network.verify is not None
    generator = torch.Generator().manual_seed(5)
    frames = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8, generator=generator)
    answers = []
    for model in models:
        state, _ = model.step(model.start((64, 64)), frames[0], torch.tensor([[20.0, 20.0], [40.5, 33.0]]))
        answers.append(model.step(state, frames[1], torch.zeros(0, 2))[1])
        assert bool(state.template.any()) == (model.network.verify is not None)
    before, after = answers
    torch.testing.assert_close(after.xy, before.xy)  # in noise nothing fits, so that nothing is held
    torch.testing.assert_close(after.confidence, before.confidence)
    went = (after.xy - torch.tensor([[20.0, 20.0], [40.5, 33.0]])).norm(dim=-1)
    lowered = before.visible.clamp(max=float(torch.sigmoid(torch.tensor(UNVERIFIED))))
    torch.testing.assert_close(after.visible, torch.where(went > JUMP / 4, lowered, before.visible))
