"""Tokens of DINO and DINOv2 for every frame, on disk: features that DINO-Tracker refines, that tell the foreground,
that CaDeX++'s matches are made of, and that flow is checked by.

The published files are downloaded where that is possible, as those of every model are. `untrained` needs no file: a
small transformer of the same kind with fixed random weights. It answers to appearance only, not to meaning, and shows
the mechanics where there is no network; nothing is claimed of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from tapkit import weights as stored
from tapkit.coords import Size
from tapkit.errors import UsageError, WeightsError, did_you_mean
from tapkit.nn import dinov2
from tapkit.nn.dinov2 import DinoV2, DinoV2Config
from tapkit.nn.resize import resize_lanczos
from tapkit.per_video.method import Report
from tapkit.per_video.prepare.store import Prepared, Table, save
from tapkit.types import ModelCard

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SEED = 0
HELD = 4 << 30
"""Bytes of tokens that are kept while frames are compared with each other."""


@dataclass(frozen=True)
class Backbone:
    """A transformer whose tokens are used."""

    config: DinoV2Config
    track_block: int
    """The block whose tokens DINO-Tracker refines: 15 of the large model's 24, elsewhere the block as far in."""
    card: ModelCard | None
    """Its weights; None: there are none."""


def _published(letter: str, name: str, config: DinoV2Config) -> Backbone:
    file = f"dinov2_vit{letter}14_pretrain.pth"
    card = ModelCard(
        id=f"dinov2-vit{letter}14",
        name=f"DINOv2 {name}/14",
        paper="Oquab et al.: DINOv2: Learning Robust Visual Features without Supervision, TMLR 2024",
        paper_url="https://arxiv.org/abs/2304.07193",
        code_licence="Apache-2.0",
        weights_licence="Apache-2.0",
        commercial=True,
        factory="tapkit.per_video.prepare.tokens:load",
        weights_file=file,
        weights_url=f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vit{letter}14/{file}",
        notes="A backbone, not a tracker. Without register tokens.",
    )
    return Backbone(config, 16 * config.depth // 24 - 1, card)


_FIRST = "dino_deitsmall16_pretrain"
DINO_CARD = ModelCard(
    id="dino-vits16",
    name="DINO ViT-S/16",
    paper="Caron et al.: Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021",
    paper_url="https://arxiv.org/abs/2104.14294",
    code_licence="Apache-2.0",
    weights_licence="Apache-2.0",
    commercial=True,
    factory="tapkit.per_video.prepare.tokens:load",
    weights_file=f"{_FIRST}.pth",
    weights_url=f"https://dl.fbaipublicfiles.com/dino/{_FIRST}/{_FIRST}.pth",
    notes="A backbone, not a tracker.",
)

BACKBONES: Mapping[str, Backbone] = MappingProxyType(
    {
        "dinov2-vits14": _published("s", "ViT-S", dinov2.SMALL),
        "dinov2-vitb14": _published("b", "ViT-B", dinov2.BASE),
        "dinov2-vitl14": _published("l", "ViT-L", dinov2.LARGE),
        "dinov2-vitg14": _published("g", "ViT-g", dinov2.GIANT),
        "dino-vits16": Backbone(dinov2.DINO_SMALL, 7, DINO_CARD),
        "untrained": Backbone(DinoV2Config(96, 4, 3), 1, None),
    }
)
"""By id."""


def backbone(id: str) -> Backbone:
    """The backbone of that id. Raises `UsageError` that suggests what was meant."""
    if id not in BACKBONES:
        raise UsageError(f"there is no backbone {id!r}{did_you_mean(id, BACKBONES)} (known: {', '.join(BACKBONES)})")
    return BACKBONES[id]


def load(id: str, weights: str | None = None, report: stored.Report | None = None) -> DinoV2:
    """The transformer with its weights, on the CPU: `weights` is the path of a file, None the published one.

    Raises `WeightsError` in one sentence: which file is missing and where to put it, or what does not fit.
    """
    chosen = backbone(id)
    if chosen.card is None:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(_SEED)
            network = DinoV2(chosen.config)
            for name, parameter in network.named_parameters():
                if name.endswith("gamma"):  # with the small scales that training begins with, blocks would do nothing
                    torch.nn.init.ones_(parameter)
    else:
        state, _ = stored.given_or_official(chosen.card, weights, report)
        assert state is not None, "the card names a file"
        with torch.device("meta"):
            network = DinoV2(chosen.config)
        network.load_state_dict(stored.match(state, network.state_dict(), chosen.card.id), assign=True)
    return network.float().eval().requires_grad_(False)


def normalised(frames: Tensor, by: tuple[float, float, float] = DEVIATION) -> Tensor:
    """uint8 frames [B,3,h,w] as the transformer sees them; `by`: what colours are divided by."""
    mean, deviation = (frames.new_tensor(values, dtype=torch.float32)[:, None, None] for values in (MEAN, by))
    return (frames / 255 - mean) / deviation


@dataclass(frozen=True)
class Reading:
    """How tokens are read from a frame."""

    backbone: str
    """Its id."""
    size: Size
    """What frames are resized to, by Lanczos filtering as the authors do."""
    stride: int
    """Pixels from patch to patch."""
    weights: str | None = None
    """The backbone's file; None: the published one."""
    deviation: tuple[float, float, float] = DEVIATION
    """By which colours are divided."""
    blur: bool = False
    """Whether frames are blurred first, by a Gaussian of 9 x 9 pixels."""

    def facts(self, block: int | None) -> dict[str, object]:
        """What a table of tokens depends on."""
        digest = None
        if self.weights is not None:
            path = Path(self.weights)
            if not path.is_file():
                raise WeightsError(f"there is no weights file {path}")
            digest = stored.sha256(path)
        return {
            **asdict(self),
            "weights": digest,
            "size": list(self.size),
            "deviation": list(self.deviation),
            "block": block,
        }

    def resized(self, frames: Tensor) -> Tensor:
        """uint8 frames [B,3,h,w] at the size at which they are read."""
        return resize_lanczos(blurred(frames) if self.blur else frames, self.size)


def blurred(frames: Tensor) -> Tensor:
    """uint8 frames [B,3,h,w] under a Gaussian of 9 x 9 pixels (deviation 1.7, OpenCV's for that size)."""
    across = torch.arange(-4.0, 5.0, device=frames.device)
    line = torch.exp(-(across**2) / (2 * 1.7**2))
    kernel = (line[:, None] * line / line.sum() ** 2).expand(3, 1, 9, 9)
    padded = torch.nn.functional.pad(frames.float(), (4, 4, 4, 4), mode="reflect")
    smooth = torch.nn.functional.conv2d(padded, kernel, groups=3)
    return smooth.round().clamp(0, 255).to(torch.uint8)


def token_tables(
    prepared: Prepared, reading: Reading, blocks: tuple[int | None, ...], device: torch.device, report: Report
) -> list[Table]:
    """A table of float16 [C,h,w] for each of `blocks`, computed where it is not there yet; what is missing of a frame
    comes out of one pass."""
    tables = [prepared.table("tokens", reading.facts(block)) for block in blocks]
    missing = sorted({frame for table in tables for frame in table.missing})
    if not missing:
        return tables
    network = load(reading.backbone, reading.weights).to(device)
    for done, frame in enumerate(missing):
        report("tokens", len(prepared) - len(missing) + done, len(prepared))
        image = reading.resized(frames_of(prepared, [frame]).to(device))
        with torch.inference_mode():
            layers = network.layers(normalised(image, reading.deviation), reading.stride, blocks)
        for table, found in zip(tables, layers, strict=True):
            if not table.path(frame).is_file():
                save(table.path(frame), found[0].half().cpu().numpy())
    report("tokens", len(prepared), len(prepared))
    return tables


def frames_of(prepared: Prepared, frames: list[int]) -> Tensor:
    """Frames uint8 [B,3,h,w] of the clip at its working size."""
    return torch.from_numpy(np.stack([prepared.frames[frame] for frame in frames])).permute(0, 3, 1, 2).contiguous()


def unit_tokens(table: Table, frame: int, device: torch.device | str = "cpu") -> Tensor:
    """The tokens of a frame, [h*w,C] of length 1."""
    maps = torch.from_numpy(np.array(table[frame], np.float32)).to(device)
    return torch.nn.functional.normalize(maps.flatten(1).T, dim=1, eps=1e-8)


def held_tokens(table: Table, device: torch.device | str = "cpu") -> Callable[[int], Tensor]:
    """`unit_tokens` of a frame, by its number; as many frames as fit into `HELD` bytes are kept on the device, for all
    frames are compared with all."""
    each = 4 * int(np.prod(table[0].shape))
    return lru_cache(maxsize=max(HELD // each, 2))(lambda frame: unit_tokens(table, frame, device))
