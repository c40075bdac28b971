"""The studio's page in a real browser: one server and one Chromium for all tests, and a clip for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numbered_clips as clips
import numpy as np
import pytest
from studio_in_browser import Window, chromium, running

CLIPS = (
    "empty",
    "track",
    "drag",
    "scrub",
    "keys",
    "two",
    "hidden",
    "names",
    "away",
    "lost",
    "export",
    "look",
    "boxes",
    "offer",
    "both",
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("shots")
    frames = clips.pictures()
    for i, name in enumerate(CLIPS):
        own = frames.copy()
        own[:, :2, :2] = 15 * i  # no two clips are the same video
        clips.write_clip(folder / f"{name}.mp4", own)
    with running(folder) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def window(browser: Any, address: str) -> Iterator[Callable[..., Window]]:
    opened: list[Window] = []

    def opening(clip: str, **options: Any) -> Window:
        opened.append(Window(browser, address, "#/clip/0", **options))  # without the pictures of all clips
        return opened[-1].open(clip)

    yield opening
    for each in opened:
        each.close()


def moved(start: tuple[float, float], frames: int) -> tuple[float, float]:
    """Where the texture under `start` is so many frames later."""
    return start[0] + clips.STEP[0] * frames, start[1] + clips.STEP[1] * frames


def test_an_empty_clip_says_what_to_do_and_a_stray_click_changes_nothing(window: Callable[..., Window]) -> None:
    own = window("empty")
    assert own.page.locator(".stage-hint").inner_text().startswith("Click on each thing to follow")
    assert "No points yet" in own.page.locator(".left").inner_text()
    own.press("t")
    assert "press N and click" in own.page.locator("#toasts").inner_text()
    own.press("Escape")
    own.click(40, 30)
    own.drag((40, 30), (50, 35))  # pans
    assert own.js("studio.annotation.points.size") == 0 and own.js("studio.annotation.revision") == 0
    own.press("Control+s")
    assert "Everything is saved" in own.page.locator("#toasts").inner_text()


def test_three_clicks_and_one_key_track_and_all_of_it_is_there_after_a_reload(window: Callable[..., Window]) -> None:
    own = window("track")
    starts = [(30.0, 20.0), (44.0, 40.0), (20.0, 45.0)]
    for x, y in starts:
        own.click(x, y)
    own.wait("studio.annotation.points.size === 3 && studio.annotation.waiting === 0")
    own.track()
    for point, start in enumerate(starts, own.js("studio.order()[0]")):
        assert own.position(point, 0) == pytest.approx(start, abs=0.06)  # a click is good to a part of a pixel
        assert own.position(point, 12) == pytest.approx(moved(start, 12), abs=1)
    own.press("Space")
    own.wait("studio.player.shown > 5")
    own.press("Space")
    own.go(17)
    own.page.reload()
    own.wait("window.studio?.annotation.points.size === 3 && studio.player.shown === 17")
    assert own.position(own.js("studio.order()[0]"), 12) == pytest.approx(moved(starts[0], 12), abs=1)
    own.press("Control+z")  # the run of the tracker is one step
    own.wait("studio.annotation.waiting === 0 && studio.annotation.canRedo")
    assert own.position(own.js("studio.order()[0]"), 12) is None
    own.press("Control+Shift+z")
    own.wait("studio.annotation.waiting === 0 && !studio.annotation.canRedo")
    own.wait("studio.api.positions(studio.clip.id, [studio.order()[0]], 12, 13).then((a) => a.points[0].x[0] !== null)")


def test_a_drag_corrects_and_the_track_follows_to_the_neighbouring_keyframes(window: Callable[..., Window]) -> None:
    own = window("drag")
    own.place((30, 20))
    own.track()
    point = own.js("studio.order()[0]")
    own.go(12)
    start = own.position(point, 12)
    assert start is not None
    own.drag(start, (start[0] + 3, start[1] - 2))
    own.wait("studio.annotation.waiting === 0 && studio.annotation.active.keyframes.length === 2")
    own.done(2)
    key = own.js("studio.annotation.active.keyframes[1]")
    assert own.position(point, 12) == pytest.approx((key["x"], key["y"]), abs=0.01)
    assert (key["x"], key["y"]) == pytest.approx((start[0] + 3, start[1] - 2), abs=0.3)
    assert own.position(point, 0) == pytest.approx((30, 20), abs=0.06)
    after, before = own.position(point, 18), own.position(point, 6)
    assert after is not None and before is not None
    assert after == pytest.approx(moved((key["x"], key["y"]), 6), abs=1)  # follows what it was put on
    assert abs(before[0] - moved((30, 20), 6)[0]) < 3
    own.press("c")
    own.wait("studio.stage.ghostPath !== null")
    path = own.js("[studio.stage.ghostPath.start, studio.stage.ghostPath.x]")
    assert path[1][18 - path[0]] == pytest.approx(moved((30, 20), 18)[0], abs=1)  # as it was
    own.press("c", "Control+z", "Control+z")  # the run, then the drag
    own.wait(
        "studio.annotation.waiting === 0 && studio.annotation.points.get(studio.order()[0]).keyframes.length === 1"
    )


def test_a_number_never_stands_beside_another_frame(window: Callable[..., Window]) -> None:
    own = window("scrub")
    own.press("Escape")
    own.js("""(() => {
        window.seen = [];
        const canvas = studio.stage.canvas, context = canvas.getContext("2d");
        const read = (selector, of) => Number(document.querySelector(selector)[of]);
        const look = () => {                       // what is on the screen, at any moment
            const [left, y] = studio.view.toScreen(0, studio.clip.height - 0.5), { ratio } = studio.stage;
            const width = Math.floor(studio.clip.width * studio.view.scale * ratio);
            const row = context.getImageData(Math.ceil(left * ratio), Math.round(y * ratio), width, 1).data;
            const picture = Math.round(row.filter((_, i) => i % 4 < 3).reduce((a, b) => a + b) / (3 * width) / 10);
            window.seen.push([read(".frame-badge", "textContent"), picture, read(".transport .frame", "value")]);
            requestAnimationFrame(look);
        };
        look();
    })()""")
    ruler = own.page.locator("canvas.ruler").bounding_box()
    y, left, right = ruler["y"] + 8, ruler["x"] + 130, ruler["x"] + ruler["width"] - 10
    own.page.mouse.move(left, y)
    own.page.mouse.down()
    for share in [*np.linspace(0, 1, 12), *np.linspace(1, 0, 9), 0.8, 0.1, 0.6]:
        own.page.mouse.move(left + share * (right - left), y)
    own.page.mouse.up()
    own.press(*["ArrowRight"] * 4, *["Shift+ArrowLeft"] * 2, "End", "Home", "Shift+ArrowRight")
    own.wait("studio.player.shown === studio.player.wanted")
    seen = own.js("window.seen")
    assert len({number for number, *_ in seen}) > 5
    assert [each for each in seen if len(set(each)) != 1] == []
    large = "studio.frames.largest = 60 * 2 ** 20, studio.frames.neighbours().length"
    assert 1 <= own.js(large) <= 4  # what cannot be kept is not fetched ahead


def test_everything_by_keyboard(window: Callable[..., Window]) -> None:
    own = window("keys")
    own.press("Escape", "n")
    x, y = own.js("studio.stage.cursor")
    own.press("ArrowLeft", "Shift+ArrowUp", "Control+ArrowRight", "Enter")
    own.wait("studio.annotation.points.size === 1 && studio.annotation.waiting === 0")
    point = own.js("studio.order()[0]")
    assert own.position(point, 0) == pytest.approx((x - 0.9, y - 10), abs=0.01)
    assert own.js("studio.mode") == "select"
    own.track("t")
    own.press("Shift+ArrowRight")
    own.wait("studio.player.shown === 10")
    at = own.position(point, 10)
    own.press("g", "ArrowDown", "ArrowDown", "Enter")
    own.done(2)
    assert own.position(point, 10) == pytest.approx((at[0], at[1] + 2), abs=0.01)
    own.press(",")
    own.wait("studio.player.shown === 0")
    own.press(".", "F2")
    own.wait("studio.player.shown === 10")
    own.page.keyboard.type("nose tip")
    own.press("Enter")
    own.wait("studio.annotation.active.label === 'nose tip'")
    own.press("Delete")
    own.wait("studio.annotation.points.size === 0")
    own.press("Control+z")
    own.wait("studio.annotation.points.size === 1")
    own.press("?")
    assert "Track the selected points" in own.page.locator("dialog").inner_text()
    own.press("Escape")
    own.press("Tab")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert own.js(outline) == "solid" and own.js("document.activeElement !== document.body")
    without = """[...document.querySelectorAll("button, input, select")].filter((each) => !each.closest("[hidden]")
        && !(each.ariaLabel || each.labels?.length || each.textContent.trim())).length"""
    assert own.js(without) == 0
    bare = "document.querySelectorAll('.toolbar > button:not([data-tip]), .transport button:not([data-tip])').length"
    assert own.js(bare) == 0


def test_hidden_by_a_drag_over_the_strip_and_by_a_key_at_both_ends(window: Callable[..., Window]) -> None:
    own = window("hidden")
    own.place((30, 20))
    own.track()
    rows = own.page.locator(".rows").bounding_box()
    ends = [own.js(f"studio.timeline.x({t} + 0.5)") for t in (5, 9)]
    own.page.mouse.move(rows["x"] + ends[0], rows["y"] + 10)
    own.page.mouse.down()
    own.page.mouse.move(rows["x"] + (ends[0] + ends[1]) / 2, rows["y"] + 10)
    own.page.mouse.move(rows["x"] + ends[1], rows["y"] + 10)
    own.page.mouse.up()
    own.wait("studio.annotation.points.get(studio.order()[0]).hidden.length === 1")
    own.js("studio.annotation.select(studio.order())")
    own.go(14)
    own.press("o")
    own.go(12)
    own.press("o")
    own.wait("studio.annotation.active.hidden.length === 2")
    spans = [(s["start"], s["stop"], s["state"]) for s in own.js("studio.annotation.active.hidden")]
    assert spans == [(5, 10, "occluded"), (12, 15, "occluded")]
    seen = own.js("studio.api.positions(studio.clip.id, studio.order(), 0, 16)")["points"][0]["visible"]
    assert seen == [1] * 5 + [0] * 5 + [1] * 2 + [0] * 3 + [1]
    own.wait("studio.tracks.at(studio.order()[0], 12)?.visible === 0")  # and the page knows it
    own.page.wait_for_timeout(600)
    own.page.get_by_text("Outside", exact=True).click()
    own.wait("studio.annotation.active.hidden.some((span) => span.state === 'outside')")
    own.press("ArrowRight")  # the next frame, not the next state
    own.wait("studio.player.shown === 13")
    assert sum(s["state"] == "outside" for s in own.js("studio.annotation.active.hidden")) == 1


def test_two_windows_lose_no_edit(window: Callable[..., Window]) -> None:
    one = window("two")
    one.place((30, 20), (50, 40))
    other = window("two")
    other.wait("studio.annotation.points.size === 2")
    first, second = one.js("studio.order()")
    one.js(f"studio.correct({first}, 0, 33, 22)")
    other.wait(f"studio.annotation.points.get({first}).keyframes[0].x === 33")  # told at once
    other.js("studio.live.close()")  # from here on it hears nothing
    one.js(f"studio.correct({first}, 0, 35, 25)")
    one.wait("studio.annotation.waiting === 0")
    other.js(f"void studio.correct({second}, 0, 52, 44)")  # another point: no conflict
    other.wait("studio.annotation.waiting === 0")
    assert other.position(second, 0) == pytest.approx((52, 44))
    other.js(f"void studio.correct({first}, 0, 10, 10)")
    other.page.get_by_role("button", name="Keep theirs").click()
    other.wait(f"studio.annotation.points.get({first}).keyframes[0].x === 35")
    assert one.position(first, 0) == pytest.approx((35, 25))
    one.js(f"studio.correct({first}, 0, 36, 26)")
    one.wait("studio.annotation.waiting === 0")
    other.js(f"void studio.correct({first}, 0, 11, 12)")
    other.page.get_by_role("button", name="Use mine").click()
    one.wait(f"studio.annotation.points.get({first}).keyframes[0].x === 11")
    assert one.position(first, 0) == pytest.approx((11, 12))


def test_an_undo_of_what_another_window_changed_is_asked_for(window: Callable[..., Window]) -> None:
    one = window("both")
    one.place((30, 20))
    (point,) = one.js("studio.order()")
    other = window("both")
    name = "ear " + 190 * "x"
    one.js(f"void studio.editPoints([{point}], {{label: '{name}'}})")
    other.wait(f"studio.annotation.points.get({point})?.label.startsWith('ear')")
    other.press("Control+z")  # the last step of this person, whichever window it was made in
    one.wait(f"studio.annotation.points.get({point}).label.startsWith('point')")
    one.press("Control+z")
    question = one.page.get_by_role("dialog")
    question.wait_for()
    assert "has changed this in the meantime" in question.inner_text() and "force" not in question.inner_text()
    question.get_by_role("button", name="Keep theirs").click()
    assert one.js("studio.annotation.points.size") == 1
    one.press("Control+z")
    question.get_by_role("button", name="Undo all the same").click()
    one.wait("studio.annotation.points.size === 0 && studio.annotation.waiting === 0")
    one.js(f"void tapkit.page.offer('{name}', [])")
    box = one.page.locator(".toast").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 1366  # a long name does not cover the page


def test_names_are_text_and_never_html(window: Callable[..., Window]) -> None:
    own = window("names")
    own.place((30, 20))
    name = "<img src=x onerror=window.bad=1><b>x</b>"
    own.js(f"studio.editPoints(studio.order(), {{ label: {name!r}, group: {name!r} }})")
    own.wait("studio.annotation.active.label !== ''")
    own.press("Delete")
    own.wait("document.querySelector('.toast')?.textContent.includes('<b>x</b>')")
    own.press("Control+z")
    own.wait("document.querySelector('.point-row')?.textContent.includes('<b>x</b>')")
    assert own.js("document.querySelectorAll('#main b img, .left img, .toast img').length") == 0
    assert own.js("window.bad") is None


def test_what_is_done_while_the_server_is_away_is_sent_when_it_is_back(window: Callable[..., Window]) -> None:
    own = window("away")
    own.page.route("**/api/clips/*/edits", lambda route: route.abort())
    own.press("Escape", "n")
    own.click(30, 20)
    own.wait("document.getElementById('banner').textContent.includes('does not answer')")
    assert own.js("studio.annotation.points.size") == 0 and own.js("studio.annotation.waiting") == 1
    own.page.unroute("**/api/clips/*/edits")
    own.wait("studio.annotation.points.size === 1 && studio.annotation.waiting === 0")
    assert own.js("document.getElementById('banner').hidden")


def test_what_was_done_and_only_its_answer_lost_is_not_done_again(window: Callable[..., Window]) -> None:
    own = window("lost")
    own.place((30, 20), (50, 30))
    made: list[int] = []

    def cut_off(route: Any) -> None:
        made.append(route.fetch().status)
        route.abort()

    def proxy_gives_up(route: Any) -> None:
        made.append(route.fetch().status)
        route.fulfill(status=504, body="Gateway Timeout")

    own.page.route("**/api/clips/*/edits", cut_off, times=1)
    own.page.route("**/api/clips/*/undo", proxy_gives_up, times=1)
    own.press("Escape", "n")
    own.click(70, 40)
    own.wait("studio.annotation.points.size === 3 && studio.annotation.waiting === 0")
    own.press("Escape", "Control+z")
    own.wait("studio.annotation.points.size === 2 && studio.annotation.waiting === 0")
    assert made == [200, 200]
    assert own.js("studio.api.points(studio.clip.id).then(seen => seen.points.length)") == 2


def test_boxes_of_objects_and_a_point_put_where_it_is(window: Callable[..., Window]) -> None:
    own = window("boxes")
    own.press("Escape", "b")
    own.drag((20, 10), (60, 50))
    own.page.get_by_label("Label of the new object").fill("left <player>")
    own.press("Enter")
    own.wait("document.querySelector('.objects')?.textContent.includes('left <player>')")
    box = own.js("studio.annotation.objects[0].boxes[0]")
    assert [box["t"], box["x0"], box["y0"], box["x1"], box["y1"]] == pytest.approx([0, 20, 10, 60, 50], abs=0.2)
    own.press("Control+z")
    own.wait("studio.annotation.objects.length === 0")
    own.place((30, 20))
    own.go(9)
    own.page.keyboard.down("Control")
    own.click(45, 31)
    own.page.keyboard.up("Control")
    own.wait("studio.annotation.active.keyframes.length === 2 && studio.annotation.waiting === 0")
    assert own.position(own.js("studio.order()[0]"), 9) == pytest.approx((45, 31), abs=0.06)


def test_a_video_is_sent_and_becomes_a_clip(window: Callable[..., Window], tmp_path: Path) -> None:
    own = window("export")
    frames = clips.pictures(8)
    frames[:, :2, -2:] = 77
    own.js("location.hash = '#/clips'")
    own.wait("document.querySelector('[data-view=clips] input[type=file]')")
    own.page.set_input_files("input[type=file]", clips.write_clip(tmp_path / "sent.mp4", frames))
    own.wait("[...document.querySelectorAll('.card h2')].some((each) => each.textContent.startsWith('sent'))")
    own.page.set_input_files("input[type=file]", Path(__file__))
    own.wait("document.querySelector('.toast.error')")
    assert "test_page" in own.page.locator(".toast.error").inner_text()


def test_export_offers_what_the_command_line_does(window: Callable[..., Window], tmp_path: Path) -> None:
    from tapkit.export.library import formats

    own = window("export")
    own.place((30, 20))
    own.track()
    own.press("e")
    offered = own.js("[...document.querySelectorAll('.format input')].map((e) => e.value)")
    assert sorted(offered) == sorted(formats())
    assert offered[0] == "nuke"
    with own.page.expect_download() as download:
        own.page.get_by_role("button", name="Download").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.suffix == ".nk" and "Tracker4" in file.read_text()


def test_an_offer_to_undo_goes_with_the_next_change(window: Callable[..., Window]) -> None:
    own = window("offer")
    own.place((30, 20), (44, 40))
    own.press("Escape", "]", "Delete")
    own.wait("document.querySelector('#toasts').textContent.includes('Deleted')")
    own.press("]")
    own.js("studio.editPoints(studio.annotation.chosen, {label: 'ear'})")  # its Undo would now undo this
    own.wait("studio.annotation.waiting === 0 && studio.annotation.active?.label === 'ear'")
    assert "Undo" not in own.page.locator("#toasts").inner_text()
    own.press("Control+z", "Control+z")
    own.wait("studio.annotation.points.size === 2 && studio.annotation.waiting === 0")
    assert "Undone: deleted point" in own.page.locator("main").inner_text()


def test_what_is_found_is_chosen_and_what_fails_in_a_dialog_can_be_read(
    window: Callable[..., Window], tmp_path: Path
) -> None:
    own = window("offer")
    if not own.js("studio.annotation.points.size"):
        own.place((30, 20))
    own.press("Escape", "e")
    own.page.get_by_label("Find a format").fill("blender")
    assert own.js("document.querySelector('.format input:checked').value") == "blender"
    with own.page.expect_download() as download:
        own.press("Enter")
    assert download.value.suggested_filename == "offer.py"
    own.wait("!document.querySelector('dialog')")
    own.press("e")
    own.page.get_by_label("Find a format").fill("nothing like it")
    own.press("Enter")
    own.page.get_by_role("button", name="Close this message").last.click()  # not under the dialog
    own.press("Escape")
    own.wait("document.getElementById('toasts').parentElement === document.body")


def test_dark_and_light_and_at_400_percent(window: Callable[..., Window]) -> None:
    own = window("look")
    shade = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b)"
    assert own.js(shade) < 200
    own.page.emulate_media(color_scheme="light")
    assert own.js(shade) > 600
    own.press("y")
    assert own.js(shade) < 200
    own.page.set_viewport_size({"width": 341, "height": 192})  # 1366 x 768 at 400 %
    own.wait("document.documentElement.scrollWidth <= innerWidth")
    own.press("Escape")
    for name in ("Place a point", "Track the selected points, or all", "Play and pause", "Next doubtful place"):
        button = own.page.get_by_role("button", name=name, exact=True).first
        button.scroll_into_view_if_needed()
        box = button.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 341 and box["height"] >= 24
    own.page.locator("canvas.stage").scroll_into_view_if_needed()
    own.place((30, 20))
    assert own.js("studio.annotation.points.size") == 1


# -- a team ------------------------------------------------------------------------------------------

PASSWORD = "correct horse"


def fill(window: Window, **fields: str) -> None:
    """Write into fields by their labels."""
    for label, text in fields.items():
        window.page.get_by_label(label.replace("_", " "), exact=False).last.fill(text)


def button(window: Window, name: str) -> None:
    """Press a button by its name."""
    window.page.get_by_role("button", name=name, exact=True).last.click()


def text(window: Window) -> str:
    return str(window.page.locator("main").inner_text())


@pytest.fixture
def team(tmp_path: Path) -> Iterator[str]:
    clips.write_clip(tmp_path / "shot.mp4", clips.pictures())
    with running(tmp_path, "--team") as found:
        yield found


def test_a_team_from_the_first_account_to_an_accepted_clip(browser: Any, team: str) -> None:
    owner = Window(browser, team)
    assert "This studio has no accounts yet" in text(owner)
    fill(owner, Name="Ana", Password=PASSWORD)
    button(owner, "Make the account")
    owner.wait("document.querySelector('[data-view=people]')")
    button(owner, "Add a person")
    fill(owner, Name="Ben", Password=PASSWORD)
    button(owner, "Add")
    owner.wait("document.querySelectorAll('[data-view=people] tbody tr').length === 2")
    owner.page.get_by_role("link", name="Clips", exact=True).click()
    owner.wait("document.querySelector('[data-view=clips] .card')")
    button(owner, "Assign")
    owner.page.get_by_label("Ben").check()
    owner.page.get_by_label("blind").check()
    owner.page.get_by_role("dialog").get_by_role("button", name="Assign").click()
    owner.wait("document.querySelector('.card').textContent.includes('Ben')")

    ben = Window(browser, owner.home)
    fill(ben, Name="Ben", Password="something else")
    button(ben, "Log in")
    ben.wait("document.querySelector('[role=alert].said').textContent !== ''")
    fill(ben, Password=PASSWORD)
    button(ben, "Log in")
    ben.wait("document.querySelector('[data-view=work] .lines')")
    assert "Report" not in ben.page.locator("#top").inner_text()
    ben.page.get_by_role("link", name="Open", exact=True).click()
    ben.wait("window.studio?.element.dataset.ready")
    ben.place((30, 20))
    ben.page.get_by_label("Comment").fill("the corner <b>here</b>")
    button(ben, "Send")
    ben.wait("document.querySelector('.comments')?.textContent.includes('the corner <b>here</b>')")
    button(ben, "Hand in")
    ben.wait("document.querySelector('[data-view=work]')?.textContent.includes('to review')")

    owner.page.get_by_role("link", name="Review", exact=True).click()
    owner.wait("document.querySelector('[data-view=review]')")
    button(owner, "Hand back")
    fill(owner, What_is_to_be_done="one more point, please")
    owner.page.get_by_role("dialog").get_by_role("button", name="Hand back").click()
    owner.wait("document.querySelector('[data-view=review]').textContent.includes('in work')")
    ben.page.reload()
    ben.wait("document.querySelector('[data-view=work]')?.textContent.includes('one more point, please')")
    ben.page.get_by_role("link", name="Do again", exact=True).click()
    ben.wait("window.studio?.element.dataset.ready")
    ben.place((50, 40))
    button(ben, "Hand in")
    ben.wait("document.querySelector('[data-view=work]')?.textContent.includes('to review')")
    owner.js("tapkit.route()")
    owner.wait("document.querySelector('[data-view=review]').textContent.includes('to review')")
    owner.page.get_by_role("link", name="see the work").click()
    owner.wait("window.studio?.element.dataset.ready && studio.annotation.points.size === 2")  # blind, and seen here
    assert "the work of Ben" in owner.page.locator("#top").inner_text()
    owner.page.go_back()
    owner.wait("document.querySelector('[data-view=review]')")
    assert "Nothing is adopted yet" in text(owner)  # what is only in a blind layer is not the clip's
    button(owner, "Adopt")
    owner.wait("!document.querySelector('[data-view=review]').textContent.includes('Nothing is adopted yet')")
    owner.wait("tapkit.api.clips().then((clips) => clips[0].points === 1)")
    button(owner, "Accept")
    owner.wait("document.querySelector('[data-view=review]').textContent.includes('accepted')")
    owner.page.goto(f"{owner.home}#/report")
    owner.wait("document.querySelector('[data-view=report] table')?.textContent.includes('Ben')")
    for each in (ben, owner):
        each.close()
