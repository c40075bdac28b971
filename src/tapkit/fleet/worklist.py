"""The work list: which items there are, who is at work on which, and what became of each. One small SQLite file.

Processes take items from it one at a time, in transactions, so that no two have the same. Whoever took one says again
and again that it is alive; what was taken by a process that is not (killed, or its machine gone) is given back. So
nothing is lost or done twice, whichever process ends at whichever moment.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from tapkit import storage
from tapkit.errors import StorageError, UsageError
from tapkit.fleet.alive import alive, born, machine
from tapkit.fleet.task import Facts, Item

LEASE = 60.0
"""Seconds without a sign of life after which a process of another machine is taken for dead."""
MOST_DEATHS = 3
"""So many processes may die over one item before it is taken for the reason."""
_PATIENCE = 60.0
"""Seconds that a transaction waits for others."""
_TABLES = """
create table job (version integer not null, identity text not null, replace integer not null);
create table owners (
  id integer primary key, machine text not null, pid integer not null, born text not null, beat real not null,
  frames integer not null default 0, said text, code integer);
create table items (
  id integer primary key, name text not null unique, source text not null, state text not null default 'waiting',
  owner integer, deaths integer not null default 0, frames integer, facts text, error text);
create index by_state on items (state, id, frames);
"""
_VERSION = 1


class Counts(NamedTuple):
    """How many items are in which state."""

    waiting: int = 0
    running: int = 0
    done: int = 0
    there: int = 0
    """Whose result was there already."""
    failed: int = 0
    frames: int = 0
    """Of all that are done, and what is known of those that are running."""

    @property
    def total(self) -> int:
        """All items."""
        return self.waiting + self.running + self.done + self.there + self.failed


class Claim(NamedTuple):
    """An item that was taken."""

    id: int
    item: Item


class Row(NamedTuple):
    """An item and what became of it."""

    item: Item
    state: str
    facts: Mapping[str, Any]
    error: str


class WorkList:
    """An open work list. A context manager; each process opens its own."""

    def __init__(self, path: Path) -> None:
        """Open the list at `path`. Raises `StorageError`."""
        self.path = path
        with self._told():
            # Transactions are begun where they are needed: an item is taken by the first statement of one.
            self._db = sqlite3.connect(path, _PATIENCE, isolation_level=None)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = normal")

    @classmethod
    def begin(cls, path: Path, identity: Mapping[str, Any], replace: bool = False) -> WorkList:
        """The list at `path`, made if need be.

        Args:
            path: of the file; its folder is made.
            identity: of the task. Raises `UsageError` if the list is that of another, and that was begun with.
            replace: begin anew, and let results be replaced that are there.
        """
        said = json.dumps(identity, sort_keys=True, default=str)
        storage.make_folder(path.parent)
        if replace:
            cls._remove(path)
        found = cls(path)
        try:
            with found._transaction() as db:
                if not db.execute("select 1 from sqlite_master where name = 'job'").fetchone():
                    for statement in _TABLES.split(";"):
                        db.execute(statement)
                    db.execute("insert into job values (?, ?, ?)", (_VERSION, said, replace))
                version, before = db.execute("select version, identity from job").fetchone()
                if version != _VERSION:
                    raise StorageError(f"{path} was made by another version of tapkit: remove it")
                if before != said:
                    if db.execute("select 1 from items where state != 'waiting' limit 1").fetchone():
                        other = _difference(json.loads(before), json.loads(said))
                        raise UsageError(
                            f"{path} is the work list of another job ({other}): name another output, or "
                            f"remove {path.parent}"
                        )
                    db.execute("delete from items")
                    db.execute("update job set identity = ?", (said,))
        except BaseException:
            found.close()
            raise
        return found

    @classmethod
    def _remove(cls, path: Path) -> None:
        """Raises `StorageError` while a process is at work on the list."""
        if path.exists():
            with cls(path) as old:
                with old._told():
                    known = old._db.execute("select 1 from sqlite_master where name = 'owners'").fetchone()
                if known:
                    old.reclaim()
                if known and old.counts().running:
                    raise StorageError(f"other processes are at work on {path}: stop them before you begin anew")
        with old_files(path):
            for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
                file.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @property
    def replaces(self) -> bool:
        """Whether results that are there are to be replaced."""
        with self._told():
            return bool(self._db.execute("select replace from job").fetchone()[0])

    def settle(self) -> None:
        """All is done: results that are there from now on are not replaced."""
        self._do("update job set replace = 0")

    # -- filling it -------------------------------------------------------------------------------

    def add(self, items: Iterable[Item]) -> None:
        """Put items on the list; those that are on it already stay as they are.

        Raises `UsageError` for two items of one name, here or with one that is on the list.
        """
        with self._transaction() as db:
            db.execute("create temp table if not exists given (name text primary key, source text not null)")
            db.execute("delete from given")
            for item in items:
                try:
                    db.execute("insert into given values (?, ?)", item)
                except sqlite3.IntegrityError as error:
                    (other,) = db.execute("select source from given where name = ?", (item.name,)).fetchone()
                    raise _same_name(item.name, other, item.source) from error
            other = db.execute(
                "select name, items.source, given.source from given join items using (name) "
                "where given.source != items.source limit 1"
            ).fetchone()
            if other is not None:
                raise _same_name(*other)
            db.execute("insert or ignore into items (name, source) select name, source from given order by rowid")
            db.execute("delete from given")

    def retry_failed(self) -> int:
        """Let failed items be done again; returns how many there are."""
        with self._transaction() as db:
            again = "update items set state = 'waiting', error = null, deaths = 0 where state = 'failed'"
            return db.execute(again).rowcount

    def check(self, is_there: Callable[[str], bool]) -> None:
        """Let items be done again whose results have gone, as `is_there` says of a name."""
        gone = [(id,) for id, name in self._finished() if not is_there(name)]
        with self._transaction() as db:
            db.executemany("update items set state = 'waiting', facts = null, frames = null where id = ?", gone)

    def _finished(self) -> Iterator[tuple[int, str]]:
        with self._told():
            yield from self._db.execute("select id, name from items where state in ('done', 'there') order by id")

    # -- doing it ---------------------------------------------------------------------------------

    def enter(self) -> int:
        """Note this process as one that takes items; returns its number on this list."""
        now = (machine(), os.getpid(), born(os.getpid()), time.time())
        with self._transaction() as db:
            number = db.execute("insert into owners (machine, pid, born, beat) values (?, ?, ?, ?)", now).lastrowid
        assert number is not None
        return number

    def claim(self, owner: int) -> Claim | None:
        """Take the next item; None if none waits."""
        with self._told():
            row = self._db.execute(
                "update items set state = 'running', owner = ? where id = "
                "(select id from items where state = 'waiting' order by id limit 1) returning id, name, source",
                (owner,),
            ).fetchone()
        return None if row is None else Claim(row[0], Item(row[1], row[2]))

    def beat(self, owner: int, frames: int = 0) -> None:
        """A sign of life, with the frames of the item at hand that are done."""
        self._do("update owners set beat = ?, frames = ? where id = ?", time.time(), frames, owner)

    def holds(self, owner: int, id: int) -> bool:
        """Whether an item is still the owner's: it is not, if it was thought dead and the item given to another."""
        with self._told():
            mine = "select 1 from items where id = ? and owner = ? and state = 'running'"
            return self._db.execute(mine, (id, owner)).fetchone() is not None

    def done(self, owner: int, id: int, facts: Facts) -> bool:
        """Note that an item is done and its results are in place. False: it is not the owner's (any more)."""
        text, frames = json.dumps(facts, default=str), int(facts.get("frames") or 0)
        return self._leave(owner, id, "state = 'done', facts = ?, frames = ?", text, frames)

    def there(self, owner: int, id: int) -> bool:
        """Note that the result of an item was there already."""
        return self._leave(owner, id, "state = 'there'")

    def failed(self, owner: int, id: int, sentence: str) -> bool:
        """Note what is wrong with an item."""
        return self._leave(owner, id, "state = 'failed', error = ?", sentence)

    def release(self, owner: int, id: int) -> bool:
        """Give an item back, through no fault of its own."""
        return self._leave(owner, id, "state = 'waiting'")

    def _leave(self, owner: int, id: int, change: str, *values: Any) -> bool:
        how = f"update items set {change}, owner = null where id = ? and owner = ? and state = 'running'"
        return self._do(how, *values, id, owner)

    # -- those who die ----------------------------------------------------------------------------

    def lost(self, owner: int, why: str, id: int | None = None) -> int:
        """The owner, or who did `id` for it, has died, and `why`: the items (or the item) are given back.

        One over which `MOST_DEATHS` have died fails with that reason. Returns how many items it had.
        """
        which, values = ("", (owner,)) if id is None else (" and id = ?", (owner, id))
        mine = f"where owner = ? and state = 'running'{which}"
        with self._transaction() as db:
            count = db.execute(f"update items set deaths = deaths + 1 {mine}", values).rowcount
            why = f"the process died over it {MOST_DEATHS} times ({why})"
            db.execute(
                f"update items set state = 'failed', error = ?, owner = null {mine} and deaths >= {MOST_DEATHS}",
                (why, *values),
            )
            db.execute(f"update items set state = 'waiting', owner = null {mine}", values)
        return count

    def reclaim(self) -> int:
        """Give back what processes took that are no more; returns how many items that is."""
        here, now = machine(), time.time()
        with self._transaction() as db:
            owners = db.execute(
                "select id, machine, pid, born, beat from owners "
                "where id in (select distinct owner from items where state = 'running')"
            ).fetchall()
            gone = 0
            for id, place, pid, since, beat in owners:
                lives = alive(pid, since) if place == here else None
                if not (now - beat < LEASE if lives is None else lives):
                    again = "update items set state = 'waiting', owner = null where owner = ? and state = 'running'"
                    gone += db.execute(again, (id,)).rowcount
        return gone

    def says(self, owner: int, sentence: str, code: int) -> None:
        """Leave word of why the owner takes no more items, with the exit code that goes with it."""
        self._do("update owners set said = ?, code = ? where id = ?", sentence, code, owner)

    def said_by(self, pid: int) -> tuple[int | None, str, int]:
        """Number, last word and its exit code of the newest owner that is that process of this machine."""
        with self._told():
            row = self._db.execute(
                "select id, said, code from owners where pid = ? and machine = ? order by id desc limit 1",
                (pid, machine()),
            ).fetchone()
        return (None, "", 0) if row is None else (row[0], row[1] or "", row[2] or 1)

    # -- looking at it ----------------------------------------------------------------------------

    def counts(self) -> Counts:
        """How many items are in which state."""
        with self._told():
            rows = self._db.execute("select state, count(*), total(frames) from items group by state").fetchall()
            (now,) = self._db.execute(
                "select total(frames) from owners where id in (select owner from items where state = 'running')"
            ).fetchone()
        return Counts(**{state: count for state, count, _ in rows}, frames=int(sum(row[2] for row in rows) + now))

    def rows(self, state: str | None = None) -> Iterator[Row]:
        """All items (of a state), one by one."""
        which = "" if state is None else "where state = ?"
        with self._told():
            found = self._db.execute(
                f"select name, source, state, facts, error from items {which} order by id",
                () if state is None else (state,),
            )
            for name, source, now, facts, error in found:
                yield Row(Item(name, source), now, json.loads(facts) if facts else {}, error or "")

    # -- the database -----------------------------------------------------------------------------

    def _do(self, statement: str, *values: Any) -> bool:
        """Run one statement; whether it changed anything."""
        with self._told():
            return self._db.execute(statement, values).rowcount > 0

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._told():
            self._db.execute("begin immediate")
            try:
                yield self._db
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What SQLite says, as one sentence."""
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(f"the work list {self.path}: {_meant(str(error))}") from error


@contextmanager
def old_files(path: Path) -> Iterator[None]:
    """What the system says of files of the list that cannot be removed."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot remove the work list {path}: {storage.reason(error)}") from error


def _same_name(name: str, first: str, second: str) -> UsageError:
    return UsageError(
        f"{storage.shown(first)} and {storage.shown(second)} would have results of one name, {storage.shown(name)}: "
        "give them in two calls, with two outputs"
    )


def _meant(said: str) -> str:
    for part, meaning in {
        "disk is full": "No space left on device",
        "not a database": "it is no work list, or is damaged: remove it",
        "malformed": "it is damaged: remove it",
        "locked": f"other processes have been writing to it for more than {_PATIENCE:.0f} seconds",
        "unable to open": "it cannot be opened",
    }.items():
        if part in said:
            return meaning
    return said


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What two identities differ in, in words.

    >>> _difference({"model": "strand", "grid": 20}, {"model": "raft", "grid": 20})
    "model 'strand', now 'raft'"
    """
    for name in dict.fromkeys([*before, *now]):
        if before.get(name) != now.get(name):
            return f"{name} {str(before.get(name))[:80]!r}, now {str(now.get(name))[:80]!r}"
    return "nothing"
