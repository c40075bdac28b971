"""The file formats by name: tapkit's own, and those that other packages add.

A package adds formats by declaring, in the entry-point group `tapkit.formats`, a mapping from names to `Format`s;
`tracks.to_nuke(path)` writes the format "nuke", whoever brought it. Tapkit's own are imported plainly, so that they are
there however the package was put on the path.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tapkit import plugins
from tapkit.errors import UsageError
from tapkit.export import (
    after_effects,
    blender,
    coco,
    colmap,
    cvat,
    deeplabcut,
    exr,
    fusion,
    matchmove,
    nuke,
    rerun,
    sleap,
    tables,
    tapvid,
)
from tapkit.export.format import Format

GROUP = "tapkit.formats"


FORMATS: Mapping[str, Format] = {
    entry.name: entry
    for entry in (
        nuke.NUKE, nuke.NUKE_SCRIPT, nuke.NUKE_CORNERPIN,
        fusion.FUSION, fusion.FUSION_COMP,
        after_effects.AFTER_EFFECTS, after_effects.AFTER_EFFECTS_SCRIPT, after_effects.MOCHA,
        matchmove.EQUALIZER, matchmove.EQUALIZER3, matchmove.SYNTHEYES, matchmove.PFTRACK, matchmove.BOUJOU,
        matchmove.SHAKE, blender.BLENDER,
        colmap.COLMAP, colmap.COLMAP_DATABASE,
        cvat.CVAT, coco.COCO, deeplabcut.DEEPLABCUT, deeplabcut.DEEPLABCUT_PREDICTIONS, sleap.SLEAP,
        sleap.SLEAP_ANALYSIS, tables.DLTDV, tapvid.TAPVID,
        tables.CSV, tables.CSV_WIDE, tables.PARQUET,
        rerun.RERUN, exr.STMAP, exr.MOTION,
    )
}  # fmt: skip
"""Tapkit's own."""

ALIASES: Mapping[str, tuple[str, ...]] = {
    "aftereffects": ("ae", "ae-script"),
    "after-effects": ("ae", "ae-script"),
    "resolve": ("fusion", "fusion-comp"),
    "davinci-resolve": ("fusion", "fusion-comp"),
    "3dequalizer": ("3de", "3de3"),
    "deeplabcut": ("dlc", "dlc-predictions"),
}
"""Names of programs -> their formats; the first that has the file's ending is meant, else the first of all."""
USUAL: Mapping[str, str] = {".nk": "nuke", ".exr": "stmap"}
"""Endings that several formats of one program have -> the one that is usually meant."""


@cache
def formats() -> dict[str, Format]:
    """All formats by name: tapkit's own, then those of other packages, which cannot replace them."""
    found = dict(FORMATS)
    for _, theirs in plugins.load(GROUP):
        for name, entry in theirs.items():
            found.setdefault(name, entry)
    return found


def find(name: str, path: str | Path | None = None) -> Format:
    """The format of that name, or of a program's (`ALIASES`) and with the ending of `path`; the error names the nearest
    ones. Capital letters do not matter.
    """
    known = formats()
    if name not in known and name.lower() in known:
        name = name.lower()
    if name not in known and name.lower() in ALIASES:
        return _of_program([known[each] for each in ALIASES[name.lower()]], path)
    if name not in known:
        near = difflib.get_close_matches(name, [*known, *ALIASES], 3, 0.4) or list(known)
        raise UsageError(f"there is no format {name!r}; did you mean {', '.join(near)}? (tapkit export --list)")
    return known[name]


def _of_program(candidates: list[Format], path: str | Path | None) -> Format:
    """The one whose files have the ending of `path`: a folder's name has none."""
    ending = Path("" if path is None else path).suffix.lower()
    fitting = [entry for entry in candidates if ending and entry.suffix == ending]
    files = [entry for entry in candidates if ending and entry.suffix != "/"]
    return [*fitting, *files, *candidates][0]


def by_suffix(path: str | Path) -> Format:
    """The format that files with this ending have; an error if none does, or several do and none is called by it or
    usual (`USUAL`)."""
    path = Path(path)
    ending = path.suffix.lower()
    fitting = [entry for entry in formats().values() if ending and path.name.lower().endswith(entry.suffix.lower())]
    if not fitting:
        raise UsageError(f"no format is known by the ending of {path.name!r}: name it (tapkit export --list)")
    longest = max(len(entry.suffix) for entry in fitting)
    fitting = [entry for entry in fitting if len(entry.suffix) == longest]
    named = [entry for entry in fitting if entry.name in (ending[1:], USUAL.get(ending))]
    if len(fitting) > 1 and not named:
        names = ", ".join(entry.name for entry in fitting)
        raise UsageError(f"{path.name!r} may be any of {names}: name the format")
    return (named or fitting)[0]


_SAID = {".csv": "csv", ".nk": "nuke"}
"""What an ending says of the format."""


def beside(tracks: Path, name: str, suffix: str) -> Path:
    """clip.tracks.npz -> clip.nk; folders and endings that formats share get its name, too, but for what the ending
    says already.

    >>> beside(Path("a/clip.tracks.npz"), "nuke", ".nk").as_posix(), beside(Path("clip.npz"), "coco", ".json").name
    ('a/clip.nk', 'clip.coco.json')
    >>> beside(Path("clip.npz"), "csv-wide", ".csv").name, beside(Path("clip.csv"), "csv", ".csv").name
    ('clip.wide.csv', 'clip.table.csv')
    """
    stem = tracks.name.removesuffix(tracks.suffix).removesuffix(".tracks")
    if suffix == "/":
        return tracks.with_name(f"{stem}_{name}")
    shared = suffix in (".txt", ".csv", ".json", ".py", ".nk", ".h5", ".exr")
    more = "" if not shared else name.removeprefix(_SAID.get(suffix, "\0")).removeprefix("-")
    path = tracks.with_name(f"{stem}.{more}{suffix}" if more else f"{stem}{suffix}")
    return tracks.with_name(f"{stem}.table{suffix}") if path == tracks else path  # what is read is not written to
