"""Many videos give what one after another gives, from folders and from object storage, by `tapkit batch`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command_line import run

import tapkit
from tapkit.fleet import Tracking, Videos
from tapkit.fleet.worker import Worker
from tapkit.types import Tracks

pytest.importorskip("cv2")
LK = ("-m", "lucas-kanade", "--device", "cpu", "--grid", "3")


@pytest.fixture(scope="module")
def alone(videos: Path) -> dict[str, Tracks]:
    """Each video tracked by itself."""
    found = {}
    for name in ("clip000", "clip001", "clip002", "monday/clip000"):
        found[name] = tapkit.track(videos / f"{name}.mp4", grid=3, model="lucas-kanade", device="cpu")
    return found


def check(folder: Path, alone: dict[str, Tracks]) -> None:
    found = {p.relative_to(folder).as_posix().removesuffix(".tracks.npz"): p for p in folder.rglob("*.tracks.npz")}
    assert sorted(found) == sorted(alone)
    for name, path in found.items():
        tracks = Tracks.load(path)
        np.testing.assert_array_equal(tracks.xy, alone[name].xy)
        np.testing.assert_array_equal(tracks.visible, alone[name].visible)


def test_a_folder_is_tracked_as_one_after_another(videos: Path, alone: dict[str, Tracks], tmp_path: Path) -> None:
    out, report = tmp_path / "out", tmp_path / "report.csv"
    command = ("batch", videos, *LK, "--to", "csv,nuke", "--overlay", "-o", str(out), "-j", 1, "--report", report)
    done = run(*command, code=1)
    check(out, alone)
    for name in alone:
        for ending in (".csv", ".nk", ".overlay.mp4"):
            assert (out / f"{name}{ending}").is_file()
    head, figures, failure = done.stdout.splitlines()
    assert head.split()[:4] == ["videos", "done", "there", "failed"]
    assert figures.split()[:6] == [
        "5",
        "4",
        "0",
        "1",
        "0",
        "20",
    ]
    assert failure == f"failed: {videos / 'broken.mp4'}: {videos / 'broken.mp4'} is not a video but a text file"
    assert "videos 5/5" in done.stderr
    rows = {row["name"]: row for row in csv.DictReader(report.open())}
    assert rows["clip000"]["points"] == "9" and rows["broken"]["state"] == "failed" and len(rows) == 5
    # The same command again does nothing; another model for the same output is refused.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    summary = json.loads(run(*command[:-2], "--json", "-q", code=1).stdout)
    assert (summary["done"], summary["frames"], summary["failed"]) == (4, 0, 1)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    other = ("batch", videos, *LK[:4], "--grid", 4, *command[7:-2])
    assert "another job (grid '3', now '4')" in run(*other, code=2).stderr


def test_bad_input_is_one_sentence(videos: Path, tmp_path: Path) -> None:
    out = ("-o", str(tmp_path / "out"))
    assert "no video in" in run("batch", tmp_path, *LK, *out, code=2).stderr
    assert "no format 'csw'" in run("batch", videos, *LK, *out, "--to", "csw", code=2).stderr
    assert "no tracker" in run("batch", videos, "-m", "lucas-kanad", *out, code=2).stderr
    assert "no option" in run("batch", videos, *LK, *out, "--set", "wibdow=9", code=2).stderr
    assert ".csv or .json" in run("batch", videos, *LK, *out, "--report", "a.txt", code=2).stderr
    (tmp_path / "file").write_text("mine")
    assert "file" in run("batch", videos, *LK, "-o", str(tmp_path / "file"), code=6).stderr
    assert not list((tmp_path / "out").rglob("*.npz")) and (tmp_path / "file").read_text() == "mine"


def test_a_video_that_was_interrupted_is_continued_in_its_middle(
    videos: Path, alone: dict[str, Tracks], tmp_path: Path
) -> None:
    job = Tracking(Videos([videos / "clip001.mp4"]), "lucas-kanade", grid=3)
    (item,) = job.items()
    told: list[int] = []

    def tell(frames: int) -> None:
        told.append(frames)
        if len(told) == 3:
            raise KeyboardInterrupt

    def go() -> str:
        return Worker(job, str(tmp_path / "out"), str(tmp_path / "work"), "cpu").do(item, tell, lambda: True).state

    with pytest.raises(KeyboardInterrupt):
        go()
    assert told == [1, 2, 3] and not (tmp_path / "out").exists()
    assert go() == "done" and told == [1, 2, 3, 4, 5] and not list((tmp_path / "work").iterdir())
    np.testing.assert_array_equal(Tracks.load(tmp_path / "out" / "clip001.tracks.npz").xy, alone["clip001"].xy)


@pytest.fixture
def bucket(videos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A bucket of a local S3 server with the videos in it."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    import fsspec

    system = fsspec.filesystem("s3", skip_instance_cache=True)
    system.mkdir("bucket")
    system.put(str(videos), "bucket/takes", recursive=True)
    yield "s3://bucket"
    server.stop()


def test_videos_and_results_in_object_storage(bucket: str, alone: dict[str, Tracks], tmp_path: Path) -> None:
    import fsspec

    done = run("batch", f"{bucket}/takes", *LK, "--to", "csv", "-o", f"{bucket}/out", "-j", 1, code=1)
    assert "failed: s3://bucket/takes/broken.mp4: " in done.stdout
    system = fsspec.filesystem("s3", skip_instance_cache=True)
    assert len(system.find("bucket/out")) == 8
    system.get("bucket/out", str(tmp_path / "copy"), recursive=True)
    check(tmp_path / "copy", alone)
    tracks = Tracks.load(tmp_path / "copy" / "monday" / "clip000.tracks.npz")
    assert tracks.video.path == "s3://bucket/takes/monday/clip000.mp4"
    assert "there is no" in run("batch", "s3://nowhere/takes", *LK, "-o", "out", code=6).stderr
    assert not [p for p in (tmp_path / "temporary").rglob("*") if p.is_file()], "no copy of a video is left"
