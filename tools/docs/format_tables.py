"""Tables of file formats for the documentation, from the formats themselves."""

from __future__ import annotations

from model_tables import table

from tapkit.export.library import FORMATS


def formats_table() -> str:
    """Every format: what it is called, its ending, which ways it goes, how it counts."""
    rows = [
        [
            f"[`{e.name}`](#{e.name})" if e.options else f"`{e.name}`",
            "folder" if e.suffix == "/" else f"`{e.suffix}`",
            "both ways" if e.reader else "export",
            f"{e.first_frame}, or the clip's own" if e.keeps_start else str(e.first_frame),
            "yes" if e.occlusion else "",
            e.description,
        ]
        for e in FORMATS.values()
    ]
    return table(["format", "file", "goes", "first frame", "marks occlusion", "what it is"], rows)


def format_options() -> str:
    """The options of each format that has any."""
    parts = []
    for entry in FORMATS.values():
        if entry.options:
            rows = [[f"`{name}`", _kind(option.kind), option.help] for name, option in entry.options.items()]
            parts += [f"### {entry.name}", table(["option", "value", "what it does"], rows)]
    return "\n\n".join(parts)


def _kind(kind: object) -> str:
    words = {"int": "a whole number", "float": "a number", "str": "text", "flag": "yes or no"}
    name = getattr(kind, "__name__", "")
    return words.get(name, name.strip("_").replace("_", " ") or "text")
