"""What makes frames of made clips harder: other light, blur, noise, veils, other views.

Warped photographs look the same for ever; real things change as they move, turn and are lit otherwise. Positions and
visibility stay exact. Frames are float [T,3,S,S] in 0..255; all is drawn from NumPy generators.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.train.lesson import Lesson


def random_light(random: np.random.Generator) -> tuple[np.ndarray, float]:
    """Factor on each colour, and a number of grey levels on all."""
    gain = 1 + 0.12 * random.standard_normal() + 0.04 * random.standard_normal(3)
    return gain.astype(np.float32), float(8 * random.standard_normal())


def drifting_light(video: Tensor, random: np.random.Generator) -> Tensor:
    """From one light to another in the course of the clip."""
    first, last = random_light(random), random_light(random)
    course = torch.linspace(0, 1, len(video))[:, None, None, None]
    for (gain, level), share in ((first, 1 - course), (last, course)):
        video = video * (1 + share * (torch.from_numpy(gain)[:, None, None] - 1)) + share * level
    return video


def veiled(video: Tensor, other: Tensor, random: np.random.Generator) -> Tensor:
    """Another clip of the same shape shines through in places."""
    size = video.shape[-1]
    mask = torch.from_numpy(random.random((1, 1, 5, 5), np.float32) * np.float32(random.uniform(0.15, 0.6)))
    return torch.lerp(video, other, F.interpolate(mask, size=(size, size), mode="bicubic").clamp(0, 0.5))


def blurred_for_a_while(video: Tensor, random: np.random.Generator) -> Tensor:
    """A stretch of the clip is out of focus."""
    start, stop = sorted(random.integers(0, len(video) + 1, 2))
    kernel = int(random.choice([3, 5]))
    if stop == start:
        return video
    blurred = F.avg_pool2d(video[start:stop], kernel, 1, kernel // 2, count_include_pad=False)
    return torch.cat([video[:start], blurred, video[stop:]])


def another_picture(frame: Tensor, random: np.random.Generator) -> Tensor:
    """One frame [3,S,S] as if it were from another camera on another day: tone, colour, uneven light, blur, noise."""
    size = frame.shape[-1]
    if random.random() < 0.4:  # tone
        frame = 255 * (frame / 255).clamp(0, 1).pow(float(np.exp(0.2 * random.standard_normal())))
    if random.random() < 0.3:  # colour, of which most stays: within a video it does
        grey = frame.mean(0, keepdim=True)
        frame = torch.lerp(grey, frame, float(random.uniform(0.5, 1.4)))
    if random.random() < 0.4:  # uneven light
        field = torch.from_numpy(random.standard_normal((1, 1, 4, 4)).astype(np.float32)) * float(
            random.uniform(0, 0.25)
        )
        frame = frame * F.interpolate(field, size=(size, size), mode="bicubic")[0].exp()
    if random.random() < 0.35:
        frame = _blurred(frame, random)
    if random.random() < 0.25:  # seen from further away
        small = max(round(size / random.uniform(1.3, 3.0)), 8)
        frame = F.interpolate(frame[None], size=(small, small), mode="area")
        frame = F.interpolate(frame, size=(size, size), mode="bilinear", align_corners=False)[0]
    if random.random() < 0.4:
        generator = torch.Generator().manual_seed(int(random.integers(1 << 31)))
        frame = frame + torch.randn(frame.shape, generator=generator) * float(random.uniform(1, 12))
    return frame


def _blurred(frame: Tensor, random: np.random.Generator) -> Tensor:
    """Moved during the exposure, along a straight line of up to 9 pixels."""
    length, angle = random.uniform(2, 9), random.uniform(0, math.pi)
    radius = math.ceil(length / 2)
    ticks = torch.arange(-radius, radius + 1, dtype=torch.float32)
    along = ticks[None] * math.cos(angle) + ticks[:, None] * math.sin(angle)
    across = ticks[None] * -math.sin(angle) + ticks[:, None] * math.cos(angle)
    kernel = (length / 2 + 0.5 - along.abs()).clamp(0, 1) * (1 - across.abs()).clamp(0, 1)
    padded = F.pad(frame[:, None], (radius,) * 4, mode="replicate")
    return F.conv2d(padded, (kernel / kernel.sum())[None, None])[:, 0]


def another_view(lesson: Lesson, random: np.random.Generator) -> Lesson:
    """Each frame of one clip turned, scaled and slanted by itself about its middle; what leaves it is not visible.

    Beyond the border the picture goes on mirrored, so that the border tells nothing.
    """
    video, xy = lesson.video.float(), lesson.xy
    frames, size = len(video), video.shape[-1]
    turn = torch.from_numpy(0.2 * random.standard_normal(frames)).float()
    scale = torch.from_numpy(0.18 * random.standard_normal(frames)).float()
    slant = torch.from_numpy(0.12 * random.standard_normal((frames, 2))).float()
    cos, sin = turn.cos(), turn.sin()
    turned = torch.stack([cos, -sin, sin, cos], -1).view(-1, 2, 2)
    slanted = torch.stack([slant[:, 0].exp(), slant[:, 1], slant[:, 1], (-slant[:, 0]).exp()], -1).view(-1, 2, 2)
    # From the new frame to the old one.
    back = scale.exp()[:, None, None] * (turned @ slanted)
    grid = F.affine_grid(F.pad(back, (0, 1)), [frames, 3, size, size], align_corners=False)
    video = F.grid_sample(video, grid, padding_mode="reflection", align_corners=False)
    forth = torch.linalg.inv(back)
    middle = size / 2
    moved = torch.einsum("tij,ntj->nti", forth, xy - middle) + middle
    visible = lesson.visible & ((moved >= 0) & (moved < size)).all(-1)
    return lesson._replace(video=video.clamp(0, 255).byte(), xy=moved, visible=visible)
