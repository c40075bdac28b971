"""Clips painted over, coloured, blurred, moved and mirrored as an `Augmentation` says.

All is drawn from the seed of the batch. Positions and visibility stay exact: what is painted over or leaves the frame
becomes invisible. A clip here is a `Batch` without its first axis.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.train.augmentation import Augmentation
from tapkit.train.batch import VALIDATION_SEEDS, Batch, BatchSource
from tapkit.train.config import Stage

LARGEST_RECTANGLE = 100
LEAST_RECTANGLE = 2
"""Sides of the rectangles that are painted over, pixels."""
BLUR_KERNEL = 11
GREY = (0.2989, 0.587, 0.114)
"""What red, green and blue weigh in grey (ITU-R BT.601)."""


class AugmentedSource:
    """A source whose batches are augmented; those of validation are not."""

    def __init__(self, source: BatchSource, augmentation: Augmentation) -> None:
        self.source, self.augmentation = source, augmentation
        self.description = f"{source.description}, augmented"

    def batch(self, stage: Stage, seed: int) -> Batch:
        """See `BatchSource.batch`."""
        batch = self.source.batch(stage, seed)
        if seed >= VALIDATION_SEEDS:
            return batch
        random = np.random.default_rng([seed, 3])
        clips = [augmented(Batch(*fields), self.augmentation, random) for fields in zip(*batch, strict=True)]
        return Batch(*(torch.stack(field) for field in zip(*clips, strict=True)))


def augmented(clip: Batch, chosen: Augmentation, random: np.random.Generator) -> Batch:
    """One clip, a `Batch` without its first axis."""
    clip = _painted(clip, chosen, random)
    video = clip.video
    if random.random() < chosen.grey:
        video = _grey(video.float()).expand(-1, 3, -1, -1).round().byte()
    video = _coloured(video, chosen, random)
    clip = _view(clip._replace(video=_blurred(video, chosen.blur, random)), chosen, random)
    return _flipped(clip, chosen, random)


def _painted(clip: Batch, chosen: Augmentation, random: np.random.Generator) -> Batch:
    """Rectangles of some frames painted over; the points in them are not visible."""
    if not chosen.erase and not chosen.replace:
        return clip
    video, visible = clip.video.clone(), clip.visible.clone()
    for t in range(1, len(video)):
        if random.random() < chosen.erase:
            for _ in range(random.integers(1, 11)):
                top, bottom, left, right = _rectangle(video.shape[-2:], random)
                part = video[t, :, top:bottom, left:right]
                part[:] = part.float().mean((1, 2), keepdim=True).round().byte()
                _hide(visible, clip.xy, t, (top, bottom, left, right))
        if random.random() < chosen.replace:
            other = clip.video[int(random.integers(len(video)))][None]
            other = _jitter(_jitter(other.float(), chosen, random), chosen, random)[0].round().clamp(0, 255).byte()
            for _ in range(random.integers(1, 11)):
                top, bottom, left, right = _rectangle(video.shape[-2:], random)
                y = int(random.integers(0, video.shape[-2] - (bottom - top) + 1))
                x = int(random.integers(0, video.shape[-1] - (right - left) + 1))
                video[t, :, top:bottom, left:right] = other[:, y : y + bottom - top, x : x + right - left]
                _hide(visible, clip.xy, t, (top, bottom, left, right))
    return clip._replace(video=video, visible=visible)


def _rectangle(size: tuple[int, int] | torch.Size, random: np.random.Generator) -> tuple[int, int, int, int]:
    """(top, bottom, left, right), cut at the frame; at least one pixel."""
    spans = []
    for side in size:
        centre, extent = random.integers(side), random.integers(LEAST_RECTANGLE, LARGEST_RECTANGLE)
        begin = int(np.clip(centre - extent // 2, 0, side - 1))
        spans += [begin, int(np.clip(centre + (extent + 1) // 2, begin + 1, side))]
    return spans[0], spans[1], spans[2], spans[3]


def _hide(visible: Tensor, xy: Tensor, t: int, rectangle: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = rectangle
    x, y = xy[:, t].unbind(-1)
    visible[:, t] &= ~((x >= left) & (x < right) & (y >= top) & (y < bottom))


def _grey(video: Tensor) -> Tensor:
    """[T,3,H,W] -> [T,1,H,W]."""
    weights = video.new_tensor(GREY)[:, None, None]
    return (video * weights).sum(1, keepdim=True)


def _coloured(video: Tensor, chosen: Augmentation, random: np.random.Generator) -> Tensor:
    if not chosen.colours:
        return video
    if chosen.per_clip:
        if random.random() >= chosen.colours:
            return video
        return _jitter(video.float(), chosen, random).round().clamp(0, 255).byte()
    video = video.clone()
    for t in range(len(video)):
        if random.random() < chosen.colours:
            video[t : t + 1] = _jitter(video[t : t + 1].float(), chosen, random).round().clamp(0, 255).byte()
    return video


def _jitter(video: Tensor, chosen: Augmentation, random: np.random.Generator) -> Tensor:
    """Brightness, contrast, saturation and hue of frames [t,3,H,W] in 0..255 changed, for all alike."""
    video = (video + 255 * random.uniform(-chosen.brightness, chosen.brightness)).clamp(0, 255)
    mean = _grey(video).mean()
    video = (mean + (video - mean) * random.uniform(1 - chosen.contrast, 1 + chosen.contrast)).clamp(0, 255)
    grey = _grey(video)
    video = (grey + (video - grey) * random.uniform(1 - chosen.saturation, 1 + chosen.saturation)).clamp(0, 255)
    return _turned(video, random.uniform(-chosen.hue, chosen.hue)) if chosen.hue else video


def _turned(video: Tensor, circles: float) -> Tensor:
    """Colours turned about the grey axis of RGB, which leaves lightness (nearly) as it is."""
    angle = 2 * math.pi * circles
    along, across = math.cos(angle), math.sin(angle) / math.sqrt(3)
    third = (1 - along) / 3
    rows = [[along + third, third - across, third + across], [third + across, along + third, third - across]]
    rows.append([third - across, third + across, along + third])
    return torch.einsum("ij,tjhw->tihw", video.new_tensor(rows), video).clamp(0, 255)


def _blurred(video: Tensor, probability: float, random: np.random.Generator) -> Tensor:
    if not probability:
        return video
    video, reach = video.clone(), BLUR_KERNEL // 2
    ticks = torch.arange(-reach, reach + 1, device=video.device)
    for t in range(len(video)):
        if random.random() < probability:
            weights = torch.exp(-0.5 * (ticks / random.uniform(0.1, 2.0)) ** 2)
            weights = (weights / weights.sum()).view(1, 1, -1)
            frame = F.pad(video[t].float()[:, None], (reach,) * 4, mode="reflect")
            frame = F.conv2d(F.conv2d(frame, weights[..., None, :]), weights[..., None])
            video[t] = frame[:, 0].round().clamp(0, 255).byte()
    return video


def _view(clip: Batch, chosen: Augmentation, random: np.random.Generator) -> Batch:
    """The clip seen through a window that moves and changes its scale; black where there is no clip."""
    frames, _, height, width = clip.video.shape
    still = chosen.scale == (1.0, 1.0) and not chosen.scale_drift and not chosen.crop_drift and not chosen.pad
    if still:
        return clip
    drawn = random.uniform(*chosen.scale) * (1 + _drift(frames, 2, chosen.scale_drift, random))
    drawn = (drawn + drawn.mean(1, keepdims=True)) / 2  # the axes stay near each other
    low, high = 0.8 * chosen.scale[0], max(chosen.scale[1], 1.0)
    factor = torch.from_numpy(drawn.clip(low, high)).float()
    size = torch.tensor([width, height], dtype=torch.float32)
    pads = torch.from_numpy(random.integers(0, chosen.pad + 1, (2, 2))).float()
    # Where the window's centre begins: wherever the scaled, padded clip leaves room for the window.
    room = (factor[0] * (size + pads.sum(0)) - size).clamp(min=0) / factor[0]
    start = size / 2 + torch.from_numpy(random.uniform(-0.5, 0.5, 2)).float() * room
    centre = start + torch.from_numpy(_drift(frames, 2, chosen.crop_drift, random)).float()

    ticks = [torch.arange(side) + 0.5 for side in (height, width)]
    pixels = torch.stack(torch.meshgrid(ticks[1], ticks[0], indexing="xy"), -1)  # [H,W,2]
    seen = (pixels - size / 2) / factor[:, None, None] + centre[:, None, None]
    grid = (seen / size * 2 - 1).to(clip.video.device)
    video = F.grid_sample(clip.video.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    xy = (clip.xy - centre.to(clip.xy)) * factor.to(clip.xy) + size.to(clip.xy) / 2
    inside = ((xy >= 0) & (xy < size.to(xy))).all(-1)
    return clip._replace(video=video.round().byte(), xy=xy, visible=clip.visible & inside)


def _drift(frames: int, axes: int, largest: float, random: np.random.Generator) -> np.ndarray:
    """What a smoothed random walk has added up to on each frame [frames,axes]; nothing on the first."""
    steps = np.zeros((frames, axes))
    if largest and frames > 1:
        steps[1] = random.uniform(-largest, largest, axes)
        for t in range(2, frames):
            steps[t] = 0.8 * steps[t - 1] + 0.2 * random.uniform(-largest, largest, axes)
    total: np.ndarray = steps.cumsum(0)
    return total


def _flipped(clip: Batch, chosen: Augmentation, random: np.random.Generator) -> Batch:
    video, xy = clip.video, clip.xy
    height, width = video.shape[-2:]
    if random.random() < chosen.flip:
        video, xy = video.flip(-1), torch.stack([width - xy[..., 0], xy[..., 1]], -1)
    if random.random() < chosen.flip:
        video, xy = video.flip(-2), torch.stack([xy[..., 0], height - xy[..., 1]], -1)
    if height == width and random.random() < chosen.transpose:
        video, xy = video.transpose(-1, -2), xy.flip(-1)
    return clip._replace(video=video.contiguous(), xy=xy)
