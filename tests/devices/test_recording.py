"""Recorded steps on a simulated GPU, which plays back what it recorded and nothing else; mistakes are planted in it."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import contract
import numpy as np
import pytest
import torch
from contract import answers
from simulated import DeviceMistake, Machine, simulated
from torch import Tensor, nn

from tapkit.engine import recording, slots
from tapkit.engine.recording import Recording
from tapkit.engine.tracker import Tracker
from tapkit.models.base import Carried, Prediction
from tapkit.models.options import NetworkOptions
from tapkit.models.torch_model import TorchModel
from tapkit.types import ModelCard, VideoInfo
from tapkit.video.base import Frame

CUDA = torch.device("cuda", 0)
TRACKERS = {"strand": 2, "tapir-causal": 1, "tapnext": 2, "track-on2": 1}
"""One of each network with a fixed step, and with how many numbers of rows it is recorded (some are slow)."""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded from the first frame of a kind on, with few rows, and nothing known from other tests."""
    monkeypatch.setattr(slots, "PATIENCE", 0)
    monkeypatch.setattr(slots, "LEAST", 2)
    monkeypatch.setattr("tapkit.nn.measured._RUNS", 1)
    slots._faster.cache_clear()


# -- the trackers ------------------------------------------------------------------------------------------


def play(subject: contract.Subject, grows: bool) -> contract.Answers:
    """Points come; or more do, also on the frame just seen, and one goes."""
    points = [(0, 20.0, 30.0), (0, 50.0, 40.0), (1, 60.0, 22.0)]
    session = subject.tracker.start(VideoInfo(contract.WIDTH, contract.HEIGHT), points)
    results = []
    for index, frame in enumerate(np.concatenate([subject.frames, subject.frames[: int(grows)]])):
        if index == 3 and grows:
            session.remove(["1"])
            session.add([(session.earliest, 40.0, 21.0), (session.earliest, 10.0, 50.0)])
        results += session.step(frame)
    return answers(results + session.finish())


@pytest.mark.parametrize("name", TRACKERS)
def test_what_is_played_back_gives_the_same_answers(name: str) -> None:
    subject = contract.subject.__wrapped__(name)
    with simulated() as machine:
        subject.model.to("cuda")
        subject.model.fixed_steps = False
        plain = play(subject, TRACKERS[name] > 1)
        assert machine.runtime.recorded == 0
        subject.model.fixed_steps = None
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # one that cannot be recorded warns
            found = play(subject, TRACKERS[name] > 1)
        assert machine.runtime.recorded == TRACKERS[name], "of three rows, and of four"
        contract.same(found, plain, 1e-4)


def launches_of_frames(subject: contract.Subject, machine: Machine) -> list[int]:
    session = subject.tracker.start(VideoInfo(contract.WIDTH, contract.HEIGHT), [(0, 20.0, 30.0), (0, 50.0, 40.0)])
    counts = []
    for frame in subject.frames:
        before = machine.runtime.launches
        machine.waits.clear()
        session.step(frame)
        counts.append(machine.runtime.launches - before)
    assert sum(machine.waits.values()) == 1, machine.waits
    return counts


def test_a_step_is_a_handful_of_launches_and_one_wait() -> None:
    subject = contract.subject.__wrapped__("strand")
    with simulated() as machine:
        subject.model.to("cuda")
        subject.model.fixed_steps = False
        plain = launches_of_frames(subject, machine)[-1]
        subject.model.fixed_steps = None
        played = launches_of_frames(subject, machine)[-1]
    assert plain > 500
    assert played <= 10, "the frame's upload, a copy for each type of tensor, the graph, the answers"


# -- a tracker with one mistake ----------------------------------------------------------------------------

CARD = ModelCard(
    id="recorded",
    name="Recorded",
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
    older: Tensor
    old: Tensor
    """[N,2]: where points were, two frames ago and one."""
    frames: Tensor
    """Of the host."""


Mistake = Callable[["Moving", Tensor], Tensor]


class Moving(TorchModel):
    """Points go on by half of their last motion and by what the frame's first pixel says, and by one mistake."""

    def __init__(self, mistake: Mistake | None = None) -> None:
        self.mistake = mistake
        self.calls = 0
        super().__init__(nn.Linear(2, 2), CARD, NetworkOptions())

    def start(self, size: tuple[int, int]) -> State:
        nobody = torch.zeros(0, 2, device=self.device)
        return State(nobody, nobody, torch.tensor(0))

    def select(self, state: State, rows: Tensor) -> State:
        return State(state.older[rows], state.old[rows], state.frames)

    def point_bytes(self, size: tuple[int, int]) -> int:
        return 64

    def moved(self, older: Tensor, old: Tensor, frame: Tensor) -> Tensor:
        xy = old + (old - older) / 2 + frame[:2, 0, 0].float() / 10
        return xy if self.mistake is None else self.mistake(self, xy)

    def step(self, state: State, frame: Tensor, new_xy: Tensor) -> tuple[State, Prediction]:
        self.calls += 1
        xy = self.moved(state.older, state.old, frame) if len(state.old) else state.old
        after = State(torch.cat([state.old, new_xy]), torch.cat([xy, new_xy]), state.frames + 1)
        return after, Prediction(after.old, xy.new_ones(len(after.old)), xy.new_ones(len(after.old)))

    def carried(self, state: State) -> Carried | None:
        return Carried((state.old, state.older))

    def fixed_step(self, carried: Carried, frame: Tensor, held: Tensor) -> tuple[Any, Prediction, Any]:
        self.calls += 1
        old, older = carried.tensors
        xy = self.moved(older, old, frame)
        return (xy, old), Prediction(xy, xy.new_ones(len(xy)), xy.new_ones(len(xy))), ()

    def after(self, state: State, tensors: Any) -> State:
        return State(tensors[1], tensors[0], state.frames + 1)


FRAMES = np.random.default_rng(0).integers(0, 9, (7, 32, 48, 3), np.uint8)
POINTS = [(0, 10.0, 10.0), (0, 20.5, 12.0), (0, 30.0, 14.0)]


def drive(model: Moving) -> contract.Answers:
    session = Tracker(model).start(VideoInfo(48, 32), POINTS)
    return answers([result for frame in FRAMES for result in session.step(frame)] + session.finish())


def test_results_that_are_the_next_inputs_are_not_overwritten_while_they_are_read() -> None:
    """The state of two frames ago is that of the frame before, handed on: it lies where inputs are copied to."""
    wanted = drive(Moving())
    with simulated() as machine:
        contract.same(drive(Moving().to("cuda")), wanted, 1e-5)
        assert machine.runtime.played > 5


def test_without_the_copy_they_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = drive(Moving())
    monkeypatch.setattr(recording, "apart", lambda results, inputs: results)
    with simulated():
        found = drive(Moving().to("cuda"))
    assert max(np.abs(found[key] - wanted[key]).max() for key in wanted) > 0.01


REFUSED: dict[str, Mistake] = {
    "a question to a tensor": lambda model, xy: xy if bool((xy > -1e9).all()) else xy + 1,
    "item() for every point": lambda model, xy: xy + sum(xy[row, 0].item() for row in range(len(xy))) * 0,
    "a mask as index": lambda model, xy: xy + 0 * xy[xy > 1e9].sum(),
    "numbers sent in every step": lambda model, xy: xy * xy.new_tensor([1.0, 1.0]),
    "a tensor sent in every step": lambda model, xy: xy * torch.ones(2).pin_memory().to(xy.device, non_blocking=True),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_cannot_be_recorded_goes_on_as_ever_and_is_said_once(mistake: str) -> None:
    wanted = drive(Moving())
    with simulated() as machine:
        with pytest.warns(
            UserWarning, match=r"the recorded step of recorded is not used here, it failed: CUDA"
        ) as said:
            found = drive(Moving(REFUSED[mistake]).to("cuda"))
        assert len(said) == 1
        assert "previous error" not in str(said[0].message), "it says what went wrong"
        assert machine.runtime.recorded == 0
        assert machine.runtime.stream is machine.runtime.default
    contract.same(found, wanted, 1e-5)


def test_a_number_of_the_host_would_be_recorded_as_it_was() -> None:
    """Why `carried` gives facts: what depends on the host otherwise is that of the recording, whatever comes. It shows
    at once: the recorded step gives something else than the plain one."""
    with simulated() as machine:
        with pytest.warns(UserWarning, match="it differs by"):
            drive(Moving(lambda model, xy: xy + model.calls).to("cuda"))
        assert machine.runtime.recorded == 1


def test_it_is_not_taken_where_it_is_not_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tapkit.nn.measured.device_seconds", lambda call: 0.0)
    with simulated() as machine, warnings.catch_warnings():
        warnings.simplefilter("error")
        contract.same(drive(Moving().to("cuda")), drive(Moving()), 1e-5)
        assert machine.runtime.played == 1, "to compare its answers"


def test_the_next_session_takes_what_is_recorded_and_the_first_ones_state_stays() -> None:
    with simulated() as machine:
        model = Moving().to("cuda")
        first = Tracker(model).start(VideoInfo(48, 32), POINTS)
        for frame in FRAMES:
            first.step(frame)
        state = first.state_dict()
        first.finish()
        recorded = machine.runtime.recorded
        drive(model)
        assert machine.runtime.recorded == recorded == 1
        for name, part in first.state_dict().items():
            torch.testing.assert_close(part.cpu(), state[name].cpu())
        model.to("cuda")  # weights may lie elsewhere now
        drive(model)
        assert machine.runtime.recorded == 2


def test_two_sessions_at_once_do_not_share_one() -> None:
    wanted = drive(Moving())
    with simulated():
        model = Moving().to("cuda")
        drive(model)  # leaves a recording behind
        one, other = (Tracker(model).start(VideoInfo(48, 32), POINTS) for _ in range(2))
        found = []
        for frame in FRAMES:
            other.step(np.zeros_like(frame))
            found += one.step(frame)
        contract.same(answers(found + one.finish()), wanted, 1e-5)


def test_a_session_with_a_budget_records_nothing() -> None:
    with simulated(counted=True) as machine:
        session = Tracker(Moving().to("cuda")).start(VideoInfo(48, 32), POINTS, memory="1GB")
        for frame in FRAMES:
            session.step(frame)
        assert machine.runtime.recorded == 0


def test_what_was_there_before_is_kept_as_long_as_the_recording() -> None:
    held = torch.ones(3)
    used = recording._Used()
    with used:
        double = (held * 2).add_(1)
        double.view(-1).mul_(held)
    kept = list(used.before.values())
    assert len(kept) == 1 and kept[0] is held


def test_the_page_has_the_mistakes_of_now() -> None:
    path = Path(__file__).parents[2] / "tools" / "planted_table.py"
    done = subprocess.run([sys.executable, str(path), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# -- frames that are sent ahead ----------------------------------------------------------------------------


def ahead(model: Moving) -> contract.Answers:
    """Each frame is made ready before the one before it is stepped, as `Ahead` does in a thread."""
    session = Tracker(model).start(VideoInfo(48, 32), POINTS)
    frames = [Frame(index, index / 25, image) for index, image in enumerate(FRAMES)]
    ready = session.prepare(frames[:1])
    results = []
    for index in range(len(FRAMES)):
        if index + 1 < len(FRAMES):
            ready += session.prepare(frames[index + 1 : index + 2])
        results += session.step(ready[index])
    return answers(results + session.finish())


def test_frames_are_sent_on_a_stream_of_their_own() -> None:
    wanted = drive(Moving())
    with simulated() as machine:
        contract.same(ahead(Moving().to("cuda")), wanted, 1e-5)
        assert machine.runtime.stream.known, "the work waited for another stream"
        assert len(machine.runtime.lent) == len(FRAMES)
        assert not any("engine/session.py" in what for what in machine.waits), "sent without waiting"


def test_a_frame_that_is_used_before_it_has_arrived_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tapkit.engine.session.arrived", lambda tensor, mark: tensor)
    with simulated(), pytest.raises(DeviceMistake, match="did not wait for it"):
        ahead(Moving().to("cuda"))


def test_streams_that_do_not_wait_for_one_another_are_found() -> None:
    with simulated():
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            sent = torch.ones(3).pin_memory().to("cuda", non_blocking=True)
        with pytest.raises(DeviceMistake, match="did not wait for it"):
            sent + 1
        torch.cuda.current_stream().wait_stream(side)
        assert (sent + 1).cpu().tolist() == [2, 2, 2]


def test_a_recording_is_no_result_before_it_is_played() -> None:
    with simulated():
        made = Recording(lambda inputs: (inputs[0] + 1,), (torch.zeros(2, device="cuda"),), CUDA)
        assert made.results[0].cpu().isnan().all()
        assert made((torch.ones(2, device="cuda"),))[0].cpu().tolist() == [2, 2]
