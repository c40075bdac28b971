"""Synthetic clips as a task: each clip is made from its seed alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tapkit.fleet.task import Do, Facts, Item, Tell

if TYPE_CHECKING:
    from tapkit.synth.config import SynthConfig


@dataclass(frozen=True)
class Synthesising:
    """A `Task`: make `clips` clips with exact tracks, as `tapkit synth` does; clip i is in the folder SEED + i.

    fleet.run(fleet.Synthesising(SynthConfig(frames=24), clips=10_000), "clips", jobs=8)
    """

    config: SynthConfig
    clips: int
    seed: int = 0
    kind: Literal["jpg", "png", "mp4"] = "jpg"
    photos: tuple[str, ...] = ()
    """Folders of photographs, the same on all machines."""
    models: str | None = None
    """Folder of GLB models."""

    def identity(self) -> Mapping[str, Any]:
        """See `Task.identity`. Not how many: a set can be made larger."""
        return {
            "kind": "synth", "config": asdict(self.config), "as": self.kind, "photos": list(self.photos),
            "models": self.models,
        }  # fmt: skip

    def items(self) -> Iterable[Item]:
        """See `Task.items`."""
        return (Item(f"{number:06d}", str(number)) for number in range(self.seed, self.seed + self.clips))

    def result(self, name: str) -> str:
        """See `Task.result`."""
        from tapkit.datasets.folder import TRACKS

        return f"{name}/{TRACKS}"

    def ready(self, device: str) -> Do:
        """See `Task.ready`."""
        from tapkit.api import choose_device
        from tapkit.synth.batch import ClipMaker
        from tapkit.synth.photos import PhotoBank
        from tapkit.synth.write import write_batch

        bank = PhotoBank.load(list(self.photos)) if self.photos else None
        maker = ClipMaker(self.config, bank, choose_device(device), self.models)

        def make(item: Item, folder: Path, tell: Tell) -> Facts:
            seed = int(item.source)
            write_batch(folder / item.name, maker.batch(1, seed), self.kind, seed)
            return {"points": self.config.points, "frames": self.config.frames}

        return make
