"""The table of trackers in README.md, from their cards.

python tools/readme_table.py            write it
python tools/readme_table.py --check    exit 1 if README.md has another one (part of `make lint`)
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tools" / "docs")]

from marks import between  # noqa: E402
from model_tables import page_of, short  # noqa: E402  (the folder of the generators of the documentation)

from tapkit.types import ModelCard  # noqa: E402

BEGIN, END = "<!-- trackers: written by tools/readme_table.py -->", "<!-- /trackers -->"


def link(card: ModelCard) -> str:
    """The tracker's id, linked to its page."""
    page = page_of(card.id)
    return f"[{card.id}](docs/models/{page}.md)" if page else card.id


def with_table(text: str) -> str:
    """The text of the README with the table of now between its marks. Raises ValueError where they are missing."""
    return between(text, BEGIN, END, f"\n{short(link)}\n", "README.md")


def main(arguments: list[str]) -> int:
    """Write, or compare."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    wanted = with_table(text)
    if text == wanted:
        return 0
    if "--check" in arguments:
        print("the table of trackers in README.md is not that of the cards: python tools/readme_table.py")
        return 1
    path.write_text(wanted, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
