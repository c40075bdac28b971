"""Queries: every way of making them, and every way of getting them wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tapkit.errors import QueryError, ShapeError, StorageError, UsageError
from tapkit.types import Queries


def test_rows_arrays_and_tensors_are_the_same_queries() -> None:
    rows = [(0, 1.5, 2.5), (7, 3.0, 4.0)]
    for form in (rows, np.array(rows), torch.tensor(rows), Queries.of(rows)):
        queries = Queries.of(form)
        assert queries.t.tolist() == [0, 7] and queries.xy.tolist() == [[1.5, 2.5], [3.0, 4.0]]
        assert list(queries) == rows


def test_they_cannot_be_changed() -> None:
    queries = Queries.of([(0, 1, 2)])
    with pytest.raises(ValueError, match="read-only"):
        queries.xy[0] = 0


@pytest.mark.parametrize(
    ("points", "error", "message"),
    [
        (np.zeros((3, 12)), ShapeError, r"queries\.T"),
        ([(1.0, 2.0)], ShapeError, "needs a frame"),
        ((0, 1.0, 2.0), ShapeError, r"\[\(t, x, y\)\]"),
        ("abc", ShapeError, "three numbers"),
        ([(0, float("inf"), 2)], QueryError, "finite"),
        ([(0.25, 1, 2)], QueryError, "whole numbers"),
    ],
)
def test_what_is_wrong_is_said(points, error, message) -> None:
    with pytest.raises(error, match=message):
        Queries.of(points)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 500), st.integers(2, 500))
def test_a_grid_tiles_the_frame_evenly(rows: int, columns: int, height: int, width: int) -> None:
    xy = Queries.grid((height, width), (rows, columns)).xy.reshape(rows, columns, 2)
    assert (xy > 0).all() and (xy < (width, height)).all()
    np.testing.assert_allclose(xy.mean((0, 1)), (width / 2, height / 2), rtol=1e-4)
    np.testing.assert_allclose(np.diff(xy[..., 0], axis=1), width / columns, rtol=1e-3)


def test_a_grid_with_a_margin_reaches_it() -> None:
    xy = Queries.grid((100, 200), 3, margin=10).xy
    assert xy.min(0).tolist() == [10, 10] and xy.max(0).tolist() == [190, 90]


def test_a_mask_gives_the_centres_of_its_pixels() -> None:
    mask = np.zeros((6, 8), np.uint8)
    mask[2:4, 3:5] = 255
    assert sorted(map(tuple, Queries.mask(mask).xy.tolist())) == [(3.5, 2.5), (3.5, 3.5), (4.5, 2.5), (4.5, 3.5)]
    assert len(Queries.mask(mask, count=3)) == 3
    assert len(Queries.mask(np.zeros((4, 4)))) == 0
    with pytest.raises(ShapeError):
        Queries.mask(np.zeros((4, 4, 3)))


def test_corners_are_found_at_corners_and_strongest_first() -> None:
    image = np.zeros((64, 64), np.uint8)
    image[20:44, 16:48] = 200
    image[50:56, 50:56] = 60
    xy = Queries.corners(image, 5).xy
    truth = np.array([(16, 20), (48, 20), (16, 44), (48, 44)])
    distance = np.linalg.norm(xy[:4, None] - truth, axis=-1).min(1)
    assert (distance < 4).all() and len(
        {tuple(truth[i]) for i in np.linalg.norm(xy[:4, None] - truth, axis=-1).argmin(1)}
    ) == 4
    assert len(Queries.corners(np.full((32, 32), 7, np.uint8), 5)) == 0


def test_random_points_repeat_with_their_generator() -> None:
    first, second = (Queries.random((10, 20), 50, np.random.default_rng(3), frames=5) for _ in range(2))
    np.testing.assert_array_equal(first.array(), second.array())
    assert set(first.t.tolist()) <= set(range(5)) and first.xy[:, 0].max() > 10


def test_csv_files_are_read_with_and_without_ids(tmp_path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("# made by hand\nid,frame,x,y\nnose,0,1.5,2\ntail,3,4,5\n")
    queries = Queries.read_csv(path)
    assert queries.ids.tolist() == ["nose", "tail"] and queries.t.tolist() == [0, 3]
    path.write_text("t,x,y\n0,one,2\n")
    with pytest.raises(QueryError, match="line 2"):
        Queries.read_csv(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(QueryError, match="columns t, x, y"):
        Queries.read_csv(path)
    with pytest.raises(StorageError):
        Queries.read_csv(tmp_path / "none.csv")


def test_normalised_and_swapped_positions_are_recognised() -> None:
    with pytest.raises(QueryError, match="swapped"):
        Queries.of([(0, 20, 90)]).check((50, 100))
    with pytest.raises(QueryError, match="outside"):
        Queries.of([(0, -0.1, 0.5)]).check((50, 100))


def test_parts_and_joins_keep_ids_unique() -> None:
    queries = Queries.of([(0, 1, 1), (1, 2, 2), (2, 3, 3)], ids=["a", "b", "c"])
    assert queries[[2, 0]].ids.tolist() == ["c", "a"]
    assert queries[1].ids.tolist() == ["b"]
    assert Queries.join([queries[:1], queries[1:]]).ids.tolist() == ["a", "b", "c"]
    with pytest.raises(QueryError, match="'a' occurs more than once"):
        Queries.join([queries, queries])
    with pytest.raises(UsageError):
        Queries.grid((10, 10), 0)
