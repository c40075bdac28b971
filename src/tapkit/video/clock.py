"""When frames are shown and how many come in a second, from timestamps that need not be clean."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np

COMMON_RATES = tuple(Fraction(r) for r in (24, 25, 30, 48, 50, 60, 90, 100, 120, 200, 240, 10, 12, 15, 20)) + tuple(
    Fraction(r * 1000, 1001) for r in (24, 30, 48, 60, 120, 240, 15)
)
FAST_RATES = tuple(Fraction(r) for r in (300, 400, 480, 500, 600, 800, 960, 1000, 1200, 1500, 2000))
"""Rates of high-speed cameras; only tried where the frames come faster than 240 a second."""
FASTEST = 1_000_000
"""A rate beyond it is the resolution of a clock, not a camera."""
NO_RATE = "does not say how fast it is: 25 frames a second are assumed, fps= states the true rate"


def presentation(ticks: np.ndarray) -> np.ndarray:
    """Strictly increasing times [T] float64 for frames stamped `ticks` [T] int64, in the order in which they are shown.

    Frames that share a timestamp are spread evenly up to the next one. Where the clock goes back, it runs on one
    usual step after the frame before.

    >>> presentation(np.array([0, 10, 10, 20, 0, 10])).tolist()
    [0.0, 10.0, 15.0, 20.0, 30.0, 40.0]
    """
    steps = np.diff(ticks).astype(np.float64)
    forward = steps[steps > 0]
    usual = float(np.median(forward)) if len(forward) else 1.0
    steps[steps < 0] = usual
    clock = np.concatenate([[float(ticks[0])], ticks[0] + np.cumsum(steps)])
    firsts = np.flatnonzero(np.concatenate([[True], steps > 0]))
    ends = np.append(firsts[1:], len(clock))
    after = np.append(clock[firsts[1:]], clock[-1] + usual)
    place = np.arange(len(clock)) - np.repeat(firsts, ends - firsts)
    width = np.repeat((after - clock[firsts]) / (ends - firsts), ends - firsts)
    spread: np.ndarray = clock + place * width
    return spread


def stated_rate(rates: Iterable[Fraction], time_base: Fraction | None = None) -> tuple[Fraction, bool]:
    """The rate of frames without times: what the file states (`rates`, the likeliest first), and whether it does.

    Above 240 it is only believed if it is not just the clock that the file counts in (1 / `time_base`).

    >>> stated_rate([Fraction(1000), Fraction(30)], Fraction(1, 1000)), stated_rate([Fraction(300)])
    ((Fraction(30, 1), True), (Fraction(300, 1), True))
    """
    rates = [rate for rate in rates if 0 < rate <= FASTEST]
    clocks = {Fraction(90000), Fraction(27_000_000), Fraction(1_200_000)} | ({1 / time_base} if time_base else set())
    for rate in rates:
        if rate <= 240 or rate not in clocks:
            return rate, True
    return Fraction(25), False


def frame_rate(
    ticks: np.ndarray, time_base: Fraction, stated: Iterable[Fraction] = (), last_duration: int = 0
) -> Fraction:
    """Frames per second, exact, of frames shown at `ticks` [T] of `time_base`.

    A stated or a common rate is taken if every timestamp agrees with it to within one tick up or down
    (Matroska rounds to milliseconds), the best of several; else it is the average over the clip, the last frame's
    duration included.

    >>> frame_rate(np.array([0, 33, 67, 100, 133]), Fraction(1, 1000))
    Fraction(30, 1)
    >>> frame_rate(np.array([0, 40, 100]), Fraction(1, 1000), last_duration=50)
    Fraction(20, 1)
    """
    stated = [rate for rate in stated if 0 < rate <= FASTEST]
    if len(ticks) < 2:
        return stated_rate(stated, time_base)[0]
    since = (ticks - ticks[0]).astype(np.float64)
    count = np.arange(len(ticks))
    fast = float(since[-1]) * float(time_base) < (len(ticks) - 1) / 245
    best: tuple[float, Fraction] | None = None
    for rate in [*stated, *COMMON_RATES, *(FAST_RATES if fast else ())]:
        error = float(np.ptp(since - count * float(1 / (rate * time_base))))
        if error <= 2 and (best is None or error < best[0] - 1e-6):
            best = error, rate
    if best is not None:
        return best[1]
    usual = float(np.median(np.diff(ticks)))
    typical = Fraction(usual).limit_denominator(1000) if ticks.dtype.kind == "f" else int(usual)
    last = last_duration if 0 < last_duration <= 4 * typical else typical
    return Fraction(len(ticks)) / (Fraction(float(ticks[-1] - ticks[0])).limit_denominator(1000) + last) / time_base
