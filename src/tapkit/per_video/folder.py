"""The folder that a fit lives in.

    clip.fit/fit.json              what is fitted to what: method, preset, options, seed, video
             state.safetensors     the fit at its last checkpoint; answers are computed from this file alone
             log.csv               losses over the steps
             index.html, pictures/ a page to look at
             prepared/             what is learned from (`prepare.store`); may be deleted when the fit is done

The state is one file, replaced in one step, with its facts in its header: whatever ends the program, the last
checkpoint is whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from tapkit import storage
from tapkit.errors import StorageError, UsageError, WeightsError
from tapkit.per_video.method import Place, State

STATE = "state.safetensors"
THUMB = 8
"""Side of the small pictures by which a video is known again."""
SAME = 12.0
"""Mean difference of small pictures (0..255) up to which two videos are the same."""


class Stored(NamedTuple):
    """A checkpoint as it is read."""

    state: State
    thumbs: Tensor
    """uint8 [N,3,8,8]."""
    facts: dict[str, Any]
    """method, options, step, steps, seconds, size, frames."""

    @property
    def place(self) -> Place:
        """The clip that it belongs to."""
        height, width = self.facts["size"]
        return Place(int(self.facts["frames"]), (int(height), int(width)))


class FitFolder:
    """Paths, and what is read and written there."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def prepared(self) -> Path:
        """Where what is learned from lies, unless somebody names another folder."""
        return self.path / "prepared"

    @property
    def state(self) -> Path:
        """The checkpoint."""
        return self.path / STATE

    def claim(self, facts: Mapping[str, Any], force: bool) -> None:
        """Begin here, or go on. Raises `UsageError` if another fit is here, unless `force`d, or something else."""
        known = self.facts()
        if known is not None and _plain(known) != _plain(facts):
            if not force:
                different = sorted(name for name in facts if _plain(known.get(name)) != _plain(facts[name]))
                raise UsageError(
                    f"{self.path} holds a fit with other {', '.join(different)}: --force begins anew (what was "
                    "prepared stays), or name another folder"
                )
            self.forget()
        elif known is None and self.path.is_dir() and any(self.path.iterdir()):
            raise UsageError(f"{self.path} is a folder with other things in it: name another one")
        elif known is None and self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file: name a folder that does not exist")
        storage.write_text(self.path / "fit.json", json.dumps(facts, indent=1))

    def forget(self) -> None:
        """Remove the fit; what was prepared stays."""
        for name in (STATE, "log.csv", "index.html"):
            (self.path / name).unlink(missing_ok=True)

    def facts(self) -> dict[str, Any] | None:
        """fit.json, if there is one. Raises `StorageError`."""
        path = self.path / "fit.json"
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise StorageError(f"{path} cannot be read: {error}") from error
        if not isinstance(found, dict):
            raise StorageError(f"{path} does not describe a fit")
        return found

    def save(self, state: State, thumbs: Tensor, facts: Mapping[str, Any]) -> None:
        """Write a checkpoint, whole or not at all. Raises `StorageError`: the one before stays."""
        tensors = {"clip.thumbs": thumbs}
        for part in ("model", "training"):
            tensors |= {f"{part}.{name}": value for name, value in getattr(state, part).items()}
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        with storage.atomic(self.state, sync=True) as part_path:
            storage.write_tensors(part_path, plain, {"fit": json.dumps({**facts, "own": state.facts})})

    def load(self, training: bool = True) -> Stored:
        """The last checkpoint; without `training` only what answers need. Raises `WeightsError`."""
        return read_state(self.state, training)


def read_state(path: Path, training: bool = True) -> Stored:
    """A checkpoint file. Raises `WeightsError`."""
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})["fit"])
            model, rest, thumbs = {}, {}, None
            for name in file.keys():  # noqa: SIM118  (no mapping)
                part, _, own = name.partition(".")
                if part == "model":
                    model[own] = file.get_tensor(name)
                elif part == "training" and training:
                    rest[own] = file.get_tensor(name)
                elif name == "clip.thumbs":
                    thumbs = file.get_tensor(name)
        if thumbs is None or not {"method", "options", "size", "frames"} <= facts.keys():
            raise KeyError("it is no state of a fit")
        return Stored(State(model, rest, facts.pop("own", {})), thumbs, facts)
    except FileNotFoundError as error:
        raise WeightsError(f"there is no fit in {path.parent}: nothing has been fitted there yet") from error
    except Exception as error:
        raise WeightsError(f"{path} cannot be read as a fit: {str(error)[:200]}") from error


def thumbs_of(frames: np.ndarray | Tensor) -> Tensor:
    """Small pictures [N,3,8,8] uint8 of frames [N,h,w,3] or, of a tensor, [N,3,h,w]."""
    import torch
    import torch.nn.functional as F

    small = []
    for frame in frames:
        picture = frame if isinstance(frame, Tensor) else torch.from_numpy(np.array(frame)).permute(2, 0, 1)
        small.append(F.adaptive_avg_pool2d(picture[None].float(), THUMB)[0])
    return torch.stack(small).round().to(torch.uint8)


def _plain(value: Any) -> Any:
    """As JSON would give it back."""
    return json.loads(json.dumps(value))
