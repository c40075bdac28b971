"""Card of OpenCV's DIS."""

from __future__ import annotations

from tapkit.types import ModelCard

DIS = ModelCard(
    id="dis",
    name="DIS",
    paper="Kroeger, Timofte, Dai, Van Gool: Fast Optical Flow using Dense Inverse Search, ECCV 2016",
    paper_url="https://arxiv.org/abs/1603.03590",
    code_licence="Apache-2.0 (OpenCV's implementation)",
    weights_licence="none needed",
    commercial=True,
    factory="tapkit.flow.dis.model:build",
    options="tapkit.flow.dis.model:DisOptions",
    streaming="pairwise",
    uses_past=False,
    notes="A two-frame flow model, no tracker. Classical, on the CPU, of grey frames; no occlusion, no uncertainty.",
)

CARDS: tuple[ModelCard, ...] = (DIS,)
