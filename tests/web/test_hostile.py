"""Hostile names, files that lie about their kind, clips that change: a sentence each, and nothing left behind."""

from __future__ import annotations

import ast
import csv
import io
import json
import shutil
from pathlib import Path

import numbered_clips
import pytest
from studio_client import Browser, Opener

from tapkit.web.app import make_app
from tapkit.web.jobs import Job
from tapkit.web.studio import Studio

NAMES = (
    "<img src=x onerror=alert(1)>", "=cmd|' /C calc'!A0", "@SUM(1)", "../../etc/passwd", "a\u202egnp.exe", "x" * 200,
    '"); import os; os.abort() #', "[python {exit}]", "$env(HOME)", "</script>", "a\u2028b", "CON", "{ } \\", "%s%n",
)  # fmt: skip


def uploads(studio: Studio) -> list[str]:
    """What lies in the folder of uploads."""
    folder = studio.upload_folder
    return sorted(path.name for path in folder.iterdir()) if folder is not None and folder.exists() else []


def test_hostile_names_are_data_in_every_program(browser: Browser) -> None:
    for i, name in enumerate(NAMES):
        browser.add(10 + i, 20, label=name, group=name)
    for bad in ("x" * 10_000, "a\nb", "a\0b"):
        said = browser.edit({"op": "add_point", "t": 0, "x": 1, "y": 1, "label": bad}, status=400)
        assert said["error"] == "add_point: label must be a line of at most 200 characters"

    def exported(form: str) -> str:
        answer = browser.post("/api/clips/1/export", json={"format": form})
        assert answer.status_code == 200, (form, answer.text)
        return answer.content.decode("utf-8")

    cells = [row[0] for row in csv.reader(io.StringIO(exported("csv"))) if not row[0].startswith("#")]
    assert len(cells) >= len(NAMES) and not any(cell.startswith(("=", "@", "+", "-")) for cell in cells)
    tree = ast.parse(exported("blender"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "abort"]
    node = exported("nuke")
    assert "[python" not in node and "$env" not in node
    assert "\u2028" not in exported("ae-script")


def test_a_name_of_spaces_is_no_name(browser: Browser) -> None:
    point = browser.add(label="  ")
    browser.edit({"op": "edit_point", "point": point, "group": " a "})
    (found,) = browser.says("GET", "/api/clips/1/points")["points"]
    assert (found["label"], found["group"]) == (f"point {point}", "a")


@pytest.mark.parametrize(
    ("file", "name"), [(" .mp4", ".mp4"), ("a\nb.mp4", "a b"), ("..mp4", "..mp4"), ("=1.mp4", "=1")]
)
def test_a_clip_is_called_by_a_line_that_can_be_read(opener: Opener, clip_folder: Path, file: str, name: str) -> None:
    target = clip_folder / file
    shutil.copy(clip_folder / "other.mp4", target)
    try:
        browser = Browser(make_app(studio := opener())).enter(studio)
        clip = browser.says("POST", "/api/clips", {"path": str(target)}, 201)
        assert clip["name"] == name
        assert browser.get(f"/api/clips/{clip['id']}/frame/0?height=20").status_code == 200
    finally:
        target.unlink()


LIES = {
    "empty.mp4": (b"", 415), "text.mp4": (b"hello" * 200, 415), "zip.mp4": (b"PK\3\4" * 200, 415),
    "list.mp4": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n" + b" " * 500, 415),
    "ftyp.mp4": (b"\0\0\0\x18ftypmp42" + b"\0" * 5000, 422), "half.mkv": (b"\x1a\x45\xdf\xa3" + b"\xff" * 600, 422),
    "riff.avi": (b"RIFF\xff\xff\xff\xffAVI " + b"\xff" * 600, 422), "tif.tif": (b"II*\0" + b"\xff" * 600, 422),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_uploads_that_lie_are_refused_in_a_sentence_without_the_servers_paths(browser: Browser, studio: Studio) -> None:
    for name, (content, status) in LIES.items():
        answer = browser.post("/api/upload", params={"name": name}, content=content)
        assert answer.status_code == status, (name, answer.text)
        assert name in answer.json()["error"] and str(studio.upload_folder) not in answer.json()["error"]
    assert uploads(studio) == []


def test_a_video_that_is_here_already_is_not_kept_twice(browser: Browser, studio: Studio, clip_folder: Path) -> None:
    content = (clip_folder / "clip.mp4").read_bytes()
    answer = browser.post("/api/upload", params={"name": "../again.mp4"}, content=content)
    assert answer.status_code == 201 and answer.json()["name"] == "clip"
    assert uploads(studio) == []
    other = (clip_folder / "other.mp4").read_bytes()
    for _ in range(2):
        assert browser.post("/api/upload", params={"name": "new.mp4"}, content=other).json()["name"] == "new"
    assert uploads(studio) == ["new.mp4"]
    assert browser.get("/api/clips/2/frame/3?height=20").status_code == 200


def test_a_clip_of_one_frame(browser: Browser, tmp_path: Path) -> None:
    numbered_clips.write_clip(tmp_path / "one.mp4", numbered_clips.pictures(2)[:1])
    clip = browser.post("/api/upload", params={"name": "one.mp4"}, content=(tmp_path / "one.mp4").read_bytes()).json()
    assert clip["frames"] == 1
    at = f"/api/clips/{clip['id']}"
    browser.says("POST", f"{at}/edits", {"edits": [{"op": "add_point", "t": 0, "x": 9, "y": 9}]})
    for path in ("summary?bins=100", "doubtful", "curves?kind=speed&bins=10", "positions", "export/check"):
        browser.says("GET", f"{at}/{path}")
    job = {"kind": "track", "model": "lucas-kanade", "from": None, "direction": "both", "until": "end"}
    assert browser.says("POST", f"{at}/jobs", job, 400)["error"].endswith("the clip has only one frame")
    answer = browser.post(f"{at}/export", json={"format": "coco"})
    assert len(json.loads(answer.content)["annotations"]) == 1


def test_a_clip_that_changes_while_it_is_open(opener: Opener, clip_folder: Path, tmp_path: Path) -> None:
    place, was = tmp_path / "own.mp4", (clip_folder / "clip.mp4").read_bytes()
    place.write_bytes(was)
    browser = Browser(make_app(studio := opener())).enter(studio)
    browser.add()
    studio.project.relink(1, place)
    assert browser.get("/api/clips/1/frame/3?height=20").status_code == 200
    others = numbered_clips.pictures()[:, ::-1]  # another video of the same size and length
    numbered_clips.write_clip(place, others)
    for path in ("frame/3?height=20", "frame/9?height=20"):
        assert "is not the video any more" in browser.says("GET", f"/api/clips/1/{path}", status=422)["error"]
    for form, status in (("dlc", 422), ("tapvid", 422), ("csv", 200)):  # no other video's pictures beside its points
        assert browser.post("/api/clips/1/export", json={"format": form}).status_code == status, form
    without = {"format": "dlc", "options": {"images": "no"}}
    assert browser.post("/api/clips/1/export", json=without).status_code == 200
    browser.add(50, 30)
    job = Job(1, 1, "track", {}, None, "", None, state="running")
    studio.jobs._done(job, {"event": 1})  # what was followed was another video, or the end of a damaged one
    assert job.state == "failed" and "it changed while it was tracked" in str(job.error)
    place.write_bytes(was)
    assert browser.get("/api/clips/1/frame/9?height=20").status_code == 200
    assert browser.post("/api/clips/1/export", json={"format": "dlc"}).status_code == 200
