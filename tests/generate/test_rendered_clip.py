"""A rendered video: `tapkit generate --scenes toys --seed 23 --frames 8 --size 128x96 --samples 4 --points 128 ...`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tapkit import coords
from tapkit.datasets.folder import FolderDataset, read_arrays

ROOT = Path(__file__).parent
NAME = "toys_000023"


def test_its_stored_tracks_are_its_3d_points_seen_by_its_cameras() -> None:
    """By matrices alone, from the files: corner origin, x right, y down."""
    truth, clip = read_arrays(ROOT / NAME / "truth.npz"), FolderDataset(ROOT).clip(NAME)
    ones = np.ones((*truth["world"].shape[:2], 1))
    seen = np.einsum("tij,tnj->tni", truth["extrinsics"][:, :3], np.concatenate([truth["world"], ones], -1))
    flat = np.einsum("tij,tnj->tni", truth["intrinsics"], seen)
    away = np.linalg.norm(flat[..., :2] / flat[..., 2:] - clip.xy.swapaxes(0, 1), axis=-1)
    inside = coords.inside(clip.xy.swapaxes(0, 1), clip.size) & truth["valid"]
    assert inside.mean() > 0.9 and away[inside].max() < 1e-3
    np.testing.assert_allclose(seen[..., 2], truth["depth"], rtol=1e-5)
    assert np.array_equal(truth["visible"].T, clip.visible)


def test_points_are_visible_where_they_were_chosen_and_keep_the_colour_of_what_they_lie_on() -> None:
    """Points on things that stand still move with the camera alone; the picture under them stays about the same."""
    truth, clip = read_arrays(ROOT / NAME / "truth.npz"), FolderDataset(ROOT).clip(NAME)
    assert clip.visible[np.arange(len(clip.xy)), truth["chosen_on"]].all()
    with clip.open() as source:
        video = np.stack([frame.image for frame in source.frames(0, clip.frames)]).astype(int)
    x, y = np.clip(clip.xy.astype(int), 0, np.array(clip.size[::-1]) - 1).transpose(2, 0, 1)
    colours = video[np.arange(clip.frames), y, x]  # [N,T,3]
    right = np.abs(colours[:, 1:] - colours[:, :-1]).mean(-1)[clip.visible[:, 1:] & clip.visible[:, :-1]]
    wrong = np.abs(colours - np.roll(colours, 7, 0)).mean(-1)[clip.visible]
    assert np.median(right) < 0.3 * np.median(wrong)


def test_what_was_built_and_how_it_was_checked_lies_beside_it() -> None:
    from tapkit.generate.scene.description import SceneDescription

    scene = SceneDescription.from_json(json.loads((ROOT / NAME / "scene.json").read_text()))
    assert (scene.kind, scene.seed, scene.frames, scene.width, scene.height) == ("toys", 23, 8, 128, 96)
    checks = json.loads((ROOT / NAME / "checks.json").read_text())
    assert checks["passed"] and len(checks["checks"]) == 10
