"""Cards of LocoTrack, small and base."""

from tapkit.types import ModelCard, PublishedNumber

_PAPER = "S. Cho et al., Local All-Pair Correspondence for Point Tracking, ECCV 2024"
_STRIDED = "query strided, 256x256, points independent"
_FIRST = "query first, 256x256, points independent"
_TABLE = "paper, table 1 (from notes)"
_RERUN = "independent re-run of the PyTorch checkpoint (Jeff-Tracker, docs/METHOD.md)"
_WEIGHTS = "https://huggingface.co/datasets/hamacojr/LocoTrack-pytorch-weights/resolve/main/"
_NOTES = (
    "Sees the whole clip at once; points do not influence each other. Works at 256x256: finer features halve the "
    "median error but break re-finding after occlusion, with confident errors (third-party measurement). Whether the "
    "weights may be used commercially is for the authors' page to say, "
    "https://huggingface.co/datasets/hamacojr/LocoTrack-pytorch-weights: tapkit does not vouch for it. The code is "
    "Apache-2.0."
)


def _card(size: str, half_precision_px: tuple[float, float], published: tuple[PublishedNumber, ...]) -> ModelCard:
    return ModelCard(
        id=f"locotrack-{size}",
        name=f"LocoTrack-{size[0].upper()}",
        paper=_PAPER,
        paper_url="https://arxiv.org/abs/2407.15420",
        code_licence="Apache-2.0",
        weights_licence="see the authors' page",
        commercial=False,
        factory=f"tapkit.models.locotrack.tracker:build_locotrack_{size}",
        options="tapkit.models.locotrack.tracker:LocoTrackOptions",
        weights_url=f"{_WEIGHTS}locotrack_{size}.ckpt",
        weights_file=f"locotrack_{size}.ckpt",
        streaming="offline",
        latency=-1,
        joint=False,
        bidirectional=True,
        input_size=(256, 256),
        visible_rule="visible*confidence",
        visible_threshold=0.5,
        confidence_radius=6.0,
        longest_trained=24,
        half_precision_px=half_precision_px,
        published=published,
        notes=_NOTES,
    )


SMALL = _card(
    "small",
    (0.063, 0.227),
    (
        PublishedNumber("TAP-Vid DAVIS", "AJ", 66.9, _STRIDED, _TABLE),
        PublishedNumber("TAP-Vid Kinetics", "AJ", 59.6, _STRIDED, _TABLE),
        PublishedNumber("TAP-Vid RGB-Stacking", "AJ", 77.4, _STRIDED, _TABLE),
    ),
)
BASE = _card(
    "base",
    (0.074, 0.285),
    (
        PublishedNumber("TAP-Vid DAVIS", "AJ", 67.8, _STRIDED, _TABLE),
        PublishedNumber("TAP-Vid DAVIS", "delta_avg", 79.6, _STRIDED, _TABLE),
        PublishedNumber("TAP-Vid DAVIS", "OA", 89.9, _STRIDED, _TABLE),
        PublishedNumber("TAP-Vid Kinetics", "AJ", 59.5, _STRIDED, _TABLE),
        PublishedNumber("TAP-Vid RGB-Stacking", "AJ", 77.1, _STRIDED, _TABLE),
        PublishedNumber("TAP-Vid DAVIS", "AJ", 67.7, _STRIDED, _RERUN),
        PublishedNumber("TAP-Vid DAVIS", "AJ", 62.6, _FIRST, _RERUN),
        PublishedNumber("TAP-Vid DAVIS", "delta_avg", 74.7, _FIRST, _RERUN),
        PublishedNumber("TAP-Vid DAVIS", "OA", 86.9, _FIRST, _RERUN),
    ),
)

CARDS = (SMALL, BASE)
