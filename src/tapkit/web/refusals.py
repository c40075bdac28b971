"""What the server refuses, as exceptions that carry their HTTP status; the answer is {"error": sentence}.

The errors of `tapkit.errors` get the status that says best what they mean (`status_of`).
"""

from __future__ import annotations

import errno

from tapkit.annotate import Conflict, NotAllowed, Unknown
from tapkit.errors import MissingExtra, StorageError, TapkitError, VideoError, WeightsError


class Refused(TapkitError):
    """A request that is not carried out."""

    status = 400


class NotSignedIn(Refused):
    """Nobody knows who asks."""

    status = 401


class TooLarge(Refused):
    """A body of more bytes than are taken."""

    status = 413


class NoVideo(Refused):
    """An upload that is no video."""

    status = 415


class TooMany(Refused):
    """Try again later: `seconds` from now."""

    status = 429

    def __init__(self, said: str, seconds: float) -> None:
        super().__init__(said)
        self.seconds = seconds


def no_weights(model: str) -> WeightsError:
    """Of a tracker that is asked for in the page, which downloads nothing."""
    return WeightsError(f"the weights of {model} are not on this machine: tapkit weights fetch {model} gets them")


def status_of(error: TapkitError) -> int:
    """The HTTP status with which an error is answered."""
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, Conflict):
        return 409
    if isinstance(error, NotAllowed):
        return 403
    if isinstance(error, Unknown):
        return 404
    if isinstance(error, (VideoError, WeightsError, MissingExtra)):
        return 422
    if isinstance(error, StorageError):
        code = getattr(error.__cause__, "errno", None) or error.errno
        full = code in (errno.ENOSPC, errno.EDQUOT) or "disk is full" in str(error)  # SQLite's has no number
        return 507 if full else 409
    return 400
