"""One command for the day on which a GPU is at hand: is everything right there, and how fast is it?

    python tools/gpu_check.py [--device cuda] [--seconds 240] [--json FILE] [--model ID ...] [--small]

Needs torch, NumPy, OpenCV, Pillow and safetensors besides tapkit itself. In the time given it
(a) runs the parity cases in float32 on the device,
(b) says how far TF32, bfloat16 and float16 move the answers,
(c) measures frames a second at 1 to 10,000 points and three frame sizes, beside what the device multiplies and copies,
    blocks beside plain formulas, and recorded steps beside plain ones,
(d) checks that sessions equal whole clips, that budgets are kept and that long sessions stay flat.
What there was no time for is named. Writes one JSON and prints tables; exit 1 if anything is wrong.

`--small` is the rehearsal: small sizes, few frames, on any device. Official weights are used where they are found.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

TOOLS = Path(__file__).resolve().parent
sys.path.insert(0, str(TOOLS))
if not any((Path(entry) / "tapkit").is_dir() for entry in sys.path):
    sys.path.insert(0, str(TOOLS.parent / "src"))  # on a machine on which it is not installed

import check_parity  # noqa: E402
from gpu import behaviour, exact, speed, subjects  # noqa: E402

from tapkit.evaluation.speed import device_name  # noqa: E402

SHARES = {"parity": 0.2, "precision": 0.2, "speed": 0.4, "behaviour": 0.2}
"""Of the time, at most; what a part leaves goes to those after it."""


@dataclass(frozen=True)
class Plan:
    """How much is asked of the device."""

    small: bool = False
    matrix: int = 8192
    copy_bytes: int = 1 << 30
    repeats: int = 10
    rows: int = 16384
    """Of the blocks that are compared with plain formulas."""
    cells: tuple[tuple[tuple[int, int], int], ...] = (
        ((256, 256), 64),
        ((384, 512), 1024),
        ((256, 256), 1),
        ((256, 256), 1024),
        ((384, 512), 64),
        ((768, 1024), 64),
        ((256, 256), 10_000),
        ((384, 512), 10_000),
        ((768, 1024), 1024),
        ((384, 512), 1),
        ((768, 1024), 1),
        ((768, 1024), 10_000),
    )
    """Frame sizes and numbers of points, the ones that tell most first."""
    types: tuple[str, ...] = ("float32", "bfloat16")
    frames: int = 200
    recorded_frames: int = 60
    precision_frames: int = 24
    precision_size: tuple[int, int] = (256, 256)
    precision_points: int = 64
    behaviour_frames: int = 24
    behaviour_size: tuple[int, int] = (256, 256)
    behaviour_points: int = 64
    budget_points: int = 1024
    sessions_px: float = 0.05
    long: int = 2000

    def options(self, name: str) -> dict[str, Any]:
        """Of the tracker, in the rehearsal."""
        if not self.small:
            return {}
        sys.path.insert(0, str(TOOLS.parent / "tests" / "models"))
        from contract import SMALL

        return dict(SMALL.get(name, {}))


SMALL = Plan(
    small=True,
    matrix=64,
    copy_bytes=1 << 12,
    repeats=1,
    rows=64,
    cells=(((64, 96), 3),),
    types=("float32",),
    frames=3,
    recorded_frames=6,
    precision_frames=3,
    precision_size=(64, 96),
    precision_points=3,
    behaviour_frames=3,
    behaviour_size=(64, 96),
    behaviour_points=3,
    budget_points=4,
    long=12,
)


def check(device: torch.device, plan: Plan, names: list[str], models: list[str] | None, given: float) -> dict[str, Any]:
    """Everything, within `given` seconds (what has begun is finished)."""
    begun = time.monotonic()
    until = 0.0

    def left() -> float:
        return begun + until * given - time.monotonic()

    report: dict[str, Any] = {"device": device_name(device), "type": device.type, "torch": torch.__version__}
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "parity": lambda: {"parity": exact.parity(device, check_parity.SMALL_SET, models, left)},
        "precision": lambda: {"precision": exact.precision(device, names, plan, left)},
        "speed": lambda: {
            "limits": speed.limits(device, plan),
            "blocks": speed.blocks(device, plan),
            "recorded": speed.recorded(device, names, plan, left),
            "speed": speed.trackers(device, names, plan, left),
        },
        "behaviour": lambda: {
            "sessions": behaviour.sessions(device, names, plan, left),
            "budget": behaviour.budget(device, [n for n in ("strand", "tapir") if n in names], plan),
            "flat": behaviour.flat(device, [n for n in ("strand", "tapir-causal") if n in names], plan, left),
        },
    }
    for part, run in parts.items():
        until += SHARES[part]
        report |= run()
    report["seconds"] = round(time.monotonic() - begun, 1)
    return report


def wrong(report: dict[str, Any]) -> list[str]:
    """What is not as it should be, one line each; what there was no time for is no fault."""
    found = []
    for part in ("parity", "precision", "recorded", "speed", "sessions", "budget", "flat"):
        for row in report[part]:
            verdict = row["verdict"]
            if not verdict.startswith("ok") and "out of time" not in verdict:
                named = " ".join(str(row[key]) for key in ("model", "case", "type", "points", "height") if key in row)
                found.append(f"{part}: {named}: {verdict} {row.get('failed') or ''}".rstrip())
    return found


def show(report: dict[str, Any]) -> None:
    """The tables."""
    print(f"{report['device']}, torch {report['torch']}, {report['seconds']} s")
    rows = report["parity"]
    done = [row for row in rows if not row["verdict"].startswith("not run")]
    print(f"\nparity: {sum(row['verdict'] == 'ok' for row in done)} of {len(done)} cases exact, {len(rows)} in all")
    print("\nlimits: " + ", ".join(f"{name} {value:.1f}" for name, value in report["limits"].items()))
    for row in report["blocks"]:
        print(f"{row['block']:26} {row['ours_ms']:9.3f} ms, plain {row['plain_ms']:9.3f} ms")
    print(f"\n{'model':20} {'type':9} {'median px':>10} {'p95 px':>9} {'largest':>9}")
    for row in report["precision"]:
        if "median_px" in row:
            figures = f"{row['median_px']:10.4f} {row['p95_px']:9.4f} {row['largest_px']:9.3f}"
            print(f"{row['model']:20} {row['type']:9} {figures}{'' if row['official'] else '  (seeded weights)'}")
    print(f"\n{'model':20} {'as ever ms':>10} {'fixed ms':>9} {'recorded':>9} {'largest px':>11}")
    for row in report["recorded"]:
        if "largest_px" in row:
            times = f"{row['as_ever_p50_ms']:10.2f} {row['fixed_p50_ms']:9.2f}"
            print(f"{row['model']:20} {times} {row['recorded']!s:>9} {row['largest_px']:11.4f}")
    titles = f"{'frames/s':>9} {'p50 ms':>8} {'p95 ms':>8} {'MiB':>8}"
    print(f"\n{'model':20} {'type':9} {'size':>9} {'points':>6} {titles}")
    for row in report["speed"]:
        if "fps" in row:
            size = f"{row['width']}x{row['height']}"
            times = f"{row['fps']:9.1f} {row['step_p50_ms']:8.2f} {row['step_p95_ms']:8.2f}"
            print(
                f"{row['model']:20} {row['type']:9} {size:>9} {row['points']:6} {times} {row.get('peak_mib', 0):8.1f}"
            )
    late = sum("out of time" in row["verdict"] for part in ("parity", "precision", "speed") for row in report[part])
    print(f"\n{late} rows were not run for want of time")


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--json", type=Path, default=None, help="where the report goes")
    parser.add_argument("--model", action="append", help="only these trackers (repeatable)")
    parser.add_argument("--small", action="store_true", help="the rehearsal, in small")
    chosen = parser.parse_args(arguments)
    names = chosen.model or subjects.ids()
    models = None if chosen.model is None else [name.replace("-", "_") for name in names]
    plan = SMALL if chosen.small else Plan()
    report = check(torch.device(chosen.device), plan, names, models, chosen.seconds)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(report, indent=1))
    show(report)
    faults = wrong(report)
    for fault in faults:
        print(f"WRONG {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
