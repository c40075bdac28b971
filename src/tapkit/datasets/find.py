"""Which benchmark is it? By name or by what lies in the folder."""

from __future__ import annotations

from pathlib import Path

from tapkit.datasets.base import Dataset
from tapkit.datasets.folder import FolderDataset
from tapkit.datasets.tiny import TinyDataset


def open_dataset(where: str | Path) -> Dataset:
    """The benchmark at `where`."""
    if str(where) == "tiny":
        return TinyDataset()
    return FolderDataset(where)
