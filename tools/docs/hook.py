"""What MkDocs calls while it builds the documentation: generated pages, generated tables, pages in the navigation.

Nothing that is generated is committed: tables of trackers come from their cards, options from their declarations, formats
from the library of formats, the command line from its own --help.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from command_pages import commands_page
from format_tables import formats_page
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from model_tables import card_table, options_table, overview, page_of, published_table

from tapkit import registry
from tapkit.cli.main import app
from tapkit.errors import TapkitError
from tapkit.types import ModelCard

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_OUTSIDE = re.compile(r"\[[^\]]+\]\(((?:\.\./)*)((?:benchmarks/results|src|tools|tests|examples)/[^)]*)\)")
"""Links from a page to files of the repository that are no pages: on the site, their paths."""


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
    """Add the generated pages."""
    pages = {
        "models/index.md": models_page(),
        "reference/options.md": options_page(),
        "reference/formats.md": formats_page(),
        "reference/command-line.md": commands_page(),
        "reference/errors.md": errors_page(),
        "changelog.md": _of_repository("CHANGELOG.md"),
        "contributing.md": _of_repository("CONTRIBUTING.md"),
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links that leave the site become paths; pages of trackers get their cards, options and published figures."""
    path = Path(page.file.src_uri)
    markdown = _OUTSIDE.sub(r"`\2`", markdown)
    if path.parent.name != "models" or path.stem == "index":
        return markdown
    stems = _stems()
    cards = [card for card in registry.cards().values() if page_of(card.id, stems) == path.stem]
    return markdown.rstrip() + "\n\n" + "\n\n".join(_facts(card, len(cards) > 1) for card in cards) + "\n"


def _stems() -> list[str]:
    return [path.stem for path in (DOCS / "models").glob("*.md")]


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


def models_page() -> str:
    """The table of all trackers."""
    stems = _stems()

    def link(card: ModelCard) -> str:
        page = page_of(card.id, stems)
        return f"[{card.id}]({page}.md)" if page else card.id

    return "\n\n".join(
        [
            "# Trackers",
            "Written when this page is built, from the cards of the package; `tapkit models` prints the same list, and "
            "says which weights are on this machine. DAVIS: figures of the authors on TAP-Vid DAVIS, query first, as "
            "their papers and READMEs print them; protocols differ, and the page of each tracker has the protocol. What "
            "was measured with tapkit is in the [leaderboard](../benchmarks/leaderboard.md).",
            overview(link),
            "- **Kind**: *causal* trackers answer each frame as it comes, *window* ones some frames later, *offline* ones "
            "when they have seen the clip ([kinds of trackers](../concepts/kinds.md)).\n"
            "- **Points**: where they are *joint*, tracks depend on which other points are asked.\n"
            "- **Commercial use** is about the weights. tapkit's own code is Apache-2.0 throughout.\n"
            f"- Where none is named, `{registry.DEFAULT}` is used. See [which to choose](../how-to/choose-a-tracker.md).",
        ]
    )


def options_page() -> str:
    """All options of all trackers on one page."""
    parts = [
        "# Options of the trackers",
        "Written when this page is built, from the declarations beside each tracker. On the command line "
        "`--set NAME=VALUE` (the value is read as JSON where it is JSON), in Python keyword arguments of `tapkit.load` "
        "and `tapkit.track`. An option that a tracker does not have, or a value of another type, is refused before "
        "anything runs.",
    ]
    seen: dict[str, list[str]] = {}
    for model in registry.cards():
        seen.setdefault(options_table(model), []).append(model)
    for text, models in seen.items():
        parts += [f"## {', '.join(models)}", text or "No options."]
    return "\n\n".join(parts) + "\n"


def errors_page() -> str:
    """Errors and exit codes, from the classes themselves."""
    from model_tables import table

    rows = [[f"`{kind.__name__}`", str(kind.exit_code), _first(kind.__doc__)] for kind in _errors(TapkitError)]
    return "\n\n".join(
        [
            "# Errors and exit codes",
            "Every error that tapkit raises on purpose derives from `tapkit.TapkitError` and says in one sentence what to "
            "do about it. The command line prints that sentence without a traceback (unless `--debug` is given) and exits "
            "with the error's code.",
            table(["error", "exit code", "raised for"], rows, "lrl"),
            "## Exit codes",
            table(
                ["code", "meaning"], re.findall(r"(\d+) ([^,.]+)", str(app.epilog).partition("Exit codes:")[2]), "rl"
            ),
            "What is printed for some thirty kinds of bad input: [bad inputs](bad_inputs.md).",
        ]
    )


def _errors(kind: type[TapkitError]) -> list[type[TapkitError]]:
    return [kind, *(deeper for one in kind.__subclasses__() for deeper in _errors(one))]


def _first(text: str | None) -> str:
    return (text or "").strip().split("\n\n")[0].replace("\n", " ")


def _of_repository(name: str) -> str:
    """A page that stands in the root of the repository; its links to docs/ become links of the site."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(r"\]\(docs/([^)]*)\)", r"](\1)", text)
