"""Card of GMRW."""

from __future__ import annotations

from tapkit.types import ModelCard, PublishedNumber

_SOURCE = "arXiv:2409.16288; chained (GMRW-C), trained on Kubric without labels"


def _numbers(dataset: str, factor: int, jaccard: float, delta: float) -> tuple[PublishedNumber, ...]:
    protocol = f"query strided, 256x256, enlarged by {factor} for matching"
    return (
        PublishedNumber(dataset, "AJ", jaccard, protocol, _SOURCE),
        PublishedNumber(dataset, "delta_avg", delta, protocol, _SOURCE),
    )


GMRW = ModelCard(
    id="gmrw",
    name="GMRW",
    paper="Shrivastava, Owens: Self-Supervised Any-Point Tracking by Contrastive Random Walks, ECCV 2024",
    paper_url="https://arxiv.org/abs/2409.16288",
    code_licence="MIT",
    weights_licence="not stated (the code is MIT); see the authors' page",
    commercial=False,
    factory="tapkit.flow.gmrw.tracker:build",
    options="tapkit.flow.gmrw.tracker:GmrwOptions",
    weights_url=None,
    weights_file="kubric_73k.pth",
    streaming="window",
    latency=1,
    uses_past=False,
    input_size=(256, 256),
    longest_trained=2,
    half_precision_px=(2.466, 5.984),
    published=(
        *_numbers("TAP-Vid Kubric", 4, 54.2, 72.4),
        *_numbers("TAP-Vid DAVIS", 4, 41.8, 60.9),
        *_numbers("TAP-Vid Kubric", 1, 37.8, 53.8),
        *_numbers("TAP-Vid DAVIS", 1, 23.5, 38.4),
    ),
    notes=(
        "Learned from videos without labels. visible is 0 or 1: the way forward to the next frame and back must end "
        "within 3 pixels of a 256x256 frame of its start; there is no method to survive occlusion, and confidence "
        "repeats visible. The best published figures need upsample=4, which is 16 times the work of the default. "
        "Weights: kubric_73k.pth or kinetics_144k.pth from the Dropbox folder linked in the README of "
        "https://github.com/ayshrv/gmrw."
    ),
)

CARDS = (GMRW,)
