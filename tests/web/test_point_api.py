"""Points through the server: edits, undo, positions, and two people at once."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studio_client import Browser

from tapkit.annotate import Project
from tapkit.web.app import make_app
from tapkit.web.studio import Studio, open_studio

BAD = [
    ({"op": "add_point", "t": 24, "x": 1, "y": 1}, ""),
    ({"op": "add_point", "t": 0, "x": 1000, "y": 1}, ""),
    ({"op": "add_point", "t": 0.5, "x": 1, "y": 1}, "whole number"),
    ({"op": "add_point", "t": 0, "x": "1", "y": 1}, "number"),
    ({"op": "add_point", "t": 0, "x": 1}, "needs y"),
    ({"op": "add_point", "t": 0, "x": 1, "y": 1, "colour": "red;x"}, "#rrggbb"),
    ({"op": "set_keyframe", "point": 99, "t": 0, "x": 1, "y": 1}, "99"),
    ({"op": "fly"}, "no edit"),
    ({}, "no edit"),
]


def test_a_point_from_the_first_click_to_its_end(browser: Browser) -> None:
    made = browser.edit({"op": "add_point", "t": 3, "x": 40.25, "y": 30.5, "label": "nose"}, base=0)
    (point,) = made["points"]
    assert point["label"] == "nose" and point["keyframes"][0]["x"] == 40.25 and made["removed"] == []
    id = point["id"]
    browser.edit({"op": "set_keyframe", "point": id, "t": 7, "x": 50, "y": 35, "visible": False})
    browser.edit({"op": "set_visibility", "point": id, "start": 5, "stop": 9, "state": "occluded"})
    seen = browser.says("GET", "/api/clips/1/points")
    assert [k["t"] for k in seen["points"][0]["keyframes"]] == [3, 7] and seen["can_undo"] and not seen["can_redo"]
    assert seen["points"][0]["hidden"] == [{"start": 5, "stop": 9, "state": "occluded"}]
    browser.says("POST", "/api/clips/1/undo", {})
    browser.says("POST", "/api/clips/1/undo", {})
    seen = browser.says("GET", "/api/clips/1/points")
    assert [k["t"] for k in seen["points"][0]["keyframes"]] == [3] and seen["can_redo"]
    assert browser.says("POST", "/api/clips/1/redo", {})["points"][0]["keyframes"][1]["t"] == 7
    assert browser.edit({"op": "delete_point", "point": id})["removed"] == [id]
    assert browser.says("GET", "/api/clips/1/points")["points"] == []


@pytest.mark.parametrize(("edit", "said"), BAD)
def test_a_wrong_edit_is_one_sentence_and_changes_nothing(browser: Browser, edit: dict[str, Any], said: str) -> None:
    before = browser.says("GET", "/api/clips/1/points")
    body = {"edits": [{"op": "add_point", "t": 0, "x": 5, "y": 5}, edit]}
    answer = browser.post("/api/clips/1/edits", json=body)
    assert answer.status_code in (400, 404) and said in answer.json()["error"], answer.text
    assert "\n" not in answer.json()["error"] and browser.says("GET", "/api/clips/1/points") == before


@pytest.mark.parametrize(
    "body",
    [
        "", "[]", "{", "null", "{}", '{"edits": 3}', '{"edits": []}', '{"edits": [3]}', '{"edits": [{"op": 3}]}',
        '{"edits": [{"op": "add_point", "t": 0, "x": NaN, "y": 1}]}',
        '{"edits": [{"op": "add_point", "t": 0, "x": Infinity, "y": 1}]}',
        '{"edits": [{"op": "add_point", "t": 1e400, "x": 1, "y": 1}]}',
        '{"edits": [{"op": "delete_point", "point": 99999999999999999999999}]}',
        '{"edits": [], "base": "x"}', "[" * 100_000,
        '{"edits": [{"op": "add_point", "t": 0, "x": 1, "y": 1, "label": "\\ud800"}]}',
    ],
)  # fmt: skip
def test_a_malformed_body_is_one_sentence(browser: Browser, body: str) -> None:
    answer = browser.post("/api/clips/1/edits", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and answer.json()["error"], (answer.status_code, answer.text[:300])


def test_a_body_of_another_kind_is_not_json(browser: Browser) -> None:
    body = json.dumps({"edits": [{"op": "add_point", "t": 0, "x": 1, "y": 1}]})
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert browser.post("/api/clips/1/edits", content=body, headers={"content-type": kind}).status_code == 400
    assert browser.says("GET", "/api/clips/1/points")["points"] == []


def test_positions_summary_curves(browser: Browser, studio: Studio) -> None:
    one, other = browser.add(40, 30), browser.add(20, 20, t=5)
    t = np.arange(24, dtype=np.float32)
    xy = np.stack([40 + 2 * t, 30 + t], -1)
    studio.project.store_span(1, one, 0, 24, xy, np.ones(24), np.full(24, 0.75), "lucas-kanade")
    found = browser.says("GET", f"/api/clips/1/positions?points={one},{other}&start=2&stop=6")
    assert (found["start"], found["stop"]) == (2, 6)
    mine, theirs = found["points"]
    assert mine["x"] == [44, 46, 48, 50] and mine["visible"] == [1, 1, 1, 1] and mine["source"] == "pppp"
    assert theirs["x"] == [None, None, None, 20] and theirs["visible"][0] is None and theirs["source"] == "---k"
    every = browser.says("GET", "/api/clips/1/positions")
    assert len(every["points"]) == 2 and every["stop"] == 24 and every["points"][0]["source"][0] == "k"
    summary = browser.says("GET", f"/api/clips/1/summary?bins=4&points={one}")
    assert len(summary["bins"]) == 4 and len(summary["points"]) == 1
    assert len(summary["points"][0]["confidence"]) == 4
    curve = browser.says("GET", f"/api/clips/1/curves?points={one},{other}&kind=x&bins=6")
    assert curve["bins"] == [0, 4, 8, 12, 16, 20]
    assert curve["points"][0]["low"] == [40, 48, 56, 64, 72, 80] and curve["points"][0]["high"][0] == 46
    assert curve["points"][1]["low"][0] is None and curve["points"][1]["high"][1] == 20
    speed = browser.says("GET", f"/api/clips/1/curves?points={one}&kind=speed&bins=24")["points"][0]["low"]
    assert speed[0] is None and speed[1:] == pytest.approx([5**0.5] * 23, abs=0.01)
    assert isinstance(browser.says("GET", "/api/clips/1/doubtful"), list)
    assert browser.says("GET", "/api/clips/1/events")[0]["kind"] == "edit"


def test_before_and_after_a_correction(browser: Browser) -> None:
    id = browser.add(40, 30)
    event = browser.edit({"op": "set_keyframe", "point": id, "t": 0, "x": 44, "y": 30})["event"]
    (found,) = browser.says("GET", f"/api/clips/1/compare/{event}")
    assert found["before"]["x"][-found["start"]] == 40 and found["after"]["x"][-found["start"]] == 44


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/clips/1/positions?points=a", 400), ("/api/clips/1/positions?points=99", 404),
        ("/api/clips/1/positions?start=-1", 400), ("/api/clips/1/positions?start=9&stop=3", 400),
        ("/api/clips/9/points", 404), ("/api/clips/1/summary?bins=0", 400), ("/api/clips/1/summary?bins=99999", 400),
        ("/api/clips/1/curves?kind=z", 400), ("/api/clips/1/compare/99", 404), ("/api/clips/x/points", 400),
        ("/api/clips/99999999999999999999999/points", 404),
    ],
)  # fmt: skip
def test_questions_without_an_answer(browser: Browser, path: str, status: int) -> None:
    assert browser.says("GET", path, status=status)["error"]


def test_too_many_positions_at_once_are_refused(browser: Browser) -> None:
    path = "/api/clips/1/positions?start=0&stop=2000000000&points=" + ",".join(["1"] * 100)
    assert "at once" in browser.says("GET", path, status=400)["error"]


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(
    browser: Browser, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.add(40, 30)
    with studio.project.database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    import sqlalchemy as sa

    def limit(connection: Any, _: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    studio.project.database.engine.dispose()
    sa.event.listen(studio.project.database.engine, "connect", limit)  # SQLite's own way of a disk that is full
    many = [{"op": "add_point", "t": 0, "x": 5, "y": 5, "label": "x" * 200} for _ in range(500)]
    answer = browser.post("/api/clips/1/edits", json={"edits": many})
    sa.event.remove(studio.project.database.engine, "connect", limit)
    studio.project.database.engine.dispose()
    assert answer.status_code == 507 and "disk is full" in answer.json()["error"], answer.text
    assert len(browser.says("GET", "/api/clips/1/points")["points"]) == 1
    browser.add(9, 9)


def test_a_project_that_may_only_be_looked_at(project_folder: Path, clip_folder: Path) -> None:
    with Project.open(project_folder, read_only=True) as project:
        studio = open_studio(project, project.where, [clip_folder], port=8010)
        browser = Browser(make_app(studio)).enter(studio)
        assert "looking only" in browser.get("/api/session").json()["read_only"]
        assert browser.get("/api/clips/1/frame/3").status_code == 200
        assert "cannot be changed" in browser.edit({"op": "add_point", "t": 0, "x": 1, "y": 1}, status=409)["error"]
        assert browser.says("POST", "/api/clips/1/jobs", {}, 403)["error"]
        assert browser.post("/api/upload?name=a.mp4", content=b"x").status_code == 400
        studio.close()


# -- two at once ------------------------------------------------------------------------------------


def test_two_windows_do_not_overwrite_each_other_unasked(app: Any, browser: Browser, studio: Studio) -> None:
    id, base = browser.add(40, 30), browser.says("GET", "/api/clips/1/points")["revision"]
    other = Browser(app, window="b").enter(studio)
    browser.edit({"op": "set_keyframe", "point": id, "t": 0, "x": 41, "y": 31}, base=base)
    mine = {"op": "set_keyframe", "point": id, "t": 0, "x": 70, "y": 50}
    refused = other.edit(mine, base=base, status=409)
    assert refused["theirs"][0]["keyframes"][0]["x"] == 41 and "error" in refused
    other.edit({"op": "add_point", "t": 0, "x": 9, "y": 9}, base=base)  # of another point: merged
    other.edit(mine, base=base, force=True)
    seen = browser.says("GET", "/api/clips/1/points")["points"]
    assert len(seen) == 2 and seen[0]["keyframes"][0]["x"] == 70


def test_windows_of_one_browser_are_told_apart(app: Any, browser: Browser) -> None:
    id, base = browser.add(40, 30), browser.says("GET", "/api/clips/1/points")["revision"]
    change = {"base": base, "edits": [{"op": "set_keyframe", "point": id, "t": 0, "x": 41, "y": 31}]}
    first = browser.post("/api/clips/1/edits", json=change, headers={"x-tapkit-window": "one"})
    again = browser.post("/api/clips/1/edits", json=change, headers={"x-tapkit-window": "one"})
    second = browser.post("/api/clips/1/edits", json=change, headers={"x-tapkit-window": "two"})
    assert (first.status_code, again.status_code, second.status_code) == (200, 200, 409)


def test_no_update_is_lost_when_many_write_at_once(app: Any, studio: Studio) -> None:
    """Each adds one to x of the same point, taking up the others' change when told of it; and adds points."""
    start = Browser(app).enter(studio)
    shared = start.add(1, 30)
    rounds, writers = 6, 3
    failures: list[str] = []

    def write(number: int) -> None:
        browser = Browser(app, window=str(number)).enter(studio)
        for count in range(rounds):
            browser.add(10 + number, 10 + count)
            while True:
                seen = browser.says("GET", "/api/clips/1/points")
                x = next(p for p in seen["points"] if p["id"] == shared)["keyframes"][0]["x"]
                edit = {"op": "set_keyframe", "point": shared, "t": 0, "x": x + 1, "y": 30}
                answer = browser.post("/api/clips/1/edits", json={"base": seen["revision"], "edits": [edit]})
                if answer.status_code == 200:
                    break
                if answer.status_code != 409:
                    failures.append(answer.text)
                    return

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    points = start.says("GET", "/api/clips/1/points")["points"]
    assert len(points) == 1 + rounds * writers
    assert next(p for p in points if p["id"] == shared)["keyframes"][0]["x"] == 1 + rounds * writers


def test_others_are_told_what_changed(app: Any, browser: Browser, studio: Studio) -> None:
    other = Browser(app, window="b").enter(studio)
    with browser.live() as socket:
        id = other.add(40, 30)
        said = socket.receive_json()
        assert (said["type"], said["points"], said["window"]) == ("changed", [id], "b")
        other.edit({"op": "delete_point", "point": id})
        said = socket.receive_json()
        assert said["removed"] == [id] and said["revision"] == browser.says("GET", "/api/clips/1/points")["revision"]


def test_a_listener_that_falls_behind_is_let_go(browser: Browser, studio: Studio) -> None:
    from starlette.websockets import WebSocketDisconnect

    from tapkit.web import hub

    with browser.live() as socket:
        browser.add()
        assert socket.receive_json()["type"] == "changed"
        listener = next(iter(studio.hub.listeners()))
        listener._queue.put_nowait(None)  # what `_put` does at the limit
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
        assert closed.value.code == 4408 and hub.MOST > 100
    assert studio.hub.listeners() == []
