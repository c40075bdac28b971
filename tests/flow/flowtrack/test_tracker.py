"""FlowTrack: drift is corrected, covered points are found again, lost ones move with their surroundings; bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tapkit
from tapkit.engine.state import flatten
from tapkit.errors import QueryError, UsageError
from tapkit.flow.flowtrack import guide
from tapkit.flow.flowtrack.patches import best_places, correlations, normalised, sampled
from tapkit.flow.flowtrack.tracker import build


def texture(height: int, width: int, seed: int) -> np.ndarray:
    """A smooth random picture [height,width,3] uint8."""
    noise = torch.rand(1, 3, height // 3, width // 3, generator=torch.Generator().manual_seed(seed)) * 255
    return F.interpolate(noise, (height, width), mode="bicubic").clamp(0, 255)[0].byte().permute(1, 2, 0).numpy()


def passing(frames: int = 18, speed: int = 8, pan: int = 1) -> np.ndarray:
    """[T,120,160,3]: a picture that pans by `pan` to the left, before which a square of 48 pixels moves right."""
    still, square = texture(120, 240, 1), texture(48, 48, 2)
    clip = np.stack([still[:, pan * t : pan * t + 160] for t in range(frames)])
    for t in range(frames):
        left = speed * t
        clip[t, 36:84, left : left + 48] = square[:, : max(160 - left, 0)]
    return clip


def track(clip: np.ndarray, queries: list[tuple[float, ...]], **options: Any) -> Any:
    return tapkit.track(clip, queries=queries, device="cpu", direction="forward", **{"model": "flowtrack", **options})


def test_a_covered_point_is_found_again_where_the_plain_chain_is_carried_off() -> None:
    clip = passing()
    queries = [(0, 100.5, 60.5), (0, 112.25, 50.0)]
    expected = np.array(queries)[:, None, 1:] - np.arange(18)[None, :, None] * [1.0, 0.0]
    ours = track(clip, queries)
    plain = track(clip, queries, model="flow-chain")
    error, carried = (np.linalg.norm(found.xy - expected, axis=-1) for found in (ours, plain))
    assert carried[:, -1].min() > 4, "the plain chain must fail, or this shows nothing"
    assert error[:, -1].max() < 0.5 and error[:, :5].max() < 0.5
    assert ours.visible_at()[:, :5].all() and ours.visible_at()[:, -1].all()
    covered = (np.arange(18) * 8 + 8 < expected[..., 0]) & (expected[..., 0] < np.arange(18) * 8 + 40)
    assert (covered.sum(1) >= 3).all()
    assert ours.visible_at()[covered].sum() <= 1, "noticed by the second frame on which it is covered"
    assert error[covered].max() < 6, "while it is covered it moves with the picture around it"


def test_drift_is_corrected_by_the_patch_of_the_query() -> None:
    big = texture(200, 260, 3)
    exact = np.arange(24)[:, None] * (-1.3, -0.7)
    cv = pytest.importorskip("cv2")
    clip = np.stack([cv.warpAffine(big, np.float32([[1, 0, x - 20], [0, 1, y - 20]]), (160, 120)) for x, y in exact])
    queries = [(0, 80.5, 60.5), (0, 120.0, 90.25), (0, 60.0, 80.0)]
    expected = np.array(queries)[:, None, 1:] + exact[None]
    with_it, without = (
        np.linalg.norm(track(clip, queries, corrected=level).xy - expected, axis=-1)[:, -1].mean()
        for level in (0.5, 1.0)
    )
    assert with_it < 0.12 and with_it < 0.8 * without


def test_points_do_not_depend_on_one_another_and_leave_with_their_state() -> None:
    clip = passing(6)
    both = track(clip, [(0, 100.5, 60.5), (2, 30.0, 20.0)])
    alone = track(clip, [(2, 30.0, 20.0)])
    assert np.abs(both.xy[1] - alone.xy[0])[2:].max() < 1e-3
    model = build()
    state = model.start((120, 160))
    frames = torch.from_numpy(clip).permute(0, 3, 1, 2)
    sizes = []
    for t, frame in enumerate(frames):
        state, _ = model.step(state, frame, torch.tensor([[50.0, 20.0 + t]]) if t < 3 else torch.zeros(0, 2))
        sizes.append(sum(part.numel() for part in flatten(state).values()))
    assert len(set(sizes[2:])) == 1, "nothing but points makes the state larger"
    kept = model.select(state, torch.tensor([2, 0]))
    assert torch.equal(kept.xy, state.xy[[2, 0]]) and len(model.select(state, torch.zeros(0, dtype=torch.long)).xy) == 0


def test_correlations_equal_those_taken_one_by_one() -> None:
    draw = torch.Generator().manual_seed(0)
    windows = torch.rand(3, 2, 9, 9, generator=draw) * 200
    templates = normalised(torch.rand(3, 2, 5, 5, generator=draw) * 200)
    found = correlations(windows, templates)
    for n in range(3):
        for i in range(5):
            for j in range(5):
                patch = windows[n, :, i : i + 5, j : j + 5]
                centred = patch - patch.mean((1, 2), keepdim=True)
                expected = float((centred / centred.norm() * templates[n]).sum())
                assert float(found[n, i, j]) == pytest.approx(expected, abs=1e-4)


def test_a_patch_is_found_to_a_fraction_of_a_pixel_and_a_flat_one_stays() -> None:
    picture = torch.from_numpy(texture(80, 90, 5)).permute(2, 0, 1).float()
    at = torch.tensor([[40.5, 40.5], [30.3, 50.8]])
    place, score = best_places(picture, at + torch.tensor([3.2, -2.6]), normalised(sampled(picture, at, 15)), 5)
    assert (place - at).abs().max() < 0.15 and score.min() > 0.9
    flat = normalised(sampled(torch.full((3, 40, 40), 7.0), at[:1] - 20, 15))
    place, score = best_places(picture, at[:1], flat, 5)
    assert torch.equal(place, at[:1]) and score.tolist() == [0.0]


def test_companions_that_come_another_way_or_leave_do_not_count() -> None:
    size = (100, 100)
    there, back = torch.zeros(1, 2, *size), torch.zeros(1, 2, *size)
    there[:, 0, :, 50:], back[:, 0, :, 50:] = 4.0, -4.0  # the right half moves right
    companions = guide.alike(guide.placed(torch.tensor([[48.0, 50.0]]), size), torch.zeros(1, 2), back)
    right = companions.xy[0, :, 0] > 52
    assert companions.weight[0][right].max() < 0.01 < 0.9 < companions.weight[0][companions.xy[0, :, 0] < 48].min()
    _, motion, known = guide.advanced(companions, there, back, size, 0.01, 0.5)
    assert bool(known) and motion.abs().max() < 0.1
    lost = guide.advanced(companions, there, there, size, 0.0, 0.5)[0]
    assert lost.weight[0][right].max() == 0, "the flow back does not confirm them"


@pytest.mark.parametrize("size", [(8, 8), (33, 50)])
def test_small_frames_flat_pictures_and_a_clip_of_one_frame(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, *size, 3), dtype=np.uint8)
    for clip in (noise, np.zeros_like(noise), noise[:1]):
        tracks = track(clip, [(0, 4.0, 4.0), (0, 0.0, 8.0)])
        assert np.isfinite(tracks.xy).all() and tracks.xy[0, 0].tolist() == [4.0, 4.0]


def test_bad_input_is_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match="no flow model 'strand'"):
        build(flow="strand")
    with pytest.raises(UsageError, match="patch must be odd"):
        build(patch=14)
    with pytest.raises(UsageError, match="found is a correlation from -1 to 1"):
        build(found=2.0)
    with pytest.raises(UsageError, match="takes no weights"):
        build({"a": torch.zeros(1)})
    with pytest.raises(UsageError, match="no option 'flows'"):
        build(flows="dis")
    with pytest.raises(QueryError):
        track(passing(2), [(0, float("nan"), 1.0)])
