"""What people do to a clip: one small value for each kind of edit, in Python and as JSON ({"op": "add_point", ...}).

Frames are integers from 0 and `stop` is excluded; positions are pixels of the original video, corner origin.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, ClassVar

from tapkit.annotate.values import STATES, State
from tapkit.errors import UsageError, did_you_mean

LONGEST_TEXT = 200
"""Characters of a label or group."""
MOST_EDITS = 10_000
"""In one call."""


@dataclass(frozen=True)
class Edit:
    """Base of all edits."""

    op: ClassVar[str] = ""

    @property
    def touched(self) -> tuple[int, ...]:
        """Points that it is about."""
        point = getattr(self, "point", None)
        return () if point is None else (point,)


@dataclass(frozen=True)
class AddPoint(Edit):
    """A new point, with its first keyframe."""

    op: ClassVar[str] = "add_point"
    t: int
    x: float
    y: float
    label: str = ""
    """Empty: "point 7", by its id."""
    group: str = ""
    colour: str = ""
    object: int | None = None


@dataclass(frozen=True)
class SetKeyframe(Edit):
    """Where a point is; replaces a keyframe on the same frame."""

    op: ClassVar[str] = "set_keyframe"
    point: int
    t: int
    x: float
    y: float
    visible: bool = True


@dataclass(frozen=True)
class DeleteKeyframe(Edit):
    """Takes a keyframe back."""

    op: ClassVar[str] = "delete_keyframe"
    point: int
    t: int


@dataclass(frozen=True)
class DeletePoint(Edit):
    """Takes a point out of the clip; undo brings all of it back."""

    op: ClassVar[str] = "delete_point"
    point: int


@dataclass(frozen=True)
class EditPoint(Edit):
    """Other names; None leaves what is. `object` 0: none."""

    op: ClassVar[str] = "edit_point"
    point: int
    label: str | None = None
    group: str | None = None
    colour: str | None = None
    object: int | None = None


@dataclass(frozen=True)
class SetVisibility(Edit):
    """Whether the point is seen on frames start..stop; None: whatever the tracker says."""

    op: ClassVar[str] = "set_visibility"
    point: int
    start: int
    stop: int
    state: State | None = None


@dataclass(frozen=True)
class DeletePrediction(Edit):
    """Forgets what trackers said on frames start..stop."""

    op: ClassVar[str] = "delete_prediction"
    point: int
    start: int
    stop: int


@dataclass(frozen=True)
class MergePoints(Edit):
    """`other` becomes part of `keep`: its keyframes, visibility and predictions where `keep` has none on a frame."""

    op: ClassVar[str] = "merge_points"
    keep: int
    other: int

    @property
    def touched(self) -> tuple[int, ...]:
        """Both."""
        return self.keep, self.other


@dataclass(frozen=True)
class SetBox(Edit):
    """An object's box on a frame. `object` None: a new object."""

    op: ClassVar[str] = "set_box"
    t: int
    x0: float
    y0: float
    x1: float
    y1: float
    object: int | None = None
    label: str | None = None


@dataclass(frozen=True)
class DeleteBox(Edit):
    """Takes a box away; `t` None: the object with all its boxes."""

    op: ClassVar[str] = "delete_box"
    object: int
    t: int | None = None


@dataclass(frozen=True)
class SetSkeleton(Edit):
    """The edges between points: pairs of ids."""

    op: ClassVar[str] = "set_skeleton"
    links: tuple[tuple[int, int], ...]


KINDS: Mapping[str, type[Edit]] = {
    kind.op: kind
    for kind in (
        AddPoint, SetKeyframe, DeleteKeyframe, DeletePoint, EditPoint, SetVisibility, DeletePrediction, MergePoints,
        SetBox, DeleteBox, SetSkeleton,
    )
}  # fmt: skip


def parse_edits(edits: Sequence[Edit | Mapping[str, Any]]) -> list[Edit]:
    """Edits as values, checked as far as that goes without the clip. Raises `UsageError`.

    >>> parse_edits([{"op": "delete_point", "point": 3}])
    [DeletePoint(point=3)]
    """
    if isinstance(edits, str | bytes | Mapping) or not isinstance(edits, Sequence):
        raise UsageError("edits are a list")
    if not edits:
        raise UsageError("there is nothing to do: the list of edits is empty")
    if len(edits) > MOST_EDITS:
        raise UsageError(f"{len(edits)} edits are too many at once; {MOST_EDITS} are the most")
    return [_checked(edit if isinstance(edit, Edit) else _parsed(edit)) for edit in edits]


def _parsed(values: Any) -> Edit:
    if not isinstance(values, Mapping):
        raise UsageError(f"an edit is an object with an op, got {values!r}"[:200])
    op = values.get("op")
    kind = KINDS.get(op) if isinstance(op, str) else None
    if kind is None:
        raise UsageError(f"there is no edit {str(op)[:60]!r}{did_you_mean(str(op), KINDS)}")
    given = {name: value for name, value in values.items() if name != "op"}
    known = {field.name: field for field in fields(kind)}
    for name in given:
        if name not in known:
            raise UsageError(f"{op} has no {str(name)[:60]!r}; it has {', '.join(known)}")
    for name, field in known.items():
        if name not in given and field.default is MISSING:
            raise UsageError(f"{op} needs {name}")
    if kind is SetSkeleton:
        given["links"] = _links(given["links"])
    return kind(**given)


def _links(links: Any) -> tuple[tuple[int, int], ...]:
    """Pairs of ids, each once in whichever direction. Raises `UsageError`."""
    if isinstance(links, str) or not isinstance(links, Sequence):
        raise UsageError(f"a skeleton is a list of pairs of points' ids, got {links!r}"[:200])
    ordered: dict[frozenset[int], tuple[int, int]] = {}
    for pair in links:
        if not isinstance(pair, Sequence) or len(pair) != 2 or not all(_is_int(end) for end in pair):
            raise UsageError(f"a skeleton is a list of pairs of points' ids, got {pair!r}"[:200])
        if pair[0] == pair[1]:
            raise UsageError("a point cannot be joined to itself")
        ordered[frozenset(pair)] = (pair[0], pair[1])
    return tuple(ordered.values())


_INTEGERS = {"t", "start", "stop", "point", "object", "keep", "other"}
_NUMBERS = {"x", "y", "x0", "y0", "x1", "y1"}
_TEXTS = {"label", "group", "colour"}


def _checked(edit: Edit) -> Edit:
    """The edit, if its values are of the right kinds, with its texts trimmed. Raises `UsageError`."""
    texts = {name: value for name in _TEXTS if isinstance(value := getattr(edit, name, None), str)}
    edit = replace(edit, **{name: value.strip() for name, value in texts.items()})
    for field in fields(edit):
        name, value = field.name, getattr(edit, field.name)
        if value is None and (field.default is None or name == "state"):
            continue
        if name in _INTEGERS and not (_is_int(value) and -(2**31) <= value < 2**31):
            raise UsageError(f"{edit.op}: {name} must be a whole number, got {value!r}"[:200])
        if name in _NUMBERS and not (_is_number(value) and math.isfinite(value)):
            raise UsageError(f"{edit.op}: {name} must be a finite number, got {value!r}"[:200])
        if name in _TEXTS:
            _check_text(edit.op, name, value)
        if name == "visible" and not isinstance(value, bool):
            raise UsageError(f"{edit.op}: visible must be true or false, got {value!r}"[:200])
        if name == "state" and value not in STATES:
            raise UsageError(f"{edit.op}: state must be {', '.join(STATES)} or null, got {value!r}"[:200])
    if isinstance(edit, MergePoints) and edit.keep == edit.other:
        raise UsageError("a point cannot be merged with itself")
    if isinstance(edit, SetVisibility | DeletePrediction) and not 0 <= edit.start < edit.stop:
        raise UsageError(f"{edit.op}: frames {edit.start} to {edit.stop} (excluded) are no span")
    if isinstance(edit, SetBox) and not (edit.x0 < edit.x1 and edit.y0 < edit.y1):
        raise UsageError("set_box: a box has x0 < x1 and y0 < y1")
    return edit


def _check_text(op: str, name: str, value: Any) -> None:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value):
        raise UsageError(f"{op}: {name} must be a line of at most {LONGEST_TEXT} characters")
    if name == "colour" and value and re.fullmatch(r"#[0-9a-fA-F]{6}", value) is None:
        raise UsageError(f"{op}: a colour is written #rrggbb, got {value!r}"[:200])


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
