"""Changes that are sent again because their answers got lost are made once."""

import threading
from typing import Any

import pytest
from studio_client import Browser

from tapkit.annotate.values import Change
from tapkit.web import repeats
from tapkit.web.repeats import Repeats
from tapkit.web.studio import Studio

NEW = {"edits": [{"op": "add_point", "t": 0, "x": 40, "y": 30}]}


def send(browser: Browser, what: str, name: str, body: dict[str, Any]) -> Any:
    return browser.post(f"/api/clips/1/{what}", json=body, headers={"idempotency-key": name})


def points(browser: Browser) -> int:
    return len(browser.says("GET", "/api/clips/1/points")["points"])


def test_an_edit_sent_again_is_answered_as_the_first_time_and_made_once(app: Any, browser: Browser) -> None:
    with browser.live() as socket:
        first = send(browser, "edits", "a", NEW)
        again = send(browser, "edits", "a", NEW)
        assert first.status_code == 200 and again.content == first.content
        assert points(browser) == 1
        send(browser, "edits", "b", NEW)
        events = [socket.receive_json()["event"] for _ in range(2)]  # nobody is told of it twice either
    assert events[0] == first.json()["event"] and events[1] > events[0] and points(browser) == 2


def test_what_has_no_name_is_made_each_time(browser: Browser) -> None:
    browser.edit(*NEW["edits"])
    browser.edit(*NEW["edits"])
    assert points(browser) == 2


def test_undo_and_redo_sent_again_go_one_step(browser: Browser) -> None:
    for _ in range(3):
        browser.add()
    assert [send(browser, "undo", "a", {}).json()["removed"] for _ in range(2)] == [[3], [3]]
    assert points(browser) == 2
    # The same name at another address is another change.
    assert [send(browser, "redo", "a", {}).json()["points"][0]["id"] for _ in range(2)] == [3, 3]
    assert points(browser) == 3


def test_what_was_refused_is_tried_again(browser: Browser) -> None:
    move = {"edits": [{"op": "set_keyframe", "point": 1, "t": 0, "x": 9, "y": 9}]}
    assert send(browser, "edits", "a", move).status_code == 404
    browser.add()
    assert send(browser, "edits", "a", move).status_code == 200


def test_a_name_is_a_sessions_own(app: Any, browser: Browser, studio: Studio) -> None:
    other = Browser(app).enter(studio)
    assert [send(each, "edits", "a", NEW).status_code for each in (browser, other)] == [200, 200]
    assert points(browser) == 2


def change(revision: int) -> Change:
    return Change(revision, revision, "", points=(), removed=(), objects=(), skeleton=None)


def test_one_that_comes_while_the_first_is_at_work_waits_for_it() -> None:
    kept, begun, go = Repeats(), threading.Event(), threading.Event()
    made: list[int] = []
    found: list[Change] = []

    def slow() -> Change:
        begun.set()
        assert go.wait(20)
        made.append(1)
        return change(len(made))

    threads = [threading.Thread(target=lambda: found.append(kept.once("a", slow))) for _ in range(2)]
    threads[0].start()
    assert begun.wait(20)
    threads[1].start()
    kept.once("b", lambda: change(9))  # others are not held up
    go.set()
    for thread in threads:
        thread.join(20)
    assert made == [1] and [each.revision for each in found] == [1, 1]


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "MOST", 2)
    kept = Repeats()
    for number, name in enumerate("abac"):
        kept.once(name, lambda number=number: change(number))
    assert [kept.once(name, lambda: change(9)).revision for name in "acb"] == [0, 3, 9]
