"""A team in a real browser: the first account, people, a clip that is given, handed in, handed back and accepted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numbered_clips as clips
import pytest
from studio_in_browser import Window, chromium, running

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("shots")
    clips.write_clip(folder / "shot.mp4", clips.pictures())
    with running(folder, "--team") as found:
        yield found


def fill(window: Window, **fields: str) -> None:
    """Write into fields by their labels."""
    for label, text in fields.items():
        window.page.get_by_label(label.replace("_", " "), exact=False).last.fill(text)


def button(window: Window, name: str) -> None:
    """Press a button by its name."""
    window.page.get_by_role("button", name=name, exact=True).last.click()


def text(window: Window) -> str:
    return str(window.page.locator("main").inner_text())


def test_from_the_first_account_to_an_accepted_clip(browser: Any, address: str) -> None:
    owner = Window(browser, address)
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
    button(owner, "Accept")
    owner.wait("document.querySelector('[data-view=review]').textContent.includes('accepted')")
    owner.page.goto(f"{owner.home}#/report")
    owner.wait("document.querySelector('[data-view=report] table')?.textContent.includes('Ben')")
    for each in (ben, owner):
        each.close()
