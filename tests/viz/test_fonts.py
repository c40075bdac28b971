"""Names in any script: a font of the machine that has the letters, several for one name, a word where none has."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from tapkit.viz import fonts
from tapkit.viz.labels import Labels

builder = pytest.importorskip("fontTools.fontBuilder")


def make_font(path: Path, characters: str) -> Path:
    """A font whose glyphs are blocks, each of another width."""
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    names = [".notdef", *(f"u{ord(c):04X}" for c in characters)]
    glyphs, metrics = {}, {}
    for number, name in enumerate(names):
        pen = TTGlyphPen(None)
        right = 300 + 60 * number
        for x, y, move in ((100, 0, True), (100, 700, False), (right, 700, False), (right, 0, False)):
            (pen.moveTo if move else pen.lineTo)((x, y))
        pen.closePath()
        glyphs[name], metrics[name] = pen.glyph(), (right + 100, 100)
    font = builder.FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(c): f"u{ord(c):04X}" for c in characters})
    font.setupGlyf(glyphs)
    font.setupHorizontalMetrics(metrics)
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with two fonts, one damaged file among them."""
    make_font(tmp_path / "NotoSansCJK-Small.ttf", "鼻尾")
    make_font(tmp_path / "Other.ttf", "носéä")
    (tmp_path / "Broken.ttf").write_bytes(b"\0\1\0\0 no font at all")
    monkeypatch.setattr(fonts, "folders", lambda: [tmp_path])
    fonts._files_once.cache_clear()
    yield tmp_path
    fonts._files_once.cache_clear()


def named(text: str) -> list[tuple[str, str]]:
    return [(part, font.getname()[0]) for part, font in fonts.Fonts(20).runs(text)]


def test_each_part_of_a_name_gets_a_font_that_has_it(machine: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert named("nose 2") == [("nose 2", "Aileron")]
        assert named("鼻 2") == [("鼻 ", "NotoSansCJK-Small"), ("2", "Aileron")]
        assert named("нос") == [("нос", "Other")]
        assert named("L鼻é") == [("L", "Aileron"), ("鼻", "NotoSansCJK-Small"), ("é", "Other")]
        assert named("e\u0301") == [("e\u0301", "Aileron")], "a mark stays with its letter"


def test_letters_that_no_font_has_are_mentioned_once(machine: Path) -> None:
    found = fonts.Fonts(20)
    with pytest.warns(UserWarning, match="no font on this machine has the letters 'ก"):
        assert "".join(part for part, _ in found.runs("aกข")) == "aกข"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found.runs("ค")


def test_a_font_that_is_named_comes_first(machine: Path, tmp_path: Path) -> None:
    own = make_font(tmp_path / "mine.ttf", "abc鼻")
    assert [font.getname()[0] for _, font in fonts.Fonts(20, own).runs("a鼻")] == ["mine"]


def test_different_names_look_different_on_the_picture(machine: Path) -> None:
    pictures = []
    for text in ("鼻", "尾", "é", "ä"):
        image = np.zeros((60, 120, 3), np.uint8)
        Labels(20.0).draw(image, np.array([text]), np.array([[20.0, 30.0]]), np.ones((1, 3)), 4.0)
        assert image.max() > 200
        pictures.append(image)
    for first in range(4):
        for second in range(first):
            assert (pictures[first] != pictures[second]).any()
