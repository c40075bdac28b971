"""One video: film it in Blender, take its tracks, check them, write them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image

from tapkit import coords, storage
from tapkit.datasets.folder import TRACKS
from tapkit.errors import StorageError, UsageError
from tapkit.generate import layouts, preview, store
from tapkit.generate.checks import Check, Sums, reprojection_error, table
from tapkit.generate.motion import Flow, optical_flow, track_frame
from tapkit.generate.points import SurfacePoints, choose_points
from tapkit.generate.program import film
from tapkit.generate.rays import Surface
from tapkit.generate.settings import GenerateSettings
from tapkit.generate.take import Passes, Take

FAILED = "failed"
"""Folder below the set for videos that failed a check: what Blender left, sheet.jpg, reason.txt."""
PASSES = "passes"
_DECIDING = ("samples", "denoise", "points", "visibility", "pictures", "passes", "also")
"""Settings that change what is written, besides the scene."""

Report = Callable[[dict[str, Any]], None]


class Result(NamedTuple):
    """What became of a video."""

    name: str
    folder: Path
    """Where it is; of one that failed, where it is kept aside."""
    checks: list[Check]

    @property
    def passed(self) -> bool:
        """Whether it was written."""
        return all(check.passed for check in self.checks)


class Job(NamedTuple):
    """A video to make."""

    name: str
    description: dict[str, Any]
    """Of the scene, as JSON."""
    out: Path
    """Folder of the set."""
    settings: GenerateSettings

    @property
    def clip(self) -> Path:
        """Folder of the finished video."""
        return self.out / self.name

    @property
    def work(self) -> Path:
        """Folder of the unfinished one; `tapkit partial` knows it by its name and its job.json."""
        return self.out / f"{self.name}{storage.PARTIAL}"

    @property
    def aside(self) -> Path:
        """Folder that is kept of one that failed a check."""
        return self.out / FAILED / self.name

    @property
    def done(self) -> bool:
        """Whether it is finished."""
        return (self.clip / TRACKS).is_file()


def make_video(
    job: Job,
    blender: Path,
    report: Report | None = None,
    started: Callable[[subprocess.Popen[str]], None] | None = None,
) -> Result:
    """Film, track, check and write one video; frames that an interrupted run has left are kept.

    Args:
        blender: from `program.find_blender`.
        report: called with {"what": "frame", "number": ..., ...} after each frame, and with "blender".
        started: called with Blender's process.

    Raises:
        UsageError: other settings than those it was begun with, or something else stands in its place.
        StorageError: the disk is full or fails, or another process is at work on it.
        BlenderError: Blender has stopped.
    """
    storage.make_folder(job.out)
    lock = FileLock(job.work.with_name(job.work.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StorageError(f"another process is at work on {job.work}") from error
    try:
        _begin(job)
        settings = job.settings
        film(
            blender,
            {
                "description": job.description,
                "assets": None if settings.assets is None else str(settings.assets.resolve()),
                "samples": settings.samples,
                "denoise": settings.denoise,
                "threads": settings.threads,
                "device": settings.device,
            },
            job.work,
            report or (lambda _: None),
            started,
        )
        result = _finish(job)
    finally:
        lock.release()
    Path(lock.lock_file).unlink(missing_ok=True)
    return result


def _begin(job: Job) -> None:
    """Make the folder of work, or see that it was begun with the same settings."""
    about = _deciding(job.settings)
    text = json.dumps({"settings": about, "description": job.description}, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = job.work / "job.json"
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            before = None
        if before != digest:
            raise UsageError(
                f"{job.work} was begun with other settings; repeat those, or remove it (tapkit partial clear)"
            )
        return
    if job.clip.exists() and any(job.clip.iterdir()):
        raise UsageError(
            f"{job.clip} is there already and is no finished clip (it has no {TRACKS}): name another folder"
        )
    storage.make_folder(job.work)
    storage.write_text(path, json.dumps({"sha256": digest, "settings": about}, indent=1))


def _deciding(settings: GenerateSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in _DECIDING}


def _finish(job: Job) -> Result:
    """From what Blender has left to the finished video, or to one that is kept aside."""
    take = Take(job.work)
    points = choose_points(take, job.settings.points, int(job.description["seed"]))
    video, checks, middle = _gather(job, take, points)
    result = Result(job.name, job.clip, checks)
    content = {
        "passed": result.passed,
        "checks": [{**check._asdict(), "passed": check.passed} for check in checks],
        "blender": take.blender,
        "points": len(points.part),
        "settings": _deciding(job.settings),
    }
    storage.write_text(job.work / "checks.json", json.dumps(content, indent=1) + "\n")
    storage.write_text(job.work / "scene.json", json.dumps(job.description, indent=1) + "\n")
    preview.write_sheet(job.work / "sheet.jpg", video, *middle)
    if not result.passed:
        storage.write_text(job.work / "reason.txt", "\n".join(table(checks)) + "\n")
        storage.make_folder(job.aside.parent)
        job.work.rename(job.aside)
        return result._replace(folder=job.aside)
    for layout in job.settings.also:
        write = {"pointodyssey": layouts.write_pointodyssey, "kubric": layouts.write_kubric}[layout]
        write(job.out / layout / job.name, video)
    with storage.atomic(job.clip) as part:
        part.mkdir()
        for name in ("checks.json", "scene.json", "sheet.jpg"):
            shutil.copyfile(job.work / name, part / name)
        if job.settings.passes:
            shutil.copytree(job.work / PASSES, part / PASSES)
        preview.write_overlay(part / "overlay.mp4", video)
        store.write_truth(part / store.TRUTH, video)
        _write_pictures(part, video, job.settings.pictures)
        store.write_tracks(part / TRACKS, video)
    shutil.rmtree(job.work, ignore_errors=True)
    return result


class _Frame(NamedTuple):
    surface: Surface
    passes: Passes


def _gather(job: Job, take: Take, points: SurfacePoints) -> tuple[store.Video, list[Check], tuple[Passes, Flow | None]]:
    """Go through the frames once: tracks, checks and, if they are wanted, passes with flow, written beside the frames.

    Returns also passes and flow of the frame in the middle, to look at.
    """
    sums, tracks = Sums(take, points), []
    if job.settings.passes:
        storage.make_folder(job.work / PASSES)
    middle: tuple[Passes, Flow | None] | None = None
    last: _Frame | None = None
    backward: Flow | None = None
    for number in range(take.frames + 1):
        here = _open_frame(take, number) if number < take.frames else None
        if here is not None:
            with Image.open(take.picture_file(number)) as picture:
                image = np.array(picture.convert("RGB"))
            found = track_frame(take, points, here.surface, here.passes)
            sums.add(found, here.surface, here.passes, image)
            camera = here.surface.camera
            tracks.append({**found._asdict(), "intrinsics": camera.intrinsics, "extrinsics": camera.extrinsics})
        if last is not None:
            shown = number - 1 == take.frames // 2
            forward = None
            if here is not None and (job.settings.passes or shown):
                forward = optical_flow(take, last.surface, here.surface)
            if job.settings.passes:
                store.write_passes(job.work / PASSES / f"{number - 1:05d}.npz", last.passes, forward, backward)
                backward = None if here is None else optical_flow(take, here.surface, last.surface)
            if shown:
                middle = last.passes, forward
        last = here
    assert middle is not None
    truth = store.truth_of(take, points, tracks)
    visible = truth.visible if job.settings.visibility == "rays" else truth.visible_by_depth
    video = store.Video(
        job.name, int(job.description["seed"]), take.fps, take.size, tuple(take.parts), truth, visible, take
    )
    inside = truth.valid & coords.inside(np.where(truth.valid[..., None], truth.xy, np.float32(-1)), take.size)
    error = reprojection_error(truth.world, truth.xy, inside, truth.intrinsics, truth.extrinsics)
    return video, sums.checks(error), middle


def _open_frame(take: Take, number: int) -> _Frame:
    vertices, camera = take.geometry(number)
    return _Frame(Surface(vertices, take.triangles, camera), take.passes(number))


def _write_pictures(part: Path, video: store.Video, kind: str) -> None:
    """frames/ as .jpg or .png, or video.mp4, as `tapkit synth` writes them."""
    from tapkit.synth.write import write_pictures

    pictures = (np.array(Image.open(video.take.picture_file(n)).convert("RGB")) for n in range(video.take.frames))
    write_pictures(part, pictures, kind, video.size, video.fps, video.take.frames)
