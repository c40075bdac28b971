"""Published checkpoints of RAFT, as they are: the authors' key names and torchvision's, strict both ways.

`converted` takes either and gives the tensors of `network.Raft`, whose layers are laid out for inference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from tapkit.flow.raft.network import RaftConfig
from tapkit.weights import match

Shapes = dict[str, tuple[int, ...]]

_TORCHVISION = (
    (r"^feature_encoder\.", "fnet."),
    (r"^context_encoder\.", "cnet."),
    (r"^(fnet|cnet)\.convnormrelu\.0\.", r"\1.conv1."),
    (r"^(fnet|cnet)\.convnormrelu\.1\.", r"\1.norm1."),
    (r"\.convnormrelu(\d)\.0\.", r".conv\1."),
    (r"\.convnormrelu(\d)\.1\.", r".norm\1."),
    (r"^(fnet|cnet)\.conv\.", r"\1.conv2."),
    (r"^update_block\.motion_encoder\.convcorr(\d)\.0\.", r"update_block.encoder.convc\1."),
    (r"^update_block\.motion_encoder\.convflow(\d)\.0\.", r"update_block.encoder.convf\1."),
    (r"^update_block\.motion_encoder\.conv\.0\.", "update_block.encoder.conv."),
    (r"^mask_predictor\.convrelu\.0\.", "update_block.mask.0."),
    (r"^mask_predictor\.conv\.", "update_block.mask.2."),
)
_RUNNING = ("weight", "bias", "running_mean", "running_var")
_EPSILON = 1e-5


def _named(state: Mapping[str, Tensor], config: RaftConfig) -> dict[str, Tensor]:
    """The tensors under the authors' names, without "module.", counters, and the second copy of a projection's norm."""
    plain = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    if any(name.startswith("feature_encoder.") for name in plain):
        renamed = {}
        for name, tensor in plain.items():
            for pattern, replacement in _TORCHVISION:
                name = re.sub(pattern, replacement, name)
            digit = r"\g<1>" if len(config.kernels) > 1 else ""
            name = re.sub(r"\.recurrent_block\.convgru(\d)\.(conv[zrq])\.", rf".gru.\g<2>{digit}.", name)
            renamed[name] = tensor
        plain = renamed
    kept = {}
    for name, tensor in plain.items():
        twin = re.sub(r"\.norm[34]\.", ".downsample.1.", name)
        if (twin != name and twin in plain and ".0.norm" in name) or name.endswith(".num_batches_tracked"):
            continue
        kept[name] = tensor
    return kept


def _encoder_shapes(prefix: str, config: RaftConfig, outputs: int, norm: bool) -> Shapes:
    """Names and shapes of one encoder, each convolution with its norm."""
    shapes: Shapes = {}

    def add(name: str, normed: str, out: int, inputs: int, kernel: int) -> None:
        shapes[f"{prefix}.{name}.weight"] = (out, inputs, kernel, kernel)
        shapes[f"{prefix}.{name}.bias"] = (out,)
        if norm and normed:
            shapes.update({f"{prefix}.{normed}.{part}": (out,) for part in _RUNNING})

    before = config.widths[0]
    add("conv1", "norm1", before, 3, 7)
    for group, width in enumerate(config.widths, 1):
        for block in (0, 1):
            own = f"layer{group}.{block}"
            inner = width // 4 if config.bottleneck else width
            kernels = (1, 3, 1) if config.bottleneck else (3, 3)
            sizes = (before, inner, inner, width) if config.bottleneck else (before, width, width)
            for number, kernel in enumerate(kernels):
                layer = f"{own}.conv{number + 1}"
                add(layer, layer.replace("conv", "norm"), sizes[number + 1], sizes[number], kernel)
            if block == 0 and group > 1:
                add(f"{own}.downsample.0", f"{own}.downsample.1", width, before, 1)
            before = width
    add("conv2", "", outputs, before, 1)
    return shapes


def _gru_names(config: RaftConfig) -> list[str]:
    return ["1", "2"] if len(config.kernels) == 2 else [""]


def expected(config: RaftConfig) -> Shapes:
    """All tensors that count, under the authors' names."""
    shapes = _encoder_shapes("fnet", config, config.features, False)
    shapes |= _encoder_shapes("cnet", config, config.hidden + config.context, config.context_norm)

    def add(name: str, out: int, inputs: int, kernel: tuple[int, int]) -> None:
        shapes[f"update_block.{name}.weight"] = (out, inputs, *kernel)
        shapes[f"update_block.{name}.bias"] = (out,)

    sizes = (config.lookups, *config.correlation)
    for number in range(len(config.correlation)):
        add(f"encoder.convc{number + 1}", sizes[number + 1], sizes[number], (3, 3) if number else (1, 1))
    add("encoder.convf1", config.flow[0], config.state, (7, 7))
    add("encoder.convf2", config.flow[1], config.flow[0], (3, 3))
    add("encoder.conv", config.motion, config.correlation[-1] + config.flow[1], (3, 3))
    inputs = config.hidden + config.context + config.motion + config.state
    for digit, kernel in zip(_gru_names(config), config.kernels, strict=True):
        for gate in "zrq":
            add(f"gru.conv{gate}{digit}", config.hidden, inputs, kernel)
    add("flow_head.conv1", config.head, config.hidden, (3, 3))
    add("flow_head.conv2", 2, config.head, (3, 3))
    if config.convex:
        add("mask.0", 256, config.hidden, (3, 3))
        add("mask.2", 9 * config.stride**2, 256, (1, 1))
    return shapes


def converted(state: Mapping[str, Tensor], config: RaftConfig, model: str) -> dict[str, Tensor]:
    """The tensors of `network.Raft` out of a published checkpoint. Raises `WeightsError` if it is of another model."""
    named = match(_named(state, config), expected(config), model)
    old = {name: tensor.float() for name, tensor in named.items()}
    new: dict[str, Tensor] = {}

    def put(target: str, source: str, norm: str | None = None) -> None:
        weight, bias = old[f"{source}.weight"], old[f"{source}.bias"]
        if norm is not None:
            gain, shift, mean, variance = (old[f"{norm}.{part}"].double() for part in _RUNNING)
            scale = gain * torch.rsqrt(variance + _EPSILON)
            weight = (weight.double() * scale[:, None, None, None]).float()
            bias = ((bias.double() - mean) * scale + shift).float()
        new[f"{target}.weight"], new[f"{target}.bias"] = weight, bias

    for ours, theirs, norm in (("matching", "fnet", False), ("context", "cnet", config.context_norm)):
        put(f"{ours}.stem", f"{theirs}.conv1", f"{theirs}.norm1" if norm else None)
        for group in range(3):
            for block in (0, 1):
                source, target = f"{theirs}.layer{group + 1}.{block}", f"{ours}.blocks.{2 * group + block}"
                for number in range(3 if config.bottleneck else 2):
                    own = f"{source}.norm{number + 1}" if norm else None
                    put(f"{target}.layers.{number}", f"{source}.conv{number + 1}", own)
                if block == 0 and group:
                    put(f"{target}.project", f"{source}.downsample.0", f"{source}.downsample.1" if norm else None)
        put(f"{ours}.out", f"{theirs}.conv2")
    for number in range(len(config.correlation)):
        put(f"motion.correlation.{number}", f"update_block.encoder.convc{number + 1}")
    for number in (0, 1):
        put(f"motion.flow.{number}", f"update_block.encoder.convf{number + 1}")
    put("motion.out", "update_block.encoder.conv")
    for number, digit in enumerate(_gru_names(config)):
        new |= _gru(old, config, f"gru.{number}", digit)
    put("head.inner", "update_block.flow_head.conv1")
    put("head.out", "update_block.flow_head.conv2")
    if config.convex:
        put("mask.inner", "update_block.mask.0")
        put("mask.out", "update_block.mask.2")
    return new


def _gru(old: Mapping[str, Tensor], config: RaftConfig, target: str, digit: str) -> dict[str, Tensor]:
    """The three gates' convolutions over [hidden, context, motion], taken apart into what is fixed and what moves."""
    sizes = [config.hidden, config.context, config.motion + config.state]
    hidden, context, motion = [], [], []
    for gate in "zrq":
        of_hidden, of_context, of_motion = torch.split(old[f"update_block.gru.conv{gate}{digit}.weight"], sizes, 1)
        hidden.append(of_hidden)
        context.append(of_context)
        motion.append(of_motion)
    moving = [torch.cat(pair, 1) for pair in zip(hidden, motion, strict=True)]
    return {
        f"{target}.fixed.weight": torch.cat(context),
        f"{target}.fixed.bias": torch.cat([old[f"update_block.gru.conv{gate}{digit}.bias"] for gate in "zrq"]),
        f"{target}.gates.weight": torch.cat(moving[:2]),
        f"{target}.candidate.weight": moving[2],
    }
