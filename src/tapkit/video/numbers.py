"""The frame numbers in the names of an image sequence: one rule for all who need them.

The frame number is the number that varies from name to name. Numbers are runs of digits in the name without its
folder and ending; they are compared by their place, counted from the left as far as the text between them agrees,
and from the right likewise, so that hashes and take names of any length may stand on the other side.

- One number varies: it is the frame number. None does, or there is one file: the number that ends the name, set off
  by `.`, `_` or `-` or after letters alone ("shot.0101", "0101", "f0101"; in "f0003_1080p"
  there is none).
- Several vary: the one that counts up evenly in the order of the files; of several such, the one in the smallest
  steps, else the last. If they count differently, the choice is said in a warning.
- Numbers beyond 999,999,999 are time stamps, and frames are then counted from 0. The same holds where no number
  counts up.
- Numbers that rise in steps (1001, 1003, ...) give the first frame its number; all others are counted on from there,
  one by one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import NamedTuple

TIME_STAMP = 10**9
"""No frame number is that large."""


class FrameNumbers(NamedTuple):
    """What the names of a sequence say about the numbers of its frames."""

    values: tuple[int, ...] | None
    """One for each file, rising; None if the names hold none that can be used."""
    note: str | None = None
    """What is unsure about them, in a sentence."""

    @property
    def first(self) -> int:
        """The number of the first frame; 0 if the names do not say."""
        return self.values[0] if self.values else 0

    @property
    def step(self) -> int:
        """By how much they rise from name to name; 1 if unevenly, or if the names do not say."""
        steps = {b - a for a, b in pairwise(self.values or ())}
        return steps.pop() if len(steps) == 1 else 1


def frame_numbers(names: Sequence[str | PurePath]) -> FrameNumbers:
    """The frame numbers of files in the order of the sequence.

    >>> frame_numbers(["f0003_1080p.png", "f0004_1080p.png"]).values
    (3, 4)
    >>> frame_numbers(["shot2_cam1.0101.png"]).values, frame_numbers(["f0003_1080p.png"]).values
    ((101,), None)
    >>> frame_numbers(["s.1001.png", "s.1003.png", "s.1005.png"]).note
    'the numbers in the names rise in steps of 2 (s.1001.png, s.1003.png): the frames are numbered 1001, 1002, ...'
    """
    files = [PurePath(name) for name in names]
    if not files:
        return FrameNumbers(None)
    fields = _varying([_stem(file) for file in files])
    if not fields:
        return FrameNumbers(_ending(files))
    rising = [field for field in fields if all(a < b for a, b in pairwise(field))]
    if not rising:
        return FrameNumbers(
            None,
            f"no number in the names counts up from {files[0].name} to {files[-1].name}: frames are numbered from 0",
        )
    counting = [field for field in rising if field[-1] < TIME_STAMP]
    if not counting:
        return FrameNumbers(
            None, f"the numbers in the names ({files[0].name}) are taken for time stamps: frames are numbered from 0"
        )
    steps = [{b - a for a, b in pairwise(field)} for field in counting]
    best = min(range(len(counting)), key=lambda i: (len(steps[i]) > 1, min(steps[i]), -i))
    return FrameNumbers(counting[best], _doubt(files, counting, steps, best))


class LabelNumbers(NamedTuple):
    """What the names of labelled pictures say, which are some of a video's frames, in any order."""

    values: list[int] | None
    """The frame number of each; None if the names do not say."""
    note: str | None = None
    """What is unsure about them, in a sentence."""
    order: list[int] | None = None
    """Without values, the place of each among time stamps; None: the names have none either."""


def numbers_of(names: Sequence[str | PurePath]) -> LabelNumbers:
    """The frame number of each name, in any order and more than once.

    >>> numbers_of(["f0010_1080p.png", "f0002_1080p.png", "f0010_1080p.png"]).values
    [10, 2, 10]
    """
    ordered = sorted(set(names), key=natural_key)
    found = frame_numbers(ordered)
    if found.values is None:
        stamps = all(re.search(rf"\d{{{len(str(TIME_STAMP))},}}", _stem(PurePath(name))) for name in ordered)
        return LabelNumbers(None, found.note, [ordered.index(name) for name in names] if stamps else None)
    known = dict(zip(ordered, found.values, strict=True))
    return LabelNumbers([known[name] for name in names], _rivals([PurePath(name) for name in ordered], found.values))


def sequences_of(names: Sequence[str | PurePath]) -> list[str]:
    """Of which sequence each picture is, where those of several lie together: what stands before the number that ends
    its name. All are "" if there is but one, or if no such part occurs twice, as with hashes.

    >>> sequences_of(["a_01.png", "a_02.png", "b_01.png"]), sequences_of(["f0c_01.png", "9e_02.png"])
    (['a', 'a', 'b'], ['', ''])
    """
    found = [re.fullmatch(r"(.*?)[-_. ]*\d+", _stem(PurePath(name))) for name in names]
    parts = [match[1] for match in found if match]
    several = len(parts) == len(names) and 1 < len(set(parts)) < len(set(names))
    return parts if several else [""] * len(names)


def _rivals(files: list[PurePath], chosen: tuple[int, ...]) -> str | None:
    """What is to be said where another number of the names rises with the chosen one, and is not the same."""
    others = [f for f in _varying([_stem(file) for file in files]) if all(a < b for a, b in pairwise(f))]
    others = [field for field in others if field != chosen and field[-1] < TIME_STAMP]
    if not others:
        return None
    return (
        f"several numbers in the names count up ({files[0].name}): {chosen[0]} is taken for the frame, "
        f"not {others[0][0]}"
    )


def natural_key(path: str | PurePath) -> tuple[object, ...]:
    """Sorts names as people count: frame_2 before frame_10.

    >>> [p for p in sorted(["b10.png", "b9.png", "a.png"], key=natural_key)]
    ['a.png', 'b9.png', 'b10.png']
    """
    parts = re.split(r"(\d+)", str(path))
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in parts), str(path)


def _doubt(files: list[PurePath], counting: list[tuple[int, ...]], steps: list[set[int]], best: int) -> str | None:
    """What is to be said of the chosen numbers."""
    chosen = counting[best]
    if len(steps[best]) > 1:
        usual = chosen[1] - chosen[0]
        at = next(i for i in range(1, len(chosen)) if chosen[i] - chosen[i - 1] != usual)
        return (
            f"the numbers in the names are not evenly spaced: {files[at].name} follows {files[at - 1].name}; "
            "the images are taken as consecutive frames"
        )
    step = min(steps[best])
    if step > 1:
        return (
            f"the numbers in the names rise in steps of {step} ({files[0].name}, {files[1].name}): "
            f"the frames are numbered {chosen[0]}, {chosen[0] + 1}, ..."
        )
    rivals = [i for i in range(len(counting)) if i != best and len(steps[i]) == 1 and min(steps[i]) == 1]
    if any(counting[i][0] != chosen[0] for i in rivals):
        return (
            f"several numbers in the names count up ({files[0].name}): {chosen[0]} is taken for that of the first frame"
        )
    return None


def _stem(file: PurePath) -> str:
    """The name without its ending, and without the hash that Roboflow adds (clip-0010_jpg.rf.9f00e7.jpg)."""
    return re.sub(r"[._](?:jpe?g|png|bmp|tiff?|webp)\.rf\.\w+$", "", file.stem, flags=re.IGNORECASE)


def _varying(stems: list[str]) -> list[tuple[int, ...]]:
    """The numbers that differ between the names, each as one value per name, from left to right."""
    split = [re.split(r"(\d+)", stem) for stem in stems]  # text, digits, text, digits, ..., text
    shortest = min(len(parts) for parts in split)
    places: list[int] = []  # of digits in `parts`, from the left if >= 0, else from the right
    for place in range(1, shortest, 2):
        if len({tuple(parts[:place:2]) for parts in split}) > 1:
            break
        places.append(place)
    same = len({len(parts) for parts in split}) == 1
    right: list[int] = []
    for place in range(-2, -shortest, -2):
        if len({tuple(parts[: place - 1 : -2][::-1]) for parts in split}) > 1:
            break
        if not (same and place + len(split[0]) in places):
            right.append(place)
    fields = [tuple(int(parts[place]) for parts in split) for place in [*places, *reversed(right)]]
    return [field for number, field in enumerate(fields) if len(set(field)) > 1 and field not in fields[:number]]


def _ending(files: list[PurePath]) -> tuple[int, ...] | None:
    """The number that ends the name of a single file."""
    if len(files) != 1:
        return None
    found = re.fullmatch(r"(?:.*[._-])?(\d{1,99})|[A-Za-z]+(\d{1,99})", _stem(files[0]))
    number = int(found[1] or found[2]) if found else TIME_STAMP
    return (number,) if number < TIME_STAMP else None
