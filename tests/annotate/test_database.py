"""Versions, places, damage, kill -9: what happens to the database itself."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from tapkit.annotate import Project, SetKeyframe, migrations, schema
from tapkit.annotate.database import FILE, Database
from tapkit.errors import StorageError, UsageError, VideoError

SHORT, LONG = 1, 2


def test_the_migrations_make_what_the_schema_says(project: Project) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with project.database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_the_versions_that_are_known_are_those_of_the_migrations() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    assert [each.revision for each in reversed(list(scripts.walk_revisions()))] == list(schema.VERSIONS)


def as_of_version(place: str, version: str) -> None:
    """A database of former days: without the team's tables."""
    database = Database.open(place)
    with database.write() as connection:
        for name in ("comments", "reviews", "assignments", "users"):
            connection.execute(sa.text(f"drop table {name}"))
        connection.execute(sa.text(f"update alembic_version set version_num = '{version}'"))
    database.close()


def test_a_project_of_an_older_version_is_brought_up_to_date(place: str) -> None:
    with Project.open(place) as project:
        project.edit(SHORT, [{"op": "add_point", "t": 0, "x": 1, "y": 1, "label": "kept"}])
    as_of_version(place, "0001")
    with pytest.raises(StorageError, match="older tapkit"):
        Project.open(place, read_only=True)
    with Project.open(place) as project:
        assert [p.label for p in project.points(SHORT).points] == ["kept"]
        assert project.add_user("olga", "owner").id == 1


def test_a_project_of_a_newer_version_is_refused_and_left_alone(place: str) -> None:
    as_of_version(place, "0099")
    with pytest.raises(StorageError, match=r"newer tapkit \(its version is 0099\): update tapkit"):
        Project.open(place)
    with pytest.raises(StorageError, match="newer"):
        Project.open(place)


def test_a_project_is_called_as_its_place(place: str, tmp_path: Path) -> None:
    with Project.open(place) as project:
        assert (project.name == "takes" and "takes" in project.where) or project.database.folder is None
    with Project.create(tmp_path / "Shot 3.tapproj") as project:
        assert project.name == "Shot 3"


def test_looking_only(place: str) -> None:
    with Project.open(place, read_only=True) as project:
        assert project.read_only and len(project.clips()) == 2
        with pytest.raises(StorageError, match="cannot be changed"):
            project.edit(SHORT, [{"op": "add_point", "t": 0, "x": 1, "y": 1}])


def test_a_folder_that_may_not_be_written_to_can_be_looked_at(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(template, tmp_path / "a.tapproj")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    before = sorted(p.name for p in (tmp_path / "a.tapproj").iterdir())
    with Project.open(tmp_path / "a.tapproj") as project:
        assert "may not be written" in str(project.read_only) and len(project.clips()) == 2
    assert sorted(p.name for p in (tmp_path / "a.tapproj").iterdir()) == before


def test_what_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is no project"):
        Project.open(tmp_path)
    (tmp_path / FILE).write_text("certainly no database, but long enough to look like one" * 40)
    with pytest.raises(StorageError, match="not a database, or is damaged"):
        Project.open(tmp_path)
    (tmp_path / FILE).unlink()
    sqlite3.connect(tmp_path / FILE).execute("create table other (x)")
    with pytest.raises(StorageError, match="holds something else"):
        Project.open(tmp_path)
    with pytest.raises(UsageError, match="is a project already"):
        Project.create(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("mine")
    with pytest.raises(UsageError, match="other things in it"):
        Project.create(tmp_path / "full")
    with pytest.raises(UsageError, match="not in mysql"):
        Project.create("mysql://host/db")


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StorageError, match="cannot be reached") as told:
        Project.open(f"postgresql://ann:secret@/takes?host={tmp_path}")
    assert "secret" not in str(told.value)


def test_a_database_with_a_project_in_it_is_not_overwritten(postgres: str, server_template: str, admin: object) -> None:
    with pytest.raises(UsageError, match="a project is in"):
        Project.create(postgres % server_template)
    admin.execute("CREATE DATABASE schemas")  # type: ignore[attr-defined]
    address = postgres % "schemas"
    for name in ("one", "two"):  # several projects in one database, by schemas
        import psycopg

        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")  # type: ignore[arg-type]
        with Project.create(f"{address}&options=-csearch_path%3D{name}", name) as project:
            assert project.name == name and project.clips() == []


def test_a_full_disk_is_said_and_loses_nothing(template: Path, tmp_path: Path) -> None:
    shutil.copytree(template, tmp_path / "a.tapproj")
    with Project.open(tmp_path / "a.tapproj") as project:
        point = project.edit(SHORT, [{"op": "add_point", "t": 0, "x": 1, "y": 1}]).points[0].id

        @sa.event.listens_for(project.database.engine, "begin")
        def no_more_pages(connection: sa.Connection) -> None:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

        def fill() -> None:
            for _ in range(9):
                project.store_span(SHORT, point, 0, 12, np.full((12, 2), 5.0), np.ones(12), np.ones(12), "s")
                project.edit(SHORT, [{"op": "add_point", "t": 0, "x": 1, "y": 1, "label": "x" * 200}] * 40)

        with pytest.raises(StorageError, match="the disk is full; nothing of this change was kept"):
            fill()
        known = project.clip(SHORT).revision
    with Project.open(tmp_path / "a.tapproj") as project:
        assert project.clip(SHORT).revision == known == len(project.events(SHORT))


CHILD = """
import sys
import numpy as np
from tapkit.annotate import Project
project, point = Project.open(sys.argv[1]), int(sys.argv[2])
run = None
for n in range(10_000):
    change = project.edit(2, [{"op": "set_keyframe", "point": point, "t": n % 600, "x": n % 30, "y": n % 20}])
    start = n % 590
    xy = np.full((10, 2), n % 20 + 0.5)
    run = project.store_span(2, point, start, start + 10, xy, np.ones(10), np.ones(10), "s", run=run).run
    print(change.revision, flush=True)
"""


def test_a_program_that_is_killed_loses_nothing_that_was_acknowledged(place: str) -> None:
    with Project.open(place) as project:
        point = project.edit(LONG, [{"op": "add_point", "t": 0, "x": 0, "y": 0}]).points[0].id
    child = subprocess.Popen([sys.executable, "-c", CHILD, place, str(point)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = [int(child.stdout.readline()) for _ in range(5)]
    child.send_signal(signal.SIGKILL)
    said += [int(line) for line in child.stdout.read().splitlines() if line.strip()]
    child.wait()
    with Project.open(place) as project:
        events = {event.revision: event for event in project.events(LONG)}
        assert project.clip(LONG).revision >= said[-1] and len(said) >= 5
        edits = [r for r, event in events.items() if event.kind == "edit"]
        assert set(said) <= set(edits)
        keys = {k.t: k.x for k in project.points(LONG).points[0].keyframes}
        assert all(keys[n] == n % 30 for n in range(len(said)))
        (found,) = project.positions(LONG, start=0, stop=len(said))
        assert set(found.source) == {"k"}
        project.edit(LONG, [SetKeyframe(point, 599, 3, 3)])
        project.undo(LONG)
        project.undo(LONG)


def test_clips_that_move_change_and_vanish(template: Path, videos: Path, tmp_path: Path) -> None:
    shutil.copytree(template, tmp_path / "a.tapproj")
    shutil.copytree(videos / "short", tmp_path / "shot")
    (tmp_path / "shot" / "0000.bmp").write_bytes((videos / "short" / "0001.bmp").read_bytes())  # a video of its own
    with Project.open(tmp_path / "a.tapproj") as project:
        clip = project.add_clip(tmp_path / "shot", "take 1")
        assert (clip.frames, clip.width, clip.height, clip.name, clip.problem) == (12, 64, 48, "take 1", None)
        assert project.add_clip(tmp_path / "shot").id == clip.id and len(project.clips()) == 3
        (tmp_path / "shot").rename(tmp_path / "moved")
        assert "say where it is now" in str(project.clip(clip.id).problem)
        with pytest.raises(VideoError, match="any more"):
            project.source(clip.id)
        with pytest.raises(UsageError, match="another video"):
            project.relink(clip.id, videos / "long")
        assert project.relink(clip.id, tmp_path / "moved").problem is None
        os.utime(tmp_path / "moved" / "0003.bmp", (1, 1))  # touched, but the same
        assert project.clip(clip.id).problem is None
        (tmp_path / "moved" / "0003.bmp").write_bytes((tmp_path / "moved" / "0004.bmp").read_bytes())
        assert "is not the video any more" in str(project.clip(clip.id).problem)
        project.edit(clip.id, [{"op": "add_point", "t": 0, "x": 1, "y": 1}])  # what was annotated is still there
        project.remove_clip(clip.id)
        assert len(project.clips()) == 2
        with pytest.raises(UsageError, match="a camera or a stream"):
            project.add_clip("camera:0")
        with pytest.raises(VideoError):
            project.add_clip(tmp_path / "nothing.mp4")


def test_a_project_that_is_moved_with_its_clips_finds_them(template: Path, videos: Path, tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    shutil.copytree(videos / "short", tmp_path / "job" / "shot")
    with Project.create(tmp_path / "job" / "a.tapproj") as project:
        project.add_clip(tmp_path / "job" / "shot")
    (tmp_path / "job").rename(tmp_path / "archive")
    with Project.open(tmp_path / "archive" / "a.tapproj") as project:
        (clip,) = project.clips()
        assert clip.problem is None and clip.path == str(tmp_path / "archive" / "shot")
        with project.source(clip.id) as video:
            assert video.read(3).image.shape == (48, 64, 3)


def test_importing_the_document_needs_neither_torch_nor_the_web() -> None:
    code = "import sys, tapkit.annotate.project; print({'torch', 'fastapi', 'cv2', 'tapkit.web'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_a_project_that_is_moved_or_deleted_while_it_is_open_says_so(template: Path, tmp_path: Path) -> None:
    where = tmp_path / "open.tapproj"
    shutil.copytree(template, where)
    edit = {"op": "add_point", "t": 0, "x": 1, "y": 2}
    with Project.open(where) as project:
        project.edit(1, [edit])
        where.rename(tmp_path / "elsewhere.tapproj")
        with pytest.raises(StorageError, match="moved or deleted while it was open"):
            project.edit(1, [edit])
        shutil.copytree(template, where)
        with pytest.raises(StorageError, match="replaced by another project"):
            project.edit(1, [edit])
        shutil.rmtree(where)
        (tmp_path / "elsewhere.tapproj").rename(where)
        project.edit(1, [edit])
    with Project.open(where) as project:
        assert len(project.points(1).points) == 2
