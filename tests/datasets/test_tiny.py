"""The benchmark that ships: the same everywhere, and its ground truth is what the pixels show."""

import hashlib

import numpy as np
import pytest

from tapkit.datasets.tiny import FRAMES, SCENES, SIZE, TinyDataset, draw, tracks

PIXELS = "a51a29f6629d4e07"
TRACKS = "6b7363f1660e6abe"


@pytest.fixture(scope="module")
def drawn():
    return {scene.name: draw(scene) for scene in SCENES}


def test_pixels_are_the_same_on_every_machine(drawn):
    digest = hashlib.sha256(b"".join(frames.tobytes() for frames in drawn.values()))
    assert digest.hexdigest()[:16] == PIXELS


def test_tracks_are_the_same_on_every_machine():
    digest = hashlib.sha256()
    for scene in SCENES:
        for array in tracks(scene):
            digest.update(array.tobytes())
    assert digest.hexdigest()[:16] == TRACKS


def colour(image, xy):
    """Bilinear sample at corner-origin positions [N,2]."""
    x, y = (xy - 0.5).T
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    image = image.astype(float)
    get = lambda dx, dy: image[(y0 + dy).clip(0, SIZE[0] - 1), (x0 + dx).clip(0, SIZE[1] - 1)]  # noqa: E731
    return (get(0, 0) * (1 - fx) + get(1, 0) * fx) * (1 - fy) + (get(0, 1) * (1 - fx) + get(1, 1) * fx) * fy


def test_visible_points_keep_their_colour_and_shifted_ones_do_not(drawn):
    kept, shifted = [], []
    for scene in SCENES:
        if scene.gain != (1.0, 1.0):
            continue
        xy, visible = tracks(scene)
        for xy_n, seen in zip(xy, visible, strict=True):
            frames = np.flatnonzero(seen)
            for offset, out in ((0.0, kept), (4.0, shifted)):
                colours = np.stack(
                    [colour(drawn[scene.name][t], xy_n[t : t + 1] + offset * (t > frames[0]))[0] for t in frames]
                )
                out.append(np.abs(colours - colours[0]).max(1))
    kept, shifted = (np.median(np.concatenate(part)) for part in (kept, shifted))
    assert kept < 8
    assert shifted > 2 * kept


def test_every_clip_has_what_it_is_for():
    by_name = {scene.name: tracks(scene) for scene in SCENES}
    for _, visible in by_name.values():
        assert visible.shape[1] == FRAMES
        assert visible.any(1).all()
    xy, visible = by_name["occluder"]
    hidden_inside = ~visible & (xy > 0).all(-1) & (xy < [SIZE[1], SIZE[0]]).all(-1)
    assert hidden_inside.any()
    _, visible = by_name["return"]
    gone = ~visible[:, FRAMES // 2]
    assert (gone & visible[:, 0] & visible[:, -1]).sum() >= 3  # leave and come back


def test_clips_are_read_like_any_others():
    clip = TinyDataset().clip("occluder")
    with clip.open() as source:
        assert source.read(5).image.shape == (*SIZE, 3)
    assert clip.fingerprint() == TinyDataset().clip("occluder").fingerprint()
