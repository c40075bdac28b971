"""The motion plan: stages, each with points, where they were in the demonstrations, and what the gripper then does.

On disk a plan is a folder that can be read and edited: `plan.toml` with the numbers, `stage1.csv` with the points'
paths (demo, frame, point, x, y, visible), and two pictures for each path: `stage1_demo1.png`, on which its points
begin, and `stage1_demo1_end.png`, on which they end (it may be missing). The pictures stand for the features of the
published plan: any tracker makes its own from them.
"""

from __future__ import annotations

import csv
import io
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tapkit import storage
from tapkit.apps.servo.camera import Camera
from tapkit.apps.servo.control import Gains
from tapkit.errors import StorageError, UsageError

FORMAT = 1
GRIPS = ("close", "open", "none")


@dataclass(frozen=True, eq=False)
class Path2D:
    """Where a stage's points were in one demonstration, from the beginning of the stage to its end."""

    image: np.ndarray
    """[H,W,3] uint8: the first frame."""
    xy: np.ndarray
    """[T,n,2] float32 pixels."""
    visible: np.ndarray
    """[T,n] bool."""
    end: np.ndarray | None = None
    """[H,W,3] uint8: the last frame. Without it a stage ends by what was tracked from its first frame."""


@dataclass(frozen=True, eq=False)
class Stage:
    """Bring the points where they were when this stage ended in the demonstrations; then close or open the gripper."""

    paths: tuple[Path2D, ...]
    """One for each demonstration."""
    grip: str = "none"
    """"close", "open" or "none", when the points have arrived."""
    retreat: float = 0.0
    """Metres to go back along the view afterwards."""
    depth: float = 0.2
    """Metres from the camera to the points, roughly."""
    tolerance: float = 0.018
    """Of the picture's width: mean error at which the stage has arrived."""
    name: str = ""
    ignore: tuple[int, ...] = ()
    """Points that are not to be used, by their numbers in the table."""

    def __post_init__(self) -> None:
        if not self.paths:
            raise UsageError("a stage needs the points' path in at least one demonstration")
        counts = {path.xy.shape[1] for path in self.paths}
        if len(counts) > 1 or min(counts) < 3:
            raise UsageError(f"a stage needs the same 3 points or more in all demonstrations, got {sorted(counts)}")
        if self.grip not in GRIPS:
            raise UsageError(f"grip must be close, open or none, got {self.grip!r}")
        for name in ("retreat", "depth", "tolerance"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
                raise UsageError(f"{name} of a stage must be a number from 0 on, got {value!r}")
        if self.depth == 0 or self.tolerance == 0:
            raise UsageError("depth and tolerance of a stage must be larger than 0")
        if any(not (isinstance(p, int) and 0 <= p < self.points) for p in self.ignore):
            raise UsageError(f"ignore of a stage names points from 0 to {self.points - 1}, got {list(self.ignore)}")
        if self.points - len(set(self.ignore)) < 3:
            raise UsageError("a stage needs at least 3 points that are not ignored")

    @property
    def points(self) -> int:
        """How many there are, ignored ones included."""
        return int(self.paths[0].xy.shape[1])

    @property
    def used(self) -> np.ndarray:
        """[n] bool."""
        return ~np.isin(np.arange(self.points), self.ignore)


@dataclass(frozen=True)
class Plan:
    """What was learned: a camera, how hard to pull, and the stages in their order."""

    camera: Camera
    stages: tuple[Stage, ...]
    gains: Gains = field(default_factory=Gains)
    reach: float = 0.04
    """Of the picture's width: a frame of the path counts as reached at this mean error."""
    lookahead: int = 3
    """Frames of the path by which the goal is ahead of what was reached."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise UsageError("a plan needs at least one stage")
        if not (math.isfinite(self.reach) and self.reach > 0) or self.lookahead < 0:
            raise UsageError("reach must be positive and lookahead at least 0")
        for number, stage in enumerate(self.stages):
            for path in stage.paths:
                for image in (path.image, path.end):
                    if image is None or image.shape[1::-1] == (self.camera.width, self.camera.height):
                        continue
                    raise UsageError(
                        f"pictures of stage {number + 1} are {image.shape[1]}x{image.shape[0]}, the camera's "
                        f"{self.camera.width}x{self.camera.height}"
                    )

    def save(self, folder: str | Path) -> Path:
        """Write the folder, whole or not at all; one that is there is replaced. Raises `StorageError`."""
        with storage.atomic(folder) as partial:
            storage.make_folder(partial)
            (partial / "plan.toml").write_text(_toml(self), encoding="utf-8")
            for number, stage in enumerate(self.stages, 1):
                (partial / f"stage{number}.csv").write_text(_table(stage), encoding="utf-8")
                for demo, path in enumerate(stage.paths, 1):
                    Image.fromarray(path.image).save(partial / f"stage{number}_demo{demo}.png")
                    if path.end is not None:
                        Image.fromarray(path.end).save(partial / f"stage{number}_demo{demo}_end.png")
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Plan:
        """Read a folder as `save` writes it. Raises `StorageError` for what is not there or damaged, `UsageError` for
        numbers that mean nothing."""
        return _read(Path(folder))


# -- writing ---------------------------------------------------------------------------------------

_HELP = {
    "gain": "share of the error to remove per second",
    "law": "auto, least-squares or matching",
    "near": "share of the width below which auto takes least squares",
    "fastest": "m/s across the view",
    "fastest_approach": "m/s along the view",
    "fastest_turn": "rad/s",
    "retreat": "metres back along the view after the gripper has acted",
    "depth": "metres from the camera to the points, roughly",
    "tolerance": "share of the picture's width: the stage has arrived below it",
    "ignore": "numbers of points (see the table) that are not to be used",
    "focal": "pixels",
}


def _toml(plan: Plan) -> str:
    lines = ["# A plan for tapkit servo: edit numbers, leave out stages, ignore points.", f"format = {FORMAT}"]
    lines += [f"reach = {plan.reach}", f"lookahead = {plan.lookahead}", "", "[camera]"]
    lines += _lines(asdict(plan.camera)) + ["", "[gains]"] + _lines(asdict(plan.gains))
    for number, stage in enumerate(plan.stages, 1):
        lines += ["", "[[stage]]", f"# {stage.points} points in {len(stage.paths)} demonstrations: stage{number}.csv"]
        lines += [f"files = {_value(f'stage{number}')}"]
        kept = {f.name: getattr(stage, f.name) for f in fields(stage) if f.name != "paths"}
        lines += _lines(kept)
    return "\n".join(lines) + "\n"


def _lines(values: Mapping[str, Any]) -> list[str]:
    return [f"{k} = {_value(v)}" + (f"  # {_HELP[k]}" if k in _HELP else "") for k, v in values.items()]


def _value(value: Any) -> str:
    """A number, a text or a list of numbers in TOML."""
    if isinstance(value, str):
        escaped = "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or c in '"\\' or ord(c) == 127 else c for c in value)
        return f'"{escaped}"'
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)


def _table(stage: Stage) -> str:
    out = io.StringIO()
    out.write("demo,frame,point,x,y,visible\n")
    for demo, path in enumerate(stage.paths, 1):
        for frame, (xy, visible) in enumerate(zip(path.xy, path.visible, strict=True)):
            for point, ((x, y), seen) in enumerate(zip(xy.tolist(), visible.tolist(), strict=True)):
                out.write(f"{demo},{frame},{point},{x:.2f},{y:.2f},{int(seen)}\n")
    return out.getvalue()


# -- reading ---------------------------------------------------------------------------------------


def _read(folder: Path) -> Plan:
    place = folder / "plan.toml"
    storage.check_file(place)
    try:
        content = tomllib.loads(place.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StorageError(f"{place} is not TOML: {storage.cause(error)}") from error
    except OSError as error:
        raise StorageError(f"cannot read {place}: {storage.reason(error)}") from error
    if content.pop("format", None) != FORMAT:
        raise StorageError(f"{place} is not a plan that this version reads: it must say format = {FORMAT}")
    stages = content.pop("stage", [])
    camera, gains = content.pop("camera", {}), content.pop("gains", {})
    if not isinstance(stages, list) or not all(isinstance(each, dict) for each in stages):
        raise UsageError(f"in {place} every stage begins with the line [[stage]]")
    made = [_stage(folder, place, number, dict(each)) for number, each in enumerate(stages, 1)]
    plan: Plan = _made(
        Plan, place, "the plan", content, camera=_made(Camera, place, "camera", camera),
        gains=_made(Gains, place, "gains", gains), stages=tuple(made),
    )  # fmt: skip
    return plan


def _made(kind: type, place: Path, what: str, values: Any, **more: Any) -> Any:
    """An object of that class from what the file says; what it does not know is said."""
    if not isinstance(values, dict):
        raise UsageError(f"{what} in {place} must be a table of names and values")
    known = {f.name for f in fields(kind)} - set(more)
    for name in values:
        if name not in known:
            from tapkit.errors import did_you_mean

            raise UsageError(f"{place} says {name!r} in {what}, which is not known{did_you_mean(name, known)}")
    numbers = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    try:
        return kind(**numbers, **more)
    except UsageError as error:
        raise UsageError(f"{what} in {place}: {error}") from error
    except TypeError as error:
        raise UsageError(f"{what} in {place} is not complete, or has a value of another kind: {error}") from error


def _stage(folder: Path, place: Path, number: int, values: dict[str, Any]) -> Stage:
    name = values.pop("files", f"stage{number}")
    if not isinstance(name, str) or Path(name).name != name:
        raise UsageError(f"files of stage {number} in {place} must be the beginning of file names, got {name!r}")
    found: Stage = _made(Stage, place, f"stage {number}", values, paths=_paths(folder, name))
    return found if found.name else replace(found, name=name)


def _paths(folder: Path, name: str) -> tuple[Path2D, ...]:
    table = folder / f"{name}.csv"
    storage.check_file(table)
    try:
        with table.open(newline="", encoding="utf-8") as file:
            columns = ("demo", "frame", "point", "x", "y", "visible")
            rows = np.array([[float(row[c]) for c in columns] for row in csv.DictReader(file)])
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise StorageError(
            f"{table} must be a table of numbers with the columns demo, frame, point, x, y, visible"
        ) from error
    except OSError as error:
        raise StorageError(f"cannot read {table}: {storage.reason(error)}") from error
    if not len(rows) or not np.isfinite(rows).all() or rows.min(initial=0) < -1e5:
        raise StorageError(f"{table} has no rows, or numbers that mean nothing")
    points = int(rows[:, 2].max()) + 1
    return tuple(_path(folder, name, int(demo), rows[rows[:, 0] == demo], points) for demo in np.unique(rows[:, 0]))


def _path(folder: Path, name: str, demo: int, rows: np.ndarray, points: int) -> Path2D:
    frames, numbers = rows[:, 1].astype(int), rows[:, 2].astype(int)
    length = int(frames.max()) + 1
    if frames.min() < 0 or numbers.min() < 0 or len(rows) != length * points:
        raise StorageError(
            f"{name}.csv has {len(rows)} rows of demonstration {demo}: {points} points on {length} frames are "
            f"{length * points}"
        )
    xy, visible = np.zeros((length, points, 2), np.float32), np.zeros((length, points), bool)
    xy[frames, numbers], visible[frames, numbers] = rows[:, 3:5], rows[:, 5] > 0.5
    image = _picture(folder / f"{name}_demo{demo}.png")
    last = folder / f"{name}_demo{demo}_end.png"
    return Path2D(image, xy, visible, _picture(last) if last.exists() else None)


def _picture(place: Path) -> np.ndarray:
    """[H,W,3] uint8."""
    storage.check_file(place)
    with storage.reading(place, "a picture"):
        return np.asarray(Image.open(place).convert("RGB"))
