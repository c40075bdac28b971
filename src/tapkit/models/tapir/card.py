"""Cards of the TAPIR family."""

from __future__ import annotations

from dataclasses import replace

from tapkit.types import ModelCard, PublishedNumber

_README = "README of google-deepmind/tapnet"
_BUCKET = "https://storage.googleapis.com/dm-tapnet/"


def _numbers(davis: float, strided: float, kinetics: float, robotap: float) -> tuple[PublishedNumber, ...]:
    """The AJ row of the authors' README."""
    first, other = "query first, 256x256", "query strided, 256x256"
    return (
        PublishedNumber("TAP-Vid DAVIS", "AJ", davis, first, _README),
        PublishedNumber("TAP-Vid DAVIS", "AJ", strided, other, _README),
        PublishedNumber("TAP-Vid Kinetics", "AJ", kinetics, first, _README),
        PublishedNumber("RoboTAP", "AJ", robotap, first, _README),
    )


TAPIR = ModelCard(
    id="tapir",
    name="TAPIR",
    paper="Doersch, Yang, Vecerik, Gokay, Gupta, Aytar, Carreira, Zisserman: "
    "TAPIR: Tracking Any Point with per-frame Initialization and temporal Refinement, ICCV 2023",
    paper_url="https://arxiv.org/abs/2306.08637",
    code_licence="Apache-2.0",
    weights_licence="Apache-2.0",
    commercial=True,
    factory="tapkit.models.tapir.tracker:build_tapir",
    options="tapkit.models.tapir.tracker:TapirOptions",
    weights_url=_BUCKET + "tapir_checkpoint_panning.pt",
    weights_file="tapir_checkpoint_panning.pt",
    weights_md5={"tapir_checkpoint_panning.npy": "73e86cdcfef0e8afea6a060f44be5fc7"},
    streaming="offline",
    latency=-1,
    bidirectional=True,
    input_size=(256, 256),
    visible_rule="visible*confidence",
    visible_threshold=0.5,
    confidence_radius=6.0,
    longest_trained=24,
    half_precision_px=(0.392, 1.412),
    published=_numbers(58.5, 63.3, 50.0, 59.6),
    notes="The released checkpoint uses two correlation maps (strides 4 and 8); the paper describes further levels. "
    "The uncertainty is trained at 256x256: at much larger resolutions visible points may be reported hidden.",
)
BOOTSTAPIR = replace(
    TAPIR,
    id="bootstapir",
    name="BootsTAPIR",
    paper="Doersch, Luc, Yang, Gokay, Koppula, Gupta, Heyward, Rocco, Goroshin, Carreira, Zisserman: "
    "BootsTAP: Bootstrapped Training for Tracking-Any-Point, ACCV 2024",
    paper_url="https://arxiv.org/abs/2402.00847",
    factory="tapkit.models.tapir.tracker:build_bootstapir",
    weights_url=_BUCKET + "bootstap/bootstapir_checkpoint_v2.pt",
    weights_file="bootstapir_checkpoint_v2.pt",
    weights_md5={},
    longest_trained=150,
    half_precision_px=(0.398, 1.478),
    published=_numbers(62.4, 67.4, 55.8, 69.2),
    notes="TAPIR with five residual convolution blocks and a third correlation map, trained further on real videos. "
    "The softmax temperature is 20 with the PyTorch checkpoint, as the authors' PyTorch demos run it, and 10 with the "
    "JAX one, as it was trained; option softmax_temperature overrides either. The authors recommend 512x512.",
)
TAPIR_CAUSAL = replace(
    TAPIR,
    id="tapir-causal",
    name="Online TAPIR",
    paper="Vecerik, Doersch, Yang, Davchev, Aytar, Zhou, Hadsell, Agapito, Scholz: "
    "RoboTAP: Tracking Arbitrary Points for Few-Shot Visual Imitation, ICRA 2024",
    paper_url="https://arxiv.org/abs/2308.15975",
    factory="tapkit.models.tapir.causal:build_tapir_causal",
    weights_url=_BUCKET + "causal_tapir_checkpoint.npy",
    weights_file="causal_tapir_checkpoint.npy",
    weights_md5={"causal_tapir_checkpoint.npy": "763a9dbdf9e077397215aaddc6c6f048"},
    streaming="causal",
    latency=0,
    bidirectional=False,
    uses_past=False,
    half_precision_px=(0.219, 0.652),
    published=_numbers(56.2, 58.3, 51.2, 59.1),
    notes="TAPIR whose temporal convolutions see the past only. The state reaches back 48 frames per refinement step. "
    "The published weights are a JAX file, read without JAX. At several resolutions the last one counts (no mean).",
)
BOOTSTAPIR_CAUSAL = replace(
    TAPIR_CAUSAL,
    id="bootstapir-causal",
    name="Online BootsTAPIR",
    paper=BOOTSTAPIR.paper,
    paper_url=BOOTSTAPIR.paper_url,
    factory="tapkit.models.tapir.causal:build_bootstapir_causal",
    weights_url=_BUCKET + "bootstap/causal_bootstapir_checkpoint.pt",
    weights_file="causal_bootstapir_checkpoint.pt",
    weights_md5={},
    longest_trained=150,
    published=_numbers(59.7, 61.2, 55.1, 69.1),
    notes="BootsTAPIR whose temporal convolutions see the past only. Softmax temperature as for bootstapir. "
    "At several resolutions the last one counts (no mean).",
)
CARDS = (TAPIR, BOOTSTAPIR, TAPIR_CAUSAL, BOOTSTAPIR_CAUSAL)
