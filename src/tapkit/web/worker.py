"""The process that tracks beside the server: `python -m tapkit.web.worker`. Orders come in, results go out, JSON lines.

A process of its own, so that no click waits for a tracker (they would share one interpreter lock), and so that a
tracker that takes all memory, or that crashes, costs its job and nothing else. It ends when the server does, however
that ended: its standard input is then at its end.

Orders: {"do": "track", "job", "path", "model", "groups"}, {"do": "solve", "job", ...}, {"do": "pause" | "resume" |
"cancel", "job"}. Answers: {"said": "ready", "trackers"}, {"said": "progress" | "positions" | "done" | "failed" |
"cancelled", "job", ...}.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from typing import IO, Any

from tapkit.errors import TapkitError, one_line
from tapkit.types import ModelCard
from tapkit.web.refusals import no_weights

NICE = 10
"""How far the tracker stands back when others want the processor: the server's answers come first."""


class Worker:
    """Carries out orders one after the other, in a thread; pause, resume and cancel reach the one that runs."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out, self._lock = out, threading.Lock()
        self._orders: queue.Queue[dict[str, Any]] = queue.Queue()
        self._controls: dict[int, Any] = {}
        self._loaded: tuple[str, Any] | None = None

    def say(self, message: dict[str, Any]) -> None:
        """One line to the server."""
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            try:
                self._out.write(line)
                self._out.flush()
            except (BrokenPipeError, ValueError):
                os._exit(0)  # the server is gone

    def take(self, order: dict[str, Any]) -> None:
        """An order, from the thread that reads them."""
        if order["do"] in ("track", "solve"):
            from tapkit.web.tracking import JobControl

            self._controls[order["job"]] = JobControl()
            self._orders.put(order)
        elif order["do"] in ("pause", "resume", "cancel") and (control := self._controls.get(order["job"])):
            getattr(control, order["do"])()

    def work(self) -> None:
        """Carry out orders, for ever."""
        self.say({"said": "ready", "trackers": trackers()})
        while True:
            order = self._orders.get()
            try:
                self._carry_out(order)
            finally:
                self._controls.pop(order["job"], None)

    def _carry_out(self, order: dict[str, Any]) -> None:
        from tapkit.engine.control import Cancelled

        job = order["job"]
        try:
            said = getattr(self, f"_{order['do']}")(order, lambda message: self.say({**message, "job": job}))
        except Cancelled:
            self.say({"said": "cancelled", "job": job})
        except TapkitError as error:
            self.say({"said": "failed", "job": job, "error": one_line(str(error))})
        except MemoryError:
            self.say({"said": "failed", "job": job, "error": "there is not enough memory for that many points"})
        except Exception as error:
            text = one_line(f"{type(error).__name__}: {str(error)[:300]}")
            self.say({"said": "failed", "job": job, "error": f"the tracker failed ({text})"})
        else:
            self.say({**said, "said": "done", "job": job})

    def _track(self, order: dict[str, Any], tell: Any) -> dict[str, Any]:
        from tapkit.video import open_video
        from tapkit.web.regions import Anchor, Group
        from tapkit.web.tracking import track

        groups = [
            Group(
                group["first"],
                group["last"],
                group["direction"],
                tuple((id, tuple(Anchor(*anchor) for anchor in anchors)) for id, anchors in group["points"]),
            )
            for group in order["groups"]
        ]
        control = self._controls[order["job"]]
        tracker = self._tracker(order["model"])
        made = tracker.provenance(groups[0].direction if groups else "both")
        tell({"said": "started", "source": made.to_dict()})
        with open_video(order["path"]) as source:
            track(tracker, source, groups, control, tell)
        return {}

    def _solve(self, order: dict[str, Any], tell: Any) -> dict[str, Any]:
        """The assist stores by itself, all at once when it is done."""
        from tapkit.annotate import Project
        from tapkit.engine.control import Progress
        from tapkit.web.tracking import Meter

        control = self._controls[order["job"]]
        meter = Meter(0, control, tell)

        def step(done: int, total: int) -> None:
            control.wait()
            meter.total = total
            meter.step(Progress(done, total, len(order["points"]), "solve"))

        with Project.open(order["project"]) as project:
            change = project.solve(
                order["clip"],
                order["points"],
                order["motion"],
                until=order["until"],
                user=order["user"],
                session=order["window"],
                progress=step,
            )
        return {"revision": change.revision, "event": change.event}

    def _tracker(self, model: str) -> Any:
        """The tracker of that id; the last one stays loaded."""
        from tapkit import registry
        from tapkit.api import load

        if not here(registry.card(model)):
            raise no_weights(model)
        if self._loaded is None or self._loaded[0] != model:
            self._loaded = None
            self._loaded = (model, load(model))
        return self._loaded[1]


def trackers() -> list[dict[str, Any]]:
    """Trackers that can be used here and now: their weights are on this machine, or they need none."""
    from tapkit import registry

    return [
        {"id": card.id, "name": card.name, "default": card.id == registry.DEFAULT}
        for card in registry.cards().values()
        if here(card)
    ]


def here(card: ModelCard) -> bool:
    """Whether a tracker needs no weights, or has them."""
    from tapkit import weights

    return card.weights_file is None or weights.find(card) is not None


def main() -> None:
    """Read orders until the server is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then ends this process
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not be taken for answers
    if hasattr(os, "nice"):
        os.nice(NICE)
    worker = Worker(out)
    threading.Thread(target=worker.work, name="work", daemon=True).start()
    for line in sys.stdin.buffer:
        worker.take(json.loads(line))
    os._exit(0)  # also out of the middle of a step


if __name__ == "__main__":
    main()
