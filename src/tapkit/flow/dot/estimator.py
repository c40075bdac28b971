"""The flow model that DOT finds motion boundaries with: the large RAFT under other weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tapkit.flow.dot.card import ESTIMATOR
from tapkit.flow.raft.model import RaftModel, build_variant
from tapkit.flow.raft.network import LARGE


def build(weights: Mapping[str, Tensor] | None = None, **options: Any) -> RaftModel:
    """The estimator with published weights (None: untrained). Options are the fields of `RaftOptions`."""
    return build_variant(weights, LARGE, ESTIMATOR, **options)
