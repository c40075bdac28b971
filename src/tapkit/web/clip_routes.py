"""Addresses of clips: the list, adding and uploading, and their frames."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from starlette.concurrency import run_in_threadpool

from tapkit.errors import TapkitError, UsageError, VideoError
from tapkit.web import answers, uploads
from tapkit.web.gate import From, OfStudio

router = APIRouter(prefix="/api")


@router.get("/clips")
def every(studio: OfStudio, who: From) -> Response:
    """All clips that this user may see."""
    return answers.answer([answers.clip(clip) for clip in studio.project.clips(who.user)])


@router.get("/files")
def files(studio: OfStudio, who: From) -> Response:
    """Videos in the folders that were opened, which can be added."""
    have = {clip.path for clip in studio.project.clips(who.user)}
    found = [path for path in studio.folders.found() if str(path) not in have]
    return answers.answer([{"path": str(path), "name": path.name} for path in found])


@router.post("/clips")
def add(studio: OfStudio, who: From, path: Annotated[str, Body(embed=True)]) -> Response:
    """A video under the folders that were opened becomes a clip."""
    found = studio.folders.inside(path)
    return answers.answer(answers.clip(studio.project.add_clip(found, user=who.user)), 201)


@router.post("/clips/{clip}/relink")
def relink(studio: OfStudio, who: From, clip: int, path: Annotated[str, Body(embed=True)]) -> Response:
    """Where a clip's video is now."""
    found = studio.folders.inside(path)
    return answers.answer(answers.clip(studio.project.relink(clip, found, user=who.user)))


@router.delete("/clips/{clip}")
def remove(studio: OfStudio, who: From, clip: int) -> Response:
    """Take a clip out of the list; its points stay in the database."""
    studio.project.remove_clip(clip, who.user)
    return answers.answer({})


@router.post("/upload")
async def upload(studio: OfStudio, who: From, request: Request, name: str = "") -> Response:
    """A video from the browser becomes a clip: the body itself, with ?name=, or the field "file" of a form."""
    if studio.upload_folder is None:
        raise UsageError(studio.project.read_only or "this project has no folder for uploads")
    await run_in_threadpool(studio.project.may_add_clips, who.user)  # before anything is written to the disk
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form(max_files=1, max_fields=4) as form:
            file: Any = form.get("file")
            if file is None or isinstance(file, str):
                raise UsageError('the form has no field "file" with a video')
            parts = _chunks(file)
            path = await uploads.receive(parts, file.filename or "clip", studio.upload_folder, studio.largest_upload)
    else:
        path = await uploads.receive(request.stream(), name or "clip", studio.upload_folder, studio.largest_upload)
    try:
        clip = await run_in_threadpool(studio.project.add_clip, path, None, who.user)
    except TapkitError as error:
        path.unlink(missing_ok=True)
        said = str(error).replace(str(path), path.name)  # where the server keeps its files is nobody's business
        raise (VideoError(said) if isinstance(error, VideoError) else error) from error
    if not path.samefile(clip.path):  # the same video is here already
        path.unlink(missing_ok=True)
    return answers.answer(answers.clip(clip), 201)


async def _chunks(file: Any) -> AsyncIterator[bytes]:
    while chunk := await file.read(1 << 20):
        yield chunk


@router.get("/clips/{clip}/frame/{t}")
def frame(
    studio: OfStudio,
    who: From,
    request: Request,
    clip: int,
    t: int,
    height: int | None = None,
    full: bool = False,
    v: str = "",
) -> Response:
    """Frame `t` as JPEG of at most `height` rows, or as PNG of its exact pixels.

    With ?v= and the clip's hash the browser may keep it for ever; without, it asks whether it is still the same.
    """
    found = studio.project.clip(clip, who.user)
    tag = f'"{found.content_hash[:32]}-{t}-{"full" if full else height or 0}"'
    headers = {"x-tapkit-frame": str(t), "etag": tag, "cache-control": "private, no-cache"}
    if v and v == found.content_hash:
        headers["cache-control"] = "private, max-age=31536000, immutable"
    if request.headers.get("if-none-match") == tag:
        return Response(None, 304, headers)
    if found.problem:
        raise VideoError(found.problem)
    picture = studio.frames.picture(found.path, found.content_hash, t, height, full)
    return Response(picture.data, 200, headers, picture.kind)
