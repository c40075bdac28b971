"""Skeletons: what is an edge, what keeps it, what follows when points are taken, renamed and joined."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tapkit.errors import StorageError, UsageError
from tapkit.types import Queries, Tracks, VideoInfo
from tapkit.types.skeleton import parse_skeleton

EDGES = (("p0", "p1"), ("p1", "left-eye"))


def made(names: tuple[str, ...] = ("p0", "p1", "left-eye"), skeleton: object = EDGES, frames: int = 5) -> Tracks:
    count = len(names)
    xy = np.random.default_rng(0).uniform(10, 80, (count, frames, 2))
    queries = Queries(np.zeros(count, int), xy[:, 0], np.array(names))
    ones = np.ones((count, frames))
    info = VideoInfo(96, 90, Fraction(25), frames=frames)
    return Tracks(xy, ones, ones, ones > 0, queries, info, skeleton=skeleton)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ([("p0", "nobody")], "no point is called 'nobody'"),
        ([("p0", "p0")], "to itself"),
        (["p0-p1"], "pair of ids"),
        ([("p0", "p1", "left-eye")], "pair of ids"),
        ([5], "pair of ids"),
    ],
)
def test_what_is_no_edge_is_refused(edges: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        made(skeleton=edges)


def test_an_edge_that_is_given_twice_is_kept_once() -> None:
    assert made(skeleton=[["p0", "p1"], ("p1", "p0"), ("p0", "p1")]).skeleton == (("p0", "p1"),)


def test_edges_are_read_between_ids_that_have_hyphens() -> None:
    ids = ["p0", "p1", "left-eye", "a", "a-b", "b-c", "c"]
    assert parse_skeleton("p0-left-eye, p1-p0,", ids) == (("p0", "left-eye"), ("p1", "p0"))
    with pytest.raises(UsageError, match="may be an edge between different points"):
        parse_skeleton("a-b-c", ids)
    with pytest.raises(UsageError, match='written "a-b,b-c"'):
        parse_skeleton("p0", ids)
    with pytest.raises(UsageError, match="no point is called 'q'"):
        parse_skeleton("p0-q", ids)


def test_parts_keep_the_edges_whose_two_points_they_have() -> None:
    tracks = made()
    assert tracks[["p1", "p0"]].skeleton == (("p0", "p1"),)
    assert tracks[::-1].skeleton == EDGES
    assert tracks[["p0", "left-eye"]].skeleton == ()
    assert tracks.time(1, 3).skeleton == EDGES
    assert tracks.smooth(3).skeleton == EDGES
    other = made(("a", "b"), [("a", "b")])
    assert Tracks.join([tracks, other]).skeleton == (*EDGES, ("a", "b"))


def test_edges_follow_points_that_are_renamed() -> None:
    tracks = made()
    renamed = tracks.with_(queries=tracks.queries.with_ids(["x", "p0", "z"]))
    assert renamed.skeleton == (("x", "p0"), ("p0", "z"))


@pytest.mark.parametrize("suffix", [".npz", ".zarr", ".csv", ".parquet"])
def test_files_keep_it_and_files_without_it_have_none(tmp_path: Path, suffix: str) -> None:
    assert Tracks.load(made().save(tmp_path / f"with{suffix}")).skeleton == EDGES
    plain = made(skeleton=()).save(tmp_path / f"without{suffix}")
    assert Tracks.load(plain).skeleton == ()
    if suffix == ".csv":
        assert "skeleton" not in plain.read_text()  # as before there were any


@pytest.mark.parametrize("skeleton", [5, [["p0"]], [["p0", "nobody"]], "ab", [[["p0"], "p1"]]])
def test_a_damaged_skeleton_is_a_damaged_file(tmp_path: Path, skeleton: object) -> None:
    path = made().save(tmp_path / "t.npz")
    arrays = dict(np.load(path))
    arrays["meta"] = np.array(json.dumps({**json.loads(str(arrays["meta"])), "skeleton": skeleton}))
    np.savez(path, **arrays)
    with pytest.raises(StorageError, match="damaged"):
        Tracks.load(path)


@pytest.mark.parametrize("skeleton", ["5", '["p0"]', '[["p0"]]'])
def test_a_damaged_skeleton_of_a_table_too(tmp_path: Path, skeleton: str) -> None:
    path = made().save(tmp_path / "t.csv")
    whole = '[["p0", "p1"], ["p1", "left-eye"]]'
    assert whole in path.read_text()
    path.write_text(path.read_text().replace(whole, skeleton))
    with pytest.raises(StorageError):
        Tracks.load(path)
