"""The application: routes, refusals as sentences, and the page."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.staticfiles import StaticFiles

from tapkit.errors import TapkitError, one_line
from tapkit.web import answers, clip_routes, export_routes, job_routes, people_routes, point_routes
from tapkit.web.gate import Gate
from tapkit.web.guard import Guard
from tapkit.web.studio import Studio

LARGEST_BODY = 8 << 20
"""Bytes of a request that is no upload: ten thousand edits."""
LARGEST_LOGIN = 8 << 10
_FORM = 1 << 20
"""What a form adds to the file in it."""

ROUTERS = tuple(each.router for each in (clip_routes, point_routes, job_routes, people_routes, export_routes))

log = logging.getLogger("tapkit.web")


def make_app(studio: Studio) -> FastAPI:
    """The application over a studio, which is closed with it."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        studio.close()

    limits = {"/": LARGEST_BODY, "/api/login": LARGEST_LOGIN, "/api/upload": studio.largest_upload + _FORM}
    app = FastAPI(
        title="tapkit studio",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        middleware=[Middleware(Guard, names=studio.names, limits=limits), Middleware(Gate, studio=studio)],
    )
    app.state.studio = studio
    _add_refusals(app)
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/", _Page(directory=page(), html=True))
    return app


def page() -> Path:
    """The folder of the page: package data."""
    return Path(str(files("tapkit.web") / "page"))


class _Page(StaticFiles):
    """The page's files, looked at anew each time: a page of an older version would speak another language."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(TapkitError)
    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, TapkitError)
        return answers.problem(error)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answers.answer({"error": _first(error)}, 400)

    @app.exception_handler(HTTPException)
    def other(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answers.answer({"error": str(error.detail)}, error.status_code)

    @app.exception_handler(Exception)
    def failed(request: Request, error: Exception) -> Response:
        log.error("%s %s", request.method, request.url.path, exc_info=error)
        text = one_line(f"{type(error).__name__}: {str(error)[:200]}")
        return answers.answer({"error": f"the server failed ({text}); nothing of this request was done"}, 500)


def _first(error: RequestValidationError) -> str:
    """The first thing that is wrong with a request, as a sentence."""
    found = error.errors()[0]
    where = ".".join(str(part) for part in found["loc"][1:]) or "the request"
    return one_line(f"{where[:80]}: {found['msg']}"[:300])
