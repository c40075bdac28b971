"""Random draws that are the same on every machine and version: all from the standard library's generator."""

from __future__ import annotations

import colorsys
import math
import random
from collections.abc import Sequence
from typing import TypeVar

from .records import Colour, Vector

Item = TypeVar("Item")


class Draw:
    """Numbers, choices, colours and places from one seed."""

    def __init__(self, *seed: object) -> None:
        self._random = random.Random(":".join(map(str, seed)))

    def number(self, low: float, high: float, digits: int = 4) -> float:
        """One in [low, high], rounded so that descriptions stay readable."""
        return round(self._random.uniform(low, high), digits)

    def log_number(self, low: float, high: float) -> float:
        """One in [low, high], equally often in each octave."""
        return round(low * math.exp(self._random.random() * math.log(high / low)), 4)

    def whole(self, low: int, high: int) -> int:
        """One of low..high, both included."""
        return self._random.randint(low, high)

    def seed(self) -> int:
        """For what draws later, in Blender."""
        return self._random.randrange(2**31)

    def happens(self, share: float) -> bool:
        """True with probability `share`."""
        return self._random.random() < share

    def one(self, items: Sequence[Item]) -> Item:
        """One of `items`."""
        return items[self._random.randrange(len(items))]

    def weighted(self, items: dict[Item, float]) -> Item:
        """One of the keys, as often as its value says."""
        return self._random.choices(list(items), list(items.values()))[0]

    def some(self, items: Sequence[Item], count: int) -> list[Item]:
        """`count` of `items`, each once while they last, then again."""
        drawn: list[Item] = []
        while items and len(drawn) < count:
            drawn += self._random.sample(items, min(len(items), count - len(drawn)))
        return drawn

    def colour(self, saturation: tuple[float, float] = (0.2, 0.9), value: tuple[float, float] = (0.25, 0.9)) -> Colour:
        """Any hue."""
        red, green, blue = colorsys.hsv_to_rgb(self._random.random(), self.number(*saturation), self.number(*value))
        return (round(red, 3), round(green, 3), round(blue, 3))

    def warm(self) -> Colour:
        """The colour of a lamp: from candle to overcast sky."""
        warmth = self._random.uniform(-0.3, 0.45)
        return (1.0, round(1 - max(0.0, warmth) * 0.35 - max(0.0, -warmth) * 0.1, 3), round(1 - max(0.0, warmth), 3))

    def around(self, inner: float, outer: float, height: float = 0.0) -> Vector:
        """A place in a ring about the origin, evenly by area."""
        radius = math.sqrt(self._random.uniform(inner**2, outer**2))
        angle = self._random.uniform(0, 2 * math.pi)
        return (round(radius * math.cos(angle), 3), round(radius * math.sin(angle), 3), height)

    def turn(self) -> Vector:
        """Degrees: about the vertical alone."""
        return (0.0, 0.0, self.number(0, 360, 1))

    def tumble(self) -> Vector:
        """Degrees: about all axes."""
        return (self.number(0, 360, 1), self.number(0, 360, 1), self.number(0, 360, 1))
