"""What MkDocs calls while it builds the documentation: generated pages, generated tables, pages in the navigation.

Nothing that is generated is committed: tables of trackers come from their cards, options from their declarations,
formats from the library of formats, the command line from its own --help.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

from annotation_figures import annotation_clicks, annotation_scale
from command_pages import commands, exit_codes
from fleet_table import fleet_results
from format_tables import format_options, formats_table
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from model_tables import card_table, every_card, options_table, overview, page_of, published_table, table
from paired_table import paired_networks
from per_video_tables import annotated_clips, learned, mechanics, occlusion, time_on_clips
from studio_server_table import server_latencies
from studio_tables import latencies

sys.path.insert(0, str(Path(__file__).parents[1]))
from gallery import PICTURES

from tapkit.errors import TapkitError
from tapkit.motion import EDGE_COLUMNS
from tapkit.motion.stats import COLUMNS, column_name
from tapkit.types import ModelCard

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_OUTSIDE = re.compile(r"\[[^\]]+\]\(((?:\.\./)*)((?:benchmarks/results|src|tools|tests|examples)/[^)]*)\)")
"""Links from a page to files of the repository that are no pages: on the site, their paths."""
_MARK = re.compile(r"<!-- generated: ([^>]+) -->")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """`FOLDER/*` in the navigation becomes the pages of that folder that are not named elsewhere."""
    named = set(_pages(config.nav))
    config.nav = _expanded(config.nav, named)
    return config


def _pages(entry: Any) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    values = entry.values() if isinstance(entry, dict) else entry
    return [page for value in values for page in _pages(value)]


def _expanded(entries: list[Any], named: set[str]) -> list[Any]:
    out: list[Any] = []
    for entry in entries:
        if isinstance(entry, dict):
            out.append({key: _expanded(v, named) if isinstance(v, list) else v for key, v in entry.items()})
        elif entry.endswith("/*"):
            folder = entry.removesuffix("/*")
            found = sorted(f"{folder}/{path.name}" for path in (DOCS / folder).glob("*.md"))
            out += [page for page in found if page not in named]
        else:
            out.append(entry)
    return out


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages that stand in the root of the repository."""
    pages = {"changelog.md": _of_repository("CHANGELOG.md"), "contributing.md": _of_repository("CONTRIBUTING.md")}
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links that leave the site become paths; generated parts are put in; trackers get their cards and figures."""
    path = Path(page.file.src_uri)
    markdown = _OUTSIDE.sub(r"`\2`", markdown)
    markdown = _MARK.sub(lambda found: GENERATED[found[1]](), markdown)
    if path.parent.name != "models" or path.stem == "index":
        return markdown
    cards = [card for card in every_card() if page_of(card.id) == path.stem]
    return markdown.rstrip() + "\n\n" + "\n\n".join(_facts(card, len(cards) > 1) for card in cards) + "\n"


def _facts(card: ModelCard, several: bool) -> str:
    """The generated part of a tracker's page."""
    of = f" of {card.id}" if several else ""
    parts = [f"## Card{of}", card_table(card)]
    options, published = options_table(card.id), published_table(card)
    if options:
        parts += [
            f"## All options{of}",
            "`--set NAME=VALUE` on the command line, keyword arguments in Python.",
            options,
        ]
    if published:
        parts += [f"## Published figures{of}", published]
    return "\n\n".join(parts)


def trackers() -> str:
    """The table of all trackers, each with a link to its page."""

    def link(card: ModelCard) -> str:
        page = page_of(card.id)
        return f"[{card.id}]({page}.md)" if page else card.id

    return overview(link)


def options() -> str:
    """All options of all trackers, those with the same ones together."""
    seen: dict[str, list[str]] = {}
    for card in every_card():
        seen.setdefault(options_table(card.id), []).append(card.id)
    return "\n\n".join(f"## {', '.join(models)}\n\n{text or 'No options.'}" for text, models in seen.items())


def errors() -> str:
    """Every class of error, with its exit code."""
    rows = [[f"`{kind.__name__}`", str(kind.exit_code), _first(kind.__doc__)] for kind in _errors(TapkitError)]
    return table(["error", "exit code", "raised for"], rows, "lrl")


def gallery() -> str:
    """The pictures of the gallery, each with the commands that make it."""
    parts = []
    for picture in PICTURES:
        commands = "\n".join(picture.commands)
        files = "".join(f"`{name}`:\n\n```text\n{content}```\n\n" for name, content in picture.files)
        parts.append(
            f"![{picture.name}](assets/gallery/{picture.name}.webp)\n\n{picture.caption}\n\n"
            f"{files}```sh\n{commands}\n```"
        )
    return "\n\n".join(parts)


def stats_columns() -> str:
    """What the columns of `tapkit stats` mean."""
    return table(
        ["column", "meaning"], [[f"`{column_name(name, 'mm')}`", meaning] for name, meaning in COLUMNS.items()], "ll"
    )


def edge_columns() -> str:
    """What the columns of `tapkit stats --skeleton` mean."""
    rows = []
    for name, meaning in EDGE_COLUMNS.items():
        unit = "_mm" if name.endswith("_length") else "_deg" if name.endswith("_angle") else ""
        rows.append([f"`{name}{unit}`", meaning])
    return table(["column", "meaning"], rows, "ll")


GENERATED = {
    "annotation clicks": annotation_clicks,
    "annotation scale": annotation_scale,
    "gallery": gallery,
    "edge columns": edge_columns,
    "stats columns": stats_columns,
    "trackers": trackers,
    "options": options,
    "formats": formats_table,
    "format options": format_options,
    "commands": commands,
    "errors": errors,
    "exit codes": exit_codes,
    "paired networks": paired_networks,
    "per-video omnimotion": partial(learned, "omnimotion"),
    "per-video cadex++": partial(learned, "cadex++"),
    "per-video occlusion": occlusion,
    "per-video clips": annotated_clips,
    "per-video mechanics": mechanics,
    "per-video time": time_on_clips,
    "studio latencies": latencies,
    "studio server": server_latencies,
    "fleet": fleet_results,
}
"""What `<!-- generated: NAME -->` in a page becomes."""


def _errors(kind: type[TapkitError]) -> list[type[TapkitError]]:
    return [kind, *(deeper for one in kind.__subclasses__() for deeper in _errors(one))]


def _first(text: str | None) -> str:
    return (text or "").strip().split("\n\n")[0].replace("\n", " ")


def _of_repository(name: str) -> str:
    """A page that stands in the root of the repository; its links to docs/ become links of the site."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(r"\]\(docs/([^)]*)\)", r"](\1)", text)
