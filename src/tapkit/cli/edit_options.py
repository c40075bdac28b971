"""Options that the edits share, and what they do before and after: files claimed, footage opened, progress shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import typer

from tapkit.cli import footage as f
from tapkit.cli import options as o
from tapkit.cli.outputs import claim, present
from tapkit.errors import UsageError

if TYPE_CHECKING:
    from tapkit.apps.edit import Settings
    from tapkit.video.base import Source

Video = Annotated[str, typer.Argument(help="Video file, folder or pattern of images.")]
Output = Annotated[
    Path,
    typer.Argument(
        help="Where to: .mp4, .webm, .prores.mov (10 bits), or out/%05d.png, .tif, .exr (16 bits and floats)."
    ),
]
OnFrame = Annotated[int, typer.Option("--frame", min=0, help="Frame on which it is marked.")]
At = Annotated[
    list[str] | None,
    typer.Option("--at", metavar="X,Y", help="Middle of the picture; twice: middles of its left and right edge."),
]
Quad = Annotated[
    str | None,
    typer.Option(
        "--quad", metavar="X,Y,X,Y,X,Y,X,Y", help="Four corners: upper left, upper right, lower right, lower left."
    ),
]
Mask = Annotated[Path | None, typer.Option("--mask", help="Image whose non-black pixels are meant, on --frame.")]
Follow = Annotated[
    Literal["auto", "position", "similarity", "affine", "perspective", "mesh"],
    typer.Option(help="How it moves: the simplest that explains the points; or that one; mesh bends."),
]
Tracks = Annotated[
    Path | None, typer.Option("--tracks", help="Tracks of the video (.npz, .zarr, .csv), instead of tracking.")
]
Shutter = Annotated[float, typer.Option(help="Motion blur: degrees that the shutter is open; 180 is usual.")]
Adapt = Annotated[bool, typer.Option("--adapt", help="Let it take part in changes of the light.")]
Linear = Annotated[
    bool, typer.Option("--linear-light/--stored-light", help="Composite in linear light, or in the values as stored.")
]
Resampling = Annotated[
    Literal["bicubic", "lanczos"],
    typer.Option(help="How pixels are read between pixels: lanczos is sharper, rings more, and takes longer."),
]
Occlusion = Annotated[
    Literal["sharp", "soft", "none"],
    typer.Option(help="What passes in front: found in the picture; fading where points are hidden; ignored."),
]
Refine = Annotated[bool, typer.Option("--refine", help="Align each position to a fraction of a pixel.")]
Check = Annotated[bool, typer.Option("--check", help="Track back as well, and trust less what does not return.")]
Smooth = Annotated[float, typer.Option(min=0, help="Smooth the paths of the corners: sigma in frames; 0: not at all.")]
Pins = Annotated[
    Path | None,
    typer.Option("--pins", help="CSV file t,x,y,id: where corners (0 to 3) or points really are on some frames."),
]


def numbers(name: str, text: str | None, count: int) -> list[float] | None:
    """`count` numbers with commas between them. Raises `UsageError`."""
    if text is None:
        return None
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count:
        raise UsageError(f"{name} takes {count} numbers with commas between them, got {text!r}")
    return found


def pairs(name: str, text: str) -> list[tuple[float, float]]:
    """x,y,x,y,... as pairs. Raises `UsageError` unless there are three at least."""
    count = text.count(",") + 1
    if count < 6 or count % 2:
        raise UsageError(f"{name} takes x,y for each vertex, three of them at least, got {text!r}")
    found = numbers(name, text, count)
    assert found is not None
    return list(zip(found[::2], found[1::2], strict=True))


def read_quad(text: str) -> list[float]:
    """The eight numbers of --quad. Raises `UsageError`."""
    found = numbers("--quad", text, 8)
    assert found is not None
    return found


def anchor(at: list[str] | None, quad: str | None, mask: Path | None) -> dict[str, Any]:
    """Where a picture goes, as `attach_sticker` takes it. Raises `UsageError`."""
    if sum(part is not None for part in (at or None, quad, mask)) != 1:
        raise UsageError("say where the picture goes: --at (once or twice), --quad or --mask")
    if at:
        if len(at) > 2:
            raise UsageError(f"--at is given once or twice, not {len(at)} times; four corners are --quad")
        places = [numbers("--at", text, 2) for text in at]
        return {"point": places[0]} if len(places) == 1 else {"line": places}
    return {"quad": numbers("--quad", quad, 8), "mask": o.read_mask(mask)}


def pin_format(output: Path, to: str | None, frame: int) -> tuple[str | None, dict[str, Any]]:
    """The format of corner curves, None for tracks of tapkit's own; and its settings. Raises `UsageError`."""
    ending = output.suffix.lower()
    if to is None and ending in (".npz", ".zarr", ".parquet"):
        return None, {}
    if to is None:
        to = {".nk": "nuke-cornerpin", ".txt": "ae"}.get(ending)
    from tapkit.export import library

    form = library.by_suffix(output) if to is None else library.find(to, output)
    own: dict[str, Any] = {"block": "corner-pin"} if "block" in form.options else {}
    if "corners" in form.options:
        own["corners"] = "ul,ur,lr,ll"
    if "reference" in form.options:
        own["reference"] = frame
    return form.name, own


class Job:
    """One edit, as a context manager: what it may write is claimed first, and said in the end."""

    def __init__(
        self,
        video: str,
        output: Path | None,
        read: Iterable[str | Path | None],
        force: bool,
        quiet: bool,
        *,
        files: Iterable[Path | None] = (),
        folders: Iterable[Path | None] = (),
        sequences: Iterable[Path | None] = (),
    ) -> None:
        self._video, self._quiet = video, quiet
        self._files, self._folders, self._sequences = list(files), list(folders), list(sequences)
        f.present_video(video)
        present(*read)
        self._output = output
        claim(
            *self._files, videos=[output, *self._sequences], folders=self._folders, inputs=[video, *read], force=force
        )
        self._stack = ExitStack()
        self.progress: Callable[[Any], object] | None = None
        self.report: Callable[[int, int | None], object] | None = None

    def __enter__(self) -> Self:
        return self

    def open(
        self, start: int | None, end: int | None, step: int, value_range: str | None, stream: int | None
    ) -> Source:
        """The footage; from now on progress is shown."""
        from tapkit.engine.control import Progress

        source = self._stack.enter_context(f.open_footage(self._video, start, end, step, value_range, stream))
        if source.live:
            raise UsageError("edits need a video file or a sequence: a camera or a stream cannot be read twice")
        show = self._stack.enter_context(o.progress_of("working", self._quiet))
        if show is not None:
            self.progress = show
            self.report = lambda done, total: show(Progress(done, total, 0, "writing", 0.0, done - 1))
        return source

    def settings(
        self,
        follow: str,
        tracks: Path | None,
        pins: Path | None,
        refine: bool,
        check: bool,
        smooth: float,
        model: str,
        weights: Path | None,
        device: str,
        option: list[str] | None,
    ) -> Settings:
        """What the options say of how a region is followed; the tracker is loaded only if it is needed."""
        from tapkit.apps.edit import Settings, read_pins
        from tapkit.types import Tracks

        stored = None if tracks is None else Tracks.load(tracks)
        tracker: Any = model
        if stored is None or check:
            tracker = o.load_tracker(model, weights, device, option, self._quiet)
        known = [] if pins is None else read_pins(str(pins))
        return Settings(follow, stored, tracker, device, None, refine, check, smooth, tuple(known))

    def say(self, text: str) -> None:
        """A line for people."""
        if not self._quiet:
            o.say(text)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, value, trace)
        if kind is None and not self._quiet:
            for path in (*self._files, self._output, *self._folders, *self._sequences):
                if path is not None:
                    print(path)
