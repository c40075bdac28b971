"""The page of file formats, from the formats themselves."""

from __future__ import annotations

from model_tables import table

from tapkit.export.library import formats

_EXTRAS = {"dlc", "sleap", "colmap", "rerun", "exr", "parquet"}


def formats_page() -> str:
    """Every format: what it is called, its ending, which ways it goes, how it counts; then the options of each."""
    entries = list(formats().values())
    rows = [
        [
            f"[`{e.name}`](#{e.name})" if e.options else f"`{e.name}`",
            "folder" if e.suffix == "/" else f"`{e.suffix}`",
            "yes",
            "yes" if e.reader else "no",
            "its own" if e.keeps_start else str(e.first_frame),
            "yes" if e.occlusion else "no",
            e.description,
        ]
        for e in entries
    ]
    head = ["format", "file", "export", "import", "first frame", "marks occlusion", "what it is"]
    parts = [
        "# File formats",
        "Written when this page is built, from the formats that the package has; `tapkit export --list` prints the same. "
        "What becomes a key, and what comes back, is told in [exports and imports](../export/index.md), with a page for "
        "each of the larger programs.",
        "```sh\ntapkit export clip.tracks.npz --to FORMAT [--set NAME=VALUE]\n"
        "tapkit import FILE corrected.npz --from FORMAT --original clip.tracks.npz\n```",
        table(head, rows),
        "A clip whose own numbering starts elsewhere (1001, say) keeps its numbers where *first frame* says so. Formats "
        "of other packages (entry points of the group `tapkit.formats`) appear in the list of `tapkit export --list`.",
        "## Options",
    ]
    for entry in entries:
        if entry.options:
            parts += [
                f"### {entry.name}",
                table(
                    ["option", "value", "what it does"],
                    [[f"`{name}`", _kind(o.kind), o.help] for name, o in entry.options.items()],
                ),
            ]
    return "\n\n".join(parts) + "\n"


def _kind(kind: object) -> str:
    words = {"int": "a whole number", "float": "a number", "str": "text", "flag": "yes or no"}
    name = getattr(kind, "__name__", "")
    return words.get(name, name.strip("_").replace("_", " ") or "text")
