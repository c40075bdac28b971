"""The track assist: the search against a plain shortest path, the polish against its closed form, and known motion."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from tapkit.annotate.blend import blend
from tapkit.annotate.solve import Click, KnownMotion, solve_track
from tapkit.annotate.solve import path as search
from tapkit.annotate.solve.motion import at
from tapkit.annotate.solve.polish import Terms, closed
from tapkit.errors import QueryError, ShapeError, UsageError


def dijkstra(fields: np.ndarray, layer: search.Layer, start: np.ndarray, end: np.ndarray) -> float:
    """The cost of the cheapest path over all steps between all nodes, one edge at a time."""
    nodes = layer.xy
    best = {(0, -1): 0.0}
    queue = [(0.0, 0, -1)]
    last = len(fields)
    while queue:
        cost, t, node = heapq.heappop(queue)
        if cost > best[t, node]:
            continue
        if t == last:
            return cost
        here = start if t == 0 else nodes[node]
        taken = here + at(fields, t, here)
        ends = end[None] if t + 1 == last else nodes
        for number, price in enumerate(np.abs(ends - taken).sum(1).tolist()):
            key = (t + 1, -1 if t + 1 == last else number)
            if cost + price < best.get(key, np.inf):
                best[key] = cost + price
                heapq.heappush(queue, (cost + price, *key))
    raise AssertionError("no path")


def cost_of(fields: np.ndarray, path: np.ndarray) -> float:
    return float(sum(np.abs(path[t + 1] - path[t] - at(fields, t, path[t])).sum() for t in range(len(fields))))


@pytest.mark.parametrize("seed", range(4))
def test_the_search_finds_the_cheapest_path_of_all(seed: int) -> None:
    random = np.random.default_rng(seed)
    fields = random.normal(0, 2, (5, 9, 11, 2)).astype(np.float32)
    layer = search.corridor(np.array([[0.0, 0.0], [11.0, 9.0]]), (9, 11))
    assert (layer.rows, layer.columns, layer.step) == (9, 11, 1.0)
    start, end = random.uniform(1, 8, (2, 2))
    path = search.cheapest(fields, [layer] * 4, start, end)
    assert cost_of(fields, path) == pytest.approx(dijkstra(fields, layer, start, end), abs=1e-9)


def test_a_wide_corridor_has_a_coarser_grid_within_the_picture() -> None:
    layer = search.corridor(np.array([[-50.0, 3.0], [700.0, 400.0]]), (360, 640))
    assert layer.rows * layer.columns <= search.MOST_NODES and layer.step > 1
    nodes = layer.xy
    assert nodes.min() >= 0.5 and (nodes.max(0) <= (639.5, 359.5)).all()


def test_the_closing_error_goes_where_weights_are_small() -> None:
    random = np.random.default_rng(1)
    step, weight = random.normal(size=(1, 6, 2)), random.uniform(0.1, 2, (1, 6))
    start, end = np.zeros((1, 2)), np.array([[5.0, -3.0]])
    path = closed(start, end, Terms(step, weight))[0]
    # The same by least squares over the free positions.
    rows, right = [], []
    for t in range(6):
        row = np.zeros(7)
        row[t], row[t + 1] = -1, 1
        rows.append(row * np.sqrt(weight[0, t]))
        right.append(step[0, t] * np.sqrt(weight[0, t]))
    matrix, values = np.array(rows), np.array(right)
    values = values - np.outer(matrix[:, 0], start[0]) - np.outer(matrix[:, 6], end[0])
    free = np.linalg.lstsq(matrix[:, 1:6], values, rcond=None)[0]
    np.testing.assert_allclose(path[1:6], free, atol=1e-9)
    np.testing.assert_allclose(path[[0, 6]], [[0, 0], [5, -3]], atol=1e-12)


def turning(frames: int = 16, size: tuple[int, int] = (60, 80)) -> tuple[KnownMotion, np.ndarray]:
    """A disk that turns and moves over a still background, and the true path of a point on it [T,2]."""
    height, width = size
    y, x = np.mgrid[:height, :width] + 0.5
    pixels = np.stack([x, y], -1)
    centre = np.stack([25 + 1.5 * np.arange(frames), 30 + 4 * np.sin(np.arange(frames) / 3)], -1)
    angle = 0.15
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward, backward = np.zeros((2, frames - 1, height, width, 2))
    for t in range(frames - 1):
        for field, one, other, by in ((forward, t, t + 1, turn), (backward, t + 1, t, turn.T)):
            off = pixels - centre[one]
            moved = off @ by.T + centre[other] - pixels
            field[t] = np.where((np.linalg.norm(off, axis=-1) < 15)[..., None], moved, 0.0)
    path = [centre[0] + (8.0, 2.0)]
    for t in range(frames - 1):
        path.append(turn @ (path[-1] - centre[t]) + centre[t + 1])
    return KnownMotion(forward, backward), np.stack(path)


def test_the_track_follows_what_moves_between_clicks_that_are_not_quite_right() -> None:
    motion, path = turning()
    clicks = [Click(0, *(path[0] + 0.3)), Click(15, *(path[15] - 0.4))]
    found = solve_track(clicks, motion)
    assert (found.start, found.stop) == (0, 16)
    np.testing.assert_allclose(found.xy[[0, 15]], path[[0, 15]] + [[0.3, 0.3], [-0.4, -0.4]], atol=1e-9)
    off = np.linalg.norm(found.xy - path, axis=1)
    line = path[0] + np.linspace(0, 1, 16)[:, None] * (path[15] - path[0])
    straight = np.linalg.norm(line - path, axis=1)
    assert off.max() < 0.7 and straight.max() > 5
    assert (found.confidence > 0.9).all() and found.disagreement.max() < 3


def test_beyond_the_clicks_the_flow_alone_leads_and_confidence_falls() -> None:
    motion, path = turning()
    found = solve_track([Click(7, *path[7])], motion)
    assert np.linalg.norm(found.xy - path, axis=1).max() < 0.1
    assert (
        found.confidence[7] == 1 and (np.diff(found.confidence[7:]) <= 0).all() and np.isnan(found.disagreement).all()
    )
    only = solve_track([Click(5, *path[5]), Click(9, *path[9])], motion, open_ends=False)
    assert (only.start, only.stop, len(only.xy)) == (5, 10, 5)


def test_hidden_frames_are_free_of_the_flow() -> None:
    motion, path = turning()
    wrong = KnownMotion(motion.forward(0, 15).copy(), motion.backward(0, 15).copy())
    wrong.forward(0, 15)[5:9] = (9, -9)  # what passes in front
    wrong.backward(0, 15)[5:9] = (-9, 9)
    clicks = [Click(0, *path[0]), Click(15, *path[15])]
    told = solve_track(clicks, wrong, hidden=[(6, 9)])
    np.testing.assert_allclose(told.xy[:6], path[:6], atol=0.1)
    np.testing.assert_allclose(told.xy[9:], path[9:], atol=0.1)
    bends = np.diff(told.xy[5:10], 2, axis=0)
    np.testing.assert_allclose(bends, 0, atol=1e-3)  # a straight line in between


def test_fields_of_another_size_than_the_video() -> None:
    motion, path = turning()
    double = KnownMotion(motion.forward(0, 15), motion.backward(0, 15), size=(120, 160))
    found = solve_track([Click(0, *(2 * path[0])), Click(15, *(2 * path[15]))], double)
    np.testing.assert_allclose(found.xy, 2 * path, atol=0.1)


def test_clicks_that_are_none() -> None:
    motion, _ = turning()
    with pytest.raises(UsageError, match="at least one click"):
        solve_track([], motion)
    with pytest.raises(UsageError, match="two clicks"):
        solve_track([Click(1, 2, 3), Click(1, 3, 4)], motion)
    with pytest.raises(QueryError, match=r"0\.\.15"):
        solve_track([Click(16, 2, 3)], motion)
    with pytest.raises(ShapeError):
        KnownMotion(np.zeros((3, 4, 4)), np.zeros((3, 4, 4)))


def test_the_surer_side_counts_more_and_keyframes_hold() -> None:
    xy = np.zeros((2, 11, 2))
    xy[1] = 10  # the second track is right throughout, the first is lost from frame 3 on
    xy[0, :3] = 10
    sure = np.ones((2, 11))
    sure[0, 3:] = 0.05
    found = blend(np.array([0, 10]), xy, np.ones((2, 11)), sure)
    assert found.xy[[0, 10]].tolist() == [[10, 10], [10, 10]] and found.xy[5].min() > 9.9
    faded = blend(np.array([0, 10]), xy, np.ones((2, 11)), np.ones((2, 11)), power=1.0)
    assert faded.xy[5, 0] == pytest.approx(5)
    assert found.confidence[[0, 10]].tolist() == [1, 1] and found.disagreement[5] == pytest.approx(np.hypot(10, 10))
    one_way = xy.copy()
    one_way[1, :10] = np.nan  # the second was not tracked backwards
    assert blend(np.array([0, 10]), one_way, np.ones((2, 11)), sure).xy[5].tolist() == [0, 0]
    with pytest.raises(ShapeError):
        blend(np.array([0]), xy, sure, sure)
