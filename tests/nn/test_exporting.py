"""`exporting` tells tracing for export from running."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tapkit.nn.exporting import exporting


class Probe(nn.Module):
    """Adds 1 when run, 2 in a graph."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (2 if exporting() else 1)


def test_only_an_exported_graph_takes_the_branch_for_export() -> None:
    x = torch.zeros(3)
    assert Probe()(x).tolist() == [1, 1, 1]
    graph = torch.export.export(Probe(), (x,), strict=False).module()
    assert graph(x).tolist() == [2, 2, 2]
    assert not exporting()


def test_older_torch_without_the_question_is_asked_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.compiler, "is_exporting", raising=False)
    assert Probe()(torch.zeros(1)).tolist() == [1]
