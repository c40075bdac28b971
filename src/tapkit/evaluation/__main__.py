"""`python -m tapkit.evaluation ROOT --model ID [--resolution native] [--mode first]`: figures, nothing else.

The short way for somebody who is working on a tracker; `tapkit eval` is the long one, with cache and report.
"""

from __future__ import annotations

import argparse

import numpy as np

from tapkit.api import load
from tapkit.datasets import open_dataset
from tapkit.errors import TapkitError
from tapkit.evaluation.predict import predict
from tapkit.evaluation.protocol import Protocol
from tapkit.evaluation.score import score_clip
from tapkit.metrics.statistics import mean_defined

SHOWN = ("average_jaccard", "average_pts_within_thresh", "occlusion_accuracy")


def main() -> int:
    """Print AJ, delta_avg and OA of each clip and their means, in percent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--model", required=True)
    parser.add_argument("--resolution", default="native")
    parser.add_argument("--mode", default="first", choices=["first", "strided"])
    parser.add_argument("--weights")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    try:
        dataset = open_dataset(arguments.dataset)
        tracker = load(arguments.model, arguments.weights, arguments.device)
        protocol = Protocol(query_mode=arguments.mode, resolution=arguments.resolution)
        scores = []
        print(f"{'clip':24} {'AJ':>6} {'delta':>6} {'OA':>6} {'seconds':>8}")
        for clip in dataset:
            score = score_clip(clip, predict(tracker, clip, protocol), protocol.query_mode)
            scores.append(score)
            shown = " ".join(f"{100 * score.figures[key]:6.1f}" for key in SHOWN)
            print(f"{clip.name[:24]:24} {shown} {score.seconds:8.2f}", flush=True)
        means = [mean_defined(np.array([score.figures[key] for score in scores])).value for key in SHOWN]
        print(f"{'mean':24} {' '.join('   nan' if m is None else f'{100 * m:6.1f}' for m in means)}")
        print(protocol.describe(tracker.card))
    except TapkitError as error:
        print(error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
