"""What torch.cuda has besides tensors, for the simulated GPU: streams, events, graphs.

A graph keeps the operations of the device that were carried out while it was recorded, with the very tensors they
read and wrote; played back, they are carried out again on these. Work of the host is not in it: a number that Python
worked out stays what it was. Meanwhile nothing may wait for the device, or send to it, as on the real one; and what the
recording left behind are no results: they are not numbers until it is first played back.

Time is counted: each operation that the host asks for costs `LAUNCH`, playing back a graph as much as one.

What is written on one stream and read on another, which did not wait for it, is a `DeviceMistake`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch

LAUNCH = 5e-6
"""Seconds of the host for one piece of work."""


class Runtime:
    """Streams, graphs and time of one simulated machine."""

    def __init__(self) -> None:
        self.launches = 0
        """Pieces of work asked for."""
        self.recording: list[Callable[[], None]] | None = None
        """Operations of the graph that is being recorded."""
        self.left: list[torch.Tensor] = []
        """What they wrote."""
        self.recorded = 0
        """How many graphs were recorded."""
        self.played = 0
        """How often one was played back."""
        self.lent: list[int] = []
        """Tensors of one stream that another one reads, as the allocator was told."""
        self.default = Stream(self)
        self.stream = self.default
        self._written: dict[int, tuple[Stream, int]] = {}
        """By storage: the stream that wrote it last, and its how-manieth piece of work that was."""

    def refuse_while_recording(self, what: str) -> None:
        """What CUDA says to that."""
        if self.recording is not None:
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({what})")

    def did(self, func: Any, args: Any, kwargs: Any, reads: list[torch.Tensor], writes: list[torch.Tensor]) -> str:
        """An operation on held tensors was carried out on the present stream. Returns what is wrong with that."""
        stream = self.stream
        wrong = ""
        for tensor in reads:
            writer, number = self._written.get(tensor.untyped_storage()._cdata, (stream, 0))
            if writer is not stream and stream.known.get(writer, 0) < number:
                wrong = "reads what another stream is still to write: it did not wait for it"
        read = {tensor.untyped_storage()._cdata for tensor in reads}
        # Not by the operator alone: `to` and `reshape` give a view of what they are given, or something new.
        if func.is_view and all(tensor.untyped_storage()._cdata in read for tensor in writes):
            return wrong
        self.launches += 1
        stream.done += 1
        for tensor in writes:
            self._written[tensor.untyped_storage()._cdata] = (stream, stream.done)
        if self.recording is not None:
            given = {id(tensor) for tensor in reads}
            kept = [None if id(tensor) in given else tensor for tensor in writes]

            def again() -> None:
                out = func(*args, **kwargs)
                found = [part for part in _leaves(out) if isinstance(part, torch.Tensor)]
                for old, new in zip(kept, found, strict=True):
                    if old is not None:
                        old.copy_(new)

            self.recording.append(again)
            self.left += [tensor for tensor in kept if tensor is not None and tensor.is_floating_point()]
        return wrong

    def moved(self, tensor: torch.Tensor) -> None:
        """A tensor was sent to the device, on the present stream."""
        self.launches += 1
        self.stream.done += 1
        self._written[tensor.untyped_storage()._cdata] = (self.stream, self.stream.done)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]


class Stream:
    """A queue of work."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.done = 0
        self.known: dict[Stream, int] = {}
        """Of other streams: how much of their work comes before whatever comes next here."""

    def wait_stream(self, other: Stream) -> None:
        """What comes next here comes after all that was asked of the other one."""
        for stream, done in [*other.known.items(), (other, other.done)]:
            self.known[stream] = max(self.known.get(stream, 0), done)

    def wait_event(self, event: Event) -> None:
        """The same, after all that came before the event."""
        for stream, done in event.known.items():
            self.known[stream] = max(self.known.get(stream, 0), done)


class Event:
    """A mark in a queue of work."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.known: dict[Stream, int] = {}
        self.time = 0.0

    def record(self, stream: Stream | None = None) -> None:
        """Here."""
        stream = stream or self.runtime.stream
        self.known = {**stream.known, stream: stream.done}
        self.time = self.runtime.launches * LAUNCH

    def synchronize(self) -> None:
        """The host waits (the measuring does, and is no part of a frame)."""
        self.runtime.refuse_while_recording("synchronize")

    def elapsed_time(self, other: Event) -> float:
        """Milliseconds to the other one."""
        return (other.time - self.time) * 1000


class Graph:
    """Operations that can be carried out again."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.operations: list[Callable[[], None]] = []

    def replay(self) -> None:
        """Carry all of them out."""
        self.runtime.launches += 1
        self.runtime.played += 1
        for operation in self.operations:
            operation()


@contextmanager
def _recorded(runtime: Runtime, graph: Graph, stream: Stream | None) -> Iterator[None]:
    runtime.recording, runtime.left = [], []
    before = runtime.stream
    (stream or before).wait_stream(before)  # `torch.cuda.graph` waits for the whole device
    runtime.stream = stream or before
    try:
        yield
        graph.operations = runtime.recording
        runtime.recorded += 1
        for tensor in runtime.left:
            tensor.fill_(float("nan"))
        runtime.stream = before
    except Exception as error:  # as torch does: it stays on the stream that was recorded
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture") from error
    finally:
        runtime.recording, runtime.left = None, []
        before.wait_stream(stream or before)


@contextmanager
def _on(runtime: Runtime, stream: Stream | None) -> Iterator[None]:
    before = runtime.stream
    runtime.stream = stream or before
    try:
        yield
    finally:
        runtime.stream = before


@contextmanager
def torch_cuda(runtime: Runtime) -> Iterator[None]:
    """Within, `torch.cuda` has the simulated ones."""

    def no_device(*_: Any) -> Any:
        return ExitStack()

    replaced: dict[str, Any] = {
        "Stream": lambda *_, **__: Stream(runtime),
        "Event": lambda *_, **__: Event(runtime),
        "CUDAGraph": lambda: Graph(runtime),
        "graph": lambda graph, pool=None, stream=None, capture_error_mode="global": _recorded(runtime, graph, stream),
        "stream": lambda stream: _on(runtime, stream),
        "current_stream": lambda *_: runtime.stream,
        "device": no_device,
    }

    def lend(tensor: Any, stream: Stream) -> None:
        """Memory is not given away while another stream reads it: that is not simulated, and taken note of."""
        runtime.lent.append(id(tensor))

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(torch.Tensor, "record_stream", lend))
        for name, value in replaced.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        yield
