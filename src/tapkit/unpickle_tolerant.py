"""Reading the pickles of checkpoints: what can do nothing stands wherever they hold more than arrays.

Of a checkpoint the parameters are wanted. The rest is whatever a training script had at hand: states of optimisers,
schedules that hold functions, objects of classes that exist nowhere else. A `Stranger` is put in its place. Nothing is
imported and nothing is called, as in `tapkit.unpickle`, whose machine this is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from tapkit.unpickle import DAMAGE, FORBIDDEN, Machine, Name, Refused, Stranger, pairs

MOST_STEPS = 5_000_000
"""Instructions of a checkpoint's pickle: the largest networks need some hundred thousand, each may cost 100 bytes."""


class Tolerant(Machine):
    """A machine that goes on where it meets something else than plain data: there stands a `Stranger` then."""

    steps = 0

    def take(self, count: int) -> bytes:
        """See `Machine.take`; `Refused` when a small file has very much to say."""
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Refused(f"more than {MOST_STEPS} instructions")
        return super().take(count)

    def unknown(self, module: str, name: str) -> Any:
        """See `Machine.unknown`."""
        return Stranger(f"{module}.{name}")

    def reduce(self) -> None:
        """See `Machine.reduce`: a call of a stranger, or one that makes no sense, makes a stranger."""
        arguments, callee = self.stack[-1], self.stack[-2]
        if isinstance(callee, Name):
            try:
                super().reduce()
                return
            except (Refused, IndexError, struct.error, *DAMAGE):
                self.push(Stranger(callee.name))
                return
        del self.stack[-2:]
        self.push(_made(callee, arguments))

    def build(self) -> None:
        """See `Machine.build`; the state of a stranger is of no use, and what has a wrong one is a stranger."""
        state, target = self.stack[-1], self.stack[-2]
        if isinstance(target, Stranger):
            self.stack.pop()
            if target.content is None and isinstance(state, dict) and state:
                target.content = state
            return
        if isinstance(target, dict):  # attributes of an OrderedDict (`_metadata` of PyTorch)
            self.stack.pop()
            return
        try:
            super().build()
        except (Refused, IndexError, struct.error, *DAMAGE):
            self.stack[-1] = Stranger("an array that makes no sense")

    def extend(self, values: list[Any]) -> None:
        """See `Machine.extend`."""
        if not isinstance(self.stack[-1], Stranger):
            super().extend(values)

    def update(self, values: list[Any]) -> None:
        """See `Machine.update`; a stranger that is filled like a dict has that as its content."""
        target = self.stack[-1]
        if not isinstance(target, Stranger):
            super().update(values)
        elif target.content is None or isinstance(target.content, dict):
            target.content = {**(target.content or {}), **pairs(values)}

    def persistent(self, reference: Any) -> Any:
        """What a reference to something outside the pickle stands for."""
        return Stranger("a persistent reference")

    def other(self, code: int) -> None:
        """See `Machine.other`."""
        action = _TOLERATED.get(code)
        if action is None:
            raise Refused(FORBIDDEN[code])
        action(self)


def _made(callee: Any, arguments: Any) -> Stranger:
    """What a call makes: if of one dict alone, that can still be asked for."""
    alone = arguments[0] if isinstance(arguments, tuple) and len(arguments) == 1 else None
    name = callee.name if isinstance(callee, (Stranger, Name)) else "something that cannot be called"
    return Stranger(name, alone if isinstance(alone, dict) else None)


def _new(machine: Tolerant, parts: int) -> None:
    """An object of a class: the class, its arguments, and perhaps more, lie on the stack."""
    if len(machine.stack) < parts:
        raise IndexError
    callee, arguments = machine.stack[-parts], machine.stack[1 - parts]
    del machine.stack[-parts:]
    machine.push(_made(callee, arguments))


def _instance(machine: Tolerant) -> None:
    machine.line()
    name = machine.line()
    machine.since_mark()
    machine.push(Stranger(name.decode("ascii", "replace")))


def _object(machine: Tolerant) -> None:
    parts = machine.since_mark()
    machine.push(_made(parts[0] if parts else None, tuple(parts[1:])))


def _extension(machine: Tolerant, form: str) -> None:
    machine.push(Stranger(f"the registered extension {machine.number(form)}"))


def _fill(machine: Tolerant) -> None:
    machine.since_mark()


def _frozen(machine: Tolerant) -> None:
    machine.since_mark()
    machine.push(Stranger("a set"))


_TOLERATED: dict[int, Callable[[Tolerant], Any]] = {
    ord("P"): lambda m: m.push(m.persistent(m.line().decode("ascii", "replace"))),
    ord("Q"): lambda m: m.push(m.persistent(m.stack.pop())),
    ord("i"): _instance,
    ord("o"): _object,
    0x81: lambda m: _new(m, 2),
    0x92: lambda m: _new(m, 3),
    0x82: lambda m: _extension(m, "B"),
    0x83: lambda m: _extension(m, "H"),
    0x84: lambda m: _extension(m, "i"),
    0x8F: lambda m: m.push(Stranger("a set")),
    0x90: _fill,
    0x91: _frozen,
}
