"""What a project refuses, as exceptions whose message is one sentence for the person who asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapkit.errors import UsageError

if TYPE_CHECKING:
    from tapkit.annotate.values import Point


class Unknown(UsageError):
    """A clip, point, user or assignment that is not in the project (any more)."""


class NotAllowed(UsageError):
    """Something that this user may not do: by the role, or because the clip is someone else's or is finished."""


class Conflict(UsageError):
    """Someone else has changed the same points since: `theirs` is what the edit would overwrite."""

    def __init__(self, message: str, theirs: tuple[Point, ...] = ()) -> None:
        super().__init__(message)
        self.theirs = theirs
        """The points as they are now."""
