"""Methods that are fitted to one video, on annotated clips, beside chained flow on the same flow.

    python benchmarks/per_video_clips.py ../shared/eval --out DIR [--clips a b] [--models cadex++ omnimotion] [--write]

Each method is fitted to each clip with its preset `cpu` (one thread), as `tapkit fit` does it; from the flow model
DIS at the working size, which both share. Besides, the fit is kept at every `EVERY` seconds, so that accuracy can be
drawn over the time that was spent. It goes on where it was stopped, and fits that are in DIR are only scored.
Seconds are of the processor, since machines are shared: preparing, fitting, checkpoints and pictures, all of it.
DINO-Tracker's backbone is replaced by one with random weights (`MECHANICS`): its figures say nothing about it.
With --flow nothing is fitted: what a preset believes of the flow at annotated points, and how much of that is wrong.
With --write the figures of DIR go to benchmarks/results/per_video_clips.json, which the documentation shows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import tapkit
from tapkit import storage
from tapkit.coords import shrunk
from tapkit.datasets import open_dataset
from tapkit.datasets.base import Clip
from tapkit.engine.fitted import load_fit, options_of
from tapkit.engine.tracker import Tracker
from tapkit.evaluation.predict import predict
from tapkit.evaluation.protocol import METRIC_SIZE, Protocol
from tapkit.flow.base import Flow
from tapkit.flow.chain.base import FlowTrackerOptions
from tapkit.flow.chain.chained import THRESHOLDS, FlowChain
from tapkit.flow.dis.card import DIS
from tapkit.metrics.tapvid import tapvid_metrics
from tapkit.parsing import read_options
from tapkit.per_video import fit as loop
from tapkit.per_video.cadexpp.method import METHOD
from tapkit.per_video.flow_fit import flows_of
from tapkit.per_video.folder import STATE, FitFolder
from tapkit.per_video.known import method
from tapkit.per_video.method import State
from tapkit.per_video.prepare.flows import PairFlows
from tapkit.per_video.prepare.store import Prepared

RESULTS = Path(__file__).parent / "results" / "per_video_clips.json"
CPU = torch.device("cpu")
EVERY = 20.0
"""Seconds between two moments that are kept."""
MODELS = ("cadex++", "omnimotion")
DISTANCES, WRONG = (1, 3, 6, 12), 2.0
"""Frames between the two of a pair whose flow is judged, and pixels of the working size from which it is wrong."""
MECHANICS = {"dino-tracker": {"backbone": "untrained", "steps": 100}}
"""Where weights cannot be had: a backbone with random weights and few steps, which show that it runs, and no more."""


class KeptFolder(FitFolder):
    """A fit's folder that also keeps what can answer at each checkpoint, and the seconds spent until then."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.before = self.moments()[-1]["cpu_seconds"] if self.moments() else 0.0
        self.begun = time.process_time()

    def moments(self) -> list[dict[str, Any]]:
        """step, cpu_seconds, and what the log says of the schedule; of each checkpoint."""
        path = self.path / "moments.json"
        found: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
        return found

    def at(self, step: int) -> Path:
        """The fit of that moment."""
        return self.path / "moments" / f"{step:06d}.fit" / STATE

    def save(self, state: State, thumbs: torch.Tensor, facts: Mapping[str, Any]) -> None:
        """See `FitFolder.save`."""
        super().save(state, thumbs, facts)
        moment = FitFolder(self.at(int(facts["step"])).parent)
        moment.save(state._replace(training={}), thumbs, facts)
        row = {
            "step": facts["step"],
            "steps": facts["steps"],
            "cpu_seconds": round(self.before + time.process_time() - self.begun, 1),
            "seconds": round(facts["seconds"], 1),
        }
        kept = [each for each in self.moments() if each["step"] < row["step"]]
        storage.write_text(self.path / "moments.json", json.dumps([*kept, row], indent=1))


def fit(clip: Clip, place: Path, model: str) -> None:
    """Fit to a clip, or go on; one that has ended is left alone."""
    options = options_of(model, "cpu", MECHANICS.get(model, {}))
    folder = KeptFolder(place / f"{model}.fit")
    if any(moment["step"] == moment["steps"] for moment in folder.moments()):
        return
    folder.claim({"method": model, "preset": "cpu", "options": options.to_json(), "seed": 0}, force=False)

    def say(text: str) -> None:
        """Keep what it was said to cost before it began."""
        if "minutes on this machine" in text:
            storage.write_text(folder.path / "estimate.txt", text)

    with clip.open() as source:
        prepared = Prepared.of(place / "prepared", source, options.max_side, options.flow_side)
    job = loop.Job(
        folder, prepared, method(model), options, "cpu", title=clip.name, say=say, checkpoint=EVERY
    )  # fmt: skip
    print(clip.name, model, f"load {os.getloadavg()[0]:.1f}", flush=True)
    loop.run(job)


def scored(tracker: Any, clip: Clip, resolution: str = "native") -> dict[str, float]:
    """AJ, delta_avg and OA in percent, query first."""
    found = predict(tracker, clip, Protocol(resolution=resolution))
    scale = torch.tensor([METRIC_SIZE[1] / clip.size[1], METRIC_SIZE[0] / clip.size[0]]).numpy()
    figures = tapvid_metrics(
        found.frame, clip.xy[found.track] * scale, clip.visible[found.track], found.xy * scale, found.said,
        where=None if clip.counted is None else clip.counted[found.track],
    )  # fmt: skip
    names = {"AJ": "average_jaccard", "delta_avg": "average_pts_within_thresh", "OA": "occlusion_accuracy"}
    return {short: round(100 * float(figures[long]), 1) for short, long in names.items()}


def scores(clip: Clip, place: Path, model: str) -> Iterator[dict[str, Any]]:
    """Figures at each moment; each is computed once."""
    folder = KeptFolder(place / f"{model}.fit")
    kept_at = folder.path / "scores.json"
    kept: dict[str, Any] = json.loads(kept_at.read_text()) if kept_at.is_file() else {}
    for moment in folder.moments():
        name = str(moment["step"])
        if name not in kept:
            kept[name] = scored(load_fit(folder.at(moment["step"]), CPU), clip)
            storage.write_text(kept_at, json.dumps(kept))
        yield {**moment, **kept[name]}


def judged_flow(clip: Clip, place: Path, model: str, chosen: Mapping[str, Any]) -> Iterator[dict[str, float]]:
    """For some distances of two frames, of the annotated points that are seen in both: the share of the flow that is
    believed there, and the share of that which is wrong."""
    options: Any = options_of(model, "cpu", chosen)
    with clip.open() as source:
        prepared = Prepared.of(place / "prepared", source, options.max_side, options.flow_side)
    flows = flows_of(prepared, method(model).request(options), CPU)  # type: ignore[attr-defined]
    height, width = prepared.size
    xy = clip.xy * np.array([width / clip.size[1], height / clip.size[0]])
    cells = np.floor(xy).astype(int)
    within = clip.visible & (cells >= 0).all(-1) & (cells < (width, height)).all(-1)
    for apart in DISTANCES:
        believed, wrong = [], []
        for first in range(len(prepared) - apart):
            tracks = np.flatnonzero(within[:, first] & within[:, first + apart])
            x, y = cells[tracks, first].T
            flow = np.asarray(flows.flow(first, first + apart)[y, x], np.float64)
            error = np.linalg.norm(flow - (xy[tracks, first + apart] - xy[tracks, first]), axis=-1)
            believed.append(np.asarray(flows.mask(first, first + apart)[y, x]) > 0)
            wrong.append(error > WRONG)
        kept, missed = np.concatenate(believed), np.concatenate(wrong)
        share = (kept & missed).sum() / max(kept.sum(), 1)
        yield {"frames apart": apart, "believed": round(float(kept.mean()), 3), "wrong of that": round(float(share), 3)}


class Numbers(NamedTuple):
    """Of B frames."""

    index: torch.Tensor
    """int64 [B]: their places in the clip, -1 for others."""


class StoredFlow:
    """A `FlowModel` that knows the flow that was prepared for a fit, of neighbouring frames of that clip."""

    card = DIS
    options: Mapping[str, Any] = {}
    device = CPU

    def __init__(self, prepared: Prepared, flows: PairFlows) -> None:
        self.flows = flows
        self._places = {np.array(frame).tobytes(): index for index, frame in enumerate(prepared.frames)}

    def to(self, device: torch.device | str) -> StoredFlow:
        """Stays on the CPU."""
        return self

    def frame_size(self, size: tuple[int, int]) -> None:
        """As they are."""

    def frame_bytes(self, size: tuple[int, int]) -> int:
        """See `FlowModel.frame_bytes`."""
        return 8

    def pair_bytes(self, size: tuple[int, int]) -> int:
        """See `FlowModel.pair_bytes`."""
        return 8 * size[0] * size[1]

    def encode(self, frames: torch.Tensor) -> Numbers:
        """The frames' places in the clip."""
        found = [self._places.get(frame.permute(1, 2, 0).numpy().tobytes(), -1) for frame in frames]
        return Numbers(torch.tensor(found))

    def flow(self, first: Numbers, second: Numbers, size: tuple[int, int]) -> Flow:
        """See `FlowModel.flow`."""
        pairs = zip(first.index.tolist(), second.index.tolist(), strict=True)
        found = [torch.from_numpy(np.asarray(self.flows.flow(a, b), np.float32)).permute(2, 0, 1) for a, b in pairs]
        return Flow(torch.stack(found))


class OnPrepared:
    """A tracker that sees the frames of a fit, whatever video it is handed."""

    def __init__(self, tracker: Any, prepared: Prepared) -> None:
        self.tracker, self.prepared, self.card = tracker, prepared, tracker.card

    def track(self, video: Any, queries: Any, direction: Any = "both") -> tapkit.Tracks:
        """See `Tracker.track`."""
        tracks: tapkit.Tracks = self.tracker.track(np.array(self.prepared.frames), queries, direction=direction)
        return tracks


def chained_as_stored(clip: Clip, place: Path) -> dict[str, Any]:
    """Chained flow of the very fields that `MODELS[0]` learns from, as they are stored for it."""
    options = options_of(MODELS[0], "cpu", {})
    with clip.open() as source:
        prepared = Prepared.of(place / "prepared", source, options.max_side, options.flow_side)
    flows = flows_of(prepared, METHOD.request(options), CPU)
    settings = FlowTrackerOptions()
    chain = FlowChain(settings, StoredFlow(prepared, flows), THRESHOLDS[settings.occlusion])
    height, width = prepared.size
    return scored(OnPrepared(Tracker(chain), prepared), clip, f"{height}x{width}")


def chained(clip: Clip, place: Path) -> dict[str, Any]:
    """Chained flow of the same flow model: of the fields that fits learn from, and of its own at three sizes: that of
    the fits, that of their flow, and the clip's own."""
    kept_at = place / "flow-chain.json"
    if kept_at.is_file():
        found: dict[str, Any] = json.loads(kept_at.read_text())
        return found
    found = {"as stored": chained_as_stored(clip, place)}
    options = options_of(MODELS[0], "cpu", {})
    sizes = {"working size": options.max_side, "flow's size": options.flow_side, "own size": max(clip.size)}
    for name, side in sizes.items():
        height, width = shrunk(clip.size, side) or clip.size
        resolution = f"{height}x{width}" if (height, width) != clip.size else "native"
        begun = time.process_time()
        row = scored(tapkit.load("flow-chain", device="cpu", flow="dis"), clip, resolution)
        found[name] = {**row, "cpu_seconds": round(time.process_time() - begun, 1)}
    storage.write_text(kept_at, json.dumps(found))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", nargs="*", help="all, unless some are named")
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--flow", action="store_true", help="fit nothing, and look at the flow")
    parser.add_argument("--set", action="append", default=[], help="with --flow: an option of the method")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for clip in open_dataset(str(arguments.folder)):
        if arguments.clips and clip.name not in arguments.clips:
            continue
        place = arguments.out / clip.name
        if arguments.flow:
            for model in arguments.models:
                for row in judged_flow(clip, place, model, read_options(arguments.set)):
                    print(clip.name, model, json.dumps(row), flush=True)
            continue
        found[clip.name] = {"frames": clip.frames, "flow-chain": chained(clip, place)}
        print(clip.name, json.dumps(found[clip.name]), flush=True)
        for model in arguments.models:
            fit(clip, place, model)
            rows = list(scores(clip, place, model))
            said = place / f"{model}.fit" / "estimate.txt"
            found[clip.name][model] = {"estimate": said.read_text() if said.is_file() else "", "moments": rows}
            print(clip.name, model, json.dumps(rows[-1]), flush=True)
    if arguments.write and found:
        kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"clips": {}}
        for name, row in found.items():
            kept["clips"][name] = {**kept["clips"].get(name, {}), **row}
        kept |= {"torch": torch.__version__, "machine": platform.machine(), "threads": 1, "date": time.strftime("%F")}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
