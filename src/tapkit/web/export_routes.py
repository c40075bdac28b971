"""Addresses that hand the result on: files for other programs."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import warnings
import zipfile
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Body, Response
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from tapkit import storage
from tapkit.errors import UsageError, VideoWarning
from tapkit.export import library
from tapkit.export.format import ExportWarning
from tapkit.web import answers
from tapkit.web.gate import From, OfStudio

router = APIRouter(prefix="/api/clips/{clip}/export")

_WARNED = threading.Lock()
"""Python's warnings are the whole process's: two exports must not collect each other's."""


@router.post("")
def export(
    studio: OfStudio,
    who: From,
    clip: int,
    format: Annotated[str, Body()],
    points: Annotated[list[int] | None, Body()] = None,
    options: Annotated[dict[str, str] | None, Body()] = None,
    of: Annotated[int | None, Body()] = None,
) -> Response:
    """The clip's points in a format of `tapkit export --list`: the file, or a zip of several.

    What the format cannot hold is said in the header X-Tapkit-Notes: a list of sentences, JSON, percent-encoded.
    """
    chosen = library.find(format)
    set_to = {name: _option(chosen, name, value) for name, value in (options or {}).items()}
    found = studio.project.clip(clip, who.user)
    studio.project.check_pictures(clip, chosen, set_to, who.user)
    tracks = studio.project.to_tracks(clip, points, who.user, of)
    folder = Path(tempfile.mkdtemp(prefix="tapkit-export-"))
    try:
        stem = storage.file_name(Path(found.name).stem)
        target = folder / "out" / (stem + ("" if chosen.suffix == "/" else chosen.suffix))
        storage.make_folder(target.parent)
        with _WARNED, warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            chosen.write(tracks, target, **set_to)
        file = _one_file(target.parent, stem, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    said = [str(note.message) for note in notes if issubclass(note.category, (ExportWarning, VideoWarning))]
    headers = {"x-tapkit-notes": quote(json.dumps(said)), "cache-control": "no-store"}
    return FileResponse(
        file,
        media_type="application/octet-stream",
        filename=file.name,
        headers=headers,
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )


def _option(chosen: Any, name: str, value: str) -> Any:
    if name not in chosen.options:
        known = ", ".join(chosen.options) or "none"
        raise UsageError(f"{chosen.name} has no option {name[:60]!r}; it has {known}")
    return chosen.options[name].kind(value)


def _one_file(written: Path, stem: str, folder: Path) -> Path:
    """What was written, as one file: itself, or a zip of it."""
    files = sorted(path for path in written.rglob("*") if path.is_file())
    if len(files) == 1 and files[0].parent == written:
        return files[0]
    packed = folder / f"{stem}.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(written))
    return packed


@router.get("/check")
def check(studio: OfStudio, who: From, clip: int) -> Response:
    """What to know before a clip is handed on, as sentences; `places` is how many are doubtful."""
    project = studio.project
    found = project.clip(clip, who.user)
    points = project.points(clip, who.user).points
    notes = []
    if not points:
        notes.append("There is no point yet.")
    without = [each for each in project.summary(clip, 1, who.user).points if not any(each.visible)]
    labels = {point.id: point.label for point in points}
    if without:
        names = ", ".join(labels.get(each.id, str(each.id)) for each in without[:5])
        notes.append(f"Visible on no frame: {names}{' and others' if len(without) > 5 else ''}.")
    places = project.doubtful(clip, who.user)
    if places:
        many = "1 doubtful place has" if len(places) == 1 else f"{len(places)} doubtful places have"
        notes.append(f"{many} not been looked at or corrected.")
    if found.problem:
        notes.append(f"{found.problem}.")
    waiting = [job for job in studio.jobs.every(None) if job.clip == clip and job.state in ("queued", "running")]
    if waiting:
        notes.append("Tracking is not finished.")
    return answers.answer({"ready": bool(points) and not waiting, "notes": notes, "places": len(places)})
