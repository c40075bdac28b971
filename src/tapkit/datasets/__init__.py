"""Benchmarks on disk: `open_dataset` finds out which one a path holds."""

from tapkit.datasets.base import Clip, Dataset, Finding
from tapkit.datasets.find import open_dataset

__all__ = ["Clip", "Dataset", "Finding", "open_dataset"]
