"""What a method that is fitted to one video is to everything else: two small protocols, `Method` and `Fit`.

A method says what it needs (`prepare`), makes the thing that is fitted (`build`), and reads a finished one (`answer`).
It never opens a video, picks a device or writes into the fit's folder, except the pictures it is asked for: the loop in
`per_video.fit` does. Inside, positions are **pixel-index coordinates of the working size** (the centre of the first
pixel is (0, 0)), as all three papers have them; the answering model takes and gives corner-origin ones, as every model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor

from tapkit.coords import Size
from tapkit.models.base import ClipModel
from tapkit.models.options import Options
from tapkit.per_video.prepare.store import Prepared
from tapkit.types import ModelCard

Tensors = dict[str, Tensor]
Report = Callable[[str, int, int], object]
"""Called while something is prepared: with what it is, how much is done, and how much there is."""


@dataclass(frozen=True)
class FitOptions(Options):
    """What may be chosen of every method; each derives its own."""

    steps: int = 1000
    """Steps of the whole schedule, which is stretched or shortened to them."""
    max_side: int | None = 256
    """Length in pixels of the longer side at which the video is worked on; None: its own."""
    flow_side: int | None = None
    """Length in pixels of the longer side at which flow is computed, if that is to be larger than what is worked on:
    flow is more exact then, and costs no more to learn from. None: the size that is worked on."""
    flow: str = "dis"
    """Id of the flow model that is learned from (`tapkit models` lists them)."""
    flow_weights: str | None = None
    """Its checkpoint file; None: the official one, if it needs any."""

    def files(self) -> Sequence[str]:
        """Names of the options that name a file or a folder."""
        return ("flow_weights",)

    def located(self) -> Self:
        """The same with absolute paths, as they are kept with a fit: it is answered from, and gone on with, wherever
        the working directory is then. What is not there stays as it was given."""
        given = {name: getattr(self, name) for name in self.files()}
        found: dict[str, Any] = {k: str(Path(v).absolute()) for k, v in given.items() if v and Path(v).exists()}
        return replace(self, **found)


class State(NamedTuple):
    """Everything of a fit at one moment. What is drawn at random depends on seed and step alone, so that no state of a
    generator is needed."""

    model: Tensors
    """What answers are computed from, under the names of the method's official checkpoint where it has one."""
    training: Tensors
    """What only going on needs: the optimiser's moments, running maps."""
    facts: dict[str, Any]
    """Small values (JSON)."""


class Picture(NamedTuple):
    """One picture of the fit's page."""

    file: str
    """Its name in the folder that was given."""
    caption: str


class Place(NamedTuple):
    """Where an answering model stands: the clip it belongs to. (All that is kept of it with a fit.)"""

    frames: int
    size: Size
    """(height, width) of the working size."""


class Fit(Protocol):
    """One thing that is being fitted."""

    def step(self, index: int, steps: int) -> Mapping[str, float]:
        """Step `index` of a schedule of `steps`; the losses by name, "total" among them.

        Batches are drawn from a generator that is seeded by seed and index."""
        ...

    def state(self) -> State:
        """Everything there is."""
        ...

    def load_state(self, state: State) -> None:
        """Go on from there. Raises `WeightsError` for a state of another network."""
        ...

    def encoded(self) -> Any:
        """What the answering model's `encode` gives of all frames of the clip, at this moment of the fit. It comes of
        what was prepared: frames do not go through a backbone again."""
        ...

    def pictures(self, folder: Path) -> list[Picture]:
        """Draw what there is to see of the method itself (canonical views, depth); tracks are drawn by the loop."""
        ...


class Method(Protocol):
    """One method. Stateless: a module-level object in its folder's `method.py`."""

    card: ModelCard
    """card.streaming is "per-video"."""
    presets: Mapping[str, FitOptions]
    """Options by name: "paper", "fast", "cpu"."""

    def prepare(self, prepared: Prepared, options: Any, device: torch.device, report: Report) -> None:
        """Compute, on `device`, what `build` reads, unless it is there already. Raises `UsageError` for a clip from
        which nothing can be learned (too short, frames without overlap)."""
        ...

    def build(self, prepared: Prepared, options: Any, seed: int, device: torch.device) -> Fit:
        """The fit before its first step."""
        ...

    def answer(self, model: Mapping[str, Tensor], place: Place, options: Any) -> ClipModel:
        """The model that answers queries, out of `State.model`; on the CPU (`to` moves it). `options` are a mapping or
        the method's dataclass. Raises `WeightsError`."""
        ...
