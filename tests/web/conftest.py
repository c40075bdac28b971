"""Tests of the studio share clips, a project, and a studio that is open on it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tapkit.annotate import Project
from tapkit.web.app import make_app
from tapkit.web.studio import Studio, open_studio

sys.path.insert(0, str(Path(__file__).parent))

import numbered_clips

ADDRESS = "http://127.0.0.1:8010"


class Browser(TestClient):
    """A browser at the studio: keeps its cookie, and carries the token of its session."""

    def __init__(self, app: Any, window: str = "", client: str = "testclient") -> None:
        super().__init__(
            app, base_url=ADDRESS, headers={"x-tapkit-window": window} if window else {}, client=(client, 50000)
        )

    def enter(self, studio: Studio) -> Browser:
        """Open the address with its key."""
        self.get(f"/?key={studio.sessions.secret}", follow_redirects=False)
        self.refresh()
        return self

    def refresh(self) -> dict[str, Any]:
        """Ask who one is, and take up the token."""
        session: dict[str, Any] = self.get("/api/session").json()
        self.headers["x-tapkit-token"] = session["token"] or ""
        return session

    def says(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """The JSON answer, which must have that status."""
        answer = self.request(method, path, json=body)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()

    def live(self, clip: int = 1, origin: str = ADDRESS) -> Any:
        """The socket of a clip. (The test client itself would ask for "testserver".)"""
        return self.websocket_connect(
            ADDRESS.replace("http", "ws") + f"/api/clips/{clip}/live", headers={"origin": origin}
        )

    def edit(self, *edits: dict[str, Any], base: int | None = None, force: bool = False, status: int = 200) -> Any:
        """Edits of the first clip."""
        body = {"base": base, "force": force, "edits": list(edits)}
        return self.says("POST", "/api/clips/1/edits", body, status)

    def add(self, x: float = 40, y: float = 30, t: int = 0, **more: Any) -> int:
        """A point of the first clip; returns its id."""
        return int(self.edit({"op": "add_point", "t": t, "x": x, "y": y, **more})["points"][0]["id"])


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clip.mp4 and other.mp4."""
    folder = tmp_path_factory.mktemp("clips")
    numbered_clips.write_clip(folder / "clip.mp4", numbered_clips.pictures())
    numbered_clips.write_clip(folder / "other.mp4", numbered_clips.pictures(6))
    return folder


@pytest.fixture(scope="session")
def project_folder(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with clip.mp4, to be copied."""
    where = tmp_path_factory.mktemp("project") / "shot.tapproj"
    with Project.create(where) as project:
        project.add_clip(clip_folder / "clip.mp4")
    return where


@pytest.fixture
def project(project_folder: Path, tmp_path: Path) -> Iterator[Project]:
    where = tmp_path / "shot.tapproj"
    shutil.copytree(project_folder, where)
    with Project.open(where) as opened:
        yield opened


Opener = Callable[..., Studio]


@pytest.fixture
def opener(project: Project, clip_folder: Path) -> Iterator[Opener]:
    """Opens the studio with other settings."""
    made: list[Studio] = []

    def make(**settings: Any) -> Studio:
        made.append(open_studio(project, project.where, [clip_folder], port=8010, **settings))
        return made[-1]

    yield make
    for studio in made:
        studio.close()


@pytest.fixture
def studio(opener: Opener) -> Studio:
    return opener()


@pytest.fixture
def app(studio: Studio) -> Any:
    return make_app(studio)


@pytest.fixture
def browser(app: Any, studio: Studio) -> Browser:
    return Browser(app).enter(studio)
