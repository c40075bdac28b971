"""The Triton kernel, carried out by Triton's interpreter on the CPU, against PyTorch's path; and when it is taken."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec

import pytest
import torch

from tapkit.nn import correlation
from tapkit.nn.measured import Faster

COMPARED = """
    import torch
    from tapkit.nn.correlation import correlation_volume
    from tapkit.nn.correlation_kernel import volume
    from tapkit.nn.sampling import split

    random = torch.Generator().manual_seed(0)
    single, half = (torch.float32, 1e-5), (torch.float16, 0.02)  # the interpreter's NumPy has no bfloat16
    for radius, channels, (dtype, near) in ((1, 24, single), (3, 70, single), (1, 16, half)):
        maps = torch.randn(3, 9, 11, channels, generator=random).to(dtype)
        xy = torch.rand(4, 3, 2, generator=random) * 18 - 4  # inside, at the border, outside
        xy[0, 0] = torch.tensor([float("nan"), 1e9])
        support = torch.randn(4, (2 * radius + 1) ** 2, channels, generator=random).to(dtype)
        base, fraction = split(xy.flatten(0, 1), (9, 11), radius)
        found = volume(maps, base, fraction, support, radius)
        assert found.dtype == dtype
        exact = correlation_volume(maps.float(), xy, support.float(), radius)
        torch.testing.assert_close(found.float(), exact, atol=near, rtol=near / 10)
    print("equal")
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton (pip install triton; torch for CUDA brings it)")
def test_the_kernel_computes_what_pytorch_does() -> None:
    """In a process of its own, since Triton asks for its interpreter when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(COMPARED)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "equal\n", done.stderr


def test_a_faster_kernel_that_gives_the_same_is_taken_and_measured_once() -> None:
    calls: list[str] = []

    def way(name: str, value: float) -> torch.Tensor:
        calls.append(name)
        return torch.full((3,), value)

    seconds = {"kernel": 1.0, "plain": 2.0}

    def measure(call: object) -> float:
        call()  # type: ignore[operator]
        return seconds[calls[-1]]

    faster = Faster("the kernel for sums", measure)
    for kind in ("small", "small", "large"):
        assert faster.wins(kind, lambda: way("kernel", 1.0), lambda: way("plain", 1.0))
    assert len(calls) == 8  # two kinds, each way called once for its result and once for its time
    seconds["kernel"] = 3.0
    assert not faster.wins("larger", lambda: way("kernel", 1.0), lambda: way("plain", 1.0))


@pytest.mark.parametrize("value", [1.01, float("nan")])
def test_a_kernel_that_gives_something_else_is_not_taken(value: float) -> None:
    faster = Faster("the kernel for sums", lambda call: 0.0)
    with pytest.warns(UserWarning, match="the kernel for sums is not used here, it differs by"):
        assert not faster.wins("kind", lambda: torch.full((3,), value), lambda: torch.ones(3))
    assert faster.known == {"kind": False}


def test_a_kernel_that_fails_is_not_taken() -> None:
    def broken() -> torch.Tensor:
        raise RuntimeError("no compiler\nlong story")

    with pytest.warns(UserWarning, match="it failed: no compiler$"):
        assert not Faster("the kernel for sums", lambda call: 0.0).wins("kind", broken, lambda: torch.ones(3))


def test_training_and_the_cpu_never_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation, "_has_triton", lambda: True)
    monkeypatch.setattr(correlation, "KERNEL", None)
    assert not correlation._may_use_kernel()  # gradients are asked for
    with torch.no_grad():
        assert correlation._may_use_kernel()
        maps, support = torch.randn(2, 5, 6, 8), torch.randn(1, 9, 8)
        assert correlation.correlation_volume(maps, torch.ones(1, 2, 2), support, 1).shape == (1, 2, 81)
