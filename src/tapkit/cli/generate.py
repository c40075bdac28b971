"""`tapkit generate`: rendered scenes with exact tracks, through Blender."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapkit.cli import options as o
from tapkit.cli.batch import Ray, finish, run_fleet
from tapkit.cli.outputs import claim
from tapkit.errors import TapkitError, UsageError, one_line
from tapkit.parsing import parse_size

if TYPE_CHECKING:
    from tapkit.generate.batch import Outcome
    from tapkit.generate.settings import GenerateSettings
    from tapkit.generate.video import Job


def generate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the videos: OUT/outdoor_000000, ...")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many.")] = 1,
    scenes: Annotated[
        str, typer.Option(metavar="KIND,...", help="outdoor, indoor, animals, toys, ego in turn; all: each of them.")
    ] = "all",
    scene: Annotated[
        list[Path] | None, typer.Option(help="A description of a scene (.json), instead. Repeatable.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each.")] = 48,
    size: Annotated[str, typer.Option(metavar="WxH", help="Pixels.")] = "256x256",
    fps: Annotated[int, typer.Option(min=1, help="Frames per second.")] = 30,
    points: Annotated[int, typer.Option(min=1, help="Tracks of each.")] = 2048,
    seed: Annotated[int, typer.Option(min=0, help="Of the first video; video i has seed + i.")] = 0,
    assets: Annotated[
        Path | None, typer.Option(help="Folder of models, photos, textures, hdri. Default: all is procedural.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Rays of light per pixel; then denoised.")] = 16,
    denoise: Annotated[bool, typer.Option(help="Denoise the pictures.")] = True,
    visibility: Annotated[
        str, typer.Option(help="rays: exact. depth: PointOdyssey's published rule, within 3 % of depth.")
    ] = "rays",
    passes: Annotated[bool, typer.Option(help="Write depth, normals, masks and flow too.")] = True,
    also: Annotated[
        list[str] | None, typer.Option(help="Also in another layout: pointodyssey, kubric. Repeatable.")
    ] = None,
    kind: Annotated[str, typer.Option("--as", help="jpg, png or mp4.")] = "jpg",
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Blenders at a time.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each. Default: all cores, shared.")] = None,
    ray: Ray = None,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help="Only part I of N, for several machines.")] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Also draw all the videos with their tracks on one picture.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, gpu.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace a --sheet that is there already.")] = False,
    quiet: o.Quiet = False,
) -> None:
    """Render videos of built scenes, in which every track and its visibility is known exactly.

        tapkit generate -o scenes --count 5 --frames 48 --assets ASSETS
        tapkit generate -o long --scenes outdoor,ego --frames 240 --also pointodyssey
        tapkit generate -o again --scene scenes/toys_000003/scene.json

    Characters, animals, falling things and moving cameras, in rooms and outdoors. Blender does it, in a process of
    its own: .venv-blender, $TAPKIT_BLENDER or `blender`. Each video is checked against what was rendered; one that
    fails is kept in OUT/failed with the reason. The same seed makes the same videos; those that are there are kept,
    and an interrupted run goes on with the frame at which it stopped.
    """
    from tapkit.generate.batch import make_videos, plan, plan_scenes
    from tapkit.generate.program import default_threads, find_blender
    from tapkit.generate.settings import GenerateSettings, parse_kinds

    claim(sheet, inputs=scene or (), force=force)
    kinds = parse_kinds(scenes)
    parsed = parse_size(size)
    settings = GenerateSettings(
        frames=frames,
        size=(parsed[1], parsed[0]),
        fps=fps,
        assets=assets,
        samples=samples,
        denoise=denoise,
        points=points,
        visibility=visibility,
        pictures=kind,
        passes=passes,
        also=tuple(dict.fromkeys(also or ())),
        device=device,
        threads=threads or default_threads(jobs),
    )
    if ray is not None:
        if scene or shard or sheet:
            raise UsageError("--ray makes videos of --scenes: leave out --scene, --shard and --sheet")
        from tapkit.fleet import Generating

        job = Generating(settings, count, kinds, seed)
        many = jobs if jobs > 1 else None
        finish(
            run_fleet(job, str(out), jobs=many, ray=ray, device="cpu", quiet=quiet, cpus=settings.threads),
            None, False, quiet,
        )  # fmt: skip
        return
    planned = plan_scenes(scene, out, settings) if scene else plan(kinds, count, seed, out, settings)
    chosen = _of_shard(planned, shard)
    missing = [job for job in chosen if not job.done]
    blender = find_blender() if missing else Path()
    start = time.perf_counter()
    progress = _Progress(len(missing), quiet)
    outcomes = make_videos(missing, blender, jobs, progress.event, progress.finished)
    if sheet is not None:
        _draw([job for job in chosen if job.done], sheet)
    _summary(chosen, outcomes, settings, out, time.perf_counter() - start, quiet)


def _of_shard(jobs: list[Job], shard: str | None) -> list[Job]:
    if shard is None:
        return jobs
    from tapkit.evaluation.run import Shard

    names = set(Shard.parse(shard).of([job.name for job in jobs]))
    return [job for job in jobs if job.name in names]


class _Progress:
    """A line for each video and, every ten seconds, one for each that is being rendered."""

    def __init__(self, total: int, quiet: bool) -> None:
        self.total, self.quiet, self.done = total, quiet, 0
        self.lock, self.last = threading.Lock(), time.perf_counter()

    def event(self, job: Job, event: dict[str, Any]) -> None:
        """What Blender says."""
        with self.lock:
            if self.quiet:
                return
            if event["what"] == "blender":
                o.say(f"{job.name}: Blender {one_line(event['version'])} on {one_line(event['device'])}")
            now = time.perf_counter()
            if event["what"] == "frame" and now - self.last > 10:
                self.last = now
                number = event["number"] + 1
                o.say(f"{job.name}: frame {number}/{job.description['frames']}, {event['seconds']:.1f} s each")

    def finished(self, job: Job, outcome: Outcome) -> None:
        """A video is written, or not."""
        from tapkit.generate.checks import table

        with self.lock:
            self.done += 1
            place = f"{self.done}/{self.total} {job.name}"
            if isinstance(outcome, TapkitError):
                o.say(f"{place}: {one_line(str(outcome))}")
            elif not outcome.passed:
                o.say(f"{place}: FAILED a check, is kept in {outcome.folder}")
                o.say("\n".join(f"    {line}" for line in table(outcome.checks)))
            elif not self.quiet:
                o.say(f"{place}: written to {outcome.folder}")
                o.say("\n".join(f"    {line}" for line in table(outcome.checks)))


def _draw(jobs: list[Job], path: Path) -> None:
    """A row for each video that is there."""
    from PIL import Image

    from tapkit import storage
    from tapkit.generate.preview import set_sheet

    if not jobs:
        return
    try:
        with storage.staged(path) as target:
            Image.fromarray(set_sheet([job.clip for job in jobs])).save(target)
    except ValueError as error:
        raise UsageError(f"cannot write the picture {path}: {error}") from error
    o.say(f"drew {len(jobs)} videos on {path}")


def _summary(
    chosen: list[Job], outcomes: list[Outcome], settings: GenerateSettings, out: Path, seconds: float, quiet: bool
) -> None:
    """Say what was written; raise for what was not."""
    errors = [each for each in outcomes if isinstance(each, TapkitError)]
    failed = [each for each in outcomes if not isinstance(each, TapkitError) and not each.passed]
    written = len(outcomes) - len(errors) - len(failed)
    kept = len(chosen) - len(outcomes)
    if not quiet:
        note = f" ({kept} were there already)" * bool(kept > 0)
        rate = f" in {seconds:.0f} s" * bool(written)
        width, height = settings.size
        o.say(f"wrote {written} videos of {settings.frames} frames, {width}x{height}, to {out}{note}{rate}")
    if len(errors) == 1 and len(outcomes) == 1:
        raise errors[0]
    if errors or failed:
        raise NotAllWritten(f"{len(errors) + len(failed)} of {len(outcomes)} videos were not written, see above")


class NotAllWritten(TapkitError):
    """Some videos failed."""
