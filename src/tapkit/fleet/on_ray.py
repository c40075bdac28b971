"""A task on a Ray cluster: actors that hold what the task needs do the items, on as many machines as there are.

The process that calls `run_on_ray` alone reads and writes the work list; actors are handed items and put the results
in place themselves. So the output must be one that all machines reach: a shared folder, or an address.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tapkit.errors import StorageError, TapkitError, require
from tapkit.fleet.begin import begin
from tapkit.fleet.places import absolute
from tapkit.fleet.summary import Report, Status, Summary, summary_of
from tapkit.fleet.task import Item, Task
from tapkit.fleet.worker import Outcome, Worker, exit_code, note, refusal, sentence, work_folder
from tapkit.fleet.worklist import Claim, WorkList
from tapkit.storage import cause

AHEAD = 2
"""Items that each actor has: one at hand and one that waits beside it, so that none ever waits for the driver."""
_BEAT = 10.0
_LOOK = 1.0
_MOST_STARTS = 3
"""So many actors may die one after another before one has done an item."""


def run_on_ray(
    task: Task,
    out: str | Path,
    *,
    address: str = "local",
    jobs: int | None = None,
    device: str = "auto",
    cpus: float = 1.0,
    state: str | Path | None = None,
    retry_failed: bool = False,
    replace: bool = False,
    report: Report | None = None,
    options: Mapping[str, Any] | None = None,
) -> Summary:
    """Do all items of a task that are not done yet, on a Ray cluster; else as `tapkit.fleet.run`.

    Args:
        task, out, state, retry_failed, replace, report: see `tapkit.fleet.run`. A plain folder must be one that all
            machines share.
        address: "local" begins a cluster on this machine, "auto" joins the one that this machine is part of,
            "ray://host:10001" one elsewhere.
        jobs: how many actors are asked for from the beginning, which is what Ray's autoscaler sees; None: as many as
            the cluster has room for, more when machines join it.
        device: "auto" (one GPU for each actor, where the cluster has any), "cpu", "cuda".
        cpus: cores of each actor.
        options: for `ray.init`, such as {"runtime_env": {...}}.

    An actor that dies, or its machine, costs the items it had in hand: they are done again by others. Raises
    `MissingExtra` without Ray, `StorageError` if there is no such cluster.
    """
    ray = require("ray", "ray")
    where = absolute(out)
    with begin(task, where, state, retry_failed, replace) as (worklist, folder):
        begun = _connect(ray, address, options or {})
        driver = _Driver(ray, task, where, worklist, folder, _needs(ray, device, cpus), jobs)
        try:
            return driver.run(report)
        finally:
            driver.stop()
            if begun:
                ray.shutdown()


def _connect(ray: Any, address: str, options: Mapping[str, Any]) -> bool:
    """Join a cluster, or begin one; whether this process was not part of it before."""
    if ray.is_initialized():
        return False
    try:
        usual = {"include_dashboard": False} if address == "local" else {}
        ray.init(address=address, log_to_driver=False, configure_logging=False, **{**usual, **options})
    except Exception as error:  # of many classes, plain `Exception` among them
        raise StorageError(f"there is no Ray cluster to be had ({address}): {cause(error)}") from error
    return True


def _needs(ray: Any, device: str, cpus: float) -> dict[str, Any]:
    """What each actor asks the cluster for, and the device that it then works on."""
    gpus = ray.cluster_resources().get("GPU", 0)
    on_gpu = device.startswith("cuda") or (device == "auto" and gpus > 0)
    return {"num_cpus": cpus, "num_gpus": 1 if on_gpu else 0, "device": "cuda" if on_gpu else "cpu"}


class _Actor:
    """What runs on the cluster."""

    def __init__(self, task: Task, out: str, folder: str | None, device: str, replace: bool, threads: int) -> None:
        from tapkit.fleet.slots import Slot

        slot = Slot(device, threads)
        slot.take()
        self.refused: tuple[str, int] | None = None
        try:
            self.worker = Worker(task, out, folder, device, replace)
            slot.settle()
        except Exception as error:  # said to the driver: an actor whose constructor fails is only started again
            self.refused = sentence(error), exit_code(error)

    def ready(self) -> tuple[str, int] | None:
        """What is wrong for all items, with its exit code."""
        return self.refused

    def do(self, name: str, source: str) -> tuple[str, dict[str, Any], str]:
        """Do one item: an `Outcome`, as plain values."""
        outcome = self.worker.do(Item(name, source), lambda _: None, lambda: True)
        return outcome.state, dict(outcome.facts), outcome.sentence


class _Driver:
    """One call of `run_on_ray`."""

    def __init__(
        self, ray: Any, task: Task, out: str, worklist: WorkList, folder: Path, needs: dict[str, Any], jobs: int | None
    ) -> None:
        self.ray, self.worklist, self.jobs = ray, worklist, jobs
        self.device = needs.pop("device")
        self.needs = needs
        threads = max(int(needs["num_cpus"]), 1)
        # In the object store once, not with each actor.
        self.arguments = (ray.put(task), out, work_folder(out, folder), self.device, worklist.replaces, threads)
        self.kind = ray.remote(**needs, max_restarts=0)(_Actor)
        self.owner = worklist.enter()
        self.actors: dict[Any, int] = {}
        """Each actor, and how many items it has."""
        self.starting: dict[Any, Any] = {}
        """The answer whether it is ready -> the actor."""
        self.running: dict[Any, tuple[Any, Claim]] = {}
        """The answer of an actor -> the actor and the item."""
        self.started = time.monotonic()
        self.before = worklist.counts().frames
        self.died = 0
        self.full = ""
        self._beaten = 0.0

    def run(self, report: Report | None) -> Summary:
        """Until no item waits and none is in anybody's hands."""
        while True:
            self._beat()
            counts = self.worklist.counts()
            status = Status(counts, len(self.actors), time.monotonic() - self.started, counts.frames - self.before)
            if report is not None:
                report(status)
            if not counts.waiting and not counts.running:
                break
            self._engage(counts.waiting)
            self._hand_out()
            answers = [*self.starting, *self.running]
            if not answers:
                if counts.waiting and self.full:
                    raise StorageError(f"{self.full}; what is done is kept, and the same command goes on from there")
                if not self.worklist.reclaim():
                    time.sleep(_LOOK)
                continue
            ready, _ = self.ray.wait(answers, timeout=_LOOK)
            for answer in ready:
                self._take(answer)
        self.worklist.settle()
        return summary_of(self.worklist, status)

    def _beat(self) -> None:
        if time.monotonic() - self._beaten > _BEAT:
            self._beaten = time.monotonic()
            self.worklist.beat(self.owner)

    def _engage(self, waiting: int) -> None:
        """Ask for actors that there is work for, and let those go that have none: the cluster may shrink again."""
        held = len(self.actors) + len(self.starting)
        if not self.full:
            for _ in range(min(self._room(), held + waiting) - held):
                actor = self.kind.remote(*self.arguments)
                self.starting[actor.ready.remote()] = actor
        if not waiting:
            for actor in [each for each, count in self.actors.items() if not count]:
                self._dismiss(actor)
            for answer in list(self.starting):
                self.ray.kill(self.starting.pop(answer))

    def _room(self) -> int:
        """How many actors there may be."""
        if self.jobs is not None:
            return self.jobs
        has = self.ray.cluster_resources()
        by_cores = has.get("CPU", 0) // self.needs["num_cpus"] if self.needs["num_cpus"] else len(self.actors) + 1
        by_gpus = has.get("GPU", 0) // self.needs["num_gpus"] if self.needs["num_gpus"] else by_cores
        return max(int(min(by_cores, by_gpus)), 1)

    def _hand_out(self) -> None:
        """Items to actors, as many as each may have: no more are taken from the list than are in hand."""
        for number in range(AHEAD):  # one for each, before anybody has a second
            for actor in [each for each, count in self.actors.items() if count == number]:
                claim = self.worklist.claim(self.owner)
                if claim is None:
                    return
                self.running[actor.do.remote(*claim.item)] = actor, claim
                self.actors[actor] += 1

    def _take(self, answer: Any) -> None:
        """An actor is ready, or has done an item, or is no more."""
        died = self.ray.exceptions.RayActorError
        if answer in self.starting:
            actor = self.starting.pop(answer)
            try:
                refused = self.ray.get(answer)
            except died as error:
                self._bury(actor, error)
                return
            if refused is not None:
                raise refusal(*refused)
            self.actors[actor] = 0
            return
        if answer not in self.running:  # of an actor that was found dead meanwhile
            return
        actor, claim = self.running[answer]
        try:
            outcome = Outcome(*self.ray.get(answer))
        except died as error:
            self._bury(actor, error)
            return
        except self.ray.exceptions.RayError as error:
            outcome = Outcome("failed", {}, sentence(error))
        del self.running[answer]
        self.actors[actor] -= 1
        self.died = 0
        self._note(actor, claim, outcome)

    def _note(self, actor: Any, claim: Claim, outcome: Outcome) -> None:
        if not note(self.worklist, self.owner, claim.id, outcome):  # its machine's disk is full: others do its items
            self.full = outcome.sentence
            self._dismiss(actor)

    def _dismiss(self, actor: Any) -> None:
        """Let an actor go; what it has in hand is given back."""
        self.actors.pop(actor, None)
        self.ray.kill(actor)
        for answer in [each for each, (whose, _) in self.running.items() if whose is actor]:
            _, claim = self.running.pop(answer)
            self.worklist.release(self.owner, claim.id)

    def _bury(self, actor: Any, error: BaseException) -> None:
        """An actor has died, or its machine. Its items go back, but for those that it had done before; it died over the
        first of them, for it does them in order."""
        self.actors.pop(actor, None)
        mine = [answer for answer, (whose, _) in self.running.items() if whose is actor]
        first = True
        for answer in mine:
            _, claim = self.running.pop(answer)
            try:
                note(self.worklist, self.owner, claim.id, Outcome(*self.ray.get(answer)))
            except self.ray.exceptions.RayError:
                if first:
                    self.worklist.lost(self.owner, "its Ray actor died", claim.id)
                else:
                    self.worklist.release(self.owner, claim.id)
                first = False
        self.died = 0 if mine else self.died + 1
        if self.died >= _MOST_STARTS:
            raise TapkitError(f"Ray's actors die as soon as they are started: {sentence(error)}")

    def stop(self) -> None:
        """Let all actors go, and give back what they had."""
        for actor in [*self.actors, *self.starting.values()]:
            self.ray.kill(actor)
        for _, claim in self.running.values():
            self.worklist.release(self.owner, claim.id)
        self.running.clear()
