"""Cameras from tracks, on scenes whose cameras are known: `tapkit.apps.camera`.

    python benchmarks/camera.py points [--seeds 3]
    python benchmarks/camera.py rendered [--seeds 3] [--model strand] [--known]

points: made tracks (see benchmarks/camera_scenes.py) of static scenes and of scenes in which 30 % and 50 % of the
points move: with the moving points told, without votes, with votes, and by the back end of LEAP-VO with the moving
points told (median of three seeds of its random depths). rendered: clips of 40 frames of 320x240 pixels, static and
with about 30 % of the picture moving, tracked by the model. The focal length is not told, unless --known says so.
Stored in benchmarks/results/camera.json: ATE after alignment by a similarity, as a share of the path.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import camera_scenes
import numpy as np

from tapkit import api
from tapkit.apps.camera import CameraOptions, Trajectory, estimate_cameras, score_cameras
from tapkit.apps.camera.follow import follow_scene
from tapkit.apps.camera.rigid import inverse

RESULTS = Path(__file__).parent / "results" / "camera.json"


def relative(found: Trajectory, pose: np.ndarray) -> float:
    """ATE as a share of the path, four digits."""
    return round(score_cameras(found.camera_to_world, inverse(pose)).relative, 4)


def of_points(moving: float, seed: int) -> dict[str, Any]:
    """One made scene, in four ways."""
    scene = camera_scenes.points(seed, moving=moving)
    seen, camera = camera_scenes.observed(scene), camera_scenes.CAMERA
    told = estimate_cameras(seen, camera, scene.dynamic)
    untold = estimate_cameras(seen, camera, options=CameraOptions(vote=False))
    began = time.process_time()
    voted = estimate_cameras(seen, camera)
    seconds = time.process_time() - began
    leap = [estimate_cameras(seen, camera, scene.dynamic, CameraOptions("leap", seed=s)) for s in range(3)]
    used = voted.inlier.any(1)
    recall = float((~used[scene.dynamic]).mean()) if scene.dynamic.any() else None
    return {
        "moving": moving, "seed": seed, "told": relative(told, scene.pose), "no votes": relative(untold, scene.pose),
        "votes": relative(voted, scene.pose), "leap, told": float(np.median([relative(f, scene.pose) for f in leap])),
        "recall": None if recall is None else round(recall, 3), "confidence": round(voted.report.confidence, 2),
        "cpu_seconds": round(seconds, 1),
    }  # fmt: skip


def of_clip(moving: float, seed: int, model: str, known: bool) -> dict[str, Any]:
    """One rendered clip."""
    clip = camera_scenes.rendered(seed, moving)
    tracker = api.load(model)
    began = time.process_time()
    with api.open_video(clip.images) as source:
        tracks = follow_scene(source, tracker)
    tracked = time.process_time()
    found = estimate_cameras(tracks, clip.camera if known else None)
    done = time.process_time()
    scores = score_cameras(found.camera_to_world, inverse(clip.pose))
    return {
        "moving": round(float(clip.moving.mean()), 2), "seed": seed, "ate": round(scores.relative, 4),
        "rpe_degrees": round(scores.rpe_rotation, 3), "points": len(tracks),
        "focal": round(float(found.intrinsics[0, 0] / clip.camera[0]), 3), "refined": found.report.focal_refined,
        "confidence": round(found.report.confidence, 2), "tracking_ms_per_frame": round(25 * (tracked - began)),
        "cameras_ms_per_frame": round(25 * (done - tracked)), "notes": list(found.report.notes),
    }  # fmt: skip


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["points", "rendered"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", default="strand")
    parser.add_argument("--known", action="store_true")
    asked = parser.parse_args()
    name = asked.what
    if asked.what == "rendered":
        name += f", {asked.model}, focal length {'known' if asked.known else 'found'}"
    rows = []
    for moving in (0.0, 0.3, 0.5) if asked.what == "points" else (0.0, 0.3):
        for seed in range(asked.seeds):
            row = of_points(moving, seed) if asked.what == "points" else of_clip(moving, seed, asked.model, asked.known)
            print(row, flush=True)
            rows.append(row)
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    stored[name] = rows
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
