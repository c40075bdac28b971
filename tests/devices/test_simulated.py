"""The simulated accelerator finds what it is there to find: every kind of mistake, planted in a small tracker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from simulated import DeviceMistake, Machine, has_operator, simulated
from torch import Tensor, nn

from tapkit.constants import constant_like
from tapkit.engine.tracker import Tracker
from tapkit.models.base import Prediction
from tapkit.models.options import NetworkOptions
from tapkit.models.torch_model import TorchModel
from tapkit.types import ModelCard, VideoInfo

CARD = ModelCard(
    id="planted",
    name="Planted",
    paper="none",
    paper_url="",
    code_licence="Apache-2.0",
    weights_licence="none needed",
    commercial=True,
    factory="none:none",
    streaming="causal",
    latency=0,
    uses_past=False,
)


class State(NamedTuple):
    xy: Tensor


class Planted(TorchModel):
    """Points that stay where they are, by way of a small network and of one mistake (None: of none)."""

    def __init__(self, mistake: Callable[[Planted, Tensor, Tensor], Tensor] | None = None) -> None:
        network = nn.Linear(2, 2)
        network.register_buffer("scale", torch.ones(2))
        self.left_behind = torch.ones(2)
        self.mistake = mistake
        super().__init__(network, CARD, NetworkOptions())

    def start(self, size: tuple[int, int]) -> State:
        return State(torch.zeros(0, 2, device=self.device))

    def select(self, state: State, rows: Tensor) -> State:
        return State(state.xy[rows])

    def point_bytes(self, size: tuple[int, int]) -> int:
        return 64

    def step(self, state: State, frame: Tensor, new_xy: Tensor) -> tuple[State, Prediction]:
        xy = torch.cat([state.xy, new_xy])
        light = frame.float().mean() / constant_like([255.0, 255.0], xy)
        xy = xy + 0 * self.network(xy * self.network.scale) + 0 * light
        if self.mistake is not None:
            xy = self.mistake(self, xy, frame)
        return State(xy), Prediction(xy, xy.new_ones(len(xy)), xy.new_ones(len(xy)))


def on_host(model: Planted, xy: Tensor, frame: Tensor) -> Tensor:
    """A round trip by numpy in the loop."""
    rows = [torch.from_numpy(row.cpu().numpy() + 0).to(xy.device) for row in xy]
    return torch.stack(rows) if rows else xy


def number_by_number(model: Planted, xy: Tensor, frame: Tensor) -> Tensor:
    for row in range(len(xy)):
        if xy[row, 0].item() < 0:
            xy[row, 0] = 0
    return xy


def numpy_of_the_device(model: Planted, xy: Tensor, frame: Tensor) -> Tensor:
    return xy + float(xy.numpy().sum()) * 0


RAISE: dict[str, Callable[[Planted, Tensor, Tensor], Tensor]] = {
    "a factory call without a device": lambda model, xy, frame: xy + torch.zeros(len(xy), 2),
    "a buffer that was left behind": lambda model, xy, frame: xy * model.left_behind,
    "an index on the CPU": lambda model, xy, frame: xy[torch.arange(len(xy))],
    "a mask on the CPU": lambda model, xy, frame: torch.where(torch.ones(len(xy), 1).bool(), xy, xy),
    "numpy of a tensor of the device": numpy_of_the_device,
    "a factory call on the CPU like a tensor of the device": lambda model, xy, frame: torch.zeros_like(
        xy, device="cpu"
    ),
    "random numbers of the host's generator": lambda model, xy, frame: (
        xy + 0 * torch.rand(len(xy), 2, generator=torch.Generator(), device=xy.device)
    ),
    "another device of the same kind": lambda model, xy, frame: xy + xy.to(f"{xy.device.type}:1"),
}
COUNT: dict[str, Callable[[Planted, Tensor, Tensor], Tensor]] = {
    "a round trip by numpy in a loop": on_host,
    "item() for every point": number_by_number,
    "a tensor of numbers in every step": lambda model, xy, frame: xy * xy.new_tensor([1.0, 1.0]),
    "a list as index": lambda model, xy, frame: xy[:, [1, 0]][:, [1, 0]],
    "a mask as index": lambda model, xy, frame: xy + 0 * xy[xy > 1e9].sum(),
    "nonzero": lambda model, xy, frame: xy[(xy[:, 0] > -1e9).nonzero()[:, 0]],
    "a question to a tensor": lambda model, xy, frame: xy if bool((xy > -1e9).all()) else xy + 1,
    "unique": lambda model, xy, frame: xy + 0 * torch.unique(xy)[0],
}
MPS: dict[str, Callable[[Planted, Tensor, Tensor], Tensor]] = {
    "numbers of float64": lambda model, xy, frame: xy.double().float(),
    "a missing operator": lambda model, xy, frame: xy + 0 * torch.heaviside(xy, xy),
}
POINTS = [(0, 10.0, 10.0), (0, 20.5, 12.0), (0, 30.0, 14.0)]


def waits_of_a_step(model: Planted, kind: str = "cuda") -> tuple[Machine, list[int]]:
    """Waits of each of five steps with three points."""
    with simulated(kind) as machine:
        session = Tracker(model.to(kind)).start(VideoInfo(48, 32), POINTS)
        counts = []
        for value in range(5):
            machine.waits.clear()
            results = session.step(np.full((32, 48, 3), value, np.uint8))
            counts.append(sum(machine.waits.values()))
        np.testing.assert_array_equal(results[0].xy, np.float32(POINTS)[:, 1:])
    return machine, counts


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_tracker_without_mistakes_is_waited_for_once_a_frame(kind):
    _, counts = waits_of_a_step(Planted(), kind)
    assert counts[1:] == [1 if kind == "cuda" else 2] * 4, "its answers; and the frame, where memory is not locked"


@pytest.mark.parametrize("mistake", RAISE)
def test_what_fails_on_a_device_fails_here(mistake):
    with pytest.raises(DeviceMistake):
        waits_of_a_step(Planted(RAISE[mistake]))


@pytest.mark.parametrize("mistake", COUNT)
def test_what_waits_for_a_device_is_counted(mistake):
    _, counts = waits_of_a_step(Planted(COUNT[mistake]))
    assert min(counts[1:]) > 1


@pytest.mark.parametrize("mistake", MPS)
def test_what_mps_lacks_is_found(mistake):
    with pytest.raises(DeviceMistake, match=mistake.split()[-1]):
        waits_of_a_step(Planted(MPS[mistake]), "mps")
    waits_of_a_step(Planted(MPS[mistake]), "cuda")


def test_which_operators_there_are_is_known_from_torch():
    assert all(has_operator(name, kind) for kind in ("cuda", "mps") for name in ("add.Tensor", "cat", "mm", "topk"))
    assert not has_operator("mkldnn_linear", "cuda")


def test_memory_of_the_device_is_counted_and_can_run_out():
    with simulated(memory=1 << 20) as machine:
        held = torch.zeros(1 << 16, device="cuda")
        half = held[: 1 << 15]
        assert (machine.alive, machine.peak) == (1 << 18, 1 << 18)
        with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
            torch.zeros(1 << 18, device="cuda")
        del held
        assert machine.alive == 1 << 18, "a part of it is still there"
        del half
        assert (machine.alive, machine.peak) == (0, 1 << 18)


def test_gradients_live_on_the_device():
    with simulated() as machine:
        layer = nn.Linear(4, 3).to("cuda")
        optimizer = torch.optim.AdamW(layer.parameters())
        layer(torch.randn(5, 4, device="cuda")).square().mean().backward()
        assert layer.weight.grad is not None and layer.weight.grad.device == machine.place
        machine.waits.clear()
        optimizer.step()
        assert not machine.waits


def test_outside_all_is_as_before():
    generator: Any = torch.Generator
    with simulated():
        assert torch.zeros(2, device="cuda").device.type == "cuda"
    assert torch.Generator is generator
    if not torch.cuda.is_available():
        with pytest.raises((AssertionError, RuntimeError)):
            torch.zeros(2, device="cuda")
