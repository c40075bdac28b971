"""Many videos: what is to be done is kept in a work list, and done by processes of this machine or on a Ray cluster.

    from tapkit import fleet

    job = fleet.Tracking(fleet.Videos(["takes/", "s3://bucket/more"]), model="strand", grid=20, formats=("csv",))
    print(fleet.run(job, "out", jobs=4))                # or fleet.run_on_ray(job, "s3://bucket/out", address="auto")

Whatever happens, the same call goes on where the work stopped: each result is put in place as a whole, once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapkit.fleet.evaluating import Evaluating
    from tapkit.fleet.generating import Generating
    from tapkit.fleet.inputs import Videos
    from tapkit.fleet.labelling import Labelling
    from tapkit.fleet.on_ray import run_on_ray
    from tapkit.fleet.processes import run
    from tapkit.fleet.summary import Summary
    from tapkit.fleet.synthesising import Synthesising
    from tapkit.fleet.task import Item, Task
    from tapkit.fleet.tracking import Tracking

_HOME = {
    "Evaluating": "tapkit.fleet.evaluating",
    "Generating": "tapkit.fleet.generating",
    "Item": "tapkit.fleet.task",
    "Labelling": "tapkit.fleet.labelling",
    "Summary": "tapkit.fleet.summary",
    "Synthesising": "tapkit.fleet.synthesising",
    "Task": "tapkit.fleet.task",
    "Tracking": "tapkit.fleet.tracking",
    "Videos": "tapkit.fleet.inputs",
    "run": "tapkit.fleet.processes",
    "run_on_ray": "tapkit.fleet.on_ray",
}

__all__ = [
    "Evaluating",
    "Generating",
    "Item",
    "Labelling",
    "Summary",
    "Synthesising",
    "Task",
    "Tracking",
    "Videos",
    "run",
    "run_on_ray",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'tapkit.fleet' has no attribute {name!r}")
