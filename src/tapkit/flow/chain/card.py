"""Cards of the two plain ways of tracking points by two-frame flow."""

from __future__ import annotations

from tapkit.types import ModelCard, PublishedNumber

_OMNIMOTION = "Wang et al.: Tracking Everything Everywhere All at Once, ICCV 2023, Table 1"


def _numbers(values: dict[str, tuple[float, float, float]], what: str) -> tuple[PublishedNumber, ...]:
    protocol = f"query strided, 256x256, {what} with RAFT, occluded by a round trip of more than 48 px"
    return tuple(
        PublishedNumber(f"TAP-Vid {dataset}", metric, value, protocol, _OMNIMOTION)
        for dataset, figures in values.items()
        for metric, value in zip(("AJ", "delta_avg", "OA"), figures, strict=True)
    )


CHAIN = ModelCard(
    id="flow-chain",
    name="Chained flow (RAFT-C with flow=raft-large)",
    paper="Doersch et al.: TAP-Vid, NeurIPS 2022 (baseline); Harley et al.: Particle Video Revisited, ECCV 2022 "
    "(baseline)",
    paper_url="https://arxiv.org/abs/2211.03726",
    code_licence="Apache-2.0 (ours)",
    weights_licence="none needed; those of the flow model chosen",
    commercial=True,
    factory="tapkit.flow.chain.chained:build",
    options="tapkit.flow.chain.base:FlowTrackerOptions",
    streaming="causal",
    uses_past=False,
    published=_numbers({"DAVIS": (30.7, 46.6, 80.2), "RGB-Stacking": (42.0, 56.4, 91.5)}, "flows chained"),
    notes="Any flow model (flow=dis, raft-small, raft-large), neighbouring frames only. Drifts, and follows what "
    "covers a point. The published numbers are those of RAFT. confidence repeats visible.",
)

DIRECT = ModelCard(
    id="flow-direct",
    name="Direct flow (RAFT-D with flow=raft-large)",
    paper="Wang et al.: Tracking Everything Everywhere All at Once, ICCV 2023 (baseline)",
    paper_url="https://arxiv.org/abs/2306.05422",
    code_licence="Apache-2.0 (ours)",
    weights_licence="none needed; those of the flow model chosen",
    commercial=True,
    factory="tapkit.flow.chain.direct:build",
    options="tapkit.flow.chain.base:FlowTrackerOptions",
    defaults={"occlusion": "cycle"},
    streaming="causal",
    uses_past=False,
    published=_numbers(
        {"DAVIS": (34.1, 48.9, 76.1), "RGB-Stacking": (72.1, 85.1, 92.1)}, "flow from the query's frame"
    ),
    notes="Flow from each query's frame to the present one: no drift, but large displacements are beyond a two-frame "
    "model. Two flows per frame for each frame on which points begin. The published numbers are those of RAFT. "
    "confidence repeats visible.",
)

CARDS: tuple[ModelCard, ...] = (CHAIN, DIRECT)
