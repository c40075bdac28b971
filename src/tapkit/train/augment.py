"""Data augmentation of clips: light, colour, blur, noise, overlays, occluders, affine views.

Warped photographs look the same for ever; real things change as they move, turn and are lit otherwise. Positions and
visibility stay exact. Frames are float [T,3,S,S] in 0..255; all is drawn from NumPy generators. A clip here is a
`Batch` without its first axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.train.batch import Batch


def random_exposure(random: np.random.Generator) -> tuple[np.ndarray, float]:
    """Gain of each colour, and an offset in grey levels of all."""
    gain = 1 + 0.12 * random.standard_normal() + 0.04 * random.standard_normal(3)
    return gain.astype(np.float32), float(8 * random.standard_normal())


def augment_clip(clip: Batch, other: Callable[[], Tensor], random: np.random.Generator) -> Batch:
    """One clip in which points look less and less as at their queries, and are occluded more often.

    `other` gives the frames [T,3,S,S] of another clip, for overlays and occluders.
    """
    if random.random() < 0.5:
        clip = camera_motion(clip, random)
    if random.random() < 0.4:
        clip = add_occluder(clip, other(), random)
    if random.random() < 0.5:
        clip = add_carrier(clip, other()[0] if random.random() < 0.6 else clip.video[0], random)
    if random.random() < 0.1:
        clip = cut_away(clip, other(), random)
    video = clip.video.float()
    if random.random() < 0.5:
        video = lighting_drift(video, random)
    if random.random() < 0.5:
        video = moving_light(video, random)
    if random.random() < 0.4:
        video = transparent_overlay(video, other().float(), random)
    if random.random() < 0.25:
        video = temporary_defocus(video, random)
    if random.random() < 0.25:
        video = shaken(video, random)
    return clip._replace(video=video.clamp(0, 255).byte())


def lighting_drift(video: Tensor, random: np.random.Generator) -> Tensor:
    """From one exposure to another in the course of the clip."""
    first, last = random_exposure(random), random_exposure(random)
    course = torch.linspace(0, 1, len(video))[:, None, None, None]
    for (gain, level), share in ((first, 1 - course), (last, course)):
        video = video * (1 + share * (torch.from_numpy(gain)[:, None, None] - 1)) + share * level
    return video


def moving_light(video: Tensor, random: np.random.Generator) -> Tensor:
    """Light and shade that wander over the scene, and a tone that changes: what is still visible looks otherwise."""
    frames, size = len(video), video.shape[-1]
    strength = float(random.uniform(0.05, 0.45))
    knots = torch.from_numpy(random.standard_normal((1, 1, 3, 4, 4)).astype(np.float32)) * strength
    field = F.interpolate(knots, size=(frames, 16, 16), mode="trilinear", align_corners=True)[0].transpose(0, 1)
    light = F.interpolate(field, size=(size, size), mode="bicubic").exp()
    video = video * light
    if random.random() < 0.5:
        course = torch.linspace(0, 1, frames)[:, None, None, None]
        first, last = (float(x) for x in 0.25 * random.standard_normal(2))
        video = 255 * (video / 255).clamp(1e-3, 1).pow((first + (last - first) * course).exp())
    return video


def shaken(video: Tensor, random: np.random.Generator) -> Tensor:
    """Some successive frames are blurred by motion."""
    start = int(random.integers(0, len(video)))
    stop = min(start + int(random.integers(1, 6)), len(video))
    blurred = [_motion_blur(frame, random) for frame in video[start:stop]]
    return torch.cat([video[:start], torch.stack(blurred), video[stop:]])


def transparent_overlay(video: Tensor, other: Tensor, random: np.random.Generator) -> Tensor:
    """Another clip of the same shape shows through in places, as in a reflection."""
    size = video.shape[-1]
    mask = torch.from_numpy(random.random((1, 1, 5, 5), np.float32) * np.float32(random.uniform(0.15, 0.6)))
    return torch.lerp(video, other, F.interpolate(mask, size=(size, size), mode="bicubic").clamp(0, 0.5))


def temporary_defocus(video: Tensor, random: np.random.Generator) -> Tensor:
    """Some successive frames are out of focus."""
    start, stop = sorted(random.integers(0, len(video) + 1, 2))
    kernel = int(random.choice([3, 5]))
    if stop == start:
        return video
    blurred = F.avg_pool2d(video[start:stop], kernel, 1, kernel // 2, count_include_pad=False)
    return torch.cat([video[:start], blurred, video[stop:]])


def add_occluder(clip: Batch, other: Tensor, random: np.random.Generator) -> Batch:
    """A blob or a bar, textured by another clip [T,3,S,S], crosses the clip: points under it are occluded."""
    frames, size = len(clip.video), clip.video.shape[-1]
    time = torch.linspace(-1, 1, frames)
    first, last = (torch.from_numpy(random.uniform(-0.2, 1.2, 2)).float() * size for _ in range(2))
    centre = (first + last) / 2 + (last - first) / 2 * time[:, None]
    angle = float(random.uniform(0, math.pi)) + float(random.normal(0, 0.4)) * time
    across, along = size * random.uniform(0.03, 0.2), size * np.exp(random.uniform(math.log(0.08), 0))
    bumps = torch.from_numpy(random.normal(0, 0.15, 3)).float()
    blob = _blob(clip, centre, angle, (along, across), bumps)
    return clip._replace(video=torch.where(blob.mask, other, clip.video), visible=clip.visible & ~blob.under)


def add_carrier(clip: Batch, picture: Tensor, random: np.random.Generator) -> Batch:
    """A body comes in, moves about slowly or stays, and leaves again: its picture [3,S,S] goes with it.

    Points that it covers look, to whoever follows pixels, as if they went with it. Where the picture is the clip's own
    first frame, it shows what is looked for in the wrong place.
    """
    frames, size = len(clip.video), clip.video.shape[-1]
    course = torch.from_numpy(_visit(frames, random)).float() * size
    turn = torch.from_numpy(np.cumsum(random.normal(0, 0.02, frames))).float()
    along, across = (size * random.uniform(0.08, 0.3, 2)).tolist()
    bumps = torch.from_numpy(random.normal(0, 0.12, 3)).float()
    shift = torch.from_numpy(random.uniform(-0.5, 0.5, 2)).float() * size
    blob = _blob(clip, course, turn, (along, across), bumps)
    places = (blob.own + size / 2 + shift) * (2 / size) - 1
    pictures = picture.float()[None].expand(frames, -1, -1, -1)
    body = F.grid_sample(pictures, places, padding_mode="reflection", align_corners=False)
    video = torch.where(blob.mask, body.round().clamp(0, 255).byte(), clip.video)
    return clip._replace(video=video, visible=clip.visible & ~blob.under)


class _Blob(NamedTuple):
    """What a body covers, whose outline is a bumpy ellipse."""

    own: Tensor
    """The pixels in its own coordinates [T,S,S,2]: from its middle on, and turned with it."""
    mask: Tensor
    """Which of them it covers [T,1,S,S]."""
    under: Tensor
    """Which of the points it covers [N,T]."""


def _blob(clip: Batch, centre: Tensor, angle: Tensor, reach: tuple[float, float], bumps: Tensor) -> _Blob:
    """A body at `centre` [T,2] turned by `angle` [T], `reach` pixels long and wide, with bumps [K] in its outline."""

    def within(places: Tensor) -> tuple[Tensor, Tensor]:
        """Places [T,K,2] in the body's own coordinates, and whether they lie on it [T,K]."""
        away = places - centre[:, None]
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        u, v = away[..., 0] * cos + away[..., 1] * sin, away[..., 1] * cos - away[..., 0] * sin
        direction, edge = torch.atan2(v / reach[1], u / reach[0]), torch.ones_like(u)
        for order, bump in enumerate(bumps.tolist()):
            edge = edge + bump * torch.sin((order + 1) * direction + order)
        return torch.stack([u, v], -1), torch.hypot(u / reach[0], v / reach[1]) < edge

    frames, size = len(clip.video), clip.video.shape[-1]
    ticks = torch.arange(size) + 0.5
    grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).view(1, -1, 2).expand(frames, -1, -1)
    own, on = within(grid)
    under = within(torch.nan_to_num(clip.xy).transpose(0, 1))[1].transpose(0, 1) & torch.isfinite(clip.xy).all(-1)
    return _Blob(own.view(frames, size, size, 2), on.view(frames, 1, size, size), under)


def _visit(frames: int, random: np.random.Generator) -> np.ndarray:
    """Where a body is that comes in from a side, halts or wanders, and goes out again: [T,2], frames being 0..1."""
    inside = random.uniform(0.2, 0.8, (3, 2))
    angle = random.uniform(0, 2 * math.pi, 2)
    outside = 0.5 + 1.1 * np.stack([np.cos(angle), np.sin(angle)], -1)
    stops = np.concatenate([outside[:1], inside, outside[1:]])
    lengths = random.uniform(0.3, 1.0, 4) * np.array([1.0, 1.5, 1.5, 1.0])
    times = np.concatenate([[0.0], np.cumsum(lengths)]) / lengths.sum()
    now = np.linspace(0, 1, frames) * random.uniform(0.7, 1.3) + random.uniform(-0.3, 0.3)
    now = np.interp(now, times, np.arange(5.0))
    whole = np.clip(now.astype(int), 0, 3)
    share = now - whole
    share = (share * share * (3 - 2 * share))[:, None]  # it sets off and halts gently
    course: np.ndarray = stops[whole] * (1 - share) + stops[whole + 1] * share
    return course


def cut_away(clip: Batch, other: Tensor, random: np.random.Generator) -> Batch:
    """Some frames in the middle are of another clip [T,3,S,S]: nothing of this one is visible on them."""
    frames = len(clip.video)
    if frames < 6:
        return clip
    length = int(random.integers(1, frames // 3 + 1))
    start = int(random.integers(2, frames - length))
    away = torch.zeros(frames, dtype=torch.bool)
    away[start : start + length] = True
    video = torch.where(away[:, None, None, None], other, clip.video)
    return clip._replace(video=video, visible=clip.visible & ~away)


def photometric_jitter(frame: Tensor, random: np.random.Generator) -> Tensor:
    """One frame [3,S,S] as from another camera on another day: tone, colour, uneven light, blur, scale, noise."""
    size = frame.shape[-1]
    if random.random() < 0.4:  # gamma
        frame = 255 * (frame / 255).clamp(0, 1).pow(float(np.exp(0.2 * random.standard_normal())))
    if random.random() < 0.3:  # saturation, of which most stays: within a video it does
        grey = frame.mean(0, keepdim=True)
        frame = torch.lerp(grey, frame, float(random.uniform(0.5, 1.4)))
    if random.random() < 0.4:  # uneven light
        field = torch.from_numpy(random.standard_normal((1, 1, 4, 4)).astype(np.float32)) * float(
            random.uniform(0, 0.25)
        )
        frame = frame * F.interpolate(field, size=(size, size), mode="bicubic")[0].exp()
    if random.random() < 0.35:
        frame = _motion_blur(frame, random)
    if random.random() < 0.25:  # lower resolution
        small = max(round(size / random.uniform(1.3, 3.0)), 8)
        frame = F.interpolate(frame[None], size=(small, small), mode="area")
        frame = F.interpolate(frame, size=(size, size), mode="bilinear", align_corners=False)[0]
    if random.random() < 0.4:
        generator = torch.Generator().manual_seed(int(random.integers(1 << 31)))
        frame = frame + torch.randn(frame.shape, generator=generator) * float(random.uniform(1, 12))
    return frame


def _motion_blur(frame: Tensor, random: np.random.Generator) -> Tensor:
    """Motion during the exposure, along a straight line of up to 9 pixels."""
    length, angle = random.uniform(2, 9), random.uniform(0, math.pi)
    radius = math.ceil(length / 2)
    ticks = torch.arange(-radius, radius + 1, dtype=torch.float32)
    along = ticks[None] * math.cos(angle) + ticks[:, None] * math.sin(angle)
    across = ticks[None] * -math.sin(angle) + ticks[:, None] * math.cos(angle)
    kernel = (length / 2 + 0.5 - along.abs()).clamp(0, 1) * (1 - across.abs()).clamp(0, 1)
    padded = F.pad(frame[:, None], (radius,) * 4, mode="replicate")
    return F.conv2d(padded, (kernel / kernel.sum())[None, None])[:, 0]


def affine_views(clip: Batch, random: np.random.Generator) -> Batch:
    """Each frame of a clip rotated, scaled and sheared by itself about its middle."""
    frames = len(clip.video)
    turn, scale = 0.2 * random.standard_normal(frames), 0.18 * random.standard_normal(frames)
    return _warp(clip, turn, scale, 0.12 * random.standard_normal((frames, 2)), np.zeros((frames, 2)))


def camera_motion(clip: Batch, random: np.random.Generator) -> Batch:
    """A clip as if filmed again by a camera that pans, rotates and zooms."""
    frames = len(clip.video)

    def course_of(largest: float, *shape: int) -> np.ndarray:
        """Part of a sine, from 0 on."""
        rate, phase = random.uniform(0.1, 0.7, shape), random.uniform(0, 1, shape)
        time = np.linspace(0, 1, frames).reshape(frames, *(1,) * len(shape))
        course: np.ndarray = np.sin(2 * math.pi * (rate * time + phase)) - np.sin(2 * math.pi * phase)
        return random.uniform(0, largest) * course

    return _warp(clip, course_of(0.2), course_of(0.35), course_of(0.05, 2), course_of(0.25, 2))


def _warp(clip: Batch, turn: np.ndarray, scale: np.ndarray, shear: np.ndarray, shift: np.ndarray) -> Batch:
    """The frames under affine maps: angles [T], logarithms of scales [T], shears [T,2], shifts [T,2] in half frames.

    What leaves the frame is not visible. Beyond the border the image is mirrored, so that the border is no cue.
    """
    video, size = clip.video.float(), clip.video.shape[-1]
    turn_, scale_, shear_, shift_ = (torch.from_numpy(value).float() for value in (turn, scale, shear, shift))
    cos, sin = turn_.cos(), turn_.sin()
    turned = torch.stack([cos, -sin, sin, cos], -1).view(-1, 2, 2)
    shears = [shear_[:, 0].exp(), shear_[:, 1], shear_[:, 1], (-shear_[:, 0]).exp()]
    # From the new frame to the old one, in half frames.
    back = scale_.exp()[:, None, None] * (turned @ torch.stack(shears, -1).view(-1, 2, 2))
    grid = F.affine_grid(torch.cat([back, shift_[..., None]], 2), list(video.shape), align_corners=False)
    video = F.grid_sample(video, grid, padding_mode="reflection", align_corners=False)
    old = clip.xy / (size / 2) - 1 - shift_
    moved = (torch.einsum("tij,ntj->nti", torch.linalg.inv(back), old) + 1) * (size / 2)
    visible = clip.visible & ((moved >= 0) & (moved < size)).all(-1)
    return clip._replace(video=video.clamp(0, 255).byte(), xy=moved, visible=visible)
