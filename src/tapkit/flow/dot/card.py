"""Cards of DOT, and of the flow model that it finds motion boundaries with."""

from __future__ import annotations

from tapkit.types import ModelCard, PublishedNumber

_PAPER = "Le Moing, Ponce, Schmid: Dense Optical Tracking: Connecting the Dots, CVPR 2024"
_URL = "https://arxiv.org/abs/2312.00786"
_README = "README of 16lemoing/dot"
_HOME = "https://huggingface.co/16lemoing/dot/resolve/main/"
_TAP = {
    ("CoTracker2", "DAVIS", "first"): (61.2, 75.3, 89.7),
    ("CoTracker2", "DAVIS", "strided"): (67.7, 80.6, 91.2),
    ("CoTracker2", "RGB-Stacking", "first"): (77.2, 87.1, 92.6),
    ("CoTracker2", "RGB-Stacking", "strided"): (83.2, 91.0, 95.3),
    ("BootsTAPIR", "DAVIS", "first"): (62.8, 76.8, 90.2),
    ("BootsTAPIR", "DAVIS", "strided"): (68.5, 81.3, 91.7),
}
_CVO = {"Final": (1.37, 80.3), "Extended": (5.11, 71.1)}


def _numbers() -> tuple[PublishedNumber, ...]:
    tracks = [
        PublishedNumber(
            f"TAP-Vid {dataset}", metric, value,
            f"query {mode}, 256x256 resized to 512x512, 8192 tracks of {tracker}", _README,
        )
        for (tracker, dataset, mode), values in _TAP.items()
        for metric, value in zip(("AJ", "delta_avg", "OA"), values, strict=True)
    ]  # fmt: skip
    flows = [
        PublishedNumber(f"CVO {part}", metric, value, "last to first frame, 512x512, 2048 CoTracker2 tracks", _README)
        for part, values in _CVO.items()
        for metric, value in zip(("EPE", "IoU of occlusions"), values, strict=True)
    ]
    return (*tracks, *flows)


DOT = ModelCard(
    id="dot",
    name="DOT",
    paper=_PAPER,
    paper_url=_URL,
    code_licence="MIT (its RAFT part BSD-3-Clause)",
    weights_licence="not stated (the code is MIT); the tracker's own besides (CoTracker's: CC-BY-NC-4.0)",
    commercial=False,
    factory="tapkit.flow.dot.tracker:build",
    options="tapkit.flow.dot.tracker:DotOptions",
    weights_url=_HOME + "movi_f_raft_patch_4_alpha.pth",
    weights_file="movi_f_raft_patch_4_alpha.pth",
    streaming="offline",
    latency=-1,
    bidirectional=True,
    gives_flow=True,
    input_size=(512, 512),
    visible_threshold=0.8,
    longest_trained=24,
    half_precision_px=(0.008, 0.019),
    published=_numbers(),
    notes="Made for dense tracks: a query costs as much as all pixels of its frame. Sparse tracks come from any "
    "tracker (tracker=cotracker2, strand, lucas-kanade ...), motion boundaries from any flow model "
    "(flow=dot-estimator, dis ...); both bring their own weights. Their points are drawn at random, here always the "
    "same ones. visible is the refined probability, the greatest of the pixels around a position. confidence repeats "
    "visible.",
)

ESTIMATOR = ModelCard(
    id="dot-estimator",
    name="DOT's flow estimator (RAFT)",
    paper=_PAPER,
    paper_url=_URL,
    code_licence="BSD-3-Clause",
    weights_licence="not stated (the code is MIT)",
    commercial=False,
    factory="tapkit.flow.dot.estimator:build",
    options="tapkit.flow.raft.model:RaftOptions",
    weights_url=_HOME + "cvo_raft_patch_8.pth",
    weights_file="cvo_raft_patch_8.pth",
    streaming="pairwise",
    notes="The large RAFT, trained on Kubric-CVO by the authors of DOT, who find motion boundaries with it.",
)

CARDS: tuple[ModelCard, ...] = (DOT, ESTIMATOR)
