"""Batches of synthetic clips: shapes, seeds, memory, what is in them; and the banks they are composed of."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from tapkit.errors import StorageError, UsageError
from tapkit.synth.batch import ClipMaker
from tapkit.synth.bodies import built_in_bodies, load_bodies
from tapkit.synth.config import SynthConfig
from tapkit.synth.dice import Dice
from tapkit.synth.look import apply_look, compressed, gaussian, random_look
from tapkit.synth.photos import PhotoBank
from tapkit.synth.raster import NOTHING, rasterise
from tapkit.synth.shapes import ShapeBank
from tapkit.synth.sheet import batch_sheet, batch_tracks

SMALL = SynthConfig(frames=6, size=(64, 80), points=40, layers=(2, 4), shapes=16)


@pytest.fixture(scope="module")
def photos():
    return PhotoBank.procedural(9, size=(64, 96))


@pytest.fixture(scope="module")
def maker(photos):
    return ClipMaker(SMALL, photos)


def test_a_batch_has_the_shapes_and_kinds_that_a_trainer_expects(maker):
    video, xy, visible = maker.batch(3, 1)
    assert video.shape == (3, 6, 3, 64, 80) and video.dtype == torch.uint8
    assert xy.shape == (3, 40, 6, 2) and xy.dtype == torch.float32
    assert visible.shape == (3, 40, 6) and visible.dtype == torch.bool
    assert torch.isfinite(xy).all()
    assert not xy.is_inference() and not xy.requires_grad
    assert video.float().std() > 10


def test_the_same_seed_makes_the_same_clips_and_another_one_others(maker, photos):
    first, again, other = maker.batch(2, 7), maker.batch(2, 7), maker.batch(2, 8)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.video, other.video)
    afresh = ClipMaker(SMALL, photos).batch(2, torch.Generator().manual_seed(7))
    assert all(torch.equal(a, b) for a, b in zip(first, afresh, strict=True))


def test_the_precision_of_a_trainer_around_it_changes_nothing(maker):
    plain = maker.batch(1, 7)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16):
            inside = maker.batch(1, 7)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert all(torch.equal(a, b) for a, b in zip(plain, inside, strict=True))


def test_a_generator_is_advanced_so_that_the_next_batch_is_another(maker):
    generator = torch.Generator().manual_seed(3)
    assert not torch.equal(maker.batch(1, generator).video, maker.batch(1, generator).video)


def test_every_track_is_seen_at_least_once_and_some_come_and_go(maker):
    seen, hidden_inside, returning = 0, 0, 0
    for seed in range(4):
        _, xy, visible = maker.batch(4, seed)
        assert visible.any(-1).float().mean() > 0.995
        inside = (xy >= 0).all(-1) & (xy[..., 0] < 80) & (xy[..., 1] < 64)
        assert not visible[~inside].any()
        seen += int(visible.sum())
        hidden_inside += int((inside & ~visible).sum())
        gone = ~visible & (visible.cumsum(-1) > 0)
        returning += int((gone[..., :-1] & visible[..., 1:]).sum())
    assert seen > hidden_inside > 100
    assert returning > 10


def test_how_many_pixels_are_rendered_at_once_changes_nothing_but_memory(photos):
    still = dataclasses.replace(SMALL, effects=0.0, solids=0.5, blurred=0.5, blur_samples=3)
    one = ClipMaker(still, photos).batch(3, 5)
    for room in (1, 64 * 80 * 7, 10**9):
        other = ClipMaker(dataclasses.replace(still, pixels_at_once=room), photos).batch(3, 5)
        assert torch.equal(one.xy, other.xy) and torch.equal(one.visible, other.visible)
        difference = (one.video.int() - other.video.int()).abs()
        assert difference.float().mean() < 0.01 and difference.max() <= 2


def test_a_clip_of_120_frames_moves_smoothly_to_its_end(photos):
    long = dataclasses.replace(SMALL, frames=120, points=24, shake=0.0, solids=1.0)
    _, xy, visible = ClipMaker(long, photos).batch(1, 2)
    both = visible[..., 1:-1] & visible[..., :-2] & visible[..., 2:]
    jerk = (xy[:, :, 2:] - 2 * xy[:, :, 1:-1] + xy[:, :, :-2]).norm(dim=-1)
    assert visible[..., -20:].any()
    assert jerk[both].quantile(0.9) < 3


def test_a_still_world_does_not_move(photos):
    still = dataclasses.replace(SMALL, speed=0.0, shake=0.0, effects=0.0, solids=0.0, rolling=0.0)
    video, xy, _ = ClipMaker(still, photos).batch(2, 4)
    assert (xy - xy[:, :, :1]).abs().max() < 0.02
    assert (video[:, 0].int() - video[:, -1].int()).abs().max() <= 1


def test_faster_configurations_move_faster(photos):
    def pace(speed):
        _, xy, visible = ClipMaker(dataclasses.replace(SMALL, speed=speed), photos).batch(6, 1)
        both = visible[..., 1:] & visible[..., :-1]
        return float((xy[:, :, 1:] - xy[:, :, :-1]).norm(dim=-1)[both].median())

    assert pace(0.3) < 0.6 * pace(1.0)


def test_no_layers_leave_the_background_alone(photos):
    bare = dataclasses.replace(SMALL, layers=(0, 0), solids=0.0)
    _, xy, visible = ClipMaker(bare, photos).batch(2, 0)
    inside = (xy >= 0).all(-1) & (xy[..., 0] < 80) & (xy[..., 1] < 64)
    assert torch.equal(visible, inside)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shake": 1.5},
        {"frames": 0},
        {"size": (8, 64)},
        {"layers": (3, 2)},
        {"spacing": (0.0, 4.0)},
        {"bending": 0.7},
        {"blur_samples": 4},
        {"speed": -1.0},
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_sentence(wrong):
    with pytest.raises(UsageError) as error:
        SynthConfig(**wrong)
    assert "\n" not in str(error.value)


def test_no_clip_asked_for_is_refused(maker):
    with pytest.raises(UsageError, match="at least"):
        maker.batch(0, 1)


def test_photographs_are_read_cropped_and_told_from_textures(tmp_path):
    (tmp_path / "more").mkdir()
    Image.new("RGB", (200, 100), (250, 10, 10)).save(tmp_path / "wide.png")
    Image.new("RGB", (90, 100), (10, 10, 250)).save(tmp_path / "more" / "tall.jpg")
    bank = PhotoBank.load(tmp_path, size=(32, 48), textures=2)
    # The wide one counts as a panorama: whole, and its two halves.
    assert bank.photographs == 4 and len(bank) == 6
    index = torch.arange(4)
    for level in range(4):
        window = bank.windows(index, torch.full((4,), level), torch.zeros(4, 2, dtype=torch.int64), (5, 7))
        assert window.shape == (4, 3, 5, 7)
        assert (window.mean((2, 3)).argmax(1) == torch.tensor([2, 0, 0, 0])).all()


def test_windows_beyond_a_picture_go_on_mirrored():
    pictures = torch.arange(8 * 16, dtype=torch.uint8).view(1, 8, 16, 1).expand(-1, -1, -1, 3)
    bank = PhotoBank(pictures)
    zero = torch.zeros(1, dtype=torch.int64)
    window = bank.windows(zero, zero, torch.tensor([[-8, -16]]), (24, 48))[0, 0] * 255
    assert torch.equal(window[8:16, 16:32].round(), pictures[0, :, :, 0].float())
    for beyond in (slice(0, 8), slice(16, 24)):
        assert torch.equal(window[beyond], window[8:16].flip(0))
    for beyond in (slice(0, 16), slice(32, 48)):
        assert torch.equal(window[:, beyond], window[:, 16:32].flip(1))


@pytest.mark.parametrize("make", [lambda p: p / "none", lambda p: p])
def test_a_folder_without_photographs_is_named(tmp_path, make):
    with pytest.raises(StorageError, match=str(tmp_path)):
        PhotoBank.load(make(tmp_path))


def test_a_damaged_photograph_is_named(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"not a picture")
    with pytest.raises(StorageError, match=r"bad\.jpg"):
        PhotoBank.load(tmp_path)


def test_outlines_have_an_inside_and_a_border_that_is_outside():
    distance = ShapeBank(24).distances(torch.arange(24))
    inside = (distance > 0).float().mean((1, 2, 3))
    assert (inside > 0.01).all() and (inside < 0.9).all()
    assert (distance[..., 0, :] < 0).all() and (distance[..., :, -1] < 0).all()


def test_distances_of_outlines_grow_by_one_a_pixel():
    distance = ShapeBank(6).distances(torch.tensor([1]))[0, 0]  # a polygon
    near = distance[1:-1, 1:-1].abs() < 3
    slope = torch.hypot(*torch.gradient(distance))[1:-1, 1:-1][near]
    assert slope.median() == pytest.approx(1.0, abs=0.15)


def test_built_in_bodies_are_closed_and_wind_outwards():
    for body in built_in_bodies(8):
        a, b, c = body.corners.unbind(1)
        volume = (a * torch.linalg.cross(b, c)).sum() / 6
        assert volume > 0.05
        assert body.corners.norm(dim=-1).max() == pytest.approx(1.0, abs=1e-4)
        assert ((torch.linalg.cross(b - a, c - a) * body.normals.sum(1)).sum(-1) > -1e-6).all()


def test_models_are_read_from_glb_files(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    trimesh.creation.icosphere(subdivisions=2).export(tmp_path / "ball.glb")
    (body,) = load_bodies(tmp_path)
    assert body.corners.shape == (320, 3, 3) and body.closed and body.skin is None
    assert body.uv.min() >= 0 and body.uv.max() <= 1


def test_a_damaged_model_and_a_folder_without_models_are_named(tmp_path):
    pytest.importorskip("trimesh")
    with pytest.raises(StorageError, match="no GLB model"):
        load_bodies(tmp_path)
    (tmp_path / "bad.glb").write_bytes(b"not a model")
    with pytest.raises(StorageError, match=r"bad\.glb"):
        load_bodies(tmp_path)


def test_the_nearer_of_two_triangles_is_seen_and_pixel_centres_count():
    far = [[1.0, 1.0], [9.0, 1.0], [1.0, 9.0]]
    near = [[1.0, 1.0], [4.6, 1.0], [1.0, 4.6]]
    xy = torch.tensor([[far, near]])
    seen = rasterise(xy, torch.tensor([[[0.1] * 3, [0.2] * 3]]), (10, 10))
    truth = np.full((10, 10), NOTHING)
    for row in range(10):
        for column in range(10):
            x, y = column + 0.5, row + 0.5
            if x > 1 and y > 1 and x + y <= 10:
                truth[row, column] = 1 if x + y <= 5.6 else 0
    assert np.array_equal(seen[0].numpy(), truth)


def test_triangles_that_face_away_are_left_out_of_closed_bodies_only():
    xy = torch.tensor([[[[1.0, 1.0], [9.0, 1.0], [1.0, 9.0]]]])
    near = torch.full((1, 1, 3), 0.1)
    for corners in (xy, xy.flip(2)):
        assert (rasterise(corners, near, (10, 10)) == 0).any()
    seen = [(rasterise(corners, near, (10, 10), closed=True) == 0).any() for corners in (xy, xy.flip(2))]
    assert seen == [False, True]


def test_compression_with_fine_steps_changes_little_and_with_coarse_ones_more():
    frames = torch.nn.functional.avg_pool2d(Dice(0).uniform(0, 255, 1, 2, 3, 46, 51).flatten(0, 1), 5, 1, 2)[None]
    errors = [float((compressed(frames, torch.tensor([step])) - frames).abs().mean()) for step in (0.5, 8.0, 40.0)]
    assert errors[0] < errors[1] < errors[2] < 40


def test_compression_keeps_a_grey_picture_grey():
    grey = torch.full((1, 1, 3, 16, 16), 128.0)
    assert (compressed(grey, torch.tensor([10.0])) - grey).abs().max() < 5


def test_blur_keeps_flat_pictures_and_spreads_a_dot_by_its_width():
    assert torch.allclose(gaussian(torch.ones(1, 1, 20, 30), 2.0), torch.ones(1, 1, 20, 30), atol=1e-5)
    dot = torch.zeros(1, 1, 41, 41)
    dot[..., 20, 20] = 1
    ticks = torch.arange(41.0) - 20
    assert (gaussian(dot, 2.0)[0, 0].sum(0) * ticks.square()).sum() == pytest.approx(4.0, rel=0.02)


def test_without_effects_the_look_changes_nothing():
    config = dataclasses.replace(SMALL, effects=0.0)
    frames = Dice(1).uniform(0.05, 0.95, 2, 3, 6, 64, 80)
    filmed = apply_look(frames.clone(), random_look(Dice(0), config, 2), 0, torch.Generator())
    assert (filmed.float() / 255 - frames.transpose(1, 2)).abs().max() < 0.003


def test_batch_tracks_are_queried_where_they_are_visible_and_can_be_drawn(maker):
    batch = maker.batch(2, 11)
    tracks = batch_tracks(batch, 1)
    assert np.array_equal(tracks.visible[np.arange(len(tracks)), tracks.queries.t], np.ones(len(tracks)))
    sheet = batch_sheet([batch], columns=3, scale=1)
    assert sheet.shape == (2 * 64, 3 * 80, 3) and sheet.dtype == np.uint8


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_makes_the_same_clips(photos):
    plain = dataclasses.replace(SMALL, effects=0.0)
    cpu, gpu = ClipMaker(plain, photos).batch(2, 3), ClipMaker(plain, photos, "cuda").batch(2, 3)
    assert (cpu.xy - gpu.xy.cpu()).abs().max() < 0.02
    assert (cpu.visible == gpu.visible.cpu()).float().mean() > 0.995
    assert (cpu.video.int() - gpu.video.cpu().int()).abs().float().mean() < 0.5
