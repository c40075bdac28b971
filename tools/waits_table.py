"""How often the host waits for a GPU, tracker by tracker, counted on a simulated one (tests/devices/simulated.py).

    python tools/waits_table.py [ID ...]

Prints rows of a Markdown table: waits over the contract's clip (four points that begin on three of its first frames),
what was kept on the device from the first use on left out; the clip's frames; and the lines of code that wait most.
"""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / "devices"), str(TESTS / "models")]

import contract  # noqa: E402
from simulated import simulated  # noqa: E402

from tapkit import registry  # noqa: E402
from tapkit.types import Queries  # noqa: E402


def waits(name: str) -> tuple[int, dict[str, int]]:
    """Frames of the clip, and waits by what asked for them."""
    subject = contract.subject.__wrapped__(name)
    with simulated() as machine:
        subject.model.to("cuda")
        session = subject.start(Queries.of(contract.POINTS))
        machine.waits.clear()
        contract.drive(session, subject.frames)
        return len(subject.frames), machine.repeated


def main() -> int:
    """Print the table."""
    names = sys.argv[1:] or [card.id for card in registry.cards().values() if card.streaming != "pairwise"]
    print("| tracker | waits | frames | most of them |\n|---|---|---|---|")
    for name in names:
        frames, found = waits(name)
        most = sorted(found.items(), key=lambda item: -item[1])[:2]
        print(
            f"| {name} | {sum(found.values())} | {frames} | {'; '.join(f'{n} {what}' for what, n in most)} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
