"""Which frames and corners of a video are taken: within one scene, where there is texture, drawn from the seed."""

from __future__ import annotations

import numpy as np
import pytest

from tapkit.errors import UsageError
from tapkit.train.pseudo.corners import contrast, detected, queries
from tapkit.train.pseudo.options import LabelOptions
from tapkit.train.pseudo.pieces import Scene, draw, read, scenes
from tapkit.video import open_video

OPTIONS = LabelOptions(frames=(8, 12), size=(64, 96))


def test_cuts_are_found_and_no_piece_lies_across_one(pan):
    video = np.concatenate([pan(14), 255 - pan(30, seed=1), pan(4, seed=2)])
    with open_video(video) as source:
        found = scenes(source)
        assert found == [Scene(0, 14), Scene(14, 44), Scene(44, 48)]
        assert scenes(source, cuts=False) == [Scene(0, 48)]
    for seed in range(60):
        piece = draw(found, (120, 160), OPTIONS, np.random.default_rng(seed))
        inside = [scene for scene in found if scene.start <= min(piece.times) and max(piece.times) < scene.stop]
        assert len(inside) == 1 and inside[0].frames >= 12 and 8 <= len(piece.times) <= 12
        assert not piece.mirrored and set(np.diff(piece.times)) == {piece.step}


def test_steps_are_below_the_largest_and_as_the_length_of_the_scene_allows():
    def steps(frames: int, largest: int) -> set[int]:
        options = LabelOptions(frames=(8, 8), largest_step=largest)
        return {draw([Scene(0, frames)], (120, 160), options, np.random.default_rng(n)).step for n in range(80)}

    assert steps(100, 4) == {1, 2, 3} and steps(100, 2) == {1}
    assert steps(24, 4) == {1, 2} and steps(8, 4) == {1}


def test_a_scene_too_short_is_played_back_and_one_of_a_few_frames_left_out():
    options = LabelOptions(frames=(20, 20))
    piece = draw([Scene(5, 15), Scene(15, 18)], (50, 60), options, np.random.default_rng(0))
    assert piece.mirrored and piece.times == (*range(5, 15), *range(13, 4, -1), 6)
    assert piece.size == (50, 60) and piece.corner == (0, 0), "smaller than the crop: taken whole"
    assert "the longest has 3" in draw([Scene(0, 3)], (50, 60), options, np.random.default_rng(0))


def test_the_crop_is_cut_at_the_videos_own_resolution(pan):
    video = pan(16)
    with open_video(video) as source:
        piece = draw([Scene(0, 16)], source.info.size, OPTIONS, np.random.default_rng(3))
        (left, top), (height, width) = piece.corner, piece.size
        expected = video[list(piece.times), top : top + height, left : left + width]
        assert (height, width) == (64, 96) and np.array_equal(read(source, piece), expected)


@pytest.mark.parametrize("detector", ["sift", "corners"])
def test_points_are_asked_for_where_there_is_texture_on_frames_of_the_first_part(pan, detector):
    pytest.importorskip("cv2")
    video = pan(16)
    video[:, :, :80] = 128  # no texture on the left
    options = LabelOptions(points=96, points_per_frame=24, detector=detector)
    asked = queries(video, options, np.random.default_rng(0))
    again = queries(video, options, np.random.default_rng(0))
    assert np.array_equal(asked.rows, again.rows) and 20 < len(asked.rows) <= 96
    assert set(asked.rows[:, 0]) <= {0, 1, 2, 3} and len(set(asked.rows[:, 0])) > 1
    assert asked.rows[:, 1].min() > 74
    assert np.array_equal(asked.rows[:, 1:] % 1, np.full((len(asked.rows), 2), 0.5)), "centres of pixels"
    assert len(np.unique(asked.rows, axis=0)) == len(asked.rows)


def test_faint_texture_is_too_little(pan):
    pytest.importorskip("cv2")
    faint = (128 + (pan(8).astype(int) - 128) // 60).astype(np.uint8)
    assert len(detected(pan(8)[0], 24, LabelOptions())) == 24
    assert contrast(faint[0]).max() < 4 < contrast(pan(8)[0]).max()
    asked = queries(faint, LabelOptions(detector="corners"), np.random.default_rng(0))
    assert len(asked.rows) == 0 and asked.plain > 20


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"teachers": ()}, "at least one teacher"),
        ({"teachers": ("strand", "strand")}, "each of them once"),
        ({"teachers": ("strnd",)}, "did you mean 'strand'"),
        ({"teachers": ("raft-large",)}, "follows no points"),
        ({"weights": {"tapir": "x"}}, "tapir, which is not among"),
        ({"agree": 2}, "of 1 teachers"),
        ({"teachers": ("strand", "tapir"), "agree": 3}, "not 3"),
        ({"frames": (3, 9)}, "at least 4 frames"),
        ({"frames": (9, 8)}, "9 to 8"),
        ({"size": (32, 512)}, "64x64"),
        ({"round_trip": 0.0}, "above 0"),
        ({"least": 2.0}, "from 0 to 1"),
        ({"seed": -1}, "seed"),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(wrong, said):
    with pytest.raises(UsageError, match=said):
        LabelOptions(**wrong)


def test_options_survive_json():
    import json

    options = LabelOptions(teachers=("strand", "tapir"), agree=2, settings={"strand": {"resolution": 256}})
    assert LabelOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options
