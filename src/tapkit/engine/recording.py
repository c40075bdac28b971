"""Work of a GPU that is recorded once and played back: a CUDA graph.

A step of a tracker is some hundreds of small pieces of work, and for few points the program needs longer to ask for
them than the GPU to do them. Played back, all of them are asked for at once. What is played back reads and writes the
same memory each time: inputs are copied to where the recording looks for them, results are where it left them, until
the next time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tapkit.engine.state import flatten, unflatten

_WARM_UPS = 2
"""Times that the work is done before it is recorded: libraries choose their kernels, constants are made and kept."""
_ONE = threading.Lock()
"""While one thread records, no other does."""

Work = Callable[[Any], Any]
"""Nested tuples of tensors to nested tuples of tensors, all on the device, nothing asked of it meanwhile."""


class Recording:
    """`work` of inputs of one shape, ready to be played back.

    Raises what CUDA raises where the work cannot be recorded: it asks the device for a number, for instance.
    """

    def __init__(self, work: Work, inputs: Any, device: torch.device) -> None:
        self.inputs = unflatten(inputs, {name: part.clone() for name, part in flatten(inputs).items()})
        self._graph = torch.cuda.CUDAGraph()
        with _ONE, torch.cuda.device(device):
            stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):
                    work(self.inputs)
            torch.cuda.current_stream(device).wait_stream(stream)
            used = _Used()
            # Where a recording fails torch does not go back to the stream before: this one does.
            with torch.cuda.stream(torch.cuda.current_stream(device)):
                self.results = self._recorded(work, stream, used)
        # Weights and constants are read from where they are: they must not go away before the recording does.
        self._used = used.before

    def _recorded(self, work: Work, stream: Any, used: _Used) -> Any:
        """What `work` leaves behind of `self.inputs`, recorded on `stream`."""
        failed: Exception | None = None
        try:
            # Other threads may go on meanwhile: they decode frames and send them here.
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"), used:
                try:
                    return apart(work(self.inputs), self.inputs)
                except Exception as error:
                    failed = error
                    raise
        except RuntimeError as ended:  # to end a recording that failed fails, too; why it did says more
            raise (failed or ended) from None

    def __call__(self, inputs: Any) -> Any:
        """The results for these inputs, until the next call. The inputs themselves are then `self.inputs`."""
        given, kept = flatten(inputs), flatten(self.inputs)
        _copy([(kept[name], part) for name, part in given.items() if part is not kept[name]])
        self._graph.replay()
        return self.results


def apart(results: Any, inputs: Any) -> Any:
    """Results none of which lies in the memory of an input, but for those handed on as they are, under the same name.

    Else the next inputs, copied from these results, would be written while they are still to be read.
    """
    given = flatten(inputs)
    memory = {part.untyped_storage()._cdata for part in given.values()}
    found = flatten(results)
    moved = {
        name: part
        for name, part in found.items()
        if part is not given.get(name) and part.untyped_storage()._cdata in memory
    }
    elsewhere = {name: torch.empty_like(part) for name, part in moved.items()}
    _copy([(elsewhere[name], part) for name, part in moved.items()])
    return unflatten(results, {**found, **elsewhere})


def _copy(pairs: list[tuple[Tensor, Tensor]]) -> None:
    """Copy the second of each pair to the first: as one piece of work what torch can copy so, tensors of one type that
    are laid out alike."""
    alike: dict[Any, list[tuple[Tensor, Tensor]]] = {}
    for to, part in pairs:
        alike.setdefault((part.dtype, part.stride() == to.stride()), []).append((to, part))
    for some in alike.values():
        torch._foreach_copy_([to for to, _ in some], [part for _, part in some])


class _Used(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within, all tensors that were there before and are used are kept."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.before: dict[int, Tensor] = {}
        """By where they lie."""
        self._made: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for part in tensors_in((args, kwargs)):
            place = part.untyped_storage()._cdata
            if place not in self._made:
                self.before.setdefault(place, part)
        out = func(*args, **(kwargs or {}))
        self._made.update(part.untyped_storage()._cdata for part in tensors_in(out))
        self._made.difference_update(self.before)  # parts of them, and what was written to
        return out


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dictionaries. (Several times as fast as torch's own.)"""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, tuple | list):
        return []
    return [part for some in value for part in tensors_in(some)]
