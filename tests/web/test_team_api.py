"""A team through the server: accounts, roles, slowed log-ins, assignments, blind work, review."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from studio_client import Browser, Opener

from tapkit.web import passwords
from tapkit.web.app import make_app
from tapkit.web.passwords import FREE
from tapkit.web.studio import Studio

PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """argon2 with the least cost: what it costs for real is no matter of these tests."""
    import argon2

    monkeypatch.setattr(argon2, "PasswordHasher", lambda: argon2_quick)


from argon2 import PasswordHasher  # noqa: E402

argon2_quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def studio(opener: Opener) -> Studio:
    return opener(team=True)


@pytest.fixture
def app(studio: Studio) -> Any:
    return make_app(studio)


@pytest.fixture
def owner(app: Any, studio: Studio) -> Browser:
    browser = Browser(app).enter(studio)
    browser.says("POST", "/api/users", {"name": "olga", "password": PASSWORD, "role": "annotator"}, 201)
    browser.refresh()
    return browser


Signer = Callable[..., Browser]


@pytest.fixture
def people(app: Any, owner: Browser) -> Signer:
    """Makes an account and signs in."""

    def sign_in(name: str, role: str = "annotator") -> Browser:
        owner.says("POST", "/api/users", {"name": name, "password": PASSWORD, "role": role}, 201)
        return login(app, name)

    return sign_in


def login(app: Any, name: str, password: str = PASSWORD, client: str = "testclient") -> Browser:
    browser = Browser(app, client=client)
    said = browser.says("POST", "/api/login", {"name": name, "password": password})
    browser.headers["x-tapkit-token"] = said["token"]
    assert browser.refresh()["user"]["name"] == name
    return browser


def test_whoever_has_the_key_makes_the_owner_and_then_it_is_of_no_use(app: Any, owner: Browser, studio: Studio) -> None:
    session = owner.get("/api/session").json()
    assert session["user"]["role"] == "owner" and session["setup"] is False and session["team"] is True
    assert owner.says("GET", "/api/clips")
    late = Browser(app)
    assert "set-cookie" not in late.get(f"/?key={studio.sessions.secret}", follow_redirects=False).headers
    assert late.get("/api/clips").status_code == 401


def test_a_second_window_of_the_setup_cannot_make_another_owner(app: Any, studio: Studio) -> None:
    one, other = Browser(app).enter(studio), Browser(app).enter(studio)
    one.says("POST", "/api/users", {"name": "olga", "password": PASSWORD}, 201)
    other.says("POST", "/api/users", {"name": "eve", "password": PASSWORD, "role": "owner"}, 401)
    assert [user.name for user in studio.project.users()] == ["olga"]


def test_names_and_passwords(app: Any, people: Signer, studio: Studio) -> None:
    people("ann")
    for name, password in (("ann", "wrong horse"), ("nobody", PASSWORD), ("", ""), ("ann", PASSWORD + " ")):
        answer = Browser(app, client=name or "x").post("/api/login", json={"name": name, "password": password})
        assert answer.status_code == 401 and answer.json()["error"] == "the name or the password is not right"
        assert "set-cookie" not in answer.headers
    stored = studio.project.password_hash("ann")
    assert stored is not None and stored[1].startswith("$argon2id$") and PASSWORD not in stored[1]
    assert PASSWORD not in studio.project.database.where


def test_guessing_becomes_slow(app: Any, people: Signer) -> None:
    people("ann")
    guesser = Browser(app, client="10.0.0.9")
    codes = [
        guesser.post("/api/login", json={"name": "ann", "password": f"guess number {n}"}).status_code
        for n in range(FREE + 3)
    ]
    assert codes == [401] * (FREE + 1) + [429] * 2
    slowed = guesser.post("/api/login", json={"name": "ann", "password": PASSWORD})
    assert slowed.status_code == 429 and "try again in" in slowed.json()["error"] and slowed.headers["retry-after"]
    assert guesser.post("/api/login", json={"name": "bob", "password": PASSWORD}).status_code == 429


def test_a_long_password_is_not_hashed(app: Any, owner: Browser) -> None:
    assert Browser(app).post("/api/login", json={"name": "olga", "password": "x" * 5000}).status_code == 400
    assert Browser(app).post("/api/login", json={"name": "olga", "password": "x" * 50_000}).status_code == 413


def test_weak_passwords_and_taken_names_are_refused(owner: Browser) -> None:
    assert "8 to 200" in owner.says("POST", "/api/users", {"name": "ann", "password": "short"}, 400)["error"]
    owner.says("POST", "/api/users", {"name": "ann", "password": PASSWORD}, 201)
    assert owner.says("POST", "/api/users", {"name": "ann", "password": PASSWORD}, 400)["error"]
    assert owner.says("POST", "/api/users", {"name": "bob", "password": PASSWORD, "role": "god"}, 400)["error"]


def test_no_hash_is_ever_sent(owner: Browser) -> None:
    for path in ("/api/users", "/api/session", "/api/report"):
        assert "argon2" not in owner.get(path).text and "password" not in owner.get(path).text


def test_only_owners_make_and_change_accounts(people: Signer, owner: Browser) -> None:
    ann, rex = people("ann"), people("rex", "reviewer")
    for browser in (ann, rex):
        browser.says("POST", "/api/users", {"name": "eve", "password": PASSWORD}, 403)
        browser.says("PATCH", "/api/users/1", {"role": "annotator"}, 403)
        browser.says("PATCH", "/api/users/1", {"password": PASSWORD}, 403)
    ann.says("PATCH", f"/api/users/{me(ann)}", {"role": "owner"}, 403)
    assert {user["name"]: user["role"] for user in owner.says("GET", "/api/users")} == {
        "olga": "owner", "ann": "annotator", "rex": "reviewer",
    }  # fmt: skip
    assert owner.says("PATCH", "/api/users/1", {"active": False}, 400)["error"]  # the last owner


def me(browser: Browser) -> int:
    return int(browser.get("/api/session").json()["user"]["id"])


def test_a_changed_password_ends_other_sessions(app: Any, people: Signer) -> None:
    ann = people("ann")
    elsewhere, id = login(app, "ann"), me(ann)
    change = {"password": "another horse"}
    assert "current password" in ann.says("PATCH", f"/api/users/{id}", change, 403)["error"]
    ann.says("PATCH", f"/api/users/{id}", {**change, "current": PASSWORD})
    assert elsewhere.get("/api/clips").status_code == 401 and ann.get("/api/clips").status_code == 200
    login(app, "ann", "another horse")


def test_whoever_may_not_come_in_any_more_is_out_at_once(app: Any, people: Signer, owner: Browser) -> None:
    ann = people("ann")
    owner.says("PATCH", f"/api/users/{me(ann)}", {"active": False})
    assert ann.get("/api/clips").status_code == 401
    assert Browser(app).post("/api/login", json={"name": "ann", "password": PASSWORD}).status_code == 401


def test_annotators_see_what_is_theirs(people: Signer, owner: Browser) -> None:
    ann, bob = people("ann"), people("bob")
    assert ann.says("GET", "/api/clips") == []
    for path in ("points", "positions", "frame/0", "summary?bins=3", "doubtful", "curves", "events", "comments"):
        assert ann.get(f"/api/clips/1/{path}").status_code in (403, 404), path
    (share,) = owner.says("POST", "/api/clips/1/assign", {"users": [me(ann)], "stage": "points", "blind": False}, 201)
    assert share["state"] == "open" and len(ann.says("GET", "/api/clips")) == 1
    assert ann.get("/api/clips/1/frame/0").status_code == 200
    assert [work["id"] for work in ann.says("GET", "/api/work")] == [share["id"]]
    assert bob.says("GET", "/api/clips") == [] and bob.says("GET", "/api/work") == []
    bob.edit({"op": "add_point", "t": 0, "x": 1, "y": 1}, status=bob.get("/api/clips/1/points").status_code)
    bob.says("POST", f"/api/assignments/{share['id']}/submit", None, 403)
    ann.says("POST", "/api/clips/1/assign", {"users": [me(ann)]}, 403)
    ann.says("POST", f"/api/assignments/{share['id']}/review", {"decision": "accept"}, 403)
    assert ann.get("/api/clips/1/agreement").status_code == 403


def test_the_way_of_a_clip_through_a_team(people: Signer, owner: Browser, studio: Studio) -> None:
    ann, bob, rex = people("ann"), people("bob"), people("rex", "reviewer")
    ids = [me(ann), me(bob)]
    shares = owner.says("POST", "/api/clips/1/assign", {"users": ids, "stage": "points", "blind": True}, 201)
    with bob.live() as socket:
        for number, browser in enumerate((ann, bob)):
            made = browser.add(40 + number, 30, label="nose")
            xy = np.stack([40 + number + 2 * np.arange(24.0), 30 + np.arange(24.0)], -1)
            studio.project.store_span(1, made, 0, 24, xy, np.ones(24), np.ones(24), "x", user=me(browser))
        assert socket.receive_json()["by"]["name"] == "bob"  # what ann does, bob does not hear
    assert [len(browser.says("GET", "/api/clips/1/points")["points"]) for browser in (ann, bob)] == [1, 1]
    ann.says("GET", f"/api/clips/1/points?of={ids[1]}", status=403)
    for browser, share in zip((ann, bob), shares, strict=True):
        assert browser.says("POST", f"/api/assignments/{share['id']}/submit")["state"] == "to review"
    assert ann.edit({"op": "add_point", "t": 0, "x": 9, "y": 9}, status=403)["error"]
    agreement = rex.says("GET", "/api/clips/1/agreement")
    assert agreement["users"] == ids and agreement["points"][0]["within"] is not None
    layer = rex.says("GET", f"/api/clips/1/points?of={ids[0]}")["points"]
    adopted = rex.says("POST", "/api/clips/1/adopt", {"point": layer[0]["id"], "from": ids[0]})
    assert adopted["points"]
    rejected = rex.says(
        "POST", f"/api/assignments/{shares[0]['id']}/review", {"decision": "reject", "comment": "look at 9"}
    )
    assert rejected["state"] == "in work" and ann.says("GET", "/api/work")[0]["comment"] == "look at 9"
    rex.says("POST", f"/api/assignments/{shares[1]['id']}/review", {"decision": "accept"})
    said = rex.says("POST", "/api/clips/1/comments", {"text": "well done", "t": 3}, 201)
    assert said["t"] == 3 and [c["text"] for c in rex.says("GET", "/api/clips/1/comments")] == ["well done"]
    report = owner.says("GET", "/api/report")
    assert {row["user"] for row in report["rows"]} >= {"ann", "bob"}


def test_jobs_of_others_are_not_steered(people: Signer, owner: Browser, studio: Studio) -> None:
    from tapkit.web.jobs import Job

    ann, bob = people("ann"), people("bob")
    studio.jobs._jobs[7] = Job(7, 1, "track", {}, me(ann), "", None)
    bob.says("POST", "/api/jobs/7/cancel", None, 403)
    assert bob.says("GET", "/api/jobs") == [] and len(ann.says("GET", "/api/jobs")) == 1
    assert owner.says("POST", "/api/jobs/7/cancel")["job"] == 7


def test_a_project_with_accounts_asks_for_them_whatever_is_said(people: Signer, owner: Browser, opener: Opener) -> None:
    again = opener(team=False)
    assert again.team and not again.setting_up and passwords.FREE
    assert Browser(make_app(again)).enter(again).get("/api/clips").status_code == 401


def test_those_who_work_blind_hear_and_read_nothing_of_each_other(people: Signer, owner: Browser) -> None:
    owner.add()
    ann, bob = people("ann"), people("bob")
    ids = {user["name"]: user["id"] for user in owner.says("GET", "/api/users")}
    wish = {"users": [ids["ann"], ids["bob"]], "stage": "points", "blind": True}
    owner.says("POST", "/api/clips/1/assign", wish, 201)
    with ann.live() as socket, owner.live() as leads:
        bob.add(50, 30)
        assert leads.receive_json()["by"]["name"] == "bob"
        point = ann.add(20, 30)
        said = socket.receive_json()
        assert (said["by"]["name"], said["points"]) == ("ann", [point])  # the first thing that ann hears
    for one, text in ((owner, "look at the ear"), (bob, "the ear is at 150, 90"), (ann, "which ear?")):
        one.says("POST", "/api/clips/1/comments", {"text": text, "t": 0}, 201)

    def read(one: Browser) -> list[str]:
        return [comment["text"] for comment in one.says("GET", "/api/clips/1/comments")]

    assert read(ann) == ["look at the ear", "which ear?"]
    assert read(bob) == ["look at the ear", "the ear is at 150, 90"]
    assert len(read(owner)) == 3


def test_an_upload_of_someone_who_may_not_add_clips_is_never_written(
    people: Signer, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tapkit.web import uploads

    async def never(*_: Any) -> None:
        raise AssertionError("it was written to the disk")

    monkeypatch.setattr(uploads, "receive", never)
    answer = people("ann").post("/api/upload", params={"name": "a.mp4"}, content=b"\0\0\0\x18ftypmp42" * 100)
    assert answer.status_code == 403 and "annotators may not add clips" in answer.json()["error"]


def test_a_name_is_the_same_with_a_space_behind_it(app: Any, people: Signer) -> None:
    people("ann")
    Browser(app).says("POST", "/api/login", {"name": " ann ", "password": PASSWORD})
