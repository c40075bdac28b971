"""The `tapkit` command: one file for each subcommand, imported only when that one is used, so that --help is quick.

Exit codes: 0 done; 1 failed; 2 bad usage (options, points, shapes); 3 the video; 4 the weights; 5 an extra is not
installed; 6 a file could not be written or read; 7 the memory budget; 130 interrupted with Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

# Name -> (module, attribute, one-line help). The attribute is a function for typer, or a typer.Typer.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "track": ("tapkit.cli.track", "track", "Track points through a video; write tracks and an overlay."),
    "batch": ("tapkit.cli.batch", "batch", "Track points through many videos: processes, shards, a Ray cluster."),
    "retrack": ("tapkit.cli.retrack", "retrack", "Track again only what lies next to corrected positions."),
    "dense": ("tapkit.cli.dense", "dense", "Track every pixel of a frame through a video."),
    "flow": ("tapkit.cli.flow", "flow", "Optical flow between frames: .flo, KITTI PNG, EXR, colours."),
    "live": ("tapkit.cli.live", "live", "Track on a camera, a stream or a file as it plays."),
    "draw": ("tapkit.cli.draw", "draw", "Draw stored tracks over their video."),
    "show": ("tapkit.cli.show", "show", "Look at stored tracks in a viewer or the browser; writes no file."),
    "studio": ("tapkit.cli.studio", "studio", "Place, watch, correct and hand on points in a browser."),
    "objects": ("tapkit.cli.objects", "objects", "Follow objects: boxes get identities, by points inside them."),
    "project": ("tapkit.cli.project", "project_app", "Annotation projects: clips, points, corrections, teams."),
    "servo": ("tapkit.cli.servo", "servo_app", "Show a robot arm a task a few times; it repeats it by tracked points."),
    "camera": ("tapkit.cli.camera", "camera", "Find where the camera was on every frame, and where points are."),
    "edit": ("tapkit.cli.edit", "edit_app", "Edits that follow points: stickers, pins, stabilising."),
    "plot": ("tapkit.cli.plot", "plot", "Plot positions, speeds and confidence over time, or paths."),
    "stats": ("tapkit.cli.stats", "stats", "Distances, speeds, visibility and jumps of each point."),
    "models": ("tapkit.cli.models", "models", "List the trackers: licence, speed class, published numbers, weights."),
    "info": ("tapkit.cli.info", "info", "What is known of a video or of stored tracks."),
    "bench": ("tapkit.cli.bench", "bench", "Measure speed and memory of trackers on this machine."),
    "eval": ("tapkit.cli.eval", "evaluate", "Measure accuracy on a benchmark."),
    "train": ("tapkit.cli.train", "train", "Train a tracker, or fine-tune it on your own clips."),
    "fit": ("tapkit.cli.fit", "fit", "Fit OmniMotion, CaDeX++ or DINO-Tracker to a video."),
    "synth": ("tapkit.cli.synth", "synth", "Make clips with exact tracks, for training and tests."),
    "generate": ("tapkit.cli.generate", "generate", "Render scenes with exact tracks, through Blender."),
    "pseudo-label": (
        "tapkit.cli.pseudo_label",
        "pseudo_label",
        "Make clips to train on from videos without annotation.",
    ),
    "data": ("tapkit.cli.data", "data_app", "Check and convert datasets."),
    "export": ("tapkit.cli.export", "export", "Write tracks for another program."),
    "import": ("tapkit.cli.import_", "import_tracks", "Read tracks that another program wrote."),
    "export-model": ("tapkit.cli.export_model", "export_model", "Write a tracker as ONNX graphs."),
    "partial": ("tapkit.cli.partial", "partial_app", "List and clear what interrupted runs have left."),
    "weights": ("tapkit.cli.weights", "weights_app", "Fetch, convert, check and average weights."),
}


_ClickException: Any = next(each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException")
"""What a wrong option or argument raises, of the click that typer uses: a package of its own, or part of typer."""


class LazyGroup(TyperGroup):
    """Knows the names and one-line helps of all commands without importing them.

    Everything here comes through typer, whose newer versions have a click of their own: objects of the two do not mix.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        found: Any = getattr(import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            app = typer.Typer(add_completion=False, rich_markup_mode=None)
            app.command(name=cmd_name)(found)
            found = app
        command: Any = get_command(found)
        command.name = cmd_name
        for each in (command, *getattr(command, "commands", {}).values()):
            each.help = _keep_examples(each.help or "")
            each.parse_args = _told_with_usage(each.parse_args)
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS:
            from tapkit.errors import did_you_mean

            ctx.fail(f"there is no command {args[0]!r}{did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


def _told_with_usage(parse: Callable[[Any, list[str]], Any]) -> Callable[[Any, list[str]], Any]:
    """The same, whose errors know of which command they are, so that its usage is shown with all of them."""

    def parse_args(ctx: Any, args: list[str]) -> Any:
        try:
            return parse(ctx, args)
        except _ClickException as error:
            if getattr(error, "ctx", None) is None:
                error.ctx, error.cmd = ctx, ctx.command
            raise

    return parse_args


def _keep_examples(text: str) -> str:
    """Paragraphs that are command lines are marked to be left as they are (a line of backslash-b, in click)."""
    paragraphs = text.split("\n\n")
    lines = [[line.strip() for line in paragraph.strip("\n").splitlines()] for paragraph in paragraphs]
    return "\n\n".join(
        "\b\n" + "\n".join("  " + line for line in own) if own and all(x.startswith("tapkit ") for x in own) else whole
        for whole, own in zip(paragraphs, lines, strict=True)
    )


def _version(ctx: typer.Context, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from tapkit._version import __version__

        typer.echo(f"tapkit {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", is_eager=True, help="Show the traceback of an error.")] = False,
) -> None:
    """Tracking Any Point: where is each point in every frame, is it visible, and how sure are we?"""


def _app() -> Any:
    root = typer.Typer(
        cls=LazyGroup,
        add_completion=False,
        rich_markup_mode=None,
        no_args_is_help=True,
        epilog="tapkit COMMAND --help says more. Exit codes: 0 done, 1 failed, 2 usage, 3 video, 4 weights, 5 missing "
        "extra, 6 file, 7 memory budget, 130 Ctrl-C.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    root.callback()(_root)
    return get_command(root)


app = _app()
"""The command as typer's kind of click group."""

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; errors are one sentence unless --debug is among the arguments."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    from tapkit.errors import StorageError, TapkitError, one_line

    _show_warnings_plainly()
    try:
        code = app.main(arguments, prog_name="tapkit", standalone_mode=False)
        code = code if isinstance(code, int) else 0
        if code == _INTERRUPTED:  # what newer typers make of Ctrl-C
            raise KeyboardInterrupt
        sys.exit(code)
    except _ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except typer.Exit as error:
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print("tapkit: interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except TapkitError as error:
        if debug:
            raise
        print(f"tapkit: {one_line(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        if debug:
            raise
        from tapkit.storage import reason

        name = f"{str(error.filename)[:200]}: " if error.filename else ""
        print(f"tapkit: {one_line(name + reason(error))}", file=sys.stderr)
        sys.exit(StorageError.exit_code)
    except Exception as error:
        if debug:
            raise
        text = one_line(f"{type(error).__name__}: {str(error)[:300]}")
        print(f"tapkit: {text} (tapkit --debug ... shows where)", file=sys.stderr)
        sys.exit(1)


def _show_warnings_plainly() -> None:
    import warnings

    from tapkit.errors import one_line

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        print(f"tapkit: warning: {one_line(str(message))}", file=sys.stderr)

    warnings.showwarning = show


if __name__ == "__main__":
    main()
