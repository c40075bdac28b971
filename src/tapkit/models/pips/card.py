"""Cards of PIPs and PIPs++."""

from __future__ import annotations

from tapkit.types import ModelCard, PublishedNumber


def _numbers(dataset: str, metrics: dict[str, float], protocol: str, source: str) -> tuple[PublishedNumber, ...]:
    return tuple(PublishedNumber(dataset, metric, value, protocol, source) for metric, value in metrics.items())


_PIPS_README = "README of aharley/pips (checkpoint of 2022-12-15)"
_PIPS2_README = "README of aharley/pips2 (differs slightly from the paper)"

PIPS = ModelCard(
    id="pips",
    name="PIPs",
    paper=(
        "Harley, Fang, Fragkiadaki: Particle Video Revisited: Tracking Through Occlusions Using Point Trajectories, "
        "ECCV 2022"
    ),
    paper_url="https://arxiv.org/abs/2204.04153",
    code_licence="MIT",
    weights_licence="MIT",
    commercial=True,
    factory="tapkit.models.pips.tracker:build",
    options="tapkit.models.pips.network:PipsOptions",
    weights_url="https://huggingface.co/aharley/pips/resolve/main/model-000200000.pth",
    weights_file="pips.pth",
    weights_md5={"pips.pth": "9f34c4cd5d6f54cb11e1911841ac702c"},
    streaming="offline",
    latency=-1,
    uses_past=False,
    input_size=(360, 640),
    visible_threshold=0.9,
    longest_trained=8,
    half_precision_px=(0.017, 0.048),
    published=(
        *_numbers(
            "BADJA",
            {"PCK-T": 64.4},
            "chained windows, stride 4, 6 iterations, 320x512; within 0.2 sqrt(mask area), frames after the first",
            _PIPS_README,
        ),
        *_numbers(
            "CroHD",
            {"ATE visible (px)": 4.57, "ATE occluded (px)": 7.71},
            "8 frames taken every third, 768x1280, stride 4, 6 iterations",
            _PIPS_README,
        ),
        *_numbers(
            "FlyingThings++",
            {"ATE visible (px)": 6.03, "ATE occluded (px)": 19.56},
            "8 frames, crop 384x512, stride 4, 6 iterations; visible: in at least 4 of 8 frames",
            _PIPS_README,
        ),
    ),
    notes=(
        "confidence repeats visible: PIPs has one output besides the position. The threshold 0.9 is the one at which "
        "the released chaining trusts a frame. The released code encodes displacements at linear frequencies up to 969 "
        "rad per cell and time as 8t/7, which the paper does not say; tests use stride 4 and 6 iterations, training "
        "stride 8 and 4. Frames are resized to input_size without antialiasing, as the demos do. Choose points to be "
        "visible at their query: the appearance there is what is looked for in the whole clip. The weights are "
        "model-000200000.pth of https://huggingface.co/aharley/pips, where their licence is stated."
    ),
)

PIPS2 = ModelCard(
    id="pips2",
    name="PIPs++",
    paper=(
        "Zheng, Harley, Shen, Wetzstein, Guibas: PointOdyssey: A Large-Scale Synthetic Dataset for Long-Term Point "
        "Tracking, ICCV 2023"
    ),
    paper_url="https://arxiv.org/abs/2307.15055",
    code_licence="MIT",
    weights_licence="not stated (the code is MIT); see the authors' page",
    commercial=False,
    factory="tapkit.models.pips.tracker2:build",
    options="tapkit.models.pips.network2:Pips2Options",
    weights_url=None,
    weights_file="pips2.pth",
    weights_md5={"pips2.pth": "e599fd3ba978d67c4cf35f225be3c2af"},
    streaming="offline",
    latency=-1,
    uses_past=False,
    input_size=(512, 896),
    longest_trained=64,
    half_precision_px=(0.76, 1.819),
    published=(
        *_numbers(
            "TAP-Vid DAVIS",
            {"delta_avg": 70.6, "survival": 89.3, "median L2 (px)": 6.9},
            "queries on frame 0, 512x896, windows of 128, 16 iterations; survival at 16 px of 256x256",
            _PIPS2_README,
        ),
        *_numbers(
            "CroHD",
            {"delta_avg": 35.5, "survival": 48.2, "median L2 (px)": 20.7},
            "clips of 1000 frames, 512x896, windows of 128, 16 iterations; survival at 16 px of 256x256",
            _PIPS2_README,
        ),
        *_numbers(
            "PointOdyssey test",
            {"delta_avg": 31.3, "survival": 32.7, "median L2 (px)": 33.0},
            "queries on frame 0, 512x896, windows of 128, 16 iterations; survival at 16 px of 256x256",
            _PIPS2_README,
        ),
    ),
    notes=(
        "PIPs++ says nothing about visibility: visible and confidence are 1 inside the frame and 0 outside. The "
        "temporal network normalises over the whole window, so results depend on what the window holds; clips of one "
        "frame answer the query, and short clips are not padded, as released. survival is at 16 px here and at 50 px "
        "in the paper: never compare them. Weights: reference_model/model-000200000.pth in "
        "https://www.dropbox.com/scl/fi/czdlt2zc2ji2b7zd0pvoe/reference_model.tar.gz?rlkey=56ebq4g5dk01kyq8kuismev14"
    ),
)

CARDS = (PIPS, PIPS2)
