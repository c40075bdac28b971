"""Card of MFT."""

from __future__ import annotations

from tapkit.types import ModelCard, PublishedNumber

_SOURCE = "Neoral et al., WACV 2024 (arXiv:2305.12998)"


def _numbers(mode: str, jaccard: float, delta: float, accuracy: float) -> tuple[PublishedNumber, ...]:
    protocol = f"query {mode}, 256x256 enlarged to 512x512, queries cut to whole pixels of 512x512"
    return tuple(
        PublishedNumber("TAP-Vid DAVIS", metric, value, protocol, _SOURCE)
        for metric, value in (("AJ", jaccard), ("delta_avg", delta), ("OA", accuracy))
    )


MFT = ModelCard(
    id="mft",
    name="MFT",
    paper="Neoral, Serych, Matas: MFT: Long-Term Tracking of Every Pixel, WACV 2024",
    paper_url="https://arxiv.org/abs/2305.12998",
    code_licence="CC-BY-NC-SA-4.0",
    weights_licence="CC-BY-NC-SA-4.0",
    commercial=False,
    factory="tapkit.flow.mft.tracker:build",
    options="tapkit.flow.mft.tracker:MftOptions",
    weights_url=None,
    weights_file="raft-things-sintel-kubric-splitted-occlusion-uncertainty-non-occluded-base-sintel.pth",
    streaming="causal",
    latency=0,
    uses_past=False,
    input_size=(512, 512),
    visible_threshold=0.5,
    confidence_radius=8.0,
    half_precision_px=(0.015, 0.03),
    published=(*_numbers("first", 47.3, 66.8, 77.8), *_numbers("strided", 56.1, 70.8, 86.9)),
    notes=(
        "Seven flows for each frame, and one more for each further frame on which points begin: ask points on few "
        "frames. Each point's answer is that of the pixels around its query, so tracking every pixel costs little more "
        "than tracking one. confidence is made here from the network's own deviation. Weights: in the folder "
        "`checkpoints` of https://github.com/serycjon/MFT."
    ),
)

CARDS: tuple[ModelCard, ...] = (MFT,)
