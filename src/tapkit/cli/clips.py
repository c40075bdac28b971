"""Several videos on one command line: which are meant, and where the results of each go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tapkit.cli.outputs import beside
from tapkit.endings import PICTURES, VIDEOS, footage
from tapkit.errors import UsageError


def clips_of(given: Sequence[str]) -> tuple[list[str], bool]:
    """The videos that are meant, and whether results go by the rules for several.

    A folder with videos and no pictures in it, and a pattern of videos ("takes/*.mp4"), stand for all of these;
    anything else (a folder or a pattern of pictures, a stream) is one video.

    Raises `UsageError` for pictures named one by one, which are a single video.
    """
    if len(given) > 1 and all(Path(name).suffix.lower() in PICTURES - {".gif", ".dcm"} for name in given):
        raise UsageError(
            "these pictures would be a video each: name their folder, or put the pattern in quotes ('frames/*.jpg')"
        )
    found: list[str] = []
    several = len(given) > 1
    for name in given:
        inside = _inside(name)
        several |= inside is not None
        found += [name] if inside is None else inside
    return list(dict.fromkeys(found)), several


def _inside(name: str) -> list[str] | None:
    """The videos in a folder or of a pattern; None for what is one video."""
    path = Path(name)
    if "://" in name:
        return None
    if path.is_dir():
        files = [each for each in path.iterdir() if each.is_file() and not each.name.startswith(".")]
        if any(each.suffix.lower() in PICTURES for each in files):
            return None
    elif not path.exists() and any(mark in path.name for mark in "*?[") and path.suffix.lower() in VIDEOS:
        files = list(path.parent.glob(path.name))
    else:
        return None
    return footage(str(each) for each in files) or None


def placed(clip: str, folder: Path | None, ending: str) -> Path:
    """Where the result of one of several videos goes: beside it, or in `folder`.

    >>> placed("takes/a.mp4", None, ".tracks.npz").as_posix(), placed("takes/a.mp4", Path("out"), ".csv").as_posix()
    ('takes/a.tracks.npz', 'out/a.csv')
    """
    if folder is None:
        return beside(clip, ending)
    if folder.suffix and not folder.is_dir():
        raise UsageError(f"there are several videos: {folder} must be a folder, in which each gets a file of its own")
    return folder / beside(clip, ending).name
