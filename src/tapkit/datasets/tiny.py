"""The benchmark that comes with tapkit: synthetic clips with exact ground truth, drawn when they are needed.

Textured layers move by homographies in front of one another. A track is a point of a layer; its position is the
homography itself and its visibility the analytic question whether a layer in front covers it, so both are exact.
Textures are procedural (no licence). Only integer arithmetic, + - * / and NumPy's frozen `RandomState` streams
are used, never a function of the platform's maths library, so that the pixels are the same on every machine.

It measures whether a tracker works and where it breaks, not how good it is on real video.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tapkit.datasets.base import Clip, Dataset
from tapkit.datasets.frames import ArrayFrames
from tapkit.types import VideoInfo

SIZE = (192, 256)
"""(height, width) of the frames."""
FRAMES = 24
TEXTURE = 512
"""Side of a layer's texture in pixels; it repeats beyond."""
POINTS = 24
"""Tracks of a clip."""


@dataclass(frozen=True)
class Motion:
    """How a layer moves: values at the first and the last frame, eased in between (or there and back again)."""

    x: tuple[float, float] = (0.0, 0.0)
    """Of the layer's centre, pixels right of the frame's centre."""
    y: tuple[float, float] = (0.0, 0.0)
    turn: tuple[float, float] = (0.0, 0.0)
    """Tangent of half the rotation angle (0.5 is 53 degrees)."""
    scale: tuple[float, float] = (1.0, 1.0)
    tilt: tuple[float, float] = (0.0, 0.0)
    """Perspective: change of the homogeneous coordinate per 1000 pixels of x."""
    back: bool = False
    """There by the middle of the clip, and back by its end."""

    def homographies(self, frames: int) -> np.ndarray:
        """Texture coordinates (origin at the layer's centre) to frame pixels, [T,3,3] float64."""
        s = np.arange(frames) / max(frames - 1, 1)
        if self.back:
            s = 1.0 - np.abs(2.0 * s - 1.0)
        else:
            s = s * s * (3.0 - 2.0 * s)
        x, y, turn, scale, tilt = (a + (b - a) * s for a, b in (self.x, self.y, self.turn, self.scale, self.tilt))
        norm = 1.0 + turn * turn
        cosine, sine = (1.0 - turn * turn) / norm * scale, 2.0 * turn / norm * scale
        x, y, w = x + SIZE[1] / 2, y + SIZE[0] / 2, tilt / 1000.0
        one = np.ones(frames)
        rows = [cosine + x * w, -sine, x, sine + y * w, cosine, y, w, 0.0 * one, one]
        return np.stack(rows, 1).reshape(frames, 3, 3)


@dataclass(frozen=True)
class Layer:
    """A textured shape, or (radius None) a plane that fills everything."""

    motion: Motion
    radius: tuple[float, float] | None = None
    """Half width and half height in texture pixels."""
    round: bool = True
    """An ellipse, else a rectangle."""
    cell: int = 32
    """Largest detail of the texture, pixels."""
    tile: int = TEXTURE
    """The texture repeats after that many pixels."""

    def inside(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Whether texture points belong to the shape."""
        if self.radius is None:
            return np.ones(u.shape, bool)
        a, b = u / self.radius[0], v / self.radius[1]
        return a * a + b * b < 1.0 if self.round else (np.abs(a) < 1.0) & (np.abs(b) < 1.0)


@dataclass(frozen=True)
class Scene:
    """One clip: layers from back to front, and what the light does."""

    name: str
    layers: tuple[Layer, ...]
    gain: tuple[float, float] = (1.0, 1.0)
    """Brightness factor at the first and the last frame."""

    @cached_property
    def transforms(self) -> list[np.ndarray]:
        """[T,3,3] of each layer."""
        return [layer.motion.homographies(FRAMES) for layer in self.layers]


_DRIFT = Motion(x=(-6, 8), y=(3, -4), scale=(1.0, 1.06))
SCENES = (
    Scene("pan", (Layer(Motion(x=(-30, 34), y=(8, -10))), Layer(Motion(x=(20, -24), y=(-10, 14)), (46, 38)))),
    Scene(
        "zoom", (Layer(Motion(scale=(0.8, 1.5), x=(4, -6))), Layer(Motion(scale=(1.3, 0.7), x=(-30, -20)), (40, 40)))
    ),
    Scene(
        "rotate",
        (Layer(Motion(turn=(-0.12, 0.14))), Layer(Motion(turn=(0.0, 0.75), x=(10, -8)), (62, 48), round=False)),
    ),
    Scene(
        "tilt", (Layer(Motion(tilt=(-0.9, 1.1))), Layer(Motion(tilt=(1.8, -1.8), x=(-6, 10)), (60, 44), round=False))
    ),
    Scene(
        "occluder",
        (
            Layer(_DRIFT),
            Layer(Motion(x=(-30, 30)), (44, 34)),
            Layer(Motion(x=(-150, 150), y=(6, 0)), (26, 130), round=False),
        ),
    ),
    Scene(
        "return",
        (Layer(Motion(x=(0, 110), back=True)), Layer(Motion(y=(10, 150), x=(-20, 30), back=True), (44, 40))),
    ),
    Scene("light", (Layer(_DRIFT), Layer(Motion(x=(36, -30), turn=(0.0, 0.2)), (50, 42))), gain=(1.15, 0.45)),
    Scene(
        "repeat",
        (Layer(Motion(x=(-14, 18), y=(6, -6)), cell=16, tile=64), Layer(Motion(x=(40, -30)), (46, 40), cell=8)),
    ),
)


class TinyDataset(Dataset):
    """Eight clips of 24 frames, 256 x 192, about 24 tracks each."""

    name = "tapkit tiny"
    resolution = "native"
    citation = "Clips made by tapkit (tapkit.datasets.tiny), exact ground truth"

    def names(self) -> Sequence[str]:
        """See `Dataset.names`."""
        return [scene.name for scene in SCENES]

    def clip(self, name: str) -> Clip:
        """See `Dataset.clip`; frames are drawn when they are first opened."""
        scene = next((s for s in SCENES if s.name == name), None)
        if scene is None:
            raise self.unknown(name)
        drawn: list[np.ndarray] = []

        def opened() -> ArrayFrames:
            if not drawn:
                drawn.append(draw(scene))
            return ArrayFrames(drawn[0], VideoInfo(SIZE[1], SIZE[0], frames=FRAMES))

        xy, visible = tracks(scene)
        return Clip(name, xy, visible, SIZE, opened, valid=np.ones(visible.shape, bool), stamp="drawn, version 1")


# -- ground truth ---------------------------------------------------------------------------------


def tracks(scene: Scene, count: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Exact positions [N,T,2] float32 and visibility [N,T] of `count` points spread over the layers.

    Points are drawn at random in the layer's plane and kept if they are visible on at least a quarter of the frames.
    """
    random = _random(scene, "points")
    xy, visible = [], []
    for index, layer in enumerate(scene.layers):
        wanted, found = count // len(scene.layers), 0
        half = layer.radius or (SIZE[1] * 0.75, SIZE[0] * 0.75)
        while found < wanted:
            u, v = (random.random_sample(2) * 2 - 1) * half
            if not layer.inside(np.array(u), np.array(v)):
                continue
            position = _map(scene.transforms[index], u, v)
            seen = _in_frame(position) & ~_covered(scene, index, position)
            if seen.sum() * 4 >= FRAMES:
                xy.append(position)
                visible.append(seen)
                found += 1
    return np.stack(xy).astype(np.float32), np.stack(visible)


def _map(transforms: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Points (u, v) by each homography [T,3,3] -> [T,...,2], without BLAS (whose sums differ between machines)."""
    h = transforms.reshape(-1, 3, 3, *(1,) * np.ndim(u))
    w = h[:, 2, 0] * u + h[:, 2, 1] * v + h[:, 2, 2]
    return np.stack([(h[:, i, 0] * u + h[:, i, 1] * v + h[:, i, 2]) / w for i in (0, 1)], -1)


def _in_frame(position: np.ndarray) -> np.ndarray:
    x, y = position[..., 0], position[..., 1]
    return (x >= 0) & (x < SIZE[1]) & (y >= 0) & (y < SIZE[0])


def _covered(scene: Scene, index: int, position: np.ndarray) -> np.ndarray:
    """[T] whether a layer in front of `index` lies over `position` [T,2]."""
    out = np.zeros(len(position), bool)
    for layer, transforms in zip(scene.layers[index + 1 :], scene.transforms[index + 1 :], strict=True):
        for frame, (x, y) in enumerate(position):
            u, v = np.moveaxis(_map(_inverse(transforms[frame])[None], np.array(x), np.array(y))[0], -1, 0)
            out[frame] |= bool(layer.inside(u, v))
    return out


def _inverse(h: np.ndarray) -> np.ndarray:
    """Adjugate of a 3x3 matrix: its inverse up to a factor, which a homography does not feel."""
    a, b, c, d, e, f, g, i, j = h.ravel().tolist()
    return np.array(
        [
            [e * j - f * i, c * i - b * j, b * f - c * e],
            [f * g - d * j, a * j - c * g, c * d - a * f],
            [d * i - e * g, b * g - a * i, a * e - b * d],
        ]
    )


# -- pixels ---------------------------------------------------------------------------------------


def draw(scene: Scene) -> np.ndarray:
    """All frames [T,H,W,3] uint8."""
    height, width = SIZE
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    textures = [_texture(_random(scene, f"layer {i}"), layer) for i, layer in enumerate(scene.layers)]
    noise = _random(scene, "noise")
    frames = np.empty((FRAMES, height, width, 3), np.uint8)
    for t in range(FRAMES):
        image = np.zeros((height, width, 3), np.int64)
        for layer, transforms, texture in zip(scene.layers, scene.transforms, textures, strict=True):
            u, v = np.moveaxis(_map(_inverse(transforms[t])[None], x, y)[0], -1, 0)
            inside = layer.inside(u, v)
            image[inside] = _sample(texture, u[inside], v[inside])
        gain = round((scene.gain[0] + (scene.gain[1] - scene.gain[0]) * t / (FRAMES - 1)) * 256)
        frames[t] = np.clip((image * gain >> 8) + noise.randint(-3, 4, image.shape), 0, 255)
    return frames


def _sample(texture: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Bilinear in 1/256 pixel, whole numbers only; the texture's centres lie at halves, it repeats."""
    side = len(texture)
    fixed = [np.floor((c - 0.5) * 256.0 + 0.5).astype(np.int64) for c in (u, v)]
    (x0, fx), (y0, fy) = ((c >> 8, (c & 255)[:, None]) for c in fixed)
    x0, y0, x1, y1 = x0 % side, y0 % side, (x0 + 1) % side, (y0 + 1) % side
    top = texture[y0, x0] * (256 - fx) + texture[y0, x1] * fx
    low = texture[y1, x0] * (256 - fx) + texture[y1, x1] * fx
    colours: np.ndarray = (top * (256 - fy) + low * fy + (1 << 15)) >> 16
    return colours


def _texture(random: np.random.RandomState, layer: Layer) -> np.ndarray:
    """Value noise between three colours, with discs and bars of other colours on it: [side,side,3] int64 0..255."""
    side = layer.tile
    dark, light, third = 30 + random.randint(0, 60, 3), 150 + random.randint(0, 90, 3), random.randint(30, 230, 3)
    tone, hue = (_octaves(random, side, layer.cell)[..., None] for _ in range(2))
    image: np.ndarray = dark + (light - dark) * tone // 255
    image = image + (third - image) * np.clip(2 * hue - 255, 0, 255) // 400
    y, x = np.mgrid[0:side, 0:side]
    for _ in range(side // 10):
        cx, cy, a, b = random.randint(0, side, 2).tolist() + random.randint(3, 3 + layer.cell // 3, 2).tolist()
        colour, round_ = random.randint(0, 256, 3), bool(random.randint(2))
        dx, dy = (x - cx + side // 2) % side - side // 2, (y - cy + side // 2) % side - side // 2
        shape = dx * dx * b * b + dy * dy * a * a < a * a * b * b if round_ else (abs(dx) < a) & (abs(dy) < b)
        image[shape] = (image[shape] + 3 * colour) // 4
    return image


def _octaves(random: np.random.RandomState, side: int, cell: int) -> np.ndarray:
    """Noise of details from `cell` pixels down to 2, stretched: [side,side] int64 0..255."""
    total, weight, weights = np.zeros((side, side), np.int64), 32, 0
    while cell >= 2:
        total += weight * _noise(random, side, cell)
        weights += weight
        cell, weight = cell // 2, max(weight * 3 // 4, 1)
    stretched: np.ndarray = np.clip((total // weights - 128) * 5 // 2 + 128, 0, 255)
    return stretched


def _noise(random: np.random.RandomState, side: int, cell: int) -> np.ndarray:
    """One octave: random values every `cell` pixels, bilinear between them, repeating: [side,side] int64."""
    grid = random.randint(0, 256, (max(side // cell, 1),) * 2)
    place = np.arange(side)
    low, fraction = place // cell % len(grid), place % cell
    high = (low + 1) % len(grid)
    rows = grid[low] * (cell - fraction)[:, None] + grid[high] * fraction[:, None]
    values: np.ndarray = (rows[:, low] * (cell - fraction) + rows[:, high] * fraction) // (cell * cell)
    return values


def _random(scene: Scene, purpose: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(f"{scene.name}/{purpose}".encode()))
