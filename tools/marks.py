"""Parts of pages that a tool writes, between two marks."""

from __future__ import annotations


def between(text: str, begin: str, end: str, part: str, page: str) -> str:
    """The text of `page` with `part` between its marks. Raises ValueError where they are missing."""
    before, first, rest = text.partition(begin)
    _, last, after = rest.partition(end)
    if not (first and last):
        raise ValueError(f"{page} lacks the marks {begin} and {end}")
    return f"{before}{begin}{part}{end}{after}"
