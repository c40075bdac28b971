"""The authors' files: delta_dino_STEP.pt and tracker_head_STEP.pt, one state dict each, for one video."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from tapkit import weights as stored
from tapkit.errors import WeightsError
from tapkit.per_video.dino_tracker.network import DinoTracker

LAST = "delta_dino.layers.12.weight"
"""The convolution whose outputs are the backbone's channels."""
PARTS = ("delta_dino", "tracker_head")


def network_from(state: Mapping[str, Tensor]) -> DinoTracker:
    """The networks with the tensors of both files, called `delta_dino.` and `tracker_head.` and then as published.

    Constants of the files (the filters that blur) may be missing. Raises `WeightsError`.
    """
    if LAST not in state or state[LAST].ndim != 4:
        raise WeightsError(f"these are not weights of dino-tracker: it lacks {LAST}")
    network = DinoTracker(len(state[LAST]))
    expected = network.state_dict()
    constants = {name: tensor for name, tensor in expected.items() if name.endswith(".filt")}
    network.load_state_dict(stored.match({**constants, **state}, expected, "dino-tracker"))
    return network


def read_published(folder: str | Path, step: int | None = None) -> dict[str, Tensor]:
    """The tensors of a video's files in a folder; `step`: which of them, None: the latest. Raises `WeightsError`."""
    place = Path(folder)
    state: dict[str, Tensor] = {}
    for part in PARTS:
        found = {_step(path): path for path in place.glob(f"{part}_*.pt")}
        wanted = step if step is not None else max(found, default=-1)
        if wanted not in found:
            name = f"{part}_{step if step is not None else 'STEP'}.pt"
            raise WeightsError(f"there is no {name} in {place}, which DINO-Tracker's authors keep for each video")
        state.update({f"{part}.{name}": tensor for name, tensor in stored.read(found[wanted]).items()})
    return state


def _step(path: Path) -> int:
    digits = path.stem.rpartition("_")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else -1
