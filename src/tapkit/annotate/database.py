"""The database of a project: connections, transactions, versions; what goes wrong as sentences.

SQLite: a file in WAL mode, flushed to the disk at every commit, so that what a call has returned from survives a
program that is killed and a power cut; writers take turns from the beginning of their transaction. PostgreSQL: writers
of one clip take turns by a lock on its row.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from tapkit import storage
from tapkit.annotate import schema
from tapkit.annotate.refusals import Unknown
from tapkit.errors import StorageError, UsageError, require

FILE = "project.db"
"""In the folder of a project."""
PATIENCE = 30
"""Seconds that a writer waits for others."""


def now() -> str:
    """UTC, ISO form, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def is_address(where: str | Path) -> bool:
    """Whether a project is in a database server.

    >>> is_address("postgresql://ann@host/takes"), is_address("takes.tapproj")
    (True, False)
    """
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", str(where)) is not None


class Database:
    """An open database. `where` is its folder, or its address without the password."""

    def __init__(self, engine: sa.Engine, where: str, folder: Path | None, read_only: str | None) -> None:
        self.engine, self.where, self.folder, self.read_only = engine, where, folder, read_only
        self._place = None if folder is None else (folder / FILE).resolve()
        self._file: os.stat_result | None = None
        """The file as it was found: SQLite would write on into one that was moved or deleted meanwhile."""
        self.name = ""
        self._rules: dict[int, tuple[str, float]] = {}

    @classmethod
    def create(cls, where: str | Path, name: str | None) -> Database:
        """See `Project.create`."""
        if is_address(where):
            made = cls(_server(str(where)), _plain(str(where)), None, None)
        else:
            folder = _fresh(Path(where))
            made = cls(_sqlite(folder / FILE), str(folder), folder, None)
        try:
            made._begin(name)
        except BaseException:
            made.close()
            raise
        return made

    def _begin(self, name: str | None) -> None:
        """Make the tables, where there are none."""
        usual = self.engine.url.database if self.folder is None else re.sub(r"\.tapproj$", "", self.folder.name)
        self.name = name or usual or "project"
        with self.read() as connection:
            there = sa.inspect(connection).get_table_names()
        self._file = self._found()
        if there:
            what = "a project is" if "alembic_version" in there else "tables of something else are"
            raise UsageError(f"{what} in {self.where} already: name an empty database, or a schema of its own")
        with self.write() as connection:
            _upgrade(connection)
            connection.execute(schema.projects.insert().values(id=1, name=self.name, created=now()))

    @classmethod
    def open(cls, where: str | Path, read_only: bool = False) -> Database:
        """See `Project.open`."""
        why = "it was opened for looking only" if read_only else None
        if is_address(where):
            found = cls(_server(str(where)), _plain(str(where)), None, why)
        else:
            file = Path(where)
            file = file if file.suffix == ".db" and file.is_file() else file / FILE
            if not file.is_file():
                raise StorageError(f"{storage.shown(where)} is no project: there is no {FILE} in it")
            writable = os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)
            if not writable:
                why = f"{file.parent} may not be written to by this user"
            found = cls(_sqlite(file, read_only=not writable), str(file.parent), file.parent, why)
        try:
            found._check_version()
        except BaseException:
            found.close()
            raise
        return found

    def _check_version(self) -> None:
        self._file = self._found()
        with self._told(), self.engine.connect() as connection:
            inspector = sa.inspect(connection)
            if not inspector.has_table("alembic_version") or not inspector.has_table("projects"):
                raise StorageError(f"{self.where} is no project: its database holds something else")
            version = connection.execute(sa.text("select version_num from alembic_version")).scalar()
        if version not in schema.VERSIONS:
            raise StorageError(f"{self.where} was made by a newer tapkit (its version is {version}): update tapkit")
        if version != schema.VERSIONS[-1]:
            if self.read_only:
                raise StorageError(f"{self.where} was made by an older tapkit, and may not be brought up to date here")
            with self.write() as connection:
                _upgrade(connection)
        with self.read() as connection:
            self.name = connection.execute(sa.select(schema.projects.c.name)).scalar() or ""

    def _found(self) -> os.stat_result | None:
        """The file of a folder as it is now. Raises `StorageError` where it is gone."""
        try:
            return None if self._place is None else os.stat(self._place)
        except OSError as error:
            raise StorageError(
                f"{self.where} was moved or deleted while it was open: nothing more is stored"
            ) from error

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()

    # -- transactions -----------------------------------------------------------------------------

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One look at one state of the database."""
        options = {} if self.folder is not None else {"isolation_level": "REPEATABLE READ"}
        with self._told(), self.engine.connect().execution_options(**options) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction: all of it is kept when the block is left, nothing if it raises."""
        if self.read_only:
            raise StorageError(f"{self.where} cannot be changed: {self.read_only}")
        found = self._found()
        if self._file is not None and found is not None and not os.path.samestat(self._file, found):
            raise StorageError(f"{self.where} was replaced by another project while it was open: open it again")
        with (
            self._told(),
            self.engine.connect().execution_options(tapkit_write=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the database says, as one sentence."""
        try:
            yield
        except exc.IntegrityError as error:
            raise UsageError(f"{self.where}: this contradicts what is stored ({_said(error)})") from error
        except exc.TimeoutError as error:
            raise StorageError(f"{self.where} has too much to do: try again") from error
        except exc.DBAPIError as error:
            raise StorageError(f"{self.where}: {_meant(_said(error))}") from error
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"{self.where}: {storage.reason(error)}") from error

    # -- what is asked for everywhere -------------------------------------------------------------

    def rules(self, connection: sa.Connection, wanted: set[int]) -> Mapping[int, tuple[str, float]]:
        """(rule, threshold) by which each source of predictions says what is visible. They never change."""
        if not wanted <= self._rules.keys():
            import json

            for row in connection.execute(sa.select(schema.sources.c.id, schema.sources.c.provenance)):
                said = json.loads(row.provenance)
                self._rules[row.id] = (said["visible_rule"], float(said["visible_threshold"]))
        return self._rules


def lock_clip(connection: sa.Connection, clip: int) -> sa.Row[Any]:
    """The row of a clip, which nobody else changes until the transaction ends. Raises `Unknown`."""
    return _clip(connection, sa.select(schema.clips).where(schema.clips.c.id == clip).with_for_update(), clip)


def look_at_clip(connection: sa.Connection, clip: int) -> sa.Row[Any]:
    """The row of a clip. Raises `Unknown`."""
    return _clip(connection, sa.select(schema.clips).where(schema.clips.c.id == clip), clip)


def _clip(connection: sa.Connection, query: sa.Select[Any], clip: int) -> sa.Row[Any]:
    row = connection.execute(query).one_or_none() if isinstance(clip, int) and abs(clip) < 2**31 else None
    if row is None or row.removed:
        raise Unknown(f"there is no clip {clip} in this project")
    return row


# -- engines ------------------------------------------------------------------------------------------


def _sqlite(file: Path, read_only: bool = False) -> sa.Engine:
    options = "?mode=ro" if read_only else "?mode=rwc"
    if read_only and not file.with_name(f"{file.name}-wal").exists():
        options += "&immutable=1"  # a reader would have to make files beside it otherwise
    quoted = str(file.resolve()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    engine = sa.create_engine(
        "sqlite+pysqlite://",
        creator=lambda: _connect(f"file:{quoted}{options}"),
        poolclass=sa.pool.QueuePool,
        pool_size=8,
        max_overflow=24,
    )

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        if not read_only:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A transaction that reads first and writes later could not wait for another writer, only fail.
        writes = connection.get_execution_options().get("tapkit_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _connect(address: str) -> Any:
    import sqlite3

    # Transactions are begun by `begin` above, not by the library's own guess.
    return sqlite3.connect(address, uri=True, timeout=PATIENCE, check_same_thread=False, isolation_level=None)


def _server(address: str) -> sa.Engine:
    if re.match(r"postgres(ql)?(\+psycopg)?://", address) is None:
        kind = address.partition("://")[0]
        raise UsageError(f"a project is a folder or in PostgreSQL (postgresql://...), not in {kind}")
    require("psycopg", "postgres")
    try:
        url = sa.make_url(address).set(drivername="postgresql+psycopg")
    except exc.ArgumentError as error:
        raise UsageError("the address of the database is written postgresql://USER@HOST/DATABASE") from error
    return sa.create_engine(url, pool_pre_ping=True, pool_size=8, max_overflow=24)


def _fresh(folder: Path) -> Path:
    """The folder of a new project. Raises `UsageError` where something is there."""
    if (folder / FILE).exists():
        raise UsageError(f"{folder} is a project already: open it, or name another folder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is a folder with other things in it, or a file: name another folder")
    return storage.make_folder(folder)


def _plain(address: str) -> str:
    """An address without its password."""
    try:
        return sa.make_url(address).render_as_string(hide_password=True)
    except exc.ArgumentError:
        return "the database"


def _upgrade(connection: sa.Connection) -> None:
    """Bring the database to the latest version."""
    require("alembic", "annotate")
    from alembic import command
    from alembic.config import Config

    from tapkit.annotate import migrations

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _said(error: exc.DBAPIError) -> str:
    lines = str(error.orig).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _meant(said: str) -> str:
    """The sentence for what SQLite or PostgreSQL says."""
    for pattern, sentence in _SENTENCES.items():
        if re.search(pattern, said, re.IGNORECASE):
            return sentence
    return said


_SENTENCES = {
    r"disk is full|No space left|could not extend file": "the disk is full; nothing of this change was kept",
    r"readonly database|read-only": "it may not be written to; nothing of this change was kept",
    r"locked": f"another program has been writing to it for more than {PATIENCE} seconds; try again",
    r"not a database|malformed|disk image": "it is not a database, or is damaged",
    r"unable to open": "it cannot be opened",
    r"password authentication|no password|role .* does not exist": "the server does not let this user in",
    r"connection (refused|failed|is bad)|could not (connect|translate)|server closed|terminating": (
        "the database server cannot be reached"
    ),
}
