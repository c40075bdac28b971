"""A project with two small clips, on SQLite and on PostgreSQL; and a private PostgreSQL to put it into.

The databases are made once and copied for each test. PostgreSQL runs as a user without rights in a folder of its own,
without a network; where it is not installed those tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sqlalchemy")
pytest.importorskip("alembic")

from tapkit.annotate import Project

INITDB = shutil.which("initdb", path="/usr/local/bin:/usr/lib/postgresql/bin:" + os.environ.get("PATH", ""))
SHORT, LONG = 1, 2
"""The clips: 12 frames of 64x48, and 600 of 32x24."""


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `short` and `long` of images."""
    folder = tmp_path_factory.mktemp("videos")
    random = np.random.default_rng(0)
    for name, count, size in (("short", 12, (48, 64)), ("long", 600, (24, 32))):
        (folder / name).mkdir()
        for t in range(count):
            picture = random.integers(0, 255, (*size, 3), dtype=np.uint8)
            Image.fromarray(picture).save(folder / name / f"{t:04d}.bmp")
    return folder


def with_clips(project: Project, videos: Path) -> None:
    assert project.add_clip(videos / "short").id == SHORT
    assert project.add_clip(videos / "long").id == LONG


@pytest.fixture(scope="session")
def template(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("template") / "takes.tapproj"
    with Project.create(where) as project:
        with_clips(project, videos)
    return where


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a private server up to the name of a database, with "%s" for that."""
    pytest.importorskip("psycopg")
    if INITDB is None:
        pytest.skip("PostgreSQL is not installed")
    programs = Path(INITDB).parent
    home = Path(tempfile.mkdtemp(prefix="tapkit-pg-"))
    who: dict[str, object] = {}
    if os.name == "posix" and os.getuid() == 0:  # it refuses to run as root
        import pwd

        entry = pwd.getpwnam("nobody")
        os.chown(home, entry.pw_uid, entry.pw_gid)
        who = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    quiet = {"cwd": home, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **who}
    data = home / "data"
    made = [INITDB, "-D", data, "-U", "tapkit", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]
    subprocess.run(made, check=True, **quiet)  # type: ignore[call-overload]
    options = ["-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=60", "-h", "", "-k", home]
    server = subprocess.Popen([programs / "postgres", "-D", data, *options], **quiet)  # type: ignore[call-overload]
    address = f"postgresql://tapkit@/%s?host={home}"
    try:
        _wait_for(address % "postgres", server)
        yield address
    finally:
        server.send_signal(signal.SIGINT)  # without waiting for whoever is connected
        server.wait(60)
        shutil.rmtree(home, ignore_errors=True)


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    import psycopg

    for _ in range(300):
        try:
            psycopg.connect(address).close()
            return
        except psycopg.OperationalError:
            assert server.poll() is None, "the private server has ended"
            time.sleep(0.1)
    raise AssertionError("the private server does not answer")


@pytest.fixture(scope="session")
def admin(postgres: str) -> Iterator[object]:
    import psycopg

    with psycopg.connect(postgres % "postgres", autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def server_template(postgres: str, admin: object, videos: Path) -> str:
    admin.execute("CREATE DATABASE template_of_takes")  # type: ignore[attr-defined]
    with Project.create(postgres % "template_of_takes", "takes") as project:
        with_clips(project, videos)
    return "template_of_takes"


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where the project is, for a test that opens it several times."""
    if request.param == "sqlite":
        where = tmp_path / "takes.tapproj"
        shutil.copytree(request.getfixturevalue("template"), where)
        yield str(where)
        return
    address = request.getfixturevalue("postgres")
    admin, template = request.getfixturevalue("admin"), request.getfixturevalue("server_template")
    name = f"t{os.urandom(5).hex()}"
    admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield address % name
    admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        metafunc.parametrize("place", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def project(place: str) -> Iterator[Project]:
    with Project.open(place) as found:
        yield found
