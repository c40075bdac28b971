"""Dense tracking, with a model that moves all points by what the frames say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pixel_mover import PixelMover, clip

from tapkit.engine.dense import dense_grid, dense_queries, track_dense
from tapkit.engine.tracker import Tracker
from tapkit.errors import QueryError, StorageError, UsageError
from tapkit.types import Tracks, VideoInfo

pytest.importorskip("zarr")

MOVES = [(0, 0), (2, -1), (3, 1), (-1, 4)]


def tracker() -> Tracker:
    model: Any = PixelMover()
    return Tracker(model)


def test_every_pixel_is_a_point_at_its_centre() -> None:
    queries, rows, columns = dense_queries(VideoInfo(5, 3), 2, 1)
    assert (rows, columns, len(queries)) == (3, 5, 15)
    assert queries.xy[0].tolist() == [0.5, 0.5] and queries.xy[6].tolist() == [1.5, 1.5]
    assert set(queries.t.tolist()) == {2}


def test_larger_steps_take_the_middle_of_each_cell() -> None:
    queries, rows, columns = dense_queries(VideoInfo(11, 8), 0, 4)
    assert (rows, columns) == (2, 2)
    assert queries.xy.tolist() == [[2, 2], [6, 2], [2, 6], [6, 6]]


def test_pictures_of_the_result_move_as_the_video_does(tmp_path: Path) -> None:
    path = track_dense(tracker(), clip(MOVES), tmp_path / "dense.zarr", frame=0, step=4)
    xy = dense_grid(path)
    assert xy.shape == (4, 8, 12, 2)
    np.testing.assert_allclose(xy - xy[:1], np.cumsum(MOVES, 0)[:, None, None] + np.zeros_like(xy))
    assert dense_grid(path, "visible", 1, 3).shape == (2, 8, 12)
    tracks = Tracks.load(path)
    assert len(tracks) == 96 and tracks.valid.all()


def test_bad_requests_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="\\.zarr"):
        track_dense(tracker(), clip(MOVES), tmp_path / "dense.npz")
    with pytest.raises(UsageError, match="step must lie between 1 and"):
        track_dense(tracker(), clip(MOVES), tmp_path / "dense.zarr", step=0)
    with pytest.raises(QueryError, match="frame 4 is outside the clip \\(frames 0\\.\\.3\\)"):
        track_dense(tracker(), clip(MOVES), tmp_path / "dense.zarr", frame=4)
    with pytest.raises(StorageError, match="not a result of dense tracking"):
        dense_grid(tmp_path / "nothing.zarr")
