"""The studio as a process: how it starts and ends, and what is left of it after kill -9."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numbered_clips as clips
import numpy as np
import pytest

from tapkit.annotate import Project
from tapkit.errors import StorageError, UsageError, VideoError, VideoWarning
from tapkit.web.serve import listening, project_of

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


class Running:
    """`tapkit studio TARGET`, and a client that has been let in."""

    def __init__(self, target: Path, *options: str) -> None:
        command = [sys.executable, "-m", "tapkit", "studio", str(target), "--no-browser", "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = ""
        while "http://" not in said:
            line = self.process.stdout.readline()
            assert line, f"the studio ended: {said}"
            said += line
        found = re.search(r"http://\S+", said)
        assert found is not None
        self.said, self.address = said, found[0]
        self.client = httpx.Client(base_url=self.address.partition("?")[0], timeout=60)
        self.client.get(self.address)
        self.client.headers["x-tapkit-token"] = self.client.get("/api/session").json()["token"]

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)


@pytest.fixture
def clip(clip_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(clip_folder / "clip.mp4", tmp_path / "shot.mp4"))


@pytest.fixture
def running(clip: Path) -> Iterator[Running]:
    made = Running(clip)
    yield made
    made.process.kill()
    made.process.wait(30)


def test_nothing_acknowledged_is_lost_by_a_kill_amid_edits_and_tracking(running: Running, clip: Path) -> None:
    """One process serves both: starting one takes seconds."""
    client = running.client
    tracked = client.post("/api/clips/1/edits", json={"edits": [{"op": "add_point", "t": 0, "x": 40, "y": 30}]}).json()
    id = tracked["points"][0]["id"]
    told, worker = followed_for_a_while(running, id)
    confirmed: list[float] = []
    enough = threading.Event()

    def write() -> None:
        for number in range(10_000):
            edit = {"op": "add_point", "t": 1, "x": 1 + number / 128, "y": 5}
            try:
                answer = client.post("/api/clips/1/edits", json={"edits": [edit]})
            except httpx.HTTPError:
                return
            assert answer.status_code == 200
            confirmed.append(answer.json()["points"][0]["keyframes"][0]["x"])
            if len(confirmed) == 12:
                enough.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert enough.wait(60)
    running.kill()
    writer.join(60)
    assert not writer.is_alive()
    with Project.open(clip.with_suffix(".tapproj")) as project:
        kept = [point.keyframes[0].x for point in project.points(1).points if point.id != id]
        assert kept[: len(confirmed)] == confirmed and len(kept) <= len(confirmed) + 1
        (now,) = project.positions(1, [id])
        for t, position in told.items():
            assert now.xy[t] == pytest.approx(position, abs=0.01)
        project.edit(1, [{"op": "add_point", "t": 0, "x": 3, "y": 3}])  # and it goes on
    until = time.monotonic() + 30
    while alive(worker) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(worker)


def followed_for_a_while(running: Running, id: int) -> tuple[dict[int, list[float]], int]:
    """Positions by frame that the server has told while tracking; the id of the process that tracks."""
    from websockets.sync.client import connect

    socket = running.client.base_url.copy_with(scheme="ws")
    cookie = "; ".join(f"{name}={value}" for name, value in running.client.cookies.items())
    told: dict[int, list[float]] = {}
    with connect(f"{socket}api/clips/1/live", additional_headers={"cookie": cookie}) as live:
        asked = {"model": "lucas-kanade", "points": [id], "from": 0, "direction": "forward"}
        job = running.client.post("/api/clips/1/jobs", json=asked).json()["job"]
        while not told:
            message: dict[str, Any] = json.loads(live.recv(60))
            if message["type"] == "positions":
                running.client.post(f"/api/jobs/{job}/pause")
                (point,) = message["points"]
                for t, x, y in zip(range(message["start"], message["stop"]), point["x"], point["y"], strict=True):
                    told[t] = [x, y]
    assert len(told) > 0
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(running.process.pid)], capture_output=True, text=True, check=True
    )
    return told, int(children.stdout.split()[0])


def alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_ctrl_c_closes_it_with_a_sentence(running: Running, clip: Path) -> None:
    assert f"The project is {clip.with_suffix('.tapproj')}" in running.said
    assert running.client.get("/api/clips").json()[0]["name"] == "shot"
    running.process.send_signal(signal.SIGINT)
    out, _ = running.process.communicate(timeout=60)
    assert running.process.returncode == 0 and "everything is stored" in out


# -- what is opened ---------------------------------------------------------------------------------


def test_a_clip_a_folder_a_project_and_pictures(clip: Path, clip_folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    for _ in range(2):  # made the first time, opened the second
        project, opened, folders = project_of(str(clip))
        assert opened == str(clip.with_suffix(".tapproj")) and folders == [tmp_path]
        assert [each.name for each in project.clips()] == ["shot"]
        project.close()
    folder = tmp_path / "shots"
    shutil.copytree(clip_folder, folder)
    (folder / "notes.txt").write_text("no clip")
    (folder / "broken.mp4").write_bytes(b"no video at all")
    with pytest.warns(VideoWarning, match=r"broken\.mp4.* is left out"):
        project, opened, folders = project_of(str(folder))
    assert opened == str(folder / "shots.tapproj") and folders == [folder]
    assert [each.name for each in project.clips()] == ["clip", "other"]
    project.close()
    project, opened, folders = project_of(opened)
    assert folders == [folder] and len(project.clips()) == 2
    project.close()
    pictures = tmp_path / "sequence"
    pictures.mkdir()
    for t, picture in enumerate(clips.pictures(3)):
        Image.fromarray(picture).save(pictures / f"{t:03d}.png")
    project, opened, _ = project_of(str(pictures))
    assert opened == str(tmp_path / "sequence.tapproj") and project.clips()[0].frames == 3
    project.close()


def test_what_cannot_be_opened_is_said(tmp_path: Path, clip: Path) -> None:
    for name in ("missing.mp4", "missing.tapproj"):
        with pytest.raises(UsageError, match="there is no"):
            project_of(str(tmp_path / name))
    clip.with_suffix(".tapproj").write_text("a file of mine")
    with pytest.raises((UsageError, StorageError)):
        project_of(str(clip))
    assert clip.with_suffix(".tapproj").read_text() == "a file of mine"


def test_a_project_is_not_left_behind_by_a_clip_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video at all")
    with pytest.raises(VideoError):
        project_of(str(tmp_path / "a.mp4"))
    assert not (tmp_path / "a.tapproj").exists()


def test_where_nothing_can_be_written_it_says_how_to_have_the_project_elsewhere(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match=rf"Read-only file system; .*tapkit project new PLACE\.tapproj {clip}"):
        project_of(str(clip))


@pytest.mark.parametrize(("module", "extra"), [("fastapi", "web"), ("sqlalchemy", "annotate")])
def test_without_the_extra_it_says_which(monkeypatch: pytest.MonkeyPatch, module: str, extra: str) -> None:
    from tapkit.cli.studio import studio
    from tapkit.errors import MissingExtra

    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"{module} is not installed.*tapkit\[{extra}\]"):
        studio("clip.mp4")


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with listening("127.0.0.1", 0) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{number}: address already in use"):
            listening("127.0.0.1", number)
    with pytest.raises(UsageError, match="cannot listen"):
        listening("192.0.2.1", 0)
    with listening("127.0.0.1", None) as free:
        assert np.isfinite(free.getsockname()[1])
