"""Fit what strand reads visibility from (`tapkit.train.strand.visibility`), at the end of a run.

    python tools/strand_visibility.py RUN/weights.safetensors out.safetensors --cache RUN/cache

RUN/cache is the clip cache of a run of `tapkit train`; its clips are augmented as in training, from seeds that training
does not use, and tracked as users track, with weights in the processor's own precision. Prints the loss on clips that
were not learned from, before and after.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from tapkit.errors import UsageError
from tapkit.models.strand.evidence import Verify
from tapkit.models.strand.tracker import build
from tapkit.train.batch import Batch
from tapkit.train.cache import CachedSource
from tapkit.train.config import ClipCache, Stage
from tapkit.train.export import export_weights, read_card
from tapkit.train.strand.settings import StrandSettings
from tapkit.train.strand.visibility import collect, fit_visibility
from tapkit.weights import read

FIRST_SEED = 1 << 30
"""Of the batches: beyond those of any run."""
PART = "verify."
"""How the names of the tensors begin that are fitted."""


class _Missing:
    """Where clips would come from that are not in the cache."""

    description = "cached clips"

    def batch(self, stage: Stage, seed: int) -> Batch:
        raise UsageError("the cache holds fewer clips than --cached says")


def main() -> None:
    """Track, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path, help="weights to write (.safetensors), with a card")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--cached", type=int, default=240, help="clips in the cache")
    parser.add_argument("--clips", type=int, default=60, help="clips to track")
    parser.add_argument("--keep", type=Path, help="file for what was collected")
    parser.add_argument("--noise", type=float, default=1.0, help="factor of the noise of training")
    arguments = parser.parse_args()
    weights = {name: value.float() for name, value in read(arguments.weights).items()}
    network = build(weights).network
    source = CachedSource(_Missing(), ClipCache(arguments.cached), arguments.cache, torch.device("cpu"))
    base, factor = StrandSettings(feature_noise=0.0), arguments.noise
    settings = replace(
        base,
        drift_noise=base.drift_noise * factor,
        hard_negatives=base.hard_negatives * factor,
        template_decay=base.template_decay if factor else 1.0,
    )
    stage = Stage(steps=1, size=256, frames=24, batch=1, points=96)
    clips = []
    for number in range(arguments.clips):
        seed = FIRST_SEED + number
        clips.append(collect(network, source.batch(stage, seed), settings, seed))
        if number % 10 == 9:
            print(f"{number + 1} clips, {sum(len(c.before) for c in clips)} answers", flush=True)
    verify = Verify(network.config.hidden)
    own = {name: value for name, value in weights.items() if name.startswith(PART)}
    verify.load_state_dict({name.removeprefix(PART): value for name, value in own.items()})
    if arguments.keep is not None:
        torch.save([tuple(clip) for clip in clips], arguments.keep)
    before, after = fit_visibility(verify, clips)
    print(f"loss on clips that were not learned from: {before:.4f} before, {after:.4f} after")
    facts = {"fitted_from": read_card(arguments.weights) or arguments.weights.name, "fit": {"clips": arguments.clips}}
    fitted = {PART + name: value for name, value in verify.state_dict().items()}
    export_weights(arguments.out, {**weights, **fitted}, {"model": "strand", "licence": "Apache-2.0", **facts})


if __name__ == "__main__":
    main()
