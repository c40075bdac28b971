"""Pseudo-labels as a task: each video is labelled by itself; the report is made of all afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapkit import storage
from tapkit.fleet.places import fetched
from tapkit.fleet.task import Do, Facts, Item, Tell

if TYPE_CHECKING:
    from tapkit.train.pseudo.options import LabelOptions


@dataclass(frozen=True)
class Labelling:
    """A `Task`: clips to train on from videos without annotation, as `tapkit pseudo-label` makes them.

    fleet.run(fleet.Labelling(fleet.Videos(["takes/"]), LabelOptions(("strand", "tapir"))), "labelled", jobs=4)
    """

    videos: Iterable[Item]
    """See `tapkit.fleet.Videos`."""
    options: LabelOptions
    """See `tapkit.train.pseudo.options`. The device is chosen by the run."""

    def identity(self) -> Mapping[str, Any]:
        """See `Task.identity`. Not how many pieces: more of them can be labelled later."""
        return {"kind": "pseudo-labels", **self.options.identity()}

    def items(self) -> Iterable[Item]:
        """See `Task.items`. Clips are called by the file's name alone."""
        return (Item(storage.file_name(Path(item.source).name), item.source) for item in self.videos)

    def result(self, name: str) -> str:
        """See `Task.result`."""
        from tapkit.train.pseudo.dataset import record_file

        return record_file(Path(), f"{name}-{self.options.pieces - 1:02d}").as_posix()

    def ready(self, device: str) -> Do:
        """See `Task.ready`."""
        from tapkit.train.pseudo import dataset
        from tapkit.train.pseudo.label import label_video
        from tapkit.train.pseudo.teachers import Committee

        options = replace(self.options, device=device)
        committee = Committee(options)
        committee.load()

        def label(item: Item, folder: Path, tell: Tell) -> Facts:
            dataset.claim(folder, options)
            with fetched(item.source, folder) as path:
                report = label_video(path, folder, options, committee)
            return {
                "clips": report.kept,
                "frames": sum(piece.get("frames", 0) for piece in report.pieces),
                "points": sum(piece.get("asked", 0) for piece in report.pieces),
            }

        return label
