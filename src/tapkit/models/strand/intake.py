"""Layers that take in products (`correlation`)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.nn.packed import Linear, can_pack, onednn, packed_linear


class Intake(Linear):
    """A layer that takes in products with each map, as `in_order` has them; `more` inputs behind them are a subclass's.

    Its weights are of products patch after patch, `correlate` has them cell after cell. To turn all over takes as long
    as to blend them: where weights are packed, they are turned over instead, once.
    """

    def __init__(self, patches: tuple[int, ...], cells: int, outputs: int, more: int = 0) -> None:
        self.products = sum(patches) * cells
        super().__init__(self.products + more, outputs)
        self.shapes = tuple((patch, cells) for patch in patches)

    def in_order(self, products: Tensor) -> Tensor:
        """Products with one map [R,(2r+1)^2,P], in the order of the weights as they are: [R,n]."""
        return (products.transpose(1, 2) if self.packed is None else products).flatten(1)

    def _pack_weight(self) -> Tensor:
        turned = _turned(self.weight[:, : self.products], self.shapes)
        return onednn("_reorder_linear_weight", turned, None)

    def _dense(self, packed: Tensor) -> Tensor:
        return _turned(packed.to_dense(), tuple((cells, patch) for patch, cells in self.shapes))


class Enter(Intake):
    """With `more` numbers behind the products; then a GELU.

    In two steps, `taken_in` and `with_more`: a further look has other numbers, but mostly the same products, and these
    are twenty times as many.
    """

    packed_more: Tensor | None = None

    def forward(self, products: Tensor, more: Tensor) -> Tensor:  # type: ignore[override]
        """The answer [R,out] of all products [R,n] and the other numbers [R,more]."""
        return self.with_more(self.taken_in(products), more)

    def taken_in(self, products: Tensor) -> Tensor:
        """What all products [R,n] add up to, with the bias: [R,out]."""
        if self.packed is None:
            return F.linear(products, self.weight[:, : self.products], self.bias)
        return packed_linear(products, self.packed, self.bias)

    def with_more(self, taken: Tensor, more: Tensor) -> Tensor:
        """The answer, of that and the other numbers."""
        if self.packed_more is None:
            return F.gelu(torch.addmm(taken, more, self.weight[:, self.products :].T))
        return F.gelu(packed_linear(more, self.packed_more, None, residual=taken))

    def pack(self) -> None:
        """See `Packable`."""
        if self.packed is None and can_pack(self.weight):
            more = self.weight.detach()[:, self.products :].contiguous()
            self.packed_more = onednn("_reorder_linear_weight", more, None)
        super().pack()

    def unpack(self) -> None:
        """See `Packable`."""
        super().unpack()
        self.packed_more = None

    def _dense(self, packed: Tensor) -> Tensor:
        assert self.packed_more is not None
        return torch.cat([super()._dense(packed), self.packed_more.to_dense()], 1)


def _turned(weight: Tensor, shapes: tuple[tuple[int, int], ...]) -> Tensor:
    """Weights [out,in] whose inputs are n x m of each of `shapes` in turn, with these as m x n."""
    parts = torch.split(weight, [n * m for n, m in shapes], 1)
    turned = [part.reshape(-1, *shape).transpose(1, 2).flatten(1) for part, shape in zip(parts, shapes, strict=True)]
    return torch.cat(turned, 1)
