"""The folder that labels are written to: one clip a folder, and what says that they are pseudo-labels.

OUT/pseudo_labels.json     the options they were made with; `tapkit train` recognises pseudo-labels by it
OUT/NAME/                  a clip in tapkit's folder format (docs/benchmarks/folder_format.md)
OUT/report/NAME.json .jpg  what became of each piece, kept or not; written last
OUT/report.html .json      all of these on one page
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tapkit import storage
from tapkit._version import __version__
from tapkit.errors import StorageError, UsageError
from tapkit.train.pseudo.options import LabelOptions

CARD = "pseudo_labels.json"
REPORT = "report"


def is_pseudo_labelled(folder: str | Path) -> bool:
    """Whether the clips of a folder are pseudo-labels."""
    return (Path(folder) / CARD).is_file()


def taught_by(folder: str | Path) -> str:
    """The teachers of a folder of pseudo-labels, in words. Raises `StorageError` where that cannot be read."""
    options = LabelOptions.from_dict(read_json(Path(folder) / CARD).get("options", {}))
    return f"{', '.join(options.teachers)}" + f" ({options.agree} agreeing)" * bool(options.agree)


def claim(out: str | Path, options: LabelOptions) -> Path:
    """Make the folder, or go on with it if it was begun with the same options. Returns it.

    Raises `UsageError` for a folder of other labels or of other things, `StorageError` where it cannot be made.
    """
    folder = Path(out)
    card = folder / CARD
    plain = json.loads(json.dumps(options.identity()))
    storage.make_folder(folder)
    # Another process may be about to write the card: what it has begun is not somebody else's.
    others = [each for each in folder.iterdir() if each.suffix != storage.PARTIAL and each.name != CARD]
    if not card.is_file():
        if others:
            raise UsageError(f"{folder} is there already and holds no pseudo-labels: name another folder")
        storage.write_text(card, json.dumps({"tapkit": __version__, "options": plain}, indent=1) + "\n")
    before = read_json(card).get("options", {})
    other = sorted(name for name in {*plain, *before} if plain.get(name) != before.get(name))
    if other:
        raise UsageError(
            f"{folder} was begun with other options ({other[0]}: {_shown(before.get(other[0]))}, now "
            f"{_shown(plain.get(other[0]))}): name another folder"
        )
    return folder


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises `StorageError`."""
    with storage.reading(path, "a JSON object"):
        found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise StorageError(f"{path} is not a JSON object")
    return found


def record_file(out: Path, name: str) -> Path:
    """What became of piece `name`."""
    return out / REPORT / f"{name}.json"


def picture_file(out: Path, name: str) -> Path:
    """The picture of piece `name`."""
    return out / REPORT / f"{name}.jpg"


def records(out: str | Path) -> Iterator[dict[str, Any]]:
    """All that became of the pieces so far, by name."""
    for path in sorted((Path(out) / REPORT).glob("*.json")):
        yield read_json(path)
