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


@cache
def formats() -> dict[str, Format]:
    """All formats by name: tapkit's own, then those of other packages, which cannot replace them."""
    found = dict(FORMATS)
    for _, theirs in plugins.load(GROUP):
        for name, entry in theirs.items():
            found.setdefault(name, entry)
    return found


def find(name: str) -> Format:
    """The format of that name; the error names the nearest ones."""
    known = formats()
    if name not in known:
        near = difflib.get_close_matches(name, known, 3, 0.4) or list(known)
        raise UsageError(f"there is no format {name!r}; did you mean {', '.join(near)}? (tapkit export --list)")
    return known[name]


def by_suffix(path: str | Path) -> Format:
    """The format that files with this ending have; an error if none does, or several do and none is called by it."""
    path = Path(path)
    ending = path.suffix.lower()
    fitting = [entry for entry in formats().values() if ending and path.name.lower().endswith(entry.suffix.lower())]
    if not fitting:
        raise UsageError(f"no format is known by the ending of {path.name!r}: name it (tapkit export --list)")
    longest = max(len(entry.suffix) for entry in fitting)
    fitting = [entry for entry in fitting if len(entry.suffix) == longest]
    named = [entry for entry in fitting if entry.name == ending[1:]]
    if len(fitting) > 1 and not named:
        names = ", ".join(entry.name for entry in fitting)
        raise UsageError(f"{path.name!r} may be any of {names}: name the format")
    return (named or fitting)[0]
