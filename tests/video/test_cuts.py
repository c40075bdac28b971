"""Scene cuts are noticed; flashes, exposure, pans and shake are none."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

import tapkit
from tapkit.video.cuts import CutDetector
from tapkit.video.samples import sample


@cache
def shots(name: str) -> tuple[np.ndarray, ...]:
    with tapkit.open_video(sample(name)) as source:
        return tuple(frame.image for frame in source.frames(0, 70, size=(180, 320)))


def cuts(frames: list[np.ndarray]) -> list[int]:
    detect = CutDetector()
    return [index for index, image in enumerate(frames) if detect(torch.from_numpy(image.copy().transpose(2, 0, 1)))]


def test_a_new_shot_is_noticed_on_its_first_frame() -> None:
    blocks, rabbit = list(shots("blocks")), list(shots("rabbit"))
    assert cuts(blocks) == cuts(rabbit) == []
    assert cuts(blocks[:20] + rabbit[:20] + blocks[40:60] + rabbit[40:50]) == [20, 40, 60]


def test_a_close_up_and_the_reverse_angle_of_one_scene_are_cuts_though_colours_stay() -> None:
    blocks = list(shots("blocks"))
    near = [np.kron(image[45:135, 80:240], np.ones((2, 2, 1), np.uint8)) for image in blocks[10:20]]
    reverse = [image[:, ::-1] for image in blocks[20:30]]
    assert cuts(blocks[:10] + near + reverse) == [10, 20]


def test_a_flash_a_change_of_exposure_and_a_white_frame_are_no_cuts() -> None:
    frames = [image.copy() for image in shots("blocks")[:40]]
    frames[10] = np.clip(frames[10].astype(int) + 120, 0, 255).astype(np.uint8)
    frames[20] = (frames[20] * 0.3).astype(np.uint8)
    frames[30] = np.full_like(frames[30], 255)
    assert cuts(frames) == []


def test_a_fade_from_black_is_none_and_black_between_two_scenes_is_one() -> None:
    blocks, rabbit = list(shots("blocks")), list(shots("rabbit"))
    black = [np.zeros_like(blocks[0])] * 5
    assert cuts(black + [(image * (i / 10)).astype(np.uint8) for i, image in enumerate(blocks[:11])]) == []
    assert cuts(blocks[:10] + black + rabbit[:10]) == [15]


@pytest.mark.parametrize("speed", [5, 20, 40])
def test_a_pan_is_none(speed: int) -> None:
    wide = np.concatenate([shots("blocks")[0], shots("rabbit")[0], shots("blocks")[50]], 1)
    count = min(30, (wide.shape[1] - 320) // speed)
    assert cuts([np.ascontiguousarray(wide[:, i * speed : i * speed + 320]) for i in range(count)]) == []


def test_a_shaking_camera_is_none_and_does_not_hide_a_cut() -> None:
    rng = np.random.default_rng(0)
    image = shots("blocks")[0]
    shaken = [np.roll(image, (int(rng.integers(-10, 10)), int(rng.integers(-15, 15))), (0, 1)) for _ in range(30)]
    assert cuts(shaken) == []
    assert cuts(shaken + list(shots("rabbit")[:5])) == [30]
