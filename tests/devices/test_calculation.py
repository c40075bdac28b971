"""What is counted of a network without computing it, and the times that are calculated from that."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

TOOLS = Path(__file__).parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
import gpu_calculation as calculation  # noqa: E402
import gpu_formats as formats  # noqa: E402
from gpu.counted import Piece, Work, counted, on_meta  # noqa: E402


def test_launches_products_and_bytes_are_counted() -> None:
    with on_meta():
        x, layer = torch.empty(10, 4, device="meta"), nn.Linear(4, 8, device="meta")
        work = counted(lambda: F.gelu(layer(x)).view(-1).reshape(2, 40)[0].exp())
    assert [piece.name for piece in work.pieces] == ["addmm", "gelu", "exp"], "views are none"
    assert work.flops == 2 * 10 * 4 * 8
    assert work.pieces[0].bytes == 4 * (8 + 40 + 32 + 80)
    assert work.pieces[2].bytes == 4 * 2 * 40


def test_attention_is_one_piece_and_tables_are_not_read_whole() -> None:
    with on_meta():
        q, k = torch.empty(1, 2, 3, 8, device="meta"), torch.empty(1, 2, 5, 8, device="meta")
        table, index = torch.empty(1000, 16, device="meta"), torch.zeros(4, dtype=torch.long, device="meta")
        work = counted(lambda: (F.scaled_dot_product_attention(q, k, k), table.index_select(0, index)))
    assert [piece.name for piece in work.pieces] == ["attention", "index_select"]
    assert work.pieces[0].flops == 2 * 2 * 3 * 5 * (8 + 8)
    assert work.pieces[1].bytes == 2 * 4 * 4 * 16


@pytest.mark.parametrize("name", ["tapir", "cotracker3-offline"])
def test_half_precision_and_channels_last_reach_the_device(name: str) -> None:
    """Instance norms in between must keep the format; on a GPU torch's own do not."""
    half, convolutions, last = formats.shares(formats.work_of(name))
    assert min(half, last) > 0.97
    assert convolutions > 0.1


def test_a_piece_takes_the_longest_of_its_bounds() -> None:
    device = calculation.Device(float32=1e12, bfloat16=1e13, bandwidth=1e11, products_share=0.5, memory_share=0.5)
    single, half = torch.float32, torch.bfloat16
    assert device.seconds(Piece("add", 0, 10, single)) == device.least
    assert device.seconds(Piece("mm", 10, 10, single)) == device.least_product
    assert device.seconds(Piece("mm", 10**9, 10, single)) == pytest.approx(2e-3)
    assert device.seconds(Piece("mm", 10**9, 10, half)) == pytest.approx(2e-4)
    assert device.seconds(Piece("add", 0, 10**8, single)) == pytest.approx(2e-3)
    assert device.busy(Work([Piece("add", 0, 10, single)] * 7)) == pytest.approx(7 * device.least)


def test_a_step_has_as_many_launches_as_on_the_simulated_device() -> None:
    """The same step on a device that computes, where operators of several parts are counted as one."""
    import contract
    from simulated import simulated

    from tapkit.engine.slots import step_work
    from tapkit.types import VideoInfo

    subject = contract.subject.__wrapped__("tapir-causal")
    with simulated() as machine:
        subject.model.to("cuda")
        subject.model.fixed_steps = False
        session = subject.tracker.start(VideoInfo(96, 64), [(0, 20.0 + k, 30.0) for k in range(16)])
        session.step(subject.frames[0])
        session.step(subject.frames[1])
        before = machine.runtime.launches
        session.step(subject.frames[2])
        real = machine.runtime.launches - before
    with on_meta():
        model = contract.subject.__wrapped__("tapir-causal").model.to("meta")
        frame = torch.empty(3, 64, 96, dtype=torch.uint8, device="meta")
        state, _ = model.step(model.start((64, 96)), frame, torch.empty(16, 2, device="meta"))
        tensors, facts = model.carried(state)
        held = torch.ones(16, dtype=torch.bool, device="meta")
        found = counted(lambda: step_work(model, facts)((tensors, frame, held))).launches
    assert found == pytest.approx(real, rel=0.15)


def test_the_bars_are_reached_by_the_calculation_that_is_written_down() -> None:
    found = json.loads(calculation.RESULTS.read_text())
    assert calculation.missed(found) == []
    text = calculation.PAGE.read_text()
    assert calculation.with_section(text, found) == text, "the page has the figures of the file"
    found["steps"][1]["recorded"], found["clip"][0]["times"]["x"] = 249, 1.9
    assert len(calculation.missed(found)) == 2
    work = calculation.step_of("strand", "float32")
    written = found["steps"][0]["launches"]
    assert work.launches == pytest.approx(written, rel=0.1), "python tools/gpu_calculation.py --write"
