"""What MFT adds to RAFT: one pair, 12 iterations, with what is hidden and how sure the flow is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from calls import frames
from tapkit.flow.mft.tracker import build
from tapkit.flow.raft.model import RaftFeatures

REFERENCE = None


def reference_call(parity: Any, **options: Any) -> Callable[[], Any]:
    """As `raft_large` is called: matching maps of both frames, the context of the first, all maps in pixels. A frame
    of a video costs one encoding and up to seven such pairs."""
    pairs = build(parity.weights("mft"), **options).pairs
    pair = frames(parity, 2)
    dtype = next(pairs.network.context.parameters()).dtype

    def call() -> Any:
        x = pairs.prepared(pair).to(dtype)
        maps, context = pairs.network.matching(x), pairs.network.context(x[:1])
        return pairs.flow(RaftFeatures(maps[:1], context), RaftFeatures(maps[1:], context), (256, 256))

    return call
