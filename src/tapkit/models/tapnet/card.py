"""Card of TAP-Net."""

from __future__ import annotations

from tapkit.types import ModelCard, PublishedNumber

_README = "README of google-deepmind/tapnet"

TAPNET = ModelCard(
    id="tapnet",
    name="TAP-Net",
    paper="Doersch, Gupta, Markeeva, Recasens, Smaira, Aytar, Carreira, Zisserman, Yang: "
    "TAP-Vid: A Benchmark for Tracking Any Point in a Video, NeurIPS 2022",
    paper_url="https://arxiv.org/abs/2211.03726",
    code_licence="Apache-2.0",
    weights_licence="Apache-2.0",
    commercial=True,
    factory="tapkit.models.tapnet.tracker:build_tapnet",
    options="tapkit.models.tapnet.tracker:TapNetOptions",
    weights_url="https://storage.googleapis.com/dm-tapnet/checkpoint.npy",
    weights_file="checkpoint.npy",
    weights_md5={"checkpoint.npy": "b8a1ad6eab94ce53be3ce870ed829552"},
    streaming="offline",
    latency=-1,
    bidirectional=True,
    input_size=(256, 256),
    visible_threshold=0.5,
    longest_trained=24,
    published=(
        PublishedNumber("TAP-Vid DAVIS", "AJ", 33.0, "query first, 256x256", _README),
        PublishedNumber("TAP-Vid DAVIS", "AJ", 38.4, "query strided, 256x256", _README),
        PublishedNumber("TAP-Vid Kinetics", "AJ", 38.5, "query first, 256x256", _README),
        PublishedNumber("RoboTAP", "AJ", 45.1, "query first, 256x256", _README),
    ),
    notes="No uncertainty output: confidence repeats visible. Features mix four frames to either side.",
)
CARDS = (TAPNET,)
