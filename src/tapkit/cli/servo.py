"""`tapkit servo`: a robot arm learns a task from demonstrations seen by the camera on its gripper, and repeats it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tapkit.cli import options as o
from tapkit.cli.outputs import Force, claim, present
from tapkit.errors import UsageError
from tapkit.registry import DEFAULT

if TYPE_CHECKING:
    from tapkit.apps.servo import LearnOptions, Plan

servo_app = typer.Typer(
    add_completion=False, rich_markup_mode=None, no_args_is_help=True, help="Learn and repeat a task of a robot arm."
)

Draw = Annotated[
    Literal["ends", "everywhere"],
    typer.Option(
        help="Draw points where stages end, tracked backwards; or, as published, on all frames, tracked forwards."
    ),
]
Clustering = Annotated[
    Literal["planar", "rigid"],
    typer.Option(help="Objects by similarities of the picture; or by the published model of bodies (minutes)."),
]
Points = Annotated[int, typer.Option(min=1, help="Points drawn on each picture.")]
Every = Annotated[int, typer.Option("--every", min=1, help="Use every n-th frame of the demonstrations.")]


@servo_app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("servo-demo"),
    plan: Annotated[
        Path | None, typer.Option("--plan", help="A plan's folder, perhaps edited: nothing is then learned.")
    ] = None,
    demos: Annotated[int, typer.Option(min=2, help="Demonstrations to learn from.")] = 5,
    scenes: Annotated[int, typer.Option(min=1, help="New scenes to try it in.")] = 3,
    distractors: Annotated[int, typer.Option(min=0, max=4, help="Other boxes in each of them.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the scenes.")] = 0,
    size: Annotated[int, typer.Option(min=64, help="Side of the camera's pictures.")] = 256,
    films: Annotated[bool, typer.Option("--films/--no-films", help="Write a video of every scene.")] = True,
    draw: Draw = "ends",
    clustering: Clustering = "planar",
    points: Points = 48,
    every: Every = 2,
    model: o.Model = DEFAULT,
    weights: o.Weights = None,
    device: o.Device = "auto",
    option: o.Option = None,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """A simulated arm (MuJoCo) is shown how to put a box on a pad, makes a plan of it, and repeats it in new scenes.

    The plan is written as files that can be read and edited; --plan carries such a plan out. Needs the extra `robot`.

    tapkit servo demo --scenes 1

    tapkit servo demo --plan servo-demo/plan --scenes 20 --no-films -o again
    """
    import json

    from tapkit.apps.servo import Plan
    from tapkit.apps.servo.sim.demo import Demo
    from tapkit.storage import make_folder, write_text

    claim(folders=[output], inputs=[plan, weights], force=force)
    settings = _settings(draw, clustering, points, every, seed)
    known = None if plan is None else Plan.load(plan)
    acting = Demo(size if known is None else known.camera.width, demos, distractors, seed)
    acting.check()
    tracker = o.load_tracker(model, weights, device, option, quiet)
    make_folder(output)
    if known is None:
        with o.progress_of("demonstrations", quiet) as progress:
            acting.record(output, _counted(progress, "demonstrations"))
        with o.progress_of("learning", quiet) as progress:
            known = acting.learn(tracker, settings, _counted(progress, "learning"))
        known.save(output / "plan")
        if not quiet:
            o.say(_about(known))
    rows: list[dict[str, Any]] = []
    for number in range(1, scenes + 1):
        trial = acting.attempt(known, tracker, number, output / f"scene{number}.mp4" if films else None)
        rows.append(acting.row(number, trial))
        write_text(output / "scenes.json", json.dumps(rows, indent=1) + "\n")
        if not quiet:
            o.say(acting.line(number, trial))
    if not quiet:
        o.say(f"{sum(row['success'] for row in rows)} of {len(rows)} scenes")
        print(output)


@servo_app.command()
def learn(
    videos: Annotated[
        list[str], typer.Argument(help="Videos of the gripper's camera, each with VIDEO.gripper.csv beside it.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the plan.")] = Path("plan"),
    focal: Annotated[float | None, typer.Option(help="The camera's focal length, pixels. [0.65 x the width]")] = None,
    fps: Annotated[float, typer.Option(help="Control steps per second.")] = 15.0,
    draw: Draw = "ends",
    clustering: Clustering = "planar",
    points: Points = 48,
    every: Every = 2,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the points.")] = 0,
    model: o.Model = DEFAULT,
    weights: o.Weights = None,
    device: o.Device = "auto",
    option: o.Option = None,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Make a plan of recorded demonstrations: stages, the points that matter in each, and where they go.

    VIDEO.gripper.csv has frame and closed (0 or 1), and perhaps height (metres); a row holds until the next.

    tapkit servo learn take1.mp4 take2.mp4 take3.mp4 take4.mp4 -o plan --focal 610
    """
    from tapkit.apps.servo import Camera, read_demonstration
    from tapkit.apps.servo import learn as learn_plan

    settings = _settings(draw, clustering, points, every, seed)
    tables = [Path(video).with_suffix(".gripper.csv") for video in videos]
    present(*videos, *tables)
    claim(folders=[output], inputs=[*videos, *tables, weights], force=force)
    shown = [read_demonstration(video) for video in videos]
    height, width = shown[0].size
    camera = Camera(width, height, 0.65 * width if focal is None else focal, fps)
    tracker = o.load_tracker(model, weights, device, option, quiet)
    with o.progress_of("learning", quiet) as progress:
        plan = learn_plan(shown, tracker, camera, settings, _counted(progress, "learning"))
    plan.save(output)
    if not quiet:
        o.say(_about(plan))
        print(output)


@servo_app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="A plan's folder.")],
    picture: Annotated[Path | None, typer.Option(help="Draw the points and their ways: .png, .webp, .jpg.")] = None,
    force: Force = False,
) -> None:
    """Read a plan, such as one that was edited, and say what it does.

    tapkit servo show servo-demo/plan --picture plan.png
    """
    from tapkit.apps.servo import Plan

    if picture is not None and picture.suffix.lower() not in (".png", ".webp", ".jpg", ".jpeg"):
        raise UsageError(f"--picture takes a .png, .webp or .jpg, got {picture}")
    claim(picture, inputs=[folder], force=force)
    plan = Plan.load(folder)
    print(_about(plan))
    if picture is not None:
        from PIL import Image

        from tapkit.apps.servo.drawing import draw_plan
        from tapkit.storage import atomic

        kind = {".jpg": "JPEG", ".jpeg": "JPEG"}.get(picture.suffix.lower(), picture.suffix[1:].upper())
        with atomic(picture) as partial, partial.open("wb") as file:
            Image.fromarray(draw_plan(plan)).save(file, kind)
        print(picture)


def _settings(draw: Any, clustering: Any, points: int, every: int, seed: int) -> LearnOptions:
    from tapkit.apps.servo import LearnOptions

    return LearnOptions(draw, clustering, step=every, points=points, seed=seed)


def _counted(progress: Any, stage: str) -> Any:
    """A bar as a function of how much is done, and of how much there is."""
    from tapkit.engine.control import Progress

    if not progress:
        return None
    return lambda done, total: progress(Progress(done, total, 0, stage))


def _about(plan: Plan) -> str:
    lines = []
    for number, stage in enumerate(plan.stages, 1):
        then = "" if stage.grip == "none" else f", then {stage.grip}"
        back = f", back {100 * stage.retreat:.0f} cm" if stage.retreat else ""
        used = int(stage.used.sum())
        ways = f"{len(stage.paths)} demonstration" + ("s" if len(stage.paths) > 1 else "")
        lines.append(f"stage {number}: {used} points along {ways}{then}{back}")
    return "\n".join(lines)
