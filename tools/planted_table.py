"""Mistakes that are planted in a small tracker on the simulated GPU, and what catches each: a table for the docs.

    python tools/planted_table.py [--check]

Plants each mistake of tests/devices again, and writes what was said between the marks of docs/reference/devices.md;
`--check` says whether the page has the table of now. Exit 1 if a mistake is not caught.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), *(str(ROOT / "tests" / name) for name in ("devices", "models"))]

import test_recording as recorded  # noqa: E402
import test_simulated as stepped  # noqa: E402
from marks import between  # noqa: E402
from simulated import DeviceMistake, simulated  # noqa: E402

from tapkit.engine import session, slots  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "devices.md"
BEGIN, END = "<!-- planted: written by tools/planted_table.py -->", "<!-- /planted -->"


def refused(run: Callable[[], object]) -> str:
    """What was said to a mistake that is refused."""
    try:
        run()
    except DeviceMistake as mistake:
        said = re.sub(r" ?\([^()]*:\d+\)$", "", str(mistake))  # the line of the test it is planted in
        return f"error: {said}"
    return ""


def waits(mistake: str) -> str:
    """How often a step waits."""
    _, counts = stepped.waits_of_a_step(stepped.Planted(stepped.COUNT[mistake]))
    return f"counted: {min(counts[1:])} waits a frame, where there is 1" if min(counts[1:]) > 1 else ""


def warned(mistake: recorded.Mistake) -> str:
    """What was said of a step that cannot be recorded, or not with the same answers."""
    slots._faster.cache_clear()  # what is known of the mistake before
    with warnings.catch_warnings(record=True) as said, simulated():
        warnings.simplefilter("always")
        recorded.drive(recorded.Moving(mistake).to("cuda"))
    return f"warning: {said[0].message}" if said else ""


def early() -> None:
    """A frame that is used before it has arrived."""
    before, session.arrived = session.arrived, lambda tensor, mark: tensor
    try:
        with simulated():
            recorded.ahead(recorded.Moving().to("cuda"))
    finally:
        session.arrived = before


def rows() -> list[tuple[str, str, str]]:
    """Where, the mistake, and what caught it (nothing: it was not)."""
    found = [
        ("a step", name, refused(lambda m=mistake: stepped.waits_of_a_step(stepped.Planted(m))))
        for name, mistake in stepped.RAISE.items()
    ]
    found += [("a step", name, waits(name)) for name in stepped.COUNT]
    found += [
        ("a step on MPS", name, refused(lambda m=mistake: stepped.waits_of_a_step(stepped.Planted(m), "mps")))
        for name, mistake in stepped.MPS.items()
    ]
    found += [("a recorded step", name, warned(mistake)) for name, mistake in recorded.REFUSED.items()]
    found.append(("a recorded step", "a number of the host", warned(lambda model, xy: xy + model.calls)))
    found.append(("frames sent ahead", "used before they have arrived", refused(early)))
    return found


def table() -> str:
    """In Markdown. Raises ValueError for a mistake that nothing caught."""
    slots.PATIENCE, slots.LEAST = 0, 2
    lines = ["| in | mistake | what catches it |", "|---|---|---|"]
    for where, mistake, said in rows():
        if not said:
            raise ValueError(f"not caught: {mistake} in {where}")
        lines.append(f"| {where} | {mistake} | {said} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Write, or compare."""
    text = PAGE.read_text(encoding="utf-8")
    wanted = between(text, BEGIN, END, f"\n\n{table()}\n\n", PAGE.name)
    if text == wanted:
        return 0
    if "--check" in arguments:
        print("docs/reference/devices.md has another table: python tools/planted_table.py")
        return 1
    PAGE.write_text(wanted, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
