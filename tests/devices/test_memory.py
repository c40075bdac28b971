"""A device that runs out of memory: what fits is measured, less is done at once, and nothing is lost or said twice."""

from __future__ import annotations

import warnings

import contract
import numpy as np
import pytest
import torch
from pixel_mover import PixelMover, clip
from simulated import Machine, simulated

import tapkit
from tapkit.engine import costs as costs_of
from tapkit.engine.clip import ClipDriver
from tapkit.engine.tracker import Tracker
from tapkit.errors import DeviceMemoryError, DeviceMemoryWarning, MemoryBudgetError
from tapkit.models.base import Prediction
from tapkit.types import Queries, VideoInfo

FRAMES = clip([(0, 0), (2, 1), (1, -1), (3, 2), (0, 1), (1, 1)])
POINTS = [(0, 5.0, 6.0), (0, 9.0, 8.0), (1, 20.0, 10.0), (0, 7.0, 17.0), (2, 15.0, 20.0)]


class Small(PixelMover):
    """A model on a device that has room for `room` points; the first `steps` steps have more."""

    def __init__(self, room: int, steps: int = 0) -> None:
        super().__init__()
        self.room, self.steps = room, steps

    def step(self, state, frame, new_xy):
        if self.seen >= self.steps and len(state.xy) + len(new_xy) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().step(state, frame, new_xy)


class Noted:
    """A sink that keeps which frames and results it was given."""

    def __init__(self) -> None:
        self.frames: list[int] = []
        self.results: list[tuple[int, int]] = []

    def frame(self, frame) -> None:
        self.frames.append(frame.index)

    def result(self, result) -> None:
        self.results.append((result.frame, len(result.rows)))

    def finish(self) -> None:
        pass


def test_half_as_many_points_at_once_are_tried_once_with_one_sentence():
    whole, sink = Tracker(PixelMover()).track(FRAMES, POINTS), Noted()
    with pytest.warns(DeviceMemoryWarning, match=r"ran out of memory with \d points.* going on with 3 at once") as said:
        parts = Tracker(Small(3)).track(FRAMES, POINTS, sinks=[sink])
    assert len(said) == 1
    np.testing.assert_array_equal(parts.xy, whole.xy)
    np.testing.assert_array_equal(parts.valid, whole.valid)
    assert sink.frames == list(range(len(FRAMES)))
    assert [frame for frame, _ in sink.results] == list(range(len(FRAMES)))


def test_frames_that_were_shown_are_not_shown_again():
    sink, steps = Noted(), len(FRAMES) - 3 + 2  # the way back of later points, and some frames of the way forwards
    with pytest.warns(DeviceMemoryWarning):
        Tracker(Small(3, steps)).track(FRAMES, POINTS, sinks=[sink])
    assert sink.frames == list(range(len(FRAMES)))
    assert [frame for frame, _ in sink.results] == list(range(len(FRAMES)))


def test_if_that_is_not_enough_it_is_said_what_to_do():
    with pytest.warns(DeviceMemoryWarning), pytest.raises(DeviceMemoryError, match='memory="8GB"') as said:
        Tracker(Small(2)).track(FRAMES, POINTS)
    assert isinstance(said.value, MemoryBudgetError)
    assert "\n" not in str(said.value)
    with pytest.raises(DeviceMemoryError, match="with 1 point at once"):
        Tracker(Small(0)).track(FRAMES, POINTS[:1])


def test_other_errors_are_not_taken_for_it():
    model = PixelMover()
    model.fail_at = 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeError, match="the model failed"):
            Tracker(model).track(FRAMES, POINTS)


def test_a_run_that_is_resumed_keeps_the_passes_it_has(tmp_path):
    whole = Tracker(PixelMover()).track(FRAMES, POINTS)
    model, path = Small(3), tmp_path / "tracks.npz"

    def interrupt(progress) -> None:
        if model.seen == 12:
            raise KeyboardInterrupt

    with pytest.warns(DeviceMemoryWarning), pytest.raises(KeyboardInterrupt):
        Tracker(model).track_to(path, FRAMES, POINTS, progress=interrupt)
    model.seen = 0
    Tracker(model).track_to(path, FRAMES, POINTS)  # not more than 3 at once, and without a warning
    np.testing.assert_array_equal(tapkit.Tracks.load(path).xy, whole.xy)


def test_a_live_session_is_as_before():
    model = Small(2)
    session = Tracker(model).start(VideoInfo(48, 32), POINTS[:2])
    session.step(FRAMES[0])
    with pytest.raises(DeviceMemoryError, match="with 4 points at once"):
        session.add([(0, 3.0, 3.0), (0, 4.0, 4.0)])
    assert session.ids == ["0", "1"]
    first = session.step(FRAMES[1])[0]
    np.testing.assert_allclose(first.xy, [[7, 7], [11, 9]])


class Whole:
    """A model of whole clips that takes at most `room` points at once."""

    device = torch.device("cpu")

    def __init__(self, room: int) -> None:
        self.room, self.calls = room, []

    def encode(self, frames):
        return (frames.float().mean((1, 2, 3)),)

    def track(self, features, size, queries):
        self.calls.append(len(queries))
        if len(queries) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        frames = len(features[0])
        xy = queries[:, None, 1:].expand(-1, frames, -1)
        return Prediction(xy, torch.ones(len(queries), frames), torch.ones(len(queries), frames))


def test_models_of_whole_clips_do_not_encode_them_again():
    model = Whole(3)
    driver = ClipDriver(model, (32, 48))
    queries = torch.tensor(POINTS)
    driver.add(torch.arange(5), queries)
    for index, frame in enumerate(torch.from_numpy(FRAMES).permute(0, 3, 1, 2)):
        driver.step(index, frame)
    with pytest.warns(DeviceMemoryWarning, match="going on with 3 at once"):
        results = driver.finish()
    assert model.calls == [5, 3, 2]
    np.testing.assert_array_equal(results[-1].prediction.xy, queries[:, 1:])


# -- measured ---------------------------------------------------------------------------------------------


class OfMachine:
    """What a simulated device says of its memory."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def restart(self) -> int:
        self.machine.peak = self.machine.alive
        return self.machine.alive

    def peak(self) -> int:
        return self.machine.peak


@pytest.mark.parametrize("name", ["strand", "cotracker3-offline"])
def test_a_budget_of_device_memory_is_kept_by_what_was_measured(name, monkeypatch):
    subject = contract.subject.__wrapped__(name)
    points = Queries.random((contract.HEIGHT, contract.WIDTH), 40, np.random.default_rng(0))
    with simulated(counted=True) as machine:
        subject.model.to("cuda")
        meter = OfMachine(machine)
        monkeypatch.setattr(costs_of, "meter_of", lambda device: meter)
        found = costs_of.costs(subject.model, subject.size, len(subject.frames))
        assert found.point > 100 and found.fixed > 10_000
        budget = found.fixed + 15 * found.point
        fitting = costs_of.points_within(
            budget, subject.model, subject.size, 40, subject.card.streaming, len(subject.frames)
        )
        assert fitting == 15
        peaks = []
        for count in (fitting, 40):
            before = meter.restart()
            subject.tracker.track(subject.frames, points[:count], direction="forward")
            peaks.append(meter.peak() - before)
        assert 0.8 * budget < peaks[0] <= 1.05 * budget
        assert peaks[1] > 1.5 * budget, "all at once take more"


def test_a_device_too_small_for_one_point_is_said_to_be(monkeypatch):
    subject = contract.subject.__wrapped__("strand")
    with simulated(memory=1 << 30) as machine:
        subject.model.to("cuda")
        monkeypatch.setattr(costs_of, "meter_of", lambda device: OfMachine(machine))
        machine.memory = machine.alive + 1000
        with pytest.raises(DeviceMemoryError, match="cuda:0 ran out of memory"):
            subject.tracker.track(subject.frames, [(0, 20.0, 20.0)], memory="1GB")
