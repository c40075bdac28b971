"""Chains of flow: how long they live, where they begin, and when the direct flow contradicts them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tapkit.per_video.prepare.trajectories import ROW, Chains, found, positions

SIZE = (20, 30)


def constant(x: float, y: float) -> np.ndarray:
    return np.broadcast_to(np.float16([x, y]), (*SIZE, 2))


def pan(step: float) -> Callable[[int, int], np.ndarray | None]:
    """Everything moves right by `step` a frame; only neighbours are known."""
    return lambda i, j: constant(step * (j - i), 0) if abs(i - j) == 1 else None


def entries(flows: Callable[[int, int], np.ndarray | None], frames: int, every: int = 1) -> list[np.ndarray]:
    made: list[np.ndarray] = []
    chains = Chains(made.__getitem__, flows, every)
    for frame in range(frames):
        made.append(chains.entry(frame, SIZE))
    return made


def test_chains_move_with_the_picture_and_new_ones_begin_where_it_comes_in() -> None:
    made = entries(pan(3), 3)
    assert len(made[0]) == 20 * 30 and made[0].dtype == ROW
    for frame in (1, 2):
        old = made[frame]["id"] < len(made[0])
        assert old.sum() == 20 * (30 - 3 * frame)  # the others have left
        assert np.allclose(positions(made[frame][old])[:, 0] - made[0]["x"][made[frame]["id"][old]], 3 * frame)
        new = made[frame][made[frame]["id"] > made[frame - 1]["id"].max()]
        assert len(new) == 20 * 3 and (new["x"] < 3).all()
        assert (np.diff(made[frame]["id"]) > 0).all()
        assert made[frame]["agrees"].all()


def test_a_chain_ends_where_the_flow_back_does_not_return() -> None:
    def flows(i: int, j: int) -> np.ndarray | None:
        if abs(i - j) != 1:
            return None
        flow = np.zeros((*SIZE, 2), np.float16)
        if (i, j) == (2, 1):
            flow[:, :10] = (1.6, 0)  # misses by more than 1.5 px
            flow[:, 10:20] = (1.4, 0)
        return flow

    made = entries(flows, 3)
    kept = made[2]["id"] < len(made[0])
    assert made[1]["id"].tolist() == made[0]["id"].tolist()
    assert kept.sum() == 20 * 20 and (made[2]["x"][kept] > 10).all()
    # where the flow back is not consistent, chains begin anew; elsewhere one passes already
    assert (~kept).sum() == 20 * 10 and (made[2]["x"][~kept] < 10).all()


def test_what_the_direct_flow_contradicts_does_not_agree_if_that_is_reliable() -> None:

    def flows(i: int, j: int) -> np.ndarray | None:
        flow = np.zeros((*SIZE, 2), np.float16)
        if {i, j} == {0, 2}:
            sign = 1 if j > i else -1
            flow[:10] = (2.6 * sign, 0)  # leads elsewhere, and returns
            flow[10:15] = (2.4 * sign, 0)  # leads nearly there
            flow[15:] = (2.6, 0)  # leads elsewhere, but does not return
        return flow

    made = entries(flows, 3)
    assert made[1]["agrees"].all()
    for row, expected in (*((y, False) for y in range(10)), *((y, True) for y in range(10, 20))):
        inner = (made[2]["y"] == row + 0.5) & (made[2]["x"] > 4) & (made[2]["x"] < 26)
        assert inner.any() and (made[2]["agrees"][inner] == expected).all(), row


def test_chains_may_begin_on_a_coarser_grid_and_ids_are_found() -> None:
    made = entries(pan(2), 3, every=3)
    assert len(made[0]) == 7 * 10
    assert set(made[0]["x"].tolist()) == {1.5 + 3 * k for k in range(10)}
    gone = set(made[0]["id"]) - set(made[2]["id"])
    place = found(made[2], made[0]["id"])
    assert {int(i) for i in made[0]["id"][place < 0]} == gone and gone
    assert (made[2]["id"][place[place >= 0]] == made[0]["id"][place >= 0]).all()
    assert found(np.empty(0, ROW), np.array([0, 5])).tolist() == [-1, -1]


def test_numbers_go_on_when_computing_goes_on_from_disk() -> None:
    whole = entries(pan(4), 4)
    resumed = Chains(whole[:3].__getitem__, pan(4)).entry(3, SIZE)
    assert np.array_equal(resumed, whole[3])
