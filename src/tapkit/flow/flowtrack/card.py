"""Card of FlowTrack."""

from __future__ import annotations

from tapkit.types import ModelCard

FLOWTRACK = ModelCard(
    id="flowtrack",
    name="FlowTrack (after the paper's description)",
    paper="Cho, Huang, Kim, Lee: FlowTrack: Revisiting Optical Flow for Long-Range Dense Tracking, CVPR 2024",
    paper_url="https://openaccess.thecvf.com/content/CVPR2024/html/Cho_FlowTrack_Revisiting_Optical_Flow_for_Long-Range_"
    "Dense_Tracking_CVPR_2024_paper.html",
    code_licence="Apache-2.0 (ours; the authors published none)",
    weights_licence="none needed; those of the flow model chosen",
    commercial=True,
    factory="tapkit.flow.flowtrack.tracker:build",
    options="tapkit.flow.flowtrack.tracker:FlowTrackOptions",
    streaming="causal",
    uses_past=False,
    notes="Not the authors' network, of which neither code nor weights were published: the idea with other means. Flow "
    "that the way back confirms is chained; what it does not confirm is looked for by the appearance of the point, and "
    "moves with its surroundings meanwhile. No published number is claimed. confidence repeats visible.",
)

CARDS: tuple[ModelCard, ...] = (FLOWTRACK,)
