"""What holds on a frame: keyframes, corrected predictions, visibility. Arrays only."""

from __future__ import annotations

import numpy as np

from tapkit.annotate import blocks
from tapkit.annotate.result import Said, correction, resolve

RULES = {1: ("visible", 0.5), 2: ("visible*confidence", 0.5)}


def predicted(x: np.ndarray, source: int = 1, visible: float = 0.9, confidence: float = 0.8) -> np.ndarray:
    frames = blocks.empty(len(x))
    known = np.isfinite(x)
    frames["x"], frames["y"] = x, 2 * x
    for name, value in (("visible", visible), ("confidence", confidence), ("source", source)):
        frames[name][known] = value
    return frames


def said(*keys: tuple[int, float, float], sides: float | None = None, spans: tuple = ()) -> Said:  # type: ignore[type-arg]
    t = np.array([key[0] for key in keys])
    xy = np.array([key[1:] for key in keys], float).reshape(-1, 2)
    miss = np.full_like(xy, np.nan) if sides is None else xy - sides
    return Said(t, xy, np.ones(len(t), bool), miss, miss, spans)


def test_without_keyframes_the_prediction_holds_and_gaps_stay() -> None:
    x = np.array([1.0, 2.0, np.nan, 4.0])
    found = resolve(7, Said(), predicted(x), 100, RULES)
    assert (found.id, found.start, found.stop, found.source) == (7, 100, 104, "pp-p")
    np.testing.assert_array_equal(found.xy[:, 0], x.astype(np.float32))
    assert found.visible.tolist() == [True, True, False, True] and np.isnan(found.confidence[2])


def test_the_path_passes_through_keyframes_and_the_difference_is_spread_linearly() -> None:
    x = np.zeros(11)
    facts = Said(
        np.array([2, 6]), np.array([[4.0, 0.0], [8.0, 0.0]]), np.ones(2, bool),
        left=np.array([[0.0, 0.0], [0.0, 0.0]]), right=np.array([[0.0, 0.0], [np.nan, np.nan]]),
    )  # fmt: skip
    found = resolve(1, facts, predicted(x), 0, RULES)
    # Before the first: what it misses from the left. Between: 4 to 8. After the last nothing comes from the right.
    assert found.xy[:, 0].tolist() == [4, 4, 4, 5, 6, 7, 8, 0, 0, 0, 0]
    assert found.source == "ppkpppkpppp"
    np.testing.assert_array_equal(correction(facts, np.arange(3, 6))[:, 0], [5, 6, 7])


def test_a_keyframe_holds_where_nothing_is_predicted_and_nothing_is_made_up_beside_it() -> None:
    found = resolve(1, said((1, 5.0, 6.0)), predicted(np.full(3, np.nan)), 0, RULES)
    assert found.source == "-k-" and found.xy[1].tolist() == [5, 6]
    assert found.visible.tolist() == [False, True, False] and found.confidence[1] == 1


def test_visibility_is_the_span_of_a_human_else_the_keyframe_else_the_prediction() -> None:
    facts = Said(
        np.array([1, 3]), np.array([[1.0, 2.0], [3.0, 6.0]]), np.array([False, True]),
        np.full((2, 2), np.nan), np.full((2, 2), np.nan),
        spans=((3, 5, "occluded"), (6, 7, "visible"), (8, 9, "visible")),
    )  # fmt: skip
    x = np.arange(9.0)
    x[8] = np.nan
    found = resolve(1, facts, predicted(x, visible=0.2), 0, RULES)
    assert found.visible.tolist() == [False, False, False, False, False, False, True, False, False]
    assert found.chance[[1, 4, 6]].tolist() == [0, 0, 1] and np.isnan(found.chance[8])
    seen = resolve(1, Said(), predicted(np.arange(3.0), source=2, visible=0.6, confidence=0.8), 0, RULES)
    assert not seen.visible.any()  # 0.6 x 0.8 is below that tracker's threshold


def test_a_part_of_the_frames_says_what_the_whole_does() -> None:
    facts = said((5, 50.0, 1.0), (40, -3.0, 2.0), sides=2.5, spans=((10, 20, "outside"),))
    frames = predicted(np.random.default_rng(0).normal(size=64))
    whole = resolve(1, facts, frames, 0, RULES)
    for start, stop in ((0, 5), (5, 6), (12, 41), (41, 64)):
        part = resolve(1, facts, frames[start:stop], start, RULES)
        np.testing.assert_array_equal(part.xy, whole.xy[start:stop])
        assert part.source == whole.source[start:stop] and (part.visible == whole.visible[start:stop]).all()
