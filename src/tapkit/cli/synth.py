"""`tapkit synth`: clips with exact tracks, in tapkit's folder format."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapkit.cli import options as o
from tapkit.cli.batch import Jobs, Ray, finish, run_fleet
from tapkit.cli.outputs import claim
from tapkit.errors import UsageError
from tapkit.parsing import parse_size

if TYPE_CHECKING:
    from tapkit.synth.batch import ClipMaker


def synth(
    out: Annotated[Path, typer.Argument(help="Folder for the clips: OUT/000000, OUT/000001, ...")],
    clips: Annotated[int, typer.Option("--clips", "-n", min=1, help="How many.")] = 10,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each.")] = 24,
    size: Annotated[str, typer.Option(metavar="WxH", help="Pixels.")] = "256x256",
    points: Annotated[int, typer.Option(min=1, help="Tracks of each.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of the first clip; clip i has seed + i.")] = 0,
    photos: Annotated[
        list[Path] | None, typer.Option(help="Folder of photographs. Repeatable. Default: procedural textures alone.")
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="Folder of GLB models (extra: synth). Default: built-in bodies.")
    ] = None,
    speed: Annotated[float, typer.Option(min=0.0, help="Factor on all motion.")] = 1.0,
    solids: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of clips with a body in perspective.")] = 0.25,
    animated: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of bodies that walk, swim or fly, where --models has some.")
    ] = 0.0,
    effects: Annotated[float, typer.Option(min=0.0, help="Strength of light, noise, blur, compression.")] = 1.0,
    kind: Annotated[str, typer.Option("--as", help="jpg, png or mp4.")] = "jpg",
    sheet: Annotated[Path | None, typer.Option(help="Also draw the clips with their tracks on one picture.")] = None,
    device: o.Device = "auto",
    jobs: Jobs = None,
    ray: Ray = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a --sheet that is there already.")] = False,
    quiet: o.Quiet = False,
) -> None:
    """Make clips whose tracks and visibility are known exactly.

    Layers of photographs or procedural textures move, turn, bend and hide each other, some with bodies in
    perspective; then light, blur, noise and compression. The same seed makes the same clips. Clips that are there
    already are kept, so a run that broke off can be repeated. Only use photographs whose licence allows it.
    """
    from tapkit.api import choose_device
    from tapkit.synth.batch import ClipMaker
    from tapkit.synth.config import SynthConfig
    from tapkit.synth.photos import PhotoBank
    from tapkit.synth.write import write_clips

    claim(sheet, inputs=photos or (), force=force)
    config = SynthConfig(
        frames=frames,
        size=parse_size(size),
        points=points,
        speed=speed,
        solids=solids,
        animated=animated,
        effects=effects,
    )
    if jobs is not None or ray is not None:
        if sheet is not None:
            raise UsageError("--sheet is drawn without --jobs and --ray: the same call then keeps the clips")
        from tapkit.fleet import Synthesising

        folders = tuple(str(folder.resolve()) for folder in photos or ())
        job = Synthesising(config, clips, seed, kind, folders, None if models is None else str(models.resolve()))  # type: ignore[arg-type]
        finish(run_fleet(job, str(out), jobs=jobs, ray=ray, device=device, quiet=quiet), None, False, quiet)
        return
    bank = PhotoBank.load(photos) if photos else None
    maker = ClipMaker(config, bank, choose_device(device), models)
    start = time.perf_counter()
    written = write_clips(maker, out, clips, seed, kind, None if quiet else _Rate(clips))  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    if not quiet:
        kept = clips - len(written)
        note = f" ({kept} were there already)" if kept else ""
        rate = (
            f": {len(written) / seconds:.2f} clips/s, {len(written) * frames / seconds:.1f} frames/s" if written else ""
        )
        o.say(f"wrote {len(written)} clips of {frames} frames, {size}, to {out}{note}{rate} on {maker.device}")
    if sheet is not None:
        _draw(maker, seed, min(clips, 8), sheet)


class _Rate:
    """A line every five seconds: how many clips, how fast."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.first = self.last = time.perf_counter()

    def __call__(self, folder: Path) -> None:
        self.done += 1
        now = time.perf_counter()
        if now - self.last > 5:
            self.last = now
            o.say(f"clip {self.done}/{self.total}, {self.done / (now - self.first):.2f} clips/s")


def _draw(maker: ClipMaker, seed: int, clips: int, path: Path) -> None:
    """One row of frames with tracks for each of the first clips."""
    from tapkit import storage
    from tapkit.synth.sheet import batch_sheet

    image = batch_sheet([maker.batch(1, seed + i) for i in range(clips)])
    from PIL import Image

    try:
        with storage.staged(path) as target:
            Image.fromarray(image).save(target)
    except ValueError as error:
        raise UsageError(f"cannot write the picture {path}: {error}") from error
    o.say(f"drew {clips} clips on {path}")
