"""Instance norm that leaves images in the channels_last memory format, which torch's own does not.

Torch's makes all channels of all images those of one image, and for that lays them out channel by channel: every
convolution after it then gets its input in the other format, and on a GPU, whose kernels for half precision want
channels_last, turns it around again.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def instance_norm_last(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """As `F.instance_norm`, biased variance, for x [B,C,h,w] in channels_last, without gradients; the result is, too.

    Means and variances are float32, also of half precision. One image is what a batch norm that learns does.
    """
    if len(x) == 1:
        return F.batch_norm(x, None, None, weight, bias, True, 0.0, eps)
    if x.dtype.itemsize < 4:  # their squares are added up in float32, without a copy of x in it
        mean = x.mean((2, 3), keepdim=True, dtype=torch.float32)
        root = torch.linalg.vector_norm(x, 2, (2, 3), keepdim=True, dtype=torch.float32)
        variance = (root.square() / x.shape[2:].numel()).addcmul_(mean, mean, value=-1).clamp_(min=0)
    else:
        variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
    scale = variance.add_(eps).rsqrt_()
    if weight is not None:
        scale = scale * weight[:, None, None]
    shift = -mean * scale
    if bias is not None:
        shift += bias[:, None, None]
    return torch.addcmul(shift, x, scale, out=torch.empty_like(x))


def keeps_format(x: Tensor) -> bool:
    """Whether `instance_norm_last` is to be used for x: on CUDA, without gradients, in that format."""
    return (
        x.device.type == "cuda" and not torch.is_grad_enabled() and x.is_contiguous(memory_format=torch.channels_last)
    )
