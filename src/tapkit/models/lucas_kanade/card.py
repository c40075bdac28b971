"""Card of the classical tracker that needs no weights."""

from tapkit.types import ModelCard

CARDS = (
    ModelCard(
        id="lucas-kanade",
        name="Pyramidal Lucas-Kanade",
        paper="B. Lucas and T. Kanade, An Iterative Image Registration Technique, IJCAI 1981; "
        "J.-Y. Bouguet, Pyramidal Implementation of the Lucas Kanade Feature Tracker, 2000; "
        "Z. Kalal et al., Forward-Backward Error, ICPR 2010",
        paper_url="https://www.ijcai.org/Proceedings/81-2/Papers/017.pdf",
        code_licence="Apache-2.0 (ours; OpenCV does the flow)",
        weights_licence="none needed",
        commercial=True,
        factory="tapkit.models.lucas_kanade.tracker:build",
        options="tapkit.models.lucas_kanade.tracker:LucasKanadeOptions",
        streaming="causal",
        latency=0,
        uses_past=False,
        visible_rule="visible*confidence",
        visible_threshold=0.45,
        confidence_radius=8.0,
        notes="Classical, no training: forward-backward check, drift check against the query's own patch, re-detection "
        "near where the point was lost. Loses points on blur, large rotation and long occlusion. "
        "confidence_radius counts in pixels of a 256x256 frame, as in TAP-Vid.",
    ),
)
