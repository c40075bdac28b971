"""The One-Euro filter as a sink."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tapkit.errors import UsageError
from tapkit.sinks import Callback, OneEuro
from tapkit.types import FrameResult
from tapkit.video.base import Frame

PICTURE = np.zeros((4, 4, 3), np.uint8)


def smoothed(
    xy: np.ndarray, seen: np.ndarray | None = None, times: np.ndarray | None = None, latency: int = 0, **options: float
) -> np.ndarray:
    """Positions [T,N,2] through the filter, results `latency` frames late."""
    frames, count = xy.shape[:2]
    seen = np.ones((frames, count)) if seen is None else seen
    times = np.arange(frames) / 30 if times is None else times
    out: list[np.ndarray] = []
    finished: list[bool] = []
    sink = OneEuro(Callback(lambda result: out.append(result.xy), on_finish=lambda: finished.append(True)), **options)
    for step in range(frames + latency):
        if step < frames:
            sink.frame(Frame(step, float(times[step]), PICTURE))
        t = step - latency
        if t >= 0:
            one = np.ones(count, np.float32)
            sink.result(FrameResult(t, np.arange(count), xy[t].astype(np.float32), seen[t].astype(np.float32), one))
    sink.finish()
    assert finished == [True]
    return np.stack(out)


def by_hand(values: list[float], times: list[float], cutoff: float, beta: float) -> list[float]:
    """The filter of the paper's appendix for one number, one line after the other."""

    def alpha(frequency: float, step: float) -> float:
        return 1 / (1 + 1 / (2 * math.pi * frequency * step))

    x, speed, raw, out = values[0], 0.0, values[0], [values[0]]
    for before, now, value in zip(times, times[1:], values[1:], strict=False):
        a = alpha(1.0, now - before)
        speed = a * (value - raw) / (now - before) + (1 - a) * speed
        a = alpha(cutoff + beta * abs(speed), now - before)
        x, raw = a * value + (1 - a) * x, value
        out.append(x)
    return out


@pytest.mark.parametrize("latency", [0, 3])
def test_the_filter_is_that_of_the_paper(latency: int) -> None:
    random = np.random.default_rng(0)
    times = np.cumsum(random.uniform(0.02, 0.05, 40))  # an uneven rate
    x = np.cumsum(random.normal(0, 4, 40)) + 100
    xy = np.stack([np.stack([x, np.full(40, 7.0)], -1), np.stack([np.full(40, 3.0), x], -1)], 1)
    found = smoothed(xy, times=times, latency=latency, cutoff=0.7, beta=0.02)
    expected = by_hand(x.tolist(), times.tolist(), 0.7, 0.02)
    assert np.allclose(found[:, 0, 0], expected, atol=1e-4) and np.allclose(found[:, 1, 1], expected, atol=1e-4)
    assert np.allclose(found[:, 0, 1], 7) and np.allclose(found[:, 1, 0], 3)


def test_noise_goes_and_speed_stays() -> None:
    random = np.random.default_rng(1)
    still, fast = np.full((90, 1, 2), 50.0), np.stack([np.arange(90) * 20.0, np.zeros(90)], -1)[:, None]
    noisy = np.concatenate([still, fast], 1) + random.normal(0, 0.5, (90, 2, 2))
    found = smoothed(noisy)
    assert (found[30:, 0] - 50).std() < 0.4 * (noisy[30:, 0] - 50).std()
    assert np.abs(found[30:, 1, 0] - fast[30:, 0, 0]).max() < 8  # less than half a frame behind


def test_a_hidden_point_begins_anew() -> None:
    xy = np.full((20, 1, 2), 10.0)
    xy[12:] = 90.0
    seen = np.ones((20, 1))
    seen[10:12] = 0
    found = smoothed(xy, seen)
    assert np.array_equal(found[:12], xy[:12]) and np.array_equal(found[12:], xy[12:])
    assert found[12, 0, 0] == 90 and smoothed(xy)[12, 0, 0] < 89  # seen throughout, it would be on its way


def test_positions_of_a_person_and_provisional_ones_are_left_alone() -> None:
    out: list[FrameResult] = []
    sink = OneEuro(Callback(out.append))
    one = np.ones(1, np.float32)
    for t, x in enumerate((10.0, 40.0, 40.0)):
        sink.frame(Frame(t, t / 30, PICTURE))
        said = FrameResult(t, np.array([2]), np.array([[x, 0]], np.float32), one, one)
        sink.result(said._replace(final=False))
        sink.result(said._replace(keyframe=np.array([t == 1])))
    assert [float(each.xy[0, 0]) for each in out] == [10, 10, 40, 40, 40, 40]


@pytest.mark.parametrize("options", [{"cutoff": 0.0}, {"beta": -1.0}, {"cutoff": float("nan")}])
def test_numbers_that_make_no_filter_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="cutoff is a positive number"):
        OneEuro(Callback(), **options)
