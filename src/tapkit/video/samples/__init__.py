"""Short real clips that come with the package, for demonstrations, documentation and tests (see CREDITS.md)."""

from __future__ import annotations

from pathlib import Path

from tapkit.errors import UsageError

_FOLDER = Path(__file__).parent


def sample_names() -> list[str]:
    """The names of the clips.

    >>> sample_names()
    ['blocks', 'rabbit']
    """
    return sorted(file.stem for file in _FOLDER.glob("*.mp4"))


def sample(name: str = "blocks") -> Path:
    """The path of a clip. Raises UsageError if there is none of that name.

    >>> sample("rabbit").name
    'rabbit.mp4'
    """
    if name not in sample_names():
        raise UsageError(f"there is no sample clip {name!r}; there are: {', '.join(sample_names())}")
    return _FOLDER / f"{name}.mp4"
