"""Cards of AllTracker and its tiny variant."""

from __future__ import annotations

from dataclasses import replace

from tapkit.types import ModelCard, PublishedNumber

_PAPER = "Harley et al.: AllTracker: Efficient Dense Point Tracking at High Resolution, ICCV 2025"
_README = "README of aharley/alltracker"
_LICENCE = "not stated (the code is MIT; some of the training data is non-commercial); see the authors' page"


def _davis(size: str, **values: float) -> tuple[PublishedNumber, ...]:
    protocol = f"query first, frames resized to {size}, positions at the rounded pixel, visible where visibility x "
    protocol += "confidence >= 0.6; the authors warn of AJ and OA"
    return tuple(PublishedNumber("TAP-Vid DAVIS", metric, value, protocol, _README) for metric, value in values.items())


ALLTRACKER = ModelCard(
    id="alltracker",
    name="AllTracker",
    paper=_PAPER,
    paper_url="https://arxiv.org/abs/2506.07310",
    code_licence="MIT",
    weights_licence=_LICENCE,
    commercial=False,
    factory="tapkit.models.alltracker.tracker:build",
    options="tapkit.models.alltracker.tracker:AllTrackerOptions",
    weights_url="https://huggingface.co/aharley/alltracker/resolve/main/alltracker.pth",
    weights_file="alltracker.pth",
    streaming="window",
    latency=15,
    uses_past=False,
    input_size=(384, 512),
    visible_rule="visible*confidence",
    visible_threshold=0.6,
    confidence_radius=12.0,
    longest_trained=56,
    half_precision_px=(0.072, 0.13),
    published=(
        *_davis("384x512", delta_avg=76.3, AJ=63.3, OA=90.0),
        *_davis("448x768", delta_avg=78.8, AJ=65.9, OA=90.2),
        *_davis("768x1024", delta_avg=80.6, AJ=67.2, OA=89.7),
    ),
    notes=(
        "Tracks every pixel of the query's frame at once, so points asked on one frame cost as much as one of them, "
        "and each further frame that points are asked on costs as much again. Windows of 16 frames begin on the "
        "query's frame. The authors' figures for Kinetics and RoboTAP use one chosen start frame per clip and are not "
        "comparable with others'. Released windows: the test runs keep the last answer for a frame "
        "(windows=overwrite), the demo and clips of more than 128 frames the first (windows=first)."
    ),
)

ALLTRACKER_TINY = replace(
    ALLTRACKER,
    id="alltracker-tiny",
    name="AllTracker (tiny)",
    factory="tapkit.models.alltracker.tracker:build_tiny",
    weights_url="https://huggingface.co/aharley/alltracker/resolve/main/alltracker_tiny.pth",
    weights_file="alltracker_tiny.pth",
    half_precision_px=(0.137, 0.307),
    published=(),
    notes="As alltracker, with the encoder of PIPs and 6.3 million parameters; the authors publish no accuracy for it.",
)

CARDS = (ALLTRACKER, ALLTRACKER_TINY)
