"""A studio that runs in a process of its own, and a page of it in a real browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
SIZE = {"width": 1366, "height": 768}
PATIENCE = 200
"""Seconds in which something is to happen that the page waits for."""
STARTS = 200
"""Seconds that a server may take to say its address."""


@contextmanager
def running(target: Path, *options: str) -> Iterator[str]:
    """`tapkit studio TARGET`; gives the address that it prints, key included."""
    command = [sys.executable, "-m", "tapkit", "studio", str(target), "--no-browser", "--port", "0", *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    assert process.stdout is not None
    said: list[str] = []
    found: list[str] = []
    open_now = threading.Event()

    def listen() -> None:
        for line in process.stdout or ():
            said.append(line)
            if address := re.search(r"http://\S+", line):
                found.append(address.group().rstrip("."))
                open_now.set()
        open_now.set()

    threading.Thread(target=listen, daemon=True).start()
    try:
        assert open_now.wait(STARTS) and found, "".join(said)
        yield found[0]
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("there is no Chromium here")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


class Window:
    """A window of the studio, in a browser profile of its own.

    Args:
        browser: from `chromium`.
        address: from `running`.
        page: what to open first.
        options: of Playwright's new_context.
    """

    def __init__(self, browser: Any, address: str, page: str = "", **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": SIZE, "color_scheme": "dark", **options})
        self.context.set_default_timeout(1000 * PATIENCE)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.home = address.split("?")[0]
        self.page.add_init_script(
            "if (!localStorage['tapkit.settings']) localStorage['tapkit.settings'] = '{\"model\": \"lucas-kanade\"}'"
        )
        self.page.goto(address + page)
        self.wait("window.tapkit?.session")

    def open(self, clip: str) -> Window:
        """The clip of that name; waits until its first frame is on the screen."""
        ids = self.page.evaluate("tapkit.api.clips().then(clips => Object.fromEntries(clips.map(c => [c.name, c.id])))")
        number = next(id for name, id in ids.items() if Path(name).stem == clip)
        self.page.evaluate(f"location.hash = '#/clip/{number}'")
        self.wait(f"window.studio?.clip.id === {number} && studio.element.dataset.shown")
        self.wait("studio.element.dataset.ready")
        return self

    def wait(self, condition: str) -> None:
        """Until a JavaScript expression, or what it promises, is true.

        (Playwright's own waiting evaluates text in the page, which the page's policy forbids.)
        """
        until = time.monotonic() + PATIENCE
        while not self.page.evaluate(f"Promise.resolve({condition}).then(Boolean)"):
            assert time.monotonic() < until, f"not within {PATIENCE} s: {condition}; {self.errors}"
            self.page.wait_for_timeout(50)

    def js(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        return self.page.evaluate(expression)

    def press(self, *keys: str) -> None:
        """Press and release keys, as Playwright names them."""
        for key in keys:
            self.page.keyboard.press(key)

    def screen(self, x: float, y: float) -> tuple[float, float]:
        """Where a position of the video is in the window."""
        box = self.page.locator("canvas.stage").bounding_box()
        px, py = self.js(f"studio.view.toScreen({x}, {y})")
        return box["x"] + px, box["y"] + py

    def click(self, x: float, y: float) -> None:
        """Click on a position of the video."""
        self.page.mouse.click(*self.screen(x, y))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag from one position of the video to another."""
        self.page.mouse.move(*self.screen(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.screen((start[0] + end[0]) / 2, (start[1] + end[1]) / 2))
        self.page.mouse.move(*self.screen(*end))
        self.page.mouse.up()

    def place(self, *points: tuple[float, float]) -> None:
        """Place points on the frame that is shown, and wait until the server has them."""
        before = self.js("studio.annotation.points.size")
        for x, y in points:
            self.press("Escape", "n")
            self.click(x, y)
        self.wait(f"studio.annotation.points.size === {before + len(points)} && studio.annotation.waiting === 0")

    def go(self, t: int) -> None:
        """Go to a frame, and wait until it is shown."""
        self.js(f"studio.player.seek({t})")
        self.wait(f"studio.player.shown === {t}")

    def track(self, key: str = "t") -> None:
        """Track by a key, and wait until the job is over."""
        before = self.js("[...studio.jobs.all.values()].filter((job) => job.state === 'done').length")
        self.press(key)
        self.done(before + 1)

    def done(self, jobs: int) -> None:
        """Wait until so many jobs are done and nothing runs."""
        self.wait(
            f"[...studio.jobs.all.values()].filter((job) => job.state === 'done').length >= {jobs} "
            "&& studio.jobs.running.length === 0"
        )

    def position(self, point: int, t: int) -> tuple[float, float] | None:
        """Where the server says that a point is."""
        found = self.js(f"studio.api.positions(studio.clip.id, [{point}], {t}, {t + 1})")["points"][0]
        return None if found["x"][0] is None else (found["x"][0], found["y"][0])

    def close(self) -> None:
        """Close the window; no error may have been thrown in it."""
        self.context.close()
        assert self.errors == []
