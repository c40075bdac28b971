"""By how much bfloat16 moves the tracks of the networks.

    python benchmarks/half_precision.py [ID ...]

Seeded weights under the published names, the protocol's clip (256x256) and its 64 points: offline models, AllTracker
and CoTracker on all 24 frames, causal ones streamed over the first four (DOT, its sparse tracks given, on these too),
the TAPTRs on their first window; all but the models of whole clips are asked on frame 0, PIPs too, and none has support
points. Distances in pixels over all points and frames, against float32. Those that read positions off a discrete best
cell or bin have large maxima: random weights leave many nearly tied, and such a point jumps; trained heat maps have
clear peaks. Written to benchmarks/results/half_precision/ID.json. A card says the median (`half_precision_px`), and
`tapkit.load` decides by it; tests/models/test_half_precision.py holds the two together.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tools")]

STREAMED = 4
"""Frames for causal models (every one costs the same)."""
MANIFESTS = {"track-on2": "trackon2"}
"""Names of manifests that are not the id with _ for -."""


def tracked(model: str, parity: Any, precision: str) -> Any:
    """The prediction [N,T,...] of a model with seeded weights."""
    import torch
    from calls import HEIGHT, WIDTH, frames, queries

    from tapkit import coords, registry
    from tapkit.models.base import Prediction

    points = queries(parity)
    points[:, 1:] = coords.from_centers(points[:, 1:])
    if model == "dot":
        from calls.dot import motion

        dot, clip = motion(parity, STREAMED, precision=precision)
        points[:, 0] = 0
        return dot.track_with(clip, (HEIGHT, WIDTH), points)
    options = {"support": "none"} if model.startswith(("taptr", "cotracker")) else {}
    if model.startswith(("cotracker", "pips")):
        options["input_size"] = None  # the clip as it is
    manifest = MANIFESTS.get(model, model.replace("-", "_"))
    built = registry.build(model, parity.weights(manifest), precision=precision, **options)
    if model.startswith("pips"):
        points[:, 0] = 0
    if model.startswith(("alltracker", "cotracker2", "cotracker3-online", "gmrw")):
        return in_windows(built, parity, points)
    if built.card.streaming == "offline":
        return built.track(built.encode(frames(parity)), (HEIGHT, WIDTH), points)
    if built.card.streaming == "window":
        points[:, 0] = 0
        features = built.encode(frames(parity, built.window))
        return built.step(built.start((HEIGHT, WIDTH)), features, 0, points)[1]
    state, answers, new = built.start((HEIGHT, WIDTH)), [], points[:, 1:]
    for frame in frames(parity, STREAMED):
        state, answer = built.step(state, frame, new)
        answers.append(answer)
        new = new[:0]
    return Prediction(*(torch.stack(parts, 1) for parts in zip(*answers, strict=True)))


def in_windows(model: Any, parity: Any, points: Any) -> Any:
    """The final answers of a window model, frames as the engine hands them over."""
    import torch
    from calls import HEIGHT, WIDTH, frames

    from tapkit.engine.driver import driver_of
    from tapkit.models.base import Prediction

    with torch.inference_mode():
        driver = driver_of(model)(model, (HEIGHT, WIDTH))
        points[:, 0] = 0
        driver.add(torch.arange(len(points)), points)
        results = [one for index, frame in enumerate(frames(parity)) for one in driver.step(index, frame)]
        answers = [result.prediction for result in results + driver.finish() if result.final]
    return Prediction(*(torch.stack(parts, 1) for parts in zip(*answers, strict=True)))


def measure(model: str) -> dict[str, Any]:
    """The differences for one model."""
    import torch
    from check_parity import parity_root, shared_parity
    from parity import Parity
    from reference_protocol import machine

    torch.set_num_threads(1)
    parity = Parity(parity_root(shared_parity()))
    full, half = (tracked(model, parity, precision) for precision in ("float32", "bfloat16"))
    change = (full.xy - half.xy).norm(dim=-1).flatten()
    parts = {
        name: change.quantile(q).item() for name, q in (("median", 0.5), ("p90", 0.9), ("p95", 0.95), ("max", 1.0))
    }
    visible = (full.visible - half.visible).abs()
    return {
        "model": model,
        "change_px": parts,
        "visible_change": {"mean": visible.mean().item(), "max": visible.max().item()},
        "machine": machine(),
    }


def main() -> int:
    from tapkit import registry

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [model for model in registry.cards() if any(field.name == "precision" for field in registry.options(model))]
    parser.add_argument("models", nargs="*", default=known, help="of " + ", ".join(known))
    folder = HERE / "results" / "half_precision"
    folder.mkdir(parents=True, exist_ok=True)
    for model in parser.parse_args().models:
        result = measure(model)
        (folder / f"{model}.json").write_text(json.dumps(result, indent=1) + "\n")
        shown = ", ".join(f"{name} {value:.3f}" for name, value in result["change_px"].items())
        print(
            f"{model}: change in pixels: {shown}; visible {result['visible_change']['mean']:.4f} on average", flush=True
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
