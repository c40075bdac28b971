"""What a run writes down: two tables (train.csv, validation.csv), and TensorBoard's files if asked for."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tapkit import storage
from tapkit.errors import StorageError, require


class Log:
    """Rows are appended, so that a resumed run continues its tables."""

    def __init__(self, folder: Path, tensorboard: bool = False, active: bool = True) -> None:
        self.folder, self.active = folder, active
        self._board: Any = None
        self._checked: set[Path] = set()
        if not active:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot write to {folder}: {error.strerror or error}") from error
        if tensorboard:
            require("tensorboard", "train")
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"))

    def train(
        self, step: int, stage: int, seconds: float, rate: float, clips_per_s: float, means: Mapping[str, float]
    ) -> None:
        """One row of train.csv."""
        row = {"step": step, "stage": stage, "seconds": round(seconds, 1), "learning_rate": f"{rate:.3e}"}
        plain = {name: f"{value:.5f}" for name, value in means.items()}
        self._write("train.csv", {**row, "clips_per_s": f"{clips_per_s:.3f}", **plain})
        self._plot(step, "train", {**means, "learning_rate": rate, "clips_per_s": clips_per_s})

    def validation(self, step: int, where: str, seconds: float, figures: Mapping[str, float]) -> None:
        """One row of validation.csv; figures in percent."""
        plain = {name: f"{value:.3f}" for name, value in figures.items()}
        self._write("validation.csv", {"step": step, "on": where, "seconds": round(seconds, 1), **plain})
        self._plot(step, where, figures)

    def _write(self, name: str, row: Mapping[str, Any]) -> None:
        if not self.active:
            return
        path = self.folder / name
        try:
            new = not path.exists()
            if not new:
                self._bring_up_to_date(path, list(row))
            with open(path, "a", newline="") as file:
                writer = csv.DictWriter(file, list(row))
                if new:
                    writer.writeheader()
                writer.writerow(row)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror or error}") from error

    def _bring_up_to_date(self, path: Path, names: list[str]) -> None:
        """Give a table that an older version began the present names of the same columns, and those that it lacks."""
        if path in self._checked:
            return
        self._checked.add(path)
        first, end, rest = path.read_bytes().partition(b"\n")
        columns = first.decode().rstrip("\r").split(",")
        if columns != names and len(columns) == len(names):
            path.write_bytes(",".join(names).encode() + b"\r" + end + rest)
        elif columns != names and set(columns) < set(names):
            with open(path, newline="") as file:
                rows = list(csv.DictReader(file))
            with storage.atomic(path) as part, open(part, "w", newline="") as file:
                writer = csv.DictWriter(file, names, restval="")
                writer.writeheader()
                writer.writerows(rows)

    def _plot(self, step: int, group: str, values: Mapping[str, float]) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self._board is not None:
            self._board.close()
