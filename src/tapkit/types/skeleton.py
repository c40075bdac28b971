"""Skeletons: which points are joined by an edge, as pairs of ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tapkit.errors import UsageError

Edge = tuple[str, str]
"""Ids of two points, from the first to the second."""
Skeleton = tuple[Edge, ...]


def checked(edges: Iterable[Any], ids: Sequence[str]) -> Skeleton:
    """The edges as they are kept: pairs of different points that there are. An edge that is given twice, in whichever
    direction, is kept once. Raises `UsageError`.

    >>> checked([["a", "b"], ("b", "a")], ["a", "b"])
    (('a', 'b'),)
    """
    known, found = set(ids), dict[frozenset[str], Edge]()
    for edge in edges:
        if isinstance(edge, str) or not isinstance(edge, Sequence) or len(edge) != 2:
            raise UsageError(f"an edge of a skeleton is a pair of ids, got {edge!r}"[:200])
        first, second = str(edge[0]), str(edge[1])
        missing = next((name for name in (first, second) if name not in known), None)
        if missing is not None:
            raise UsageError(f"the skeleton has an edge {first}-{second}, but no point is called {missing!r}")
        if first == second:
            raise UsageError(f"the skeleton joins {first!r} to itself")
        found.setdefault(frozenset((first, second)), (first, second))
    return tuple(found.values())


def parse_skeleton(text: str, ids: Sequence[str]) -> Skeleton:
    """ "a-b,b-c" as edges between these ids, which may have hyphens (and commas) themselves. Raises `UsageError`.

    >>> parse_skeleton("nose-left-eye, nose-tail", ["nose", "left-eye", "tail"])
    (('nose', 'left-eye'), ('nose', 'tail'))
    """
    known = set(ids)
    edges = []
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        places = [place for place, mark in enumerate(part) if mark == "-"]
        pairs = [(part[:place].strip(), part[place + 1 :].strip()) for place in places]
        if not pairs:
            raise UsageError(f'a skeleton is written "a-b,b-c", with the ids of points; {part!r} is no edge')
        fitting = [pair for pair in pairs if known.issuperset(pair)]
        if len(fitting) > 1:
            raise UsageError(f"{part!r} may be an edge between different points: rename one of them")
        edges.append(fitting[0] if fitting else pairs[0])
    return checked(edges, ids)


def among(edges: Iterable[Edge], ids: Iterable[str]) -> Skeleton:
    """The edges both of whose points are among `ids`."""
    known = set(ids)
    return tuple(edge for edge in edges if known.issuperset(edge))


def renamed(edges: Iterable[Edge], names: Mapping[str, str]) -> Skeleton:
    """The edges with other names; those whose points have none are left out."""
    return tuple((names[a], names[b]) for a, b in edges if a in names and b in names)


def rows(edges: Iterable[Edge], ids: Sequence[str]) -> list[tuple[int, int]]:
    """The edges as pairs of rows."""
    where = {name: row for row, name in enumerate(ids)}
    return [(where[a], where[b]) for a, b in edges]
