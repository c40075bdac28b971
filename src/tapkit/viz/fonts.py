"""Fonts for names in any script: the one that comes with Pillow where it has the letters, else one of this machine.

Pillow's own has ASCII only. For other characters the fonts that are installed are looked through, those known to cover
much first, and the first that has a character serves it; a name in several scripts is written with several fonts.
"""

from __future__ import annotations

import os
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from PIL import ImageFont

from tapkit.errors import UsageError, one_line

_ENDINGS = (".ttf", ".otf", ".ttc", ".otc")
_BROAD = (
    "notosanscjk", "notosans-regular", "notosans", "sourcehansans", "dejavusans.", "arialuni", "segoeui.", "pingfang",
    "hiragino", "msyh", "msjh", "meiryo", "yugoth", "malgun", "applesdgothic", "wqy", "droidsansfallback", "unifont",
    "liberationsans-regular", "freesans.",
)  # fmt: skip
"""Beginnings of file names of fonts that cover much, best first."""
_MOST = 600
"""Fonts that are looked through."""
_NO_CHARACTER = "\U0010fffe"
"""Never a character: what a font draws for it, it draws for all that it lacks."""


def folders() -> list[Path]:
    """Where fonts are kept on this kind of machine."""
    home = Path.home()
    if sys.platform == "win32":
        own = os.environ.get("LOCALAPPDATA", str(home / "AppData/Local"))
        return [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts", Path(own) / "Microsoft/Windows/Fonts"]
    if sys.platform == "darwin":
        return [home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts")]
    data = os.environ.get("XDG_DATA_HOME") or str(home / ".local/share")
    shared = (os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")
    return [Path(data) / "fonts", home / ".fonts", *(Path(each) / "fonts" for each in shared if each)]


def files() -> list[Path]:
    """Font files of this machine, those that cover much first."""
    found: list[Path] = []
    for folder in folders():
        for root, _, names in os.walk(folder):
            found += [Path(root) / name for name in names if name.lower().endswith(_ENDINGS)]

    def rank(path: Path) -> tuple[int, int, str]:
        name = path.name.lower()
        place = next((i for i, start in enumerate(_BROAD) if name.startswith(start)), len(_BROAD))
        styled = any(word in name for word in ("bold", "italic", "oblique", "condensed", "light", "mono", "serif"))
        return place, int(styled), str(path)

    return sorted(found, key=rank)[:_MOST]


class Fonts:
    """Fonts of one size.

    Args:
        size: height of the letters in pixels.
        path: a font file that is asked first; None: the one that comes with Pillow.

    Raises `UsageError` for a file that is no font.
    """

    def __init__(self, size: float, path: str | Path | None = None) -> None:
        self._size = size
        if path is None:
            self._first: Any = ImageFont.load_default(size)
        else:
            try:
                self._first = ImageFont.truetype(str(path), size)
            except (OSError, ValueError) as error:
                raise UsageError(f"{path} is no font that can be used (.ttf, .otf, .ttc): {error}") from error
        self._known: dict[str, Any] = {}
        self._opened: list[Any] = [self._first]
        self._unopened: Iterator[Path] | None = None
        self._said = False

    def runs(self, text: str) -> list[tuple[str, Any]]:
        """The text, as `one_line` has it, in parts, each with a font that has its characters; what no font has goes
        with its neighbours."""
        out: list[tuple[str, Any]] = []
        missing = ""
        for character in one_line(text) or " ":
            plain = character.isspace() or unicodedata.category(character)[0] in "MC"  # marks and joiners stay
            font = out[-1][1] if plain and out else self._for(character)
            if font is None:
                missing += character
                font = out[-1][1] if out else self._first
            if out and out[-1][1] is font:
                out[-1] = (out[-1][0] + character, font)
            else:
                out.append((character, font))
        if missing and not self._said:
            self._said = True
            warnings.warn(
                f"no font on this machine has the letters {missing[:8]!r}: boxes are drawn for them; install one that "
                "has (Noto Sans CJK for Chinese, Japanese and Korean), or name a file with font=",
                stacklevel=2,
            )
        return out

    def _for(self, character: str) -> Any:
        """The first font that has the character; None: none has."""
        if character not in self._known:
            self._known[character] = self._search(character)
        return self._known[character]

    def _search(self, character: str) -> Any:
        for font in self._opened:
            if _has(font, character):
                return font
        if self._unopened is None:
            self._unopened = iter(_files_once())
        for path in self._unopened:
            try:
                font = ImageFont.truetype(str(path), self._size)
                self._opened.append(font)
                if _has(font, character):
                    return font
            except (OSError, ValueError):  # damaged, or pictures (emoji) of other sizes
                continue
        return None


@cache
def _files_once() -> tuple[Path, ...]:
    return tuple(files())


def _has(font: Any, character: str) -> bool:
    """Whether the font has a glyph of its own for the character."""
    if not hasattr(font, "getmask") or not hasattr(font, "font"):
        return character.isascii()  # Pillow without FreeType
    own, none = font.getmask(character), font.getmask(_NO_CHARACTER)
    return own.size != none.size or bytes(own) != bytes(none)
