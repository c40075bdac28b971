"""What is drawn lies where the tracks say: measured on rendered dots, to 0.05 px."""

import pytest
import torch

from tapkit.synth.bodies import built_in_bodies
from tapkit.synth.config import SynthConfig
from tapkit.synth.dice import Dice
from tapkit.synth.photos import PhotoBank
from tapkit.synth.points import Points, positions
from tapkit.synth.render import background_scale, composite
from tapkit.synth.scene import Scene, _exposed, _moments, make_scene
from tapkit.synth.shapes import ShapeBank
from tapkit.synth.warp import Mesh

CLOSE = 0.05
FINE = 3


@pytest.fixture(scope="module")
def banks():
    photos = PhotoBank.procedural(9, size=(64, 96))
    return photos, ShapeBank(16), built_in_bodies()


def scene_of(banks, seed: int, count: int = 3, **settings) -> Scene:
    photos, shapes, bodies = banks
    chosen = {"frames": 4, "size": (96, 112), "points": 64, "layers": (3, 3), "solids": 0.0, **settings}
    return make_scene(Dice(seed), SynthConfig(**chosen), photos, shapes, bodies, count)


def dots(places: torch.Tensor, height: int, width: int, deviation: torch.Tensor) -> torch.Tensor:
    """Gaussian dots of deviation [B] at texture positions [B,2] (in texels) on pictures [B,height,width]."""
    y = torch.arange(height)[None, :, None] + 0.5 - places[:, 1, None, None]
    x = torch.arange(width)[None, None, :] + 0.5 - places[:, 0, None, None]
    return torch.exp(-0.5 * (x * x + y * y) / deviation[:, None, None] ** 2)


def only_dots(scene: Scene, layer: int, texture: torch.Tensor) -> Scene:
    """The scene in black, with one dot at texture [B,2] of `layer`, whose whole texture is opaque.

    Dots are a third of a pixel wide on the screen, so that the curvature of the map within a dot does not count.
    """
    back, pictures = (
        torch.zeros(len(texture), 3, 384, 576),
        torch.zeros(len(texture), scene.pictures.shape[1], 4, 384, 384),
    )
    texels_per_pixel = 384 / (scene.motion.layers.size[:, layer] * max(scene.config.size))
    deviation = (0.35 * texels_per_pixel).clamp_min(1.2)
    if layer == 0:
        texels = (texture * background_scale(back) + 1) / 2 * torch.tensor([576, 384])
        back[:] = dots(texels, 384, 576, deviation)[:, None]
    else:
        pictures[:, layer - 1, :3] = dots((texture + 1) / 2 * 384, 384, 384, deviation)[:, None]
        pictures[:, layer - 1, 3] = 1
    return scene._replace(back=back, pictures=pictures)


def centroids(frames: torch.Tensor, about: torch.Tensor, reach: float = 4.0 * FINE) -> torch.Tensor:
    """Brightness centroids of [B,T,H,W] within `reach` pixels of [B,T,2]."""
    y, x = torch.arange(frames.shape[2]) + 0.5, torch.arange(frames.shape[3]) + 0.5
    near = (x - about[..., None, None, 0]).square() + (y[:, None] - about[..., None, None, 1]).square() < reach**2
    weight = frames * near
    total = weight.sum((2, 3)).clamp_min(1e-9)
    return torch.stack([(weight * x).sum((2, 3)) / total, (weight * y[:, None]).sum((2, 3)) / total], -1)


def worst_error(scene: Scene, layer: int, seed: int, blurred: bool = False) -> tuple[float, int]:
    """Largest distance of a drawn dot to its track in clips in which it is well inside, and how many were measured."""
    batch = len(scene.lag)
    texture = Dice(seed).uniform(-0.45, 0.45, batch, 2)
    marked = only_dots(scene, layer, texture)
    mesh = scene.mesh
    if blurred:
        everything = torch.arange(batch)
        mesh = _exposed(scene, everything, _moments(scene, everything))
    height, width = scene.config.size
    # The same map, drawn larger, so that so small a dot is still sampled well.
    large = Mesh(mesh.texture, (FINE * height, FINE * width))
    drawn = composite(marked.back, marked.pictures, large, slice(0, scene.config.frames))[:, 0]
    one = torch.zeros(batch, 1)
    points = Points(one + layer, texture[:, None], one.long(), torch.zeros(batch, 1, 3))
    xy, solved = positions(marked, points)
    room = ((xy > 10) & (xy < torch.tensor([width - 10, height - 10]))).all(-1)[:, 0] & solved
    error = (centroids(drawn, FINE * xy[:, 0]) / FINE - xy[:, 0]).norm(dim=-1)[room]
    return (float(error.max()) if len(error) else 0.0), len(error)


def measure(banks, layers, blurred=False, **settings) -> None:
    counted, worst = 0, 0.0
    for seed in range(4):
        scene = scene_of(banks, seed, **settings)
        for layer in layers:
            error, number = worst_error(scene, layer, 100 + seed, blurred)
            worst, counted = max(worst, error), counted + number
    assert counted > 20
    print(worst, counted)
    assert worst < CLOSE


def test_dots_on_the_background_lie_on_their_tracks(banks):
    measure(banks, [0], rolling=0.0)


def test_dots_on_moving_bending_and_hanging_layers_lie_on_their_tracks(banks):
    measure(banks, [1, 2, 3], rolling=0.0, bending=0.4)


def test_dots_lie_on_their_tracks_under_a_rolling_shutter_with_shake(banks):
    measure(banks, [0, 1, 2], rolling=1.0, shake=1.0)


def test_motion_blur_is_centred_on_the_track(banks):
    # Blur along a curved path moves the centroid off the middle by the path's curvature; slow motion keeps that small.
    measure(banks, [0, 1, 2], blurred=True, blur_samples=5, speed=0.35)
