"""Cards of TAPNext (its BootsTAP-tuned checkpoint) and TAPNext++."""

from tapkit.types import ModelCard, PublishedNumber

_FIRST = "query first, 256x256, all queries of a clip together, streamed frame by frame"
_STRIDED = "query strided, 256x256, all queries of a clip together, forward and backward pass"
_README = "README of google-deepmind/tapnet"

TAPNEXT = ModelCard(
    id="tapnext",
    name="BootsTAPNext-B",
    paper="A. Zholus et al., TAPNext: Tracking Any Point (TAP) as Next Token Prediction, ICCV 2025",
    paper_url="https://arxiv.org/abs/2504.05579",
    code_licence="Apache-2.0",
    weights_licence="Apache-2.0",
    commercial=True,
    factory="tapkit.models.tapnext.tracker:build_tapnext",
    options="tapkit.models.tapnext.tracker:TapNextOptions",
    weights_url="https://storage.googleapis.com/dm-tapnet/tapnext/bootstapnext_ckpt.npz",
    weights_file="bootstapnext_ckpt.npz",
    streaming="causal",
    latency=0,
    joint=True,
    input_size=(256, 256),
    visible_rule="visible",
    visible_threshold=0.5,
    confidence_radius=8.0,
    longest_trained=48,
    half_precision_px=(0.069, 4.388),
    published=(
        PublishedNumber("TAP-Vid DAVIS", "AJ", 65.25, _FIRST, _README),
        PublishedNumber("TAP-Vid DAVIS", "AJ", 68.9, _STRIDED, _README),
        PublishedNumber("TAP-Vid Kinetics", "AJ", 57.3, _FIRST, _README),
        PublishedNumber("RoboTAP", "AJ", 64.1, _FIRST, _README),
    ),
    notes="Points influence each other, so results depend on which others are tracked. Drifts after about 150 frames "
    "(issue 143 of google-deepmind/tapnet); TAPNext++ does not. Positions cannot leave the frame: the 256 bins of a "
    "coordinate cover it exactly.",
)

TAPNEXT_PP = ModelCard(
    id="tapnext-pp",
    name="TAPNext++",
    paper="TAPNext++, CVPR 2026 Findings",
    paper_url="https://arxiv.org/abs/2604.10582",
    code_licence="Apache-2.0",
    weights_licence="Apache-2.0",
    commercial=True,
    factory="tapkit.models.tapnext.tracker:build_tapnext_pp",
    options="tapkit.models.tapnext.tracker:TapNextOptions",
    weights_url="https://storage.googleapis.com/dm-tapnet/tapnextpp/tapnextpp_ckpt.pt",
    weights_file="tapnextpp_ckpt.pt",
    streaming="causal",
    latency=0,
    joint=True,
    input_size=(256, 256),
    visible_rule="visible",
    visible_threshold=0.5,
    confidence_radius=8.0,
    longest_trained=1024,
    published=(
        PublishedNumber("TAP-Vid DAVIS", "AJ", 65.6, _FIRST, _README),
        PublishedNumber("TAP-Vid DAVIS", "delta_avg", 79.0, _FIRST, _README),
        PublishedNumber("TAP-Vid DAVIS", "OA", 92.0, _FIRST, _README),
        PublishedNumber("TAP-Vid Kinetics", "AJ", 53.9, _FIRST, _README),
        PublishedNumber("TAP-Vid Kinetics", "delta_avg", 68.4, _FIRST, _README),
        PublishedNumber("TAP-Vid Kinetics", "OA", 88.7, _FIRST, _README),
        PublishedNumber("RoboTAP", "AJ", 61.1, _FIRST, _README),
        PublishedNumber("RoboTAP", "delta_avg", 75.4, _FIRST, _README),
        PublishedNumber("RoboTAP", "OA", 89.0, _FIRST, _README),
        PublishedNumber("RoboTAP", "AJ_RD", 52.6, _FIRST, _README),
        PublishedNumber("PointOdyssey", "delta_avg", 51.8, "256x256", _README),
        PublishedNumber("PointOdyssey", "survival", 71.0, "256x256", _README),
        PublishedNumber("TAP-Vid DAVIS", "AJ", 67.0, _FIRST.replace("256x256", "512x512 checkpoint"), _README),
        PublishedNumber("TAP-Vid DAVIS", "AJ", 71.2, _STRIDED.replace("256x256", "512x512 checkpoint"), _README),
    ),
    notes="The network of tapnext with other weights: trained on clips of 1024 frames, finds points again after "
    "occlusion. For the checkpoint fine-tuned at 512 pixels "
    "(https://storage.googleapis.com/gresearch/tapnextpp/tapnextpp_512.ckpt) give its path as weights and "
    "resolution=512. On Kinetics and RoboTAP it is below BootsTAPNext.",
)

CARDS = (TAPNEXT, TAPNEXT_PP)
