"""strand-clip: the way back, the surroundings, the best path, and the whole of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import tapkit
from tapkit.models.strand.clip import path, surroundings, verified
from tapkit.models.strand.clip.film import ClipFeatures, Film, kept
from tapkit.models.strand.clip.runs import Run, back, onwards
from tapkit.models.strand.whole_clip import build_clip
from tapkit.nn.alignment import grey_pyramid

SIZE = (64, 96)


@pytest.fixture(scope="module")
def model():
    """Untrained; what holds for it holds whatever the weights are."""
    return build_clip(precision="float32")


def panning(frames: int, step: tuple[int, int] = (2, 1)) -> torch.Tensor:
    """A smooth random picture that moves by `step` (x, y) pixels to the left and up in each frame."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, 24, 32, generator=generator)
    picture = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bicubic")[0].clamp(0, 1) * 255
    shots = [
        picture[:, 16 + step[1] * t : 16 + step[1] * t + SIZE[0], 16 + step[0] * t : 16 + step[0] * t + SIZE[1]]
        for t in range(frames)
    ]
    return torch.stack(shots).round().to(torch.uint8)


def only_grey(frames: torch.Tensor) -> Film:
    """A film of which nobody asks for maps."""
    nothing = torch.zeros(len(frames), 1, 1, 1)
    return Film(ClipFeatures(nothing, nothing, nothing, nothing, frames))


def test_what_is_kept_of_a_frame_gives_its_grey_pyramid_to_the_bit(model) -> None:
    frames = torch.randint(0, 256, (3, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    film = Film(kept(model.network.encode(frames), frames))
    for ours, theirs in zip(film.grey(1), grey_pyramid(frames[1:2]), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(Film(film.features, backwards=True).grey(0)[0], film.grey(2)[0])


def test_the_first_run_is_what_strand_says_and_begins_where_it_is_asked(model) -> None:
    frames = panning(5)
    film, t = Film(model.encode(frames)), torch.tensor([0, 2])
    xy = torch.tensor([[40.0, 30.0], [60.5, 20.0]])
    first = onwards(model.strand, film, SIZE, t, xy)
    state = model.strand.start(SIZE)
    for frame in range(5):
        state, found = model.strand.step(state, frames[frame], xy[t == frame])
        torch.testing.assert_close(first.run.xy[: len(found.xy), frame], found.xy)
        torch.testing.assert_close(first.run.sure[: len(found.xy), frame], found.visible * found.confidence)
    assert first.run.xy[1, :2].isnan().all() and (first.run.sure[1, :2] == 0).all()
    assert (first.likely <= 1e-5).all()


def test_a_way_back_goes_from_where_it_starts_to_where_it_stops(model) -> None:
    film, t = Film(model.encode(panning(6))), torch.tensor([0, 0])
    xy = torch.tensor([[40.0, 30.0], [60.5, 20.0]])
    first = onwards(model.strand, film, SIZE, t, xy)
    start, stop = torch.tensor([5, 3]), torch.tensor([1, 2])
    there = first.run.xy[torch.arange(2), start]
    way = back(model.strand, film, SIZE, first.scales, start, there, stop)
    known = way.xy.isfinite().all(-1)
    assert known.tolist() == [[False, True, True, True, True, True], [False, False, True, True, False, False]]
    assert torch.equal(way.xy[torch.arange(2), start], there)
    alone = back(model.strand, film, SIZE, first.scales.select(torch.tensor([1])), start[1:], there[1:], stop[1:])
    torch.testing.assert_close(alone.xy[0], way.xy[1], equal_nan=True, atol=2e-3, rtol=0)


def test_a_way_back_that_leads_elsewhere_refutes_what_comes_later() -> None:
    along = torch.linspace(0, 60, 7)
    there = Run(torch.stack([along, torch.zeros(7)], -1)[None], torch.ones(1, 7))
    same = Run(there.xy.clone(), torch.ones(1, 7))
    stop = torch.zeros(1, dtype=torch.long)
    broken, apart = verified.compared(there, same, stop, 1.0)
    assert not broken.any() and (apart == 0).all()
    other = Run(there.xy.clone(), torch.ones(1, 7))
    other.xy[0, :3, 1] = 20.0  # on the first three frames it is somewhere else, and says so
    broken, apart = verified.compared(there, other, stop, 1.0)
    assert broken.tolist() == [[False, True, True, True, True, True, True]]
    assert apart[0].tolist() == [20, 20, 20, 0, 0, 0, 0]
    unsure = Run(other.xy, torch.full((1, 7), 0.1))
    unsure.xy[0, 0] = there.xy[0, 0]  # hidden in between, but it comes back to the query
    assert not verified.compared(there, unsure, stop, 1.0)[0].any()


def test_pixels_are_warped_about_the_query_as_the_frame_was() -> None:
    angle = math.radians(30)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(96) + 0.5, indexing="ij")

    def wave(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 120 + 60 * torch.sin(x / 2.1) + 40 * torch.cos(y / 1.7)

    middle = torch.tensor([[48.0, 32.0]])
    frame = wave(x, y).round().to(torch.uint8).repeat(1, 3, 1, 1)
    template = surroundings.Template.cut(only_grey(frame), torch.tensor([0]), middle)
    found = template.warped(turn[None])[0, 0].view(11, 11)
    ticks = torch.arange(-5, 6, dtype=torch.float32)
    offsets = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1) @ turn.T + middle
    expected = wave(offsets[..., 0], offsets[..., 1])
    assert (found - expected).abs().mean() < 3
    assert (template.warped(torch.eye(2)[None])[0, 0].view(11, 11) - expected).abs().mean() > 20


def test_a_hidden_point_is_carried_on_and_found_again_by_its_pixels() -> None:
    frames = panning(8)
    t, xy = torch.tensor([0]), torch.tensor([[60.0, 40.0]])
    truth = xy - torch.arange(8)[:, None] * torch.tensor([2.0, 1.0])
    frames[3:6, :, 26:46, 42:66] = 30  # something flat lies over it
    film = only_grey(frames)
    nowhere = torch.zeros(1, 8, 2)
    found = surroundings.carried(
        film, SIZE, surroundings.dominant(film), t, xy, nowhere, torch.zeros(1, 8, dtype=torch.bool)
    )
    torch.testing.assert_close(found.xy[0, 6:], truth[6:], atol=0.5, rtol=0)
    assert (found.fits[0, [1, 2, 6, 7]] > 0.9).all() and (found.fits[0, 3:6] < 0.6).all()


def clip_of(frames: int, **parts: torch.Tensor) -> path.Seen:
    """Points that a run sees all the time, and that nothing else finds."""
    one = torch.ones(1, frames)
    given = {
        "places": torch.zeros(1, frames, 2, 2),
        "sure": 0.9 * one,
        "likely": -1.0 * one,
        "refuted": ~one.bool(),
        "confirmed": ~one.bool(),
        "fits_first": one,
        "fits_carried": -0.5 * one,
    }
    return path.Seen(**{**given, **parts})


def answered(seen: path.Seen) -> tapkit.models.base.Prediction:
    frames = seen.sure.shape[1]
    motions = torch.eye(3, dtype=torch.float64).expand(frames - 1, 3, 3)
    t, xy, size = torch.tensor([0]), torch.zeros(1, 2), (256, 256)
    return path.answers(seen, path.best_paths(seen, motions, t, size), t, xy, size)


def test_a_point_that_is_always_seen_is_visible_all_the_time() -> None:
    found = answered(clip_of(10))
    assert (found.visible > 0.9).all() and (found.confidence > 0.9).all() and (found.xy == 0).all()


def test_what_is_refuted_is_hidden_and_the_surroundings_take_over() -> None:
    seen = clip_of(12)
    seen.refuted[0, 4:] = True  # the run was carried off from frame 4 on
    seen.places[0, 4:, path.RUN, 0] = torch.arange(8) * 10.0
    seen.fits_carried[0, 8:] = 0.97  # from frame 8 on the query's pixels fit where the frame carried them
    found = answered(seen)
    assert (found.visible[0, :4] > 0.5).all() and (found.visible[0, 4:8] < 0.5).all()
    assert (found.visible[0, 8:] > 0.5).all() and (found.xy[0].abs() < 1).all()
    kept_on = answered(seen._replace(fits_carried=torch.full((1, 12), -0.5)))
    assert (kept_on.visible[0, 4:] < 0.5).all()


def test_the_weights_of_states_are_those_of_all_paths_tried_one_by_one() -> None:
    generator = torch.Generator().manual_seed(4)
    seen = clip_of(
        4,
        places=torch.rand(1, 4, 2, 2, generator=generator) * 30,
        sure=torch.rand(1, 4, generator=generator),
        fits_carried=torch.rand(1, 4, generator=generator),
    )
    # Without a reappearance the place of a hidden point is the same on all paths, and all of them can be tried.
    seen.places[0, :, :] = seen.places[0, :1, :1]
    motions = torch.eye(3, dtype=torch.float64).expand(3, 3, 3)
    paths = path.best_paths(seen, motions, torch.tensor([0]), (256, 256))
    gain = torch.nn.functional.pad(path.evidence(seen, 1.0), (0, 1))[0]
    place = torch.cat([seen.places[0], seen.places[0, :, :1]], 1)
    best = torch.full((4, 3), -1e9)
    for states in np.ndindex(3, 3, 3):
        way = (path.RUN, *states)
        total = 0.0
        for frame in range(1, 4):
            changes = path._changes(place[None, frame - 1], seen.places[:, frame], motions[0], 1.0)[0]
            total += float(gain[frame, way[frame]] - changes[way[frame - 1], way[frame]])
        for frame, state in enumerate(way):
            best[frame, state] = max(best[frame, state], total)
    torch.testing.assert_close(paths.weights[0, 1:], (best - best.max())[1:], atol=1e-4, rtol=0)


@torch.inference_mode()
def test_answers_do_not_depend_on_what_else_is_asked(model) -> None:
    frames = panning(6)
    features = model.encode(frames)
    queries = torch.tensor([[0, 40.0, 30.0], [3, 60.5, 20.0], [5, 20.0, 40.0], [0, 80.0, 50.0]])
    together = model.track(features, SIZE, queries)
    alone = model.track(features, SIZE, queries[1:2])
    for all_points, one in zip(together, alone, strict=True):
        torch.testing.assert_close(all_points[1:2], one, atol=2e-3, rtol=0)
