"""TorchModel: what the adapters of all networks share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from tapkit.errors import QueryError, ShapeError
from tapkit.models.base import Size
from tapkit.models.options import NetworkOptions
from tapkit.nn.packed import pack, unpack
from tapkit.nn.precision import feature_dtype
from tapkit.types import ModelCard


class TorchModel:
    """A network with its card and options: where it is, in which precision, and what may be handed to it.

    A subclass adds one of the three protocols of `models.base`. It says in `_cast` which parts of the network may be
    in half precision, and in `_settle`, if need be, what else depends on where the weights are.
    """

    network: Any
    compiled = False
    """Whether `compile` was called."""
    fixed_steps: bool | None = None
    """Whether sessions are to have a fixed number of rows, and, on CUDA, recorded steps, of a model with a `FixedStep`;
    None: on CUDA."""
    settled = 0
    """How often the weights have been brought to a device."""

    def __init__(self, network: nn.Module, card: ModelCard, options: NetworkOptions) -> None:
        feature_dtype(options.precision, torch.device("cpu"))  # says now if there is no such precision
        self.network = network.eval().requires_grad_(False)
        self.card, self.chosen = card, options
        self._settle()

    @property
    def options(self) -> Mapping[str, Any]:
        """See `Model.options`."""
        return self.chosen.to_json()

    @property
    def device(self) -> torch.device:
        """See `Model.device`."""
        return next(self.network.parameters()).device  # type: ignore[no-any-return]

    def to(self, device: torch.device | str) -> Self:
        """See `Model.to`."""
        self.network.to(torch.device(device))
        self._settle()
        return self

    def compile(self, backend: str = "inductor") -> None:
        """Have `torch.compile` make kernels of the network's parts when they are first called. Call it after `to`.

        The weights leave the layout of `nn.packed`, which compiled code cannot read.
        """
        unpack(self.network)
        for _, part in self.network.named_children():
            part.compile(backend=backend)
        self.compiled = self.fixed_steps = True

    def frame_size(self, size: Size) -> Size | None:
        """None: frames come as they are and are resized here, exactly as the authors do."""
        return None

    def _settle(self) -> None:
        """Bring the weights into the precision asked for, and into the layout that the device likes best."""
        self._cast(feature_dtype(self.chosen.precision, self.device))
        pack(self.network)
        self.settled += 1

    def _cast(self, dtype: torch.dtype) -> None:
        """Bring the parts that may be in half precision to `dtype`. What was rounded stays rounded."""
        self.network.to(dtype)


def check_frames(frames: Tensor) -> Size:
    """The size of frames [B,3,h,w]; `ShapeError` for anything else."""
    if frames.ndim != 4 or frames.shape[1] != 3:
        raise ShapeError(f"frames must be [B,3,h,w], got {list(frames.shape)}")
    return int(frames.shape[-2]), int(frames.shape[-1])


def check_queries(queries: Tensor, frames: int | None = None) -> None:
    """Raise unless these are queries [N,3] (t, x, y) of finite numbers, on the `frames` frames that there are.

    Of tensors on a GPU only the shape: to look at the numbers, the host would have to wait for the device in every
    window. The engine has looked at them before it sent them there.
    """
    if queries.ndim != 2 or queries.shape[1] != 3:
        raise ShapeError(f"queries must be [N,3] (t, x, y), got {list(queries.shape)}")
    if queries.device.type != "cpu":
        return
    if not torch.isfinite(queries).all():
        raise QueryError("query frames and positions must be finite numbers")
    if frames is None:
        return
    outside = (queries[:, 0] < 0) | (queries[:, 0] > frames - 1)
    if outside.any():
        t = queries[outside, 0][0].item()
        raise QueryError(f"a query is on frame {t:g}, outside the {frames} frames whose features are given")


def check_positions(xy: Tensor) -> None:
    """Raise `QueryError` unless positions [N,2] are finite; of tensors on a GPU that is known (see `check_queries`)."""
    if xy.device.type == "cpu" and not torch.isfinite(xy).all():
        raise QueryError(f"query positions must be finite numbers, got {xy.tolist()}"[:300])
