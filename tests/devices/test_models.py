"""Every tracker on a simulated GPU and on simulated MPS: nothing lies on another device, the host hardly ever waits."""

from __future__ import annotations

import os

import contract
import numpy as np
import pytest
import torch
from contract import POINTS, answers
from simulated import simulated

from tapkit import registry
from tapkit.types import Queries

FOR_GROUPS = "once more for each group of points and window: on which frames its points begin"
FOR_BEGINNERS = "in windows in which points begin: which those are"
WAITS: dict[str, tuple[int, str]] = {
    "alltracker": (10, FOR_GROUPS),
    "alltracker-tiny": (10, FOR_GROUPS),
    "cotracker2": (14, FOR_BEGINNERS),
    "cotracker3-online": (5, FOR_BEGINNERS),
    "dot": (7, "at the end: the boundaries of each frame, by DIS on the CPU; and its sparse tracks"),
    "flow-chain": (0, "runs on the CPU"),
    "flow-direct": (0, "runs on the CPU"),
    "flowtrack": (0, "runs on the CPU"),
    "lucas-kanade": (0, "runs on the CPU"),
    "particle-video": (0, "runs on the CPU"),
    "mft": (7, "where points begin: which pixels are around them"),
    "pips": (3, "at the end: which chains go on"),
    "pips2": (5, "at the end: the frames on which points begin"),
    "strand-clip": (13, "at the end: which frames points begin on; in blocks, which are followed back, and from where"),
    "taptr": (9, FOR_BEGINNERS),
    "taptrv2": (9, FOR_BEGINNERS),
    "track-on2": (5, "and once for its support points"),
    "taptrv3": (5, "and once for its support points"),
}
"""Waits of the host over the contract's clip, at most, on a device that frames are sent to without waiting; and what
for. All others: one a frame, for the answers. What `nn.transfer` sends is left out: on CUDA nobody waits for it."""
SAME_NETWORK = {"alltracker-tiny", "bootstapir", "bootstapir-causal", "locotrack-base", "tapnext-pp", "taptrv2"}
"""Trackers whose network is that of another in other sizes; looked at where TAPKIT_EVERY_MODEL is set."""
TRACKERS = [card.id for card in registry.cards().values() if card.streaming != "pairwise"]
CHECKED = [name for name in TRACKERS if name not in SAME_NETWORK or "TAPKIT_EVERY_MODEL" in os.environ]


def allowed(name: str, frames: int) -> int:
    return WAITS[name][0] if name in WAITS else frames


def near(name: str) -> float:
    """By how much layers in the processor's own layout, and Winograd's sums, differ from plain ones.

    strand's last look, too: on a processor it may be of a place that is a 16th of a pixel off (`strand.look.SEEN`)."""
    return {"strand": 5e-3, "pips2": 1.0, "cotracker2": 5e-3, "gmrw": 2e-3, "pips": 2e-3}.get(name, 5e-4)


@pytest.mark.parametrize("name", CHECKED)
def test_a_session_stays_on_its_device(name: str):
    kind = "cuda" if registry.card(name).streaming == "causal" else "mps"  # both have the same rules, but for float64
    subject = contract.subject.__wrapped__(name)
    with simulated(kind) as machine:
        subject.model.to(kind)
        session = subject.start(Queries.of(POINTS))
        machine.waits.clear()
        results = [result for frame in subject.frames for result in session.step(frame)] + session.finish()
        waits = {what: count for what, count in machine.repeated.items() if "nn/transfer.py" not in what}
    assert sum(waits.values()) <= allowed(name, len(subject.frames)), f"waits: {waits}"
    found = answers(results)
    assert len(found) >= len(POINTS) and all(np.isfinite(value).all() for value in found.values())


@pytest.mark.parametrize("name", ["strand", "cotracker3-offline", "mft", "tapnext", "taptrv3", "pips"])
def test_answers_are_those_of_the_cpu(name: str):
    subject = contract.subject.__wrapped__(name)
    wanted = subject.undisturbed
    with simulated("mps"):
        subject.model.to("mps")
        contract.same(answers(contract.drive(subject.start(Queries.of(POINTS)), subject.frames)), wanted, near(name))


@pytest.mark.parametrize("name", ["strand", "tapir-causal", "track-on2"])
def test_points_that_go_and_come_back_from_a_file_stay_on_the_device(name: str):
    subject = contract.subject.__wrapped__(name)
    with simulated() as machine:
        subject.model.to("cuda")
        session = subject.start(Queries.of(POINTS))
        for frame in subject.frames[:2]:
            session.step(frame)
        session.remove(["1"])
        session.add([(session.earliest, 30.0, 20.0)])
        again = subject.start()
        again.load_state_dict({key: part.cpu() for key, part in session.state_dict().items()})
        first, second = (answers(one.step(subject.frames[2])) for one in (session, again))
        contract.same(second, first)
        assert machine.place == subject.model.device


def test_the_second_half_of_a_session_waits_once_a_frame():
    subject = contract.subject.__wrapped__("strand")
    with simulated() as machine:
        subject.model.to("cuda")
        session = subject.start(Queries.of([(0, 20.0, 30.0)] * 5))
        session.step(subject.frames[0])
        session.step(subject.frames[1])
        machine.waits.clear()
        for frame in subject.frames[2:]:
            session.step(frame)
        assert sum(machine.waits.values()) == len(subject.frames) - 2, machine.waits


def test_inference_leaves_no_memory_behind():
    subject = contract.subject.__wrapped__("strand")
    with simulated(counted=True) as machine:
        subject.model.to("cuda")
        session = subject.start(Queries.of(POINTS))
        held = []
        for _ in range(3):
            for frame in subject.frames:
                session.step(frame)
            held.append(machine.alive)
        assert held[1] == held[-1], held
        assert torch.is_tensor(session.state_dict()["driver.keys"])
