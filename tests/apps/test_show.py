"""The page that shows tracks: its data, its policy, its video; and what stays behind."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
import webbrowser
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tapkit.apps import show
from tapkit.cli.main import app
from tapkit.errors import MissingExtra, UsageError
from tapkit.types import Queries, Tracks, VideoInfo
from tapkit.video import open_video
from tapkit.video.writer import VideoWriter

HOSTILE = "</script><script>alert(1)</script><!--"
INFO = VideoInfo(96, 64, Fraction(25), 6)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "my clip #1.mp4"
    with VideoWriter(path, INFO) as writer:
        for t in range(6):
            writer.write(np.full((64, 96, 3), 40 * t, np.uint8), t / 25)
    return path


def made(names: tuple[str, str] = ("nose", "tail"), **changes: Any) -> Tracks:
    xy = np.random.default_rng(0).uniform(5, 60, (2, 6, 2))
    seen, valid = np.ones((2, 6)), np.ones((2, 6), bool)
    seen[1, 3], valid[0, 5] = 0, False
    queries = Queries([0, 0], xy[:, 0], np.array(names))
    values = {"queries": queries, "video": INFO, "skeleton": ((names[0], names[1]),), **changes}
    return Tracks(xy, seen, np.ones((2, 6)), valid, **values)


def data_of(page: Path) -> dict[str, Any]:
    found = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page.read_text("utf-8"), re.S)
    assert len(found) == 1
    return dict(json.loads(found[0]))


def test_the_page_has_the_positions_the_states_and_the_times(clip: Path, tmp_path: Path) -> None:
    tracks = made(video=VideoInfo(96, 64, Fraction(25), 6, np.array([2.0, 2.1, 2.2, 2.5, 2.6, 3.0]), start_frame=1001))
    with open_video(clip) as source:
        data = data_of(show.write_page(source, tracks, tmp_path, frame=4))
    xy = np.frombuffer(base64.b64decode(data["xy"]), "<f4").reshape(6, 2, 2)
    np.testing.assert_array_equal(xy.transpose(1, 0, 2)[tracks.valid], tracks.xy[tracks.valid])
    state = np.frombuffer(base64.b64decode(data["state"]), np.uint8).reshape(6, 2).T
    assert state.tolist() == [[2, 2, 2, 2, 2, 0], [2, 2, 2, 1, 2, 2]]
    assert data["times"] == pytest.approx([0, 0.1, 0.2, 0.5, 0.6, 1.0])
    assert (data["first"], data["at"], data["ids"], data["edges"]) == (1001, 4, ["nose", "tail"], [[0, 1]])
    assert all(re.fullmatch(r"#[0-9a-f]{6}", tone) for tone in data["colors"])


def test_the_video_is_the_file_itself_where_browsers_play_it(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    folder.mkdir()
    with open_video(clip) as source:
        assert data_of(show.write_page(source, made(), folder))["video"] == clip.resolve().as_uri()
    assert [path.name for path in folder.iterdir()] == ["page.html"]


def test_else_it_is_a_copy_in_the_folder(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    folder.mkdir()
    with open_video(clip, start=2) as source:
        tracks = made().time(2, 6)
        data = data_of(show.write_page(source, tracks, folder))
    assert data["video"] == (folder / "video.mp4").resolve().as_uri() and data["times"][0] == 0
    with open_video(folder / "video.mp4") as copy:
        assert copy.info.frames == 4 and abs(int(copy.read(0).image.mean()) - 80) < 4
    with open_video(np.zeros((6, 64, 96, 3), np.uint8)) as source:
        assert not show.played(source)
    (tmp_path / "clip.gif").write_bytes(b"")
    assert not show.played(SimpleNamespace(info=VideoInfo(9, 9, path=str(tmp_path / "clip.gif"))))  # type: ignore[arg-type]


def test_names_are_data_and_never_code(clip: Path, tmp_path: Path) -> None:
    tracks = made((HOSTILE, "@DATA@"), video=VideoInfo(96, 64, Fraction(25), 6, path=f"/x/{HOSTILE}"))
    with open_video(clip) as source:
        page = show.write_page(source, tracks, tmp_path)
    text = page.read_text("utf-8")
    plain = tmp_path / "plain"
    plain.mkdir()
    with open_video(clip) as source:
        other = show.write_page(source, made(), plain).read_text("utf-8")
    assert text.count("<script") == other.count("<script") == 2 and "alert(1)</script>" not in text
    assert data_of(page)["ids"] == [HOSTILE, "@DATA@"]


def test_the_policy_allows_the_one_script_by_its_hash_and_nothing_from_elsewhere(clip: Path, tmp_path: Path) -> None:
    with open_video(clip) as source:
        text = show.write_page(source, made(), tmp_path).read_text("utf-8")
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)[0]
    script = re.findall(r"<script>(.*?)</script>", text, re.S)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert not re.search(r"https?://|innerHTML|eval\(", text)


def test_the_script_is_one(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    script = re.findall(r"<script>(.*?)</script>", show._TEMPLATE.read_text("utf-8"), re.S)[0]
    (tmp_path / "page.js").write_text(script, encoding="utf-8")
    assert subprocess.run([node, "--check", str(tmp_path / "page.js")], check=False).returncode == 0


def test_what_cannot_be_shown_is_said(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_video(clip) as source:
        with pytest.raises(UsageError, match="made from another clip"):
            show.write_page(source, made(video=VideoInfo(90, 64, Fraction(25), 6)), tmp_path)
        with pytest.raises(UsageError, match="no frame 6"):
            show.write_page(source, made(), tmp_path, frame=6)
        with pytest.raises(UsageError, match="no points"):
            show.write_page(source, made()[[]], tmp_path)
        monkeypatch.setattr(show, "LARGEST", 10)
        with pytest.raises(UsageError, match="--points"):
            show.write_page(source, made(), tmp_path)


# -- the command --------------------------------------------------------------------------------------


@pytest.fixture
def stored(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Video and tracks; temporary folders are made in TMP_PATH/tmp."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return str(clip), str(made().save(tmp_path / "t.npz"))


def run(*arguments: str) -> None:
    assert app.main(["show", *arguments], prog_name="tapkit", standalone_mode=False) in (None, 0)


def test_the_page_is_opened_and_nothing_is_written_elsewhere(
    stored: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    before = sorted(path.name for path in tmp_path.iterdir())
    run(*stored, "--viewer", "page", "--points", "tail", "--frame", "2")
    page = next((tmp_path / "tmp").rglob("page.html"))
    assert opened == [page.as_uri()] and data_of(page)["ids"] == ["tail"]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_without_a_browser_it_is_named(
    stored: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    run(*stored, "--viewer", "page")
    said = capsys.readouterr()
    assert said.out.strip() == str(next((tmp_path / "tmp").rglob("page.html"))) and "no browser" in said.err


def test_an_error_leaves_no_folder_behind(stored: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        run(*stored, "--viewer", "page", "--frame", "99")
    assert not list((tmp_path / "tmp").iterdir())


def test_rerun_is_taken_where_it_is_and_a_page_where_it_fails(
    stored: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rerun")
    codes, opened = [0, 1], list[str]()
    monkeypatch.setattr(show, "rerun_there", lambda: True)
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)

    def viewer(command: list[str], check: bool) -> SimpleNamespace:
        assert command[1:3] == ["-m", "rerun"] and Path(command[3]).stat().st_size > 1000
        return SimpleNamespace(returncode=codes.pop(0))

    monkeypatch.setattr(show.subprocess, "run", viewer)
    run(*stored)
    assert not opened and not list((tmp_path / "tmp").iterdir())
    run(*stored)
    assert len(opened) == 1 and not codes


def test_rerun_that_is_asked_for_and_not_installed_is_named(
    stored: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(MissingExtra):
        run(*stored, "--viewer", "rerun")
