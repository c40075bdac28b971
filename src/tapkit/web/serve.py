"""Running the studio: a project for what was named, a port, a browser."""

from __future__ import annotations

import errno
import shutil
import socket
import sys
import threading
import warnings
import webbrowser
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from tapkit.annotate import Project
from tapkit.errors import StorageError, UsageError, VideoError, VideoWarning, require
from tapkit.web.places import PICTURES, VIDEOS

PORT = 8010
SUFFIX = ".tapproj"


def project_of(target: str) -> tuple[Project, str, list[Path]]:
    """The project that is meant by a clip, a folder, or a project; what it was opened by; the folders to open.

    A clip's project is NAME.tapproj beside it, a folder's NAME.tapproj in it; both are made where there is none, and
    the videos in a folder become clips. A project is opened as it is, with the folder that it lies in. Raises
    `UsageError`, `StorageError`, `VideoError`.
    """
    if target.startswith(("postgresql:", "postgresql+", "postgres:")):
        return _opened(target), target, []
    path = Path(target).expanduser()
    if not path.exists():
        if path.suffix == SUFFIX:
            raise UsageError(f"there is no project {path}: name a clip or a folder, and one is made for it")
        raise UsageError(f"there is no {path}: name a clip, a folder with clips or a project")
    path = path.resolve()
    if path.suffix == SUFFIX:
        return _opened(str(path)), str(path), [path.parent]
    if path.is_dir() and not _is_sequence(path):
        where = path / f"{path.name or 'studio'}{SUFFIX}"
        clips = sorted(each for each in path.iterdir() if each.suffix.lower() in VIDEOS and each.is_file())
        return _filled(where, clips), str(where), [path]
    where = path.with_name(f"{path.stem if path.is_file() else path.name}{SUFFIX}")
    return _filled(where, [path]), str(where), [path.parent]


def _is_sequence(folder: Path) -> bool:
    """Whether a folder is a clip itself: pictures, and no videos."""
    endings = {each.suffix.lower() for each in folder.iterdir() if each.is_file()}
    return bool(endings & PICTURES) and not endings & VIDEOS


def _opened(where: str) -> Project:
    """The project, to be looked at only where it cannot be written to."""
    return Project.open(where)


def _made(where: Path, clips: Sequence[Path]) -> Project:
    """A new project; where nothing can be written beside the clip, the error says how to have it elsewhere."""
    try:
        return Project.create(where)
    except StorageError as error:
        code = getattr(error.__cause__, "errno", None) or error.errno
        if code not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        first = clips[0] if clips else "clip.mp4"
        raise StorageError(
            f"{error}; a project can lie elsewhere: tapkit project new PLACE{SUFFIX} {first}, then tapkit studio "
            f"PLACE{SUFFIX}"
        ) from error


def _filled(where: Path, clips: Sequence[Path]) -> Project:
    """The project there, made if there is none, with these clips in it; of several, those that are videos.

    Where there is no clip to be had, no project is left behind.
    """
    fresh = not where.exists()
    project = _made(where, clips) if fresh else Project.open(where)
    try:
        if project.read_only is None and not project.users():  # with accounts, clips are added by those who may
            have = {clip.path for clip in project.clips()}
            for clip in clips:
                if str(clip) not in have:
                    _add(project, clip, alone=len(clips) == 1)
    except BaseException:
        project.close()
        if fresh:
            shutil.rmtree(where, ignore_errors=True)
        raise
    return project


def _add(project: Project, clip: Path, alone: bool) -> None:
    try:
        project.add_clip(clip)
    except VideoError as error:
        if alone:
            raise
        warnings.warn(f"{error}; it is left out", VideoWarning)


def serve(
    target: str,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    browser: bool = True,
    team: bool = False,
    folders: Iterable[Path] = (),
    names: Iterable[str] = (),
    largest_upload: int | None = None,
    say: Callable[[str], object] = print,
) -> None:
    """Open the studio of `target` and answer until Ctrl-C.

    Args:
        target: a clip, a folder, a project (NAME.tapproj or postgresql://...).
        host: what to listen on; others than loopback only with accounts.
        port: None: 8010, or the next one that is free.
        browser: whether to open one.
        team: whether everybody has an account.
        folders: from which clips may be added, beside that of the target.
        names: by which the server may be called, beside its own (of a reverse proxy).
        largest_upload: bytes.
        say: prints the address.

    Raises `UsageError` for a port that is taken, and as `project_of` and `open_studio` do.
    """
    require("fastapi", "web")
    require("argon2", "web")
    require("websockets", "web")
    uvicorn = require("uvicorn", "web")

    from tapkit.web import uploads
    from tapkit.web.app import make_app
    from tapkit.web.studio import open_studio

    project, opened, own = project_of(target)
    try:
        with listening(host, port) as listener:
            number = listener.getsockname()[1]
            studio = open_studio(
                project,
                opened,
                [*own, *folders],
                host=host,
                port=number,
                team=team,
                names=names,
                largest_upload=largest_upload or uploads.LARGEST,
            )
            app = make_app(studio)
            address = f"http://{_shown(host)}:{number}/"
            if not studio.team or studio.setting_up:
                address += f"?key={studio.sessions.secret}"
            config = uvicorn.Config(
                app, log_level="warning", access_log=False, server_header=False, proxy_headers=False,
                ws_max_size=1 << 16, timeout_graceful_shutdown=2, h11_max_incomplete_event_size=64 << 10,
            )  # fmt: skip
            server = uvicorn.Server(config)
            studio.jobs.start()
            _announce(say, address, studio.team, studio.setting_up, project.where)
            if browser:
                threading.Timer(0.5, webbrowser.open, [address]).start()
            with suppress(KeyboardInterrupt):  # the usual end
                server.run(sockets=[listener])
            say("The studio is closed; everything is stored.")
    finally:
        project.close()


def listening(host: str, port: int | None) -> socket.socket:
    """A socket on that port, or on the first free one from `PORT` on. Raises `UsageError`."""
    wanted = [port] if port is not None else [*range(PORT, PORT + 20), 0]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    failure: OSError | None = None
    for number in wanted:
        listener = socket.socket(family, socket.SOCK_STREAM)
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, number))
            listener.listen(128)  # from here on a browser waits instead of being turned away
            return listener
        except (OSError, OverflowError) as error:
            listener.close()
            failure = error if isinstance(error, OSError) else OSError(str(error))
    assert failure is not None
    reason = failure.strerror or str(failure)
    raise UsageError(f"the studio cannot listen on {host}:{wanted[0]}: {reason[:1].lower()}{reason[1:]}") from failure


def _shown(host: str) -> str:
    """The host as it is written in an address that can be opened on this machine."""
    if host in ("0.0.0.0", "::"):
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _announce(say: Callable[[str], object], address: str, team: bool, setting_up: bool, where: str) -> None:
    say(f"The project is {where}.")
    if setting_up:
        say("It has no accounts yet: whoever opens this address first makes the owner's.")
    say(f"The studio is open at {address}")
    if not team:
        say("The address holds a key: whoever has it can see and change the project. Ctrl-C closes the studio.")
