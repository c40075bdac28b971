"""Cards of TAPTR, TAPTRv2 and TAPTRv3."""

from dataclasses import replace

from tapkit.types import ModelCard, PublishedNumber

_LICENCE = "IDEA License 1.0 (non-commercial research)"
_TOGETHER = (
    "Points influence each other: adding, removing or splitting them changes results slightly. The authors' support "
    "points (support=) go along and are stripped. There is no confidence output: `confidence` repeats `visible`. "
    "Positions are kept a thousandth of the frame away from its border. "
)
_WINDOWS = (
    "A clip's last window is moved back to end with the clip, so a frame is final only eight frames later. In clips of "
    "48 frames and more a point's content is handed on in every second (third, ...) window only, as released. "
)
_SWAPPED = "Height and width are swapped in two places for frames that are not square, as in the released code."


_RANDOM = "query first, 256x256 resized to {}, 800 points with random support"
_FIRST = _RANDOM.format("512x512")
_STRIDED = _FIRST.replace("query first", "query strided")

TAPTR = ModelCard(
    id="taptr",
    name="TAPTR",
    paper="H. Li et al., TAPTR: Tracking Any Point with Transformers as Detection, ECCV 2024",
    paper_url="https://arxiv.org/abs/2403.13042",
    code_licence=_LICENCE,
    weights_licence=_LICENCE,
    commercial=False,
    factory="tapkit.models.taptr.tracker:build",
    options="tapkit.models.taptr.tracker:TaptrOptions",
    weights_url="https://huggingface.co/HYeungLee/TAPTR-Series/resolve/main/taptrv1.pth",
    weights_file="taptrv1.pth",
    streaming="window",
    latency=8,
    joint=True,
    input_size=(512, 512),
    visible_rule="visible",
    visible_threshold=0.5,
    longest_trained=24,
    half_precision_px=(0.196, 0.615),
    published=PublishedNumber.triples(
        _FIRST,
        "paper, tables 1 and 2",
        {"TAP-Vid DAVIS": (63.0, 76.1, 91.1), "TAP-Vid Kinetics": (49.0, 64.4, 85.2)},
    )
    + PublishedNumber.triples(
        _STRIDED,
        "paper, tables 1 and 2",
        {"TAP-Vid DAVIS": (66.3, 79.2, 91.0), "TAP-Vid RGB-Stacking": (60.8, 76.2, 87.0)},
    )
    + PublishedNumber.triples(_FIRST, "TAPTRv3 paper", {"RoboTAP": (60.1, 75.3, 86.9)}),
    notes=_TOGETHER + _WINDOWS + _SWAPPED,
)

TAPTRV2 = replace(
    TAPTR,
    id="taptrv2",
    name="TAPTRv2",
    paper="H. Li et al., TAPTRv2: Attention-based Position Update Improves Tracking Any Point, NeurIPS 2024",
    paper_url="https://arxiv.org/abs/2407.16291",
    factory="tapkit.models.taptr.tracker:build_v2",
    weights_url="https://huggingface.co/HYeungLee/TAPTR-Series/resolve/main/taptrv2.pth",
    weights_file="taptrv2.pth",
    half_precision_px=(0.029, 0.056),
    published=PublishedNumber.triples(
        _FIRST,
        "paper and README",
        {"TAP-Vid DAVIS": (63.5, 75.9, 91.4), "TAP-Vid Kinetics": (49.7, 64.2, 85.7)},
    )
    + PublishedNumber.triples(_STRIDED, "paper and README", {"TAP-Vid DAVIS": (66.4, 78.8, 91.3)})
    + PublishedNumber.triples(
        _FIRST, "TAPTRv3 paper", {"TAP-Vid RGB-Stacking": (53.4, 70.5, 81.2), "RoboTAP": (60.9, 74.6, 87.7)}
    ),
)

_PAPER3 = "paper, tables 1, 12 and 13, and README"
_LOCAL = "query first, 256x256 resized to {}, 8x8 local and 6x6 global support points"

TAPTRV3 = ModelCard(
    id="taptrv3",
    name="TAPTRv3",
    paper="J. Qu et al., TAPTRv3: Spatial and Temporal Context Foster Robust Tracking of Any Point in Long Video, "
    "ICLR 2026",
    paper_url="https://arxiv.org/abs/2411.18671",
    code_licence=_LICENCE,
    weights_licence=_LICENCE,
    commercial=False,
    factory="tapkit.models.taptr.tracker3:build",
    options="tapkit.models.taptr.tracker3:Taptr3Options",
    weights_file="taptrv3_r50.pth",
    streaming="causal",
    latency=0,
    joint=True,
    uses_past=False,
    input_size=(512, 512),
    visible_rule="visible",
    visible_threshold=0.45,
    longest_trained=24,
    half_precision_px=(0.031, 0.086),
    published=PublishedNumber.triples(
        _LOCAL.format("512x512") + ", ResNet-50",
        _PAPER3,
        {
            "TAP-Vid DAVIS": (63.2, 76.7, 91.0),
            "TAP-Vid Kinetics": (54.5, 67.5, 88.2),
            "TAP-Vid RGB-Stacking": (73.0, 86.2, 90.0),
        },
    )
    + PublishedNumber.triples(_RANDOM.format("512x512") + ", ResNet-50", _PAPER3, {"RoboTAP": (64.6, 77.2, 90.1)})
    + PublishedNumber.triples(
        _LOCAL.format("384x512") + ", ResNet-18",
        _PAPER3,
        {
            "TAP-Vid DAVIS": (63.2, 76.4, 90.6),
            "TAP-Vid Kinetics": (54.9, 67.5, 88.2),
            "TAP-Vid RGB-Stacking": (72.3, 84.1, 90.8),
        },
    )
    + PublishedNumber.triples(_RANDOM.format("384x512") + ", ResNet-18", _PAPER3, {"RoboTAP": (64.5, 77.3, 89.7)}),
    notes="The weights are on Google Drive: file 19iql2VTqGIeoyg_wt3JjpohszN5UE6s1 with ResNet-50 (fetch it by hand, "
    "as taptrv3_r50.pth), 1frPX9R_nKDG8FmL-vH6l_2HsJfhvEjtg with ResNet-18 (pass its path as weights; the frames are "
    "then 384x512). "
    + _TOGETHER
    + "By default a point remembers its last 512 frames; memory=None remembers all, as released.",
)

CARDS = (TAPTR, TAPTRV2, TAPTRV3)
