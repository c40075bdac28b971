"""Rendered videos as a task: each is made from its number alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapkit.errors import TapkitError
from tapkit.fleet.task import Do, Facts, Item, Tell

if TYPE_CHECKING:
    from tapkit.generate.settings import GenerateSettings


@dataclass(frozen=True)
class Generating:
    """A `Task`: render `count` videos with exact tracks, as `tapkit generate` does.

    fleet.run_on_ray(fleet.Generating(GenerateSettings(threads=8), 1000), "s3://bucket/scenes", cpus=8)

    Every machine needs Blender, and the folder of assets under the same path.
    """

    settings: GenerateSettings
    count: int
    kinds: tuple[str, ...] = ("outdoor", "indoor", "animals", "toys", "ego")
    seed: int = 0

    def identity(self) -> Mapping[str, Any]:
        """See `Task.identity`. Not how many: a set can be made larger."""
        settings = {k: v for k, v in asdict(self.settings).items() if k not in ("device", "threads")}
        return {"kind": "generate", "kinds": list(self.kinds), **settings}

    def items(self) -> Iterable[Item]:
        """See `Task.items`."""
        numbers = range(self.seed, self.seed + self.count)
        return (Item(f"{self.kinds[number % len(self.kinds)]}_{number:06d}", str(number)) for number in numbers)

    def result(self, name: str) -> str:
        """See `Task.result`."""
        from tapkit.datasets.folder import TRACKS

        return f"{name}/{TRACKS}"

    def ready(self, device: str) -> Do:
        """See `Task.ready`. The device is that of the settings: Blender has its own names for them."""
        from tapkit.generate.batch import plan
        from tapkit.generate.checks import table
        from tapkit.generate.program import find_blender
        from tapkit.generate.video import make_video

        blender = find_blender()

        def render(item: Item, folder: Path, tell: Tell) -> Facts:
            (job,) = plan(self.kinds, 1, int(item.source), folder, self.settings)

            def told(event: dict[str, Any]) -> None:
                if event["what"] == "frame":
                    tell(event["number"] + 1)

            result = make_video(job, blender, told)
            if not result.passed:
                failed = [check for check in result.checks if not check.passed]
                raise TapkitError(f"it failed a check: {'; '.join(table(failed))}")
            return {"frames": self.settings.frames, "points": self.settings.points}

        return render
