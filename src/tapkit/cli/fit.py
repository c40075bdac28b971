"""`tapkit fit`: fit a method to one video, or to several in turn."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapkit.cli import footage as f
from tapkit.cli.clips import clips_of, placed
from tapkit.cli.options import Device, Option, Quiet, read_options, say
from tapkit.cli.outputs import Force, beside
from tapkit.errors import TapkitError, one_line

if TYPE_CHECKING:
    from tapkit.per_video.fit import Progress

ENDING = ".fit"
EVERY = 5.0
"""Seconds between two lines about how far it is."""


def fit(
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEO...", help="Video file or folder of images; or several, a queue.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the fit; of several, the folder they go to. [VIDEO.fit]"),
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="omnimotion, cadex++ or dino-tracker.")] = "cadex++",
    preset: Annotated[
        str | None, typer.Option("--preset", help="paper, fast or cpu. [fast on a GPU, else cpu]")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Budget of each fit: the schedule is fitted into it.")
    ] = None,
    prepared: Annotated[
        Path | None,
        typer.Option("--prepared", help="Folder of flows and features that several fits of one video share."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of everything drawn at random.")] = 0,
    device: Device = "auto",
    option: Option = None,
    start: f.Start = None,
    end: f.End = None,
    step: f.Step = 1,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Fit a method to a video; the folder that comes of it then serves as --model.

      tapkit fit clip.mp4 --model cadex++ -o clip.fit

      tapkit track clip.mp4 --model clip.fit --at 12,310.5,122

    It says what it will cost before it begins. Ctrl-C keeps everything, and the same command goes on; so does it after
    a crash, of which at most the last minute is lost. index.html in the folder shows how it is going. Of several videos
    each is fitted in turn; one that fails is reported and passed over (exit code 1).
    """
    clips, several = clips_of(videos)
    fits = {
        "model": model, "preset": preset, "minutes": minutes, "prepared": prepared, "seed": seed, "device": device,
        "force": force,
    }  # fmt: skip
    asked = _Asked(fits, read_options(option), (start, end, step), quiet)
    if not several:
        summary = asked.fit(clips[0], output or beside(clips[0], ENDING))
        print(json.dumps(summary) if as_json else _sentence(summary), end="\n" if as_json or not quiet else "")
        return
    summaries = _queue(clips, [placed(clip, output, ENDING) for clip in clips], asked)
    if as_json:
        print(json.dumps(summaries))
    if any("error" in each for each in summaries):
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Asked:
    """The options of the command that hold for each video."""

    fits: Mapping[str, Any]
    """Of `tapkit.fit`: model, preset, ..."""
    options: Mapping[str, Any]
    """Of the method."""
    span: tuple[int | None, int | None, int]
    """Start, end and step."""
    quiet: bool

    def fit(self, clip: str, target: Path) -> dict[str, Any]:
        """Fit to one video; returns what is to be said of it."""
        from tapkit import api

        started = time.monotonic()
        with f.open_footage(clip, *self.span) as source:
            try:
                shown = None if self.quiet else _Shown()
                tracker = api.fit(source, target, say=self._say, progress=shown, **self.fits, **self.options)
            except KeyboardInterrupt:
                self._say(f"interrupted; what is done is kept in {target}: the same command goes on from there")
                raise
        return {
            "fit": str(target),
            "model": tracker.card.id,
            "steps": tracker.model.options["steps_done"],
            "minutes": round((time.monotonic() - started) / 60, 2),
            "page": str(target / "index.html"),
        }

    def _say(self, text: str) -> None:
        if not self.quiet:
            say(one_line(text))


def _queue(clips: Sequence[str], targets: Sequence[Path], asked: _Asked) -> list[dict[str, Any]]:
    """A summary of each: as of one video, or {"video", "error"}."""
    summaries = []
    for number, (clip, target) in enumerate(zip(clips, targets, strict=True), 1):
        say(one_line(f"[{number}/{len(clips)}] {clip}"))
        try:
            summary = asked.fit(clip, target)
        except TapkitError as error:
            summary = {"error": one_line(str(error))}
            say(one_line(f"tapkit: {clip} failed: {error}"))
        else:
            say(_sentence(summary))
        summaries.append({"video": clip, **summary})
    return summaries


def _sentence(summary: dict[str, Any]) -> str:
    return one_line(
        f"{summary['fit']}: {summary['model']}, {summary['steps']} steps, {summary['minutes']:.1f} minutes; "
        f"look at {summary['page']}"
    )


class _Shown:
    """A line every few seconds: what is being done, how far it is, and how long it will take."""

    def __init__(self) -> None:
        self.last = 0.0
        self.began: dict[str, tuple[float, int]] = {}

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        start, first = self.began.setdefault(progress.stage, (now, progress.done))
        if now - self.last < EVERY and progress.done < progress.total:
            return
        self.last = now
        line = f"{progress.stage} {progress.done}/{progress.total}"
        if progress.losses:
            line += f", loss {progress.losses.get('total', 0.0):.3g}"
        if first < progress.done < progress.total:
            left = (now - start) / (progress.done - first) * (progress.total - progress.done)
            line += f", {left / 60:.1f} min left" if left >= 60 else f", {left:.0f} s left"
        say(line)
