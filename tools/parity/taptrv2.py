"""Parity cases of TAPTRv2 (vectors/taptrv2/README.md)."""

from __future__ import annotations

from typing import Any

from parity import Check, Parity
from parity.taptr import losses, options, support, whole
from tapkit.models.taptr.tracker import build_v2


def run(case: dict[str, Any], name: str, parity: Parity) -> list[Check]:
    """One case of TAPTRv2."""
    if "loss_names" in case:
        return losses(case, moved=True)
    if "support_xy" in case:
        return support(case)
    model = build_v2(parity.weights("taptrv2"), **options(case))
    names = {
        "query_update_p0": "query_updater",
        "apu_logits_p0": "layers.0.caupdate_weight_regressor",
        "fuse_out_p0": "ca_update_fuser",
    }
    return whole(case, model, parity, names)
