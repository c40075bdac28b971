"""Small TAPTRs with weights of their own, and clips for them."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tapkit.models.taptr.tracker import WindowTaptr, build, build_v2
from tapkit.models.taptr.tracker3 import Taptr3
from tapkit.models.taptr.tracker3 import build as build_v3
from tapkit.models.taptr.weights import as_released

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tools")]

SIZE = (64, 96)
BUILD: dict[str, Any] = {"taptr": build, "taptrv2": build_v2, "taptrv3": build_v3}


def frames(count: int, size: tuple[int, int] = SIZE) -> Tensor:
    """Coarse noise that moves: uint8 [count,3,h,w]."""
    generator = torch.Generator().manual_seed(3)
    picture = torch.rand(1, 3, 12, 16, generator=generator) * 255
    picture = torch.nn.functional.interpolate(picture, (size[0] + count, size[1] + 2 * count), mode="bilinear")[0]
    clip = [picture[:, t : t + size[0], 2 * t : 2 * t + size[1]] for t in range(count)]
    return torch.stack(clip).round().to(torch.uint8)


def queries(*t: int) -> Tensor:
    """One point on each of these frames [N,3], corner origin."""
    generator = torch.Generator().manual_seed(5)
    xy = torch.rand(len(t), 2, generator=generator) * torch.tensor([SIZE[1] - 20.0, SIZE[0] - 20.0]) + 10
    return torch.cat([torch.tensor(t).float()[:, None], xy], 1)


@lru_cache(maxsize=1)
def weights(model: str) -> dict[str, Tensor]:
    """Random weights under the published names, always the same ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return as_released(BUILD[model](None, **({"backbone": "resnet18"} if model == "taptrv3" else {})).network)


def small(model: str, **options: Any) -> Any:
    """The model on frames as they come, without support points unless asked for."""
    return BUILD[model](weights(model), **{"input_size": None, "support": "none", **options})


def windows(model: WindowTaptr, clip: Tensor, asked: Tensor, *starts: int) -> list[Tensor]:
    """Positions [N,8,2] of windows from these frames on."""
    state = model.expect_frames(model.start((int(clip.shape[-2]), int(clip.shape[-1]))), len(clip))
    features, found = model.encode(clip), []
    for first in starts:
        part = type(features)(features.tokens[first : first + 8])
        state, prediction = model.step(state, part, first, asked)
        found.append(prediction.xy)
    return found


def streamed(model: Taptr3, clip: Tensor, asked: Tensor) -> tuple[Any, list[Tensor]]:
    """The last state, and positions [n,2] on every frame."""
    state, found = model.start((int(clip.shape[-2]), int(clip.shape[-1]))), []
    for t, frame in enumerate(clip):
        state, prediction = model.step(state, frame, asked[asked[:, 0] == t, 1:])
        found.append(prediction.xy)
    return state, found
