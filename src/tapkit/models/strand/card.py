"""Card of the tracker that comes with tapkit."""

import json
from dataclasses import replace
from pathlib import Path

from tapkit.types import ModelCard, PublishedNumber

_FILE = "strand.safetensors"
_BUILT_IN = (Path(__file__).with_name(_FILE)).is_file()


def _measured() -> tuple[PublishedNumber, ...]:
    """What was measured with the weights in the package, from the file beside them; nothing where there are none."""
    if not _BUILT_IN:
        return ()
    figures = json.loads(Path(__file__).with_name("strand.json").read_text(encoding="utf-8"))["figures"]
    ten = figures["ten_clips_query_first_frames_as_they_are"]
    dataset = "ten DAVIS clips (ours)"
    protocol = "query first, frames as they are, first 32 frames of ten of the thirty clips of TAP-Vid DAVIS"
    source = f"tapkit's own, `{figures['command']}` (docs/models/strand.md)"
    named = {"AJ": "aj", "delta_avg": "delta_avg", "OA": "oa"}
    return tuple(PublishedNumber(dataset, metric, ten[key], protocol, source) for metric, key in named.items())


STRAND = ModelCard(
    id="strand",
    name="strand",
    paper="tapkit's own, no paper (docs/models/strand.md); nearest to C. Doersch et al., TAPIR: Tracking Any Point "
    "with per-frame Initialization and temporal Refinement, ICCV 2023, and S. Cho et al., LocoTrack, ECCV 2024",
    paper_url="docs/models/strand.md",
    code_licence="Apache-2.0 (ours)",
    weights_licence="Apache-2.0",
    commercial=True,
    trainable="tapkit.models.strand.trainable:build",
    factory="tapkit.models.strand.tracker:build",
    options="tapkit.models.strand.tracker:StrandOptions",
    weights_file=_FILE,
    weights_built_in=_BUILT_IN,
    streaming="causal",
    latency=0,
    uses_past=False,
    input_size=(256, 256),  # of training; `Strand.frame_size` says what it works at
    visible_rule="visible*confidence",
    visible_threshold=0.25,
    confidence_radius=8.0,
    published=_measured(),
    notes="trained on synthetic clips and pseudo-labels of free videos; its card is beside it, strand.json"
    if _BUILT_IN
    else "this installation has none yet: make them with `tapkit train`, see docs/training.md, and give --weights",
)
STRAND_CLIP = replace(
    STRAND,
    id="strand-clip",
    name="strand, whole clips",
    paper="tapkit's own, no paper (docs/models/strand-clip.md); the way back after Z. Kalal et al., Forward-Backward "
    "Error, ICPR 2010, the best path after A. Viterbi, IEEE Trans. Information Theory, 1967",
    paper_url="docs/models/strand-clip.md",
    trainable="",
    factory="tapkit.models.strand.whole_clip:build_clip",
    streaming="offline",
    latency=-1,
    bidirectional=True,
    visible_rule="visible",
    visible_threshold=0.5,
    published=(),
    notes="strand's weights, which are trained by themselves",
)
CARDS = (STRAND, STRAND_CLIP)
