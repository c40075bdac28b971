"""Check every tracker against the contract and write the table of docs/reference/contract.md.

    python tools/contract_table.py [--out FILE] [--model ID ...]

The promises are those of tests/models/contract.py; trackers of installed plugins are checked too. Exit 1 if a promise
is broken that is not listed there as a known fault.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "models"))

import torch  # noqa: E402
from contract import PROPERTIES, NotApplicable, known_fault, subject  # noqa: E402

from tapkit import registry  # noqa: E402

HEAD = """# The contract of all trackers

What every tracker promises to the engine and to its users, and which tracker keeps what. Checked with random weights on
a small clip; the checks are in `tests/models/contract.py`, and `make test` runs them for every registered tracker,
plugins included. Written by `python tools/contract_table.py`; do not edit by hand.

A dash: the promise says nothing about this kind of model. A number: a known fault, see below.

"""


def cell(model: str, promise: str, faults: dict[str, int]) -> tuple[str, str]:
    """What the table says, and what is wrong unexpectedly."""
    check = next(entry.check for entry in PROPERTIES if entry.name == promise)
    known = known_fault(model, promise)
    try:
        check(subject(model))
    except NotApplicable:
        return "–", ""
    except AssertionError as error:
        if known:
            return f"({faults.setdefault(known, len(faults) + 1)})", ""
        return "BROKEN", str(error).strip().splitlines()[0] if str(error).strip() else "(no message)"
    return "ok", f"known fault, but kept: {known}" if known else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "reference" / "contract.md")
    parser.add_argument("--model", action="append", help="only these trackers (repeatable); prints, writes nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    models = arguments.model or list(registry.cards())
    faults: dict[str, int] = {}
    columns, wrong = {}, []
    for model in models:
        started = time.perf_counter()
        cells = {entry.name: cell(model, entry.name, faults) for entry in PROPERTIES}
        columns[model] = {name: shown for name, (shown, _) in cells.items()}
        wrong += [f"{model}, {name}: {trouble}" for name, (_, trouble) in cells.items() if trouble]
        print(f"{model}: {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
    lines = ["| promise | " + " | ".join(models) + " |", "|---|" + "---|" * len(models)]
    lines += [
        f"| {entry.name} | " + " | ".join(columns[model][entry.name] for model in models) + " |" for entry in PROPERTIES
    ]
    if faults:
        lines += ["", *(f"({number}) {what}" + "." for what, number in faults.items())]
    lines += ["", "## What is promised", ""]
    lines += [f"- **{entry.name}**: {' '.join((entry.check.__doc__ or '').split())}" for entry in PROPERTIES]
    if arguments.model:
        print("\n".join(lines))
    else:
        arguments.out.write_text(HEAD + "\n".join(lines) + "\n")
        print(f"{arguments.out}: {len(models)} trackers, {len(PROPERTIES)} promises, {len(faults)} known faults")
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
