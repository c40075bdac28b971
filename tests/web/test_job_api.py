"""Tracking through the server, by the real process beside it."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numbered_clips as clips
import numpy as np
import pytest
from studio_client import Browser

from tapkit.annotate import Project
from tapkit.errors import StorageError
from tapkit.web.app import make_app
from tapkit.web.jobs import Jobs
from tapkit.web.studio import Studio, open_studio


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.write_clip(tmp_path_factory.mktemp("long") / "clip.mp4", np.concatenate([clips.pictures(24)] * 3))


@pytest.fixture(scope="module")
def studio(long_clip: Path) -> Iterator[Studio]:
    """One process that tracks is enough for all tests: it takes seconds to load its libraries."""
    with Project.create(long_clip.with_suffix(".tapproj")) as project:
        project.add_clip(long_clip)
        studio = open_studio(project, project.where, [long_clip.parent], port=8010)
        yield studio
        studio.close()


@pytest.fixture
def browser(studio: Studio) -> Iterator[Browser]:
    browser = Browser(make_app(studio)).enter(studio)
    yield browser
    for job in studio.jobs.every(None):
        studio.jobs.cancel(job)
        wait(browser, job.id)
    for point in studio.project.points(1).points:
        studio.project.edit(1, [{"op": "delete_point", "point": point.id}], force=True)


def track(browser: Browser, status: int = 202, **asked: Any) -> Any:
    return browser.says("POST", "/api/clips/1/jobs", {"model": "lucas-kanade", **asked}, status)


def wait(browser: Browser, job: int, *states: str, seconds: float = 100) -> dict[str, Any]:
    """The job once it is in one of these states; over, if none is named. Asks the studio itself, which is cheap."""
    jobs: Jobs = browser.app.state.studio.jobs  # type: ignore[attr-defined]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = jobs.get(job).seen()
        if found["state"] in (states or ("done", "failed", "cancelled")):
            return found
        time.sleep(0.02)
    raise AssertionError(f"still {found}")


def positions(browser: Browser, point: int, start: int = 0, stop: int = 24) -> np.ndarray:
    (found,) = browser.says("GET", f"/api/clips/1/positions?points={point}&start={start}&stop={stop}")["points"]
    return np.array([found["x"], found["y"]], float).T


def test_a_point_is_tracked_and_shown_while_it_is(browser: Browser) -> None:
    id = browser.add(40, 30, t=4)
    with browser.live() as socket:
        job = track(browser, points=[id], **{"from": 4, "direction": "both", "until": "end"})
        assert job["state"] in ("queued", "running") and job["points"] == [id]
        said = []
        while not said or said[-1].get("state") != "done":
            said.append(socket.receive_json())
        changed = socket.receive_json()
    assert changed["type"] == "changed" and changed["points"] == [id]
    shown = [message for message in said if message["type"] == "positions"]
    assert len(shown) > 2 and all(message["points"][0]["id"] == id for message in shown)
    progress = [message for message in said if message["type"] == "job"]
    assert progress[-1]["done"] == progress[-1]["total"] > 70 and any(message["seconds_left"] for message in progress)
    truth = np.array([40, 30]) + (np.arange(24)[:, None] - 4) * np.array(clips.STEP)
    inside = (truth < [90, 58]).all(1)
    assert np.abs(positions(browser, id) - truth)[inside].max() < 0.5
    summary = browser.says("GET", "/api/clips/1/summary?bins=40")["points"][0]
    assert summary["visible"][0] is not None
    assert browser.says("POST", "/api/clips/1/undo", {})["revision"]  # one job is one undo
    assert np.isfinite(positions(browser, id)).sum() == 2


def test_only_as_far_as_the_neighbouring_keyframes(browser: Browser) -> None:
    id = browser.add(40, 30, t=4)
    browser.edit({"op": "set_keyframe", "point": id, "t": 10, "x": 53, "y": 36})
    browser.edit({"op": "set_keyframe", "point": id, "t": 16, "x": 64, "y": 42})
    job = track(browser, points=[id], **{"from": 10, "direction": "both", "until": "keyframes"})
    assert wait(browser, job["job"])["state"] == "done"
    found = positions(browser, id)
    assert np.isfinite(found[4:17]).all() and np.isnan(found[:4]).all() and np.isnan(found[17:]).all()
    assert found[10] == pytest.approx([53, 36]) and found[16] == pytest.approx([64, 42])


def test_pause_resume_and_cancel(browser: Browser) -> None:
    id = browser.add(40, 30)
    first = track(browser, points=[id])["job"]
    second = track(browser, points=[id])["job"]
    third = track(browser, points=[id])["job"]
    wait(browser, first, "running")
    browser.says("POST", f"/api/jobs/{first}/pause")
    done = wait(browser, first, "paused")["done"]
    time.sleep(0.3)
    paused = wait(browser, first, "paused")
    assert paused["done"] <= done + 200 and paused["seconds_left"] is None
    assert wait(browser, second, "queued")["done"] == 0
    browser.says("POST", f"/api/jobs/{second}/cancel")
    assert wait(browser, second)["state"] == "cancelled"
    browser.says("POST", f"/api/jobs/{first}/resume")
    assert wait(browser, first)["state"] == "done"
    browser.says("POST", f"/api/jobs/{third}/pause")
    browser.says("POST", f"/api/jobs/{third}/cancel")
    assert wait(browser, third)["state"] in ("cancelled", "done")


def test_a_point_that_is_deleted_meanwhile_is_let_go(browser: Browser) -> None:
    gone, stays = browser.add(40, 30), browser.add(50, 20)
    job = track(browser)["job"]
    browser.edit({"op": "delete_point", "point": gone}, force=True)
    assert wait(browser, job)["state"] == "done"
    assert np.isfinite(positions(browser, stays)[5]).all()


def test_a_click_is_answered_at_once_while_tracking(browser: Browser) -> None:
    """Not a measurement (see benchmarks/studio_server.py): a job must not keep edits waiting for its end."""
    id = browser.add(40, 30)
    job = track(browser, points=[id])["job"]
    wait(browser, job, "running", "done")
    added = browser.add(20, 20)
    assert added and browser.get("/api/clips/1/frame/3").status_code == 200


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"points": [99]}, 404, "99"),
        ({"points": []}, 400, "no point to track"),
        ({"model": "no-such"}, 400, "no tracker"),
        ({"from": 5000}, 400, "frame 5000"),
        ({"from": -1}, 400, "frame -1"),
        ({"direction": "up"}, 400, "direction"),
        ({"until": 9, "direction": "both", "from": 3}, 400, "forward or backward"),
        ({"kind": "fly"}, 400, "kind"),
        ({"kind": "solve", "motion": "no-such"}, 400, "no tracker"),
    ],
)
def test_jobs_that_cannot_be(browser: Browser, asked: dict[str, Any], status: int, said: str) -> None:
    browser.add(40, 30)
    assert said in track(browser, status, **asked)["error"]


def test_jobs_of_nothing(browser: Browser) -> None:
    assert "place one first" in track(browser, 400)["error"]
    assert browser.says("POST", "/api/jobs/999/cancel", status=404)["error"]


def test_weights_that_are_not_here_are_said(browser: Browser) -> None:
    trackers = {tracker["id"]: tracker for tracker in browser.refresh()["trackers"]}
    assert trackers["strand"]["default"] and "lucas-kanade" in trackers
    if "tapir" in trackers:
        pytest.skip("the weights of tapir are here")
    id = browser.add(40, 30)
    answer = browser.post("/api/clips/1/jobs", json={"model": "tapir", "points": [id]})
    if answer.status_code == 202:  # asked before the process that tracks has said what there is
        said = wait(browser, answer.json()["job"])
    else:
        said = answer.json()
    assert "tapkit weights fetch tapir" in said["error"]


def test_a_full_disk_fails_the_job_and_nothing_else(
    browser: Browser, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> Any:
        raise StorageError("the project cannot be written to: no space left on device")

    id = browser.add(40, 30)
    with monkeypatch.context() as patch:
        patch.setattr(type(studio.project), "store_span", full)
        job = wait(browser, track(browser, points=[id])["job"])
    assert job["state"] == "failed" and "no space left" in job["error"]
    assert (
        wait(browser, track(browser, points=[id], **{"from": 0, "direction": "forward", "until": 5})["job"])["state"]
        == "done"
    )


def test_a_process_that_is_killed_costs_its_job_only(browser: Browser, studio: Studio) -> None:
    id = browser.add(40, 30)
    job = track(browser, points=[id])["job"]
    wait(browser, job, "running")
    browser.says("POST", f"/api/jobs/{job}/pause")
    pid = studio.jobs._crew.pid
    assert pid is not None
    import os

    os.kill(pid, signal.SIGKILL)
    failed = wait(browser, job)
    assert failed["state"] == "failed" and "ended by itself" in failed["error"]
    again = track(browser, points=[id], **{"from": 0, "direction": "forward", "until": 5})["job"]
    assert wait(browser, again)["state"] == "done"


def test_between_keyframes_along_the_motion(browser: Browser) -> None:
    pytest.importorskip("cv2")
    id = browser.add(40, 30, t=2)
    browser.edit({"op": "set_keyframe", "point": id, "t": 12, "x": 60, "y": 40})
    job = browser.says("POST", "/api/clips/1/jobs", {"kind": "solve", "points": [id], "until": "keyframes"}, 202)
    done = wait(browser, job["job"])
    assert done["state"] == "done", done
    found = positions(browser, id)
    truth = np.array([40, 30]) + (np.arange(24)[:, None] - 2) * np.array(clips.STEP)
    assert np.abs(found[2:13] - truth[2:13]).max() < 1 and np.isnan(found[13:]).all()


def test_files_for_other_programs(browser: Browser) -> None:
    id = browser.add(40, 30, label="nose")
    wait(browser, track(browser, points=[id], **{"from": 0, "direction": "forward", "until": 8})["job"])
    check = browser.says("GET", "/api/clips/1/export/check")
    assert check["ready"] and isinstance(check["notes"], list)
    nuke = browser.post("/api/clips/1/export", json={"format": "nuke"})
    assert nuke.status_code == 200 and "Tracker4" in nuke.text and "nose" in nuke.text
    assert 'filename="clip.nk"' in nuke.headers["content-disposition"]
    folder = browser.post("/api/clips/1/export", json={"format": "colmap", "points": [id]})
    assert folder.status_code == 200 and folder.content[:2] == b"PK"
    assert "clip.zip" in folder.headers["content-disposition"]
    for body, said in (
        ({"format": "no-such"}, "no format"), ({"format": "nuke", "points": [99]}, "99"), ({}, "format"),
        ({"format": "nuke", "options": {"x": "1"}}, "no option"),
    ):  # fmt: skip
        answer = browser.post("/api/clips/1/export", json=body)
        assert answer.status_code in (400, 404) and said in answer.json()["error"]


def test_nothing_to_export_is_said(browser: Browser) -> None:
    assert not browser.says("GET", "/api/clips/1/export/check")["ready"]
    assert browser.post("/api/clips/1/export", json={"format": "nuke"}).status_code == 400
