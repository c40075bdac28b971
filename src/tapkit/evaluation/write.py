"""Writing everything that a run leaves behind: result.json, result.md, report.html."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tapkit import storage
from tapkit.datasets.base import Dataset
from tapkit.errors import TapkitError
from tapkit.evaluation.pictures import Picture, strip
from tapkit.evaluation.protocol import Protocol
from tapkit.evaluation.report import html, markdown, number
from tapkit.evaluation.result import ModelResult, Result
from tapkit.evaluation.run import Contestant, prediction_folder

WORST = 6
"""Clips shown as pictures, over all models."""


def write_all(
    result: Result, dataset: Dataset, contestants: Sequence[Contestant], protocol: Protocol, folder: Path
) -> dict[str, Path]:
    """Write the three files into `folder`; returns their paths by kind."""
    pictures = worst_pictures(result, dataset, contestants, protocol, folder)
    return {
        "json": result.save(folder / "result.json"),
        "markdown": storage.write_text(folder / "result.md", markdown(result)),
        "html": storage.write_text(folder / "report.html", html(result, pictures)),
    }


def worst_pictures(
    result: Result, dataset: Dataset, contestants: Sequence[Contestant], protocol: Protocol, folder: Path
) -> list[Picture]:
    """The clips with the lowest AJ, shared evenly between the models, from the cached predictions."""
    each = max(1, WORST // max(len(result.models), 1))
    pictures = []
    for model, contestant in zip(result.models, contestants, strict=True):
        store = prediction_folder(folder, contestant, protocol)
        for name, aj in _worst(model)[:each]:
            try:
                clip = dataset.clip(name)
                prediction = store.load(clip)
                if prediction is not None:
                    pictures.append(Picture(model.id, name, f"AJ {number('', aj)}", strip(clip, prediction)))
            except TapkitError:  # a page without one picture is better than no page
                continue
    return pictures


def _worst(model: ModelResult) -> list[tuple[str, float]]:
    scored = [(score.clip, score.figures["average_jaccard"]) for score in model.scores]
    return sorted((pair for pair in scored if not np.isnan(pair[1])), key=lambda pair: pair[1])
