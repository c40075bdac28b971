"""strand: what is looked for is the query at the size that what is seen of it is most like."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import tapkit
from tapkit import coords
from tapkit.models.strand.patches import cut, middles
from tapkit.models.strand.scales import KEPT, OWN, SCALES, WORTH, Scales, scaled, views

SIZE = (128, 160)
XY = torch.tensor([[70.0, 60.0], [90.0, 70.0]])


@pytest.fixture(scope="module")
def network():
    return tapkit.load("strand", device="cpu", precision="float32").model.network


def picture(side: int = 20) -> torch.Tensor:
    """A picture of smooth spots uint8 [1,3,h,w]."""
    spots = torch.rand(1, 3, side, side + 4, generator=torch.Generator().manual_seed(1))
    return (F.interpolate(spots, SIZE, mode="bicubic").clamp(0, 1) * 255).round().byte()


def asked(network, frame: torch.Tensor) -> Scales:
    """What is kept of the queries XY on a frame."""
    maps = network.encode(frame)
    own = cut(maps, torch.zeros(2, dtype=torch.long), XY, network.config.patches)
    return Scales.begin(views(network.encode, frame, own, XY, network.config.patches), torch.float32)


def seen(network, frame: torch.Tensor, xy: torch.Tensor) -> torch.Tensor:
    """The features [M,C] at places of a frame."""
    return middles(cut(network.encode(frame), torch.zeros(len(xy), dtype=torch.long), xy, network.config.patches))


@pytest.mark.parametrize("scale", SCALES)
@torch.inference_mode()
def test_a_point_is_known_at_the_size_in_which_it_is_shown(network, scale) -> None:
    frame = picture()
    scales, image = asked(network, frame), scaled(frame, scale)
    here = seen(network, image, coords.resize(XY, SIZE, (image.shape[2], image.shape[3])))
    for _ in range(3):
        scales = scales.compared(here, torch.ones(2, dtype=torch.bool))
    assert scales.chosen.tolist() == [SCALES.index(scale)] * 2


@torch.inference_mode()
def test_what_is_looked_for_is_of_the_chosen_size_and_the_rest_stays(network) -> None:
    scales = asked(network, picture())
    query = tuple(part[:, OWN] for part in scales.patches)
    assert scales.asked(query, scales.chosen) is query
    now = scales._replace(chosen=torch.tensor([OWN, 4])).asked(query, scales.chosen)
    for old, new, part in zip(query, now, scales.patches, strict=True):
        assert torch.equal(new[0], old[0])
        assert torch.equal(new[1], part[1, 4])


def of_products(*products: float) -> Scales:
    """A query whose features at each size have that product with (1, 0)."""
    patches = [torch.tensor([[[p, (1 - p * p) ** 0.5]]]) for p in products]
    return Scales.begin([(patch, patch, patch) for patch in patches], torch.float32)


HERE, YES = torch.tensor([[1.0, 0.0] * 3]), torch.tensor([True])


def test_the_size_changes_only_for_one_that_is_clearly_more_like_it() -> None:
    little = of_products(0.5, 0.5, 0.5, 0.5 + 0.9 * WORTH / 3, 0.5)
    much = of_products(0.5, 0.5, 0.5, 0.5 + 1.2 * WORTH / 3, 0.5)
    for _ in range(20):
        little, much = little.compared(HERE, YES), much.compared(HERE, YES)
    assert little.chosen.item() == OWN
    assert much.chosen.item() == OWN + 1


def test_likeness_is_a_running_mean_of_frames_on_which_the_point_is_seen() -> None:
    scales = of_products(0.1, 0.2, 0.3, 0.4, 0.6)
    once = scales.compared(HERE, YES)
    torch.testing.assert_close(once.like, (1 - KEPT) * 3 * torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.6]]))
    hidden = once.compared(-HERE, ~YES)
    assert torch.equal(hidden.like, once.like)
    assert torch.equal(hidden.chosen, once.chosen)


def test_a_query_of_one_size_stays_at_it() -> None:
    patch = torch.tensor([[[0.6, 0.8]]])
    scales = Scales.begin([(patch, patch, patch)], torch.float32)
    for _ in range(5):
        scales = scales.compared(HERE, YES)
    assert scales.chosen.item() == OWN


def test_without_it_nothing_is_looked_for_at_other_sizes() -> None:
    frames = [scaled(picture(), 1 + 0.12 * t)[0, :, : SIZE[0], : SIZE[1]] for t in range(6)]
    answers = []
    for chosen in (True, False):
        model = tapkit.load("strand", device="cpu", precision="float32", scales=chosen).model
        state, _ = model.step(model.start(SIZE), frames[0], XY)
        for frame in frames[1:]:
            state, found = model.step(state, frame, torch.zeros(0, 2))
        answers.append((state.scales.chosen, found.xy))
    assert (answers[0][0] > OWN).all()  # the picture grows
    assert (answers[1][0] == OWN).all()
    assert not torch.equal(answers[0][1], answers[1][1])
