"""tapkit's own formats, by name; declared as the entry point `tapkit` of the group `tapkit.formats`."""

from __future__ import annotations

from tapkit.export import (
    after_effects,
    blender,
    coco,
    colmap,
    cvat,
    deeplabcut,
    exr,
    matchmove,
    nuke,
    rerun,
    sleap,
    tables,
    tapvid,
)

FORMATS = {
    entry.name: entry
    for entry in (
        nuke.NUKE, nuke.NUKE_SCRIPT, nuke.NUKE_CORNERPIN,
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
