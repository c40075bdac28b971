"""Tests of the studio share clips, a project, and a studio that is open on it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tapkit.annotate import Project
from tapkit.web.app import make_app
from tapkit.web.studio import Studio, open_studio

sys.path.insert(0, str(Path(__file__).parent))

import numbered_clips
from studio_client import Browser, Opener


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
