"""Several devices: the points of a video, or the videos, are shared out among them. Here each "device" is the CPU."""

from __future__ import annotations

import threading

import contract
import numpy as np
import pytest
import torch
from contract import POINTS, answers, drive
from simulated import simulated

import tapkit
from tapkit import api
from tapkit.engine.several import SeveralDevices, SeveralDriver
from tapkit.engine.tracker import Tracker
from tapkit.errors import StorageError, UsageError

CLIP = contract.moving_clip(5)
NEAR = 1e-3


def on_two(**options) -> Tracker:
    return api.load("strand", device="cpu,cpu", precision="float32", **options)


@pytest.fixture(scope="module")
def one() -> Tracker:
    return api.load("strand", device="cpu", precision="float32")


def test_points_are_shared_out_and_answered_as_on_one_device(one):
    tracker = on_two()
    assert isinstance(tracker.model, SeveralDevices)
    assert tracker.model.devices == (torch.device("cpu"),) * 2
    seen: list[int] = []
    ours = tracker.track(CLIP, POINTS, progress=lambda progress: seen.append(progress.done))
    theirs = one.track(CLIP, POINTS)
    np.testing.assert_allclose(ours.xy, theirs.xy, atol=NEAR)
    np.testing.assert_array_equal(ours.valid, theirs.valid)
    assert ours.source == theirs.source, "where it ran changes nothing"
    assert seen[-1] == len(seen)


def test_each_device_has_half_of_them_and_works_at_the_same_time(monkeypatch):
    tracker, held, threads = on_two(), {}, set()
    both = threading.Barrier(2, timeout=60)
    for number, copy in enumerate(tracker.model.copies):

        def follow(state, features, size, new_xy, follow=copy.follow, number=number):
            threads.add(threading.current_thread().name)
            both.wait()  # neither is done before the other has begun
            state, said = follow(state, features, size, new_xy)
            held[number] = len(said.xy)
            return state, said

        monkeypatch.setattr(copy, "follow", follow)
    session = tracker.start(tapkit.VideoInfo(96, 64), [(0, 10.0 + 7 * k, 30.0) for k in range(7)])
    session.step(CLIP[0])
    assert sorted(held.values()) == [3, 4]
    assert len(threads) == 2


def test_points_come_and_go(one):
    found = []
    for tracker in (on_two(), one):
        session = tracker.start(tapkit.VideoInfo(96, 64), POINTS[:2])
        early = session.step(CLIP[0])
        session.add([(0, 50.0, 30.0), (2, 60.0, 20.0)])
        session.remove(["0"])
        found.append(answers(early + drive(session, CLIP[1:])))
    contract.same(*found, NEAR)


def test_a_session_is_saved_and_restored_for_as_many_devices(one):
    session = on_two().start(tapkit.VideoInfo(96, 64), POINTS)
    drive(session, CLIP[:2], finish=False)
    state = contract.saved(session)
    again = on_two().start(tapkit.VideoInfo(96, 64))
    again.load_state_dict(state)
    contract.same(answers(drive(again, CLIP[2:])), answers(drive(session, CLIP[2:])))
    with pytest.raises(StorageError, match="2 devices, and there are 3"):
        api.load("strand", device="cpu,cpu,cpu").start(tapkit.VideoInfo(96, 64)).load_state_dict(state)


def test_videos_are_shared_out_for_all_trackers(one):
    videos = np.stack([CLIP, CLIP[::-1], CLIP[:, ::-1]])
    queries = [POINTS[:2], POINTS[:1], POINTS[1:2]]
    ours, theirs = (tapkit.track_batch(videos, queries, model=tracker) for tracker in (on_two(), one))
    assert [len(tracks.queries) for tracks in ours] == [2, 1, 1]
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.xy, other.xy, atol=NEAR)


def test_points_that_belong_together_are_not_torn_apart():
    copies = [contract.subject.__wrapped__("cotracker3-online").model for _ in range(2)]
    tracker = Tracker(SeveralDevices(copies))
    with pytest.raises(UsageError, match="one video is not split over devices"):
        tracker.track(CLIP, POINTS)
    many = tapkit.track_batch(np.stack([CLIP, CLIP]), [POINTS, POINTS], model=tracker)
    np.testing.assert_array_equal(many[0].xy, many[1].xy)


def test_an_error_on_one_device_is_the_sessions(monkeypatch):
    tracker = on_two()

    def fail(state, features, size, new_xy):
        raise RuntimeError("the second device failed")

    monkeypatch.setattr(tracker.model.copies[1], "follow", fail)
    session = tracker.start(tapkit.VideoInfo(96, 64), POINTS[:2])
    with pytest.raises(RuntimeError, match="the second device failed"):
        session.step(CLIP[0])


def test_names_of_devices_are_checked():
    for wrong in ("cpu,", "auto,cpu", "cpu,nonsense"):
        with pytest.raises(UsageError):
            api.load("strand", device=wrong)
    with pytest.raises(UsageError, match="load it anew"):
        on_two().model.to("cpu")


def test_frames_go_to_the_device_of_each_copy():
    subject, other = (contract.subject.__wrapped__("strand") for _ in range(2))
    with simulated():
        copies = [subject.model.to("cuda:0"), other.model.to("cuda:1")]
        driver = SeveralDriver(SeveralDevices(copies), subject.size)
        # One after the other: what is simulated is simulated in this thread.
        driver._together = lambda call: [r for pair in zip(driver.drivers, copies, strict=True) for r in call(*pair)]
        driver.add(torch.arange(4), torch.tensor([(0, 9.0 * k + 5, 20.0) for k in range(4)]))
        with torch.inference_mode():
            results = driver.step(0, torch.zeros(3, *subject.size, dtype=torch.uint8).to("cuda:0"))
        assert sorted(key for result in results for key in result.keys.tolist()) == [0, 1, 2, 3]
