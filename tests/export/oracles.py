"""Readers that others wrote, each giving the positions of a file as it understands them.

`ORACLES[format](path, tracks)` returns xy [N,T,2] in tapkit's coordinates, NaN where the reader finds nothing.
Used by the tests and by benchmarks/export.py, which prints the worst differences.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapkit.types import Tracks

CENTERS = 0.5
"""tapkit's corner origin minus the integer pixel centres of many programs."""
BLENDER = Path(__file__).parents[2] / ".venv-blender/bin/python"


def _empty(tracks: Tracks) -> np.ndarray:
    return np.full_like(tracks.xy, np.nan)


def labelled(path: Path, tracks: Tracks) -> np.ndarray:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_hdf(next(path.glob("CollectedData_*.h5")))
    xy = _empty(tracks)
    rows = [int(row[2][3:-4]) for row in frame.index]
    xy[:, rows] = frame.to_numpy().reshape(len(rows), -1, 2).transpose(1, 0, 2) + CENTERS
    return xy


def predictions(path: Path, tracks: Tracks) -> np.ndarray:
    frame = pytest.importorskip("pandas").read_hdf(path)
    return frame.to_numpy().reshape(tracks.frames, -1, 3).transpose(1, 0, 2)[..., :2] + CENTERS


def sleap_labels(path: Path, tracks: Tracks) -> np.ndarray:
    xy = _empty(tracks)
    for frame in pytest.importorskip("sleap_io").load_slp(str(path), open_videos=False).labeled_frames:
        instance = (frame.user_instances or frame.predicted_instances)[0]
        xy[:, frame.frame_idx] = instance.numpy(invisible_as_nan=False) + CENTERS
    return xy


def sleap_analysis(path: Path, tracks: Tracks) -> np.ndarray:
    with pytest.importorskip("h5py").File(path) as file:
        return file["tracks"][0].transpose(1, 2, 0) + CENTERS  # [tracks, 2, nodes, frames]


def coco(path: Path, tracks: Tracks) -> np.ndarray:
    with redirect_stdout(StringIO()):
        content = pytest.importorskip("pycocotools.coco").COCO(str(path))
    xy = _empty(tracks)
    for annotation in content.loadAnns(content.getAnnIds()):
        keypoints = np.array(annotation["keypoints"]).reshape(-1, 3)
        here = keypoints[:, 2] > 0
        xy[here, annotation["image_id"] - 1] = keypoints[here, :2] + CENTERS
    return xy


def colmap_database(path: Path, tracks: Tracks) -> np.ndarray:
    """Tracks are followed through the matches of neighbouring frames, so a gap ends what can be checked here."""
    database = pytest.importorskip("pycolmap").Database.open(str(path))
    images = sorted(database.read_all_images(), key=lambda image: image.name)
    keypoints = [database.read_keypoints(image.image_id)[:, :2] for image in images]
    shown, xy = tracks.visible_at(), _empty(tracks)
    index = np.cumsum(shown, 0) - 1
    for t, step in [(t, gap) for gap in (4, 1) for t in range(tracks.frames - gap)]:
        matches = dict(database.read_matches(images[t].image_id, images[t + step].image_id).tolist())
        for row in np.flatnonzero(shown[:, t]):
            other = matches.get(int(index[row, t]))
            if other is not None:
                xy[row, t], xy[row, t + step] = keypoints[t][index[row, t]], keypoints[t + step][other]
    database.close()
    return xy


def colmap_model(path: Path, tracks: Tracks) -> np.ndarray:
    """Without 3D points a model does not say which point is which: they are in the order of the tracks."""
    model = pytest.importorskip("pycolmap").Reconstruction(path)
    xy, shown = _empty(tracks), tracks.visible_at()
    for number, image in model.images.items():
        xy[shown[:, number - 1], number - 1] = [point.xy for point in image.points2D]
    return xy


def rerun(path: Path, tracks: Tracks) -> np.ndarray:
    pytest.importorskip("rerun")
    from rerun.chunk import RrdReader

    xy = _empty(tracks)
    for chunk in RrdReader(str(path)).stream().to_chunks():
        batch = chunk.to_record_batch()
        if "Points2D:positions" not in batch.schema.names:
            continue
        names = ("frame", "Points2D:positions", "Points2D:keypoint_ids")
        for frame, positions, rows in zip(*(batch.column(name).to_pylist() for name in names), strict=True):
            if positions:
                xy[rows, frame] = np.array(positions) + CENTERS
    return xy


def table(path: Path, tracks: Tracks) -> np.ndarray:
    pandas = pytest.importorskip("pandas")
    rows = pandas.read_parquet(path) if path.suffix == ".parquet" else pandas.read_csv(path, comment="#")
    xy, order = _empty(tracks), {name: row for row, name in enumerate(tracks.ids.tolist())}
    xy[[order[name] for name in rows["id"]], rows["frame"]] = rows[["x", "y"]]
    return xy


def wide(path: Path, tracks: Tracks) -> np.ndarray:
    rows = pytest.importorskip("pandas").read_csv(path, comment="#")
    return np.stack([rows[[f"{name}_x", f"{name}_y"]] for name in tracks.ids.tolist()])


def dltdv(path: Path, tracks: Tracks) -> np.ndarray:
    values = pytest.importorskip("pandas").read_csv(path).to_numpy()
    return values.reshape(len(values), -1, 2).transpose(1, 0, 2) - 0.5  # the centre of the first pixel is 1


AFTER_EFFECTS = """
var layers = [];
function CompItem() {}
var KeyframeInterpolationType = {HOLD: "hold"};
function Property() { this.times = []; this.values = []; this.holds = []; }
Property.prototype.setValuesAtTimes = function (times, values) {
    if (times.length !== values.length) { throw new Error("lengths differ"); }
    this.times = times; this.values = values;
};
Property.prototype.setInterpolationTypeAtKey = function (key) { this.holds.push(key); };
function Layer() { this.name = ""; this.Position = new Property(); this.Opacity = new Property(); }
Layer.prototype.property = function (name) { return name === "Transform" ? this : this[name]; };
var made = {frameDuration: 1001 / 24000, layers: {
    addNull: function () { var l = new Layer(); layers.push(l); return l; }}};
var app = {beginUndoGroup: function () {}, endUndoGroup: function () {}, project: {activeItem: null,
    items: {addComp: function (name, width, height, aspect, length, fps) { return made; }}}};
function alert() { throw new Error("alert"); }
"""


def layers(path: Path) -> list[dict[str, Any]]:
    """A stand-in for After Effects' objects records what the script does; QuickJS runs it."""
    context = pytest.importorskip("quickjs").Context()
    context.eval(AFTER_EFFECTS)
    context.eval(path.read_text())
    return json.loads(context.eval("JSON.stringify(layers)"))


def after_effects(path: Path, tracks: Tracks) -> np.ndarray:
    xy = _empty(tracks)
    for row, layer in enumerate(layers(path)):
        frames = np.rint(np.array(layer["Position"]["times"]) * 24000 / 1001).astype(int)
        xy[row, frames] = layer["Position"]["values"]
    return xy


DRIVER = """
import json, os, runpy, sys
import bpy
script, dump, saved = sys.argv[1:]
runpy.run_path(script, run_name="__main__")
clip = bpy.data.movieclips[0]
seen = [[t.name, t.weight, [[m.frame, *m.co, m.is_keyed, m.mute] for m in t.markers]] for t in clip.tracking.tracks]
runpy.run_path(script, run_name="__main__")
assert len(clip.tracking.tracks) == len(seen), "a second run adds nothing"
marker = clip.tracking.tracks["gap"].markers.find_frame(4)
marker.co, marker.is_keyed = (0.5, 0.25), True
bpy.ops.tapkit.save_tracks(filepath=saved)
with open(dump, "w") as file:
    json.dump({"size": list(clip.size), "tracks": seen}, file)
os._exit(0)  # bpy as a module may hang while Python takes down classes that a script registered
"""


def run_blender(script: Path) -> tuple[dict[str, Any], Path]:
    """Run the script in Blender. Returns what Blender then has, and the JSON saved after frame 3 of `gap` was moved."""
    if not BLENDER.exists():
        pytest.skip("Blender is not there: python tools/blender_venv.py")
    folder = script.parent
    (folder / "driver.py").write_text(DRIVER)
    command = [BLENDER, folder / "driver.py", script, folder / "dump.json", folder / "saved.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads((folder / "dump.json").read_text()), folder / "saved.json"


def blender(path: Path, tracks: Tracks) -> np.ndarray:
    xy = _empty(tracks)
    for row, (_, _, markers) in enumerate(run_blender(path)[0]["tracks"]):
        for frame, u, v, _, _ in markers:
            if tracks.valid[row, frame - 1]:
                xy[row, frame - 1] = u * tracks.video.width, (1 - v) * tracks.video.height
    return xy


ORACLES: dict[str, tuple[str, Callable[[Path, Tracks], np.ndarray]]] = {
    "dlc": ("pandas, as DeepLabCut", labelled),
    "dlc-predictions": ("pandas, as DeepLabCut", predictions),
    "sleap": ("sleap-io", sleap_labels),
    "sleap-analysis": ("h5py", sleap_analysis),
    "coco": ("pycocotools", coco),
    "colmap": ("pycolmap", colmap_model),
    "colmap-database": ("pycolmap", colmap_database),
    "rerun": ("rerun's RrdReader", rerun),
    "csv": ("pandas", table),
    "csv-wide": ("pandas", wide),
    "parquet": ("pandas", table),
    "dltdv": ("pandas", dltdv),
    "ae-script": ("QuickJS", after_effects),
    "blender": ("Blender 4.5", blender),
}
