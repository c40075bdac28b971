"""How reference_cost.md called RAFT: one pair of the clip, 12 iterations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from calls import frames
from tapkit.flow.raft.model import RaftFeatures, build_large

REFERENCE = "raft large"


def reference_call(parity: Any, **options: Any) -> Callable[[], Any]:
    """Matching maps of both frames, the context of the first, the flow in pixels."""
    model = build_large(parity.weights("raft_large"), **options)
    pair = frames(parity, 2)

    def call() -> Any:
        x = model.prepared(pair)
        maps, context = model.network.matching(x), model.network.context(x[:1])
        return model.flow(RaftFeatures(maps[:1], context), RaftFeatures(maps[1:], context), (256, 256))

    return call
