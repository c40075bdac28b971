"""The formulas of the TAPTRs as they stand in the papers, with stock modules: what a straightforward version costs.

`plainly(network)` makes a network compute so: linear layers that are not laid out for oneDNN, deformable attention by
`grid_sample` over all tokens, keys and values of whole frames in every layer, correlation with projected maps, and a
past that is projected anew on every frame. The results are the same up to rounding (`tests/models/taptr` says so).
"""

from __future__ import annotations

import types
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.models.taptr.decoder import Decoder1, FrameAttention
from tapkit.models.taptr.decoder2 import CHANNELS, KeyAwareAttention, Read
from tapkit.models.taptr.decoder3 import ContextAttention, LongAttention, Past
from tapkit.models.taptr.encoder import EncoderLayer
from tapkit.models.taptr.parts import HEADS, LEVELS, POINTS, WIDTH
from tapkit.models.taptr.window import Window
from tapkit.nn.deformable_attention import Pyramid
from tapkit.nn.packed import unpack


def plainly(network: nn.Module) -> nn.Module:
    """The network, computing as its formulas are written."""
    unpack(network)
    kinds = {
        EncoderLayer: encoder_layer,
        FrameAttention: frame_attention,
        KeyAwareAttention: key_aware,
        ContextAttention: context_aware,
        LongAttention: long_attention,
    }
    for module in network.modules():
        for kind, function in kinds.items():
            if isinstance(module, kind):
                module.forward = types.MethodType(function, module)
        if isinstance(module, Decoder1):
            module.correlations = types.MethodType(correlations, module)
    return network


def sampled(values: Tensor, pyramid: Pyramid, places: Tensor) -> Tensor:
    """Bilinear samples of values [F,S,H,c] at places [F,Q,H,L,K,2] (0..1 over a level) -> [F,H,c,Q,L,K]."""
    frames, _, heads, width = values.shape
    levels = []
    for number, level in enumerate(pyramid.split(values.flatten(2))):
        maps = level.permute(0, 3, 1, 2).reshape(frames * heads, width, *level.shape[1:3])
        grid = 2 * places[:, :, :, number].transpose(1, 2).flatten(0, 1) - 1
        levels.append(F.grid_sample(maps, grid, padding_mode="zeros", align_corners=False))
    return torch.stack(levels, -2).unflatten(0, (frames, heads))


def deformable(attention: Any, query: Tensor, value: Tensor, reference: Tensor, pyramid: Pyramid) -> Tensor:
    """query [F,Q,C], value [F,S,C], reference [F,Q,2] -> [F,Q,C]."""
    frames, count, _ = query.shape
    values = attention.value_proj(value).view(frames, -1, HEADS, CHANNELS)
    offsets = attention.sampling_offsets(query).view(frames, count, HEADS, LEVELS, POINTS, 2)
    weights = attention.attention_weights(query).view(frames, count, HEADS, -1).softmax(-1)
    samples = sampled(values, pyramid, located(reference, offsets, pyramid))
    out = torch.einsum("fhcqk,fqhk->fqhc", samples.flatten(-2), weights)
    return attention.output_proj(out.flatten(2))


def located(reference: Tensor, offsets: Tensor, pyramid: Pyramid) -> Tensor:
    """Where samples lie, 0..1 over their level."""
    return reference[:, :, None, None, None] + offsets / pyramid.extents(offsets)[:, None]


def encoder_layer(layer: Any, x: Tensor, position: Tensor, pyramid: Pyramid, places: Tensor) -> Tensor:
    """As `EncoderLayer.forward`; `places` are references times the size of a level, less a half."""
    reference = (places[:, 0] + 0.5) / pyramid.extents(places)[0]
    read = deformable(layer.self_attn, (x + position)[None], x[None], reference[None], pyramid)[0]
    x = layer.norm1(x + read)
    return layer.norm2(x + layer.linear2(F.relu(layer.linear1(x))))


def frame_attention(attention: Any, query: Tensor, xy: Tensor, window: Window) -> Tensor:
    """As `FrameAttention.forward`."""
    return deformable(attention, query, window.tokens, xy, window.pyramid)


def key_aware(attention: Any, query: Tensor, xy: Tensor, window: Window) -> Read:
    """As `KeyAwareAttention.forward`."""
    frames, count, _ = query.shape
    offsets = attention.sampling_offsets(query).view(frames, count, HEADS, LEVELS, POINTS, 2)
    places = located(xy, offsets, window.pyramid)
    keys, values = (
        sampled(part(window.tokens).view(frames, -1, HEADS, CHANNELS), window.pyramid, places).flatten(-2)
        for part in (attention.key_proj, attention.value_proj)
    )
    asked = attention.query_proj(query).view(frames, count, HEADS, CHANNELS)
    logits = torch.einsum("fhcqk,fqhc->fqhk", keys, asked) / CHANNELS**0.5
    out = torch.einsum("fhcqk,fqhk->fqhc", values, logits.softmax(-1))
    return Read(attention.output_proj(out.flatten(2)), logits.flatten(2), offsets.flatten(2, 4))


def context_aware(attention: Any, query: Tensor, context: Tensor, xy: Tensor, window: Window) -> Read:
    """As `ContextAttention.forward`."""
    _, count, _ = query.shape
    offsets = attention.sampling_offsets(query).view(1, count, HEADS, LEVELS, POINTS, 2)
    places = located(xy, offsets, window.pyramid)
    keys, values = (
        part(window.tokens).view(1, -1, HEADS, CHANNELS) for part in (attention.key_proj, attention.value_proj)
    )
    last = window.pyramid.extents(xy)[:, None] - 1
    steps = torch.arange(-1.0, 2.0)
    around = torch.cartesian_prod(steps, steps)
    near = [sampled(keys, window.pyramid, (places * last + step) / last).flatten(-2) for step in around]
    patches = attention.query_proj(context).view(count, 9, HEADS, CHANNELS)
    products = torch.einsum("afhcqk,qbhc->fqhkab", torch.stack(near), patches)
    logits = attention.mlp_calulate_similarity(products.flatten(-2))[..., 0]
    seen = sampled(values, window.pyramid, places).flatten(-2)
    out = torch.einsum("fhcqk,fqhk->fqhc", seen, logits.softmax(-1))
    return Read(attention.output_proj(out.flatten(2)), logits.flatten(2), offsets.flatten(2, 4))


def long_attention(attention: Any, x: Tensor, past: Past, turned: Tensor) -> Tensor:
    """As `LongAttention.forward`."""
    matrices, biases = attention.query_key.weight.split(WIDTH), attention.query_key.bias.split(WIDTH)
    query = F.linear(x, matrices[0], biases[0]).view(-1, HEADS, CHANNELS)
    keys = F.linear(turned, matrices[1], biases[1]).view(*turned.shape[:2], HEADS, CHANNELS)
    values = attention.value(past.content).view(*turned.shape[:2], HEADS, CHANNELS)
    logits = torch.einsum("nhc,nmhc->nhm", query, keys) / CHANNELS**0.5
    logits = logits.masked_fill((past.weight == 0)[:, None], -torch.inf)
    share = logits.softmax(-1) * past.weight[:, None]
    share = share / (share.sum(-1, keepdim=True) + 1e-7)
    return attention.out_proj(torch.einsum("nhm,nmhc->nhc", share, values).flatten(1))


def correlations(decoder: Any, window: Window, content: Tensor) -> list[Tensor]:
    """As `Decoder1.correlations`."""
    query = decoder.corr_query_proj(content)
    volume = []
    for tokens, mapper in zip(window.pyramid.split(window.tokens), decoder.corr_block.fmap_mappers, strict=True):
        maps = mapper(tokens.permute(0, 3, 1, 2))
        products = torch.einsum("fnc,fchw->fnhw", query, maps) / WIDTH**0.5
        volume.append(products.flatten(0, 1)[:, None])
    return volume
