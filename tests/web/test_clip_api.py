"""Clips and frames through the server."""

import io
import shutil
from pathlib import Path
from typing import Any

import numbered_clips as clips
import numpy as np
import pytest
from PIL import Image
from studio_client import Browser, Opener

from tapkit.web.app import make_app
from tapkit.web.studio import Studio


def test_the_clips(browser: Browser) -> None:
    (clip,) = browser.says("GET", "/api/clips")
    wanted = {"id": 1, "frames": clips.FRAMES, "width": clips.WIDTH, "height": clips.HEIGHT, "problem": None}
    assert {name: clip[name] for name in wanted} == wanted
    assert clip["fps"] == 25.0 and clip["rate"] == [25, 1] and clip["hash"] and clip["points"] == 0


def test_a_frame_is_what_it_says(browser: Browser) -> None:
    for t in (7, 3, 23, 0):
        answer = browser.get(f"/api/clips/1/frame/{t}?height=40")
        picture = Image.open(io.BytesIO(answer.content))
        assert answer.headers["x-tapkit-frame"] == str(t) and answer.headers["content-type"] == "image/jpeg"
        assert picture.size == (60, 40) and clips.number_in(np.asarray(picture)) == t
    exact = browser.get("/api/clips/1/frame/5?full=1")
    assert exact.headers["content-type"] == "image/png" and Image.open(io.BytesIO(exact.content)).size == (96, 64)


def test_a_frame_is_kept_by_the_content_of_its_clip(browser: Browser) -> None:
    answer = browser.get("/api/clips/1/frame/5")
    assert "no-cache" in answer.headers["cache-control"]
    again = browser.get("/api/clips/1/frame/5", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304 and again.content == b"" and again.headers["x-tapkit-frame"] == "5"
    other = browser.get("/api/clips/1/frame/6", headers={"if-none-match": answer.headers["etag"]})
    assert other.status_code == 200
    (clip,) = browser.says("GET", "/api/clips")
    assert "immutable" in browser.get(f"/api/clips/1/frame/5?v={clip['hash']}").headers["cache-control"]
    assert "immutable" not in browser.get("/api/clips/1/frame/5?v=another").headers["cache-control"]


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/clips/1/frame/24", 400, "frame 24 is not in the video"),
        ("/api/clips/1/frame/-1", 400, "frame -1 is not in the video"),
        ("/api/clips/1/frame/x", 400, "t: "),
        ("/api/clips/1/frame/0?height=0", 400, "height"),
        ("/api/clips/9/frame/0", 404, "clip"),
        ("/api/nothing", 404, ""),
    ],
)
def test_what_is_not_there_is_said(browser: Browser, path: str, status: int, said: str) -> None:
    assert said in browser.says("GET", path, status=status)["error"]


def test_a_clip_under_the_folders_is_added_once(browser: Browser, clip_folder: Path) -> None:
    (file,) = browser.says("GET", "/api/files")
    assert file["name"] == "other.mp4"
    added = browser.says("POST", "/api/clips", {"path": file["path"]}, 201)
    assert added["frames"] == 6 and browser.says("POST", "/api/clips", {"path": "other.mp4"}, 201)["id"] == added["id"]
    assert browser.says("GET", "/api/files") == []
    assert clips.number_in(decoded(browser.get(f"/api/clips/{added['id']}/frame/3").content)) == 3


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_file_outside_is_not_added(browser: Browser, clip_folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.mp4"
    shutil.copy(clip_folder / "clip.mp4", outside)
    (clip_folder / "link.mp4").symlink_to(outside)
    try:
        for path in (str(outside), "link.mp4", f"../{tmp_path.name}/outside.mp4", "rtsp://127.0.0.1/x", "camera:0"):
            assert "folders that were opened" in browser.says("POST", "/api/clips", {"path": path}, 403)["error"]
        assert [file["name"] for file in browser.says("GET", "/api/files")] == ["other.mp4"]
    finally:
        (clip_folder / "link.mp4").unlink()
    for body in ({}, {"path": 3}, {"path": ["a"]}, []):
        assert browser.request("POST", "/api/clips", json=body).status_code == 400
    assert len(browser.says("GET", "/api/clips")) == 1


def test_a_video_is_uploaded(browser: Browser, clip_folder: Path, studio: Studio) -> None:
    data = (clip_folder / "other.mp4").read_bytes()
    raw = browser.post("/api/upload?name=mine.mp4", content=data)
    assert raw.status_code == 201 and raw.json()["name"] == "mine" and raw.json()["frames"] == 6
    form = browser.post("/api/upload", files={"file": ("../../up.mp4", data)})
    assert form.status_code == 201, form.text
    assert studio.upload_folder is not None
    assert all(path.stat().st_size == len(data) for path in studio.upload_folder.iterdir())
    assert len(list(studio.upload_folder.iterdir())) == 1  # the same video, once


def test_an_upload_that_is_no_video_leaves_nothing(browser: Browser, studio: Studio) -> None:
    assert "no video" in browser.post("/api/upload?name=a.mp4", content=b"#EXTM3U\n/etc/passwd").json()["error"]
    broken = b"\0\0\0\x20ftypisom" + b"\0" * 500
    answer = browser.post("/api/upload?name=a.mp4", content=broken)
    assert answer.status_code == 422 and "error" in answer.json()
    assert browser.post("/api/upload", files={"other": ("a.mp4", broken)}).status_code == 400
    assert studio.upload_folder is not None
    assert not studio.upload_folder.exists() or not list(studio.upload_folder.iterdir())
    assert len(browser.says("GET", "/api/clips")) == 1


def test_an_upload_is_bounded(opener: Opener, clip_folder: Path) -> None:
    studio = opener(largest_upload=1000)
    browser = Browser(make_app(studio)).enter(studio)
    data = (clip_folder / "clip.mp4").read_bytes()
    assert browser.post("/api/upload?name=a.mp4", content=data).status_code == 413
    assert browser.post("/api/upload", files={"file": ("a.mp4", data)}).status_code == 413
    huge = browser.post("/api/upload?name=a.mp4", content=data, headers={"content-length": str(1 << 40)})
    assert huge.status_code == 413 and "MB" in huge.json()["error"]


def test_a_clip_that_was_moved_is_said_and_found_again(browser: Browser, studio: Studio, clip_folder: Path) -> None:
    path = clip_folder / "gone.mp4"
    shutil.copy(clip_folder / "other.mp4", path)
    clip = browser.says("POST", "/api/clips", {"path": str(path)}, 201)["id"]
    path.rename(clip_folder / "here.mp4")
    try:
        found = next(each for each in browser.says("GET", "/api/clips") if each["id"] == clip)
        assert found["problem"]
        assert "any more: say where it is now" in browser.says("GET", f"/api/clips/{clip}/frame/0", status=422)["error"]
        browser.says("POST", f"/api/clips/{clip}/relink", {"path": "clip.mp4"}, 400)
        browser.says("POST", f"/api/clips/{clip}/relink", {"path": "here.mp4"})
        assert browser.get(f"/api/clips/{clip}/frame/0").status_code == 200
    finally:
        (clip_folder / "here.mp4").unlink()


def test_the_page_is_served_and_asked_for_anew(browser: Browser) -> None:
    from tapkit.web.app import page

    if not (page() / "index.html").is_file():
        pytest.skip("the page is not in this checkout")
    answer: Any = browser.get("/")
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-cache"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
