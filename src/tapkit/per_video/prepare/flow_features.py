"""Features that the two ends of a flow vector must share to be believed, as OmniMotion and CaDeX++ prepare their flow.

Q. Wang et al., OmniMotion, ICCV 2023, supplement: tokens of the last layer of the first DINO, at stride 16 of a frame
whose shorter side has 480 pixels. Without them flow is judged by round trips alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tapkit.coords import Size
from tapkit.errors import WeightsError
from tapkit.per_video.method import Report
from tapkit.per_video.prepare.store import Prepared, Table
from tapkit.per_video.prepare.tokens import Reading, backbone, token_tables

SHORT, MULTIPLE = 480, 64
"""Pixels of the shorter side, and what the longer one is rounded down to a multiple of."""
DEVIATION = (0.228, 0.224, 0.225)
"""The authors divide red by .228, and not by the usual .229."""


class FeatureMaps(Sequence[np.ndarray]):
    """The table's maps [C,h,w] as [h,w,C]."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: Any) -> Any:
        return self.table[index].transpose(1, 2, 0)


def check_features(id: str) -> None:
    """Raise `UsageError` unless this is a backbone, or "none"."""
    if id != "none":
        backbone(id)


def reading_of(size: Size, id: str, weights: str | None) -> Reading:
    """How features are read from frames of a working size.

    >>> reading_of((480, 854), "dino-vits16", None).size, reading_of((160, 90), "dino-vits16", None).size
    ((480, 832), (832, 480))
    """
    scale, patch = SHORT / min(size), backbone(id).config.patch
    longer = max(int(max(size) * scale) // MULTIPLE * MULTIPLE, SHORT)
    sides = (SHORT, longer) if size[0] <= size[1] else (longer, SHORT)
    height, width = (side // patch * patch for side in sides)
    return Reading(id, (height, width), patch, weights, DEVIATION)


def flow_features(
    prepared: Prepared, id: str, weights: str | None, device: torch.device, report: Report
) -> FeatureMaps:
    """The features [h,w,C] of every frame, computed where they are not there yet. Raises `WeightsError`."""
    try:
        tables = token_tables(prepared, reading_of(prepared.size, id, weights), (None,), device, report)
    except WeightsError as error:
        raise WeightsError(f"{error}; or go without features of it: --set features=none") from error
    return FeatureMaps(tables[0])
