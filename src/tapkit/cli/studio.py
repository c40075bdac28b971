"""`tapkit studio`: the annotation tool in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def studio(
    target: Annotated[
        str, typer.Argument(help="A clip, a folder of clips, a project (NAME.tapproj) or postgresql://...")
    ],
    host: Annotated[str, typer.Option(help="What to listen on; others than this machine need --team.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port. [8010, or the next one that is free]")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
    team: Annotated[bool, typer.Option("--team", help="Everybody signs in: accounts, roles, review.")] = False,
    folder: Annotated[
        list[Path] | None,
        typer.Option("--folder", help="More folders from which clips may be added. Repeatable.", exists=True),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="Another name by which the server is called, as behind a proxy. Repeatable."),
    ] = None,
    largest: Annotated[
        int, typer.Option("--largest-upload", min=1, metavar="MB", help="Largest file that may be uploaded.")
    ] = 4096,
) -> None:
    """Place points in a browser, watch them being followed, correct them, hand them on.

    What is done is stored at once, in a project beside the clip (NAME.tapproj): closing the page or the studio loses
    nothing. Only files in the folder of TARGET can be opened from the page.

      tapkit studio clip.mp4

      tapkit studio shots/ --port 8080 --no-browser

      tapkit studio shots.tapproj --team --host 0.0.0.0
    """
    from tapkit.errors import require

    require("sqlalchemy", "annotate")
    require("fastapi", "web")
    from tapkit.web.serve import serve

    serve(
        target,
        host=host,
        port=port,
        browser=browser,
        team=team,
        folders=folder or [],
        names=name or [],
        largest_upload=largest << 20,
        say=typer.echo,
    )
