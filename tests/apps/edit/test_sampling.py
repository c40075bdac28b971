"""Pictures read between their pixels; Pillow, which enlarges with the same Lanczos window, says what is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tapkit.apps.edit import Look, stabilise
from tapkit.apps.edit.sampling import Pyramid, lanczos
from tapkit.errors import UsageError


def places(width: int, height: int, scale: float) -> np.ndarray:
    """Middles of the pixels of a picture enlarged by `scale`, in the pixels of the small one."""
    x, y = (np.arange(round(side * scale)) + 0.5 for side in (width, height))
    return np.stack(np.meshgrid(x / scale, y / scale), -1)


@pytest.mark.parametrize("scale", [2.0, 1.4])
def test_lanczos_is_that_of_pillow(scale: float) -> None:
    picture = np.random.default_rng(0).random((40, 60)).astype(np.float32)
    size = (round(60 * scale), round(40 * scale))
    enlarged = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
    found = lanczos(picture[..., None], places(60, 40, scale))[..., 0]
    inside = (slice(8, -8), slice(8, -8))  # at the border Pillow takes fewer pixels
    assert found.shape == enlarged.shape and np.abs(found - enlarged)[inside].max() < 1e-5


def test_beyond_the_border_is_nothing_or_the_nearest_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tapkit.apps.edit.sampling._AT_ONCE", 7)  # several parts
    picture = np.full((5, 6, 2), 0.25, np.float32)
    far = np.array([[[-1e6, 2.0], [-4.0, 2.0], [3.0, 2.5], [10.0, 2.5], [3.0, 9.0], [np.float32(1e9), -1e9]]])
    assert np.array_equal(lanczos(picture, far)[0, :, 0] > 0.2, [False, False, True, False, False, False])
    assert np.allclose(lanczos(picture, far, edge=True), 0.25)
    assert np.allclose(lanczos(picture, places(6, 5, 1.0)), picture)  # on its own pixels it is the picture


def test_a_picture_is_read_as_it_was_asked_for() -> None:
    """Sharper than bicubic on fine stripes, the same where it is shrunk."""
    stripes = np.tile(np.cos(np.arange(64) * 2.2)[None, :, None], (64, 1, 1)).astype(np.float32)
    pyramid, where = Pyramid(stripes), places(64, 64, 1.0) + (0.5, 0)
    truth = np.cos((where[20, 8:-8, 0] - 0.5) * 2.2)
    worst = {
        how: np.abs(pyramid.read(where, 1.0, how)[20, 8:-8, 0] - truth).max()  # type: ignore[arg-type]
        for how in ("bicubic", "lanczos")
    }
    assert worst["lanczos"] < 0.7 * worst["bicubic"]
    assert np.array_equal(pyramid.read(where, 3.0, "lanczos"), pyramid.read(where, 3.0))


def test_unknown_resampling_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="resampling is bicubic or lanczos, got 'box'"):
        Look(resampling="box")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="resampling is bicubic or lanczos, got 'box'"):
        stabilise(np.zeros((4, 32, 32, 3), np.uint8), tmp_path / "o.mp4", resampling="box")  # type: ignore[arg-type]
