"""Card of DINO-Tracker. It imports no network."""

from __future__ import annotations

from tapkit.types import ModelCard, PublishedNumber

_PAPER = "Tumanyan et al.: DINO-Tracker, ECCV 2024, Table 1"
_PROTOCOL = "fitted to each clip, ViT-L/14 at 476x854, query {}, frames at {}"

CARD = ModelCard(
    id="dino-tracker",
    name="DINO-Tracker",
    paper="Tumanyan et al.: DINO-Tracker: Taming DINO for Self-Supervised Point Tracking in a Single Video, ECCV 2024",
    paper_url="https://arxiv.org/abs/2403.14548",
    code_licence="MIT",
    weights_licence="none: fitted to each video; its backbone DINOv2 is Apache-2.0",
    commercial=True,
    factory="tapkit.per_video.dino_tracker.model:build",
    options="tapkit.per_video.dino_tracker.options:DinoTrackerOptions",
    streaming="per-video",
    latency=-1,
    bidirectional=True,
    published=(
        *PublishedNumber.triples(_PROTOCOL.format("strided", "480"), _PAPER, {"TAP-Vid DAVIS": (64.6, 80.4, 88.1)}),
        *PublishedNumber.triples(
            _PROTOCOL.format("strided", "256x256"),
            "as quoted by ProTracker, arXiv:2501.03220",
            {"TAP-Vid DAVIS": (62.3, 78.2, 87.5)},
        ),
    ),
    notes="Fitted to one video by `tapkit fit`, then answers any query on it. The frozen features are those of DINOv2 "
    "(dinov2_vitl14_pretrain.pth, 1.2 GB, downloaded when first used). Every frame is answered by itself; hidden is "
    "what does not lead back to the frames on which its features are similar. confidence is that similarity.",
)

CARDS: tuple[ModelCard, ...] = (CARD,)
