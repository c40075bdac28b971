"""Made scenes for `benchmarks/camera.py` and the tests of cameras: points alone, and rendered clips; cameras are exact.

Points: a hand-held path, points chosen on every second frame, 0.5 pixels of noise, 3 % of gross outliers of 15 pixels,
and three rigid objects that move.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapkit.apps.camera import Observations
from tapkit.apps.camera.intrinsics import pixels
from tapkit.apps.camera.rigid import apply, inverse, motion, of_parts, rotation

SIZE = (480, 640)
CAMERA = np.array([500.0, 500.0, 320.0, 240.0])


class Points(NamedTuple):
    """Tracks of a made scene."""

    xy: np.ndarray
    """[N,T,2]."""
    visible: np.ndarray
    """[N,T] bool."""
    query_frame: np.ndarray
    """[N]."""
    dynamic: np.ndarray
    """[N] bool."""
    pose: np.ndarray
    """[T,4,4] world to camera."""


def handheld(random: np.random.Generator, frames: int, reach: float = 0.6, turn: float = 0.15) -> np.ndarray:
    """World-to-camera poses [T,4,4] of a smooth path: a drift, a sway of low frequencies and a little shake."""
    t = np.linspace(0, 1, frames)
    way = random.normal(size=3) * [1, 0.4, 0.6]
    way = way / np.linalg.norm(way)
    centre = reach * t[:, None] * way
    angles = np.zeros((frames, 3))
    for cycles in (0.7, 1.6, 3.1):
        phase = random.uniform(0, 2 * np.pi, 6)
        wave = np.sin(2 * np.pi * cycles * t[:, None] + phase) - np.sin(phase)
        centre = centre + 0.12 * reach / cycles * wave[:, :3] * random.normal(size=3)
        angles = angles + turn / 2 / cycles * wave[:, 3:] * random.normal(size=3) * [0.6, 1, 0.3]
    centre = centre + 0.002 * reach * random.normal(size=centre.shape)
    angles = angles + 0.001 * random.normal(size=angles.shape)
    return inverse(of_parts(rotation(angles), centre))


def points(
    seed: int,
    moving: float = 0.0,
    frames: int = 30,
    each: int = 40,
    noise: float = 0.5,
    outliers: float = 0.03,
    turning: bool = False,
    camera: np.ndarray = CAMERA,
) -> Points:
    """A scene of points, of which the share `moving` is on three objects that move rigidly; `turning`: the camera only
    turns."""
    random = np.random.default_rng(seed)
    pose = handheld(random, frames)
    if turning:
        pose[:, :3, 3] = 0
    hosts = np.repeat(np.arange(0, frames, 2), each)
    count = len(hosts)
    start = np.stack([random.uniform(0.06, 0.94, count) * SIZE[1], random.uniform(0.06, 0.94, count) * SIZE[0]], 1)
    depth = random.uniform(1.5, 6.0, count)
    ray = np.concatenate([(start - camera[2:]) / camera[:2], np.ones((count, 1))], 1)
    world = apply(inverse(pose)[hosts], ray * depth[:, None])
    dynamic = random.random(count) < moving
    places = np.repeat(world[:, None], frames, 1)
    t = np.linspace(0, 1, frames)
    belongs = random.integers(0, 3, count)
    for body in range(3):
        own = np.flatnonzero(dynamic & (belongs == body))
        if not len(own):
            continue
        middle = world[own].mean(0)
        way = random.normal(size=3)
        way *= random.uniform(0.6, 1.2) / np.linalg.norm(way)
        spin = random.normal(size=3) * 0.4
        swing = np.sin(np.pi * random.uniform(0.6, 1.4) * t)
        body_pose = of_parts(rotation(swing[:, None] * spin), swing[:, None] * way)  # [T,4,4], about its middle
        relative = body_pose[None] @ inverse(body_pose)[hosts[own]][:, None]
        places[own] = apply(relative, (world[own] - middle)[:, None]) + middle
    at = apply(pose[None], places)
    seen = pixels(at, camera[None, None])
    height, width = SIZE
    visible = (at[..., 2] > 0.3) & (seen > 0).all(-1) & (seen < (width, height)).all(-1)
    noisy = seen + noise * random.normal(size=seen.shape)
    wrong = random.random(seen.shape[:2]) < outliers
    noisy[wrong] += 15 * random.normal(size=(int(wrong.sum()), 2))
    noisy[np.arange(count), hosts] = seen[np.arange(count), hosts]
    return Points(noisy, visible, hosts, dynamic, pose)


def observed(scene: Points) -> Observations:
    """What estimation is given of a scene."""
    return Observations.of(scene.xy, scene.visible, SIZE, query_frame=scene.query_frame)


# -- rendered clips ------------------------------------------------------------------------------


class Card(NamedTuple):
    """A textured rectangle: `corner` + u `across` + v `down`, u and v in 0..1."""

    corner: np.ndarray
    across: np.ndarray
    down: np.ndarray
    texture: np.ndarray
    """[h,w,3] float."""
    moves: np.ndarray | None = None
    """[T,6] logarithms of its motion over time, about its middle; None: it stands still."""


class Clip(NamedTuple):
    """A rendered clip."""

    images: np.ndarray
    """[T,H,W,3] uint8."""
    pose: np.ndarray
    """[T,4,4] world to camera."""
    camera: np.ndarray
    """fx, fy, cx, cy."""
    moving: np.ndarray
    """[T] share of each frame's pixels that belongs to something that moves."""


def rendered(seed: int, moving: float = 0.0, frames: int = 40, size: tuple[int, int] = (240, 320)) -> Clip:
    """A room of textured walls with cards in it; with `moving`, as many more fly about as cover about that share."""
    random = np.random.default_rng(seed)
    height, width = size
    focal = 0.9 * width
    camera = np.array([focal, focal, width / 2, height / 2])
    pose = handheld(random, frames, reach=0.9, turn=0.12)
    cards = [*_room(random), *(_standing(random) for _ in range(6))]
    share = np.zeros(frames)
    for _ in range(40):
        if share.mean() >= moving - 0.03:
            break
        more = [*cards, _flying(random, frames)]
        now = np.array([_moving_share(more, t, pose[t], camera, size) for t in range(frames)])
        if now.mean() <= moving + 0.03:
            cards, share = more, now
    images = np.stack([_draw(cards, t, pose[t], camera, size) for t in range(frames)])
    return Clip(images, pose, camera, share)


def _room(random: np.random.Generator) -> list[Card]:
    """Back wall, floor, ceiling and two sides; the camera begins at the origin and looks along z."""
    x, y, near, far = 3.2, 1.8, -1.5, 5.5
    deep = far - near
    sides = [
        ((-x, -y, far), (2 * x, 0, 0), (0, 2 * y, 0)),
        ((-x, y, near), (2 * x, 0, 0), (0, 0, deep)),
        ((-x, -y, near), (2 * x, 0, 0), (0, 0, deep)),
        ((-x, -y, near), (0, 0, deep), (0, 2 * y, 0)),
        ((x, -y, near), (0, 0, deep), (0, 2 * y, 0)),
    ]
    return [Card(*(np.array(v, float) for v in side), texture(random, 384)) for side in sides]


def _standing(random: np.random.Generator) -> Card:
    """A card somewhere in the room, turned a little."""
    across, down = random.uniform(0.5, 1.0), random.uniform(0.5, 1.0)
    turn = rotation(random.normal(size=3) * [0.15, 0.5, 0.1])
    middle = np.array([random.uniform(-2.0, 2.0), random.uniform(-1.0, 1.0), random.uniform(2.2, 4.6)])
    a, d = turn @ [across, 0, 0], turn @ [0, down, 0]
    return Card(middle - (a + d) / 2, a, d, texture(random, 192))


def _flying(random: np.random.Generator, frames: int) -> Card:
    """A card nearer to the camera that swings to and fro."""
    card = _standing(random)
    middle = np.array([random.uniform(-1.2, 1.2), random.uniform(-0.7, 0.7), random.uniform(2.0, 3.0)])
    card = card._replace(corner=middle - (card.across + card.down) / 2)
    t = np.linspace(0, 1, frames)[:, None]
    way = np.concatenate([random.normal(size=3) * [0.6, 0.4, 0.3], random.normal(size=3) * [0.2, 0.3, 0.3]])
    phase = random.uniform(0, 2 * np.pi)
    return card._replace(moves=(np.sin(2 * np.pi * random.uniform(0.5, 1.0) * t + phase) - np.sin(phase)) * way)


def texture(random: np.random.Generator, side: int) -> np.ndarray:
    """Patches of colour, blotches of several sizes and lines, [side,side,3] float in 0..255."""
    from PIL import Image

    picture = np.full((side, side, 3), 1.0) * random.uniform(70, 180, 3)
    for cell, strength in ((side // 6, 60), (side // 16, 50), (side // 40, 35), (side // 90, 20)):
        cells = side // max(cell, 2) + 2
        small = np.clip(128 + strength * random.normal(size=(cells, cells, 3)), 0, 255).astype(np.uint8)
        kind = Image.Resampling.NEAREST if cell > side // 20 else Image.Resampling.BICUBIC
        picture += np.asarray(Image.fromarray(small).resize((side, side), kind), np.float64) - 128
    return picture.clip(0, 255)


def _moving_share(cards: list[Card], t: int, pose: np.ndarray, camera: np.ndarray, size: tuple[int, int]) -> float:
    """Share of the picture that shows cards which move, looked at on every eighth pixel."""
    y, x = np.mgrid[: size[0] // 8, : size[1] // 8] * 8 + 4.0
    owner, *_ = _hits(cards, t, pose, camera, np.stack([x.ravel(), y.ravel()], 1))
    return float(np.array([card.moves is not None for card in cards])[owner].mean())


def _hits(
    cards: list[Card], t: int, pose: np.ndarray, camera: np.ndarray, xy: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For pixels [P,2]: the nearest card, and u and v on it."""
    back = inverse(pose)
    ray = np.concatenate([(xy - camera[2:]) / camera[:2], np.ones((len(xy), 1))], 1) @ back[:3, :3].T
    eye = back[:3, 3]
    nearest = np.full(len(xy), np.inf)
    owner, u, v = np.zeros(len(xy), np.int64), np.zeros(len(xy)), np.zeros(len(xy))
    for number, card in enumerate(cards):
        corner, across, down = card.corner, card.across, card.down
        if card.moves is not None:
            move, middle = motion(card.moves[t]), corner + (across + down) / 2
            corner = apply(move, corner - middle) + middle
            across, down = move[:3, :3] @ across, move[:3, :3] @ down
        normal = np.cross(across, down)
        towards = ray @ normal
        distance = ((corner - eye) @ normal) / np.where(np.abs(towards) < 1e-9, 1e-9, towards)
        place = eye + distance[:, None] * ray - corner
        a, d = place @ across / (across @ across), place @ down / (down @ down)
        hit = (distance > 0.05) & (distance < nearest) & (a >= 0) & (a <= 1) & (d >= 0) & (d <= 1)
        nearest[hit], owner[hit], u[hit], v[hit] = distance[hit], number, a[hit], d[hit]
    return owner, u, v


def _draw(cards: list[Card], t: int, pose: np.ndarray, camera: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """One frame [H,W,3] uint8, four samples to a pixel."""
    height, width = size
    y, x = np.mgrid[: 2 * height, : 2 * width] / 2 + 0.25
    owner, u, v = _hits(cards, t, pose, camera, np.stack([x.ravel(), y.ravel()], 1))
    colour = np.zeros((len(owner), 3))
    for number in np.unique(owner):
        own = owner == number
        picture = cards[number].texture
        column, row = u[own] * (picture.shape[1] - 1), v[own] * (picture.shape[0] - 1)
        left, top = (
            np.minimum(column.astype(int), picture.shape[1] - 2),
            np.minimum(row.astype(int), picture.shape[0] - 2),
        )
        fx, fy = (column - left)[:, None], (row - top)[:, None]
        upper = picture[top, left] * (1 - fx) + picture[top, left + 1] * fx
        lower = picture[top + 1, left] * (1 - fx) + picture[top + 1, left + 1] * fx
        colour[own] = upper * (1 - fy) + lower * fy
    return colour.reshape(height, 2, width, 2, 3).mean((1, 3)).round().astype(np.uint8)
