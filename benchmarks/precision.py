"""By how much bfloat16 moves the tracks of a clip model, against float32.

    python benchmarks/precision.py [ID ...]

Seeded weights under the published names, the protocol's clip (24 frames of 256x256) and its 64 points, all asked on
frame 0. Distances in pixels of the clip over all points and frames, beside how far the float32 tracks move; random
weights amplify differences more than trained ones do, so take the figures as an upper bound in kind, not as accuracy.
Written to benchmarks/results/precision/ID.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tools")]


def measure(model: str) -> dict[str, Any]:
    """The distances for one model, with frames taken as they are."""
    import torch
    from calls import HEIGHT, WIDTH, frames, queries
    from check_parity import parity_root, shared_parity
    from parity import Parity
    from reference_protocol import machine

    from tapkit import coords, registry

    torch.set_num_threads(1)
    parity = Parity(parity_root(shared_parity()))
    points = queries(parity)
    points[:, 0] = 0
    points[:, 1:] = coords.from_centers(points[:, 1:])
    tracks = {}
    for precision in ("float32", "bfloat16"):
        state = parity.weights(model.replace("-", "_"))
        built = registry.build(model, state, precision=precision, input_size=None)
        tracks[precision] = built.track(built.encode(frames(parity)), (HEIGHT, WIDTH), points).xy
    moved = (tracks["float32"] - points[:, None, 1:]).norm(dim=-1).flatten()
    change = (tracks["float32"] - tracks["bfloat16"]).norm(dim=-1).flatten()
    return {
        "model": model,
        "change_px": {
            "median": change.median().item(),
            "p95": change.quantile(0.95).item(),
            "max": change.max().item(),
        },
        "motion_px": {"median": moved.median().item(), "max": moved.max().item()},
        "machine": machine(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["pips", "pips2"], help="registry ids of clip models")
    folder = HERE / "results" / "precision"
    folder.mkdir(parents=True, exist_ok=True)
    for model in parser.parse_args().models:
        result = measure(model)
        (folder / f"{model}.json").write_text(json.dumps(result, indent=1) + "\n")
        change, motion = result["change_px"], result["motion_px"]
        print(
            f"{model}: change median {change['median']:.3f}, 95 % {change['p95']:.3f}, max {change['max']:.3f} px; "
            f"tracks move by {motion['median']:.2f} px in the median"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
