"""The studio: one project that is open, with everything that answers for it. What routes get as `studio`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapkit.annotate import NotAllowed
from tapkit.annotate import values as v
from tapkit.errors import UsageError
from tapkit.web import uploads
from tapkit.web.frames import Frames
from tapkit.web.guard import Names, is_loopback
from tapkit.web.hub import Hub
from tapkit.web.jobs import Jobs
from tapkit.web.passwords import Attempts
from tapkit.web.places import Places
from tapkit.web.refusals import NotSignedIn
from tapkit.web.repeats import Repeats
from tapkit.web.sessions import Sessions

if TYPE_CHECKING:
    from tapkit.annotate import Project


@dataclass
class Studio:
    """A project, the folders from which clips may be added, and who may come in."""

    project: Project
    target: str
    """What the project was opened by: a folder or an address, for the process that tracks."""
    folders: Places
    """From which clips may be added, and uploads among them."""
    team: bool = False
    """Whether everybody signs in with an account of their own."""
    names: Names = field(default_factory=Names)
    upload_folder: Path | None = None
    """None: nothing can be uploaded."""
    largest_upload: int = uploads.LARGEST
    cookie: str = "tapkit"
    """Its name: two studios on one machine share their cookies, which know no ports."""
    hub: Hub = field(default_factory=Hub)
    sessions: Sessions = field(default_factory=Sessions)
    repeats: Repeats = field(default_factory=Repeats)
    attempts: Attempts = field(default_factory=Attempts)

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.project, self.target, self.hub)
        self.frames = Frames(busy=self.jobs.busy)

    @property
    def setting_up(self) -> bool:
        """Whether a team has no account yet: whoever has the address makes the first one, an owner's."""
        return self.team and not self.project.users()

    def user(self, user: int | None) -> v.User | None:
        """The account of that number; None in a project without accounts. Raises `NotSignedIn` for one that may not
        come in any more."""
        if user is None:
            return None
        found = next((each for each in self.project.users() if each.id == user and each.active), None)
        if found is None:
            raise NotSignedIn("this account is not in use any more")
        return found

    def name_of(self, user: int | None) -> str | None:
        """What a user is called."""
        return next((each.name for each in self.project.users() if each.id == user), None) if user else None

    def need(self, user: int, role: v.Role) -> None:
        """Raise `NotAllowed` for a user of another role."""
        found = self.user(user)
        if found is None or found.role != role:
            raise NotAllowed(f"only the role {role} may do that")

    def tell(self, clip: int, of: int | None, message: dict[str, Any]) -> None:
        """Tell those who look at a clip, and are not blind to it, what `of` did."""
        self.hub.tell(clip, message, lambda users: self.project.audience(clip, of, users))

    def close(self) -> None:
        """Stop what runs; what it has found is stored. The project stays open."""
        self.jobs.close()
        self.frames.close()


def open_studio(
    project: Project,
    target: str,
    folders: Iterable[str | Path] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    team: bool = False,
    names: Iterable[str] = (),
    largest_upload: int = uploads.LARGEST,
) -> Studio:
    """The studio of a project.

    Args:
        folders: from which clips may be added; those of the project's clips are not opened by that. What is uploaded
            goes into the project's folder, or where it has none (PostgreSQL) into uploads/ of the first of these.
        host, port: where the server will listen.
        team: whether everybody has an account; so it is in any case where the project has accounts.
        names: by which the server may be called, beside its own.

    Raises `UsageError` for an interface that others reach, without accounts.
    """
    team = team or bool(project.users())
    if not team and not is_loopback(host):
        raise UsageError(
            f"{host} can be reached by others: use --team, which gives everybody an account, or stay on 127.0.0.1"
        )
    places = [Path(folder) for folder in folders]
    local = Path(project.where)
    upload_folder = local / "uploads" if local.is_dir() else places[0] / "uploads" if places else None
    if project.read_only is not None:
        upload_folder = None
    every = [*places, *([upload_folder] if upload_folder else [])]
    return Studio(
        project,
        target,
        Places(every),
        team,
        Names(host, list(names)),
        upload_folder,
        largest_upload,
        f"tapkit_{port}",
    )
