"""The examples of the documentation, run as they stand; and what public pages must not say."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tapkit.cli.main import app
from tapkit.video import open_video
from tapkit.video.samples import sample
from tapkit.video.writer import VideoWriter

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
MARKED = re.compile(r"<!-- run -->\n```(\w+)\n(.*?)\n```", re.S)
BLOCKS = {page: MARKED.findall(page.read_text(encoding="utf-8")) for page in PAGES}


@pytest.fixture(scope="module")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first frames of the clip that the pages use, at its own size: their positions must fit."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with open_video(sample("blocks")) as source, VideoWriter(path, source.info) as writer:
        for frame in source.frames(0, 9):
            writer.write(frame.image, frame.time)
    return path


def commands(block: str) -> Iterator[list[str]]:
    """The command lines of a shell block; anything but tapkit itself is a mistake in the page."""
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] == "tapkit", f"a block that is run may only call tapkit, not {words[0]}"
            yield words[1:]


@pytest.mark.parametrize("page", [page for page, blocks in BLOCKS.items() if blocks], ids=lambda page: page.stem)
def test_the_examples_of_a_page_run_from_its_top_to_its_end(
    page: Path, short_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(short_clip.read_bytes())
    names: dict[str, object] = {"__name__": "page"}
    for language, block in BLOCKS[page]:
        if language == "python":
            exec(compile(block, f"{page.name}:\n{block}", "exec"), names)
        else:
            assert language == "sh"
            for arguments in commands(block):
                code = app.main(arguments, prog_name="tapkit", standalone_mode=False)
                assert code in (None, 0), f"tapkit {shlex.join(arguments)} ended with {code}"


def test_most_tutorials_and_how_to_pages_are_run() -> None:
    guides = [page for page in PAGES if page.parent.name in ("tutorials", "how-to")]
    run = [page for page in guides if BLOCKS[page]]
    assert len(guides) >= 12 and len(run) >= len(guides) - 3, sorted(p.stem for p in set(guides) - set(run))


FORBIDDEN = {
    r"\.\./shared|shared/eval|shared assets": "a folder that readers of these pages do not have",
    r"(this|first|second|last|next|GPU) session\b|sessions of (two|\d)|session's end": "a working session",
    r"\bmade (clip|data)|\bgone on with|\balike\b|\blesson|\btrouble": "a house term instead of the field's word",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_public_pages_say_nothing_that_a_reader_cannot_know(page: Path) -> None:
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        for pattern, why in FORBIDDEN.items():
            found = re.search(pattern, line, re.I)
            assert found is None, f"{page.name}:{number} has {found[0]!r}: {why}" if found else ""


def test_notes_of_cards_neither() -> None:
    from tapkit import registry

    for card in registry.cards().values():
        for pattern, why in FORBIDDEN.items():
            assert re.search(pattern, f"{card.notes} {card.paper}", re.I) is None, f"{card.id}: {why}"
