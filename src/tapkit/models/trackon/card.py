"""Card of Track-On2."""

from tapkit.types import BackboneFile, ModelCard, PublishedNumber

_FIRST = "query first, videos resized to 256x256, all queries of a clip with a 20x20 support grid, memory of {} frames"
_DAVIS, _OTHERS = _FIRST.format(24), _FIRST.format(72)
_README = "README of gorkaydemir/track_on"
_PAPER_R = "Track-On-R (arXiv:2603.12217), which prints both"

DINOV3 = BackboneFile(
    name="Meta's DINOv3 ViT-S+/16",
    prefix="backbone.vit_encoder.dinov3.",
    file="dinov3-vits16plus-pretrain-lvd1689m.safetensors",
    source="model.safetensors of https://huggingface.co/facebook/dinov3-vits16plus-pretrain-lvd1689m",
    licence="DINOv3 License of Meta, to be accepted there with an account",
)

TRACK_ON2 = ModelCard(
    id="track-on2",
    name="Track-On2",
    paper="G. Aydemir et al., Track-On2: Enhancing Online Point Tracking with Memory, 2025",
    paper_url="https://arxiv.org/abs/2509.19115",
    code_licence="MIT",
    weights_licence="MIT; its DINOv3 backbone: DINOv3 License (Meta)",
    commercial=True,
    factory="tapkit.models.trackon.tracker:build_track_on2",
    options="tapkit.models.trackon.tracker:TrackOnOptions",
    weights_url="https://huggingface.co/gorkaydemir/track_on2/resolve/main/trackon2_dinov3_checkpoint.pt",
    weights_file="trackon2_dinov3_checkpoint.pt",
    backbone=DINOV3,
    streaming="causal",
    latency=0,
    joint=True,
    uses_past=True,
    input_size=(384, 512),
    visible_rule="visible",
    visible_threshold=0.8,
    confidence_radius=12.0,
    longest_trained=48,
    half_precision_px=(0.013, 0.033),
    published=(
        PublishedNumber("TAP-Vid DAVIS", "AJ", 67.0, _DAVIS, _PAPER_R),
        PublishedNumber("TAP-Vid DAVIS", "delta_avg", 79.9, _DAVIS, _README),
        PublishedNumber("TAP-Vid Kinetics", "AJ", 55.3, _OTHERS, _PAPER_R),
        PublishedNumber("TAP-Vid Kinetics", "delta_avg", 69.3, _OTHERS, _README),
        PublishedNumber("RoboTAP", "AJ", 68.1, _OTHERS, _PAPER_R),
        PublishedNumber("RoboTAP", "delta_avg", 80.5, _OTHERS, _README),
        PublishedNumber("EgoPoints", "delta_avg", 61.7, _OTHERS, _README),
        PublishedNumber("Dynamic Replica", "delta_avg", 74.5, _OTHERS, _README),
        PublishedNumber("PointOdyssey", "delta_avg", 45.1, _OTHERS, _README),
    ),
    notes="The checkpoint does not contain its DINOv3 backbone, which Meta gives out under its own licence: commercial "
    "use is allowed under conditions. Points influence each other, those of the support grid too. For Track-On-R, the "
    "same network fine-tuned on real videos, give the path of track_on_r.pt "
    "(https://huggingface.co/gorkaydemir/track_on_r) as weights.",
)

CARDS = (TRACK_ON2,)
