"""What the runners of the three CoTrackers share: inputs of a case, and a recorder of what happens in the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity import Check, Parity, compare
from tapkit import coords
from tapkit.models.cotracker.support import grid_points

TRACKS, PROBABILITY, INSIDE, DELTA = 1e-3, 1e-4, 1e-3, 1e-4
"""Tolerances: pixels; probabilities; intermediate values; changes per iteration. (The READMEs leave theirs blank; these
are those of the other folders.)"""
SWIFT, SWIFT_PROBABILITY = 5e-2, 1e-3
"""CoTracker2's codes of displacements, with frequencies up to 969 rad per cell as in PIPs (whose README gives the same
tolerance), and its visibilities, which hang on them."""
NEAR = 1e-3
"""Decisions whose probability is this close to the threshold do not count (READMEs)."""
STRIDE = 4


def inputs(case: dict[str, Any], parity: Parity) -> tuple[Tensor, Tensor]:
    """The case's frames uint8 [T,3,H,W] and queries [N,3] (pixel centres at integers); none where a grid is asked."""
    frames, height, width = (int(case[name]) for name in ("frames", "height", "width"))
    clip = parity.seeded.video(frames, height, width, int(case["video_seed"]))
    queries = np.zeros((0, 3), np.float32)
    if int(case.get("count", 0)) and ("queries" in case or not int(case.get("grid_size", 0))):
        queries = parity.seeded.queries(int(case["count"]), frames, height, width, int(case["query_seed"]))
    if "queries" in case:
        np.testing.assert_array_equal(queries, case["queries"])
    return torch.from_numpy(clip).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(queries)


def has_support(asked: Tensor) -> bool:
    """Whether queries [M,3] at the network's size end with the predictors' 6x6 support grid on frame 0."""
    grid = grid_points(6, (384, 512))
    return len(asked) > len(grid) and bool(
        (asked[-len(grid) :, 0] == 0).all() and torch.allclose(asked[-len(grid) :, 1:], grid, atol=1e-2)
    )


def grid_queries(case: dict[str, Any], frames: Tensor) -> Tensor:
    """The grid that a predictor asks for by itself (`grid_size`, `grid_query_frame`), in pixels of the clip [N,3]."""
    grid = grid_points(int(case["grid_size"]), (384, 512))
    asked = torch.cat([torch.full((len(grid), 1), float(int(case.get("grid_query_frame", 0)))), grid], 1)
    return unsized(asked, frames)


def corner(queries: Tensor) -> Tensor:
    """Centre-origin queries (t, x, y) in tapkit's corner origin."""
    return queries + torch.tensor([0.0, 0.5, 0.5])


class Recorder:
    """What passed through the network, one entry for each iteration (windows one after another)."""

    def __init__(self) -> None:
        self.tokens: list[Tensor] = []
        """Input of the input transform [P,S,D]."""
        self.embedded: list[Tensor] = []
        """Its output [P,S,384]."""
        self.deltas: list[Tensor] = []
        """Output of the transformer [P,S,c]."""
        self.blocks: dict[str, Tensor] = {}
        """First output of the first block of each kind."""
        self.calls: dict[str, list[tuple[Tensor, Tensor]]] = {}
        """Input and output of other modules, call by call."""
        self._chunks: list[tuple[Tensor, Tensor]] = []

    @contextmanager
    def watching(self, network: nn.Module, *others: str) -> Iterator[Recorder]:
        """Record while this context is open; `others` are modules whose calls go to `calls`."""
        former: Any = network.updateformer
        hooks = [
            former.input_transform.register_forward_hook(self._chunk),
            former.register_forward_hook(self._iteration),
        ]
        for name in ("time_blocks", "space_virtual_blocks", "space_point2virtual_blocks", "space_virtual2point_blocks"):
            hooks.append(getattr(former, name)[0].register_forward_hook(self._block(name)))
        for name in others:
            hooks.append(network.get_submodule(name).register_forward_hook(self._call(name)))
        try:
            yield self
        finally:
            for hook in hooks:
                hook.remove()

    def _chunk(self, module: nn.Module, given: Any, result: Tensor) -> None:
        self._chunks.append((given[0].clone(), result.clone()))

    def _iteration(self, module: nn.Module, given: Any, result: Tensor) -> None:
        tokens, embedded = (torch.cat(part) for part in zip(*self._chunks, strict=True))
        self._chunks.clear()
        self.tokens.append(tokens)
        self.embedded.append(embedded)
        self.deltas.append(result.flatten(0, 1).clone())

    def _block(self, name: str) -> Any:
        def hook(module: nn.Module, given: Any, result: Tensor) -> None:
            self.blocks.setdefault(name, result.clone())

        return hook

    def _call(self, name: str) -> Any:
        def hook(module: nn.Module, given: Any, result: Tensor) -> None:
            self.calls.setdefault(name, []).append((given[0].clone(), result.clone()))

        return hook


def intermediates(
    case: dict[str, Any], record: Recorder, windows: int, frames: int, swift: slice = slice(0)
) -> list[Check]:
    """The arrays that all three folders have; `frames` is S, `swift` the part of a token that amplifies rounding."""
    sel = [0, frames // 2, frames - 1]
    iterations = int(case["iters"])
    second = min(1, frames - 1)
    ours = {
        "token_in": torch.stack([record.tokens[w * iterations][0, sel] for w in range(windows)]),
        "token_in_last": torch.stack([record.tokens[(w + 1) * iterations - 1][-1, sel] for w in range(windows)]),
        "input_transform": record.embedded[0][0, sel],
        "time_block0": record.blocks["time_blocks"][0, sel],
        "virtual2point0": record.blocks["space_virtual2point_blocks"][second, :2],
        "virtual0": record.blocks["space_virtual_blocks"][second, :2],
        "point2virtual0": record.blocks["space_point2virtual_blocks"][second, :1],
    }
    checks = []
    for name, value in ours.items():
        if name not in case:
            continue
        slow = torch.ones(value.shape, dtype=torch.bool)
        if name.startswith("token"):
            slow[..., swift] = False
        checks.append(compare(name, value, case[name], INSIDE, slow.numpy()))
        if not slow.all():
            checks.append(compare(f"{name} (codes)", value, case[name], SWIFT, ~slow.numpy()))
    return checks


def encoder(case: dict[str, Any], network: Any, frames: Tensor) -> Check:
    """The raw output of the encoder on three frames."""
    maps = network.fnet(2 * (frames[[0, len(frames) // 2, len(frames) - 1]].float() / 255) - 1)
    return compare("fmap", maps[:, ::16, ::3, ::3], case["fmap"], 1e-4)


def window_starts(frames: int, window: int) -> range:
    """First frames of the windows that cover a clip."""
    stride = window // 2
    return range(0, max((frames - window + stride - 1) // stride + 1, 0) * stride, stride)


def padded(features: Any, first: int, window: int) -> Any:
    """Features of one window, the last frame repeated beyond the end of the clip."""
    index = torch.arange(first, first + window).clamp(max=len(features[0]) - 1)
    return type(features)(*(level[index] for level in features))


def visible_check(name: str, score: Tensor, threshold: float, theirs: Any, count: int) -> Check:
    """Whether the score [T,>=N] is above the threshold, where the decision is not close."""
    score = score[:, :count]
    clear = (score - threshold).abs() > NEAR
    return compare(name, score > threshold, theirs, 0.0, clear.numpy())


def unsized(asked: Tensor, frames: Tensor) -> Tensor:
    """Queries at the network's size (384x512), in pixels of the clip (centres at integers)."""
    size = (int(frames.shape[-2]), int(frames.shape[-1]))
    return torch.cat([asked[:, :1], coords.resize_centers(asked[:, 1:], (384, 512), size)], 1)


def grids(case: dict[str, Any]) -> list[Check]:
    """The support grids of units.npz."""
    local = grid_points(8, (50, 50), torch.tensor([200.0, 100.0]))
    ours = {f"grid{g}_384x512": grid_points(g, (384, 512)) for g in (1, 5, 6)}
    ours["local8_50x50_center_x200_y100"] = local
    return [compare(name, grid, case[name], 1e-3) for name, grid in ours.items() if name in case]
