"""Card of CaDeX++."""

from __future__ import annotations

from tapkit.types import ModelCard, PublishedNumber

CADEXPP = ModelCard(
    id="cadex++",
    name="CaDeX++",
    paper="Song et al.: Track Everything Everywhere Fast and Robustly, ECCV 2024",
    paper_url="https://arxiv.org/abs/2403.17931",
    code_licence="MIT",
    weights_licence="none needed; those of the flow model chosen",
    commercial=True,
    factory="tapkit.per_video.cadexpp.answer:build",
    options="tapkit.per_video.cadexpp.options:CadexOptions",
    streaming="per-video",
    latency=-1,
    bidirectional=True,
    published=PublishedNumber.triples(
        "query strided, 256x256, with monocular depth and matches by DINOv2",
        "Song et al., ECCV 2024, Table 1",
        {"TAP-Vid DAVIS": (59.4, 77.4, 85.9)},
    ),
    notes="Fitted to one video: tapkit fit. As OmniMotion, with a depth for each pixel instead of volume rendering, "
    "more than ten times faster. Without monocular depth its authors measure 42.0 instead of 48.6 AJ on a part of "
    "DAVIS, without matches 45.6.",
)

CARDS: tuple[ModelCard, ...] = (CADEXPP,)
