"""Sets of videos: which ones, several Blenders at a time, and going on after one that failed."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tapkit.errors import StorageError, TapkitError, UsageError
from tapkit.generate.settings import CALIBRATION, GenerateSettings
from tapkit.generate.video import Job, Result, make_video

Outcome = Result | TapkitError


def plan(kinds: Sequence[str], count: int, seed: int, out: Path, settings: GenerateSettings) -> list[Job]:
    """`count` videos. Video i is made from the number `seed` + i alone, which also chooses its kind, in turn.

    Raises `UsageError` for an assets folder that cannot be read.
    """
    if count < 1 or seed < 0:
        raise UsageError(f"needs at least one video and a seed that is not negative, got {count} and {seed}")
    jobs = []
    for number in range(seed, seed + count):
        kind = kinds[number % len(kinds)]
        jobs.append(Job(f"{kind}_{number:06d}", describe(kind, number, settings), out, settings))
    return jobs


def plan_scenes(files: Sequence[Path], out: Path, settings: GenerateSettings) -> list[Job]:
    """A video of each description of a scene, named as its file. Raises `UsageError` for one that is not valid."""
    from tapkit.generate.scene.description import SceneDescription
    from tapkit.generate.scene.plain import SceneError

    jobs = []
    for file in files:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            description = SceneDescription.from_json(content).to_json()
        except OSError as error:
            raise StorageError(f"cannot read {file}: {error.strerror}") from error
        except (SceneError, ValueError) as error:
            raise UsageError(f"{file} describes no scene: {error}") from error
        name = file.parent.name if file.name == "scene.json" else file.stem
        jobs.append(Job(name, description, out, settings))
    names = [job.name for job in jobs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two scenes would be written as {twice[0]}: rename a file")
    return jobs


def describe(kind: str, number: int, settings: GenerateSettings) -> dict[str, Any]:
    """The scene of a number, as JSON."""
    if kind == CALIBRATION:
        width, height = settings.size
        facts = {"frames": settings.frames, "width": width, "height": height, "fps": settings.fps}
        return {"kind": kind, "seed": number, **facts}
    from tapkit.generate.scene.description import describe as describe_scene
    from tapkit.generate.scene.plain import SceneError

    try:
        scene = describe_scene(kind, number, 0, settings.frames, settings.size, float(settings.fps), settings.assets)
    except SceneError as error:
        raise UsageError(str(error)) from error
    return json.loads(json.dumps(scene.to_json()))  # type: ignore[no-any-return]


def make_videos(
    jobs: Sequence[Job],
    blender: Path,
    at_once: int = 1,
    report: Callable[[Job, dict[str, Any]], None] | None = None,
    finished: Callable[[Job, Outcome], None] | None = None,
) -> list[Outcome]:
    """Make those that are not there yet, `at_once` at a time. One that fails does not stop the others.

    Args:
        blender: from `program.find_blender`.
        report: called from several threads with what happens to a job.
        finished: called with what became of each.

    Returns:
        What became of each of the jobs that were not there, in their order.

    When it is interrupted, every Blender is ended; the same call goes on where they were.
    """
    running: set[subprocess.Popen[str]] = set()
    stop = threading.Event()

    def make(job: Job) -> Outcome | None:
        if stop.is_set():
            return None
        try:
            if job.aside.exists():
                raise UsageError(f"{job.name} failed a check before: {job.aside} tells which; remove that to try again")
            say = None if report is None else lambda event: report(job, event)
            outcome: Outcome = make_video(job, blender, say, running.add)
        except TapkitError as error:
            if stop.is_set():
                return None
            outcome = error
        if finished is not None:
            finished(job, outcome)
        if isinstance(outcome, StorageError):  # a full disk does not get better
            stop.set()
        return outcome

    pool = ThreadPoolExecutor(max_workers=max(at_once, 1))
    try:
        found = list(pool.map(make, [job for job in jobs if not job.done]))
    except BaseException:
        stop.set()
        for process in running:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [each for each in found if each is not None]
