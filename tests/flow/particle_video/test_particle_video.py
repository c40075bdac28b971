"""particle-video: exact on known motion, the rules of its spec by its numbers, and bad input."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("cv2")
pytest.importorskip("scipy.spatial")

import tapkit
from tapkit.engine.control import Cancelled, Control
from tapkit.errors import UsageError
from tapkit.flow.particle_video.channels import at, channels
from tapkit.flow.particle_video.density import gaps, scale_map
from tapkit.flow.particle_video.links import graph, triangulated, weights
from tapkit.flow.particle_video.options import ParticleOptions
from tapkit.flow.particle_video.particles import Particles, Piece
from tapkit.flow.particle_video.sweeps import Sweeps
from tapkit.flow.particle_video.variational import motion
from tapkit.viz import draw_particles

QUICK = ParticleOptions(least_spacing=5.0)


def texture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """A smooth random picture [1,3,h,w], 0..255."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(1, 3, height, width)
    for cells in (6, 14, 30):
        image += F.interpolate(torch.rand(1, 3, cells, cells, generator=generator), (height, width), mode="bicubic")
    return 255 * (image - image.min()) / (image.max() - image.min())


def moved(picture: torch.Tensor, dx: float, dy: float, height: int, width: int, angle: float = 0.0) -> np.ndarray:
    """[3,h,w] uint8: the middle of the picture, turned by `angle` (radians) and moved by (dx, dy)."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    x, y = x - dx - width / 2, y - dy - height / 2
    u, v = np.cos(angle) * x + np.sin(angle) * y, -np.sin(angle) * x + np.cos(angle) * y
    grid = torch.stack([u / picture.shape[3] * 2, v / picture.shape[2] * 2], -1)[None].float()
    out = F.grid_sample(picture, grid, mode="bicubic", align_corners=False)
    return out[0].clamp(0, 255).round().byte().numpy()


PICTURE = texture(180, 220)
SLIDE = np.stack([moved(PICTURE, 0.6 * t, -0.3 * t, 72, 96) for t in range(21)])


@pytest.fixture(scope="module")
def slide() -> Particles:
    return Sweeps(SLIDE, QUICK).run()


@pytest.mark.parametrize("kind", ["variational", "dis"])
def test_flow_of_a_translation_and_of_a_rotation(kind: str) -> None:
    options = ParticleOptions(flow=kind)
    first = channels(moved(PICTURE, 0, 0, 72, 96))
    flow = motion(first, channels(moved(PICTURE, 2.4, -1.3, 72, 96)), options)
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(flow.flow[0][inner] - 2.4).mean() < 0.1
    assert np.abs(flow.flow[1][inner] + 1.3).mean() < 0.1
    assert flow.visible[inner].mean() > 0.9
    turned = motion(first, channels(moved(PICTURE, 0, 0, 72, 96, 0.05)), options)
    y, x = np.mgrid[:72, :96] + 0.5
    x, y = x - 48, y - 36
    expected = np.stack([np.cos(0.05) * x - np.sin(0.05) * y - x, np.sin(0.05) * x + np.cos(0.05) * y - y])
    error = np.hypot(*(turned.flow - expected))[inner]
    assert error.mean() < 0.15


def test_a_translation_of_20_frames_is_followed_to_a_tenth_of_a_pixel(slide: Particles) -> None:
    start, end = slide.xy[0], slide.piece(range(20, 21), slide.ids[0])
    target = start + (12.0, -6.0)
    inner = ((start > 8) & (start < (88, 64)) & (target > 8) & (target < (88, 64))).all(1)
    alive = end.alive[:, 0]
    assert inner.sum() > 30
    assert alive[inner].mean() > 0.95
    assert np.linalg.norm(end.xy[:, 0] - target, axis=1)[inner & alive].mean() < 0.1


def test_the_backward_sweep_gives_late_particles_their_past() -> None:
    forward = Sweeps(SLIDE, QUICK)
    for frame in range(len(SLIDE)):
        forward._process(frame, 1)
    before = forward.particles.lives()
    late = (before[:, 0] > 5) & (before[:, 0] < 19)
    assert late.any()
    for frame in reversed(range(len(SLIDE))):
        forward._process(frame, -1)
    after = forward.particles.lives()[: len(before)]
    gone = after[:, 0] < 0
    assert (after[late & ~gone, 0] < before[late & ~gone, 0]).any()
    assert (after[~gone, 0] <= before[~gone, 0]).all()


def test_energy_never_increases_by_more_than_a_hundredth() -> None:
    sweeps = Sweeps(SLIDE[:8], replace(QUICK, outer=6))
    sweeps.run()
    assert sweeps.energies
    for values in sweeps.energies.values():
        assert all(b <= 1.01 * a for a, b in pairwise(values)), values


SIDE, SPEED = 28, 3
"""Of the square of `two_layers`, pixels and pixels per frame."""


def two_layers() -> tuple[np.ndarray, np.ndarray]:
    """A square that crosses a resting background, and its left edge per frame."""
    behind, front = moved(PICTURE, 0, 0, 72, 96), texture(180, 220, seed=5)
    frames, edges = [], 6 + SPEED * np.arange(12)
    for left in edges:
        frame = behind.copy()
        frame[:, 22 : 22 + SIDE, left : left + SIDE] = moved(front, 0, 0, SIDE, SIDE)
        frames.append(frame)
    return np.stack(frames), edges


@pytest.fixture(scope="module")
def layers() -> tuple[Particles, np.ndarray]:
    frames, edges = two_layers()
    return Sweeps(frames, QUICK).run(), edges


def depth(xy: np.ndarray, left: float) -> np.ndarray:
    """How far positions [...,2] are within the square whose left edge is given; negative outside."""
    x, y = xy[..., 0], xy[..., 1]
    return np.minimum(np.minimum(x - left, left + SIDE - x), np.minimum(y - 22, 22 + SIDE - y))


@pytest.mark.parametrize("frame", [6, 8, 10])
def test_links_across_a_motion_border_weaken(layers: tuple[Particles, np.ndarray], frame: int) -> None:
    particles, edges = layers
    links, values = graph(particles, frame, 1.5)
    within = []
    for ends in links.T:
        rows, _ = particles.rows(frame, ends)
        within.append(depth(particles.xy[frame][rows], edges[frame]))
    first, second = within
    clear = (np.abs(first) > 1) & (np.abs(second) > 1)
    across = clear & ((first > 0) != (second > 0))
    same = clear & ((first > 0) == (second > 0))
    assert across.sum() >= 8
    assert np.median(values[across]) < 0.2
    assert values[same].mean() > 0.9


def test_what_is_covered_ends_within_two_frames_and_the_rest_stays(layers: tuple[Particles, np.ndarray]) -> None:
    particles, edges = layers
    ids, start = particles.ids[0], particles.xy[0]
    lives = particles.lives()[ids]
    deep = np.stack([depth(start, left) for left in edges], 1)  # of resting particles, [N,T]
    resting = deep[:, 0] < -1
    covered = np.where((deep > 0.5).any(1), (deep > 0.5).argmax(1), len(edges))
    gone = resting & (covered < len(edges) - 2)
    assert gone.sum() >= 10
    assert (lives[gone, 1] <= covered[gone] + 2).mean() > 0.9
    last = particles.piece(range(len(edges) - 1, len(edges)), ids)
    alive, drift = last.alive[:, 0], np.linalg.norm(last.xy[:, 0] - start, axis=1)
    free = resting & (deep.max(1) < -3)  # pictures are blended over a pixel or two
    assert alive[free].mean() > 0.95
    assert (drift[free & alive] < 0.5).mean() > 0.95
    on = deep[:, 0] > 2
    carried = np.linalg.norm(last.xy[:, 0] - start - (edges[-1] - edges[0], 0), axis=1)
    assert alive[on].mean() > 0.95
    assert np.percentile(carried[on & alive], 90) < 0.5


@pytest.mark.parametrize("change", [-0.01, 0.01])
def test_a_slow_change_of_light_ends_nothing(change: float) -> None:
    still = 0.6 * moved(PICTURE, 0, 0, 72, 96)
    frames = np.stack([np.clip(still * (1 + change * t), 0, 255).astype(np.uint8) for t in range(25)])
    particles = Sweeps(frames, QUICK).run()
    last = particles.piece(range(24, 25), particles.ids[0])
    assert last.alive.mean() > 0.95
    assert np.abs(last.xy[:, 0] - particles.xy[0])[last.alive[:, 0]].mean() < 0.35


def test_a_clip_that_runs_back_brings_particles_home_no_worse_than_chained_flow() -> None:
    forth = np.stack([moved(PICTURE, 0.9 * t, -0.4 * t, 72, 96, 0.01 * t) for t in range(9)])
    clip = np.concatenate([forth, forth[-2::-1]])
    particles = Sweeps(clip, QUICK).run()
    ids, start = particles.ids[0], particles.xy[0]
    last = particles.piece(range(len(clip) - 1, len(clip)), ids)
    alive = last.alive[:, 0]
    stays = ((start > 16) & (start < (96 - 16, 72 - 16))).all(1)  # what leaves the frame ends, and rightly
    queries = np.concatenate([np.zeros((len(start), 1)), start], 1)
    chained = tapkit.track(torch.from_numpy(clip), queries, model="flow-chain", flow="dis")
    chained_visible = chained.visible_at()[:, -1]
    error = np.linalg.norm(last.xy[:, 0] - start, axis=1)[stays & alive].mean()
    chained_error = np.linalg.norm(np.asarray(chained.xy[:, -1]) - start, axis=1)[stays & chained_visible].mean()
    assert stays.sum() > 50
    assert alive[stays].mean() >= chained_visible[stays].mean()
    assert error <= chained_error


def test_flat_parts_have_particles_five_times_sparser() -> None:
    frame = np.full((3, 120, 240), 128, np.uint8)
    frame[:, :, :100] = np.random.default_rng(0).integers(0, 255, (3, 120, 100))
    spacing = scale_map(frame)
    assert spacing[20:100, 20:70].mean() * 5 < spacing[40:80, 190:220].mean()
    assert spacing.max() <= 1.9**5 + 1e-3
    assert spacing[60, 220] == pytest.approx(1.9**5, rel=1e-3)


def test_new_particles_keep_their_distance_and_leave_no_gap() -> None:
    spacing = np.full((40, 60), 6.0, np.float32)
    old = np.array([(20.3, 17.8)], np.float32)
    new = gaps(spacing, old)
    everything = np.concatenate([old, new])
    apart = np.linalg.norm(everything[:, None] - everything, axis=2) + 100 * np.eye(len(everything))
    assert apart.min() > 6.0
    centres = np.stack(np.meshgrid(np.arange(60) + 0.5, np.arange(40) + 0.5), -1).reshape(-1, 2)
    assert np.linalg.norm(centres[:, None] - everything, axis=2).min(1).max() <= 6.0
    assert len(gaps(spacing, everything)) == 0


def test_link_weights_are_those_of_the_whole_shared_past() -> None:
    xy = np.zeros((2, 5, 2), np.float32)
    xy[1, :, 0] = [0, 1, 2, 3, 4]
    alive = np.ones((2, 5), bool)
    piece = Piece(xy, np.zeros((2, 5, 5), np.float32), alive)
    edges = np.array([[0, 1]])
    assert weights(piece, edges, 1.5)[0] == pytest.approx(np.exp(-0.5 / 1.5**2))
    alive[1, 1:] = False
    assert weights(piece, edges, 1.5)[0] == 1
    assert len(triangulated(np.zeros((6, 2)))) == 0
    assert len(triangulated(np.array([(0, 0), (1, 0), (2, 0), (3, 0.0)]))) == 0
    assert len(triangulated(np.array([(0, 0), (1, 0), (0, 1), (1, 1.1)]))) == 5


def test_a_scene_cut_ends_nearly_all_particles() -> None:
    other = texture(180, 220, seed=9)
    frames = np.stack([moved(PICTURE, 0, 0, 72, 96)] * 4 + [moved(other, 0, 0, 72, 96)] * 4)
    particles = Sweeps(frames, QUICK).run()
    over = np.isin(particles.ids[3], particles.ids[4]).mean()
    assert over == 0
    tracks = tapkit.track(frames.transpose(0, 2, 3, 1), [(0, 40.0, 30.0)], model="particle-video", least_spacing=5.0)
    assert tracks.visible_at()[0, :4].all()
    assert not tracks.visible_at()[0, 4:].any()


def test_queries_are_carried_in_both_directions() -> None:
    tracks = tapkit.track(SLIDE.transpose(0, 2, 3, 1), [(10, 48.2, 36.7), (0, 40, 40)], model="particle-video")
    t = np.arange(21)
    np.testing.assert_allclose(tracks.xy[0, :, 0], 48.2 + 0.6 * (t - 10), atol=0.35)
    np.testing.assert_allclose(tracks.xy[1, :, 1], 40 - 0.3 * t, atol=0.35)
    assert tracks.visible_at().mean() > 0.9


@pytest.mark.parametrize("shape", [(1, 40, 60), (3, 8, 8), (5, 2, 2), (2, 5, 70)])
def test_one_frame_and_tiny_frames_give_finite_answers(shape: tuple[int, int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    for flow in ("variational", "dis"):
        tracks = tapkit.track(frames, [(0, shape[2] / 2, shape[1] / 2)], model="particle-video", flow=flow)
        assert np.isfinite(tracks.xy).all()
        assert np.isfinite(tracks.visible).all()


def test_it_says_how_far_it_is_and_can_be_cancelled_meanwhile() -> None:
    frames, heard = SLIDE[:4].transpose(0, 2, 3, 1), []
    tapkit.track(frames, [(0, 40, 40)], model="particle-video", control=Control(progress=heard.append))
    finish = [(p.done, p.total) for p in heard if p.stage == "finish"]
    assert finish == [(n, 8) for n in range(1, 9)]
    control = Control()
    control.progress = lambda p: control.cancel() if p.stage == "finish" else None
    with pytest.raises(Cancelled):
        tapkit.track(frames, [(0, 40, 40)], model="particle-video", control=control)


def test_samples_are_bilinear_and_corner_origin() -> None:
    image = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    assert at(image, np.array([(0.5, 0.5), (2.0, 1.5), (4.0, 3.0)]))[:, 0].tolist() == [0.0, 5.5, 11.0]


def test_options_are_checked() -> None:
    for bad in ({"flow": "magic"}, {"carriers": 0}, {"least_spacing": 50.0}, {"nothing": 1}):
        with pytest.raises(UsageError):
            tapkit.load("particle-video", **bad)
    with pytest.raises(UsageError):
        tapkit.load("particle-video", weights={"a": torch.zeros(1)})


def test_particles_are_drawn_with_their_links(slide: Particles) -> None:
    links, values = graph(slide, 5, 1.5)
    assert len(links) > len(slide.ids[5])
    picture = draw_particles(SLIDE[5].transpose(1, 2, 0), slide.ids[5], slide.xy[5], links, values)
    assert picture.shape == (144, 192, 3)
    assert (picture[..., 1] > 200).any()
