"""What the caller of a reader knows and wants, and what the reader has to say.

A file may hold more than one video, animal, camera or scorer. A reader asks its `Context` which are meant (`one`,
`some`), and tells it what it leaves out (`left_out`, `say`), so that nothing in a file is dropped in silence.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tapkit.errors import StorageError, UsageError
from tapkit.types import VideoInfo
from tapkit.types.identity import Kind

__all__ = ["Context", "Kind", "ReadWarning", "listed"]

_SHOWN = 6
"""Names that a message lists before it says how many more there are."""


class ReadWarning(UserWarning):
    """Something in a file that was not taken, or that was taken for what it may not be."""


@dataclass(frozen=True)
class Context:
    """What the caller knows about the video that the file does not say, and which part of the file is meant."""

    path: Path
    video: VideoInfo | None = None
    wanted: Mapping[Kind, str] = field(default_factory=dict)
    """Which one the caller asked for, of things of which a file may have several."""
    rate_known: bool = True
    """Whether the rate of `video` was stated; False: it was assumed, and what the file says counts."""
    _asked: set[str] = field(default_factory=set)
    _left: dict[str, int] = field(default_factory=dict)
    _said: dict[str, None] = field(default_factory=dict)

    def size(self, width: float | None = None, height: float | None = None) -> tuple[int, int]:
        """(height, width): what the caller gave, else what the file says; one sentence if neither does."""
        if self.video is not None:
            return self.video.size
        if width is None or height is None:
            self._check_video()
            raise UsageError(
                f"{self.path.name} does not say how large the picture is: give the video, the original tracks or a size"
            )
        return round(height), round(width)

    def damaged(self, why: str) -> StorageError:
        """An error for a file that is not what it should be."""
        return StorageError(f"cannot read {self.path}: {why}")

    # -- which are meant --------------------------------------------------------------------------

    def one(self, kind: Kind, names: Sequence[str], *, first: bool = False) -> str:
        """The one of `names` that is meant: the wanted one, or the only one.

        Videos are recognised by the name of the caller's video, too. Of several, `first` takes the first and says so.
        Raises UsageError where it cannot be told, or the file has none of that name.
        """
        names = list(dict.fromkeys(names))
        if (wanted := self._wanted(kind, names)) is not None:
            return wanted
        if len(names) == 1:
            return names[0]
        if kind == "video" and self.video is not None and self.video.path:
            here = _matching(self.video.path, names)
            if len(here) == 1:
                return here[0]
        if not first:
            raise UsageError(f"{self.path.name} has {len(names)} {kind}s ({listed(names)}): choose one with --{kind}")
        self.say(f"{kind} {names[0]} was taken, not {listed(names[1:])}: --{kind} chooses")
        return names[0]

    def some(self, kind: Kind, names: Sequence[str]) -> list[str]:
        """Those of `names` that are meant: the wanted one, or all."""
        names = list(dict.fromkeys(names))
        wanted = self._wanted(kind, names)
        return names if wanted is None else [wanted]

    def _wanted(self, kind: Kind, names: Sequence[str]) -> str | None:
        self._asked.add(kind)
        name = self.wanted.get(kind)
        if name is None:
            return None
        here = _matching(name, names)
        if len(here) != 1:
            raise UsageError(f"{self.path.name} has no {kind} called {name!r}; it has {listed(names)}")
        return here[0]

    # -- what is to be said -----------------------------------------------------------------------

    def left_out(self, what: str, count: int = 1) -> None:
        """Count something that is in the file and was not taken; `what` is a plural ("box tracks")."""
        if count:
            self._left[what] = self._left.get(what, 0) + count

    def say(self, sentence: str) -> None:
        """Something that the user should know about what was read."""
        self._said[sentence] = None

    def report(self) -> None:
        """Give everything that is to be said as warnings, one for each kind. UsageError for a choice that never was."""
        self._check_video()
        for kind, name in self.wanted.items():
            if kind not in self._asked:
                raise UsageError(f"{self.path.name} has no {kind}s to choose {name!r} from")
        for sentence in self._said:
            warnings.warn(f"{self.path.name}: {sentence}", ReadWarning, stacklevel=4)
        for what, count in self._left.items():
            warnings.warn(f"{self.path.name}: not taken: {count} {what}", ReadWarning, stacklevel=4)

    def _check_video(self) -> None:
        name = self.wanted.get("video")
        if name is not None and "video" not in self._asked:
            raise UsageError(f"there is no video {name!r}, neither as a file nor in {self.path.name}")


def listed(names: Sequence[str]) -> str:
    """Names with commas, the first few of many.

    >>> listed(["a", "b"]), listed(list("abcdefgh"))
    ('a, b', 'a, b, c, d, e, f and 2 more')
    """
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _matching(name: str, names: Sequence[str]) -> list[str]:
    """Those of `names` that are called so: exactly, else by file name, else without ending, else by their number.

    >>> _matching("clips/b.mp4", ["/data/a.mp4", "/data/b.mp4"]), _matching("2", ["cam1", "cam2"])
    (['/data/b.mp4'], ['cam2'])
    """
    views = (
        str,
        str.lower,
        lambda text: _file(text).name.lower(),
        lambda text: _file(text).stem.lower(),
        lambda text: re.sub(r"[\W_]", "", _file(text).name.lower()),  # Roboflow calls clip.mp4 clip_mp4
        lambda text: found[1] if (found := re.fullmatch(r"\D*?0*(\d+)", text)) else None,
    )
    for view in views:
        key = view(name)
        here = [other for other in names if key is not None and view(other) == key]
        if here:
            return here
    return []


def _file(text: str) -> PurePosixPath:
    return PurePosixPath(text.replace("\\", "/"))
