"""Options that say which frames of which video are meant, shared by all commands that read one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapkit.errors import UsageError, VideoError

if TYPE_CHECKING:
    from tapkit.video.base import Source

Start = Annotated[
    int | None,
    typer.Option(
        "--start", min=0, help="First frame to use, counted from 0. Points and results count their frames from there."
    ),
]
End = Annotated[int | None, typer.Option("--end", min=1, help="Frame before which to stop. [the end of the video]")]
Step = Annotated[int, typer.Option("--step", min=1, help="Use every n-th frame only; results number those one by one.")]
Every = Annotated[int, typer.Option("--every", min=1, help="Use every n-th frame only (--step spaces the points).")]
ValueRange = Annotated[
    str | None,
    typer.Option(
        "--value-range",
        metavar="BLACK,WHITE",
        help="What is black and white in the files, such as 100,4095. [what the files say, or from their values]",
    ),
]
Stream = Annotated[
    int | None,
    typer.Option("--stream", min=0, help="Which of a file's video streams, counted from 0. [the default one]"),
]


def present_video(video: str) -> None:
    """Raise `VideoError` for a name that can only be a file and is not there: to be asked before PyAV is imported."""
    other = "://" in video or any(mark in video for mark in "*?%[") or video.startswith("camera:") or video.isdigit()
    try:
        missing = not other and not Path(video).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # no name of a file at all: `open_video` says why
        return
    if missing:
        raise VideoError(f"there is no file {Path(video)}")


def open_footage(
    video: str,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
    value_range: str | None = None,
    stream: int | None = None,
) -> Source:
    """The video, or the part of it that the options ask for."""
    present_video(video)
    from tapkit.video import open_video

    levels = None if value_range is None else read_value_range(value_range)
    return open_video(video, start=start, end=end, step=step, value_range=levels, stream=stream)


def read_value_range(text: str) -> tuple[float, float]:
    """BLACK,WHITE or WHITE as two numbers.

    >>> read_value_range("100,4095"), read_value_range("4095")
    ((100.0, 4095.0), (0.0, 4095.0))
    """
    try:
        numbers = [float(part) for part in text.split(",")]
        black, white = numbers if len(numbers) == 2 else (0.0, *numbers)
    except ValueError as error:
        raise UsageError(f"--value-range takes BLACK,WHITE such as 100,4095, got {text!r}") from error
    return black, white
