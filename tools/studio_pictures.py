"""Pictures of the studio for the documentation: a real studio on the sample clips, in a headless Chromium.

    python tools/studio_pictures.py [--to docs/studio] [--only empty,review]

Each picture is WebP of at most 90 kB. Takes some minutes on a laptop: the tracker runs for them.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "web"))

import studio_in_browser  # noqa: E402
from studio_in_browser import Window, chromium, running  # noqa: E402

studio_in_browser.PATIENCE = 900  # the built-in tracker, both ways, on whatever machine

SAMPLES = ROOT / "src" / "tapkit" / "video" / "samples"
LARGEST = 90_000
"""Bytes of a picture."""
RABBIT = {"nose": (124.4, 107.0), "left eye": (124.5, 92.5), "right eye": (136.0, 91.5), "ear": (140.0, 33.0)}
"""Places on frame 0 of rabbit.mp4."""
PASSWORD = "a password of the pictures"


class Pictures:
    """Where pictures go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, window: Window, name: str, theme: str) -> None:
        """Store what the window shows."""
        window.page.emulate_media(color_scheme=theme)
        window.page.mouse.move(700, 5)
        window.page.wait_for_timeout(700)
        image = Image.open(io.BytesIO(window.page.screenshot())).convert("RGB")
        for quality in range(86, 20, -6):
            data = io.BytesIO()
            image.save(data, "WEBP", quality=quality, method=6)
            if data.tell() <= LARGEST:
                break
        (self.folder / f"{name}.webp").write_bytes(data.getvalue())
        print(name, image.size, data.tell() // 1000, "kB", "quality", quality)


def one_person(browser: Any, folder: Path, pictures: Pictures) -> None:
    """Empty, tracking, tracked, corrected, exported; the keys."""
    shutil.copy(SAMPLES / "rabbit.mp4", folder / "rabbit.mp4")
    with running(folder / "rabbit.mp4") as address:
        window = Window(browser, address)
        window.js("localStorage['tapkit.settings'] = '{\"model\": \"strand\"}'")
        window.page.reload()
        window.wait("window.tapkit?.session")
        window.open("rabbit")
        pictures.take(window, "empty", "dark")
        for place in RABBIT.values():
            window.click(*place)
        window.wait(f"studio.annotation.points.size === {len(RABBIT)} && studio.annotation.waiting === 0")
        window.press("t")
        window.wait("studio.jobs.running.some((job) => job.done > 25)")
        window.go(16)
        pictures.take(window, "tracking", "dark")
        window.done(1)
        for id, name in zip(window.js("studio.order()"), RABBIT, strict=True):
            window.js(f"studio.editPoints([{id}], {{label: {name!r}, group: 'rabbit'}})")
        window.js("studio.annotation.select([studio.order()[0]])")
        window.go(40)
        pictures.take(window, "tracked", "light")
        correct(window, pictures)
        window.press("e")
        window.page.wait_for_timeout(600)
        pictures.take(window, "export", "light")
        window.press("Escape", "?")
        pictures.take(window, "keys", "dark")
        window.close()


def correct(window: Window, pictures: Pictures) -> None:
    """A point is dragged and its path compared; another one is hidden for a while."""
    point, other = window.js("studio.order()")[0], window.js("studio.order()")[3]
    at = window.position(point, 40)
    assert at is not None
    away = (at[0] + 9, at[1] + 7)
    window.drag(at, away)  # a drift, made
    window.done(2)
    window.drag(away, at)
    window.done(3)
    window.js(f"studio.setVisibility([{other}], 52, 61, 'occluded')")
    window.wait(f"studio.annotation.points.get({other}).hidden.length === 1")
    window.press("c")
    window.wait("studio.stage.ghostPath !== null")
    window.press("+", "+")
    pictures.take(window, "correcting", "dark")
    window.press("c", "0")


def accounts(owner: Window) -> Iterator[tuple[str, int]]:
    """The people of the team; the window becomes the owner's."""
    owner.js(f"tapkit.api.addUser({{name: 'Ana', password: {PASSWORD!r}, role: 'owner'}}).then(() => tapkit.again())")
    owner.wait("tapkit.session.user?.name === 'Ana'")
    for name, role in (("Ben", "annotator"), ("Cleo", "annotator"), ("Dario", "reviewer")):
        user = owner.js(f"tapkit.api.addUser({{name: {name!r}, password: {PASSWORD!r}, role: {role!r}}})")
        yield name, user["id"]


def a_team(browser: Any, folder: Path, pictures: Pictures) -> None:
    """Two annotators blind to each other, and the review of what they did."""
    for name in ("rabbit.mp4", "blocks.mp4"):
        shutil.copy(SAMPLES / name, folder / name)
    with running(folder, "--team") as address:
        owner = Window(browser, address)
        people = dict(accounts(owner))
        clips = {clip["name"]: clip["id"] for clip in owner.js("tapkit.api.clips()")}
        rabbit = next(id for name, id in clips.items() if name.startswith("rabbit"))
        both = [people["Ben"], people["Cleo"]]
        owner.js(f"tapkit.api.assign({rabbit}, {both}, 'points', true)")
        for shift, name in enumerate(("Ben", "Cleo")):
            annotate(browser, owner.home, name, 1.2 * shift)
        owner.js("location.hash = '#/clips'")
        owner.js("tapkit.route()")
        owner.wait("document.querySelector('[data-view=clips] .card img')?.complete")
        pictures.take(owner, "clips", "light")
        owner.js(f"location.hash = '#/review/{rabbit}'")
        owner.wait("document.querySelector('[data-view=review]')")
        pictures.take(owner, "review", "dark")
        owner.js("location.hash = '#/report'")
        owner.wait("document.querySelector('[data-view=report]')")
        pictures.take(owner, "report", "light")
        owner.close()


def annotate(browser: Any, home: str, name: str, shift: float) -> None:
    """One annotator places the points a little elsewhere, tracks, and hands in."""
    window = Window(browser, home)
    window.js(f"tapkit.api.login({name!r}, {PASSWORD!r}).then(() => tapkit.again())")
    window.wait(f"tapkit.session.user?.name === {name!r}")
    window.open("rabbit")
    for i, (label, (x, y)) in enumerate(RABBIT.items()):
        at = (x + shift * (1 - i), y + shift * (0.6 * i - 0.5))
        window.js(f"studio.annotation.edit([{{op: 'add_point', t: 0, x: {at[0]}, y: {at[1]}, label: {label!r}}}])")
    window.wait(f"studio.annotation.points.size === {len(RABBIT)} && studio.annotation.waiting === 0")
    window.track()
    if shift:
        window.js("studio.setVisibility([studio.order()[3]], 30, 44, 'occluded')")
        window.wait("studio.annotation.points.get(studio.order()[3]).hidden.length === 1")
    window.js("tapkit.api.work().then((all) => tapkit.api.submit(all[0].id))")
    window.close()


PARTS = {"one": one_person, "team": a_team}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "studio")
    parser.add_argument("--only", choices=list(PARTS))
    given = parser.parse_args()
    pictures = Pictures(given.to)
    with chromium() as browser:
        for name, part in PARTS.items():
            if given.only in (None, name):
                with tempfile.TemporaryDirectory() as folder:
                    part(browser, Path(folder), pictures)


if __name__ == "__main__":
    main()
