"""Several processes that train together (torchrun), or one."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tapkit.api import choose_device
from tapkit.errors import UsageError


def training_device(name: str = "auto") -> torch.device:
    """The device of that name, as `tapkit.choose_device` has it; under torchrun each process takes its own GPU.

    Raises `UsageError` for devices that are not there.
    """
    local, several = os.environ.get("LOCAL_RANK"), int(os.environ.get("WORLD_SIZE", "1")) > 1
    if name == "auto" and several and not torch.cuda.is_available():
        return torch.device("cpu")  # gradients are exchanged by NCCL or Gloo, which know CUDA and the CPU alone
    device = choose_device(name)
    if device.type == "cuda":
        index = device.index if device.index is not None else int(local or "0")
        if index >= torch.cuda.device_count():
            raise UsageError(f"process {index} has no GPU of its own: there are {torch.cuda.device_count()} here")
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    return device


class Workers:
    """This process among those of the run. Gradients are averaged by hand: a few lines instead of a wrapper."""

    def __init__(self, rank: int, count: int, device: torch.device) -> None:
        self.rank, self.count, self.device = rank, count, device

    @classmethod
    def from_environment(cls, device: torch.device) -> Workers:
        """As torchrun's variables say; one process without them."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count > 1 and not torch.distributed.is_initialized():
            torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(int(os.environ.get("RANK", "0")), count, device)

    def average(self, gradients: Sequence[Tensor]) -> None:
        """Put the mean over all processes into each tensor; they go over in one piece."""
        if self.count == 1:
            return
        flat = torch.cat([g.flatten() for g in gradients])
        torch.distributed.all_reduce(flat)
        flat /= self.count
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def same_everywhere(self, network: nn.Module) -> None:
        """Give every process the first one's parameters."""
        if self.count > 1:
            for parameter in network.parameters():
                torch.distributed.broadcast(parameter.data, 0)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process (so that all stop at the same step)."""
        if self.count == 1:
            return flag
        shared = torch.tensor(float(flag), device=self.device)
        torch.distributed.all_reduce(shared)
        return bool(shared > 0)

    def close(self) -> None:
        """Leave the group, all together.

        Gloo's threads let go of a collective's tensors a moment after it has returned. If those are Python's and the
        interpreter is just ending, such a thread is ended in the middle of a destructor ("terminate called without
        an active exception"). A barrier has no tensor of Python's, and what came before it is over when it returns.
        """
        if self.count > 1 and torch.distributed.is_initialized():
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
