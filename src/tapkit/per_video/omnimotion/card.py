"""Card of OmniMotion."""

from __future__ import annotations

from tapkit.types import ModelCard, PublishedNumber

OMNIMOTION = ModelCard(
    id="omnimotion",
    name="OmniMotion",
    paper="Wang et al.: Tracking Everything Everywhere All at Once, ICCV 2023",
    paper_url="https://arxiv.org/abs/2306.05422",
    code_licence="Apache-2.0",
    weights_licence="none needed; those of the flow model chosen",
    commercial=True,
    factory="tapkit.per_video.omnimotion.answer:build",
    options="tapkit.per_video.omnimotion.options:OmniMotionOptions",
    streaming="per-video",
    latency=-1,
    bidirectional=True,
    published=PublishedNumber.triples(
        "query strided, 256x256, RAFT's flow",
        "Wang et al., ICCV 2023, Table 1",
        {"TAP-Vid DAVIS": (51.7, 67.5, 85.3)},
    ),
    notes="Fitted to one video: tapkit fit. A canonical volume and a bijection to it from every frame; hours on a GPU "
    "as published. Sensitive to the seed, by its authors' word.",
)

CARDS: tuple[ModelCard, ...] = (OMNIMOTION,)
