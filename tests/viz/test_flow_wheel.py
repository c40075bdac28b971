"""Flow as Middlebury colours."""

from __future__ import annotations

import numpy as np
import pytest

from tapkit.errors import UsageError
from tapkit.viz.flow_wheel import color_wheel, flow_colors


def test_the_wheel_has_its_55_colours() -> None:
    wheel = color_wheel()
    assert wheel.shape == (55, 3)
    primaries = {0: (1, 0, 0), 15: (1, 1, 0), 21: (0, 1, 0), 25: (0, 1, 1), 36: (0, 0, 1), 49: (1, 0, 1)}
    for place, color in primaries.items():
        assert wheel[place].tolist() == list(color)


def test_direction_is_hue_and_length_is_saturation() -> None:
    right, left, down, still = ((10, 0), (-10, 0), (0, 10), (0, 0))
    picture = flow_colors(np.array([[right, left, down, still, (5, 0), (20, 0), (np.nan, 0)]], np.float32), 10)[0]
    assert picture[0].tolist() == [255, 0, 0]  # right: red
    assert picture[1, 2] > 200 and picture[1, 0] < 50  # left: between cyan and blue
    assert picture[2, 0] > 200 and picture[2, 1] > 180 and picture[2, 2] < 60  # down: yellow
    assert picture[3].tolist() == [255, 255, 255]
    assert picture[4].tolist() == [255, 127, 127]
    assert picture[5].tolist() == [191, 0, 0]  # longer than the scale: darker
    assert picture[6].tolist() == [0, 0, 0]
    with pytest.raises(UsageError):
        flow_colors(np.zeros((1, 1, 2), np.float32), 0)
