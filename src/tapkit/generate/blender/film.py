"""One video, in Blender's own Python: build the scene of a job, then film it frame by frame.

    PYTHON film.py JOB.json
    blender --background --factory-startup --python-exit-code 1 --python film.py -- JOB.json

It imports bpy, numpy and the files beside it, nothing of tapkit: Blender is a program of its own. A job is JSON:

    description    the scene (tapkit.generate.scene), a dict
    assets         folder of models and textures, or null
    folder         where the frames go
    samples, threads, device, denoise

In `folder` it leaves parts.json and parts.npz (the objects and their triangles), and for each frame 00000.png,
00000.exr and 00000.npz (vertices of what has moved since the first frame, camera). The .npz comes last: a frame that
has it is complete, and is not rendered again. Lines that begin with "tapkit: " are for who started it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import bpy
import numpy as np
from blender import geometry
from blender.passes import Film, choose_device


def main(job: dict[str, Any]) -> None:
    """Film the job."""
    folder = Path(job["folder"])
    built = build(job["description"], job["assets"])
    geometry.settle(built)
    scene = bpy.context.scene
    device = choose_device(scene, job["device"])
    film = Film(built, job["samples"], job["threads"], job["denoise"])
    say("blender", version=bpy.app.version_string, device=device, cpu=cpu())
    parts = geometry.parts(built)
    first = _first_frame(scene, parts, folder, job["description"])
    parent = os.getppid()
    for frame in range(job["description"]["frames"]):
        if os.getppid() != parent:  # whoever started this was killed, and may be started again
            raise SystemExit("nobody waits for this any more")
        if not (folder / f"{frame:05d}.npz").is_file():
            began, spent = time.monotonic(), cpu()
            _film_frame(scene, film, parts, first, folder, frame)
            say("frame", number=frame, seconds=time.monotonic() - began, cpu=cpu() - spent, memory=memory())
    say("done")


def build(description: dict[str, Any], assets: str | None) -> Any:
    """The scene, opened in Blender."""
    if description["kind"] == "calibration":
        from blender.calibration import build as calibration

        return calibration(description)
    from blender.build import build as build_scene

    return build_scene(description, Path(assets) if assets else None)


def _go_to(scene: Any, frame: int) -> Any:
    """Evaluate frame `frame` of the video, which is Blender's frame `frame` + 1."""
    scene.frame_set(frame + 1)
    return bpy.context.evaluated_depsgraph_get()


def _first_frame(scene: Any, parts: list[geometry.Part], folder: Path, description: dict[str, Any]) -> list[np.ndarray]:
    """Write what holds for all frames; returns the vertices of the first."""
    depsgraph = _go_to(scene, 0)
    vertices = [geometry.vertices(part, depsgraph) for part in parts]
    arrays = {f"triangles{i}": geometry.triangles(part, depsgraph) for i, part in enumerate(parts)}
    arrays |= {f"vertices{i}": each for i, each in enumerate(vertices)}
    _save(folder / "parts.npz", arrays)
    about = {
        "frames": description["frames"],
        "size": [scene.render.resolution_y, scene.render.resolution_x],
        "fps": [scene.render.fps, 1],
        "blender": bpy.app.version_string,
        "parts": [{"name": part.object.name, "kind": part.kind, "index": part.mask} for part in parts],
    }
    part = _part(folder / "parts.json")
    part.write_text(json.dumps(about))
    os.replace(part, folder / "parts.json")
    return vertices


def _film_frame(
    scene: Any, film: Film, parts: list[geometry.Part], first: list[np.ndarray], folder: Path, frame: int
) -> None:
    depsgraph = _go_to(scene, frame)
    arrays: dict[str, np.ndarray] = geometry.camera(scene, depsgraph)
    for i, part in enumerate(parts):
        vertices = geometry.vertices(part, depsgraph)
        if vertices.shape != first[i].shape:
            raise SystemExit(
                f"{part.object.name} has {len(first[i])} vertices on the first frame and {len(vertices)} on frame "
                f"{frame + 1}: surfaces whose vertices come and go have no tracks"
            )
        if not np.array_equal(vertices, first[i]):
            arrays[f"vertices{i}"] = vertices
    for ending, render in (("exr", film.data), ("png", film.picture)):
        path = folder / f"{frame:05d}.{ending}"
        render(_part(path))
        os.replace(_part(path), path)
    _save(folder / f"{frame:05d}.npz", arrays)


def _part(path: Path) -> Path:
    """Where a file grows; the name is this process's own."""
    return path.with_name(f"{path.name}.{os.getpid()}.part")


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """All of it or nothing."""
    part = _part(path)
    with open(part, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # no array is called allow_pickle
    os.replace(part, path)


def say(what: str, **facts: Any) -> None:
    """A line for who started this."""
    print("tapkit: " + json.dumps({"what": what, **facts}), flush=True)


def cpu() -> float:
    """Seconds of computing of this process and its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def memory() -> int:
    """The most bytes held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[-1]).read_text(encoding="utf-8")))
    sys.stdout.flush()
    os._exit(0)  # bpy as a module may hang while Python is taken down
