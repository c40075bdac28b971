"""Palettes: real colours, told apart, and never too dark or too pale to see."""

from __future__ import annotations

import numpy as np
import pytest

from tapkit.errors import UsageError
from tapkit.viz import palettes


def luminance(rgb: np.ndarray) -> np.ndarray:
    """Relative luminance (WCAG 2) of sRGB in 0..1."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def everything() -> np.ndarray:
    y, x = np.mgrid[0:1:21j, 0:1:31j]
    place = palettes.by_position(np.stack([x, y], -1).reshape(-1, 2), (1, 1))
    return np.concatenate([place, palettes.by_number(np.arange(300)), palettes.by_confidence(np.linspace(0, 1, 50))])


def test_oklch_knows_white_black_and_srgb_red() -> None:
    corners = palettes.oklch(np.array([1.0, 0.0, 0.62796]), np.array([0.0, 0.0, 0.25768]), np.array([0.0, 0.0, 29.23]))
    assert corners == pytest.approx(np.array([[1, 1, 1], [0, 0, 0], [1, 0, 0]]), abs=0.02)


def test_too_vivid_colours_lose_chroma_but_stay_in_range() -> None:
    wild = palettes.oklch(np.full(36, 0.7), np.full(36, 0.4), np.arange(36) * 10.0)
    assert wild.min() >= 0 and wild.max() <= 1 and np.ptp(wild, axis=-1).min() > 0.3


def test_all_colours_are_vivid_and_neither_dark_nor_white() -> None:
    colours = everything()
    assert np.ptp(colours, axis=-1).min() > 0.25
    assert luminance(colours).min() > 0.12 and luminance(colours).max() < 0.9


def test_neighbours_look_alike_and_far_points_do_not() -> None:
    at = palettes.by_position(np.array([[100, 100], [104, 100], [500, 100], [100, 300]], float), (360, 640))
    near, right, below = np.abs(at[1:] - at[0]).max(-1)
    assert near < 0.05 < 0.1 < below and right > 0.3


def test_ids_in_sequence_are_told_apart() -> None:
    colours = palettes.by_number(np.arange(200))
    assert np.abs(np.diff(colours, axis=0)).max(-1).min() > 0.25


def test_an_unknown_colour_is_one_sentence() -> None:
    assert palettes.one_colour("#ff8000") == pytest.approx(np.array([1, 128 / 255, 0]))
    with pytest.raises(UsageError, match="'blurple' is no colour"):
        palettes.one_colour("blurple")
