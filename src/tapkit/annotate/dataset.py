"""A project as a benchmark: trackers can be evaluated on it, and it becomes a TAP-Vid pickle or a folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tapkit.datasets.base import Clip, Dataset

if TYPE_CHECKING:
    from tapkit.annotate.project import Project


class ProjectDataset(Dataset):
    """The clips of a project that have points: positions where these are visible are ground truth."""

    resolution = "native"

    def __init__(self, project: Project, user: int | None = None) -> None:
        self.name = project.name
        self._project, self._user = project, user
        clips = [clip for clip in project.clips(user) if clip.points]
        names = [clip.name for clip in clips]
        self._ids = {clip.name if names.count(clip.name) == 1 else f"{clip.name}-{clip.id}": clip.id for clip in clips}

    def names(self) -> Sequence[str]:
        """See `Dataset.names`."""
        return list(self._ids)

    def clip(self, name: str) -> Clip:
        """See `Dataset.clip`."""
        if name not in self._ids:
            raise self.unknown(name)
        number = self._ids[name]
        tracks = self._project.to_tracks(number, user=self._user)
        stamp = self._project.clip(number, self._user).content_hash
        return Clip(
            name, tracks.xy, tracks.visible_at(), tracks.video.size, lambda: self._project.source(number), stamp=stamp
        )
